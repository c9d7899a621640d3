"""Which noise is added: white, low dose in the projections with several kernels, a kernel never trained on, none."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from meddenoise_training.benchmark.cases import Case, Image
from meddenoise_training.noise.projection import LowDose, calibrated, low_dose_noise
from meddenoise_training.noise.projector import Kernel

#: Noise that a numerical abdomen would have at full dose with the smooth kernel, HU: as the cleaner scans have it.
FULL_DOSE_SD = 12.0
#: Kernels at pixels of 0.75 mm; at others the cut-off follows the pixel, so that the texture in pixels is the same.
KERNELS = {
    "smooth": Kernel(2, 0.77),
    "sharp": Kernel(1, 1.6, boost=1.0),
    # Ram-Lak, cut off where its noise is strongest: no kernel that training draws from has such an edge.
    "unseen": Kernel(0, 0.62),
}
_KERNEL_PIXEL_MM = 0.75
#: One more when other noise is made in the projections of a truth: what is kept of earlier noise is then made anew.
_TRUTH_REVISION = 1
#: The photons are found with no more views than this, each for several: a fraction of the time.
_VIEWS_TO_CALIBRATE = 90
#: Slices that go through the projector together: eight cost a quarter of eight times one.
_AT_ONCE = 12

Group = Literal["white", "unseen white", "smooth", "sharp", "unseen kernel", "none"]


@dataclass(frozen=True)
class Condition:
    """Noise that is added.

    :param name: as it stands in tables and file names.
    :param group: conditions that are summed up together.
    :param sd: of white noise, HU.
    :param dose: fraction of the dose, for noise made in the projections; of a truth the whole noise at that dose is
        added, to a scan what it lacks beyond its own.
    :param kernel: name in :data:`KERNELS`.
    """

    name: str
    group: Group
    sd: float = 0.0
    dose: float = 1.0
    kernel: str = "smooth"


CONDITIONS = (
    *(Condition(f"white {sd}", "white", sd=sd) for sd in (10, 25, 50)),
    Condition("white 75", "unseen white", sd=75),
    *(Condition(f"dose {round(100 * a)} % smooth", "smooth", dose=a) for a in (0.5, 0.25, 0.1)),
    *(Condition(f"dose {round(100 * a)} % sharp", "sharp", dose=a, kernel="sharp") for a in (0.5, 0.25, 0.1)),
    Condition("dose 25 % unseen kernel", "unseen kernel", dose=0.25, kernel="unseen"),
    Condition("none", "none"),
)
QUICK = ("white 25", "dose 25 % smooth", "dose 25 % sharp", "none")


def applies(condition: Condition, case: Case) -> bool:
    """Return whether a condition can be tried: only a truth tells whether noise-free input is left alone."""
    return condition.group != "none" or case.truth


def noise_revision(case: Case, condition: Condition) -> int:
    """Return a number that changes when a condition's noise does, for the key of what is kept of it."""
    return _TRUTH_REVISION if case.truth and in_projections(condition) else 0


def in_projections(condition: Condition) -> bool:
    """Return whether a condition's noise is made in the projections: that alone takes long."""
    return condition.sd == 0 and condition.dose < 1


def same_scan(cases: Sequence[Case]) -> list[list[Case]]:
    """Group cases by patient and pixel: they share a scanner, and a pass of the projector."""
    groups: dict[tuple[str, float], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.patient, case.pixel), []).append(case)
    return list(groups.values())


def condition_noise(cases: Sequence[Case], condition: Condition, offset: int = 0, *, views: int = 720) -> Image:
    """Return a condition's noise for the cases of one scan, (n, j, i) HU; it depends on their names alone.

    :param offset: of their neighbours so many spacings away instead, made in the projections of those; independent of
        the cases' own: what overlapping slices share, :func:`~meddenoise_training.benchmark.noisy.with_noise` mixes.
    """
    if condition.sd == 0 and condition.dose == 1:
        return np.zeros((len(cases), *cases[0].reference.shape), np.float32)
    if condition.sd > 0:
        seeds = [_seed(_beside(c.name, offset), condition) for c in cases]
        drawn = [np.random.default_rng(s).standard_normal(c.reference.shape) for s, c in zip(seeds, cases, strict=True)]
        return (condition.sd * np.stack(drawn)).astype(np.float32)
    names = "|".join(c.name for c in cases)
    return _dose_noise(cases, condition, offset, _seed(_beside(names, offset), condition), views)


