"""A noise bank: for every training slice low-dose noise made in its own projections, kept on disk.

Projection noise costs a second a slice; a patch of it read from disk costs next to nothing. Each slice gets a few
realisations, each with a scanner of its own: kernel, photons, electronic noise, tube current modulation and bowtie are
drawn at random. Dose is not: the noise of a realisation is scaled to any SD when it is used, since all but the share of
electronic noise only scales with the dose; that share grows as the dose fraction falls.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from meddenoise.errors import InputError, OutputError
from meddenoise.folder_lock import locked
from meddenoise_training.manifest import Manifest, PreparedSlices, Slice, open_slices
from meddenoise_training.noise.projection import LowDose, in_soft_tissue, low_dose_noise
from meddenoise_training.noise.projector import Kernel
from meddenoise_training.pool import Pool
from meddenoise_training.whole_file import save_array, whole_file

BANK_FOLDER = "noise-bank"
#: Slices that share a scanner, and a pass of the projector: eight cost a quarter of eight times one.
SLICES_AT_ONCE = 12
#: Slices in a file: what is lost when the work is stopped.
SLICES_IN_A_FILE = 2 * SLICES_AT_ONCE
#: Pixels of slices whose header does not tell, and of synthetic ones, mm: as abdomens of 300 to 470 mm have them.
PIXEL_MM = (0.6, 0.92)
#: Ranges that scanners are drawn from. Cut-offs in cycles/mm: 0.55 the smoothest body kernels, 1.9 sharp ones.
CUTOFF = (0.55, 1.9)
PHOTONS = (2e5, 5e6)
ELECTRONIC_VARIANCE = (10.0, 100.0)
DOSE_FRACTION = 0.25
VIEWS = 720
REALISATIONS = 2
#: How settings of a bank are called on the command line.
_OPTIONS = {"realisations": "--realisations", "dose_fraction": "--dose", "views": "--views", "seed": "--seed"}
_DEFAULTS = {"realisations": REALISATIONS, "dose_fraction": DOSE_FRACTION, "views": VIEWS, "seed": 0}


@dataclasses.dataclass(frozen=True)
class _Job:
    """A file of the bank: noise of some training slices, all of one size."""

    prepared: Path
    target: Path
    places: list[int]
    entries: list[Slice]
    realisations: int
    views: int
    seed: tuple[int, int]
    device: str
    dose: float


def make_bank(
    prepared: Path,
    manifest: Manifest,
    *,
    realisations: int = REALISATIONS,
    dose: float = DOSE_FRACTION,
    views: int = VIEWS,
    seed: int = 0,
    device: str = "cpu",
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Make the noise bank of a prepared folder, in a folder of its own in there; files that are there are kept.

    :param prepared: folder made by ``prepare``.
    :param realisations: for each training slice.
    :param dose: fraction of the slices' own that is simulated, above 0 and below 1.
    :param views: of the projections, over half a turn.
    :param seed: decides the noise, whatever the number of workers.
    :param workers: processes, on a CPU.
    :param progress: called with (slices done, slices in all).
    :returns: how many slices have noise now.
    :raises InputError: for a dose that cannot be, or when a bank made with other settings is there already.
    :raises OutputError: when it cannot be written, or another run is at work on it.
    """
    folder, entries = prepared / BANK_FOLDER, manifest.splits["train"]
    if not 0 < dose < 1:
        raise InputError(f"The dose is {dose:g}; give a fraction of the slices' own, above 0 and below 1.")
    settings = {"format": 2, "realisations": realisations, "views": views, "seed": seed, "prepared": manifest.created}
    if dose != DOSE_FRACTION:
        settings["dose_fraction"] = dose  # else not said, lest banks of the time before it could be chosen not go on
    try:
        with locked(folder, otherwise=""):
            _agree(folder / "bank.json", settings)
            jobs = []
            for number, places in enumerate(_groups(open_slices(prepared, "train", manifest))):
                target, some = folder / f"{number:05d}.npy", [entries[i] for i in places]
                jobs.append(_Job(prepared, target, places, some, realisations, views, (seed, number), device, dose))
            missing = [job for job in jobs if not job.target.exists()]
            done = len(entries) - sum(len(job.places) for job in missing)
            with Pool(min(workers, len(missing))) as pool:
                for place, _ in pool.map(_make, missing):
                    done += len(missing[place].places)
                    if progress is not None:
                        progress(done, len(entries))
    except OSError as error:
        raise OutputError(
            f"The noise bank cannot be written to {folder}: {error.strerror or error}. What is done is kept; the same "
            "command goes on."
        ) from error
    return done


