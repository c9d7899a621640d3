"""Samples: the same for a seed, a step and a place, with whomever they are drawn; each with the unit of its noise."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from meddenoise.errors import InputError
from meddenoise_training.config import load_config
from meddenoise_training.manifest import Slice, neighbours, open_slices, read_manifest
from meddenoise_training.noise.bank import Bank, make_bank
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
    overrides = {"data.patch": 64, "data.batch": 64, "data.synthetic_share": 0, "noise.clean_share": 0, **shape}
    batch = Samples(prepared, load_config(None, overrides)).draw(0, range(64))
    assert batch.noisy.shape == (64, 3, 64, 64)
    seen = set()
    for noisy, target, index in zip(1000 * batch.noisy, batch.target, batch.slices.tolist(), strict=True):
        around = neighbours(entries, index, 1)
        for layer, i in zip(noisy, around, strict=True):
            assert np.allclose(np.sort(layer.round().numpy(), axis=None), np.sort(hu[i], axis=None), atol=1)
        assert torch.allclose(noisy[1].round(), target[0], atol=1)
        seen.add(len(set(around)))
    assert seen == {2, 3}, "the ends of a series, its middle"


def test_neighbours_share_as_much_noise_as_the_slices_overlap(prepared):
    """The fixture's slabs are means of 5 slices, one further each time: 4/5 and 3/5; its thick slices share none."""
    entries = read_manifest(prepared).splits["train"]
    overrides = {"data.patch": 64, "data.synthetic_share": 0, "network.widths": [4], "network.slices": 3}
    drawer = Samples(prepared, load_config(None, overrides))
    found: dict[int, list[np.ndarray]] = {5: [], 1: []}
    for place in range(60):
        drawn = drawer.drawn(0, place)
        noise = (drawn.noise.noise / drawn.noise.sd).flatten(1).numpy()
        assert noise[1].std() == pytest.approx(1, abs=0.35)
        found[entries[drawn.patch.slice].slab].append(noise @ noise.T / np.sqrt(np.outer(*[(noise**2).sum(1)] * 2)))
    for slab, beside, further in ((5, 0.8, 0.6), (1, 0.0, 0.0)):
        mean = np.mean(found[slab], axis=0)
        assert (mean[0, 1], mean[1, 2], mean[0, 2]) == pytest.approx((beside, beside, further), abs=0.04)


def test_a_patch_is_drawn_again_and_described(prepared, tmp_path):
    """From seed, step and place alone: the very pixels, and all that they were drawn with."""
    folder = tmp_path / "prepared"
    shutil.copytree(prepared, folder)
    manifest = read_manifest(folder)
    make_bank(folder, manifest, views=8)
    hu, bank = open_slices(folder, "train", manifest), Bank(folder, manifest)
    drawer = samples(folder, noise__projection_share=0.5)
    batch = drawer.draw(5, range(24))
    models = set()
    for place in range(24):
        drawn = samples(folder, noise__projection_share=0.5).drawn(5, place)
        patch, noise = drawn.patch, drawn.noise
        assert patch.slice == batch.slices[place]
        assert patch.place.cut(hu[patch.slice]).equal(batch.target[place])
        assert ((patch.base + noise.noise) / 1000).equal(batch.noisy[place])
        if noise.model == "projection" and noise.white == 0:
            field, sd = bank.slice(patch.slice, patch.realisation)
            ours = patch.place.cut(field) / sd
            torch.testing.assert_close(noise.noise / ours, (noise.noise / ours).median().expand(1, 32, 32))
        assert (noise.shape is not None) == (noise.model == "correlated")
        assert (noise.sd_map > 0) == (noise.model != "projection" and not noise.quantum)
        assert noise.white == 0 or noise.model != "white"
        models.add((noise.model, noise.white > 0))
    assert {model for model, _ in models} == {"white", "correlated", "projection"}
    assert ("projection", False) in models


def test_synthetic_slices_are_refused_where_neighbours_are_looked_at():
    with pytest.raises(
        InputError, match=r"no neighbours, which this network looks at; use `--set data.synthetic_share=0`"
    ):
        load_config(None, {"network.widths": [4], "network.slices": 3})
    assert load_config(None, {"network.widths": [4], "network.slices": 1}).data.synthetic_share == 0.4


def test_neighbours_end_where_spacing_or_slab_changes():
    def entry(index, **changes):
        return Slice(
            **{"file": "a.npy", "index": index, "kind": "ct", "noise_sd": 9, "series": "s", "spacing_mm": 2.0} | changes
        )

    entries = [entry(0), entry(1), entry(2, spacing_mm=3.0), entry(3, spacing_mm=3.0), entry(4, spacing_mm=None)]
    around = [neighbours(entries, i, 1) for i in range(5)]
    assert around == [[0, 0, 1], [0, 1, 1], [2, 2, 3], [2, 3, 3], [4, 4, 4]]
    assert neighbours([entry(0), entry(1, slab=3)], 0, 1) == [0, 0, 0]
    assert neighbours([entry(0), entry(1, series="t")], 0, 1) == [0, 0, 0]


def test_the_noise_of_the_bank_comes_with_every_neighbour(prepared, tmp_path):
    folder = tmp_path / "prepared"
    shutil.copytree(prepared, folder)
    make_bank(folder, read_manifest(folder), views=8)
    overrides = {
        "data.patch": 32,
        "network.widths": [4],
        "network.slices": 3,
        "noise.projection_share": 1,
        "data.synthetic_share": 0,
    }
    batch = Samples(folder, load_config(None, overrides)).draw(0, range(32))
    assert batch.noisy.shape == (32, 3, 32, 32)
    assert not batch.noisy[:, 0].equal(batch.noisy[:, 1])


def test_noise_of_air_goes_below_what_scanners_store(prepared):
    """As card and README say: the scans end at -1024 HU, the noisy patches do not."""
    assert min(int(image.min()) for image in open_slices(prepared, "train", read_manifest(prepared))) >= -1024
    strong = {"noise__sd_low": 50.0, "data__synthetic_share": 0.0, "data__air_share": 1.0, "data__patch": 64}
    noisy = 1000 * samples(prepared, **strong).draw(0, range(16)).noisy
    assert -1500 <= float(noisy.min()) < -1100
