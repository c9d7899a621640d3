"""The trunk around the organs: table, wall, ribs, spine, muscles of the back, and the lungs over the diaphragm."""

from __future__ import annotations

import numpy as np

from meddenoise.phantom.materials import CORTICAL, DISC, FAT, LUNG, MUSCLE, TRABECULAR, Part
from meddenoise.phantom.solids import Floats, Solid, column, ellipsoid, grown, tube, union, without

#: What the wall of the trunk leaves free: abdomen below the diaphragm, lungs above it.
CAVITY = column((0, -2), (136, 81), -1e4, 1e4, 2.4)
_RECESS_FROM = 36.0  # z of the lower end of the lungs, mm


def _recess(z: float) -> float:
    """Return how deep the lung reaches between chest wall and diaphragm (mm)."""
    return max(0.0, (z - _RECESS_FROM) * 0.75)


def under_diaphragm(gap: float) -> Solid:
    """Return the abdominal cavity under the dome of the diaphragm, less a gap in mm."""

    def distance(x: Floats, y: Floats, z: float) -> Floats:
        depth = gap + _recess(z) * np.clip((y + 70) / 90, 0.15, 1)
        return np.asarray(CAVITY.distance(x, y, z) + depth, np.float32)

    return Solid(distance, CAVITY.box)


def table() -> list[Part]:
    """Make the table that the patient lies on."""

    def board(x: Floats, y: Floats, z: float) -> Floats:
        top = 119 - 4e-4 * x * x
        return np.asarray(np.maximum(np.maximum(top - y, y - 150), np.abs(x) - 178))

    solid = Solid(board, (-178, 178, 100, 150, -1e4, 1e4))
    return [Part(solid, -250), Part(grown(solid, -2.0), -930)]


def trunk() -> list[Part]:
    """Make skin, fat and the muscles of the wall, with the cavity inside, full of fat."""
    skin = column((0, 0), (168, 113), -1e4, 1e4, 2.25)
    wall = column((0, 1), (148, 94), -1e4, 1e4, 2.35)
    between_muscles = Solid(
        lambda x, y, z: np.maximum(np.abs(wall.distance(x, y, z) + 4.5) - 0.5, 70 - np.abs(x)), wall.box
    )
    return [
        Part(skin, 45),
        Part(grown(skin, -2.2), FAT, "fat", 5),
        Part(wall, MUSCLE, "muscle", 4),
        Part(between_muscles, -50),
        Part(CAVITY, FAT, "fat", 6),
    ]


def ribs() -> list[Part]:
    """Make the ribs: they run in the wall, falling forwards, so that an axial slice cuts each obliquely."""
    arc, fall, z_at_spine = 118.0, 0.36, (150.0, 122.0, 94.0, 66.0, 40.0)
    ends = (2.5, 2.4, 2.3, 1.9, 1.2)

    def distance(x: Floats, y: Floats, z: float) -> Floats:
        radial = np.abs(CAVITY.distance(x, y, z) - 5.5)
        angle = np.abs(np.arctan2(x / 142, y / 87))
        nearest = np.full(x.shape, np.inf, np.float32)
        for z0, end in zip(z_at_spine, ends, strict=True):
            height = (z - z0 + fall * arc * angle) / np.hypot(1, fall)
            rib = np.hypot(radial / 3.6, height / 6.0) * 3.6 - 3.6
            beyond = np.maximum(angle - end, 0.45 - angle) * arc
            np.minimum(nearest, np.maximum(rib, beyond), out=nearest)
        return nearest

    solid = Solid(distance, grown(CAVITY, 12).box)
    return [
        Part(solid, CORTICAL - 50),
        Part(grown(solid, -1.6), TRABECULAR, "trabecular bone", 8),
    ]


def spine() -> list[Part]:
    """Make vertebrae, discs and spinal canal."""
    parts = [Part(column((0, 44), (20, 15.5), -1e4, 1e4, 2.2), DISC)]
    for level in (-66.0, -33.0, 0.0, 33.0, 66.0):
        body = column((0, 44), (21, 16.5), level - 12.5, level + 12.5, 2.2)
        arch = union(
            *(
                union(
                    tube([(12 * s, 54, level + 4), (14 * s, 66, level + 3)], [5, 4.5]),
                    tube([(14 * s, 66, level + 3), (3 * s, 81, level - 5)], [4.5, 4]),
                    tube([(14 * s, 66, level + 3), (36 * s, 74, level + 4)], [4.5, 3]),
                    tube([(16 * s, 70, level - 14), (17 * s, 70, level + 14)], [5.5, 5.5]),
                    smooth=3,
                )
                for s in (-1, 1)
            ),
            tube([(0, 80, level - 4), (0, 103, level - 12)], [4, 4.5]),
            smooth=3,
        )
        for solid in (arch, body):
            parts += [
                Part(solid, CORTICAL),
                Part(grown(solid, -1.7), TRABECULAR, "trabecular bone", 18),
            ]
    canal = column((0, 68), (9.5, 8), -1e4, 1e4)
    return [*parts, Part(canal, -20), Part(grown(canal, -1.5), 15), Part(column((0, 68), (5, 4), -1e4, 1e4), 40)]


def muscles_of_the_back() -> list[Part]:
    """Make the muscles beside the spine."""
    parts = []
    for s in (-1, 1):
        erector = column((35 * s, 80), (31, 20), -1e4, 1e4, 2.3)
        psoas = tube([(27 * s, 42, 18), (34 * s, 46, -30), (42 * s, 46, -90)], [5, 13, 18])
        quadratus = ellipsoid((64 * s, 66, -75), (20, 8, 80), -25 * s)
        crus = tube([(13 * s, 27, -35), (15 * s, 22, 10), (18 * s, 14, 80)], [3, 4.5, 5])
        parts += [
            Part(erector, MUSCLE, "muscle", 5),
            Part(psoas, MUSCLE + 3, "muscle", 4),
            Part(quadratus, MUSCLE, "muscle", 4),
            Part(crus, MUSCLE),
        ]
    return parts


def lungs() -> list[Part]:
    """Make the lower ends of the lungs, around the dome of the diaphragm."""
    around = without(grown(CAVITY, -1.5), under_diaphragm(0.0))
    beside_spine = without(around, column((0, 62), (34, 40), -1e4, 1e4))
    above_its_end = Solid(beside_spine.distance, (*beside_spine.box[:4], _RECESS_FROM, 1e4))
    return [Part(above_its_end, LUNG, "lung", 25)]
