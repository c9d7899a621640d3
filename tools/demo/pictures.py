"""Pictures with captions, alone and side by side, pixel for pixel as the views rendered them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.demo.slice_views import Picture

_CAPTION = 30  # height of a caption, pixels
_GAP = 6
_DPI = 100


@dataclass(frozen=True)
class Panel:
    """A picture and what it shows."""

    picture: Picture
    caption: str


def save_panels(path: Path, rows: Sequence[Sequence[Panel]]) -> None:
    """Write panels as one PNG: row by row, each caption above its picture; nothing is scaled."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = max(sum(p.picture.shape[1] for p in row) + _GAP * (len(row) - 1) for row in rows)
    heights = [max(p.picture.shape[0] for p in row) + _CAPTION for row in rows]
    height = sum(heights) + _GAP * (len(rows) - 1)
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="black")
    top = height
    for row, row_height in zip(rows, heights, strict=True):
        left = 0
        for panel in row:
            rows_of_picture, columns = panel.picture.shape[:2]
            figure.figimage(panel.picture, left, top - _CAPTION - rows_of_picture, origin="upper")
            figure.text(
                (left + 6) / width,
                (top - _CAPTION / 2) / height,
                panel.caption,
                color="white",
                fontsize=11,
                va="center",
            )
            left += columns + _GAP
        top -= row_height + _GAP
    FigureCanvasAgg(figure).print_png(str(path))
