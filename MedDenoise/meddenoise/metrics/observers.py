"""Model observers: how well a lesion can be told from its background, as detectability d' and AUC."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.errors import InputError
from meddenoise.metrics.intervals import Interval, percentile_interval
from meddenoise.metrics.noise_power import NoisePower
from meddenoise.metrics.transfer import TransferFunction

Floats = npt.NDArray[np.float64]
#: As FDA's LCD-CT (DIDSR/LCD_CT): channels, their width in diameters, splits of the cases in halves.
LG_CHANNELS = 5
LG_WIDTH = 2 / 3
_SPLITS = 10
_RESAMPLES = 1000
_FEWEST = 4 * LG_CHANNELS


@dataclass(frozen=True)
class Detection:
    """What an observer achieved: d' without unit (0: guessing), AUC (0.5: guessing), with 95 % intervals."""

    detectability: Interval
    auc: Interval


def npw_detectability(contrast: float, diameter: float, transfer: TransferFunction, noise: NoisePower) -> float:
    """Return d' of the non-prewhitening observer for a disc, from transfer function and noise power spectrum.

    ``d' = int |W|^2 TTF^2 / sqrt(int |W|^2 TTF^2 NPS)`` over the frequency plane up to Nyquist, with the disc's
    ``W(f) = C pi R^2 2 J1(2 pi R f) / (2 pi R f)`` (AAPM TG-233: Samei et al., Med Phys 46:e735, 2019). Both are taken
    as isotropic. Valid for linear systems; for a denoiser, see the observers on ensembles.

    :param contrast: HU, either sign.
    :param diameter: mm.
    """
    from scipy.special import j1

    f = np.linspace(0, noise.frequency[-1], 4001)[1:]
    x = math.pi * diameter * f
    task = np.square(contrast * math.pi * diameter**2 / 4 * 2 * j1(x) / x)
    seen = task * np.square(np.interp(f, transfer.frequency, transfer.value)) * 2 * math.pi * f * (f[1] - f[0])
    spectrum = np.interp(f, noise.frequency, noise.profile)
    spread = float(np.sum(seen * spectrum))
    return float(np.sum(seen)) / math.sqrt(spread) if spread > 0 else math.inf


def lg_channels(side: int, width: float, count: int = LG_CHANNELS) -> Floats:
    """Return Laguerre-Gauss channels (count, side, side) about the middle of a square, each of norm 1.

    ``exp(-pi r^2 / a^2) L_n(2 pi r^2 / a^2)``, orthogonal over the plane (Gallas and Barrett, JOSA A 20:1725, 2003).

    :param side: pixels; the middle is at ``(side - 1) / 2``.
    :param width: a, pixels.
    """
    from scipy.special import eval_laguerre

    x = np.arange(side) - (side - 1) / 2
    square = (x[:, np.newaxis] ** 2 + x**2) / width**2
    channels = np.stack([np.exp(-math.pi * square) * eval_laguerre(n, 2 * math.pi * square) for n in range(count)])
    return np.asarray(channels / np.sqrt(np.sum(channels**2, axis=(1, 2), keepdims=True)))


def channelised_hotelling(present: Any, absent: Any, *, diameter: float, seed: int = 0) -> Detection:
    """Let the channelised Hotelling observer tell regions with a lesion from regions without.

    Five Laguerre-Gauss channels of width 2/3 diameter; ``w = K^-1 (mean present - mean absent)`` with the mean of both
    classes' covariances K; as FDA's LCD-CT (DIDSR/LCD_CT). Trained on one half of the cases and tested on the other,
    ten times anew. Each region's mean is taken away first. The intervals are a bootstrap over splits and tested cases;
    since a test sees half of the cases they err on the wide side.

    :param present: (n, side, side), HU, the lesion about the middle, ``(side - 1) / 2``; 200 or so.
    :param absent: (m, side, side), HU, without it; other realisations of the noise.
    :param diameter: of the lesion, pixels.
    :raises InputError: when a class has fewer than 20 regions, or regions are not square or differ in size.
    """
    with_lesion, without = _checked(present, absent)
    channels = lg_channels(with_lesion.shape[1], LG_WIDTH * diameter).reshape(LG_CHANNELS, -1).T
    return _trained_and_tested(_flat(with_lesion) @ channels, _flat(without) @ channels, seed, _hotelling)


