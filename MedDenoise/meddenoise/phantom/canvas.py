"""One slice painted from the outside in: every edge over about one pixel (partial volume), slightly bent, textured."""

from __future__ import annotations

import numpy as np

from meddenoise.phantom.materials import AIR, ORGANS, Part
from meddenoise.phantom.solids import Floats

#: What a slice covers, whatever its number of pixels (mm).
FIELD_OF_VIEW = 384.0


class _Waves:
    """A smooth random field: plane waves of random direction and phase; unit variance, band-limited."""

    def __init__(self, rng: np.random.Generator, shortest: float, longest: float, count: int) -> None:
        direction = rng.normal(size=(3, count))
        direction /= np.linalg.norm(direction, axis=0)
        self._k = 2 * np.pi * direction / rng.uniform(shortest, longest, count)
        self._phase = rng.uniform(0, 2 * np.pi, count)
        self._amplitude = np.sqrt(2 / count)

    def on_grid(self, x: Floats, y: Floats, z: float) -> Floats:
        """Return the field on the grid (y, x) of 1-D coordinates; waves separate, so this is a matrix product."""
        across, down = np.outer(self._k[0], x), np.outer(y, self._k[1]) + self._k[2] * z + self._phase
        field = np.cos(down) @ np.cos(across) - np.sin(down) @ np.sin(across)
        return np.asarray(self._amplitude * field, np.float32)


class Fields:
    """The fields that bend and texture a body.

    :param rng: what they are drawn from.
    """

    BEND = 1.8  # mm, standard deviation of the bending

    def __init__(self, rng: np.random.Generator) -> None:
        self.bend_x, self.bend_y = _Waves(rng, 55, 140, 16), _Waves(rng, 55, 140, 16)
        self.texture = _Waves(rng, 4, 14, 160)


class Canvas:
    """One slice: HU, labels, and the slightly bent coordinates in which the solids are painted."""

    EDGE_PIXELS = 1.6  # width of an edge: the partial volume of a pixel and the unsharpness of a smooth kernel
    PURE_PIXELS = 1.5  # a voxel this far inside an organ is labelled as this organ

    def __init__(self, z: float, size: int, fields: Fields) -> None:
        self.z, self.pixel = z, FIELD_OF_VIEW / size
        axis = ((np.arange(size) + 0.5) * self.pixel - FIELD_OF_VIEW / 2).astype(np.float32)
        self._axis = axis
        self._x = axis[None, :] + fields.BEND * fields.bend_x.on_grid(axis, axis, z)
        self._y = axis[:, None] + fields.BEND * fields.bend_y.on_grid(axis, axis, z)
        self._texture = fields.texture.on_grid(axis, axis, z)
        self._reach = 4 * fields.BEND + 2 * self.pixel
        self.hu = np.full((size, size), AIR, np.float32)
        self.labels = np.full((size, size), ORGANS["air"], np.uint8)

    def paint(self, part: Part) -> None:
        """Paint a part over what is there, mixing along its edge."""
        left, right, front, back, bottom, top = part.solid.box
        if not bottom - self.pixel <= self.z <= top + self.pixel:
            return
        columns, rows = self._range(left, right), self._range(front, back)
        if columns.start >= columns.stop or rows.start >= rows.stop:
            return
        inside = (rows, columns)
        distance = part.solid.distance(self._x[inside], self._y[inside], self.z)
        cover = np.clip(0.5 - distance / (self.EDGE_PIXELS * self.pixel), 0, 1)
        hu = part.hu + part.texture * self._texture[inside] if part.texture else np.float32(part.hu)
        self.hu[inside] += cover * (hu - self.hu[inside])
        labels = self.labels[inside]
        labels[distance < self.PURE_PIXELS * self.pixel] = 0
        labels[distance < -self.PURE_PIXELS * self.pixel] = ORGANS[part.organ] if part.organ else 0

    def _range(self, low: float, high: float) -> slice:
        first, last = np.searchsorted(self._axis, (low - self._reach, high + self._reach))
        return slice(int(first), int(last))
