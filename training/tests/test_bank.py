"""The noise bank: noise of each slice's own projections, whole or not there, found again by the patches."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from meddenoise.errors import InputError
from meddenoise_training.benchmark.noisy import soft_tissue
from meddenoise_training.config import DataConfig
from meddenoise_training.dataset import Patches
from meddenoise_training.manifest import MANIFEST_NAME, open_slices, read_manifest
from meddenoise_training.noise.bank import (
    BANK_FOLDER,
    ELECTRONIC_VARIANCE,
    PHOTONS,
    Bank,
    _sd_in_soft_tissue,
    bank_command,
    draw_scanner,
    make_bank,
)
from meddenoise_training.noise.bank_record import bank_record
from meddenoise_training.noise.projection import SOFT_TISSUE_HU, LowDose, in_soft_tissue, low_dose_noise
from meddenoise_training.noise.projector import Kernel

VIEWS = 24
#: Of the scanned slices, mm: not what a synthetic slice would be given.
PIXEL_MM = 1.1


@pytest.fixture(scope="module")
def banked(prepared, tmp_path_factory):
    """Return a prepared folder of its own, of large pixels, with a bank."""
    folder = tmp_path_factory.mktemp("bank") / "prepared"
    shutil.copytree(prepared, folder)
    manifest = read_manifest(folder)
    entries = [
        e if e.kind == "synthetic" else e.model_copy(update={"pixel_mm": PIXEL_MM}) for e in manifest.splits["train"]
    ]
    manifest = manifest.model_copy(update={"splits": {**manifest.splits, "train": entries}})
    (folder / MANIFEST_NAME).write_text(manifest.model_dump_json())
    make_bank(folder, manifest, views=VIEWS)
    return folder


def test_every_training_slice_has_noise_of_its_own(banked):
    manifest = read_manifest(banked)
    bank, hu = Bank(banked, manifest), open_slices(banked, "train", manifest)
    fields = [bank.slice(i, r) for i in range(len(manifest.splits["train"])) for r in range(2)]
    assert len({noise.tobytes() for noise, _ in fields}) == 2 * len(manifest.splits["train"])
    for i in range(len(manifest.splits["train"])):
        noise, sd = bank.slice(i, 0)
        assert noise.shape == hu[i].shape
        soft = (hu[i] > -100) & (hu[i] < 200)
        if soft.sum() > 1000:
            assert float(noise[soft].astype(np.float32).std()) == pytest.approx(sd, rel=0.01)


def test_noise_is_stronger_inside_the_body_than_in_the_air_beside_it(banked):
    manifest = read_manifest(banked)
    bank, hu = Bank(banked, manifest), open_slices(banked, "train", manifest)
    scanned = [i for i, e in enumerate(manifest.splits["train"]) if e.kind != "synthetic"]

    def power(part: slice) -> float:
        fields = [bank.slice(i, 0) for i in scanned]
        return float(np.mean([np.square(noise[part, part].astype(float) / sd).mean() for noise, sd in fields]))

    inside, corners = power(slice(24, 40)), power(slice(0, 6))
    assert (hu[scanned[0]][:6, :6] < -900).all()
    assert inside > 1.3 * corners


def test_the_same_seed_makes_the_same_bank_and_a_stopped_one_goes_on(banked, tmp_path):
    other = tmp_path / "prepared"
    shutil.copytree(banked, other, ignore=shutil.ignore_patterns(BANK_FOLDER))
    manifest = read_manifest(other)
    made: list[tuple[int, int]] = []
    make_bank(other, manifest, views=VIEWS, workers=2, progress=lambda *done: made.append(done))
    assert made[-1] == (len(manifest.splits["train"]),) * 2
    assert len(made) > 1
    paths = sorted((other / BANK_FOLDER).glob("*.npy"))
    before = {p.name: p.read_bytes() for p in paths}
    assert before == {p.name: p.read_bytes() for p in (banked / BANK_FOLDER).glob("*.npy")}
    paths[0].unlink()
    kept = paths[1].stat().st_mtime_ns
    with pytest.raises(InputError, match="not complete"):
        Bank(other, manifest)
    make_bank(other, manifest, views=VIEWS)
    assert {p.name: p.read_bytes() for p in (other / BANK_FOLDER).glob("*.npy")} == before
    assert paths[1].stat().st_mtime_ns == kept, "what was there is not made again"
    with pytest.raises(InputError, match="was made with --seed 0 instead of 1; give that, or remove it"):
        make_bank(other, manifest, views=VIEWS, seed=1)
    with pytest.raises(InputError, match="of other slices"):
        make_bank(other, manifest.model_copy(update={"created": "another day"}), views=VIEWS)


def test_a_bank_records_its_scanners(banked):
    for path in (banked / BANK_FOLDER).glob("*.npy"):
        record = json.loads(path.with_suffix(".json").read_text())
        assert {s["realisation"] for s in record["scanners"]} == {0, 1}
        assert len(record["pixel_mm"]) == len(record["slices"])
        for scanner in record["scanners"]:
            assert PHOTONS[0] <= scanner["photons"] <= PHOTONS[1]
            assert ELECTRONIC_VARIANCE[0] <= scanner["electronic_variance"] <= ELECTRONIC_VARIANCE[1]
    rng = np.random.default_rng(0)
    drawn = [draw_scanner(rng, VIEWS) for _ in range(200)]
    assert len({s.photons for s in drawn}) == 200
    assert 0.3 < np.mean([s.modulation > 0 for s in drawn]) < 0.7


def test_noise_is_made_again_from_what_is_recorded(banked):
    """From scanner, seed and pixels in the record: each field of the bank, bit for bit; and those are what they say."""
    manifest = read_manifest(banked)
    entries, hu = manifest.splits["train"], open_slices(banked, "train", manifest)
    seeds = []
    for path in (banked / BANK_FOLDER).glob("*.npy"):
        bank, record = np.load(path), json.loads(path.with_suffix(".json").read_text())
        places, pixels = record["slices"], record["pixel_mm"]
        for place, mm in zip(places, pixels, strict=True):
            assert mm == PIXEL_MM if entries[place].kind != "synthetic" else 0.6 < mm < 0.92
        starts = [*sorted({scanner["first"] for scanner in record["scanners"]}), len(places)]
        for kept in record["scanners"]:
            scanner = dict(kept)
            realisation, first, seed = (scanner.pop(key) for key in ("realisation", "first", "seed"))
            settings = LowDose(**scanner | {"kernel": Kernel(**scanner["kernel"])})
            last = starts[starts.index(first) + 1]
            slices = torch.from_numpy(np.stack([hu[i] for i in places[first:last]]).astype(np.float32))
            generator = torch.Generator().manual_seed(seed)
            noise = low_dose_noise(slices, torch.tensor(pixels[first:last]), settings, generator)
            assert np.array_equal(noise.numpy().astype(np.float16), bank[realisation, first:last])
            seeds.append(seed)
    assert len(set(seeds)) == len(seeds) > 3, "noise of its own for each realisation and each dozen of slices"


def test_the_dose_is_a_setting_that_the_bank_keeps(banked, tmp_path):
    """A tenth of the dose lacks three times as much variance as a quarter, and more where electrons make noise."""
    other = tmp_path / "prepared"
    shutil.copytree(banked, other, ignore=shutil.ignore_patterns(BANK_FOLDER))
    manifest = read_manifest(other)
    make_bank(other, manifest, views=VIEWS, dose=0.1)
    usual, low = Bank(banked, manifest), Bank(other, manifest)
    ratio = np.array([low.slice(i, 0)[1] / usual.slice(i, 0)[1] for i in range(len(manifest.splits["train"]))])
    assert ratio.min() > 1.7, "sqrt(9 / 3)"
    assert ratio.max() < 3.5
    assert bank_record(other).dose_fraction == 0.1
    assert "0.1 of the dose" in str(bank_record(other))
    assert bank_record(banked).dose_fraction == 0.25
    one = str(dataclasses.replace(bank_record(banked), realisations=1, scanners=1))
    assert one.startswith("1 realisation of each slice in ")
    assert ", 1 scanner drawn at random, " in one
    with pytest.raises(InputError, match=r"--dose 0\.1 instead of 0\.25;"):
        make_bank(other, manifest, views=VIEWS)
    with pytest.raises(InputError, match=r"with --dose 0\.25 instead of 0\.1 and --views \d+ instead of 8;"):
        make_bank(banked, manifest, views=8, dose=0.1)
    for wrong in (0.0, 1.0, -0.5):
        with pytest.raises(InputError, match="above 0 and below 1"):
            make_bank(other, manifest, dose=wrong)


def test_patches_come_with_the_noise_of_their_place(banked):
    """The same turn and flip for both: noise turned back to the slice lies where the patch was cut."""
    patches = Patches(banked, DataConfig(patch=64), projection=True)
    manifest = read_manifest(banked)
    bank, hu = Bank(banked, manifest), open_slices(banked, "train", manifest)
    for seed in range(12):
        patch = patches.draw(np.random.default_rng(seed))
        assert patch.projection is not None
        slice_, drawn = hu[patch.slice].astype(np.float32), patch.target[0].numpy()
        fields = [n.astype(np.float32) / sd for n, sd in (bank.slice(patch.slice, r) for r in range(2))]
        matches = [
            np.allclose(turn(field), patch.projection[0].numpy())
            for turn in ORIENTATIONS
            if np.array_equal(turn(slice_), drawn)
            for field in fields
        ]
        assert any(matches)
    assert Patches(banked, DataConfig(patch=64)).draw(np.random.default_rng(0)).projection is None


ORIENTATIONS = [lambda a, t=t, f=f: np.rot90(a, t)[:, ::-1] if f else np.rot90(a, t) for t in range(4) for f in (0, 1)]


def test_what_is_no_bank_is_refused(prepared, tmp_path):
    with pytest.raises(InputError, match="no noise bank; make it with `meddenoise-train bank"):
        Patches(prepared, DataConfig(patch=32), projection=True)
    folder = tmp_path / "prepared"
    shutil.copytree(prepared, folder)
    make_bank(folder, read_manifest(folder).model_copy(update={"created": "another day"}), views=8)
    with pytest.raises(InputError, match="of other slices"):
        Bank(folder, read_manifest(folder))


def test_the_command_that_goes_on_has_the_options_of_the_bank(prepared, tmp_path):
    folder = tmp_path / "prepared here"
    shutil.copytree(prepared, folder)
    make_bank(folder, read_manifest(folder), realisations=1, views=8, seed=3, dose=0.3)
    next((folder / BANK_FOLDER).glob("*.npy")).unlink()
    command = f"meddenoise-train bank '{folder}' --realisations 1 --dose 0.3 --views 8 --seed 3"
    with pytest.raises(InputError, match=rf"the same command goes on: make it with `{command}`\.$"):
        Bank(folder, read_manifest(folder))
    (folder / BANK_FOLDER / "bank.json").unlink()
    assert bank_command(folder) == f"meddenoise-train bank '{folder}'"


def test_where_soft_tissue_is_and_what_stands_for_it():
    """Banks and kept figures hang on what stands for it: the body in a bank, the whole slice in the benchmark."""
    low, high = SOFT_TISSUE_HU
    values = np.array([low, low + 1, 0, high - 1, high, np.nan], np.float32)
    assert in_soft_tissue(values).tolist() == in_soft_tissue(torch.from_numpy(values)).tolist()
    assert in_soft_tissue(values).tolist() == [False, True, True, True, False, False]
    hu = np.full((64, 64), -1000, np.float32)
    hu[:32], hu[:16] = 500, 50
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 9, hu.shape))
    few = np.where(np.arange(64) < 50, hu, 500)  # 800 pixels of soft tissue
    for image, of_bank, of_benchmark in (
        (hu, hu == 50, hu == 50),
        (few, few > -900, np.ones_like(hu, bool)),
        (np.full_like(hu, -1000), np.ones_like(hu, bool), np.ones_like(hu, bool)),
    ):
        assert _sd_in_soft_tissue(noise, torch.from_numpy(image)) == float(noise[torch.from_numpy(of_bank)].std())
        assert (soft_tissue(image) == of_benchmark).all()
