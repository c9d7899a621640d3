"""One input on its way: loaded and looked at, denoised, saved with a report; for command line, batch and scripts.

The three stages take and give objects that can be pickled, so that they may run in other threads or processes::

    settings = Settings(model="fast", strength=0.8)
    denoiser = make_denoiser(settings)
    report = save(denoise(load(find_source("CT_FOLDER"), settings), denoiser, settings), "denoised.nrrd", settings)
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from meddenoise import __version__
from meddenoise.arrays import Array
from meddenoise.catalogue import DEFAULT_MODEL, default_model, find_model
from meddenoise.dicom.acquisition import Acquisition, read_acquisition
from meddenoise.domain import Facts, Finding, findings_of, noise_or_none
from meddenoise.errors import HURangeError, InputError, NotCTError, OutputError
from meddenoise.intensity import PADDING_BELOW_HU
from meddenoise.noise_texture import noise_mean_frequency
from meddenoise.remarks import collected_remarks, remark
from meddenoise.volume_files import Volume, check_input, check_output, read_volume, write_volume
from meddenoise.weights import read_card, sha256_of

if TYPE_CHECKING:
    from meddenoise.denoiser import Denoiser, Precision, Progress, Quality
    from meddenoise.dicom import Derivation, Series
    from meddenoise.dicom.derived import Compression

#: A volume file, or a DICOM series whose headers have been read.
Source: TypeAlias = "Path | Series"
#: What makes a name a file's rather than a folder's; ``CT.denoised`` and ``2.5mm`` are folders.
_FILE_ENDING = re.compile(r"\.[a-z]{2,5}$", re.IGNORECASE)
#: What to do about a series that is no regular grid, and what becomes of its slices in DICOM.
_IRREGULAR = (
    "save the result as DICOM, where each slice keeps its own place, or convert the series to NRRD or NIfTI with 3D "
    "Slicer"
)
_SLICE_BY_SLICE = "each slice is denoised by itself and keeps its place"


@dataclass(frozen=True)
class Settings:
    """How inputs are denoised and results written; small, immutable, picklable.

    :param model: name in the catalogue, path of a ``.safetensors`` file, or ``auto``: the one that suits the device.
    :param strength: 0 (as the input, to the bit) to 1 (the network's whole answer); None: the model's default.
    :param quality: ``standard``, or ``best``: the mean over the eight flips and quarter turns of each slice.
    :param device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    :param threads: CPU threads of torch; None leaves torch's own choice.
    :param precision: ``auto``, ``float32`` or ``bfloat16``.
    :param mask: label map on the input's grid: denoised where it is not 0.
    :param outside: denoise where the mask is 0 instead.
    :param output: ``dicom``: the target is a folder of DICOM, whatever its name, and the series need be no regular
        grid; None: see :func:`output_kind`.
    :param compression: of DICOM output, without loss: ``jpeg-ls``, ``rle`` or None. Volume files always are compressed.
    :param overwrite: replace what stands at the target.
    :param force: denoise also what is certainly no CT in HU.
    """

    model: str = DEFAULT_MODEL
    strength: float | None = None
    quality: Quality = "standard"
    device: str = "auto"
    threads: int | None = None
    precision: Precision = "auto"
    mask: Path | None = None
    outside: bool = False
    output: Literal["dicom"] | None = None
    compression: Compression | None = None
    overwrite: bool = False
    force: bool = False


@dataclass(frozen=True)
class Report:
    """What was done to one input; :meth:`to_json` for files and pipes.

    :param series_uid: of the DICOM series; None for a volume file.
    :param target: what was written; None until then.
    :param sha256: of the weights.
    :param noise_before: estimated SD, HU; None where it cannot be estimated. ``noise_after`` likewise.
    :param warnings: sentences for the user.
    :param findings: where the input leaves the model's domain, see :mod:`meddenoise.domain`.
    :param seconds: by stage: ``load``, ``denoise``, ``save``.
    :param version: of MedDenoise.
    """

    source: str
    series_uid: str | None
    target: str | None
    model: str
    model_version: str
    sha256: str
    strength: float
    quality: str
    mask: str | None
    device: str
    precision: str
    slices: int
    noise_before: float | None
    noise_after: float | None
    warnings: tuple[str, ...]
    findings: tuple[Finding, ...]
    seconds: dict[str, float]
    version: str = __version__

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return asdict(self)

    def to_json(self) -> str:
        """Return the report as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2)


@dataclass
class Loaded:
    """An input in memory, looked at: ready to be denoised.

    :param mask: (k, j, i) bool, where to denoise; None for everywhere.
    """

    source: Source
    volume: Volume
    mask: Array | None
    noise: float | None
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]
    seconds: float


