"""The grid of a CT series: slices put in order along their normal; what is no regular grid is refused by name."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from meddenoise.dicom.series import Series, Slice
from meddenoise.errors import InputError, counted
from meddenoise.remarks import collected_remarks, remark

#: How far a slice may lie from where a regular grid puts it along the normal, mm; or this part of the spacing,
#: if that is more. Headers round positions, often to 0.1 mm.
POSITION_TOLERANCE_MM = 0.05
POSITION_TOLERANCE_PART = 0.02
#: Direction cosines are written with 6 decimals or so; two that differ more belong to different planes.
DIRECTION_TOLERANCE = 1e-3
#: A gap of more than this many spacings means that slices are missing.
_MISSING_FROM = 1.5
#: Closer than this two slices are at the same position, mm.
_SAME_POSITION_MM = 1e-3


@dataclass(frozen=True)
class Grid:
    """A regular grid of slices.

    :param slices: in order along the normal (row direction x column direction), so that (i, j, k) is right-handed.
    :param spacing: (i, j, k), mm.
    :param origin: of the first slice, LPS, mm.
    :param direction: 3 x 3, row-major, LPS; columns are the directions of i, j, k.
    """

    slices: list[Slice]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]


def grid_of(series: Series, *, regular: bool = True, then: str | None = None) -> Grid:
    """Put the slices of a series in order; of copies of one slice (the same SOP instance) one is used, with a warning.

    :param regular: refuse missing slices, uneven spacing and gantry tilt; when False, they give an
        :class:`~meddenoise.errors.InputWarning`, and the grid is nominal.
    :param then: ends the sentence on them: what to do about it, or what becomes of the slices.
    :raises InputError: for what is not one regular grid: missing or doubled slices, uneven spacing, gantry tilt, mixed
        sizes or orientations, multi-frame files that do not describe their frames, missing positions.
    """
    name = "The CT series"  # not its UID, which would fill the line; whoever reads one series knows which
    if any(item.is_enhanced and item.frame is None for item in series.slices):
        raise InputError(
            f"{name} is an enhanced multi-frame CT that does not say where its frames lie (functional groups); convert "
            "it to single-frame DICOM, or to NRRD or NIfTI with another program."
        )
    slices = _without_copies(series.slices, name)
    _check_same_plane(slices, name)
    first = slices[0]
    if first.pixel_spacing is None or min(first.pixel_spacing) <= 0:
        raise InputError(f"{name} does not say how large its pixels are (PixelSpacing); it cannot be used.")
    rows, columns = first.pixel_spacing
    if len(slices) == 1:
        return _single_slice(first, rows, columns, name)
    if first.orientation is None or any(item.position is None for item in slices):
        raise InputError(
            f"{name} does not say where its slices lie (ImagePositionPatient, ImageOrientationPatient), "
            "so they cannot be put in order."
        )
    axes = _axes(first.orientation, name)
    positions = np.array([item.position for item in slices])
    along = positions @ axes[2]
    order = np.argsort(along, kind="stable")
    ordered = [slices[index] for index in order]
    _check_one_a_position(along[order], ordered, name)
    spacing, problems = _slice_spacing(along[order])
    problems += _tilt(positions[order], axes, first.pixel_spacing)
    if problems and regular:
        then = then or "convert it to NRRD or NIfTI with 3D Slicer"
        raise InputError(f"{name} {problems[0]}, so that it is no regular volume; {then}.")
    for problem in problems:
        remark(f"{name} {problem}; {then or 'each slice is taken by itself'}.")
    return Grid(
        slices=ordered,
        spacing=(columns, rows, spacing),
        origin=_triple(positions[order[0]]),
        direction=tuple(axes.T.ravel().tolist()),
    )


def _check_same_plane(slices: list[Slice], name: str) -> None:
    """Refuse slices that do not share size, pixel spacing and orientation, and by name a file that lacks its size."""
    for item in slices:
        if 0 in item.size:
            raise InputError(f"{item.path} is incomplete or damaged; copy it again.")
    sizes = {item.size for item in slices}
    if len(sizes) > 1:
        listed = ", ".join(f"{rows} x {columns}" for rows, columns in sorted(sizes))
        raise InputError(f"{name} mixes slices of different sizes ({listed}); it is not one volume.")
    for what, values in (
        ("pixel spacings", [item.pixel_spacing for item in slices]),
        ("orientations", [item.orientation for item in slices]),
    ):
        first = values[0]
        if any(
            (value is None) != (first is None)
            or (value and first and not np.allclose(value, first, rtol=0, atol=DIRECTION_TOLERANCE))
            for value in values
        ):
            raise InputError(f"{name} mixes slices of different {what}; it is not one volume.")


def _axes(orientation: tuple[float, ...], name: str) -> npt.NDArray[np.float64]:
    """Return the unit vectors of i, j and k as rows: along a row, along a column, and the normal of both."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not np.allclose([*lengths, 1 + row @ column], 1, rtol=0, atol=DIRECTION_TOLERANCE):
        raise InputError(f"{name} has an impossible orientation (ImageOrientationPatient); it cannot be used.")
    return np.array([row, column, np.cross(row, column)])


