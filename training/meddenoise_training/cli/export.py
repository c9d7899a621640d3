"""``meddenoise-train export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meddenoise_training.cli import options
from meddenoise_training.cli.reporting import line


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run of `fit`.")],
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write; its card goes beside it as .md.")],
    card: Annotated[Path, typer.Option(help="TOML file with the card's text, as your copy of configs/own-card.toml.")],
    benchmark: Annotated[
        Path | None, typer.Option(help="benchmark.json that measured these very weights: its figures go into the card.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a target that exists.")] = False,
    threads: options.Threads = None,
) -> None:
    """Measure a run's averaged weights and write them with their model card."""
    from meddenoise_training.export import export as export_run

    options.set_torch_threads(threads)
    sha256 = export_run(run, target, card, benchmark=benchmark, overwrite=overwrite, report=line)
    line(f"{target}: SHA-256 {sha256}")
