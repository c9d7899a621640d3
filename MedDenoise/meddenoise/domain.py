"""The domain guard: does this input look like what the model was trained for? Findings in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from meddenoise.arrays import Array
from meddenoise.errors import InputError
from meddenoise.intensity import PADDING_BELOW_HU
from meddenoise.model_card import Range, TrainingDomain
from meddenoise.noise_estimate import estimate_noise

_MOST_VALUES = 1_000_000
#: No CT has values beyond, but as padding (one value or two): extended scales end at 30 710 HU, for metal alone.
_LOWEST_HU, _HIGHEST_HU = -4096, 4096
_TOO_HIGH_SHARE = 0.005
#: A label map has regions: of its neighbouring voxels that are not background, this share is equal.
_EQUAL_NEIGHBOURS = 0.8
_MOST_LABELS = 256
#: Where air is seen at all, it fills this share of a volume.
_AIR_SHARE = 0.1
#: The commonest dark value lies here: air, or lung in a volume that holds nothing but the chest's inside.
_AIR_HU: Range = (-1100.0, -700.0)
_AIR_BIN = 20
#: Values that are soft tissue when 1024 was not taken away.
_OFFSET_TISSUE: Range = (850.0, 1250.0)
#: Mean frequency of the noise from which a kernel is no longer a smooth one, cycles/pixel, as it reads on real scans:
#: smooth kernels of five makers gave 0.16 to 0.20, two sharp ones 0.25 and 0.26.
_SHARP_FROM = 0.225
#: How far beyond a range the estimate may lie before it is worth a word.
_SLACK = 1.1
#: Below, HU, the texture that is measured is that of the organs, 0.09 to 0.12 cycles/pixel in the numerical abdomen.
_TEXTURE_FROM_HU = 5.0


@dataclass(frozen=True)
class Finding:
    """One way in which an input leaves what the model was made for.

    :param code: stable, for programs: ``label_map``, ``modality``, ``scaled``, ``picture``, ``no_negative``,
        ``hu_offset``, ``hu_scale``, ``no_air``, ``kernel``, ``texture``, ``thickness``, ``spacing``, ``pixel``,
        ``kvp``, ``noise``, ``hu_range``.
    :param sentence: what it is and what follows from it, for people.
    :param refused: the input is certainly no CT in HU: it is refused unless forced.
    """

    code: str
    sentence: str
    refused: bool = False


@dataclass(frozen=True)
class Facts:
    """What is known of an input beside its voxels; None where it is not.

    :param pixel_mm: pixel spacing of rows and columns, mm.
    :param noise_sd: estimated, HU.
    :param mean_frequency: of the noise, estimated, cycles/pixel.
    """

    pixel_mm: tuple[float, float]
    spacing_mm: float
    modality: str | None = None
    kernel: str | None = None
    kvp: float | None = None
    thickness_mm: float | None = None
    noise_sd: float | None = None
    mean_frequency: float | None = None


def noise_or_none(volume: Array) -> float | None:
    """Return the estimated SD of the noise, HU; None where the volume is too small to estimate it."""
    try:
        return estimate_noise(volume)
    except InputError:
        return None


def findings_of(volume: Array, facts: Facts, domain: TrainingDomain | None) -> tuple[Finding, ...]:
    """Compare an input with what a model was trained for; empty when nothing stands out.

    :param volume: (k, j, i), as read.
    :param domain: of the model's card; without one only modality and values are looked at.
    """
    found = [*_modality_finding(facts, domain), *_value_findings(volume)]
    if domain is not None and not any(finding.refused for finding in found):
        found += [*_kernel_findings(facts, domain), *_range_findings(facts, domain), *_hu_findings(volume, domain)]
    return tuple(found)


def _modality_finding(facts: Facts, domain: TrainingDomain | None) -> Iterator[Finding]:
    wanted = domain.modality if domain is not None else "CT"
    if facts.modality is not None and facts.modality != wanted:
        yield Finding("modality", f"It is a series of modality {facts.modality}; the model is for {wanted}.", True)


def _value_findings(volume: Array) -> Iterator[Finding]:
    """Say what the values look like when they do not look like HU: the first of the reasons that holds."""
    values = _sample(volume)
    if values.size == 0 or values.min() == values.max():  # a constant says nothing
        return
    measured = values[values >= PADDING_BELOW_HU]
    low, high = float(values.min()), float(values.max())
    integers = bool(np.array_equal(values, np.rint(values)))
    beyond = values[(values < _LOWEST_HU)]
    if integers and low >= 0 and _looks_like_labels(volume):
        yield Finding("label_map", "It looks like a label map (few different values in regions), not like a CT.", True)
    elif not integers and low >= -1.5 and high <= 1.5:
        yield Finding(
            "scaled", f"Its values go from {low:.3g} to {high:.3g}, which is a scaled image; give the CT in HU.", True
        )
    elif (integers and low >= 0 and high <= 255) or volume.dtype == np.uint8:
        yield Finding("picture", "Its values go from 0 to 255 as in an 8-bit picture; the model needs HU.")
    elif np.unique(beyond).size > 8 or np.mean(values > _HIGHEST_HU) > _TOO_HIGH_SHARE:
        yield Finding(
            "hu_scale",
            f"Its values go from {low:.0f} to {high:.0f}, which no CT in HU has; was it read with the wrong sign or "
            "rescale?",
        )
    elif _share(measured, *_OFFSET_TISSUE) > _AIR_SHARE and float(np.mean(measured < -300)) < 0.01:
        yield Finding(
            "hu_offset",
            "Its soft tissue lies near +1000 instead of 0 to 100 HU: 1024 was not taken away; do that first.",
        )
    elif low >= 0:
        yield Finding(
            "no_negative",
            "None of its values is below 0, so that it holds neither air nor fat in HU: another modality (MR), "
            "or another scale?",
        )
    else:
        yield from _air_finding(measured)


def _air_finding(measured: Array) -> Iterator[Finding]:
    dark = measured[measured < -300]
    if dark.size == 0 or dark.size < _AIR_SHARE * measured.size:
        return
    # not np.histogram, which sorts a million values
    counts = np.bincount(((dark - PADDING_BELOW_HU) // _AIR_BIN).astype(np.intp))
    commonest = PADDING_BELOW_HU + _AIR_BIN * (float(counts.argmax()) + 0.5)
    if not _AIR_HU[0] <= commonest <= _AIR_HU[1]:
        yield Finding(
            "no_air", f"Its air lies near {commonest:.0f} HU instead of -1000, so its values are on another scale."
        )


def _kernel_findings(facts: Facts, domain: TrainingDomain) -> Iterator[Finding]:
    frequency, seen = facts.mean_frequency, domain.noise_mean_frequency
    if frequency is not None and seen is not None:
        yield from _texture_finding(frequency, facts.noise_sd, seen)
    known = {kernel.casefold() for kernel in domain.kernels}
    if facts.kernel is None or not known or facts.kernel.casefold() in known:
        return
    if frequency is None or frequency > _SHARP_FROM:
        measured = "" if frequency is None else f", and its noise is that of a sharp one ({frequency:.2f} cycles/pixel)"
        yield Finding(
            "kernel",
            f"Its kernel {facts.kernel} was not seen in training{measured}; fine detail may be lost: compare with the "
            "original.",
        )


def _texture_finding(frequency: float, noise_sd: float | None, seen: Range) -> Iterator[Finding]:
    """Say when noise is finer or coarser than in training.

    Coarse noise reads too high, a true 0.06 cycles/pixel as 0.10 and any coarser as 0.09: what reads low is coarser
    still, but of a model trained with as little as 0.09 nothing is ever said.
    """
    if frequency > _SLACK * seen[1]:
        yield Finding(
            "texture",
            f"Its noise is finer than any in training (mean frequency {frequency:.2f}, at most {seen[1]:.2f} "
            "cycles/pixel); noise may be left.",
        )
    elif frequency < seen[0] / _SLACK and (noise_sd is None or noise_sd >= _TEXTURE_FROM_HU):
        yield Finding(
            "texture",
            f"Its noise is coarser than any in training (mean frequency {frequency:.2f}, at least {seen[0]:.2f} "
            "cycles/pixel); it may be left in.",
        )


def _range_findings(facts: Facts, domain: TrainingDomain) -> Iterator[Finding]:
    thin = (facts.thickness_mm, domain.thickness_mm, "thickness", "slices are thinner")
    if facts.thickness_mm is None:
        thin = (facts.spacing_mm, domain.spacing_mm, "spacing", "slices lie closer together")
    value, seen, code, words = thin
    if value is not None and seen is not None and value < seen[0] / _SLACK:
        yield Finding(
            code,
            f"Its {words} ({value:g} mm) than any in training ({seen[0]:g} mm); more noise may be left than usual.",
        )
    for pixel in sorted(set(facts.pixel_mm)):
        if domain.pixel_mm is not None and not _within(pixel, domain.pixel_mm):
            yield Finding(
                "pixel", f"Its pixels of {pixel:.3g} mm lie outside the {_span(domain.pixel_mm)} mm of training."
            )
    if facts.kvp is not None and domain.kvp is not None and not _within(facts.kvp, domain.kvp):
        yield Finding(
            "kvp", f"Its tube voltage of {facts.kvp:g} kV lies outside the {_span(domain.kvp)} kV of training."
        )
    noise = domain.noise_sd_hu
    if facts.noise_sd is not None and noise is not None and facts.noise_sd > _SLACK * noise[1]:
        yield Finding(
            "noise",
            f"Its noise of {facts.noise_sd:.0f} HU is above the {noise[1]:g} HU of training; some may be left.",
        )


def _hu_findings(volume: Array, domain: TrainingDomain) -> Iterator[Finding]:
    if domain.hu is None:
        return
    above = float(np.mean(_sample(volume) > domain.hu[1]))
    if above > 0.001:
        yield Finding(
            "hu_range", f"{above:.1%} of its voxels are above the {domain.hu[1]:.0f} HU that were seen in training."
        )


def _sample(volume: Array) -> Array:
    """Return finite values of about a million voxels, evenly spread over the slices, as float64."""
    slices = volume[np.unique(np.linspace(0, len(volume) - 1, 24).round().astype(int))]
    step = max(1, slices.size // _MOST_VALUES)
    values: Array = slices.reshape(-1)[::step].astype(np.float64)
    return values[np.isfinite(values)]


def _looks_like_labels(volume: Array) -> bool:
    """Return whether a volume has few values, and neighbours in a row mostly the same one."""
    slices = volume[np.unique(np.linspace(0, len(volume) - 1, 24).round().astype(int))]
    if np.unique(slices).size > _MOST_LABELS:
        return False
    left, right = slices[..., :-1], slices[..., 1:]
    counted = (left != 0) | (right != 0)
    return bool(counted.any()) and float(np.mean((left == right)[counted])) > _EQUAL_NEIGHBOURS


def _share(values: Array, low: float, high: float) -> float:
    return float(np.mean((values >= low) & (values <= high))) if values.size else 0.0


def _within(value: float, seen: Range) -> bool:
    return seen[0] / _SLACK <= value <= seen[1] * _SLACK


def _span(seen: Range) -> str:
    return f"{seen[0]:.3g} to {seen[1]:.3g}"