@dataclass
class Denoised:
    """A result in memory, ready to be written; the input is no longer held.

    :param spread: (k, j, i) float32, HU: SD over the eight orientations of quality ``best``; None where not asked for.
    :param title: of the model, for people.
    :param context: how many neighbouring slices the model looks at for each.
    """

    source: Source
    volume: Volume
    spread: Array | None
    report: Report
    title: str
    context: int


def with_choices_made(settings: Settings) -> Settings:
    """Return the settings with model and strength named, where they were left to device and card.

    ``auto`` would be another model on a machine with other devices.

    :raises WeightsError: when there is no such model, or its card cannot be read.
    """
    model = default_model(settings.device) if settings.model == DEFAULT_MODEL else settings.model
    card = read_card(find_model(model).path)
    return replace(settings, model=model, strength=card.strength_or_default(settings.strength))


def find_source(path: str | Path, series_uid: str | None = None) -> Source:
    """Return what a path holds: a volume file, or the one DICOM series in it (or the one named); headers only.

    :raises InputError: when it is missing, of no known kind, or holds no or several series and none was named.
    """
    path = Path(path).expanduser()
    if check_input(path) == "dicom":
        from meddenoise.dicom.series import choose_series

        return choose_series(path, series_uid)
    if series_uid is not None:
        raise InputError(f"{path.name} is not DICOM, so it has no series to choose; leave the series out.")
    return path


def load(source: Source, settings: Settings) -> Loaded:
    """Read an input, estimate its noise and compare it with what the model was trained for.

    For DICOM output (``settings.output``) the series need be no regular grid: each slice keeps its own place.

    :raises InputError: when it is damaged, not one regular volume, or the mask does not fit.
    :raises NotCTError: when it is certainly no CT in HU, unless ``settings.force``.
    """
    started = time.monotonic()
    with collected_remarks() as said:
        volume, acquisition = _read(source, settings)
        mask = None if settings.mask is None else _read_mask(settings, volume)
    noise = noise_or_none(volume.array)
    findings = findings_of(
        volume.array,
        Facts(
            pixel_mm=(volume.spacing[1], volume.spacing[0]),
            spacing_mm=volume.spacing[2],
            modality=acquisition.modality,
            kernel=acquisition.kernel,
            kvp=acquisition.kvp,
            thickness_mm=acquisition.thickness_mm,
            noise_sd=noise,
            mean_frequency=noise_mean_frequency(volume.array),
        ),
        read_card(find_model(settings.model, settings.device).path).domain,
    )
    refused = [finding.sentence for finding in findings if finding.refused]
    if refused and not settings.force:
        raise NotCTError(f"{name_of(source)} is refused: {refused[0]} To denoise it all the same, force it (--force).")
    return Loaded(source, volume, mask, noise, findings, tuple(said), time.monotonic() - started)


def make_denoiser(settings: Settings, *, slices_at_once: int = 1) -> Denoiser:
    """Load the model of the settings; one denoiser serves any number of inputs, one after the other."""
    from meddenoise.denoiser import Denoiser

    return Denoiser(
        settings.model,
        device=settings.device,
        threads=settings.threads,
        precision=settings.precision,
        slices_at_once=slices_at_once,
    )


def describe(loaded: Loaded, denoiser: Denoiser, settings: Settings) -> Report:
    """Return the report of a loaded input before anything is done with it: no target yet, no noise after."""
    return Report(
        source=name_of(loaded.source),
        series_uid=None if isinstance(loaded.source, Path) else loaded.source.uid,
        target=None,
        model=denoiser.card.name,
        model_version=denoiser.card.version,
        sha256=denoiser.sha256,
        strength=denoiser.card.strength_or_default(settings.strength),
        quality=settings.quality,
        mask=None if settings.mask is None else settings.mask.name,
        device=denoiser.device,
        precision=denoiser.precision,
        slices=len(loaded.volume.array),
        noise_before=loaded.noise,
        noise_after=None,
        warnings=loaded.warnings,
        findings=loaded.findings,
        seconds={"load": loaded.seconds},
    )


def denoise(
    loaded: Loaded,
    denoiser: Denoiser,
    settings: Settings,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    *,
    spread: bool = False,
) -> Denoised:
    """Denoise a loaded input; errors are those of :meth:`meddenoise.denoiser.Denoiser.denoise`.

    :param spread: also give the SD over the eight orientations of quality ``best``.
    """
    started = time.monotonic()
    before = loaded.volume
    sd = np.empty(before.array.shape, np.float32) if spread else None
    with collected_remarks() as said:
        array = denoiser.denoise(
            before.array,
            strength=settings.strength,
            mask=loaded.mask,
            quality=settings.quality,
            spread=sd,
            progress=progress,
            cancel=cancel,
        )
    _put_padding_back(before, array, sd)
    seconds = time.monotonic() - started
    report = describe(loaded, denoiser, settings)
    report = replace(
        report,
        warnings=(*report.warnings, *said),
        seconds={**report.seconds, "denoise": seconds},
    )
    context = denoiser.card.architecture.slices
    return Denoised(loaded.source, replace(before, array=array), sd, report, denoiser.card.title, context)


