"""``meddenoise-train prepare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meddenoise.errors import counted
from meddenoise_training.cli import options
from meddenoise_training.cli.progress import progress_bar
from meddenoise_training.cli.reporting import line

if TYPE_CHECKING:
    from meddenoise_training.manifest import Slice


def prepare(
    source: Annotated[
        Path,
        typer.Argument(help="Folder with train, validation and test, in each CT: DICOM, or NRRD, NIfTI, MetaImage."),
    ],
    target: Annotated[Path, typer.Argument(help="New folder for the prepared slices.")],
    split: Annotated[
        str | None, typer.Option(help="Percent of the patients, as 80,10,10, where SOURCE has no such folders.")
    ] = None,
    sources: Annotated[Path | None, typer.Option(help="TOML file: how the collections are cited.")] = None,
    slab_mm: Annotated[
        float, typer.Option(min=0, help="Thin training slices are averaged up to this thickness.")
    ] = 7.5,
    synthetic: Annotated[int, typer.Option(min=0, help="Noise-free synthetic slices to add.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Of the synthetic slices and of --split.")] = 0,
    workers: options.Workers = None,
    png: Annotated[Path | None, typer.Option(help="New folder for pictures of all slices, to look at.")] = None,
    window: Annotated[str, typer.Option(help="Of the pictures: centre/width, HU.")] = "50/400",
) -> None:
    """Read CT into HU slices on disk, patients kept to one split; the same command goes on after a stop."""
    from meddenoise_training.pictures import read_window
    from meddenoise_training.pool import processors
    from meddenoise_training.prepare import prepare as prepare_slices
    from meddenoise_training.prepare import read_shares

    shares, grey = read_shares(split) if split is not None else None, read_window(window)
    with progress_bar("Preparing") as progress:
        manifest = prepare_slices(
            *(source, target),
            slab_mm=slab_mm,
            synthetic=synthetic,
            split=shares,
            sources=sources,
            seed=seed,
            workers=workers or processors(),
            png=png,
            window=grey,
            report=line,
            progress=progress,
        )
    for name, entries in manifest.splits.items():
        patients = len({e.patient for e in entries if e.kind != "synthetic"})
        made = sum(e.kind == "synthetic" for e in entries)
        scanned, of = counted(len(entries) - made, "slice"), counted(patients, "patient")
        line(f"{name}: {scanned} of {of}, {counted(made, 'synthetic slice')}{_slabs(entries, len(entries) - made)}")


def _slabs(entries: list[Slice], scanned: int) -> str:
    """Return how many of the scanned slices are averages; the ends of a series have too few neighbours for one."""
    slabs = [e.slab for e in entries if e.slab > 1]
    if not slabs:
        return ""
    thin = f"{min(slabs)}" if min(slabs) == max(slabs) else f"{min(slabs)} to {max(slabs)}"
    are = "is the mean" if len(slabs) == 1 else "are means"
    return (
        f"; {len(slabs)} of the {scanned} {are} of {thin} thin neighbouring slices, for less noise (none at the ends "
        "of a series, where neighbours are too few)"
    )
