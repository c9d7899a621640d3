"""Two volumes of one patient compared: figures, and a picture of A, B and their difference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from meddenoise.domain import noise_or_none
from meddenoise.errors import InputError, MissingPackageError, OutputError
from meddenoise.metrics import Window, bias, psnr, rmse, ssim
from meddenoise.volume_files import Volume, written_beside

_DISCLAIMER = "Research use only, not for diagnosis."
#: The difference is shown over this part of the window's width: it is smaller than what it is the difference of.
_DIFFERENCE_PART = 0.125
_DPI = 100
_PANEL_INCHES = 5.0


@dataclass(frozen=True)
class Comparison:
    """How far B is from A.

    :param rmse: HU; ``bias``: mean of B - A, HU.
    :param psnr: dB; ``ssim``: 0 to 1, None for slices smaller than 11 x 11; both in the window.
    :param noise_a: estimated SD, HU, None where it cannot be estimated; ``noise_b`` likewise.
    """

    rmse: float
    bias: float
    psnr: float
    ssim: float | None
    noise_a: float | None
    noise_b: float | None
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
    is_large_enough = min(a.array.shape[1:]) >= 11
    return Comparison(
        rmse=rmse(a.array, b.array, inside),
        bias=bias(a.array, b.array, inside),
        psnr=psnr(a.array, b.array, window),
        ssim=ssim(a.array, b.array, window) if is_large_enough else None,
        noise_a=noise_or_none(a.array),
        noise_b=noise_or_none(b.array),
        window=window,
    )


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
    reach = _DIFFERENCE_PART * window.width
    first, second = a.array[k].astype(np.float64), b.array[k].astype(np.float64)
    panels = (
        (names[0], first, "gray", low, high),
        (names[1], second, "gray", low, high),
        (f"{names[1]} - {names[0]}", second - first, "RdBu_r", -reach, reach),
    )
    figure = Figure(figsize=(3.2 * _PANEL_INCHES, 1.15 * _PANEL_INCHES), dpi=_DPI, layout="constrained")
    for axes, (title, hu, colours, darkest, brightest) in zip(figure.subplots(1, 3), panels, strict=True):
        shown = axes.imshow(hu, cmap=colours, vmin=darkest, vmax=brightest, aspect=a.spacing[1] / a.spacing[0])
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
        figure.colorbar(shown, ax=axes, shrink=0.8, label="HU")
    figure.suptitle(f"Slice {k} at C{window.centre:g}/W{window.width:g} HU. {_DISCLAIMER}", fontsize=9)
    with written_beside(path, overwrite=overwrite) as beside:
        FigureCanvasAgg(figure).print_png(str(beside))