def matched_filter(present: Any, absent: Any, *, diameter: float, seed: int = 0) -> Detection:
    """Let the non-prewhitening matched filter (NPW) do as :func:`channelised_hotelling` does.

    Its template is the difference of the classes' means in the training half, within a diameter of the middle: further
    out there is nothing but the noise of that mean.
    """
    with_lesion, without = _checked(present, absent)
    x = np.arange(with_lesion.shape[1]) - (with_lesion.shape[1] - 1) / 2
    near = (np.hypot(x[:, np.newaxis], x) <= diameter).ravel()
    return _trained_and_tested(_flat(with_lesion)[:, near], _flat(without)[:, near], seed, _difference)


def area_under_curve(present: npt.ArrayLike, absent: npt.ArrayLike) -> float:
    """Return the area under the ROC curve of two sets of scores: the share of pairs in order, ties half (Mann-Whitney).

    :raises InputError: when a set is empty.
    """
    from scipy.stats import rankdata

    a, b = np.asarray(present, dtype=np.float64), np.asarray(absent, dtype=np.float64)
    if a.size == 0 or b.size == 0:
        raise InputError("The area under the curve takes scores of both classes; one is empty.")
    ranks = rankdata(np.concatenate([a, b]))
    return float((ranks[: a.size].sum() - a.size * (a.size + 1) / 2) / (a.size * b.size))


def score_detectability(present: npt.ArrayLike, absent: npt.ArrayLike) -> float:
    """Return d' of two sets of scores: difference of the means over the root mean of the variances, without unit."""
    a, b = np.asarray(present, dtype=np.float64), np.asarray(absent, dtype=np.float64)
    spread = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    return float(a.mean() - b.mean()) / spread if spread > 0 else 0.0


def _checked(present: Any, absent: Any) -> tuple[Floats, Floats]:
    a, b = np.asarray(present, dtype=np.float64), np.asarray(absent, dtype=np.float64)
    if a.ndim != 3 or b.ndim != 3 or a.shape[1:] != b.shape[1:] or a.shape[1] != a.shape[2]:
        raise InputError(
            f"The regions are {a.shape} and {b.shape}; observers take squares (n, side, side) of one size."
        )
    if min(len(a), len(b)) < _FEWEST:
        raise InputError(f"There are {len(a)} and {len(b)} regions; an observer takes {_FEWEST} or more of each class.")
    return a, b


def _flat(regions: Floats) -> Floats:
    """Return regions as rows, each less its mean."""
    flat = regions.reshape(len(regions), -1)
    return np.asarray(flat - flat.mean(axis=1, keepdims=True))


def _hotelling(present: Floats, absent: Floats) -> Floats:
    covariance = (np.cov(present, rowvar=False) + np.cov(absent, rowvar=False)) / 2
    return np.asarray(np.linalg.pinv(covariance) @ (present.mean(axis=0) - absent.mean(axis=0)))


def _difference(present: Floats, absent: Floats) -> Floats:
    return np.asarray(present.mean(axis=0) - absent.mean(axis=0))


def _trained_and_tested(present: Floats, absent: Floats, seed: int, template: Any) -> Detection:
    """Return means over splits of d' and AUC on the cases that the template was not made from, with intervals."""
    rng = np.random.default_rng(seed)
    tests = []
    for _ in range(_SPLITS):
        (train_a, test_a), (train_b, test_b) = (np.array_split(rng.permutation(x), 2) for x in (present, absent))
        w = template(train_a, train_b)
        tests.append((test_a @ w, test_b @ w))
    values = np.array([(score_detectability(a, b), area_under_curve(a, b)) for a, b in tests]).mean(axis=0)
    draws = np.empty((_RESAMPLES, 2))
    for n in range(_RESAMPLES):
        a, b = (rng.choice(scores, scores.size) for scores in tests[n % _SPLITS])
        draws[n] = score_detectability(a, b), area_under_curve(a, b)
    return Detection(percentile_interval(values[0], draws[:, 0]), percentile_interval(values[1], draws[:, 1]))
