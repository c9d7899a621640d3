"""The grid of a CT series: slices put in order along their normal; what is no regular grid is refused by name."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from meddenoise.dicom.series import Series, Slice
from meddenoise.errors import InputError, InputWarning, counted

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


def grid_of(series: Series) -> Grid:
    """Put the slices of a series in order.

    :raises InputError: for what is not one regular grid: missing or doubled slices, uneven spacing, gantry tilt, mixed
        sizes or orientations, enhanced multi-frame files, missing positions.
    """
    name = f"The CT series {series.uid}"
    if any(item.is_enhanced for item in series.slices):
        raise InputError(
            f"{name} is an enhanced multi-frame CT, which cannot be read yet; convert it to single-frame DICOM, "
            "or to NRRD or NIfTI with another program."
        )
    _check_same_plane(series.slices, name)
    first = series.slices[0]
    if first.pixel_spacing is None or min(first.pixel_spacing) <= 0:
        raise InputError(f"{name} does not say how large its pixels are (PixelSpacing); it cannot be used.")
    rows, columns = first.pixel_spacing
    if len(series.slices) == 1:
        return _single_slice(first, rows, columns, name)
    if first.orientation is None or any(item.position is None for item in series.slices):
        raise InputError(
            f"{name} does not say where its slices lie (ImagePositionPatient, ImageOrientationPatient), "
            "so they cannot be put in order."
        )
    axes = _axes(first.orientation, name)
    positions = np.array([item.position for item in series.slices])
    along = positions @ axes[2]
    order = np.argsort(along, kind="stable")
    spacing = _slice_spacing(along[order], name)
    _check_no_tilt(positions[order], axes, first.pixel_spacing, name)
    return Grid(
        slices=[series.slices[index] for index in order],
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


def _slice_spacing(along: npt.NDArray[np.float64], name: str) -> float:
    """Return the spacing of slices, mm, from their sorted positions along the normal."""
    gaps = np.diff(along)
    doubled = int(np.count_nonzero(gaps < _SAME_POSITION_MM))
    if doubled:
        raise InputError(
            f"{name} has {counted(doubled, 'file')} at the position of another (copies, or several phases in one "
            "series); remove the copies, or export one phase as a series of its own."
        )
    median = float(np.median(gaps))
    wide = np.flatnonzero(gaps > _MISSING_FROM * median)
    if wide.size:
        raise InputError(
            f"{name} misses slices: they lie {median:g} mm apart, but with {counted(wide.size, 'wider gap')}, "
            f"the first of {gaps[wide[0]]:g} mm; copy the series again."
        )
    spacing = float(along[-1] - along[0]) / len(gaps)
    off_grid = float(np.abs(along - (along[0] + spacing * np.arange(len(along)))).max())
    if off_grid > max(POSITION_TOLERANCE_MM, POSITION_TOLERANCE_PART * spacing) + _SAME_POSITION_MM:
        raise InputError(
            f"{name} has uneven slice spacing ({gaps.min():g} to {gaps.max():g} mm), which cannot be read yet; "
            "convert it to NRRD or NIfTI with 3D Slicer."
        )
    return spacing


def _check_no_tilt(
    positions: npt.NDArray[np.float64],
    axes: npt.NDArray[np.float64],
    pixel_spacing: tuple[float, ...],
    name: str,
) -> None:
    """Refuse slices that are shifted within their plane from one to the next by more than half a pixel in all."""
    shifts = (positions - positions[0]) @ axes[:2].T
    if np.abs(shifts).max() > 0.5 * min(pixel_spacing):
        sideways = float(np.hypot(*shifts[-1]))
        tilt = math.degrees(math.atan2(sideways, float((positions[-1] - positions[0]) @ axes[2])))
        raise InputError(
            f"{name} has slices shifted sideways (by up to {np.abs(shifts).max():.1f} mm; gantry tilt of about "
            f"{tilt:.0f} degrees?), which cannot be read yet; convert it to NRRD or NIfTI with 3D Slicer."
        )


def _single_slice(item: Slice, rows: float, columns: float, name: str) -> Grid:
    """Return the grid of one slice; its position is not needed to denoise it, its thickness stands for the spacing."""
    position, orientation = item.position, item.orientation
    if position is None or orientation is None:
        warnings.warn(
            f"{name} does not say where its only slice lies; it is put at the origin.",
            InputWarning,
            stacklevel=2,
        )
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
