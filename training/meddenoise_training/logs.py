"""What a run leaves to look at: figures as CSV and for TensorBoard, pictures of validation slices."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from meddenoise.errors import OutputError
from meddenoise.metrics import ABDOMEN
from meddenoise_training.disk import then_again
from meddenoise_training.validation import NOISE_SD_HU, Figures, Image
from meddenoise_training.whole_file import whole_file

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG_NAME = "log.csv"
FIGURES_NAME = "validation.csv"
PICTURES_FOLDER = "pictures"
#: Height of the line above pictures, pixels.
HEADER = 28


class Logs:
    """The logs of a run, from a step on: what a run that broke off wrote beyond its last checkpoint is taken out.

    Every method raises OutputError when it cannot write.
    """

    def __init__(self, run: Path, step: int, *, tensorboard: bool) -> None:
        self._run = run
        self._board: SummaryWriter | None = None
        for name in (LOG_NAME, FIGURES_NAME):
            _keep_until(run / name, step)
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(run / "tensorboard", purge_step=step)

    def training(self, step: int, values: Mapping[str, float]) -> None:
        """Add a line on the steps up to this one."""
        _append(self._run / LOG_NAME, {"step": step, **{name: f"{value:.5g}" for name, value in values.items()}})
        for name, value in values.items():
            self._add(f"training/{name}", value, step)

    def validation(self, step: int, figures: Sequence[Figures]) -> None:
        """Add the figures of a validation."""
        for row in figures:
            _append(self._run / FIGURES_NAME, {"step": step, **asdict(row)})
            for name in ("rmse", "psnr", "bias"):
                self._add(f"{name}/{row.name}", getattr(row, name), step)

    def pictures(self, step: int, rows: Sequence[Sequence[Image]]) -> None:
        """Write slices, HU, in the window C50/W400: a row for each, its pictures side by side.

        :param rows: noisy, denoised and reference of each slice, as :meth:`Validation.pictures` gives them.
        """
        if not rows:
            return
        low = ABDOMEN.centre - ABDOMEN.width / 2
        hu = np.concatenate([np.concatenate(row, axis=1) for row in rows])
        grey = np.rint(np.clip((hu - low) / ABDOMEN.width, 0, 1) * 255).astype(np.uint8)
        path = self._run / PICTURES_FOLDER / f"step-{step:07}.png"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            names = (f"noisy (smooth kernel, {NOISE_SD_HU:g} HU)", f"denoised, step {step}", "reference")
            _save_picture(path, grey, names)
        except OSError as error:
            raise _not_written(path, error) from error
        if self._board is not None:
            self._board.add_image("noisy, denoised, reference", grey, step, dataformats="HW")

    def close(self) -> None:
        """Finish what is still to be written."""
        if self._board is not None:
            self._board.close()

    def _add(self, name: str, value: float, step: int) -> None:
        if self._board is not None and np.isfinite(value):
            self._board.add_scalar(name, value, step)


def _save_picture(path: Path, grey: npt.NDArray[np.uint8], names: Sequence[str]) -> None:
    """Write grey values, pixel by pixel, below a line that names the columns."""
    from matplotlib.figure import Figure

    dpi, (height, width) = 100, grey.shape
    figure = Figure(figsize=((width + 0.01) / dpi, (height + HEADER + 0.01) / dpi), dpi=dpi)
    figure.figimage(np.stack([grey] * 3, axis=-1), origin="upper")  # as colours: a colour table would round again
    for number, name in enumerate(names):
        column = width / len(names)
        size = min(12.0, column / (0.6 * len(name)) * 72 / dpi)
        place = ((number + 0.5) / len(names), 1 - HEADER / 2 / (height + HEADER))
        figure.text(*place, name, ha="center", va="center", fontsize=size)
    figure.savefig(path, dpi=dpi)


def read_log(path: Path) -> list[dict[str, str]]:
    """Read a CSV log; empty where there is none."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _keep_until(path: Path, step: int) -> None:
    """Take out the lines beyond a step; one that broke off halfway counts as beyond."""
    rows = read_log(path)
    kept = [row for row in rows if None not in row.values() and int(row["step"]) <= step]
    if len(kept) < len(rows):
        try:
            with whole_file(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(kept)
        except OSError as error:
            raise _not_written(path, error) from error


def _append(path: Path, row: Mapping[str, object]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path} cannot be written: {error.strerror or error}; the last checkpoint is kept, {then_again(error)}."
    )
