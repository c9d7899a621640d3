"""The numerical abdomen: a contrast-enhanced upper abdomen whose true HU are known, for tests, demo and sample data.

Organs are solids given by signed distances in mm; each slice is painted from the outside in, every edge over about
one pixel (partial volume). Axes are those of an axial CT: x to the patient's left, y to the back, z to the head; x and
y are 0 in the middle of the image, z in the middle of the volume, which is level with the pancreas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from meddenoise.errors import InputError

Floats = npt.NDArray[np.float32]
Point = tuple[float, float, float]
Distance = Callable[[Floats, Floats, float], Floats]

#: What the volume covers, whatever its number of voxels (mm).
FIELD_OF_VIEW = 384.0
LENGTH = 144.0
MIN_SIZE = 64

#: Labels; 0 is everything that is mixed (edges) or not listed (small vessels, cortical bone, skin).
ORGANS = {
    "air": 1,
    "fat": 2,
    "muscle": 3,
    "liver": 4,
    "spleen": 5,
    "pancreas": 6,
    "kidney cortex": 7,
    "kidney medulla": 8,
    "aorta": 9,
    "veins": 10,
    "trabecular bone": 11,
    "bowel and stomach": 12,
    "gas": 13,
    "gallbladder": 14,
    "liver lesion": 15,
    "pancreas lesion": 16,
    "lung": 17,
}
AIR, FAT, MUSCLE, LIVER, LUNG = -1000.0, -100.0, 55.0, 110.0, -850.0
CORTICAL, TRABECULAR, DISC = 750.0, 200.0, 85.0
AORTA, VEIN, GAS, BOWEL_WALL = 160.0, 165.0, -950.0, 85.0

#: Lesions of the liver: centre (mm), diameter (mm), contrast to the liver (HU).
LIVER_LESIONS: tuple[tuple[Point, float, float], ...] = (
    ((-104.0, -22.0, 3.0), 12.0, -25.0),
    ((-112.0, 14.0, 1.0), 15.0, -15.0),
    ((-106.0, 37.0, 3.0), 8.0, -40.0),
    ((-80.0, -50.0, 4.0), 6.0, -40.0),
    ((-122.0, -4.0, 6.0), 4.0, -40.0),
    ((-92.0, -1.0, 5.0), 8.0, 40.0),
    ((-95.0, -30.0, 30.0), 10.0, -15.0),
    ((-70.0, 38.0, 36.0), 6.0, -25.0),
    ((-108.0, 20.0, 27.0), 8.0, -25.0),
    ((20.0, -58.0, 33.0), 10.0, -40.0),
    ((-108.0, 8.0, -24.0), 10.0, -25.0),
    ((-60.0, -20.0, 52.0), 12.0, -15.0),
)
PANCREAS_LESION: tuple[Point, float, float] = ((14.0, -13.0, 3.0), 13.0, -30.0)
PANCREAS_HU = 95.0


@dataclass(frozen=True)
class Phantom:
    """A CT volume whose truth is known.

    :param hu: (k, j, i) int16, HU, rounded; k to the head, j to the back, i to the patient's left.
    :param labels: (k, j, i) uint8; an organ's label where a voxel lies wholly inside it, else 0.
    :param organs: label of each organ.
    :param spacing: (k, j, i), mm.
    """

    hu: npt.NDArray[np.int16]
    labels: npt.NDArray[np.uint8]
    organs: dict[str, int]
    spacing: tuple[float, float, float]


def numerical_abdomen(*, slices: int = 48, size: int = 512, seed: int = 0) -> Phantom:
    """Make a numerical abdomen in the portal venous phase.

    The same body is sampled by any number of voxels: 384 mm across and 144 mm along z, so that 48 slices of 512 x 512
    have voxels of 3 x 0.75 x 0.75 mm. A mild texture (a few HU, wavelengths of 4 to 14 mm) belongs to the truth.

    :param slices: 1 or more.
    :param size: rows and columns, 64 or more.
    :param seed: shapes (a few mm), small vessels, bowel loops and texture follow from it; HU and lesions do not.
    :raises InputError: when the volume asked for is smaller than that.
    """
    if slices < 1 or size < MIN_SIZE:
        raise InputError(
            f"A numerical abdomen of {slices} slices of {size} x {size} was asked for; "
            f"it takes at least 1 slice of {MIN_SIZE} x {MIN_SIZE}."
        )
    body = _Body(seed)
    hu = np.empty((slices, size, size), np.int16)
    labels = np.empty((slices, size, size), np.uint8)
    for k in range(slices):
        canvas = _Canvas(((k + 0.5) / slices - 0.5) * LENGTH, size, body)
        for part in body.parts:
            canvas.paint(part)
        np.rint(canvas.hu, out=canvas.hu)
        hu[k], labels[k] = canvas.hu, canvas.labels
    return Phantom(hu, labels, dict(ORGANS), (LENGTH / slices, FIELD_OF_VIEW / size, FIELD_OF_VIEW / size))


# --- Painting ---


@dataclass(frozen=True)
class _Solid:
    """A signed distance in mm, negative inside, and a box (x, y, z from and to) outside of which it is positive."""

    distance: Distance
    box: tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class _Part:
    """A solid made of one material.

    :param texture: standard deviation of the material's texture (HU).
    """

    solid: _Solid
    hu: float
    organ: str | None = None
    texture: float = 0.0


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


class _Canvas:
    """One slice: HU, labels, and the slightly bent coordinates in which the solids are painted."""

    EDGE_PIXELS = 1.6  # width of an edge: the partial volume of a pixel and the unsharpness of a smooth kernel
    PURE_PIXELS = 1.5  # a voxel this far inside an organ is labelled as this organ

    def __init__(self, z: float, size: int, body: _Body) -> None:
        self.z, self.pixel = z, FIELD_OF_VIEW / size
        axis = ((np.arange(size) + 0.5) * self.pixel - FIELD_OF_VIEW / 2).astype(np.float32)
        self._axis = axis
        self._x = axis[None, :] + body.BEND * body.bend_x.on_grid(axis, axis, z)
        self._y = axis[:, None] + body.BEND * body.bend_y.on_grid(axis, axis, z)
        self._texture = body.texture.on_grid(axis, axis, z)
        self._reach = 4 * body.BEND + 2 * self.pixel
        self.hu = np.full((size, size), AIR, np.float32)
        self.labels = np.full((size, size), ORGANS["air"], np.uint8)

    def paint(self, part: _Part) -> None:
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


# --- Solids ---


def _ellipsoid(centre: Point, radii: Point, turn: float = 0.0) -> _Solid:
    """Make an ellipsoid, turned about z by ``turn`` degrees; the distance is exact to first order at the surface."""
    cos, sin = np.float32(np.cos(np.deg2rad(turn))), np.float32(np.sin(np.deg2rad(turn)))
    (cx, cy, cz), (rx, ry, rz) = centre, radii

    def distance(x: Floats, y: Floats, z: float) -> Floats:
        u, v, w = ((x - cx) * cos + (y - cy) * sin) / rx, ((y - cy) * cos - (x - cx) * sin) / ry, (z - cz) / rz
        level = np.sqrt(u * u + v * v + w * w)
        slope = np.sqrt((u / rx) ** 2 + (v / ry) ** 2 + (w / rz) ** 2)
        return np.asarray(level * (level - 1) / (slope + np.float32(1e-6)))

    wide = max(rx, ry) if turn else 0.0
    ax, ay = max(rx, wide), max(ry, wide)
    return _Solid(distance, (cx - ax, cx + ax, cy - ay, cy + ay, cz - rz, cz + rz))


def _tube(points: Sequence[Point], radii: Sequence[float]) -> _Solid:
    """Make a tube along a polyline whose radius goes linearly from point to point."""
    corners = np.array(points, np.float32)

    def distance(x: Floats, y: Floats, z: float) -> Floats:
        nearest = np.full(np.broadcast(x, y).shape, np.inf, np.float32)
        for start, end, r0, r1 in zip(corners[:-1], corners[1:], radii[:-1], radii[1:], strict=True):
            d = end - start
            px, py, pz = x - start[0], y - start[1], np.float32(z) - start[2]
            t = np.clip((px * d[0] + py * d[1] + pz * d[2]) / np.float32(d @ d), 0, 1)
            gap = np.sqrt((px - t * d[0]) ** 2 + (py - t * d[1]) ** 2 + (pz - t * d[2]) ** 2)
            np.minimum(nearest, gap - (r0 + t * np.float32(r1 - r0)), out=nearest)
        return nearest

    low, high, r = corners.min(0), corners.max(0), max(radii)
    return _Solid(distance, (low[0] - r, high[0] + r, low[1] - r, high[1] + r, low[2] - r, high[2] + r))


def _column(
    centre: tuple[float, float], radii: tuple[float, float], low: float, high: float, power: float = 2.0
) -> _Solid:
    """Make an upright column from z ``low`` to ``high`` whose section is a superellipse."""
    (cx, cy), (rx, ry) = centre, radii

    def distance(x: Floats, y: Floats, z: float) -> Floats:
        u, v = np.abs(x - cx) / rx, np.abs(y - cy) / ry
        level = (u**power + v**power) ** (1 / power) + np.float32(1e-6)
        slope = level ** (1 - power) * np.hypot(u ** (power - 1) / rx, v ** (power - 1) / ry) + np.float32(1e-6)
        return np.asarray(np.maximum((level - 1) / slope, max(low - z, z - high)))

    return _Solid(distance, (cx - rx, cx + rx, cy - ry, cy + ry, low, high))


def _union(*solids: _Solid, smooth: float = 0.0) -> _Solid:
    """Join solids; ``smooth`` (mm) rounds the fold between them."""

    def distance(x: Floats, y: Floats, z: float) -> Floats:
        joined = solids[0].distance(x, y, z)
        for solid in solids[1:]:
            other = solid.distance(x, y, z)
            fold = np.maximum(smooth - np.abs(joined - other), 0) ** 2 / (4 * smooth) if smooth else 0
            joined = np.minimum(joined, other) - fold
        return joined

    boxes = np.array([solid.box for solid in solids])
    low, high = boxes[:, ::2].min(0) - smooth / 4, boxes[:, 1::2].max(0) + smooth / 4
    return _Solid(distance, (low[0], high[0], low[1], high[1], low[2], high[2]))


def _both(first: _Solid, second: _Solid) -> _Solid:
    """Keep what lies in both solids."""
    a, b = np.array(first.box), np.array(second.box)
    low, high = np.maximum(a[::2], b[::2]), np.minimum(a[1::2], b[1::2])
    return _Solid(
        lambda x, y, z: np.maximum(first.distance(x, y, z), second.distance(x, y, z)),
        (low[0], high[0], low[1], high[1], low[2], high[2]),
    )


def _without(solid: _Solid, hole: _Solid) -> _Solid:
    """Take a hole out of a solid."""
    return _Solid(lambda x, y, z: np.maximum(solid.distance(x, y, z), -hole.distance(x, y, z)), solid.box)


def _grown(solid: _Solid, by: float) -> _Solid:
    """Let a solid grow by some mm on all sides; shrink it when negative."""
    a = solid.box
    box = (a[0] - by, a[1] + by, a[2] - by, a[3] + by, a[4] - by, a[5] + by)
    return _Solid(lambda x, y, z: solid.distance(x, y, z) - np.float32(by), box)


def _in_front_of(level: float) -> _Solid:
    """Keep what lies in front of a coronal plane: where gas gathers in a patient on the back."""
    return _Solid(lambda x, y, z: y - np.float32(level) + 0 * x, (-1e4, 1e4, -1e4, level, -1e4, 1e4))


# --- Anatomy ---


class _Body:
    """All parts of one patient in the order in which they are painted, and the fields that bend and texture them."""

    BEND = 1.8  # mm, standard deviation of the bending

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.bend_x, self.bend_y = _Waves(rng, 55, 140, 16), _Waves(rng, 55, 140, 16)
        self.texture = _Waves(rng, 4, 14, 160)
        phase = rng.uniform(0, 2 * np.pi, 3)
        liver = _liver_solid()
        self.parts = [
            *_table(),
            *_trunk(),
            *_muscles_of_the_back(),
            *_ribs(),
            *_spine(),
            *_lungs(),
            *_liver(liver, rng),
            *_stomach(),
            *_spleen(),
            *_colon_and_bowel(rng),
            *_kidneys(),
            *_great_vessels(),
            *_pancreas(phase),
        ]


_CAVITY = _column((0, -2), (136, 81), -1e4, 1e4, 2.4)


_RECESS_FROM = 36.0  # z of the lower end of the lungs, mm


def _recess(z: float) -> float:
    """Return how deep the lung reaches between chest wall and diaphragm (mm)."""
    return max(0.0, (z - _RECESS_FROM) * 0.75)


def _under_diaphragm(gap: float) -> _Solid:
    """Return the abdominal cavity under the dome of the diaphragm, less a gap in mm."""

    def distance(x: Floats, y: Floats, z: float) -> Floats:
        depth = gap + _recess(z) * np.clip((y + 70) / 90, 0.15, 1)
        return np.asarray(_CAVITY.distance(x, y, z) + depth, np.float32)

    return _Solid(distance, _CAVITY.box)


def _table() -> list[_Part]:
    def board(x: Floats, y: Floats, z: float) -> Floats:
        top = 119 - 4e-4 * x * x
        return np.asarray(np.maximum(np.maximum(top - y, y - 150), np.abs(x) - 178))

    solid = _Solid(board, (-178, 178, 100, 150, -1e4, 1e4))
    return [_Part(solid, -250), _Part(_grown(solid, -2.0), -930)]


def _trunk() -> list[_Part]:
    skin = _column((0, 0), (168, 113), -1e4, 1e4, 2.25)
    wall = _column((0, 1), (148, 94), -1e4, 1e4, 2.35)
    between_muscles = _Solid(
        lambda x, y, z: np.maximum(np.abs(wall.distance(x, y, z) + 4.5) - 0.5, 70 - np.abs(x)), wall.box
    )
    return [
        _Part(skin, 45),
        _Part(_grown(skin, -2.2), FAT, "fat", 5),
        _Part(wall, MUSCLE, "muscle", 4),
        _Part(between_muscles, -50),
        _Part(_CAVITY, FAT, "fat", 6),
    ]


def _ribs() -> list[_Part]:
    """Ribs run in the wall, falling forwards, so that an axial slice cuts each obliquely."""
    arc, fall, z_at_spine = 118.0, 0.36, (150.0, 122.0, 94.0, 66.0, 40.0)
    ends = (2.5, 2.4, 2.3, 1.9, 1.2)

    def distance(x: Floats, y: Floats, z: float) -> Floats:
        radial = np.abs(_CAVITY.distance(x, y, z) - 5.5)
        angle = np.abs(np.arctan2(x / 142, y / 87))
        nearest = np.full(x.shape, np.inf, np.float32)
        for z0, end in zip(z_at_spine, ends, strict=True):
            height = (z - z0 + fall * arc * angle) / np.hypot(1, fall)
            rib = np.hypot(radial / 3.6, height / 6.0) * 3.6 - 3.6
            beyond = np.maximum(angle - end, 0.45 - angle) * arc
            np.minimum(nearest, np.maximum(rib, beyond), out=nearest)
        return nearest

    solid = _Solid(distance, _grown(_CAVITY, 12).box)
    return [
        _Part(solid, CORTICAL - 50),
        _Part(_grown(solid, -1.6), TRABECULAR, "trabecular bone", 8),
    ]


def _spine() -> list[_Part]:
    parts = [_Part(_column((0, 44), (20, 15.5), -1e4, 1e4, 2.2), DISC)]
    for level in (-66.0, -33.0, 0.0, 33.0, 66.0):
        body = _column((0, 44), (21, 16.5), level - 12.5, level + 12.5, 2.2)
        arch = _union(
            *(
                _union(
                    _tube([(12 * s, 54, level + 4), (14 * s, 66, level + 3)], [5, 4.5]),
                    _tube([(14 * s, 66, level + 3), (3 * s, 81, level - 5)], [4.5, 4]),
                    _tube([(14 * s, 66, level + 3), (36 * s, 74, level + 4)], [4.5, 3]),
                    _tube([(16 * s, 70, level - 14), (17 * s, 70, level + 14)], [5.5, 5.5]),
                    smooth=3,
                )
                for s in (-1, 1)
            ),
            _tube([(0, 80, level - 4), (0, 103, level - 12)], [4, 4.5]),
            smooth=3,
        )
        for solid in (arch, body):
            parts += [
                _Part(solid, CORTICAL),
                _Part(_grown(solid, -1.7), TRABECULAR, "trabecular bone", 18),
            ]
    canal = _column((0, 68), (9.5, 8), -1e4, 1e4)
    return [*parts, _Part(canal, -20), _Part(_grown(canal, -1.5), 15), _Part(_column((0, 68), (5, 4), -1e4, 1e4), 40)]


def _muscles_of_the_back() -> list[_Part]:
    parts = []
    for s in (-1, 1):
        erector = _column((35 * s, 80), (31, 20), -1e4, 1e4, 2.3)
        psoas = _tube([(27 * s, 42, 18), (34 * s, 46, -30), (42 * s, 46, -90)], [5, 13, 18])
        quadratus = _ellipsoid((64 * s, 66, -75), (20, 8, 80), -25 * s)
        crus = _tube([(13 * s, 27, -35), (15 * s, 22, 10), (18 * s, 14, 80)], [3, 4.5, 5])
        parts += [
            _Part(erector, MUSCLE, "muscle", 5),
            _Part(psoas, MUSCLE + 3, "muscle", 4),
            _Part(quadratus, MUSCLE, "muscle", 4),
            _Part(crus, MUSCLE),
        ]
    return parts


def _lungs() -> list[_Part]:
    around = _without(_grown(_CAVITY, -1.5), _under_diaphragm(0.0))
    beside_spine = _without(around, _column((0, 62), (34, 40), -1e4, 1e4))
    above_its_end = _Solid(beside_spine.distance, (*beside_spine.box[:4], _RECESS_FROM, 1e4))
    return [_Part(above_its_end, LUNG, "lung", 25)]


def _liver_solid() -> _Solid:
    right = _without(_ellipsoid((-75, 0, 22), (72, 80, 80)), _ellipsoid((12, 30, -18), (72, 66, 74)))
    left = _ellipsoid((-14, -54, 34), (66, 26, 42), 4)
    caudate = _ellipsoid((-22, -2, 36), (16, 14, 22))
    fissure = _tube([(-28, -74, 40), (-27, -40, 22)], [3, 5])
    whole = _both(_union(right, left, caudate, smooth=14), _under_diaphragm(3))
    return _without(whole, fissure)


def _liver(liver: _Solid, rng: np.random.Generator) -> list[_Part]:
    inside = _grown(liver, -3)
    hepatic = _union(
        _tube([(-20, 9, 62), (-60, 8, 50), (-105, 18, 34)], [5, 3.5, 1.2]),
        _tube([(-22, 5, 62), (-48, -22, 46), (-66, -52, 30)], [5, 3.2, 1.2]),
        _tube([(-18, 4, 62), (-14, -28, 54), (14, -56, 44)], [4.5, 3, 1]),
    )
    hilum = (-40.0, -12.0, 20.0)
    portal = [_tube([hilum, (-62, -14, 20), (-74, -16, 18)], [6, 5, 4.5])]
    for end in ((-104.0, -44.0, 22.0), (-100.0, 20.0, 8.0), (-110.0, -8.0, 42.0), (-86.0, -52.0, -2.0)):
        portal += _branches((-74.0, -16.0, 18.0), end, 3.6, 2, rng)
    portal += _branches((-40.0, -12.0, 20.0), (-6.0, -54.0, 30.0), 3.6, 2, rng)
    bile = _ellipsoid((-48, -42, -14), (12, 18, 24), 20)
    return [
        _Part(liver, LIVER, "liver", 3),
        *(_Part(_both(vein, inside), VEIN) for vein in portal),
        _Part(_both(hepatic, inside), VEIN),
        *(
            _Part(_ellipsoid(centre, (d / 2, d / 2, d / 2)), LIVER + contrast, "liver lesion", 2)
            for centre, d, contrast in LIVER_LESIONS
        ),
        _Part(_grown(bile, 1.6), 65),
        _Part(bile, 8, "gallbladder"),
    ]


def _branches(start: Point, end: Point, radius: float, depth: int, rng: np.random.Generator) -> list[_Solid]:
    """Grow a small tree of vessels from start to end, forking at the end."""
    a, b = np.array(start), np.array(end)
    middle = (a + b) / 2 + rng.normal(0, 4, 3)
    vessel = _tube([start, (middle[0], middle[1], middle[2]), end], [radius, 0.8 * radius, 0.62 * radius])
    if depth == 0:
        return [vessel]
    tree = [vessel]
    for sign in (-1, 1):
        for origin in (middle, b):
            way = (b - a) * 0.55 + sign * np.cross(b - a, rng.normal(size=3)) * 0.3
            tip = origin + way
            tree += _branches(
                (origin[0], origin[1], origin[2]), (tip[0], tip[1], tip[2]), 0.55 * radius, depth - 1, rng
            )
    return tree


def _stomach() -> list[_Part]:
    outer = _both(
        _tube(
            [(72, 18, 74), (78, -12, 44), (64, -42, 14), (28, -50, -6), (-16, -38, -12)],
            [36, 33, 24, 16, 11],
        ),
        _under_diaphragm(3),
    )
    lumen = _grown(outer, -4)
    gas = _both(lumen, _in_front_of(-48))
    return [
        _Part(outer, BOWEL_WALL, "bowel and stomach"),
        _Part(lumen, 22, "bowel and stomach", 6),
        _Part(gas, GAS, "gas"),
    ]


def _spleen() -> list[_Part]:
    solid = _both(
        _without(_ellipsoid((100, 36, 30), (36, 44, 54), 20), _ellipsoid((64, 16, 30), (38, 42, 70))),
        _under_diaphragm(3),
    )
    return [_Part(solid, 120, "spleen", 3)]


def _colon_and_bowel(rng: np.random.Generator) -> list[_Part]:
    parts = []
    for solid, level in (
        (_tube([(-104, 20, -90), (-102, 12, -56), (-92, -24, -46)], [19, 18, 16]), -2.0),
        (_tube([(-92, -24, -46), (-50, -58, -52), (20, -62, -44), (84, -44, -22)], [16, 17, 16, 14]), -60.0),
        (_tube([(84, -44, -22), (112, -8, -4), (114, 30, -24), (108, 36, -90)], [14, 14, 13, 13]), -20.0),
    ):
        parts += _gut(_both(solid, _grown(_CAVITY, -3)), level, 35, 10)
    for x in (-8.0, 20.0, 48.0, 76.0):
        for y in (-36.0, -10.0, 16.0):
            for z in (-70.0, -44.0, -20.0):
                if (y > 10 and x > 35) or (z > -30 and (y > -20 or x < 30)) or x + y < -30:
                    continue
                centre = np.array([x, y, z]) + rng.normal(0, 2, 3)
                way = rng.normal(size=3) * (1, 1, 0.6)
                way *= 8 / np.linalg.norm(way)
                ends = [(float(p[0]), float(p[1]), float(p[2])) for p in (centre - way, centre + way)]
                parts += _gut(_tube(ends, [10.5, 10.5]), -44 if rng.random() < 0.25 else -1e3, 28, 6)
    for _ in range(26):  # small vessels of the mesentery
        tip = (rng.uniform(-30, 95), rng.uniform(-68, 25), rng.uniform(-80, -10))
        radius = rng.uniform(0.8, 2.0)
        parts.append(_Part(_tube([(-2, -4, tip[2] + 25), tip], [radius, 0.7 * radius]), 140))
    return parts


def _gut(outer: _Solid, gas_level: float, content: float, texture: float) -> list[_Part]:
    lumen = _grown(outer, -2.2)
    return [
        _Part(outer, BOWEL_WALL + 10, "bowel and stomach"),
        _Part(lumen, content, "bowel and stomach", texture),
        _Part(_both(lumen, _in_front_of(gas_level)), GAS, "gas"),
    ]


def _kidneys() -> list[_Part]:
    parts = []
    for s, (cx, cy, cz) in ((-1, (-62.0, 34.0, -36.0)), (1, (64.0, 34.0, -20.0))):
        kidney = _ellipsoid((cx, cy, cz), (26, 30, 52), 25 * s)
        hilum = (cx - 20 * s, cy - 10, cz)
        sinus = _union(_ellipsoid(hilum, (16, 9, 17)), _ellipsoid((cx - 4 * s, cy - 2, cz), (9, 12, 26)), smooth=4)
        parts += [
            _Part(_grown(kidney, 7), FAT, "fat", 6),
            _Part(kidney, 170, "kidney cortex", 3),
        ]
        parts += [_Part(pyramid, 130, "kidney medulla", 3) for pyramid in _pyramids((cx, cy, cz), s)]
        parts += [
            _Part(sinus, -85),
            _Part(_ellipsoid((cx - 8 * s, cy - 3, cz), (6, 7, 12)), 18),
        ]
    adrenals = [
        _tube([(-34, 28, 30), (-40, 40, 18)], [2.2, 1.5]),
        _tube([(36, 22, 28), (34, 32, 14)], [2.2, 1.5]),
        _tube([(36, 22, 28), (42, 32, 16)], [2.2, 1.5]),
    ]
    return [*parts, *(_Part(adrenal, 65) for adrenal in adrenals)]


def _pyramids(centre: Point, side: int) -> list[_Solid]:
    """The medulla of a kidney: cones about its axis, here ellipsoids that point to the sinus."""
    pyramids = []
    for row, z in enumerate((-36.0, -22.0, -8.0, 8.0, 22.0, 36.0)):
        reach = 0.58 * float(np.sqrt(1 - (z / 52) ** 2))
        for turn in range(-115 + 24 * (row % 2), 116, 48):
            angle = np.deg2rad(turn)
            x, y = 26 * reach * float(np.cos(angle)) * side, 30 * reach * float(np.sin(angle))
            middle = (centre[0] + x, centre[1] + y, centre[2] + z)
            pyramids.append(_ellipsoid(middle, (8.0, 5.2, 6.5), float(np.rad2deg(np.arctan2(y, x)))))
    return pyramids


def _great_vessels() -> list[_Part]:
    aorta = _tube([(7, 17, -90), (8, 16, 0), (9, 19, 90)], [9, 9.5, 11])
    arteries = [
        _tube([(8, 10, -4), (6, -4, -16), (6, -6, -90)], [4, 3.6, 3.2]),  # superior mesenteric
        _tube([(8, 10, 12), (5, -6, 17), (-8, -12, 18), (-30, -16, 18)], [3.5, 3.2, 2.4, 2]),  # coeliac, hepatic
        _tube([(5, -6, 17), (34, 8, 18), (80, 24, 24)], [2.8, 2.4, 2]),  # splenic
        _tube([(8, 16, -14), (36, 32, -16), (48, 36, -18)], [3, 2.6, 2.2]),  # left renal
        _tube([(8, 16, -18), (-24, 34, -28), (-44, 36, -34)], [3, 2.6, 2.2]),  # right renal
    ]
    cava = _tube([(-18, 19, -90), (-18, 18, 0), (-21, 10, 45), (-18, 6, 90)], [9.5, 9.5, 10.5, 11])
    veins = [
        _tube([(-20, 18, -22), (-30, 26, -28), (-46, 34, -36)], [5, 4.5, 4]),  # right renal
        _tube([(-14, 14, -16), (8, 3, -17), (34, 22, -18), (50, 34, -20)], [4.5, 3.6, 4.5, 4]),  # left renal
        _tube([(-8, -6, -90), (-8, -6, -12), (-9, -3, 0)], [5, 5.5, 6.5]),  # superior mesenteric
        _tube([(-9, -3, 0), (-24, -6, 11), (-40, -12, 20)], [6.5, 6.5, 6]),  # portal
        _tube([(-9, -3, 0), (20, 2, 4), (50, 10, 10), (86, 28, 20)], [5, 4.2, 4, 3.5]),  # splenic
    ]
    plaque = _tube([(15.5, 20, -8), (16, 21, 6)], [0.9, 1.4])
    return [
        _Part(cava, 145, "veins"),
        *(_Part(vein, VEIN, "veins") for vein in veins),
        _Part(aorta, AORTA, "aorta"),
        *(_Part(artery, AORTA) for artery in arteries),
        _Part(plaque, 450),
    ]


def _pancreas(phase: npt.NDArray[np.float64]) -> list[_Part]:
    def lobulated(solid: _Solid, depth: float, period: float) -> _Solid:
        k = 2 * np.pi / period

        def distance(x: Floats, y: Floats, z: float) -> Floats:
            waves = np.sin(k * x + phase[0]) * np.sin(k * y + phase[1])
            waves = waves + np.sin(0.7 * k * (x - y) + phase[2]) * np.cos(0.8 * k * z)
            return np.asarray(solid.distance(x, y, z) + np.float32(depth) * waves)

        return _Solid(distance, _grown(solid, 2 * depth).box)

    duodenum = _tube([(-16, -38, -12), (-46, -24, -8), (-56, 2, -20), (-52, 10, -46), (-10, 12, -54)], [11] * 5)
    centre_line = [(-32, 2, -14), (-14, -12, -4), (14, -13, 3), (42, -5, 7), (70, 12, 12), (84, 22, 15)]
    gland = _union(
        _tube(centre_line, [15, 9, 11, 10.5, 9.5, 6]),
        _tube([(-32, 4, -14), (-28, 4, -34), (-18, 8, -38)], [15, 12, 7]),
        smooth=6,
    )
    vein = _tube([(-8, -4, -90), (-9, -2, 0), (-24, -4, 11)], [7, 8, 8])
    centre, diameter, contrast = PANCREAS_LESION
    r = diameter / 2
    return [
        *_gut(duodenum, -26, 25, 6),
        _Part(_without(lobulated(gland, 1.5, 13.0), vein), PANCREAS_HU, "pancreas", 5),
        # The lesion narrows the duct, which is wide upstream of it, towards the tail.
        _Part(_tube(centre_line[:3], [1.3, 1.1, 1.0]), 20),
        _Part(_tube(centre_line[2:5], [2.2, 2.0, 1.4]), 20),
        _Part(_ellipsoid(centre, (r, r, r)), PANCREAS_HU + contrast, "pancreas lesion", 3),
    ]
