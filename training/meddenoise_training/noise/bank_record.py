"""What a noise bank was made with and what its noise is like, for a model card."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.errors import counted
from meddenoise.metrics import noise_power
from meddenoise.model_card import Range
from meddenoise_training.noise.bank import BANK_FOLDER, DOSE_FRACTION

_REGION = 64


@dataclass(frozen=True)
class BankRecord:
    """A bank: each scanner made one realisation of some slices.

    :param dose_fraction: that was simulated.
    :param views: of the projections, over half a turn.
    :param cutoff: of the reconstruction kernels, cycles/mm.
    :param photons: at a detector with nothing in the beam; ``electronic_variance``: at the same, photons squared.
    :param mean_frequency: of the noise as it lies in the middle of slices, cycles/pixel; None where it cannot be
        measured on any.
    """

    realisations: int
    dose_fraction: float
    views: int
    scanners: int
    cutoff: Range
    photons: Range
    electronic_variance: Range
    modulation: Range
    bowtie: Range
    mean_frequency: Range | None

    def __str__(self) -> str:
        """Return it as a sentence of a card."""
        texture = "" if self.mean_frequency is None else f"; mean frequencies {_span(self.mean_frequency)} cycles/pixel"
        return (
            f"{counted(self.realisations, 'realisation')} of each slice in {self.views} views over half a turn "
            f"(parallel beam, from the reconstructed slice), {counted(self.scanners, 'scanner')} drawn at random, "
            f"{self.dose_fraction:.3g} of the dose: cosine and Hann kernels cut off "
            f"at {_span(self.cutoff)} cycles/mm, some with raised high frequencies; {_span(self.photons)} photons, "
            f"electronic variance {_span(self.electronic_variance)}, tube current modulation {_span(self.modulation)}, "
            f"bowtie {_span(self.bowtie)}{texture}"
        )


def bank_record(prepared: Path) -> BankRecord:
    """Read what the bank of a prepared folder was made with, and measure the texture of each scanner's noise.

    The bank is whole: opening it for training, or :class:`~meddenoise_training.noise.bank.Bank`, made sure of it.
    """
    folder = prepared / BANK_FOLDER
    made = json.loads((folder / "bank.json").read_text("utf-8"))
    scanners: list[dict[str, Any]] = []
    frequencies: list[float] = []
    for path in sorted(folder.glob("*.npy")):
        noise = np.load(path, mmap_mode="r")
        own = json.loads(path.with_suffix(".json").read_text("utf-8"))["scanners"]
        scanners += own
        frequencies += [_mean_frequency(noise[s["realisation"], s["first"]]) for s in own]
    known = [f for f in frequencies if math.isfinite(f)]
    return BankRecord(
        realisations=made["realisations"],
        dose_fraction=made.get("dose_fraction", DOSE_FRACTION),
        views=made["views"],
        scanners=len(scanners),
        cutoff=_ends([s["kernel"]["cutoff"] for s in scanners]),
        photons=_ends([s["photons"] for s in scanners]),
        electronic_variance=_ends([s["electronic_variance"] for s in scanners]),
        modulation=_ends([s["modulation"] for s in scanners]),
        bowtie=_ends([s["bowtie"] for s in scanners]),
        mean_frequency=_ends(known) if known else None,
    )


def _mean_frequency(noise: npt.NDArray[np.float16]) -> float:
    """Return the mean frequency in the middle half of a slice, cycles/pixel; NaN where it cannot be measured."""
    side = min(_REGION, min(noise.shape) // 2)
    if side < 16:
        return math.nan
    count = max(1, min(noise.shape) // 2 // side)
    top, left = ((n - count * side) // 2 for n in noise.shape)
    middle = noise[top : top + count * side, left : left + count * side].astype(np.float64)
    regions = middle.reshape(count, side, count, side).swapaxes(1, 2).reshape(-1, side, side)
    return noise_power(regions, (1.0, 1.0)).mean_frequency


def _ends(values: list[float]) -> Range:
    return float(f"{min(values):.3g}"), float(f"{max(values):.3g}")


def _span(ends: Range) -> str:
    return f"{ends[0]:g} to {ends[1]:g}"
