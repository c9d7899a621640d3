"""The figures of one denoised slice against its reference, and of a scan that has none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy.stats import chi2

from meddenoise.errors import InputError
from meddenoise.metrics import ABDOMEN, bias, edge_correlation, psnr, rmse, ssim
from meddenoise.noise_estimate import estimate_noise
from meddenoise_training.benchmark.cases import Case, Image, Mask, body_of
from meddenoise_training.benchmark.noisy import Noisy

#: Stored values of ldct-benchmark: HU + 1024, and the range it clips them to.
_STORED_OFFSET, _STORED_MAX = 1024.0, 2924.0
#: Periods of a network's folding and strides, pixels: a checkerboard would have one of them.
_PERIODS = (2, 4, 8)
#: A pattern is one that chance shows less often than in the rest of cases.
_CHANCE = 0.999
#: Tissues of a numerical abdomen where noise is told apart from anatomy by the truth.
_UNIFORM = ("liver", "spleen", "muscle")

Figures = dict[str, Any]


def figures(case: Case, noisy: Noisy, result: Image, *, full: bool = True) -> Figures:
    """Measure a result against its case's reference.

    :param full: with SSIM and VIF, which take longest.
    :returns: ``rmse`` (HU, whole slice), ``rmse_body`` (HU), ``psnr`` and ``ssim`` (window C50/W400, whole slice),
        ``vif``, ``bias`` by tissue (HU), ``sd_before`` and ``sd_after`` (HU: by the truth where it is known, else
        blind), ``pattern`` (HU). An endless PSNR is None.
    """
    reference, body = case.reference, body_of(case.reference)
    decibels = psnr(reference, result, ABDOMEN)
    found: Figures = {
        "rmse": rmse(reference, result),
        "rmse_body": rmse(reference, result, body),
        "psnr": decibels if math.isfinite(decibels) else None,
        "bias": {tissue: bias(reference, result, mask) for tissue, mask in case.tissues.items()},
        "sd_before": noise_sd(case, noisy.image),
        "sd_after": noise_sd(case, result),
        "pattern": pattern(result - noisy.image, body),
    }
    if full:
        found["ssim"] = ssim(reference, result, ABDOMEN)
        found["vif"] = vif(reference, result)
    return found


def blind_figures(noisy: Noisy, result: Image) -> Figures:
    """Measure a result where there is no reference: the blind SD before and after, HU, residual structure, pattern."""
    body = body_of(noisy.image)
    return {
        "sd_before": _blind_sd(noisy.image),
        "sd_after": _blind_sd(result),
        "structure": edge_correlation(result, noisy.image - result, body),
        "pattern": pattern(result - noisy.image, body),
    }


def noise_sd(case: Case, image: Image) -> float | None:
    """Return the noise of an image, HU: about the truth in uniform organs, else the blind estimate; None if neither."""
    if not case.truth:
        return _blind_sd(image)
    masks = [case.tissues[t] for t in _UNIFORM if t in case.tissues]
    if not masks:
        return None
    # About each organ's mean error: a bias is no noise.
    errors = [image[mask].astype(np.float64) - case.reference[mask] for mask in masks]
    return float(np.sqrt(np.mean(np.concatenate([np.square(e - e.mean()) for e in errors]))))


def vif(reference: Image, image: Image) -> float:
    """Return the visual information fidelity (Sheikh and Bovik, IEEE TIP 2006; pixel domain) as ldct-benchmark has it.

    It clips stored values (HU + 1024) to 0..2924, takes a noise variance of 2, and calls torchmetrics' function with
    the reference in the first place (Eulig et al., Med Phys 51:8776, 2024, ``evaluate/utils.py``); so does this.
    In single precision as there: double precision takes 16 times as long and moves the result by less than 0.001.
    """
    from torchmetrics.functional.image import visual_information_fidelity

    def stored(hu: Image) -> torch.Tensor:
        return torch.from_numpy(np.clip(hu + np.float32(_STORED_OFFSET), 0, _STORED_MAX))[None, None]

    return float(visual_information_fidelity(stored(reference), stored(image), sigma_n_sq=2.0))


def pattern(change: Image, body: Mask) -> float:
    """Return how strongly a change repeats with the period of a network's strides (checkerboard, seams), HU.

    For periods of 2, 4 and 8 pixels: the SD over the phases of the mean change at each phase within the body, less what
    as many independent pixels would show by chance; the largest of the three. 0 where chance alone would show as much
    once in a thousand times.
    """
    strongest = 0.0
    for period in _PERIODS:
        phases = [
            change[j::period, i::period][body[j::period, i::period]].astype(np.float64)
            for j in range(period)
            for i in range(period)
        ]
        phases = [p for p in phases if p.size > 1]
        if len(phases) < 2:
            continue
        by_chance = float(np.mean([p.var() / p.size for p in phases]))
        seen = float(np.var([p.mean() for p in phases], ddof=1))
        freedom = len(phases) - 1
        if seen > by_chance * float(chi2.ppf(_CHANCE, freedom)) / freedom:
            strongest = max(strongest, math.sqrt(seen - by_chance))
    return strongest


def ceiling_db(dose: float) -> float | None:
    """Return what a perfectly clean image gains in PSNR against a full-dose reference: 10 log10(1/a - 1) dB.

    The reference carries noise of variance v, the input at dose fraction a v/a; the difference of both, made by adding
    what is missing, has v/a - v, that of clean image and reference v. None where a does not lie between 0 and 1.
    """
    return 10 * math.log10(1 / dose - 1) if 0 < dose < 1 else None


def _blind_sd(image: Image) -> float | None:
    try:
        return estimate_noise(image[np.newaxis])
    except InputError:
        return None