def _put_padding_back(before: Volume, array: Array, spread: Array | None) -> None:
    """Put back, slice by slice, what the header says is padding; what lies below -1500 HU the denoiser keeps itself."""
    if before.padding is None or before.padding[1] < PADDING_BELOW_HU:
        return
    low, high = before.padding
    for k, hu in enumerate(before.array):
        padding = (hu >= low) & (hu <= high)
        array[k][padding] = hu[padding]
        if spread is not None:
            spread[k][padding] = 0


def check_target(source: Source, target: str | Path, settings: Settings, *, searched: str | Path | None = None) -> Path:
    """Check, before any work, that a result of this source could be written there; nothing is left there.

    :param searched: the folder in which a series was looked for, where it may hold one that is derived no more than
        the folder of its slices.
    :raises OutputError: when not: it exists, is the source itself, is of no known kind, its folder is missing ...
    """
    if output_kind(source, target, settings) == "dicom":
        from meddenoise.dicom import check_derived_folder

        if isinstance(source, Path):
            raise OutputError(
                f"{name_of(source)} is not DICOM, so no DICOM series can be derived from it; "
                "give an output file ending in .nrrd, .nii.gz or .mha."
            )
        if searched is not None and _lies_in(target, searched):
            raise OutputError(
                f"{target} lies in the input {searched}, which would hold two series afterwards; choose a folder apart "
                "from the input."
            )
        return check_derived_folder(target, source, overwrite=settings.overwrite)
    if not isinstance(source, Path) and Path(target).suffix.lower() == ".dcm":
        raise OutputError(
            f"{target} is the name of one DICOM file, but a series becomes a folder of them; give a name without an "
            "ending."
        )
    inputs = [path for path in (source, settings.mask) if isinstance(path, Path)]
    return check_output(target, overwrite=settings.overwrite, inputs=inputs)


def _lies_in(target: str | Path, folder: str | Path) -> bool:
    """Return whether a target lies below a folder; the folder itself is left to :func:`check_derived_folder`."""
    below, above = Path(target).expanduser().resolve(), Path(folder).expanduser().resolve()
    return above.is_dir() and below != above and below.is_relative_to(above)


def check_spread_target(target: str | Path, result: str | Path, source: Path, settings: Settings) -> Path:
    """Check, before any work, that the spread of a result could be written there; nothing is left there.

    :param result: target of the result itself.
    :raises OutputError: as :func:`check_target`, and when it is the result's file or lies in the result's folder.
    """
    inputs = [path for path in (source, settings.mask) if path is not None]
    path = check_output(target, overwrite=settings.overwrite, inputs=inputs)
    if path.resolve().is_relative_to(Path(result).expanduser().resolve()):
        raise OutputError(
            f"The uncertainty would be lost at {path}, where the result goes; choose another file for it."
        )
    return path


def output_kind(source: Source, target: str | Path, settings: Settings) -> str:
    """Return what a target is to be: ``dicom`` (a folder) or ``file``.

    From a DICOM source everything whose name has no ending like a file's is a folder of DICOM; a name with a slash at
    its end always is.
    """
    if settings.output == "dicom":
        return "dicom"
    is_folder = str(target).endswith(("/", os.sep)) or not _FILE_ENDING.search(Path(target).name)
    return "dicom" if is_folder and not isinstance(source, Path) else "file"


def save(denoised: Denoised, target: str | Path, settings: Settings) -> Report:
    """Write a result beside its target, then move it into place: a file, or a folder of DICOM.

    :returns: the report, complete: with the noise that is left, which is estimated here, where a batch has time for it.
    :raises OutputError: when it exists (without ``overwrite``), cannot be written, or the disk is full.
    """
    started = time.monotonic()
    source, report = denoised.source, denoised.report
    with collected_remarks() as said:
        if output_kind(source, target, settings) == "dicom" and not isinstance(source, Path):
            from meddenoise.dicom import write_derived_series

            try:
                write_derived_series(
                    target,
                    source,
                    denoised.volume.array,
                    _derivation(denoised, settings),
                    compression=settings.compression,
                    overwrite=settings.overwrite,
                )
            except HURangeError as error:
                raise _doubted(error, report) from error
        else:
            write_volume(
                target,
                denoised.volume,
                overwrite=settings.overwrite,
                metadata=_attributes(report, settings),
                note=f"Denoised by MedDenoise {report.version}, {100 * report.strength:g}%, research use only: "
                f"{report.model}",
            )
    after = None if report.noise_before is None else noise_or_none(denoised.volume.array)
    seconds = {**report.seconds, "save": time.monotonic() - started}
    return replace(report, target=str(target), noise_after=after, warnings=(*report.warnings, *said), seconds=seconds)


