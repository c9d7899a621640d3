"""The demo's pictures: the CT before, denoised, difference and, if known, the truth, in Slicer's slice views."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.metrics import ABDOMEN
from meddenoise.volume_files import Volume
from tools.demo.figures import BODY_ABOVE_HU
from tools.demo.pictures import Panel, save_panels
from tools.demo.scene import ijk_to_ras
from tools.demo.slice_views import Field, SliceView, show_in_window

Floats = npt.NDArray[np.float64]
SIDE_BY_SIDE = "side-by-side.png"
DISCLAIMER = "Research use only, not for diagnosis"
WIDTH = 512  # of a view, pixels
MARGIN = 8.0  # around the body, mm


def pictures(before: str) -> tuple[str, ...]:
    """Return the names of the picture files: one view each, and all views side by side.

    :param before: what the volume before is called.
    """
    return (*(f"{name}.png" for name in (before, "denoised", "difference")), SIDE_BY_SIDE)


def save_pictures(folder: Path, nodes: dict[str, Any], noisy: Volume, place: tuple[int, int, int]) -> None:
    """Render and save the :func:`pictures`.

    :param nodes: volume nodes: first the one before, ``denoised``, ``difference`` and perhaps ``truth``, by which it is
        known that the CT is simulated.
    :param noisy: the volume before, for its geometry and to find the body.
    :param place: (i, j, k) of the voxel through which the slices go.
    """
    before = next(iter(nodes))
    captions: dict[str, str] = {}
    for name, node in nodes.items():
        if name != "difference":
            show_in_window(node, ABDOMEN)
            captions[name] = f"{name}, C{ABDOMEN.centre:.0f} / W{ABDOMEN.width:.0f}"
    reach = nodes["difference"].GetDisplayNode().GetWindow() / 2
    captions["difference"] = f"{before} − denoised: blue below 0, red above, ±{reach:.0f} HU"
    view = SliceView("Demo")
    rows = [
        {name: Panel(view.picture(node, field, WIDTH), captions[name]) for name, node in nodes.items()}
        for field in fields(noisy, place)
    ]
    footer = f"Simulated CT. {DISCLAIMER}" if "truth" in nodes else DISCLAIMER
    for name in (before, "denoised", "difference"):
        save_panels(folder / f"{name}.png", [[rows[0][name]]], footer)
    save_panels(folder / SIDE_BY_SIDE, [list(row.values()) for row in rows], footer)


def fields(volume: Volume, place: tuple[int, int, int]) -> list[Field]:
    """Return an axial and a coronal field through a voxel, as large as the body.

    :param place: (i, j, k); the slices go through the middle of this voxel, or a view would mix two slices.
    """
    matrix = ijk_to_ras(volume)
    _, a, s, _ = matrix @ [*place, 1]
    low, high = _bounds_of_body(volume)
    (right, anterior, superior), (width, depth, height) = (low + high) / 2, high - low
    return [
        Field("Axial", (right, anterior, s), (width, depth)),
        Field("Coronal", (right, a, superior), (width, height)),
    ]


def _bounds_of_body(volume: Volume) -> tuple[Floats, Floats]:
    """Return the corners of the box around the body, RAS, mm: of the largest connected piece, so without the table."""
    from scipy import ndimage

    body = np.asarray(volume.array) > BODY_ABOVE_HU
    # Opened in each slice: what is a few pixels thin does not join table and body.
    pieces, count = ndimage.label(ndimage.binary_opening(body, np.ones((1, 5, 5))))
    if count > 0:
        body = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    box = ndimage.find_objects(body.astype(np.uint8))
    k, j, i = box[0] if box else [slice(0, n) for n in body.shape]
    corners = itertools.product(*((part.start - 0.5, part.stop - 0.5) for part in (i, j, k)))
    points = np.array([ijk_to_ras(volume) @ [*corner, 1] for corner in corners])[:, :3]
    return points.min(axis=0) - MARGIN, points.max(axis=0) + MARGIN