class Bank:
    """The noise bank of a prepared folder, read a patch at a time."""

    def __init__(self, prepared: Path, manifest: Manifest) -> None:
        """Open a bank.

        :raises InputError: when there is none, or it is not complete, or of other slices.
        """
        folder = prepared / BANK_FOLDER
        make = f"make it with `{bank_command(prepared)}`"
        try:
            made = json.loads((folder / "bank.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{prepared} has no noise bank; {make}.") from error
        if made.get("prepared") != manifest.created:
            raise InputError(f"The noise bank in {folder} is of other slices; remove it and {make}.")
        self.realisations = int(made["realisations"])
        self._place: dict[int, tuple[npt.NDArray[np.float16], npt.NDArray[np.float32], int]] = {}
        incomplete = f"The noise bank in {folder} is not complete; the same command goes on: {make}."
        for path in folder.glob("*.npy"):
            try:
                noise = np.load(path, mmap_mode="r")
                record = json.loads(path.with_suffix(".json").read_text("utf-8"))
                sd = np.array(record["sd"], np.float32)
                self._place |= {index: (noise, sd, row) for row, index in enumerate(record["slices"])}
            except (OSError, ValueError, KeyError) as error:
                raise InputError(incomplete) from error
        if len(self._place) < len(manifest.splits["train"]):
            raise InputError(incomplete)

    def slice(self, index: int, realisation: int) -> tuple[npt.NDArray[np.float16], float]:
        """Return noise of a training slice, (j, i) HU memory-mapped, and its SD in soft tissue, HU."""
        noise, sd, row = self._place[index]
        return noise[realisation, row], float(sd[realisation, row])


def bank_command(prepared: Path) -> str:
    """Return the command that goes on with a folder's bank, with the options that it was begun with."""
    words = ["meddenoise-train", "bank", str(prepared)]
    try:
        made = dict(json.loads((prepared / BANK_FOLDER / "bank.json").read_text("utf-8")))
    except (OSError, TypeError, ValueError):
        made = {}
    for name, usual in _DEFAULTS.items():
        if made.get(name, usual) != usual:
            words += [_OPTIONS[name], str(made[name])]
    return shlex.join(words)


def draw_scanner(rng: np.random.Generator, views: int, dose: float = DOSE_FRACTION) -> LowDose:
    """Draw a scanner and its protocol at random, over the ranges above."""

    def between(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(math.log(low), math.log(high))))

    # An edge-enhancing kernel is a sharp one with its high frequencies raised.
    cutoff = between(*CUTOFF)
    boost = float(rng.uniform(0, 2)) if rng.random() < 0.25 else 0.0
    return LowDose(
        dose_fraction=dose,
        photons=between(*PHOTONS),
        electronic_variance=between(*ELECTRONIC_VARIANCE),
        kernel=Kernel(float(rng.choice([1.0, 2.0])), cutoff, boost),
        views=views,
        modulation=float(rng.choice([0.0, rng.uniform(0.2, 0.6)])),
        bowtie=float(rng.uniform(0.0, 0.5)),
    )


def _make(job: _Job) -> None:
    """Write the noise of some slices: what it was drawn with first; the noise last, which tells that both are whole."""
    slices, rng = PreparedSlices(job.prepared / "train", job.entries), np.random.default_rng(job.seed)
    pixels = [entry.pixel_mm or float(rng.uniform(*PIXEL_MM)) for entry in job.entries]
    noise = np.empty((job.realisations, len(slices), *slices[0].shape), np.float16)
    scanners: list[dict[str, Any]] = []
    sd = np.empty(noise.shape[:2], np.float32)
    for realisation in range(job.realisations):
        for first in range(0, len(slices), SLICES_AT_ONCE):
            some = slice(first, first + SLICES_AT_ONCE)
            hu = torch.from_numpy(np.stack(slices[some]).astype(np.float32)).to(job.device)
            scanner = draw_scanner(rng, job.views, job.dose)
            generator = torch.Generator(job.device).manual_seed(int(rng.integers(2**31)))
            drawn = low_dose_noise(hu, torch.tensor(pixels[some]), scanner, generator)
            noise[realisation, some] = drawn.cpu().numpy()
            sd[realisation, some] = [_sd_in_soft_tissue(n, h) for n, h in zip(drawn, hu, strict=True)]
            scanners.append(
                {"realisation": realisation, "first": first, "seed": generator.initial_seed()}
                | dataclasses.asdict(scanner)
            )
    record = {"slices": job.places, "pixel_mm": pixels, "scanners": scanners, "sd": sd.tolist()}
    with whole_file(job.target.with_suffix(".json")) as beside:
        beside.write_text(json.dumps(record), "utf-8")
    with whole_file(job.target) as beside:
        save_array(beside, noise)


def _sd_in_soft_tissue(noise: Tensor, hu: Tensor) -> float:
    """Return the SD of noise in a slice's soft tissue, HU; of next to none in the body; without a body in all of it."""
    soft = in_soft_tissue(hu)
    if int(soft.sum()) < 1000:
        soft = hu > -900
    if int(soft.sum()) < 2:
        soft = torch.ones_like(hu, dtype=torch.bool)
    return max(float(noise[soft].std()), 1e-3)


def _groups(slices: PreparedSlices) -> list[list[int]]:
    """Return which slices share a file: some of one size, in the order of the manifest."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for place in range(len(slices)):
        by_size.setdefault(slices[place].shape, []).append(place)
    step = SLICES_IN_A_FILE
    return [of_size[k : k + step] for of_size in by_size.values() for k in range(0, len(of_size), step)]


def _agree(path: Path, settings: dict[str, Any]) -> None:
    if path.exists():
        begun = {"dose_fraction": DOSE_FRACTION} | json.loads(path.read_text("utf-8"))
        asked = {"dose_fraction": DOSE_FRACTION} | settings
        other = [name for name, value in asked.items() if begun.get(name) != value]
        if not set(other) <= _OPTIONS.keys():
            raise InputError(
                f"The noise bank in {path.parent} is of other slices or another version; remove it to make a new one."
            )
        if other:
            made = " and ".join(f"{_OPTIONS[name]} {begun[name]} instead of {asked[name]}" for name in other)
            raise InputError(
                f"The noise bank in {path.parent} was made with {made}; give that, or remove it to make a new one."
            )
    else:
        with whole_file(path) as beside:
            beside.write_text(json.dumps(settings), "utf-8")
