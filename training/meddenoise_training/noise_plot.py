"""The picture of a noise report: a patch, the SD map and the spectrum of a scan's noise and of each model's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import uniform_filter

if TYPE_CHECKING:
    from meddenoise_training.noise_report import Floats, Texture

#: Side of the patches, pixels: what of an organ is free of vessels and edges.
PATCH = 80
#: Bands of three rows (patch, map, spectrum): in one band the text would be too small.
_BANDS = 2
_UNKNOWN = "0.6"


def plot_noise(textures: Sequence[Texture], distances: dict[str, float], near: Sequence[str], path: Path) -> None:
    """Draw a column of each; a frame marks the models that are equally near.

    :param textures: what was measured first.
    :param distances: of each by name.
    :param near: names of the models to be framed.
    :raises OSError: when it cannot be written.
    """
    figure = draw_noise(textures, distances, near)
    figure.savefig(path, dpi=90)


def draw_noise(textures: Sequence[Texture], distances: dict[str, float], near: Sequence[str]) -> Any:
    """Return the figure of :func:`plot_noise`."""
    from matplotlib.figure import Figure

    measured = textures[0]
    sd = math.sqrt(measured.power.variance)
    brightest = max(float(np.nanpercentile(t.sd_map, 99)) for t in textures)
    columns = -(-len(textures) // _BANDS)
    figure = Figure(figsize=(2.2 * columns, 6.4 * _BANDS), layout="constrained")
    panels = figure.subplots(3 * _BANDS, columns, squeeze=False)
    curves = []
    for number in range(_BANDS * columns):
        band, column = divmod(number, columns)
        patch, sd_map, curve = panels[3 * band : 3 * band + 3, column]
        if number >= len(textures):
            for axes in (patch, sd_map, curve):
                axes.remove()
            continue
        texture = textures[number]
        is_near = texture.name in near
        distance = "" if texture is measured else f"\ndistance {distances[texture.name]:.2f}"
        _image(patch, _patch(texture.noise), "gray", -4 * sd, 4 * sd)
        patch.set_title(
            texture.name.replace(", ", ",\n") + distance, fontsize=10, fontweight="bold" if is_near else "normal"
        )
        shown = _image(sd_map, texture.sd_map, "viridis", 0, brightest)
        for one, colour, width in ((measured, "0.6", 3), (texture, "C0", 1.5)):
            f, power = one.compared()
            curve.plot(f, power / power.sum(), colour, lw=width)
        curve.set(yticks=[], xlim=(0, 0.5))
        curve.set_xlabel("cycles/pixel", fontsize=9)
        curves.append(curve)
        if is_near:
            for axes in (patch, sd_map, curve):
                axes.spines[:].set(color="C3", linewidth=3)
        if column == 0:
            labels = (f"patch, ±{4 * sd:.0f} HU", f"local SD, 0 to {brightest:.0f} HU", "NPS (grey: scan)")
            for axes, label in zip((patch, sd_map, curve), labels, strict=True):
                axes.set_ylabel(label)
    top = max(curve.get_ylim()[1] for curve in curves)
    for curve in curves:  # else the same curve of the scan has another height in each
        curve.set_ylim(0, top)
    figure.colorbar(shown, cax=panels[1, -1].inset_axes([1.05, 0, 0.06, 1]), label="HU")
    figure.suptitle("Framed: nearest, and as near as other seeds of it", fontsize=10)
    return figure


def _image(axes: Any, values: Floats, colours: str, low: float, high: float) -> Any:
    """Draw an image without ticks; grey where noise cannot be told from anatomy."""
    axes.set_facecolor(_UNKNOWN)
    axes.set(xticks=[], yticks=[])
    return axes.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=low, vmax=high, interpolation="nearest")


def _patch(noise: Floats) -> Floats:
    """Return the patch that holds most noise told from anatomy: the middle, where that is everywhere."""
    known = uniform_filter(np.isfinite(noise).astype(np.float32), PATCH, mode="constant")
    middle = (noise.shape[0] // 2, noise.shape[1] // 2)
    centre = middle if known[middle] > 0.999 else np.unravel_index(int(np.argmax(known)), known.shape)
    j, i = (max(0, min(int(c) - PATCH // 2, n - PATCH)) for c, n in zip(centre, noise.shape, strict=True))
    return noise[j : j + PATCH, i : i + PATCH]
