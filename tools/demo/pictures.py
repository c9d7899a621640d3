"""Pictures with captions, alone and side by side, pixel for pixel as the views rendered them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tools.demo.slice_views import Picture

_CAPTION = 30  # height of a caption, pixels
_GAP = 6
_MARGIN = 6  # of text from the sides of its picture
_DPI = 100


@dataclass(frozen=True)
class Panel:
    """A picture and what it shows."""

    picture: Picture
    caption: str


def save_panels(path: Path, rows: Sequence[Sequence[Panel]], footer: str) -> None:
    """Write panels as one PNG: row by row, each caption above its picture, a footer below all; nothing is scaled.

    The letters R and L stand at the sides: Slicer's axial and coronal views show the patient's right on the left.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke

    width = max(sum(p.picture.shape[1] for p in row) + _GAP * (len(row) - 1) for row in rows)
    heights = [max(p.picture.shape[0] for p in row) + _CAPTION for row in rows]
    height = sum(heights) + _GAP * (len(rows) - 1) + _CAPTION
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="black")

    def write(text: str, x: float, y: float, align: Literal["left", "right"] = "left") -> None:
        outline = [withStroke(linewidth=2, foreground="black")]
        style: dict[str, Any] = {"color": "white", "fontsize": 11, "va": "center", "path_effects": outline}
        figure.text(x / width, y / height, text, ha=align, **style)

    write(footer, _MARGIN, _CAPTION / 2)
    top = height
    for row, row_height in zip(rows, heights, strict=True):
        left = 0
        for panel in row:
            rows_of_picture, columns = panel.picture.shape[:2]
            figure.figimage(panel.picture, left, top - _CAPTION - rows_of_picture, origin="upper")
            write(panel.caption, left + _MARGIN, top - _CAPTION / 2)
            middle = top - _CAPTION - rows_of_picture / 2
            write("R", left + _MARGIN, middle)
            write("L", left + columns - _MARGIN, middle, "right")
            left += columns + _GAP
        top -= row_height + _GAP
    FigureCanvasAgg(figure).print_png(str(path))