def _without_copies(slices: list[Slice], name: str) -> list[Slice]:
    """Leave out files that hold the same SOP instance at the same place as one before."""
    kept = {_identity(item): item for item in reversed(slices)}
    copies = [item for item in slices if kept[_identity(item)] is not item]
    if copies:
        remark(
            f"{name} has {counted(len(copies), 'repeated slice')} (the same SOPInstanceUID and place), left out; "
            f"the first: {copies[0].path}."
        )
    return [item for item in slices if kept[_identity(item)] is item]


def _identity(item: Slice) -> tuple[object, ...]:
    return item.sop_uid or item.path, item.frame, item.position


def _check_one_a_position(along: npt.NDArray[np.float64], slices: list[Slice], name: str) -> None:
    """Refuse two different slices at one position, by the names of the first two; ``along`` is sorted."""
    doubled = np.flatnonzero(np.diff(along) < _SAME_POSITION_MM)
    if doubled.size:
        first, second = slices[doubled[0]], slices[doubled[0] + 1]
        raise InputError(
            f"{name} has {counted(doubled.size, 'slice')} at the position of another ({_called(first)} and "
            f"{_called(second)}, say: several phases in one series?); export one phase as a series of its own."
        )


def _called(item: Slice) -> str:
    return item.path.name if item.frame is None else f"frame {item.frame + 1} of {item.path.name}"


def _slice_spacing(along: npt.NDArray[np.float64]) -> tuple[float, list[str]]:
    """Return the spacing of slices, mm, from their sorted positions along the normal, and what is not regular there.

    Where it is not regular, the spacing is the median one.
    """
    gaps = np.diff(along)
    median = float(np.median(gaps))
    wide = np.flatnonzero(gaps > _MISSING_FROM * median)
    if wide.size:
        return median, [
            f"misses slices: they lie {median:g} mm apart, but with {counted(wide.size, 'wider gap')}, "
            f"the first of {gaps[wide[0]]:g} mm"
        ]
    spacing = float(along[-1] - along[0]) / len(gaps)
    off_grid = float(np.abs(along - (along[0] + spacing * np.arange(len(along)))).max())
    if off_grid > max(POSITION_TOLERANCE_MM, POSITION_TOLERANCE_PART * spacing) + _SAME_POSITION_MM:
        return median, [f"has uneven slice spacing ({gaps.min():g} to {gaps.max():g} mm)"]
    return spacing, []


def _tilt(
    positions: npt.NDArray[np.float64], axes: npt.NDArray[np.float64], pixel_spacing: tuple[float, ...]
) -> list[str]:
    """Say when slices are shifted within their plane from the first by more than half a pixel."""
    shifts = (positions - positions[0]) @ axes[:2].T
    if np.abs(shifts).max() <= 0.5 * min(pixel_spacing):
        return []
    sideways = float(np.hypot(*shifts[-1]))
    tilt = math.degrees(math.atan2(sideways, float((positions[-1] - positions[0]) @ axes[2])))
    return [
        f"has slices shifted sideways (by up to {np.abs(shifts).max():.1f} mm; "
        f"gantry tilt of about {tilt:.0f} degrees?)"
    ]


def _single_slice(item: Slice, rows: float, columns: float, name: str) -> Grid:
    """Return the grid of one slice; its position is not needed to denoise it, its thickness stands for the spacing."""
    position, orientation = item.position, item.orientation
    if position is None or orientation is None:
        remark(f"{name} does not say where its only slice lies; it is put at the origin.")
        position, orientation = (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    thickness = item.thickness if item.thickness and item.thickness > 0 else 1.0
    return Grid(
        slices=[item],
        spacing=(columns, rows, thickness),
        origin=_triple(position),
        direction=tuple(_axes(orientation, name).T.ravel().tolist()),
    )


def _triple(values: npt.ArrayLike) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in np.asarray(values))
    return x, y, z


def ordered_slices(series: Series) -> list[Slice]:
    """Return the slices of a series as :func:`grid_of` orders them, regular or not, without its warnings.

    :raises InputError: as :func:`grid_of` does.
    """
    with collected_remarks():
        return grid_of(series, regular=False).slices
