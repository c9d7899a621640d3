"""What a peer is: a filter of CT slices in HU that may know the noise, with where it is from and its parameters."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]
Parameters = Mapping[str, float]

#: Strengths are given for noise of this SD, HU.
REFERENCE_SD = 25.0
#: Of the radial profile that tells one texture of noise from another.
TEXTURE_BINS = 8


@dataclass(frozen=True)
class NoiseKnowledge:
    """What a peer is told of the noise in a slice.

    :param sd: HU.
    :param psd: (n, n) power spectrum, HU^2 a frequency bin of an n x n discrete Fourier transform (zero frequency
        first); the mean over the bins is the variance. None: white.
    :param pixel: mm.
    """

    sd: float
    psd: npt.NDArray[np.float64] | None
    pixel: float

    @functools.cached_property
    def texture(self) -> tuple[float, ...]:
        """Return the shape of the spectrum, whatever its SD: radial means up to Nyquist over the mean of them all."""
        if self.psd is None or not self.psd.any():
            return (1.0,) * TEXTURE_BINS
        radial = np.hypot(np.fft.fftfreq(self.psd.shape[0])[:, None], np.fft.fftfreq(self.psd.shape[1]))
        edges = np.linspace(0, 0.5, TEXTURE_BINS + 1)
        rings = [self.psd[(radial >= low) & (radial < high)] for low, high in itertools.pairwise(edges)]
        means = np.array([ring.mean() if ring.size else 0.0 for ring in rings])
        return tuple(float(mean) for mean in means / means.mean())

    def strength(self, parameters: Parameters) -> float:
        """Return ``k * (SD / 25 HU) ^ p``: how a tuned strength follows the noise."""
        return float(parameters["k"] * (self.sd / REFERENCE_SD) ** parameters["p"])


Filter = Callable[[Image, NoiseKnowledge, Parameters], npt.NDArray[Any]]


@dataclass(frozen=True)
class TunedFor:
    """The parameters of a peer that were best for one kind of noise.

    :param group: name of that kind.
    :param texture: its spectrum, as :attr:`NoiseKnowledge.texture`.
    """

    group: str
    texture: tuple[float, ...]
    parameters: Parameters


@dataclass(frozen=True)
class Peer:
    """A filter to compare with.

    :param name: short, unique; ``title``: for a table.
    :param source: the paper, the library's function, and where defaults stand.
    :param licence: of the library, with what it forbids.
    :param filter: from (j, i) float32 HU, what is known of the noise, and parameters, to (j, i) HU.
    :param parameters: used where no tuned ones are given.
    :param grid: values to try of each parameter when tuning; empty: nothing to tune.
    :param tuned: the best ones by kind of noise.
    :param knows_noise: told that there is none, it leaves the slice alone; the defaults of a user's filter do not.
    :param slow: takes many seconds a slice.
    """

    name: str
    title: str
    source: str
    licence: str
    filter: Filter
    parameters: Parameters
    grid: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    tuned: tuple[TunedFor, ...] = ()
    knows_noise: bool = True
    slow: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """Return all that its results depend on, for records: as JSON has it."""
        by_group = {t.group: {"texture": list(t.texture), **t.parameters} for t in self.tuned}
        return {"parameters": dict(self.parameters), "tuned": by_group}

    def parameters_for(self, noise: NoiseKnowledge) -> Parameters:
        """Return the parameters tuned for the noise whose spectrum is most like this one's."""
        if not self.tuned:
            return self.parameters
        return min(self.tuned, key=lambda t: _difference(t.texture, noise.texture)).parameters

    def denoise(self, image: Image, noise: NoiseKnowledge) -> Image:
        """Denoise a slice.

        :param image: (j, i) HU; never changed.
        :returns: (j, i) float32 HU; nothing is clipped or scaled.
        """
        return self.apply(image, noise, self.parameters_for(noise))

    def apply(self, image: Image, noise: NoiseKnowledge, parameters: Parameters) -> Image:
        """Denoise with the parameters given."""
        image = np.asarray(image, np.float32)
        if self.knows_noise and noise.sd == 0:
            return image.copy()
        return np.asarray(self.filter(image, noise, parameters), np.float32)


def _difference(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return float(np.square(np.subtract(one, other)).sum())
