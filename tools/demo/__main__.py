"""The way of a CT through the product: DICOM, MRML scene, the module's logic, slice views, figures.

``python -m tools.demo`` makes a numerical abdomen at low dose; ``--input PATH`` takes a CT instead. Results: ``demo/``.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from meddenoise.catalogue import DEFAULT_MODEL, find_model
from meddenoise.errors import InputError, MedDenoiseError
from meddenoise.phantom import PANCREAS_LESION, Phantom, numerical_abdomen
from meddenoise.volume_files import Volume, read_volume
from meddenoise_training.noise.projection import LowDose
from tools.demo import scene
from tools.demo.comparison import pictures, save_pictures
from tools.demo.figures import (
    FILES,
    Figure,
    against_truth,
    bias_by_organ,
    noise_levels,
    table,
    taken_away_in_the_body,
    write_figures,
)
from tools.demo.low_dose_series import low_dose_volume, placed_volume, remove_series, write_series

SEED = 1
VOLUME = "denoised.nrrd"
DICOM = "dicom"
BEFORE = ("noisy", "original")


def results(before: str) -> tuple[str, ...]:
    """Return the names of the files that a demo leaves.

    :param before: what the volume before is called.
    """
    return (VOLUME, *pictures(before), *FILES)


@dataclass(frozen=True)
class Case:
    """A CT to be denoised and what is known about it.

    :param before: what it is called in pictures and tables: one of :data:`BEFORE`.
    :param place: (i, j, k) of the voxel that the pictures show.
    :param phantom: the truth; None for a CT of the user's.
    """

    name: str
    before: str
    noisy: Volume
    place: tuple[int, int, int]
    phantom: Phantom | None = None


def main(arguments: list[str] | None = None) -> int:
    """Run the demo from the command line; 0 when it ended well."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description="Show MedDenoise at work on a CT.")
    parser.add_argument("--input", type=Path, help="DICOM folder, NRRD, NIfTI or MHA file; else a numerical abdomen")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name of a model, or a .safetensors file")
    parser.add_argument("--output", type=Path, default=scene.ROOT / "demo", help="folder of the results")
    options = parser.parse_args(arguments)
    try:
        if options.input:
            check_is_no_result(options.input, options.output)
        options.output.mkdir(parents=True, exist_ok=True)
        remove_earlier_results(options.output)  # before anything can fail: what lies there then is of this run
        find_model(options.model)  # before minutes of work
        case = own_case(options.input) if options.input else phantom_case(options.output / DICOM)
        denoise_and_show(case, options.model, options.output)
    except (MedDenoiseError, OSError) as error:
        print(f"The demo stopped: {error}", file=sys.stderr)
        return 1
    return 0


def check_is_no_result(path: Path, folder: Path) -> None:
    """Refuse a CT that the demo would remove: the folder of its results, or one of them.

    :param folder: of the results.
    """
    path_itself, folder = path.resolve(), folder.resolve()
    files = {folder / name for before in BEFORE for name in results(before)}
    if path_itself in {folder, *files} or folder / DICOM in (path_itself, path_itself.parent):
        raise InputError(f"{path} is a result of the demo, which replaces it; copy it to another folder first.")


def remove_earlier_results(folder: Path) -> None:
    """Remove what earlier demos left in a folder, and nothing else."""
    for name in {name for before in BEFORE for name in results(before)}:
        (folder / name).unlink(missing_ok=True)
    remove_series(folder / DICOM)


def own_case(path: Path) -> Case:
    """Read a CT of the user's."""
    say(f"Reading {path}")
    volume = read_volume(path)
    describe(volume)
    depth, height, width = volume.array.shape
    return Case(path.name, "original", volume, (width // 2, height // 2, depth // 2))


def phantom_case(folder: Path, slices: int = 48, size: int = 512) -> Case:
    """Make the numerical abdomen at low dose as a DICOM series, and read that series."""
    settings = LowDose(dose_fraction=0.25)
    say(f"Making a numerical abdomen, {slices} slices of {size} x {size}")
    phantom = numerical_abdomen(slices=slices, size=size)
    say(f"Adding the noise that {settings.dose_fraction:.0%} of the dose adds, in the projections of each slice")
    written = placed_volume(low_dose_volume(phantom, settings, SEED), phantom)
    say(f"Writing a DICOM series to {folder}")
    write_series(folder, written, settings)
    say("Reading it with the engine's DICOM reader")
    volume = read_volume(folder)
    check_same(written, volume)
    describe(volume)
    centre, size_ijk, spacing = PANCREAS_LESION[0], volume.array.shape[::-1], volume.spacing
    i, j, k = (int(mm / step + n / 2) for mm, n, step in zip(centre, size_ijk, spacing, strict=True))
    return Case(f"numerical abdomen, {settings}, seed {SEED}", "noisy", volume, (i, j, k), phantom)


def check_same(written: Volume, read: Volume) -> None:
    """Stop when a series comes back from DICOM other than it was written."""
    same = np.array_equal(written.array, read.array) and np.allclose(
        [*written.spacing, *written.origin, *written.direction], [*read.spacing, *read.origin, *read.direction]
    )
    if not same:
        raise InputError("The DICOM series was not read as it was written; this is a fault of MedDenoise.")


def denoise_and_show(case: Case, model: str, folder: Path) -> None:
    """Denoise a case in a MRML scene, and leave volume, pictures and figures in a folder."""
    say("Starting a MRML scene (slicer-core) and loading the MedDenoise module")
    scene.start_slicer()
    noisy = scene.add_volume(case.before, case.noisy)
    say(f"Denoising with the module's logic, model '{model}', in its worker process")
    started = time.monotonic()
    denoised = scene.denoise(noisy, model)
    say(f"Denoised in {time.monotonic() - started:.0f} s, the start of the worker included")
    before, after = case.noisy.array, scene.values(denoised)
    taken = taken_away_in_the_body(before, after)

    say("Rendering Slicer's slice views")
    nodes = {case.before: noisy, "denoised": denoised}
    if case.phantom is not None:
        nodes["truth"] = scene.add_volume("truth", placed_volume(case.phantom.hu, case.phantom))
    nodes["difference"] = scene.add_difference(noisy, denoised)
    save_pictures(folder, nodes, case.noisy, case.place)
    scene.save(denoised, folder / VOLUME)

    say("Measuring")
    figures, organs = noise_levels(before, after), []
    if case.phantom is not None:
        figures += against_truth(case.phantom.hu, before, after)
        organs = bias_by_organ(case.phantom, before, after)
    write_figures(folder, {"CT": case.name} | scene.provenance(denoised), figures, organs, taken, case.before)
    report(case.before, [*figures, *organs], taken, [folder / name for name in results(case.before)])


def describe(volume: Volume) -> None:
    """Print size and voxels of a volume."""
    size = " x ".join(str(n) for n in volume.array.shape[::-1])
    spacing = " x ".join(f"{mm:.3g}" for mm in volume.spacing)
    low, high = volume.array.min(), volume.array.max()
    print(f"   {size} voxels of {spacing} mm, {low:g} to {high:g} HU ({volume.array.dtype})")


def report(before: str, rows: list[Figure], taken: dict[str, float], files: list[Path]) -> None:
    """Print the figures and where the results are."""
    print(f"\n{table(rows, before)}")
    print(f"\n  {before} minus denoised, in the body: mean {taken['mean']:+.2f} HU, SD {taken['SD']:.1f} HU\n")
    print("Look at:")
    for file in files:
        print(f"  {file}")


def say(step: str) -> None:
    """Print what is being done."""
    print(f"== {step}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