def noise_realisations(case: Case, condition: Condition, count: int, offset: int = 0, *, views: int = 720) -> Image:
    """Return independent realisations of a condition's projection noise for one case, (count, j, i) HU.

    :param offset: of its neighbour so many spacings away instead.
    """
    parts = []
    for first in range(0, count, _AT_ONCE):
        some = [case] * min(_AT_ONCE, count - first)
        seed = _seed(f"{_beside(case.name, offset)} from {first}", condition)
        parts.append(_dose_noise(some, condition, offset, seed, views))
    return np.concatenate(parts)


def _dose_noise(cases: Sequence[Case], condition: Condition, offset: int, seed: int, views: int) -> Image:
    """Return noise made in the projections of slices of one scan, or of their neighbours at an offset.

    The photons are those at which the smooth kernel gives the scan its own noise (a truth: :data:`FULL_DOSE_SD`), so
    that sharper kernels are noisier, as on a scanner.
    """
    pixel = cases[0].pixel
    settings = LowDose(
        dose_fraction=condition.dose,
        photons=_photons(cases, views),
        kernel=_kernel(condition.kernel, pixel),
        views=views,
    )
    if cases[0].truth:
        settings = _whole_noise(settings)
    generator = torch.Generator().manual_seed(seed)
    slices = _stack([case.neighbour(offset) for case in cases])
    return np.asarray(low_dose_noise(slices, pixel, settings, generator).numpy(), np.float32)


def _whole_noise(settings: LowDose) -> LowDose:
    """Return settings that make all the noise there is at the dose, not what it lacks beyond that of full dose.

    At dose a the line integrals have the variance ``q + Ne q^2`` with ``q = e^p / (a N0)``. Half of the dose of a N0
    photons lacks ``q + 3 Ne q^2``: so that is asked for, with a third of the electronic noise.
    """
    return dataclasses.replace(
        settings,
        dose_fraction=0.5,
        photons=settings.dose_fraction * settings.photons,
        electronic_variance=settings.electronic_variance / 3,
    )


#: By all that decides them: they take longer to find than the noise takes to make.
_known_photons: dict[tuple[object, ...], float] = {}


def _photons(cases: Sequence[Case], views: int) -> float:
    """Return the photons at which the smooth kernel gives a scan its own noise."""
    distinct = list({case.name: case for case in cases}.values())
    pixel, truth = distinct[0].pixel, distinct[0].truth
    own = FULL_DOSE_SD if truth else math.sqrt(float(np.mean([c.own_sd**2 for c in distinct])))
    key = (*((c.reference.shape, zlib.crc32(c.reference.tobytes())) for c in distinct), pixel, truth, own, views)
    if key not in _known_photons:
        merged = max(1.0, views / _VIEWS_TO_CALIBRATE)  # a view for several has their photons and electronic noise
        settings = LowDose(
            dose_fraction=0.25,
            kernel=_kernel("smooth", pixel),
            views=min(views, _VIEWS_TO_CALIBRATE),
            electronic_variance=LowDose.electronic_variance * merged,
        )
        generator = torch.Generator().manual_seed(0)
        slices = _stack([case.reference for case in distinct])
        found = calibrated(slices, pixel, settings, own or FULL_DOSE_SD, generator)
        _known_photons[key] = found.photons / merged
    return _known_photons[key]


def _stack(images: Sequence[Image]) -> torch.Tensor:
    return torch.from_numpy(np.stack(images))


def _beside(name: str, offset: int) -> str:
    return f"{name} {offset:+d}" if offset else name


def _seed(name: str, condition: Condition) -> int:
    return zlib.crc32(f"{name}|{condition.name}".encode())


def _kernel(name: str, pixel: float) -> Kernel:
    kernel = KERNELS[name]
    return dataclasses.replace(kernel, cutoff=kernel.cutoff * _KERNEL_PIXEL_MM / pixel)
