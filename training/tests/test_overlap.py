"""Noise that neighbouring slices share."""

from __future__ import annotations

import pytest
import torch

from meddenoise_training.noise.overlap import shared_between


@pytest.mark.parametrize("overlap", [0.5, 1.0, 2.0, 2.5, 4.0])
def test_overlapping_slices_share_their_noise(overlap: float) -> None:
    """Boxes of width w, d apart, overlap by 1 - d/w, and so do their averages correlate."""
    alone = torch.randn(40, 1, 64, 64, generator=torch.Generator().manual_seed(4))
    noise = shared_between(alone, overlap)
    assert noise.equal(alone) == (overlap <= 1)
    torch.testing.assert_close(noise.std(dim=(1, 2, 3)), torch.ones(40), rtol=0.06, atol=0)
    for distance in (1, 2, 5):
        measured = float((noise[distance:] * noise[:-distance]).mean())
        assert measured == pytest.approx(max(0.0, 1 - distance / overlap), abs=0.02)
