"""``meddenoise-train inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markdown import Markdown

from meddenoise.errors import InputError
from meddenoise_training.cli.reporting import console, line


def inspect(
    path: Annotated[Path, typer.Argument(help="A .safetensors file, or the folder of a run of `fit`.")],
    step: Annotated[
        int | None, typer.Option(help="Of a run: draw a patch of this step again, from 0, and show its noise.")
    ] = None,
    place: Annotated[int | None, typer.Option(help="With --step: which patch of its batch, from 0.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> None:
    """Show the card of a weights file; of a run its step, best figures and configuration, or the noise of a patch."""
    from meddenoise.cli.reporting import as_json as print_json
    from meddenoise_training import inspection

    if step is None and place is None:
        found = inspection.inspect(path)
    elif step is None or place is None:
        raise InputError("--step and --place name a patch together; give both.")
    else:
        found = inspection.inspect_patch(path, step, place)
    if as_json:
        print_json(found.values)
    elif console.is_terminal:
        console.print(Markdown(found.page))
    else:
        line(found.page)
