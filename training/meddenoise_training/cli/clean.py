"""``meddenoise-train clean``."""

from __future__ import annotations

from typing import Annotated

import typer

from meddenoise_training.cli import options
from meddenoise_training.cli.progress import progress_bar
from meddenoise_training.cli.reporting import line


def clean(
    prepared: options.Prepared,
    name: Annotated[str, typer.Argument(help="Of the cleaned targets, for `fit --set data.targets=NAME`.")],
    model: Annotated[str, typer.Option(help="A shipped model, or the path of a .safetensors file.")],
    strength: Annotated[float, typer.Option(min=0, max=1, help="Share of the model's correction that is made.")] = 0.6,
    threads: options.Threads = None,
) -> None:
    """Denoise the training slices with weights that exist, for a second stage of training; goes on after a stop."""
    from meddenoise_training.cleaned_targets import clean_targets
    from meddenoise_training.manifest import read_manifest

    with progress_bar("Cleaning") as progress:
        left = clean_targets(
            prepared,
            read_manifest(prepared),
            name,
            model=model,
            strength=strength,
            threads=threads,
            progress=progress,
        )
    line(f"{prepared}: targets '{name}', {left:.1f} HU of noise left on average")
