"""Quantum noise in the image domain: a variance that follows the attenuation of the pixel itself.

The simplest signal-dependent model, of image denoising rather than of CT: photons are counted in projections, whose
noise the reconstruction spreads over the slice, so that only ``projection`` has the right places and the right texture.
It stands here for comparison, and because a network that never met signal-dependent noise may take it for structure.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: The SD of air in units of that of water: what scatter and electronic noise leave, so that nothing is noise-free.
LEAST_SHARE = 0.1


def quantum_factor(hu: Tensor) -> Tensor:
    """Return the factors that make noise signal-dependent: ``sqrt(mu / mu_water)``, mean square 1 over each patch.

    Poisson statistics: the variance is proportional to the expected signal, here the attenuation
    ``mu = mu_water (1 + HU/1000)`` (Foi et al., IEEE TIP 17:1737, 2008, with a gain of its own for each patch).

    :param hu: (n, 1, j, i), HU.
    :returns: the same shape; to be multiplied with noise of uniform SD.
    """
    factor = (1 + hu / 1000).clamp_min(LEAST_SHARE**2).sqrt()
    result: Tensor = factor / factor.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return result


def quantum_noise(hu: Tensor, sd: Tensor, generator: torch.Generator) -> Tensor:
    """Draw white noise whose variance follows the attenuation.

    :param hu: (n, 1, j, i) noise-free, HU.
    :param sd: (n,) root mean square of the noise over each patch, HU.
    :returns: the same shape, HU.
    """
    white = torch.randn(hu.shape, generator=generator)
    return white * quantum_factor(hu) * sd.view(-1, 1, 1, 1)
