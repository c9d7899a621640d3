"""Signal-dependent noise: the variance follows the attenuation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from meddenoise_training.noise.quantum import LEAST_SHARE, quantum_noise


def test_variance_follows_the_attenuation():
    hu = torch.full((1, 1, 300, 400), 0.0)
    hu[..., 100:200] = -500.0
    hu[..., 200:300] = 1000.0
    hu[..., 300:] = -1024.0
    noise = quantum_noise(hu, torch.tensor([20.0]), torch.Generator().manual_seed(0)).numpy()
    water, lung, bone, air = (float(noise[..., first : first + 100].var()) for first in (0, 100, 200, 300))
    assert lung / water == pytest.approx(0.5, rel=0.03)
    assert bone / water == pytest.approx(2.0, rel=0.03)
    assert air / water == pytest.approx(LEAST_SHARE**2, rel=0.03)
    assert float(np.sqrt((noise**2).mean())) == pytest.approx(20.0, rel=0.01)
    assert abs(noise.mean()) < 0.2


def test_each_patch_has_its_sd_and_the_generator_decides():
    hu = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(1)) * 300
    first, again, other = (
        quantum_noise(hu, torch.tensor([5.0, 50.0]), torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    )
    assert first.equal(again)
    assert not first.equal(other)
    assert float(first[1].square().mean().sqrt() / first[0].square().mean().sqrt()) == pytest.approx(10, rel=0.05)
