"""Smooth SD maps: mean square 1, slow, of the strength asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from meddenoise_training.noise.sd_map import smooth_sd_map


def test_maps_keep_the_mean_square_and_are_smooth():
    strength = torch.tensor([0.0] + [0.25] * 300)
    maps = smooth_sd_map(strength, 64, 48, torch.Generator().manual_seed(0)).numpy()
    assert maps.shape == (301, 1, 64, 48)
    np.testing.assert_allclose((maps**2).mean(axis=(1, 2, 3)), 1, rtol=1e-5)
    np.testing.assert_allclose(maps[0], 1, rtol=1e-6)
    corners = np.log(maps[1:, 0, 0, 0])
    assert corners.std() == pytest.approx(0.25, abs=0.05), "align_corners: a corner is one of the places drawn"
    steps = np.abs(np.diff(np.log(maps), axis=2)).max()
    assert steps < 0.2, "nothing changes by a fifth from pixel to pixel"
