"""Two volumes of one patient compared: figures, and a picture of A, B and their difference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from meddenoise.arrays import Array
from meddenoise.domain import noise_or_none
from meddenoise.errors import InputError, MissingPackageError, OutputError
from meddenoise.metrics import Window, bias, psnr, rmse, ssim
from meddenoise.volume_files import Volume, written_beside

_DISCLAIMER = "Research use only, not for diagnosis."
#: This share of the difference's pixels is within what its colours show.
_DIFFERENCE_PERCENT = 99.5
#: Pixels of the picture: of a panel's width at least, between panels, above panels and below them.
_LEAST_PANEL, _GAP, _ABOVE, _BELOW = 480, 12, 56, 64
_DPI = 100


@dataclass(frozen=True)
class Comparison:
    """How far B is from A.

    :param rmse: HU; ``bias``: mean of B - A, HU.
    :param psnr: dB; ``ssim``: 0 to 1, None for slices smaller than 11 x 11; both in the window.
    :param noise_a: estimated SD, HU, None where it cannot be estimated; ``noise_b`` likewise.
    :param left_out: voxels that are NaN or infinite in A or B: for RMSE and bias they do not count, for PSNR and SSIM
        they are taken as equal.
    """

    rmse: float
    bias: float
    psnr: float
    ssim: float | None
    noise_a: float | None
    noise_b: float | None
    left_out: int
    window: Window


def compare_volumes(a: Volume, b: Volume, window: Window, mask: Volume | None = None) -> Comparison:
    """Compare volume B with the reference A.

    :param mask: RMSE and bias count where it is not 0 alone.
    :raises InputError: when they are not on one grid, or the mask is empty.
    """
    for name, other in (("B", b), ("The mask", mask)):
        if other is not None and not other.is_on_grid_of(a):
            raise InputError(
                f"{name} is not on the grid of A (size, spacing, origin and direction must agree); resample it onto A."
            )
    inside = None if mask is None else mask.array
    before, after, known = a.array, b.array, _finite(a.array) & _finite(b.array)
    left_out = known.size - int(np.count_nonzero(known))
    if left_out:
        inside = known if inside is None else known & (inside != 0)
        before, after = np.where(known, before, 0), np.where(known, after, 0)
    is_large_enough = min(before.shape[1:]) >= 11
    return Comparison(
        rmse=rmse(before, after, inside),
        bias=bias(before, after, inside),
        psnr=psnr(before, after, window),
        ssim=ssim(before, after, window) if is_large_enough else None,
        noise_a=noise_or_none(a.array),
        noise_b=noise_or_none(b.array),
        left_out=left_out,
        window=window,
    )


def _finite(values: Array) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isfinite(values))


def check_picture(path: Path, *, overwrite: bool = False) -> None:
    """Check, before any work, that a picture could be written.

    :raises MissingPackageError: without matplotlib.
    :raises OutputError: for another kind of file, one that exists (without ``overwrite``), or a missing folder.
    """
    try:
        import matplotlib  # noqa: F401 - only to see whether it is there
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "The Python package 'matplotlib' is missing, which draws the picture; install it with "
            "`pip install matplotlib`."
        ) from error
    if path.suffix.lower() != ".png":
        raise OutputError(f"The picture is written as PNG; give {path} a name that ends in .png.")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; choose another name, or allow it to be overwritten (--overwrite).")
    if not path.parent.is_dir():
        raise OutputError(f"The folder {path.parent} does not exist; make it first, or choose another.")


def save_picture(
    path: Path,
    a: Volume,
    b: Volume,
    window: Window,
    *,
    k: int | None = None,
    names: tuple[str, str] = ("A", "B"),
    overwrite: bool = False,
) -> None:
    """Write slice ``k`` of A, of B, and B - A as one PNG, with colour bars in HU and the line on research use.

    :param k: the middle slice when left out.
    :raises InputError: when there is no such slice; other errors are those of :func:`check_picture`.
    """
    check_picture(path, overwrite=overwrite)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    k = len(a.array) // 2 if k is None else k
    if k >= len(a.array):
        raise InputError(f"There is no slice {k}; the volume has the slices 0 to {len(a.array) - 1}.")
    low, high = window.centre - window.width / 2, window.centre + window.width / 2
    first, second = a.array[k].astype(np.float64), b.array[k].astype(np.float64)
    reach = _reach(second - first)
    panels = (
        (names[0], first, "gray", low, high),
        (names[1], second, "gray", low, high),
        (f"{names[1]} - {names[0]}", second - first, "RdBu_r", -reach, reach),
    )
    # Each pixel of a slice is a whole number of pixels wide, lest its noise gets a pattern.
    across = first.shape[1] * -(-_LEAST_PANEL // first.shape[1])
    down = round(across * first.shape[0] * a.spacing[1] / (first.shape[1] * a.spacing[0]))
    width, height = 3 * (across + _GAP) + _GAP, down + _ABOVE + _BELOW
    figure = Figure(figsize=((width + 0.01) / _DPI, (height + 0.01) / _DPI), dpi=_DPI)
    for number, (title, hu, colours, darkest, brightest) in enumerate(panels):
        left = _GAP + number * (across + _GAP)
        axes = figure.add_axes((left / width, _BELOW / height, across / width, down / height))
        shown = axes.imshow(hu, cmap=colours, vmin=darkest, vmax=brightest, aspect="auto", interpolation="nearest")
        axes.set_title(title, fontsize=min(9.0, 1.6 * across / _DPI * 72 / len(title)), pad=3)
        axes.set_axis_off()
        bar = figure.add_axes(
            ((left + 0.15 * across) / width, (_BELOW - 18) / height, 0.7 * across / width, 12 / height)
        )
        figure.colorbar(shown, cax=bar, orientation="horizontal", ticks=np.linspace(darkest, brightest, 5))
        bar.tick_params(labelsize=8)
        bar.set_xlabel("HU", fontsize=8, labelpad=1)
    heading = f"Slice {k} at C{window.centre:g}/W{window.width:g} HU, difference to ±{reach:g} HU. {_DISCLAIMER}"
    figure.text(0.5, 1 - 6 / height, heading, ha="center", va="top", fontsize=9)
    with written_beside(path, overwrite=overwrite) as beside:
        FigureCanvasAgg(figure).print_png(str(beside))


def _reach(difference: npt.NDArray[np.float64]) -> float:
    """Return up to which difference colours go, HU: 1, 2 or 5 of a decade, from what all but few pixels have."""
    wanted = max(1.0, float(np.percentile(np.abs(difference), _DIFFERENCE_PERCENT)))
    decade = 10.0 ** np.floor(np.log10(wanted))
    return float(next(step * decade for step in (1, 2, 5, 10) if step * decade >= wanted))
