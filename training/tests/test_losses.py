"""Losses: none at the target, their meaning in figures, one that falls when a network learns."""

from __future__ import annotations

import pytest
import torch

from meddenoise_training.config import LossConfig
from meddenoise_training.losses import charbonnier, make_loss, ms_ssim, ssim

KINDS = ("charbonnier", "l1", "mse", "ssim", "ms-ssim", "edge", "bce")


def patches(size=48, seed=0):
    """Two patches of tissue with a step and a texture, HU."""
    target = 50 + 20 * torch.randn(2, 1, size, size, generator=torch.Generator().manual_seed(seed))
    target[..., size // 2 :] += 60
    return target


@pytest.mark.parametrize("kind", KINDS)
def test_loss_is_least_at_the_target_and_finite_with_air_and_metal(kind):
    loss, target = make_loss(LossConfig(kind=kind)), patches()
    unit = torch.full((2, 1, 1, 1), 10.0)
    noisy = target + 10 * torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    at_target = float(loss(target, target, unit))
    assert at_target < float(loss((target + noisy) / 2, target, unit)) < float(loss(noisy, target, unit))
    if kind != "bce":  # an entropy is left
        assert at_target == pytest.approx(0, abs=1e-5)
    target[0, :, :24], target[0, :, 24:30] = -1000, 3000
    denoised = (target + 30).requires_grad_()
    loss(denoised, target, unit).backward()
    assert denoised.grad.isfinite().all()
    assert denoised.grad[1].abs().sum() > 0


@pytest.mark.parametrize(("kind", "value"), [("l1", 2.0), ("mse", 4.0), ("charbonnier", 5**0.5 - 1)])
def test_residuals_count_in_units_of_each_patch(kind, value):
    """20 HU where the unit is 10, and 8 HU where it is 4."""
    target, unit = torch.zeros(2, 1, 16, 16), torch.tensor([10.0, 4.0]).view(2, 1, 1, 1)
    denoised = target + 2 * unit
    assert float(make_loss(LossConfig(kind=kind))(denoised, target, unit)) == pytest.approx(value)


def test_mixed_losses_have_the_share_told():
    target, unit = patches(), torch.full((2, 1, 1, 1), 10.0)
    noisy = target + 15 * torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    plain = float(charbonnier((noisy - target) / unit))
    other = {"ssim": 1 - float(ssim(noisy, target, 400)), "ms-ssim": 1 - float(ms_ssim(noisy, target, 400))}
    for kind, value in other.items():
        mixed = float(make_loss(LossConfig(kind=kind, share=0.3))(noisy, target, unit))
        assert mixed == pytest.approx(0.7 * plain + 0.3 * value, rel=1e-5), kind


def test_edge_loss_sees_edges_and_no_shift():
    target, unit = patches(), torch.full((2, 1, 1, 1), 10.0)
    edge = make_loss(LossConfig(kind="edge", share=1.0))
    assert float(edge(target + 30, target, unit)) == pytest.approx(0, abs=1e-6)
    assert float(edge(target.roll(1, dims=-1), target, unit)) > 0.1


@pytest.mark.parametrize(("size", "scales"), [(16, 1), (32, 2), (64, 3), (99, 4), (176, 5)])
def test_ms_ssim_takes_the_scales_a_patch_has_room_for(size, scales, monkeypatch):
    import meddenoise_training.losses as losses

    asked = []
    whole = losses.multiscale_structural_similarity_index_measure
    monkeypatch.setattr(
        losses,
        "multiscale_structural_similarity_index_measure",
        lambda *images, betas, **told: asked.append(betas) or whole(*images, betas=betas, **told),
    )
    target = patches(size)
    assert float(ms_ssim(target, target, 400)) == pytest.approx(1)
    assert len(asked[0]) == scales
    assert sum(asked[0]) == pytest.approx(1)


def test_the_ancestors_loss_is_blind_outside_the_window():
    loss, target = make_loss(LossConfig(kind="bce", window=(50, 400))), torch.full((1, 1, 16, 16), -1000.0)
    unit = torch.ones(1, 1, 1, 1)
    assert float(loss(target + 500, target, unit)) == float(loss(target, target, unit))
