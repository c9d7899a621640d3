"""``meddenoise-train bank``."""

from __future__ import annotations

from typing import Annotated

import typer

from meddenoise.errors import counted
from meddenoise_training.cli import options
from meddenoise_training.cli.progress import progress_bar
from meddenoise_training.cli.reporting import line


def bank(
    prepared: options.Prepared,
    realisations: Annotated[int, typer.Option(min=1, help="For each training slice.")] = 2,
    dose: Annotated[float, typer.Option(help="Fraction of the slices' own dose that is simulated.")] = 0.25,
    views: Annotated[int, typer.Option(min=2, help="Projections over half a turn.")] = 720,
    seed: Annotated[int, typer.Option(min=0, help="Of the scanners and of their noise.")] = 0,
    accelerator: options.Accelerator = "cpu",
    workers: options.Workers = None,
) -> None:
    """Make low-dose noise for every training slice, in its projections; the same command goes on after a stop."""
    from meddenoise_training.manifest import read_manifest
    from meddenoise_training.noise.bank import make_bank
    from meddenoise_training.pool import processors

    with progress_bar("Noise") as progress:
        slices = make_bank(
            prepared,
            read_manifest(prepared),
            realisations=realisations,
            dose=dose,
            views=views,
            seed=seed,
            device=accelerator,
            workers=(workers or processors()) if accelerator == "cpu" else 1,
            progress=progress,
        )
    line(f"{prepared}: {counted(realisations, 'realisation')} of low-dose noise for each of {counted(slices, 'slice')}")
