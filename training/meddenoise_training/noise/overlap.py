"""Noise that neighbouring slices share: thick slices, thinly spaced, are means over some of the same photons."""

from __future__ import annotations

import torch
from torch import Tensor


def shared_between(noise: Tensor, overlap: float) -> Tensor:
    """Mix the independent noise of slices so that neighbours share it; the SD of each stays.

    Slices d spacings apart are correlated as boxes ``overlap`` spacings wide overlap: ``max(0, 1 - d / overlap)``. The
    symmetric root of that matrix mixes them: each slice stays as near as can be to the noise it had.

    :param noise: (slices, ...), in order, independent and equally strong.
    :param overlap: thickness of the slices over their spacing; up to 1 nothing is shared, and the noise is returned.
    """
    n = len(noise)
    if n == 1 or overlap <= 1:
        return noise
    place = torch.arange(n, dtype=torch.float64)
    values, vectors = torch.linalg.eigh((1 - (place[:, None] - place).abs() / overlap).clamp_min(0))
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    mixed: Tensor = torch.tensordot(root.to(noise), noise, dims=1)
    return mixed
