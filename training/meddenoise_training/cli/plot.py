"""``meddenoise-train plot``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meddenoise_training.cli.reporting import line


def plot(run: Annotated[Path, typer.Argument(help="Folder of a run of `fit`, finished or not.")]) -> None:
    """Plot loss and validation figures of a run; `fit` does so at its end."""
    from meddenoise_training import plots

    for path in plots.plot(run):
        line(str(path))
