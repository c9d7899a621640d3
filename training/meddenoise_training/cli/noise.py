"""``meddenoise-train noise``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meddenoise_training.cli.progress import progress_bar
from meddenoise_training.cli.reporting import line


def noise(
    scan: Annotated[Path, typer.Argument(help="A real CT: DICOM folder or volume file.")],
    target: Annotated[Path, typer.Argument(help="New folder for the report: a picture, a table, JSON.")],
    reference: Annotated[
        Path | None, typer.Option(help="The same CT at a higher dose; the difference is its noise alone.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
) -> None:
    """Show which noise model resembles the noise of a scan."""
    from meddenoise_training.noise_report import advice, noise_report

    with progress_bar("Noise models") as progress:
        report = noise_report(scan, target, reference=reference, seed=seed, progress=progress)
    measured = next(iter(report["rows"].values()))
    line(
        f"{target}: {measured['sd']:.1f} HU, mean frequency {measured['mean_frequency']:.3f} cycles/pixel; "
        f"nearest model: {report['nearest']}"
    )
    others = [name for name in report["equally_near"] if name != report["nearest"]]
    if others:
        line(f"equally near: {', '.join(others)}")
    if report["anatomy_at_low_frequencies"]:
        line("At low frequencies anatomy (or an iterative reconstruction) dominates the scan; a reference tells which.")
    line(advice(report))
