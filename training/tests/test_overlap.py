"""Noise that neighbouring slices share."""

from __future__ import annotations

import pytest
import torch

from meddenoise_training.noise.overlap import shared_between, shared_with_first


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


@pytest.mark.parametrize("overlap", [0.5, 1.0, 1.2, 2.5])
def test_the_first_keeps_its_noise_and_the_others_share_it(overlap: float) -> None:
    places = [0, -1, 1, -2, 2]
    alone = torch.randn(5, 300, 300, generator=torch.Generator().manual_seed(5))
    noise = shared_with_first(alone, places, overlap)
    assert noise[0].equal(alone[0])
    torch.testing.assert_close(noise.std(dim=(1, 2)), torch.ones(5), rtol=0.01, atol=0)
    for one, z in zip(noise, places, strict=True):
        for other, place in zip(noise, places, strict=True):
            expected = max(0.0, 1 - abs(z - place) / overlap)
            assert float((one * other).mean()) == pytest.approx(expected, abs=0.015)
    torch.testing.assert_close(shared_with_first(alone[:3], places[:3], overlap), noise[:3])
