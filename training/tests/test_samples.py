"""Samples: the same for a seed, a step and a place, with whomever they are drawn; each with the unit of its noise."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from meddenoise_training.config import load_config
from meddenoise_training.manifest import neighbours, open_slices, read_manifest
from meddenoise_training.noise.bank import make_bank
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


def test_a_scanned_patch_gets_more_than_its_own_noise_and_both_make_its_unit(prepared):
    """Patch by patch: 1.5 times what the target carries is added at least, and the unit is the root of both squared."""
    entries = read_manifest(prepared).splits["train"]
    plain = {"noise__white_share": 1.0, "noise__sd_map": 0.0, "noise__quantum_share": 0.0, "data__synthetic_share": 0.0}
    batch = samples(prepared, fit__scale_floor_hu=2.0, data__patch=64, **plain).draw(0, range(64))
    own = torch.tensor([entries[i].noise_sd for i in batch.slices.tolist()])
    added = (1000 * batch.noisy - batch.target).square().mean(dim=(1, 2, 3)).sqrt()
    assert own.min() > 5, "the scans of the archive are noisy"
    assert float((added / own).min()) > 1.5 * 0.95, "within what 64 x 64 pixels can tell of an SD"
    torch.testing.assert_close(batch.scale.flatten(), torch.hypot(added, own) + 2, rtol=0.05, atol=0)


def test_a_network_that_looks_at_three_slices_gets_the_neighbours_of_the_series(prepared):
    """The middle is the target's slice, its neighbours those beside it in the series, each with noise of its own."""
    manifest = read_manifest(prepared)
    hu, entries = open_slices(prepared, "train", manifest), manifest.splits["train"]
    shape = {
        "network.widths": [4],
        "network.blocks": 1,
        "network.slices": 3,
        "noise.sd_low": 0.001,
        "noise.sd_high": 0.002,
    }
    overrides = {"data.patch": 64, "data.batch": 64, "data.synthetic_share": 0.3, "noise.clean_share": 0, **shape}
    batch = Samples(prepared, load_config(None, overrides)).draw(0, range(64))
    assert batch.noisy.shape == (64, 3, 64, 64)
    seen = set()
    for noisy, target, index in zip(1000 * batch.noisy, batch.target, batch.slices.tolist(), strict=True):
        around = neighbours(entries, index, 1)
        for layer, i in zip(noisy, around, strict=True):
            assert np.allclose(np.sort(layer.round().numpy(), axis=None), np.sort(hu[i], axis=None), atol=1)
        assert torch.allclose(noisy[1].round(), target[0], atol=1)
        assert not noisy[0].equal(noisy[2]), "a slice that stands for its neighbours has other noise there"
        seen.add(len(set(around)))
    assert seen == {1, 2, 3}, "synthetic slices alone, the ends of a series, its middle"


def test_the_noise_of_the_bank_comes_with_every_neighbour(prepared, tmp_path):
    folder = tmp_path / "prepared"
    shutil.copytree(prepared, folder)
    make_bank(folder, read_manifest(folder), views=8)
    overrides = {"data.patch": 32, "network.widths": [4], "network.slices": 3, "noise.projection_share": 1}
    batch = Samples(folder, load_config(None, overrides)).draw(0, range(32))
    assert batch.noisy.shape == (32, 3, 32, 32)
    assert not batch.noisy[:, 0].equal(batch.noisy[:, 1])
