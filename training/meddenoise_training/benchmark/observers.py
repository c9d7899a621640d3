"""The engine's measures of texture, resolution and detectability, applied to the tasks' images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.errors import InputError
from meddenoise.metrics import (
    Detection,
    Interval,
    TransferFunction,
    auc_gain,
    channelised_hotelling,
    jackknife_interval,
    matched_filter,
    noise_power,
    noise_reduction_profile,
    task_transfer,
)
from meddenoise_training.benchmark.cases import Image
from meddenoise_training.benchmark.phantoms import LESIONS, Disc

#: Regions are left out in so many batches for the interval of a shift.
_BATCHES = 10
#: Of a disc's transfer function so much is kept, cycles/mm.
_HIGHEST_FREQUENCY = 0.9


def contrast_transfer(
    before: npt.NDArray[np.float64], after: npt.NDArray[np.float64], discs: Sequence[Disc], radius: float, pixel: float
) -> dict[str, Any]:
    """Measure the task transfer function by contrast, before and after.

    :param before: (batches, j, i), HU: means over some realisations each; ``after``: of the same denoised.
    :param radius: pixels.
    :returns: by contrast ``f50`` and ``f50_input`` (cycles/mm), ``ratio`` of both with its 95 % interval (jackknife
        over the ``batches``; None where a function stays above a half), ``frequency`` and ``ttf`` of the result.
    """
    found = {}
    for contrast in sorted({disc.contrast for disc in discs}):
        these = [disc for disc in discs if disc.contrast == contrast]
        own, base = (_function(images.mean(axis=0), these, radius, pixel) for images in (after, before))
        kept = own.frequency < _HIGHEST_FREQUENCY
        found[f"{contrast:g}"] = {
            "f50": own.f50 if np.isfinite(own.f50) else None,
            "f50_input": base.f50 if np.isfinite(base.f50) else None,
            "ratio": _ratio(before, after, these, radius, pixel),
            "batches": len(before),
            "frequency": _rounded(own.frequency[kept][::4]),
            "ttf": _rounded(own.value[kept][::4]),
        }
    return found


def texture(rois: Image, before: Image, pixel: float) -> dict[str, Any]:
    """Return the NPS of uniform regions: ``frequency`` and ``mean_frequency`` in cycles/pixel, ``nps``, ``sd`` (HU).

    :param before: the same regions as they were before denoising, (n, j, i) HU.
    :returns: with them ``shift``: the mean frequency over that before, less 1, with its 95 % interval (jackknife over
        ``batches`` of regions); and ``reduction``: the noise-reduction profile at the frequencies, None where a
        spectrum has no power.
    """

    def shift(kept: npt.NDArray[np.intp]) -> float:
        own, base = (noise_power(images[kept], (pixel, pixel)).mean_frequency for images in (rois, before))
        return own / base - 1

    found, base = (noise_power(images, (pixel, pixel)) for images in (rois, before))
    reduction = noise_reduction_profile(base, found)
    return {
        "shift": _jackknife(shift, len(rois), _BATCHES),
        "batches": min(_BATCHES, len(rois)),
        "frequency": _rounded(found.frequency * pixel),
        "nps": _rounded(found.profile),
        "reduction": [round(float(value), 4) if np.isfinite(value) else None for value in reduction],
        "mean_frequency": found.per_pixel(found.mean_frequency),
        "sd": float(np.sqrt(found.variance)),
    }


def lesion_figures(rois: Image, kinds: Sequence[int | None], places: Sequence[int], pixel: float) -> dict[str, Any]:
    """Return by lesion what ``cho`` and ``npw`` achieve: d', AUC with its interval, number of regions.

    Where there are too few regions or places for an observer it is None.

    :param places: what each region shares with others: the place in a patient, or the image.
    """
    number, place = np.array([-1 if kind is None else kind for kind in kinds]), np.asarray(places)
    absent = rois[number == -1]
    found: dict[str, Any] = {}
    for kind, lesion in enumerate(LESIONS):
        present, diameter = rois[number == kind], lesion.diameter / pixel
        where = (place[number == kind], place[number == -1])
        found[lesion.name] = {}
        for name, observer in (("cho", channelised_hotelling), ("npw", matched_filter)):
            try:
                seen = observer(present, absent, diameter=diameter, places=where)
            except InputError:
                found[lesion.name][name] = None
                continue
            found[lesion.name][name] = {
                "auc": list(astuple(seen.auc)),
                "auc_without": [round(auc, 5) for auc in seen.auc_without],
                "detectability": list(astuple(seen.detectability)),
                "batches": len(seen.auc_without),
                "regions": [len(present), len(absent)],
            }
    return found


def auc_difference(own: dict[str, Any], other: dict[str, Any]) -> Interval:
    """Return how much larger an AUC is than another's, paired: all methods see the same lesions, places and noise."""
    return auc_gain(*(_detection(found) for found in (other, own)))


def _detection(found: dict[str, Any]) -> Detection:
    return Detection(Interval(*found["detectability"]), Interval(*found["auc"]), tuple(found["auc_without"]))


def shown(interval: Interval, shape: str) -> str:
    """Return an interval as text, ``value [low, high]``."""
    return f"{shape.format(interval.value)} [{shape.format(interval.low)}, {shape.format(interval.high)}]"


def _function(image: npt.NDArray[np.float64], discs: Sequence[Disc], radius: float, pixel: float) -> TransferFunction:
    """Return the transfer function of discs of one contrast, laid over each other: all lie alike on the pixel grid."""
    half = int(np.ceil(2 * radius)) + 2
    corners = [(int(j) - half, int(i) - half) for j, i in (disc.centre for disc in discs)]
    patch = np.mean([image[j : j + 2 * half + 1, i : i + 2 * half + 1] for j, i in corners], axis=0)
    centre = (discs[0].centre[0] - corners[0][0], discs[0].centre[1] - corners[0][1])
    return task_transfer(patch, pixel, radius=radius * pixel, centre=centre, margin=radius * pixel / 2)


def _ratio(
    before: npt.NDArray[np.float64], after: npt.NDArray[np.float64], discs: Sequence[Disc], radius: float, pixel: float
) -> list[float] | None:
    """Return the ratio of both f50 with its interval: a jackknife over the batches."""

    def ratio(kept: npt.NDArray[np.intp]) -> float:
        own, base = (_function(images[kept].mean(axis=0), discs, radius, pixel).f50 for images in (after, before))
        return own / base

    return _jackknife(ratio, len(before), len(before))


def _jackknife(measure: Callable[[npt.NDArray[np.intp]], float], count: int, batches: int) -> list[float] | None:
    """Return what is measured on all of ``count``, with its 95 % interval from leaving out a batch at a time.

    None where it cannot be measured.
    """
    every = np.arange(count)
    whole = measure(every)
    batches = min(batches, count)
    left = [measure(every[every % batches != out]) for out in range(batches)] if batches > 1 else [whole]
    if not np.isfinite([whole, *left]).all():
        return None
    interval = jackknife_interval(whole, left)
    return [interval.value, interval.low, interval.high]


def _rounded(values: npt.NDArray[np.float64]) -> list[float]:
    return [float(f"{v:.5g}") for v in values]
