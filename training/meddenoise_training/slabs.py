"""Slices of a series put in runs of even spacing, whose thin neighbours are averaged into cleaner targets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from meddenoise.dicom.geometry import DIRECTION_TOLERANCE, POSITION_TOLERANCE_MM, POSITION_TOLERANCE_PART
from meddenoise.intensity import AIR_HU, METAL_ABOVE_HU, is_padding

HU = npt.NDArray[np.int16] | npt.NDArray[np.float32]
#: Air with its noise lies below, the body above (lung too, for the most part), HU.
BODY_ABOVE_HU = -900.0
#: Of a slice's normal, along the patient: gantries tilt by 30 degrees at most.
LEAST_AXIAL = 0.8
#: Closer than this two slices are at the same position, mm.
_SAME_POSITION_MM = 1e-3
_TWO_IN_ONE_PLACE = "two in one place"
#: So many breaks of a series are named: a line has to stay readable.
_NAMED_BREAKS = 3


@dataclass(frozen=True)
class TrainingSlice:
    """One slice: (j, i) HU from air to metal, and what its header says; None where it does not.

    :param position: of the centre of its first pixel, LPS, mm; ``orientation`` along a row, then along a column.
    :param pixel_mm: between rows, then between columns.
    """

    hu: HU
    position: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None
    pixel_mm: tuple[float, ...] | None = None
    thickness_mm: float | None = None
    kernel: str | None = None
    kvp: float | None = None
    mas: float | None = None


@dataclass(frozen=True)
class Target:
    """What a network is asked for: (j, i) int16 HU, the mean of ``slab`` slices ``spacing_mm`` apart about one.

    :param run: number of its run in the series.
    """

    hu: npt.NDArray[np.int16]
    middle: TrainingSlice
    slab: int
    spacing_mm: float | None
    run: int


@dataclass
class Run:
    """Slices one after the other, evenly spaced; ``spacing_mm``, the mean, is None for a slice without neighbours."""

    slices: list[TrainingSlice] = field(default_factory=list)
    spacing_mm: float | None = None

    @property
    def thickness_mm(self) -> float | None:
        """Return the thickness of its thickest slice; None where no header says one."""
        return max((s.thickness_mm for s in self.slices if s.thickness_mm is not None), default=None)


def air_to_metal(hu: HU, padding: npt.NDArray[np.bool_] | None = None) -> HU:
    """Return HU with padding (what the intensity scale calls so, and what is given) made air, and metal clipped."""
    outside = is_padding(hu) if padding is None else is_padding(hu) | padding
    clipped = np.minimum(hu, hu.dtype.type(METAL_ABOVE_HU))
    clipped[outside] = AIR_HU
    return clipped


def targets_of(slices: list[TrainingSlice], slab_mm: float) -> Iterator[Target]:
    """Yield the targets of a series: means over slabs where its slices are thin, else each slice, rounded to HU.

    :param slices: in any order, of one size.
    :param slab_mm: thickest slab, see :func:`slab_thickness`; 0 for none. No slab reaches over a gap or a change of
        spacing.
    """
    for number, run in enumerate(runs(slices)):
        count = slab_count(run.spacing_mm, run.thickness_mm, len(run.slices), slab_mm)
        reach = count // 2
        for middle in range(reach, len(run.slices) - reach):
            slab = [s.hu for s in run.slices[middle - reach : middle + reach + 1]]
            hu = np.rint(np.mean(slab, axis=0, dtype=np.float64)).astype(np.int16)
            yield Target(hu, run.slices[middle], count, run.spacing_mm, number)


def slab_count(spacing_mm: float | None, thickness_mm: float | None, slices: int, slab_mm: float) -> int:
    """Return how many neighbours make a slab: an odd number, 1 where neighbours are unknown or not thin enough."""
    if spacing_mm is None:
        return 1
    room = slab_mm - slab_thickness(1, spacing_mm, thickness_mm)
    fitting = min(slices, math.floor(room / spacing_mm + 1e-6) + 1)
    return max(1, fitting - (fitting + 1) % 2)


def slab_thickness(count: int, spacing_mm: float, thickness_mm: float | None) -> float:
    """Return how much of the body neighbours cover, from the first one's upper face to the last one's lower, mm.

    :param thickness_mm: of each; None where no header says it, then they are taken to lie side by side.
    """
    return (count - 1) * spacing_mm + (spacing_mm if thickness_mm is None else thickness_mm)


def runs(slices: list[TrainingSlice]) -> list[Run]:
    """Put slices in order along their normal, in runs whose neighbours lie one spacing apart in one plane's direction.

    A gap, another spacing, another orientation or pixel size, and a shift to the side (gantry tilt) begin a new run.
    Slices without a position, and series with two slices in one place (several phases), are runs of one slice each.
    """
    lone = [Run([s]) for s in slices]
    first = slices[0].orientation if slices else None
    if first is None or any(s.position is None or s.orientation is None for s in slices):
        return lone
    normal = np.cross(first[:3], first[3:])
    along = np.array([np.dot(s.position or (), normal) for s in slices])
    order = np.argsort(along, kind="stable")
    if np.any(np.diff(along[order]) < _SAME_POSITION_MM):
        return [lone[i] for i in order]
    found: list[Run] = []
    for i in order:
        _append(found, slices[i], normal)
    return found


def breaks(found: list[Run]) -> str:
    """Return in a line what breaks the slices of a series into runs; empty where they are a single one."""
    if len(found) < 2:
        return ""
    slices = np.cumsum([len(run.slices) for run in found])
    reasons = [f"{_break(*pair)} after slice {n}" for pair, n in zip(itertools.pairwise(found), slices, strict=False)]
    if any(s.position is None or s.orientation is None for run in found for s in run.slices):
        reasons = ["not all have a position"]
    # Slices that share places are taken for several phases: what lies between the others is no break.
    reasons = [r for r in reasons if r.startswith(_TWO_IN_ONE_PLACE)] or reasons
    more = [f"{len(reasons) - _NAMED_BREAKS} more"] if len(reasons) > _NAMED_BREAKS else []
    return f"{len(found)} runs of slices: {'; '.join(reasons[:_NAMED_BREAKS] + more)}"


def _break(before: Run, after: Run) -> str:
    """Return why a run does not go on with the next one."""
    last, first = before.slices[-1], after.slices[0]
    if last.position is None or last.orientation is None or first.position is None:
        return "no position"
    step = _step(last, first, np.cross(last.orientation[:3], last.orientation[3:]))
    if step is None:
        return "shifted sideways, turned or of another pixel size"
    if step < _SAME_POSITION_MM:
        return _TWO_IN_ONE_PLACE
    if before.spacing_mm and after.spacing_mm and not _same_step(before.spacing_mm, after.spacing_mm):
        return f"spacing changes from {before.spacing_mm:.3g} to {after.spacing_mm:.3g} mm"
    return f"gap of {step:.3g} mm"


def _append(found: list[Run], one: TrainingSlice, normal: npt.NDArray[np.float64]) -> None:
    """Append a slice to the last run where it goes on with it, else begin a run."""
    last = found[-1] if found else Run()
    step = _step(last.slices[-1], one, normal) if last.slices else None
    if step is None:
        found.append(Run([one]))
    elif last.spacing_mm is None or _same_step(step, last.spacing_mm):
        last.slices.append(one)
        steps = len(last.slices) - 1
        last.spacing_mm = ((last.spacing_mm or 0.0) * (steps - 1) + step) / steps  # the mean: positions are rounded
    elif len(last.slices) == 2 and step < last.spacing_mm:
        # What looked like a run of two was a gap: its second slice belongs to what comes.
        found.append(Run([last.slices.pop(), one], step))
        last.spacing_mm = None
    else:
        found.append(Run([one]))


def _step(before: TrainingSlice, after: TrainingSlice, normal: npt.NDArray[np.float64]) -> float | None:
    """Return how far a slice lies from the one before, mm; None where it is shifted sideways or of another grid."""
    for ours, theirs in ((before.orientation, after.orientation), (before.pixel_mm, after.pixel_mm)):
        if (ours is None) != (theirs is None):
            return None
        if ours and theirs and not np.allclose(ours, theirs, rtol=0, atol=DIRECTION_TOLERANCE):
            return None
    step = np.subtract(after.position or (), before.position or ())
    along = float(step @ normal)
    sideways = float(np.linalg.norm(step - along * normal))
    return along if sideways <= _tolerance(along) else None


def _same_step(step: float, spacing: float) -> bool:
    # Both ends of a step are rounded.
    return abs(step - spacing) <= 2 * _tolerance(spacing) + _SAME_POSITION_MM


def _tolerance(spacing: float) -> float:
    return max(POSITION_TOLERANCE_MM, POSITION_TOLERANCE_PART * spacing)
