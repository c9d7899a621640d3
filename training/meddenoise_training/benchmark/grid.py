"""The image grid: input, peers, ours and reference around the pancreas at C50/W400, and what each took away."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from meddenoise.metrics import ABDOMEN, rmse
from meddenoise_training.benchmark.cases import Case, Image, body_of, square_around
from meddenoise_training.benchmark.conditions import CONDITIONS, condition_noise, noise_revision
from meddenoise_training.benchmark.images import blended, neighbour_name
from meddenoise_training.benchmark.methods import Method
from meddenoise_training.benchmark.noisy import with_noise
from meddenoise_training.benchmark.store import Store, write_beside

_CONDITION = next(c for c in CONDITIONS if c.name == "dose 25 % smooth")
#: Side of what is shown, mm.
_SHOWN_MM = 150.0
_MOST_COLUMNS = 5
_DIFFERENCE_HU = 60.0
_DIFFERENCE_COLOURS = "RdBu_r"
#: Pixels of the picture: of a panel at least, between panels, above a panel for its title.
_LEAST_PANEL, _GAP, _TITLE = 360, 12, 70
_DPI = 180


def write_grids(out: Path, cases: Sequence[Case], methods: Sequence[Method], store: Store, *, views: int) -> list[str]:
    """Draw a grid a case, at a quarter of the dose; return the names of the files."""
    names = []
    for case in cases:
        revision = noise_revision(case, _CONDITION)
        noise = partial(_noise, case, store, views)
        noisy = with_noise(case, noise(0), noise)
        shown: list[tuple[str, Image]] = []
        for m in methods:
            key = f"grid {case.name} {m.name} {zlib.crc32(m.fingerprint.encode()):x}"
            if m.group == "input":
                result = noisy.image
            else:
                denoise = partial(m.denoise, noisy, case.pixel)
                result = store.array(key, denoise, revision=revision).astype(np.float32)
            title = m.name if m.strength == 1 else f"{m.name}, strength {m.strength:g}"
            shown.append((title, blended(noisy, result, m.strength)))
        name = f"grid-{'abdomen' if case.truth else 'patient'}.png"
        _draw(out / name, case, noisy.image, shown)
        names.append(name)
    return names


def _noise(case: Case, store: Store, views: int, offset: int) -> Image:
    def compute() -> Image:
        return np.asarray(condition_noise([case], _CONDITION, offset, views=views)[0])

    revision = noise_revision(case, _CONDITION)
    kept = store.array(f"grid {case.name}{neighbour_name(offset)}", compute, revision=revision)
    return kept.astype(np.float32)


def _draw(path: Path, case: Case, noisy: Image, shown: Sequence[tuple[str, Image]]) -> None:
    """Draw pictures and, below each, what was taken away (input less result).

    Every pixel of a slice is the same whole number of pixels wide: at other scales the noise gets a pattern that looks
    like an artefact.
    """
    import matplotlib.pyplot as plt

    where, body = _region(case), body_of(case.reference)
    reference = "truth" if case.truth else "reference (full dose)"
    pictures = [*shown, (reference, case.reference)]
    rows = -(-len(pictures) // _MOST_COLUMNS)
    layout = _Layout(noisy[where].shape[1], 2 * rows, -(-len(pictures) // rows))
    figure = plt.figure(figsize=layout.inches, dpi=_DPI)
    low, high = ABDOMEN.centre - ABDOMEN.width / 2, ABDOMEN.centre + ABDOMEN.width / 2
    for number, (title, image) in enumerate(pictures):
        row, column = 2 * (number // layout.columns), number % layout.columns
        text = title if image is case.reference else f"{title}\nRMSE {rmse(case.reference, image, body):.1f} HU"
        _picture(layout.panel(figure, row, column), image[where], text, cmap="gray", vmin=low, vmax=high)
        below = layout.panel(figure, row + 1, column)
        if image is noisy:  # nothing was taken away: there is room for the scale
            _scale(below)
        else:
            change = (noisy - image)[where]
            limits = {"vmin": -_DIFFERENCE_HU, "vmax": _DIFFERENCE_HU}
            _picture(below, change, f"input - {title.split(',')[0]}", cmap=_DIFFERENCE_COLOURS, **limits)
    source = "numerical abdomen, around the pancreas" if case.truth else "test patient"
    layout.line(figure, 0.99, "top", f"Quarter dose, smooth kernel: {source}", 11)
    layout.line(figure, 0.01, "bottom", "MedDenoise benchmark; research use only, not for diagnosis", 7)
    write_beside(path, lambda beside: figure.savefig(beside, dpi=_DPI, format="png"))
    plt.close(figure)


class _Layout:
    """Where panels are, in whole pixels.

    :param side: of what is shown, pixels of the slice.
    """

    def __init__(self, side: int, rows: int, columns: int) -> None:
        self.columns = columns
        self._panel = side * max(1, -(-_LEAST_PANEL // side))
        self._width = columns * (self._panel + _GAP) + _GAP
        self._height = rows * (self._panel + _TITLE) + 2 * _TITLE

    @property
    def inches(self) -> tuple[float, float]:
        """Return the size of the figure; a little more than the pixels, as they are rounded down."""
        return (self._width + 0.01) / _DPI, (self._height + 0.01) / _DPI

    def panel(self, figure: Any, row: int, column: int) -> Any:
        """Return new axes without frame, row 0 at the top."""
        left = _GAP + column * (self._panel + _GAP)
        bottom = self._height - _TITLE - (row + 1) * (self._panel + _TITLE)
        part = (left / self._width, bottom / self._height, self._panel / self._width, self._panel / self._height)
        axes = figure.add_axes(part)
        axes.set_axis_off()
        return axes

    def line(self, figure: Any, height: float, side: str, text: str, size: float) -> None:
        """Write a line over the whole width, no larger than fits."""
        fits = 1.6 * self._width / _DPI * 72 / len(text)
        figure.text(0.5, height, text, ha="center", va=side, fontsize=min(size, fits))


def _picture(axes: Any, image: Image, title: str, **look: Any) -> None:
    axes.imshow(image, interpolation="nearest", **look)
    axes.set_title(title, fontsize=8, pad=3)


def _scale(axes: Any) -> None:
    """Draw what the colours of the differences mean, and the window of the pictures."""
    bar = axes.inset_axes([0.1, 0.5, 0.8, 0.06])
    ramp = np.linspace(-_DIFFERENCE_HU, _DIFFERENCE_HU, 256)[np.newaxis]
    bar.imshow(ramp, cmap=_DIFFERENCE_COLOURS, aspect="auto", extent=(-_DIFFERENCE_HU, _DIFFERENCE_HU, 0, 1))
    bar.set_yticks([])
    bar.set_xticks([-_DIFFERENCE_HU, 0, _DIFFERENCE_HU])
    bar.tick_params(labelsize=8)
    bar.set_title("what was taken away, HU", fontsize=8)
    window = f"slices: C{ABDOMEN.centre:g}/W{ABDOMEN.width:g} HU"
    axes.text(0.5, 0.25, window, ha="center", fontsize=8, transform=axes.transAxes)


def _region(case: Case) -> tuple[slice, slice]:
    """Return what is shown: around the pancreas where it is labelled, else around the middle of the body."""
    mask = case.tissues.get("pancreas", body_of(case.reference))
    return square_around(mask, int(_SHOWN_MM / case.pixel))
