"""Patches: the cleanest targets most often, body rather than air, the share of synthetic ones, repeatable."""

from __future__ import annotations

import json

import numpy as np
import pytest

from meddenoise.errors import InputError
from meddenoise_training.config import DataConfig
from meddenoise_training.dataset import Patches
from meddenoise_training.manifest import Manifest, open_slices, read_manifest


def write_prepared(folder, slices, entries):
    manifest = Manifest(
        created="2026-01-01",
        slab_mm=0,
        seed=0,
        collections=[],
        splits={
            "train": [{"file": "a.npy", "index": i, **e} for i, e in enumerate(entries)],
            "validation": [],
            "test": [],
        },
        left_out={},
    )
    (folder / "train").mkdir(parents=True)
    np.save(folder / "train" / "a.npy", slices)
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return folder


def drawn(patches, count, seed=0):
    """Return targets (count, patch, patch) and the SD of each."""
    rng = np.random.default_rng(seed)
    draws = [patches.draw(rng) for _ in range(count)]
    return np.stack([d.target[0].numpy() for d in draws]), np.array([d.target_sd for d in draws])


def test_cleaner_targets_are_drawn_more_often(tmp_path):
    """By 1 / (SD^2 + 6^2): 12 HU against 24 HU, 3.4 times as often."""
    slices = np.stack([np.full((32, 32), value, np.int16) for value in (10, 20)])
    entries = [{"kind": "ct", "noise_sd": 12}, {"kind": "ct", "noise_sd": 24}]
    patches = Patches(write_prepared(tmp_path / "p", slices, entries), DataConfig(patch=16, synthetic_share=0))
    target, sd = drawn(patches, 2000)
    first = target[:, 0, 0] == 10
    assert float(first.sum() / (~first).sum()) == pytest.approx((24**2 + 36) / (12**2 + 36), rel=0.15)
    assert set(sd[first].tolist()) == {12.0}, "each patch comes with the noise of its own slice"


def test_of_cleaned_targets_those_that_came_out_cleaner_are_drawn_more_often(tmp_path):
    """The noisier slice came out with 12 HU, the other one with 24 HU."""
    slices = np.stack([np.full((32, 32), value, np.int16) for value in (10, 20)])
    entries = [{"kind": "ct", "noise_sd": 48}, {"kind": "ct", "noise_sd": 24}]
    folder = write_prepared(tmp_path / "p", slices, entries)
    targets = folder / "targets" / "once"
    targets.mkdir(parents=True)
    record = {"prepared": "2026-01-01", "model": "m", "sha256": "0", "strength": 1, "noise_sd": [12, 24]}
    (targets / "targets.json").write_text(json.dumps(record))
    for i in range(2):
        np.save(targets / f"{i:06d}.npy", slices[i])
    target, sd = drawn(Patches(folder, DataConfig(patch=16, synthetic_share=0, targets="once")), 2000)
    first = target[:, 0, 0] == 10
    assert float(first.sum() / (~first).sum()) == pytest.approx((24**2 + 36) / (12**2 + 36), rel=0.15)
    assert set(sd[first].tolist()) == {12.0}


def test_share_of_synthetic_patches(tmp_path):
    slices = np.stack([np.full((32, 32), value, np.int16) for value in (10, 20)])
    entries = [{"kind": "ct", "noise_sd": 12}, {"kind": "synthetic", "noise_sd": 0}]
    patches = Patches(write_prepared(tmp_path / "p", slices, entries), DataConfig(patch=16, synthetic_share=0.4))
    assert (drawn(patches, 2000)[1] == 0).mean() == pytest.approx(0.4, abs=0.04)


def test_body_is_drawn_rather_than_air(tmp_path):
    """A third of the slice is body: a third of the patches at random, most when air is drawn again."""
    slices = np.full((1, 96, 96), -1000, np.int16)
    slices[:, :, :32] = 50
    folder = write_prepared(tmp_path / "p", slices, [{"kind": "ct", "noise_sd": 10}])

    def share(air_share: float) -> float:
        patches = Patches(folder, DataConfig(patch=16, synthetic_share=0, air_share=air_share))
        return float((drawn(patches, 1000)[0].mean(axis=(1, 2)) > -475).mean())

    assert share(1.0) == pytest.approx(0.3, abs=0.06)
    assert share(0.0) > 0.7


def test_all_eight_orientations_occur_and_values_are_those_of_the_slice(tmp_path):
    slice_ = np.arange(256, dtype=np.int16).reshape(1, 16, 16)
    folder = write_prepared(tmp_path / "p", slice_, [{"kind": "ct", "noise_sd": 10}])
    patches = Patches(folder, DataConfig(patch=16, synthetic_share=0))
    targets, _ = drawn(patches, 200)
    assert len({p.tobytes() for p in targets}) == 8
    assert all(np.array_equal(np.sort(p, axis=None), np.arange(256)) for p in targets)


def test_the_same_generator_gives_the_same_patches(prepared):
    patches = Patches(prepared, DataConfig(patch=32))
    first, again, other = (patches.draw(np.random.default_rng(s)) for s in (1, 1, 2))
    assert first.target.equal(again.target)
    assert not first.target.equal(other.target)
    assert first.target.shape == (1, 32, 32)
    hu = open_slices(prepared, "train", read_manifest(prepared))
    assert first.target.max() <= max(slice_.max() for slice_ in hu)


def test_slices_of_several_sizes_are_drawn_from_and_the_smallest_limits_the_patch(tmp_path):
    entries = [{"kind": "ct", "noise_sd": 10}]
    folder = write_prepared(tmp_path / "p", np.full((1, 48, 20), 50, np.int16), entries)
    np.save(folder / "train" / "b.npy", np.full((1, 24, 32), 90, np.int16))
    manifest = read_manifest(folder)
    manifest.splits["train"].append(manifest.splits["train"][0].model_copy(update={"file": "b.npy"}))
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    targets, _ = drawn(Patches(folder, DataConfig(patch=20, synthetic_share=0)), 100)
    assert set(np.unique(targets)) == {50, 90}
    with pytest.raises(InputError, match="Patches of 21 do not fit into the smallest slices, whose side is 20"):
        Patches(folder, DataConfig(patch=21, synthetic_share=0))


def test_what_cannot_be_drawn_is_refused(prepared, tmp_path):
    with pytest.raises(InputError, match="do not fit"):
        Patches(prepared, DataConfig(patch=128))
    slices = np.zeros((1, 32, 32), np.int16)
    folder = write_prepared(tmp_path / "p", slices, [{"kind": "ct", "noise_sd": 10}])
    with pytest.raises(InputError, match="no synthetic slices"):
        Patches(folder, DataConfig(patch=16, synthetic_share=0.5))
    folder = write_prepared(tmp_path / "q", slices, [{"kind": "synthetic", "noise_sd": 0}])
    with pytest.raises(InputError, match="synthetic slices alone"):
        Patches(folder, DataConfig(patch=16, synthetic_share=0.5))
