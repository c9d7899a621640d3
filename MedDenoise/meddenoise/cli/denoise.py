"""``meddenoise denoise``."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meddenoise.catalogue import DEFAULT_MODEL
from meddenoise.cli import options
from meddenoise.cli.progress import progress_bar
from meddenoise.cli.reporting import DISCLAIMER, SHA256_PREFIX, as_json, in_hu, lines, note, warn_of
from meddenoise.errors import counted

if TYPE_CHECKING:
    from meddenoise.processing import Report, Settings

_Output = Annotated[
    str,
    typer.Argument(
        metavar="OUTPUT",
        help="What to write. A name that ends in .nrrd, .nii.gz, .nii, .mha, .nhdr or .mhd is such a file; of a DICOM "
        "input, any other name is a folder for the derived DICOM series. Type and geometry are those of the input.",
        show_default=False,
    ),
]
_Mask = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Label map on the input's grid: denoise where it is not 0, leave the rest to the bit. The result fades in "
        "over three voxels inside the edge.",
        show_default=False,
    ),
]
_Uncertainty = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="With --quality best: write where the eight results disagree, their SD in HU, to this volume file.",
        show_default=False,
    ),
]


def denoise(
    input: options.Input,
    output: _Output,
    model: options.Model = DEFAULT_MODEL,
    strength: options.Strength = None,
    quality: options.Quality = "standard",
    mask: _Mask = None,
    outside: Annotated[bool, typer.Option("--outside", help="With --mask: denoise where it is 0 instead.")] = False,
    uncertainty: _Uncertainty = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    precision: options.Precision = "auto",
    series: options.Series = None,
    compression: Annotated[
        str, typer.Option(help="Of DICOM output, without loss: none, jpeg-ls or rle. Volume files are compressed.")
    ] = "none",
    force: Annotated[bool, typer.Option("--force", help="Denoise also what is certainly no CT in HU.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and check everything, say what would be done, write nothing.")
    ] = False,
    json: options.AsJson = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Denoise the CT volume INPUT and write it to OUTPUT.

    Values outside the scan circle and metal stay as they are. The noise in HU is estimated before and after. A warning
    tells where the input is unlike what the model was trained on.
    """
    if outside and mask is None:
        raise typer.BadParameter("it needs --mask.", param_hint="--outside")
    if uncertainty is not None and quality != "best":
        raise typer.BadParameter("it needs --quality best.", param_hint="--uncertainty")
    packing = options.one_of(compression, ("none", "jpeg-ls", "rle"), "--compression")
    choices: dict[str, Any] = {
        "quality": options.one_of(quality, ("standard", "best"), "--quality"),
        "precision": options.one_of(precision, ("auto", "float32", "bfloat16"), "--precision"),
        "compression": None if packing == "none" else packing,
    }
    from meddenoise.processing import Settings

    settings = Settings(
        model=model,
        strength=strength,
        device=device,
        threads=threads,
        mask=mask,
        outside=outside,
        overwrite=overwrite,
        force=force,
        **choices,
    )
    quiet_or_json = quiet or json
    report = _run(input, output, series, uncertainty, settings, dry_run=dry_run, quiet=quiet_or_json)
    if json:
        as_json(report.to_dict())
    elif dry_run:
        lines(quiet, *_plan(report, output))
    else:
        lines(quiet, *_result(report), DISCLAIMER)


def _run(
    input: Path,
    output: str,
    series: str | None,
    uncertainty: str | None,
    settings: Settings,
    *,
    dry_run: bool,
    quiet: bool,
) -> Report:
    """Check what is cheap before what is expensive; then read, denoise and write; warn at once."""
    from meddenoise import processing
    from meddenoise.remarks import collected_remarks
    from meddenoise.volume_files import check_input

    if check_input(input) == "image":  # a DICOM folder is scanned first: what OUTPUT may be depends on the series
        processing.check_target(input.expanduser(), output, settings)
    for path in filter(None, [settings.mask]):
        check_input(path)
    if uncertainty is not None:
        processing.check_spread_target(uncertainty, output, input, settings)
    denoiser = processing.make_denoiser(settings)
    with collected_remarks() as said:
        try:
            source = processing.find_source(input, series)
        finally:
            warn_of(*said)
    processing.check_target(source, output, settings, searched=input)
    if processing.output_kind(source, output, settings) == "dicom":
        settings = replace(settings, output="dicom")
    note(quiet, f"Reading {input}")
    loaded = processing.load(source, settings)
    warn_of(*loaded.warnings, *(finding.sentence for finding in loaded.findings))
    loaded.warnings = (*said, *loaded.warnings)
    warned = len(loaded.warnings)
    if dry_run:
        return processing.describe(loaded, denoiser, settings)
    with progress_bar(quiet, f"Denoising {counted(len(loaded.volume.array), 'slice')}") as progress:
        denoised = processing.denoise(loaded, denoiser, settings, progress, spread=uncertainty is not None)
    del loaded
    note(quiet, f"Writing {output}")
    if uncertainty is not None:
        processing.save_spread(denoised, uncertainty, settings)
    report = processing.save(denoised, output, settings)
    warn_of(*report.warnings[warned:])
    return report


def _plan(report: Report, output: str) -> list[str]:
    mask = "" if report.mask is None else f", mask {report.mask}"
    return [
        f"Would denoise {counted(report.slices, 'slice')} of {report.source} with {report.model} "
        f"{report.model_version}, strength {report.strength:g}, quality {report.quality}{mask}, on {report.device} "
        f"({report.precision}), and write {shlex.quote(output)}.",
        f"Estimated noise: {in_hu(report.noise_before)}. Nothing was written.",
    ]


def _result(report: Report) -> list[str]:
    quality = "" if report.quality == "standard" else f", quality {report.quality}"
    mask = "" if report.mask is None else f", mask {report.mask}"
    return [
        f"{report.target}: {counted(report.slices, 'slice')} denoised in {report.seconds['denoise']:.1f} s with "
        f"{report.model} {report.model_version} (SHA-256 {report.sha256[:SHA256_PREFIX]}), strength "
        f"{report.strength:g}{quality}{mask}, on {report.device} ({report.precision}).",
        f"Estimated noise: {in_hu(report.noise_before)} before, {in_hu(report.noise_after)} after.",
    ]
