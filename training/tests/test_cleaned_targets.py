"""Cleaned targets: the model's correction in part, scanned slices alone, found again by the patches."""

from __future__ import annotations

import shutil
import signal

import numpy as np
import pytest
import torch

from meddenoise import Denoiser, estimate_noise
from meddenoise.errors import InputError, OutputError
from meddenoise_training.cleaned_targets import TARGETS_FOLDER, CleanedTargets, clean_targets
from meddenoise_training.config import DataConfig, load_config
from meddenoise_training.dataset import Patches
from meddenoise_training.manifest import open_slices, read_manifest
from meddenoise_training.samples import Samples


@pytest.fixture(scope="module")
def cleaned(prepared, tmp_path_factory):
    """Return a prepared folder of its own, with targets 'once' cleaned by the shipped Fast model."""
    folder = tmp_path_factory.mktemp("cleaned") / "prepared"
    shutil.copytree(prepared, folder)
    clean_targets(folder, read_manifest(folder), "once", model="fast", strength=0.6, threads=1)
    return folder


def scanned(manifest):
    return [i for i, e in enumerate(manifest.splits["train"]) if e.kind != "synthetic"]


def test_targets_are_what_the_denoiser_gives_and_less_noisy(cleaned):
    manifest = read_manifest(cleaned)
    targets, hu = CleanedTargets(cleaned, manifest, "once"), open_slices(cleaned, "train", manifest)
    denoiser = Denoiser("fast", threads=1)
    for i in scanned(manifest):
        np.testing.assert_array_equal(targets.slice(i), denoiser.denoise(hu[i][np.newaxis], strength=0.6)[0])
        before, after = hu[i][28:36, 22:28].std(), targets.slice(i)[28:36, 22:28].std()
        assert after < 0.7 * before
        assert targets.noise_sd[i] <= manifest.splits["train"][i].noise_sd
    assert targets.source == {"model": "fast", "sha256": denoiser.sha256, "strength": 0.6}


def test_patches_are_cleaned_and_their_inputs_partly_not(cleaned):
    patches = Patches(cleaned, DataConfig(patch=64, targets="once", own_noise=0.5, synthetic_share=0.3))
    manifest = read_manifest(cleaned)
    hu, targets = open_slices(cleaned, "train", manifest), CleanedTargets(cleaned, manifest, "once")
    as_it_was = []
    for seed in range(60):
        patch = patches.draw(np.random.default_rng(seed))
        if manifest.splits["train"][patch.slice].kind == "synthetic":
            assert patch.base.equal(patch.target)
            assert patch.target_sd == 0
            continue
        assert np.array_equal(np.sort(patch.target.numpy(), axis=None), np.sort(targets.slice(patch.slice), axis=None))
        assert patch.target_sd == pytest.approx(targets.noise_sd[patch.slice])
        was = not patch.base.equal(patch.target)
        as_it_was.append(was)
        if was:
            assert np.array_equal(np.sort(patch.base.numpy(), axis=None), np.sort(hu[patch.slice], axis=None))
            assert patch.base_sd == pytest.approx(manifest.splits["train"][patch.slice].noise_sd)
    assert 0.25 < np.mean(as_it_was) < 0.75


@pytest.mark.parametrize("as_it_was", [True, False])
def test_the_unit_of_the_loss_is_the_noise_of_the_input(cleaned, as_it_was):
    """The network has to remove what the slice carried before, where it is shown that; more is added than is left."""
    settings = {"data.patch": 64, "data.targets": "once", "data.own_noise": float(as_it_was), "data.synthetic_share": 0}
    drawer = Samples(cleaned, load_config(None, {**settings, "fit.scale_floor_hu": 2.0}))
    manifest = read_manifest(cleaned)
    left = CleanedTargets(cleaned, manifest, "once").noise_sd
    batch = drawer.draw(0, range(24))
    added = torch.tensor([drawer.drawn(0, place).noise.sd for place in range(24)])
    before = torch.tensor([manifest.splits["train"][i].noise_sd for i in batch.slices.tolist()])
    after = torch.tensor([left[i] for i in batch.slices.tolist()])
    assert float((after / before).max()) < 0.8
    torch.testing.assert_close(batch.scale.flatten(), torch.hypot(added, before if as_it_was else after) + 2)
    assert float((added / after).min()) >= 1.5
    assert float((added / before).min()) < 1.5


def test_no_slice_is_called_noisier_for_being_cleaned(prepared, tmp_path):
    """Its own estimate of less, as one with little tissue may get, is kept."""
    folder = shutil.copytree(prepared, tmp_path / "prepared")
    manifest = read_manifest(folder)
    first, second, *_ = scanned(manifest)
    entries = manifest.splits["train"]
    entries[first] = entries[first].model_copy(update={"noise_sd": 1.0})
    clean_targets(folder, manifest, "once", model="fast", threads=1)
    targets = CleanedTargets(folder, manifest, "once")
    estimates = [round(estimate_noise(np.array(targets.slice(i))[np.newaxis]), 2) for i in (first, second)]
    assert estimates[0] > 1.0
    assert [targets.noise_sd[i] for i in (first, second)] == [1.0, estimates[1]]


def interrupt_after(count):
    """Return a function for the progress that presses Ctrl-C after so many slices."""

    def progress(done, total):
        if done == count:
            signal.raise_signal(signal.SIGINT)

    return progress


def test_cleaning_goes_on_where_it_stopped(cleaned, prepared, tmp_path):
    folder = shutil.copytree(prepared, tmp_path / "prepared")
    manifest = read_manifest(folder)
    part = folder / TARGETS_FOLDER / ".once.part"
    with pytest.raises(KeyboardInterrupt):
        clean_targets(folder, manifest, "once", model="fast", threads=1, progress=interrupt_after(3))
    kept = {path.name: path.stat().st_mtime_ns for path in part.glob("*.npy")}
    assert len(kept) == 3
    half = part / f".{3:06d}.npy.part"  # as a kill leaves it
    half.write_bytes(b"half")
    for other in ({"strength": 0.5}, {"model": "standard"}):
        with pytest.raises(InputError, match="begun with other weights, another strength or other slices; go on with"):
            clean_targets(folder, manifest, "once", **{"model": "fast", "threads": 1, **other})
    later = manifest.model_copy(update={"created": "another day"})
    with pytest.raises(InputError, match="begun with other"):
        clean_targets(folder, later, "once", model="fast", threads=1)
    clean_targets(folder, manifest, "once", model="fast", threads=1)
    assert not part.exists()
    done, whole = folder / TARGETS_FOLDER / "once", cleaned / TARGETS_FOLDER / "once"
    assert {name: (done / name).stat().st_mtime_ns for name in kept} == kept, "not made again"
    assert {p.name: p.read_bytes() for p in done.iterdir()} == {p.name: p.read_bytes() for p in whole.iterdir()}


def test_what_cannot_be_is_refused(cleaned, prepared):
    manifest = read_manifest(cleaned)
    with pytest.raises(OutputError, match="already"):
        clean_targets(cleaned, manifest, "once", model="fast")
    with pytest.raises(InputError, match="letters, digits"):
        clean_targets(cleaned, manifest, "../once", model="fast")
    with pytest.raises(InputError, match="no targets 'twice'"):
        Patches(cleaned, DataConfig(patch=32, targets="twice"))
    with pytest.raises(InputError, match="of other slices"):
        CleanedTargets(cleaned, manifest.model_copy(update={"created": "another day"}), "once")
