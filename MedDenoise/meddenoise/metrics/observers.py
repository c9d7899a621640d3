"""Model observers: how well a lesion can be told from its background, as detectability d' and AUC."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.errors import InputError
from meddenoise.metrics.intervals import Interval, jackknife_interval
from meddenoise.metrics.noise_power import NoisePower
from meddenoise.metrics.transfer import TransferFunction

Floats = npt.NDArray[np.float64]
#: As FDA's LCD-CT (DIDSR/LCD_CT): channels, and their width in diameters.
LG_CHANNELS = 5
LG_WIDTH = 2 / 3
#: Each fifth of the places is tested with a template from the others; a twentieth is left out at a time for intervals.
_FOLDS = 5
_BATCHES = 20
_FEWEST = 4 * LG_CHANNELS


@dataclass(frozen=True)
class Detection:
    """What an observer achieved: d' without unit (0: guessing), AUC (0.5: guessing), with 95 % intervals.

    :param auc_without: the AUC with a twentieth of the places left out of the test, one after the other. Of two
        results on the same regions, the differences of these tell how sure the difference of the AUCs is: what makes
        both higher or lower cancels (:func:`auc_gain`).
    """

    detectability: Interval
    auc: Interval
    auc_without: tuple[float, ...]


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


def channelised_hotelling(
    present: Any, absent: Any, *, diameter: float, places: tuple[npt.ArrayLike, npt.ArrayLike] | None = None
) -> Detection:
    """Let the channelised Hotelling observer tell regions with a lesion from regions without.

    Five Laguerre-Gauss channels of width 2/3 diameter; ``w = K^-1 (mean present - mean absent)`` with the mean of both
    classes' covariances K; as FDA's LCD-CT (DIDSR/LCD_CT). Each region's mean is taken away first. Every fifth of the
    places is tested with a template made from the other places alone: a background that the observer has learnt would
    tell it the answer. Intervals are a jackknife over twentieths of the places; the template is not made anew in it.

    :param present: (n, side, side), HU, the lesion about the middle, ``(side - 1) / 2``; 200 or so.
    :param absent: (m, side, side), HU, without it; other realisations of the noise.
    :param diameter: of the lesion, pixels.
    :param places: (n,) and (m,) numbers or names: regions of one share their background (a place in a patient) or their
        noise (an image). None: each region stands for itself.
    :raises InputError: when a class has fewer than 20 regions, or there are too few places to learn from some and test
        on others, regions are not square or differ in size, or there is not one place for each region.
    """
    with_lesion, without = _checked(present, absent)
    channels = lg_channels(with_lesion.shape[1], LG_WIDTH * diameter).reshape(LG_CHANNELS, -1).T
    return _trained_and_tested(_flat(with_lesion) @ channels, _flat(without) @ channels, places, _hotelling)


def matched_filter(
    present: Any, absent: Any, *, diameter: float, places: tuple[npt.ArrayLike, npt.ArrayLike] | None = None
) -> Detection:
    """Let the non-prewhitening matched filter (NPW) do as :func:`channelised_hotelling` does.

    Its template is the difference of the classes' means in training, within a diameter of the middle: further out there
    is nothing but the noise of that mean.
    """
    with_lesion, without = _checked(present, absent)
    x = np.arange(with_lesion.shape[1]) - (with_lesion.shape[1] - 1) / 2
    near = (np.hypot(x[:, np.newaxis], x) <= diameter).ravel()
    return _trained_and_tested(_flat(with_lesion)[:, near], _flat(without)[:, near], places, _difference)


def auc_gain(before: Detection, after: Detection) -> Interval:
    """Return by how much the AUC grew, with its interval, paired: both were measured on the same regions.

    :raises InputError: when they were not: other numbers of places.
    """
    if len(before.auc_without) != len(after.auc_without):
        raise InputError("The two results are of other regions; let both observers see the same lesions and places.")
    gains = np.subtract(after.auc_without, before.auc_without)
    return jackknife_interval(after.auc.value - before.auc.value, gains)


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


@dataclass(frozen=True)
class _Tested:
    """Scores of a fifth of the regions, and the batch of each."""

    present: Floats
    absent: Floats
    present_batch: npt.NDArray[np.intp]
    absent_batch: npt.NDArray[np.intp]

    def without(self, batch: int) -> _Tested:
        """Return it less the regions of a batch."""
        a, b = self.present_batch != batch, self.absent_batch != batch
        return _Tested(self.present[a], self.absent[b], self.present_batch[a], self.absent_batch[b])


def _trained_and_tested(
    present: Floats, absent: Floats, places: tuple[npt.ArrayLike, npt.ArrayLike] | None, template: Any
) -> Detection:
    """Return d' and AUC of all regions, each seen by a template that was not made from its place, with intervals."""
    batch_a, batch_b = _batches(len(present), len(absent), places)
    tests = []
    for fold in range(_FOLDS):
        a, b = batch_a % _FOLDS == fold, batch_b % _FOLDS == fold
        if min(np.sum(~a), np.sum(~b)) < 2:
            continue  # all that there is of a class lies in this fold: nothing to learn from
        w = template(present[~a], absent[~b])
        tests.append(_Tested(present[a] @ w, absent[b] @ w, batch_a[a], batch_b[b]))
    values = _mean_over_folds(tests)
    batches = range(max(int(batch_a.max()), int(batch_b.max())) + 1)
    left = np.array([_mean_over_folds([test.without(batch) for test in tests]) for batch in batches])
    if np.isnan([values, *left]).any():
        raise InputError("The lesions lie in too few places: an observer learns from some and is tested on others.")
    detectability, auc = (jackknife_interval(values[k], left[:, k]) for k in range(2))
    inside = Interval(auc.value, max(auc.low, 0.0), min(auc.high, 1.0))
    return Detection(detectability, inside, tuple(map(float, left[:, 1])))


def _batches(
    present: int, absent: int, places: tuple[npt.ArrayLike, npt.ArrayLike] | None
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the batch of each region: a place lies in one alone. The same places are dealt the same way every time."""
    if places is None:
        numbers = np.arange(present + absent)
    else:
        a, b = (np.atleast_1d(np.asarray(of)) for of in places)
        if (len(a), len(b)) != (present, absent):
            raise InputError(f"There are {present} and {absent} regions, but {len(a)} and {len(b)} places.")
        numbers = np.unique(np.concatenate([a, b]), return_inverse=True)[1]
    count = int(numbers.max()) + 1
    if count < _FOLDS:
        raise InputError(f"The regions lie in {count} places; an observer takes {_FOLDS} or more to learn and to test.")
    batch = (np.random.default_rng(0).permutation(count) % min(_BATCHES, count))[numbers]
    return batch[:present], batch[present:]


def _mean_over_folds(tests: list[_Tested]) -> tuple[float, float]:
    """Return d' and AUC: of each fold, whose template has a scale of its own, weighted by its pairs of regions."""
    seen = [test for test in tests if test.present.size > 1 and test.absent.size > 1]
    if not seen:
        return math.nan, math.nan
    weights = [test.present.size * test.absent.size for test in seen]
    found = [(score_detectability(t.present, t.absent), area_under_curve(t.present, t.absent)) for t in seen]
    detectability, auc = np.average(found, axis=0, weights=weights)
    return float(detectability), float(auc)
