"""The organs of the upper abdomen with their vessels, and the lesions in them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from meddenoise.phantom.materials import AORTA, BOWEL_WALL, FAT, GAS, LIVER, VEIN, Part
from meddenoise.phantom.solids import (
    Floats,
    Point,
    Solid,
    both,
    ellipsoid,
    grown,
    in_front_of,
    tube,
    union,
    without,
)
from meddenoise.phantom.trunk import CAVITY, under_diaphragm

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


def _liver_solid() -> Solid:
    right = without(ellipsoid((-75, 0, 22), (72, 80, 80)), ellipsoid((12, 30, -18), (72, 66, 74)))
    left = ellipsoid((-14, -54, 34), (66, 26, 42), 4)
    caudate = ellipsoid((-22, -2, 36), (16, 14, 22))
    fissure = tube([(-28, -74, 40), (-27, -40, 22)], [3, 5])
    whole = both(union(right, left, caudate, smooth=14), under_diaphragm(3))
    return without(whole, fissure)


def liver(rng: np.random.Generator) -> list[Part]:
    """Make the liver with its vessels, its lesions and the gallbladder."""
    solid = _liver_solid()
    inside = grown(solid, -3)
    hepatic = union(
        tube([(-20, 9, 62), (-60, 8, 50), (-105, 18, 34)], [5, 3.5, 1.2]),
        tube([(-22, 5, 62), (-48, -22, 46), (-66, -52, 30)], [5, 3.2, 1.2]),
        tube([(-18, 4, 62), (-14, -28, 54), (14, -56, 44)], [4.5, 3, 1]),
    )
    hilum = (-40.0, -12.0, 20.0)
    portal = [tube([hilum, (-62, -14, 20), (-74, -16, 18)], [6, 5, 4.5])]
    for end in ((-104.0, -44.0, 22.0), (-100.0, 20.0, 8.0), (-110.0, -8.0, 42.0), (-86.0, -52.0, -2.0)):
        portal += _branches((-74.0, -16.0, 18.0), end, 3.6, 2, rng)
    portal += _branches((-40.0, -12.0, 20.0), (-6.0, -54.0, 30.0), 3.6, 2, rng)
    bile = ellipsoid((-48, -42, -14), (12, 18, 24), 20)
    return [
        Part(solid, LIVER, "liver", 3),
        *(Part(both(vein, inside), VEIN) for vein in portal),
        Part(both(hepatic, inside), VEIN),
        *(
            Part(ellipsoid(centre, (d / 2, d / 2, d / 2)), LIVER + contrast, "liver lesion", 2)
            for centre, d, contrast in LIVER_LESIONS
        ),
        Part(grown(bile, 1.6), 65),
        Part(bile, 8, "gallbladder"),
    ]


def _branches(start: Point, end: Point, radius: float, depth: int, rng: np.random.Generator) -> list[Solid]:
    """Grow a small tree of vessels from start to end, forking at the end."""
    a, b = np.array(start), np.array(end)
    middle = (a + b) / 2 + rng.normal(0, 4, 3)
    vessel = tube([start, (middle[0], middle[1], middle[2]), end], [radius, 0.8 * radius, 0.62 * radius])
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


def stomach() -> list[Part]:
    """Make the stomach, half full."""
    outer = both(
        tube(
            [(72, 18, 74), (78, -12, 44), (64, -42, 14), (28, -50, -6), (-16, -38, -12)],
            [36, 33, 24, 16, 11],
        ),
        under_diaphragm(3),
    )
    lumen = grown(outer, -4)
    gas = both(lumen, in_front_of(-48))
    return [
        Part(outer, BOWEL_WALL, "bowel and stomach"),
        Part(lumen, 22, "bowel and stomach", 6),
        Part(gas, GAS, "gas"),
    ]


def spleen() -> list[Part]:
    """Make the spleen."""
    solid = both(
        without(ellipsoid((100, 36, 30), (36, 44, 54), 20), ellipsoid((64, 16, 30), (38, 42, 70))),
        under_diaphragm(3),
    )
    return [Part(solid, 120, "spleen", 3)]


def colon_and_bowel(rng: np.random.Generator) -> list[Part]:
    """Make colon, loops of the small bowel and the vessels of the mesentery."""
    parts = []
    for solid, level in (
        (tube([(-104, 20, -90), (-102, 12, -56), (-92, -24, -46)], [19, 18, 16]), -2.0),
        (tube([(-92, -24, -46), (-50, -58, -52), (20, -62, -44), (84, -44, -22)], [16, 17, 16, 14]), -60.0),
        (tube([(84, -44, -22), (112, -8, -4), (114, 30, -24), (108, 36, -90)], [14, 14, 13, 13]), -20.0),
    ):
        parts += _gut(both(solid, grown(CAVITY, -3)), level, 35, 10)
    for x in (-8.0, 20.0, 48.0, 76.0):
        for y in (-36.0, -10.0, 16.0):
            for z in (-70.0, -44.0, -20.0):
                if (y > 10 and x > 35) or (z > -30 and (y > -20 or x < 30)) or x + y < -30:
                    continue
                centre = np.array([x, y, z]) + rng.normal(0, 2, 3)
                way = rng.normal(size=3) * (1, 1, 0.6)
                way *= 8 / np.linalg.norm(way)
                ends = [(float(p[0]), float(p[1]), float(p[2])) for p in (centre - way, centre + way)]
                parts += _gut(tube(ends, [10.5, 10.5]), -44 if rng.random() < 0.25 else -1e3, 28, 6)
    for _ in range(26):  # small vessels of the mesentery
        tip = (rng.uniform(-30, 95), rng.uniform(-68, 25), rng.uniform(-80, -10))
        radius = rng.uniform(0.8, 2.0)
        parts.append(Part(tube([(-2, -4, tip[2] + 25), tip], [radius, 0.7 * radius]), 140))
    return parts


def _gut(outer: Solid, gas_level: float, content: float, texture: float) -> list[Part]:
    lumen = grown(outer, -2.2)
    return [
        Part(outer, BOWEL_WALL + 10, "bowel and stomach"),
        Part(lumen, content, "bowel and stomach", texture),
        Part(both(lumen, in_front_of(gas_level)), GAS, "gas"),
    ]


def kidneys() -> list[Part]:
    """Make kidneys and adrenals, in their fat."""
    parts = []
    for s, (cx, cy, cz) in ((-1, (-62.0, 34.0, -36.0)), (1, (64.0, 34.0, -20.0))):
        kidney = ellipsoid((cx, cy, cz), (26, 30, 52), 25 * s)
        hilum = (cx - 20 * s, cy - 10, cz)
        sinus = union(ellipsoid(hilum, (16, 9, 17)), ellipsoid((cx - 4 * s, cy - 2, cz), (9, 12, 26)), smooth=4)
        parts += [
            Part(grown(kidney, 7), FAT, "fat", 6),
            Part(kidney, 170, "kidney cortex", 3),
        ]
        parts += [Part(pyramid, 130, "kidney medulla", 3) for pyramid in _pyramids((cx, cy, cz), s)]
        parts += [
            Part(sinus, -85),
            Part(ellipsoid((cx - 8 * s, cy - 3, cz), (6, 7, 12)), 18),
        ]
    adrenals = [
        tube([(-34, 28, 30), (-40, 40, 18)], [2.2, 1.5]),
        tube([(36, 22, 28), (34, 32, 14)], [2.2, 1.5]),
        tube([(36, 22, 28), (42, 32, 16)], [2.2, 1.5]),
    ]
    return [*parts, *(Part(adrenal, 65) for adrenal in adrenals)]


def _pyramids(centre: Point, side: int) -> list[Solid]:
    """The medulla of a kidney: cones about its axis, here ellipsoids that point to the sinus."""
    pyramids = []
    for row, z in enumerate((-36.0, -22.0, -8.0, 8.0, 22.0, 36.0)):
        reach = 0.58 * float(np.sqrt(1 - (z / 52) ** 2))
        for turn in range(-115 + 24 * (row % 2), 116, 48):
            angle = np.deg2rad(turn)
            x, y = 26 * reach * float(np.cos(angle)) * side, 30 * reach * float(np.sin(angle))
            middle = (centre[0] + x, centre[1] + y, centre[2] + z)
            pyramids.append(ellipsoid(middle, (8.0, 5.2, 6.5), float(np.rad2deg(np.arctan2(y, x)))))
    return pyramids


def great_vessels() -> list[Part]:
    """Make aorta and cava with their branches, and the portal vein outside the liver."""
    aorta = tube([(7, 17, -90), (8, 16, 0), (9, 19, 90)], [9, 9.5, 11])
    arteries = [
        tube([(8, 10, -4), (6, -4, -16), (6, -6, -90)], [4, 3.6, 3.2]),  # superior mesenteric
        tube([(8, 10, 12), (5, -6, 17), (-8, -12, 18), (-30, -16, 18)], [3.5, 3.2, 2.4, 2]),  # coeliac, hepatic
        tube([(5, -6, 17), (34, 8, 18), (80, 24, 24)], [2.8, 2.4, 2]),  # splenic
        tube([(8, 16, -14), (36, 32, -16), (48, 36, -18)], [3, 2.6, 2.2]),  # left renal
        tube([(8, 16, -18), (-24, 34, -28), (-44, 36, -34)], [3, 2.6, 2.2]),  # right renal
    ]
    cava = tube([(-18, 19, -90), (-18, 18, 0), (-21, 10, 45), (-18, 6, 90)], [9.5, 9.5, 10.5, 11])
    veins = [
        tube([(-20, 18, -22), (-30, 26, -28), (-46, 34, -36)], [5, 4.5, 4]),  # right renal
        tube([(-14, 14, -16), (8, 3, -17), (34, 22, -18), (50, 34, -20)], [4.5, 3.6, 4.5, 4]),  # left renal
        tube([(-8, -6, -90), (-8, -6, -12), (-9, -3, 0)], [5, 5.5, 6.5]),  # superior mesenteric
        tube([(-9, -3, 0), (-24, -6, 11), (-40, -12, 20)], [6.5, 6.5, 6]),  # portal
        tube([(-9, -3, 0), (20, 2, 4), (50, 10, 10), (86, 28, 20)], [5, 4.2, 4, 3.5]),  # splenic
    ]
    plaque = tube([(15.5, 20, -8), (16, 21, 6)], [0.9, 1.4])
    return [
        Part(cava, 145, "veins"),
        *(Part(vein, VEIN, "veins") for vein in veins),
        Part(aorta, AORTA, "aorta"),
        *(Part(artery, AORTA) for artery in arteries),
        Part(plaque, 450),
    ]


def pancreas(phase: npt.NDArray[np.float64]) -> list[Part]:
    """Make pancreas and duodenum, with the lesion.

    :param phase: three phases of the lobulation, rad.
    """

    def lobulated(solid: Solid, depth: float, period: float) -> Solid:
        k = 2 * np.pi / period

        def distance(x: Floats, y: Floats, z: float) -> Floats:
            waves = np.sin(k * x + phase[0]) * np.sin(k * y + phase[1])
            waves = waves + np.sin(0.7 * k * (x - y) + phase[2]) * np.cos(0.8 * k * z)
            return np.asarray(solid.distance(x, y, z) + np.float32(depth) * waves)

        return Solid(distance, grown(solid, 2 * depth).box)

    duodenum = tube([(-16, -38, -12), (-46, -24, -8), (-56, 2, -20), (-52, 10, -46), (-10, 12, -54)], [11] * 5)
    centre_line = [(-32, 2, -14), (-14, -12, -4), (14, -13, 3), (42, -5, 7), (70, 12, 12), (84, 22, 15)]
    gland = union(
        tube(centre_line, [15, 9, 11, 10.5, 9.5, 6]),
        tube([(-32, 4, -14), (-28, 4, -34), (-18, 8, -38)], [15, 12, 7]),
        smooth=6,
    )
    vein = tube([(-8, -4, -90), (-9, -2, 0), (-24, -4, 11)], [7, 8, 8])
    centre, diameter, contrast = PANCREAS_LESION
    r = diameter / 2
    return [
        *_gut(duodenum, -26, 25, 6),
        Part(without(lobulated(gland, 1.5, 13.0), vein), PANCREAS_HU, "pancreas", 5),
        # The lesion narrows the duct, which is wide upstream of it, towards the tail.
        Part(tube(centre_line[:3], [1.3, 1.1, 1.0]), 20),
        Part(tube(centre_line[2:5], [2.2, 2.0, 1.4]), 20),
        Part(ellipsoid(centre, (r, r, r)), PANCREAS_HU + contrast, "pancreas lesion", 3),
    ]
