"""Smooth maps of the standard deviation: noise in a body differs from place to place."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor


def smooth_sd_map(strength: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw factors for noise: the exponential of a smooth random field, with a mean square of 1 over each patch.

    A field of 4 x 4 random values is interpolated by cubic splines: nothing changes faster than over a quarter of the
    patch, as in CT, where the SD follows the attenuation along whole rays.

    :param strength: (n,) SD of the logarithm at the 4 x 4 places; 0 gives ones.
    :returns: (n, 1, height, width) float32.
    """
    coarse = torch.randn(len(strength), 1, 4, 4, generator=generator) * strength.view(-1, 1, 1, 1)
    factor = torch.exp(F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True))
    return factor / factor.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
