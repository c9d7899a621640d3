"""The demo's pictures: noisy, denoised, difference and, where it is known, the truth, in Slicer's slice views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from meddenoise.metrics import ABDOMEN
from meddenoise.volume_files import Volume
from tools.demo.figures import BODY_ABOVE_HU
from tools.demo.pictures import Panel, save_panels
from tools.demo.scene import ijk_to_ras
from tools.demo.slice_views import Field, SliceView, show_in_window

WIDTH = 512  # of a view, pixels
MARGIN = 8.0  # around the body, mm


def save_pictures(folder: Path, nodes: dict[str, Any], noisy: Volume, place: tuple[int, int, int]) -> list[Path]:
    """Render and save ``noisy.png``, ``denoised.png``, ``difference.png`` and ``side-by-side.png``.

    :param nodes: volume nodes by name: ``noisy``, ``denoised``, ``difference`` and perhaps ``truth``.
    :param noisy: the volume of that node, for its geometry and to find the body.
    :param place: (i, j, k) of the voxel through which the slices go.
    """
    captions = {}
    for name, node in nodes.items():
        if name != "difference":
            show_in_window(node, ABDOMEN)
            captions[name] = f"{name}, C{ABDOMEN.centre:.0f} / W{ABDOMEN.width:.0f}"
    reach = nodes["difference"].GetDisplayNode().GetWindow() / 2
    captions["difference"] = f"noisy − denoised: blue −{reach:.0f} HU, black 0, yellow +{reach:.0f} HU"
    view = SliceView("Demo")
    rows = [
        {name: Panel(view.picture(node, field, WIDTH), captions[name]) for name, node in nodes.items()}
        for field in fields(noisy, place)
    ]
    paths = []
    for name in ("noisy", "denoised", "difference"):
        paths.append(folder / f"{name}.png")
        save_panels(paths[-1], [[rows[0][name]]])
    paths.append(folder / "side-by-side.png")
    save_panels(paths[-1], [list(row.values()) for row in rows])
    return paths


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


def _bounds_of_body(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of the box around the body, RAS, mm."""
    body = np.asarray(volume.array) > BODY_ABOVE_HU
    corners = []
    for axis in (2, 1, 0):  # i, j, k
        # A line of table or clothing is not the body: a plane counts from 2 % of the fullest on.
        filled = body.sum(axis=tuple(n for n in range(3) if n != axis))
        inside = np.flatnonzero(filled > 0.02 * filled.max()) if body.any() else np.arange(body.shape[axis])
        corners.append((inside[0] - 0.5, inside[-1] + 0.5))
    matrix = ijk_to_ras(volume)
    points = np.array([matrix @ [i, j, k, 1] for i in corners[0] for j in corners[1] for k in corners[2]])[:, :3]
    return points.min(axis=0) - MARGIN, points.max(axis=0) + MARGIN
