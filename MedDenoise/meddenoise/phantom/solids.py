"""Solids given by signed distances in mm, and how new ones are made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Point = tuple[float, float, float]
Distance = Callable[[Floats, Floats, float], Floats]


@dataclass(frozen=True)
class Solid:
    """A signed distance in mm, negative inside, and a box (x, y, z from and to) outside of which it is positive."""

    distance: Distance
    box: tuple[float, float, float, float, float, float]


def ellipsoid(centre: Point, radii: Point, turn: float = 0.0) -> Solid:
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
    return Solid(distance, (cx - ax, cx + ax, cy - ay, cy + ay, cz - rz, cz + rz))


def tube(points: Sequence[Point], radii: Sequence[float]) -> Solid:
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
    return Solid(distance, (low[0] - r, high[0] + r, low[1] - r, high[1] + r, low[2] - r, high[2] + r))


def column(
    centre: tuple[float, float], radii: tuple[float, float], low: float, high: float, power: float = 2.0
) -> Solid:
    """Make an upright column from z ``low`` to ``high`` whose section is a superellipse."""
    (cx, cy), (rx, ry) = centre, radii

    def distance(x: Floats, y: Floats, z: float) -> Floats:
        u, v = np.abs(x - cx) / rx, np.abs(y - cy) / ry
        level = (u**power + v**power) ** (1 / power) + np.float32(1e-6)
        slope = level ** (1 - power) * np.hypot(u ** (power - 1) / rx, v ** (power - 1) / ry) + np.float32(1e-6)
        return np.asarray(np.maximum((level - 1) / slope, max(low - z, z - high)))

    return Solid(distance, (cx - rx, cx + rx, cy - ry, cy + ry, low, high))


def union(*solids: Solid, smooth: float = 0.0) -> Solid:
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
    return Solid(distance, (low[0], high[0], low[1], high[1], low[2], high[2]))


def both(first: Solid, second: Solid) -> Solid:
    """Keep what lies in both solids."""
    a, b = np.array(first.box), np.array(second.box)
    low, high = np.maximum(a[::2], b[::2]), np.minimum(a[1::2], b[1::2])
    return Solid(
        lambda x, y, z: np.maximum(first.distance(x, y, z), second.distance(x, y, z)),
        (low[0], high[0], low[1], high[1], low[2], high[2]),
    )


def without(solid: Solid, hole: Solid) -> Solid:
    """Take a hole out of a solid."""
    return Solid(lambda x, y, z: np.maximum(solid.distance(x, y, z), -hole.distance(x, y, z)), solid.box)


def grown(solid: Solid, by: float) -> Solid:
    """Let a solid grow by some mm on all sides; shrink it when negative."""
    a = solid.box
    box = (a[0] - by, a[1] + by, a[2] - by, a[3] + by, a[4] - by, a[5] + by)
    return Solid(lambda x, y, z: solid.distance(x, y, z) - np.float32(by), box)


def in_front_of(level: float) -> Solid:
    """Keep what lies in front of a coronal plane: where gas gathers in a patient on the back."""
    return Solid(lambda x, y, z: y - np.float32(level) + 0 * x, (-1e4, 1e4, -1e4, level, -1e4, 1e4))
