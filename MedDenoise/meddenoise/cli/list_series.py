"""``meddenoise list``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from meddenoise.cli import options
from meddenoise.cli.reporting import as_json, lines
from meddenoise.errors import counted


def list_series(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Searched with its subfolders.", show_default=False)],
    json: options.AsJson = False,
) -> None:
    """List the CT series in FOLDER: UID, description, slices, kernel, spacing, thickness, and whether each is readable.

    Only headers are read. Other files are counted by kind.
    """
    from meddenoise.dicom.series import scan

    contents = scan(folder)
    rows = [_row(series) for series in contents.series]
    if json:
        damaged = [str(path) for paths in contents.damaged.values() for path in paths]
        as_json({"series": rows, "others": dict(sorted(contents.others.items())), "damaged": damaged})
        return
    for row in rows:
        lines(False, *_words(row))
    others = ", ".join(counted(count, kind) for kind, count in sorted(contents.others.items()))
    lines(False, f"{len(rows)} CT series in {folder}" + (f"; beside them {others}." if others else "."))


def _row(series: Any) -> dict[str, Any]:
    from meddenoise.dicom.acquisition import read_acquisition
    from meddenoise.dicom.geometry import grid_of
    from meddenoise.errors import InputError

    acquisition = read_acquisition(series)
    try:
        then = "it can be denoised into DICOM alone, where each slice keeps its own place"
        spacing, reason = list(grid_of(series, then=then).spacing), None
    except InputError as error:
        spacing, reason = None, str(error)
    return {
        "uid": series.uid,
        "description": series.description,
        "number": series.number,
        "folder": str(series.slices[0].path.parent),
        "slices": len(series.slices),
        "kernel": acquisition.kernel,
        "spacing_mm": spacing,
        "thickness_mm": acquisition.thickness_mm,
        "kvp": acquisition.kvp,
        "scanner": acquisition.scanner,
        "readable": reason is None,
        "reason": reason,
    }


def _words(row: dict[str, Any]) -> list[str]:
    facts = [f"'{' '.join(row['description'].split())}'" if row["description"] else "no description"]
    facts.append(counted(row["slices"], "slice"))
    if row["spacing_mm"] is not None:
        facts.append("voxels " + " x ".join(f"{length:.3g}" for length in row["spacing_mm"]) + " mm")
    if row["thickness_mm"] is not None:
        facts.append(f"thickness {row['thickness_mm']:g} mm")
    if row["kernel"] is not None:
        facts.append(f"kernel {row['kernel']}")
    if row["kvp"] is not None:
        facts.append(f"{row['kvp']:g} kV")
    said = [f"{row['uid']}: {', '.join(facts)}", f"    in {row['folder']}"]
    return said if row["readable"] else [*said, f"    not one volume: {row['reason']}"]
