"""Samples: the same for a seed, a step and a place, with whomever they are drawn; each with the unit of its noise."""

from __future__ import annotations

import pytest
import torch

from meddenoise_training.config import load_config
from meddenoise_training.samples import Samples


def samples(prepared, **changes):
    overrides = {"data.patch": 32, "data.batch": 64, **{k.replace("__", "."): v for k, v in changes.items()}}
    return Samples(prepared, load_config(None, overrides))


def test_a_sample_is_the_same_with_whomever_it_is_drawn(prepared):
    drawer = samples(prepared)
    whole, part = drawer.draw(3, range(8)), drawer.draw(3, [5, 2])
    for name in ("noisy", "target", "scale", "slices"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[[5, 2]]), name


def test_seed_step_and_place_each_change_it(prepared):
    drawer = samples(prepared)
    reference = drawer.draw(3, [0]).noisy
    assert torch.equal(reference, samples(prepared).draw(3, [0]).noisy)
    for other in (drawer.draw(4, [0]), drawer.draw(3, [1]), samples(prepared, fit__seed=1).draw(3, [0])):
        assert not torch.equal(reference, other.noisy)


def test_the_unit_is_the_noise_of_patch_and_target_above_a_floor(prepared):
    drawer = samples(prepared, fit__scale_floor_hu=2.0, data__synthetic_share=1.0, noise__sd_map=0.0)
    batch = drawer.draw(0, range(64))
    assert batch.noisy.shape == batch.target.shape == (64, 1, 32, 32)
    added = (1000 * batch.noisy - batch.target).square().mean(dim=(1, 2, 3)).sqrt()
    assert float((added / (batch.scale.flatten() - 2)).median()) == pytest.approx(1, abs=0.05)
    scanned = samples(prepared, fit__scale_floor_hu=2.0, data__synthetic_share=0.0).draw(0, range(64))
    assert scanned.scale.min() > 2 + 1.8 * 5, "noise of the target's own, of at least 5 HU, and 1.5 times that added"
