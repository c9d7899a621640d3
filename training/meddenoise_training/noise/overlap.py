"""Noise that neighbouring slices share: thick slices, thinly spaced, are means over some of the same photons."""

from __future__ import annotations

from collections.abc import Sequence

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
    values, vectors = torch.linalg.eigh(_correlation(range(n), overlap))
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    mixed: Tensor = torch.tensordot(root.to(noise), noise, dims=1)
    return mixed


def shared_with_first(noise: Tensor, places: Sequence[int], overlap: float) -> Tensor:
    """Mix the independent noise of slices so that they share it as :func:`shared_between` has it; the first stays.

    Each slice takes from those before it alone (the root is Cholesky's), so that the first few come out the same
    however many follow.

    :param noise: (slices, ...), independent and equally strong.
    :param places: of each slice along the normal, in spacings, none twice.
    :param overlap: thickness of the slices over their spacing; up to 1 nothing is shared, and the noise is returned.
    """
    if len(noise) == 1 or overlap <= 1:
        return noise
    root = torch.linalg.cholesky(_correlation(places, overlap))
    mixed: Tensor = torch.tensordot(root.to(noise), noise, dims=1)
    return torch.cat([noise[:1], mixed[1:]])


def _correlation(places: Sequence[int], overlap: float) -> Tensor:
    place = torch.tensor(list(places), dtype=torch.float64)
    return (1 - (place[:, None] - place).abs() / overlap).clamp_min(0)