def _doubted(error: HURangeError, report: Report) -> OutputError:
    """Return an error that says of values which DICOM cannot hold what was found wrong with them, where it was."""
    for finding in report.findings:
        if finding.code == "hu_scale":
            return OutputError(f"The result cannot be written as DICOM. {finding.sentence} Correct the input first.")
    return error


def save_spread(denoised: Denoised, target: str | Path, settings: Settings) -> None:
    """Write the spread of a result as a volume file of float32, HU; errors as :func:`save`."""
    assert denoised.spread is not None, "denoise(..., spread=True) makes it"
    facts = {**_attributes(denoised.report, settings), "MedDenoise.content": "SD over eight orientations, HU"}
    volume = replace(denoised.volume, array=denoised.spread)
    note = f"SD over eight orientations in HU, MedDenoise {denoised.report.version}"
    write_volume(target, volume, overwrite=settings.overwrite, metadata=facts, note=note)


def name_of(source: Source) -> str:
    """Return how reports call a source: a file's path, or the folder of a series."""
    return str(source) if isinstance(source, Path) else str(source.slices[0].path.parent)


def _read(source: Source, settings: Settings) -> tuple[Volume, Acquisition]:
    if isinstance(source, Path):
        return read_volume(source), Acquisition()
    from meddenoise.dicom import read_series

    if settings.output == "dicom":
        volume = read_series(source, regular=False, then=_SLICE_BY_SLICE)
    else:
        volume = read_series(source, then=_IRREGULAR)
    return volume, read_acquisition(source)


def _read_mask(settings: Settings, volume: Volume) -> Array:
    """Return where to denoise.

    :raises InputError: when the mask is not a label map on the grid of the input.
    """
    assert settings.mask is not None
    mask, name = read_volume(settings.mask), settings.mask.name
    if not mask.is_on_grid_of(volume):
        sizes = [" x ".join(str(n) for n in v.array.shape[::-1]) for v in (mask, volume)]
        difference = "spacing, origin or direction differ" if sizes[0] == sizes[1] else " and ".join(sizes) + " voxels"
        raise InputError(f"The mask {name} is not on the input's grid ({difference}); resample it onto the input.")
    if mask.array.min() < 0 or not np.array_equal(mask.array, np.rint(mask.array)):
        raise InputError(
            f"The mask {name} is no label map (it holds values below 0, or not whole); give one that is 0 outside."
        )
    inside: Array = (mask.array != 0) != settings.outside
    if not inside.any():
        remark(f"With the mask {name} no voxel is left to denoise; the result is the input.")
    return inside


def _attributes(report: Report, settings: Settings) -> dict[str, str]:
    """Return what a volume file's header says of how it was made."""
    facts = {
        "model": report.model,
        "sha256": report.sha256,
        "strength": f"{report.strength:g}",
        "device": report.device,
        "version": report.version,
        "source": Path(report.source).resolve().name,
        **_other_settings(report, settings),
    }
    if settings.mask is not None:
        facts["mask"] = f"{settings.mask.name} (SHA-256 {_mask_digest(settings)[:12]})"
        if settings.outside:
            facts["mask"] += ", outside"
    return {f"MedDenoise.{name}": value for name, value in facts.items()}


def _other_settings(report: Report, settings: Settings) -> dict[str, str]:
    """Return what changes voxels beside model, strength and mask, where it is not as usual."""
    facts: dict[str, str] = {} if settings.quality == "standard" else {"quality": settings.quality}
    if report.precision != "float32":
        facts["precision"] = report.precision
    return facts


def _mask_digest(settings: Settings) -> str:
    assert settings.mask is not None
    return sha256_of(settings.mask.expanduser())


def _derivation(denoised: Denoised, settings: Settings) -> Derivation:
    from meddenoise.dicom import Derivation

    return Derivation(
        model=denoised.report.model,
        title=denoised.title,
        sha256=denoised.report.sha256,
        strength=denoised.report.strength,
        settings=_other_settings(denoised.report, settings),
        context=denoised.context,
        mask=None if settings.mask is None else _mask_digest(settings),
        outside=settings.outside,
    )
