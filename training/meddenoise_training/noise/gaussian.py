"""White Gaussian noise: every pixel on its own (the ancestor's experiment, in HU)."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_noise(sd: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw white noise.

    :param sd: (n,) standard deviations, HU.
    :returns: (n, 1, height, width) float32, HU.
    """
    unit = torch.randn(len(sd), 1, height, width, generator=generator)
    return unit * sd.view(-1, 1, 1, 1)
