"""``meddenoise compare``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meddenoise.cli import options
from meddenoise.cli.reporting import DISCLAIMER, as_json, in_hu, lines
from meddenoise.errors import counted

if TYPE_CHECKING:
    from meddenoise.volume_files import Volume


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help=f"The reference. {options.INPUT_HELP}", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B", help="The same volume, denoised say.", show_default=False)],
    window: Annotated[
        tuple[float, float], typer.Option(metavar="CENTRE WIDTH", help="Display window for PSNR, SSIM and picture, HU.")
    ] = (50.0, 400.0),
    mask: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Label map: RMSE and bias where it is not 0 alone.", show_default=False),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png", help="Write a picture of one slice: A, B and their difference.", show_default=False
        ),
    ] = None,
    picture_slice: Annotated[
        int | None,
        typer.Option("--slice", min=0, metavar="K", help="Slice of the picture; the middle one by default."),
    ] = None,
    json: options.AsJson = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the picture where it exists.")] = False,
) -> None:
    """Compare volume B with volume A: RMSE and bias in HU, PSNR and SSIM in a window, and the noise of both."""
    from meddenoise.comparison import check_picture, compare_volumes, save_picture
    from meddenoise.metrics import Window
    from meddenoise.volume_files import check_input, read_volume

    for path in filter(None, (a, b, mask)):
        check_input(path)
    shown = Window(*window)
    if picture is not None:
        check_picture(picture, overwrite=overwrite)
    before, after = _read(a), _read(b)
    found = compare_volumes(before, after, shown, None if mask is None else read_volume(mask))
    if picture is not None:
        save_picture(picture, before, after, shown, k=picture_slice, names=(a.name, b.name), overwrite=overwrite)
    if json:
        as_json({"a": str(a), "b": str(b), **asdict(found), "picture": None if picture is None else str(picture)})
        return
    where = "" if mask is None else " in the mask"
    lines(
        False,
        f"B less A{where}: RMSE {found.rmse:.2f} HU, bias {found.bias:+.2f} HU",
        f"In the window {shown.centre:g}/{shown.width:g} HU: PSNR {found.psnr:.2f} dB, "
        f"SSIM {'unknown' if found.ssim is None else format(found.ssim, '.4f')}",
        f"Estimated noise: A {in_hu(found.noise_a)}, B {in_hu(found.noise_b)}",
        *([f"{counted(found.left_out, 'voxel')} left out: NaN or infinite in A or B"] if found.left_out else []),
        *([] if picture is None else [f"{picture}: A, B and their difference"]),
        DISCLAIMER,
    )


def _read(path: Path) -> Volume:
    """Read A or B; of several series none can be named here."""
    from meddenoise.volume_files import check_input, read_volume

    if check_input(path) != "dicom":
        return read_volume(path)
    from meddenoise.dicom import read_series
    from meddenoise.dicom.series import choose_series

    return read_series(choose_series(path, advice="give the folder of one alone ('meddenoise list' tells where)"))
