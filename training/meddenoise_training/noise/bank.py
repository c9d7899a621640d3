"""A noise bank: for every training slice low-dose noise made in its own projections, kept on disk.

Projection noise costs a second a slice; a patch of it read from disk costs next to nothing. Each slice gets a few
realisations, each with a scanner of its own: kernel, photons, electronic noise, tube current modulation and bowtie are
drawn at random. Dose is not: the noise of a realisation is scaled to any SD when it is used, since all but the share of
electronic noise only scales with the dose.
"""

from __future__ import annotations

import dataclasses
import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from meddenoise.errors import InputError, OutputError
from meddenoise_training.manifest import Manifest, open_slices
from meddenoise_training.noise.projection import SOFT_TISSUE_HU, LowDose, low_dose_noise
from meddenoise_training.noise.projector import Kernel

BANK_FOLDER = "noise-bank"
#: Slices that share a scanner, and a pass of the projector: eight cost a quarter of eight times one.
SLICES_AT_ONCE = 12
SYNTHETIC_IN_A_FILE = 48
#: Pixels of slices whose header does not tell, and of synthetic ones, mm: as abdomens of 300 to 470 mm have them.
PIXEL_MM = (0.6, 0.92)
#: Ranges that scanners are drawn from. Cut-offs in cycles/mm: 0.55 the smoothest body kernels, 1.9 sharp ones.
CUTOFF = (0.55, 1.9)
PHOTONS = (2e5, 5e6)
ELECTRONIC_VARIANCE = (10.0, 100.0)
DOSE_FRACTION = 0.25
VIEWS = 720


