"""``meddenoise-train inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markdown import Markdown

from meddenoise_training.cli.reporting import console, line


def inspect(
    path: Annotated[Path, typer.Argument(help="A .safetensors file, or the folder of a run of `fit`.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> None:
    """Show the card of a weights file; of a run its step, best figures and configuration."""
    from meddenoise.cli.reporting import as_json as print_json
    from meddenoise_training import inspection

    found = inspection.inspect(path)
    if as_json:
        print_json(found.values)
    elif console.is_terminal:
        console.print(Markdown(found.page))
    else:
        line(found.page)