def make_bank(
    prepared: Path,
    manifest: Manifest,
    *,
    realisations: int = 2,
    views: int = VIEWS,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Make the noise bank of a prepared folder, in a folder of its own in there; files that are there are kept.

    :param prepared: folder made by ``prepare``.
    :param realisations: for each training slice.
    :param views: of the projections, over half a turn.
    :param progress: called with (slices done, slices in all).
    :returns: how many slices have noise now.
    :raises InputError: when a bank made with other settings is there already.
    :raises OutputError: when it cannot be written.
    """
    folder = prepared / BANK_FOLDER
    settings = {"format": 1, "realisations": realisations, "views": views, "seed": seed, "prepared": manifest.created}
    files = _slices_by_file(manifest)
    done, total = 0, sum(len(indices) for indices in files.values())
    try:
        folder.mkdir(exist_ok=True)
        _agree(folder / "bank.json", settings)
        stack = open_slices(prepared, "train", manifest)
        for name, indices in files.items():
            target = folder / f"{name}.npy"
            if not target.exists():
                slices = [stack[i] for i in indices]
                pixel = manifest.splits["train"][indices[0]].pixel_mm
                _write(
                    target, slices, pixel, np.random.default_rng([seed, zlib.crc32(name.encode())]), settings, device
                )
            done += len(indices)
            if progress is not None:
                progress(done, total)
    except OSError as error:
        raise OutputError(f"The noise bank cannot be written to {folder}: {error.strerror or error}.") from error
    return total


class Bank:
    """The noise bank of a prepared folder, read a patch at a time."""

    def __init__(self, prepared: Path, manifest: Manifest) -> None:
        """Open a bank.

        :raises InputError: when there is none, or it is not complete, or of other slices.
        """
        folder = prepared / BANK_FOLDER
        make = f"make it with `meddenoise-train bank {prepared}`"
        try:
            made = json.loads((folder / "bank.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{prepared} has no noise bank; {make}.") from error
        if made.get("prepared") != manifest.created:
            raise InputError(f"The noise bank in {folder} is of other slices; remove it and {make}.")
        self.realisations = int(made["realisations"])
        self._place: dict[int, tuple[npt.NDArray[np.float16], npt.NDArray[np.float32], int]] = {}
        for name, indices in _slices_by_file(manifest).items():
            path = folder / f"{name}.npy"
            try:
                noise = np.load(path, mmap_mode="r")
                sd = np.array(json.loads(path.with_suffix(".json").read_text("utf-8"))["sd"], np.float32)
            except (OSError, ValueError) as error:
                raise InputError(
                    f"The noise bank in {folder} is not complete; the same command goes on: {make}."
                ) from error
            for row, index in enumerate(indices):
                self._place[index] = (noise, sd, row)

    def slice(self, index: int, realisation: int) -> tuple[npt.NDArray[np.float16], float]:
        """Return noise of a training slice, (j, i) HU memory-mapped, and its SD in soft tissue, HU."""
        noise, sd, row = self._place[index]
        return noise[realisation, row], float(sd[realisation, row])


def draw_scanner(rng: np.random.Generator, views: int) -> LowDose:
    """Draw a scanner and its protocol at random, over the ranges above."""

    def between(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(math.log(low), math.log(high))))

    # An edge-enhancing kernel is a sharp one with its high frequencies raised.
    cutoff = between(*CUTOFF)
    boost = float(rng.uniform(0, 2)) if rng.random() < 0.25 else 0.0
    return LowDose(
        dose_fraction=DOSE_FRACTION,
        photons=between(*PHOTONS),
        electronic_variance=between(*ELECTRONIC_VARIANCE),
        kernel=Kernel(float(rng.choice([1.0, 2.0])), cutoff, boost),
        views=views,
        modulation=float(rng.choice([0.0, rng.uniform(0.2, 0.6)])),
        bowtie=float(rng.uniform(0.0, 0.5)),
    )


def _write(
    target: Path,
    slices: list[npt.NDArray[np.int16]],
    pixel: float | None,
    rng: np.random.Generator,
    settings: dict[str, Any],
    device: str,
) -> None:
    """Write the noise of some slices: what it was drawn with first; the noise last, which tells that both are whole."""
    noise = np.empty((settings["realisations"], len(slices), *slices[0].shape), np.float16)
    scanners: list[dict[str, Any]] = []
    sd = np.empty(noise.shape[:2], np.float32)
    for realisation in range(len(noise)):
        for first in range(0, len(slices), SLICES_AT_ONCE):
            some = slice(first, first + SLICES_AT_ONCE)
            hu = torch.from_numpy(np.stack(slices[some]).astype(np.float32)).to(device)
            scanner, mm = draw_scanner(rng, settings["views"]), pixel or float(rng.uniform(*PIXEL_MM))
            generator = torch.Generator(device).manual_seed(int(rng.integers(2**31)))
            drawn = low_dose_noise(hu, mm, scanner, generator)
            noise[realisation, some] = drawn.cpu().numpy()
            sd[realisation, some] = [_sd_in_soft_tissue(n, h) for n, h in zip(drawn, hu, strict=True)]
            scanners.append(
                {"realisation": realisation, "first": first, "pixel_mm": mm, "seed": generator.initial_seed()}
                | dataclasses.asdict(scanner)
            )
    record = target.with_suffix(".json")
    _write_beside(record, lambda path: path.write_text(json.dumps({"scanners": scanners, "sd": sd.tolist()}), "utf-8"))
    _write_beside(target, lambda path: _save(path, noise))


def _sd_in_soft_tissue(noise: Tensor, hu: Tensor) -> float:
    soft = (hu > SOFT_TISSUE_HU[0]) & (hu < SOFT_TISSUE_HU[1])
    if int(soft.sum()) < 1000:
        soft = hu > -900
    if int(soft.sum()) < 2:
        soft = torch.ones_like(hu, dtype=torch.bool)
    return max(float(noise[soft].std()), 1e-3)


def _slices_by_file(manifest: Manifest) -> dict[str, list[int]]:
    """Return which train slices share a file of the bank: those of a series, and some synthetic ones together."""
    files: dict[str, list[int]] = {}
    synthetic = 0
    for index, entry in enumerate(manifest.splits["train"]):
        name = entry.series
        if entry.kind == "synthetic":
            name = f"synthetic-{synthetic // SYNTHETIC_IN_A_FILE:03d}"
            synthetic += 1
        files.setdefault(name, []).append(index)
    return files


def _agree(path: Path, settings: dict[str, Any]) -> None:
    if path.exists():
        begun = json.loads(path.read_text("utf-8"))
        if begun != settings:
            raise InputError(
                f"There is a noise bank of other settings or slices in {path.parent}; remove it to make a new one."
            )
    else:
        _write_beside(path, lambda beside: beside.write_text(json.dumps(settings), "utf-8"))


def _save(path: Path, array: npt.NDArray[np.float16]) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def _write_beside(path: Path, write: Callable[[Path], object]) -> None:
    beside = path.with_name(f".{path.name}.part")
    write(beside)
    beside.replace(path)
