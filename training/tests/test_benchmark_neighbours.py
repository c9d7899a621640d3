"""Weights that look at several slices in the benchmark: their neighbours, and the noise that these have and share."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from meddenoise.denoiser import Denoiser
from meddenoise.intensity import from_network, to_network
from meddenoise_training.benchmark.cases import Case, neighbours, patient_cases
from meddenoise_training.benchmark.conditions import CONDITIONS, condition_noise, noise_realisations
from meddenoise_training.benchmark.images import as_scanned
from meddenoise_training.benchmark.methods import baseline_method, input_itself, weights_method
from meddenoise_training.benchmark.noisy import soft_tissue, with_noise
from meddenoise_training.benchmark.run import Plan, run_benchmark
from meddenoise_training.benchmark.tasks import Effort
from meddenoise_training.config import load_config
from meddenoise_training.fit import fit

CONDITION = {c.name: c for c in CONDITIONS}
#: One of each kind of noise, the least of everything.
LEAST = Plan(
    slices=1,
    bodies=(1,),
    size=96,
    conditions=("white 25", "dose 25 % smooth", "none"),
    noisy_scans=1,
    neighbours=3,
    effort=Effort(discs=1, uniform=1, patient=1),
    views=24,
)


def noisy_among_neighbours(case: Case, condition: str):
    def noise(offset: int):
        return condition_noise([case], CONDITION[condition], offset, views=90)[0]

    return with_noise(case, noise(0), noise)


@pytest.mark.parametrize("quality", ["standard", "best"])
def test_weights_that_look_at_neighbours_see_them(three, truth, quality):
    noisy = noisy_among_neighbours(truth, "white 25")
    method = weights_method(str(three), precision="float32", quality=quality)
    volume = np.stack([noisy.beside(-1), noisy.image, noisy.beside(1)])
    by_engine = Denoiser(three, device="cpu", precision="float32").denoise(volume, strength=1.0, quality=quality)
    assert method.slices == 3
    np.testing.assert_array_equal(method.denoise(noisy, truth.pixel), by_engine[1])
    alone = dataclasses.replace(noisy, beside=lambda _: noisy.image)
    assert not np.array_equal(method.denoise(alone, truth.pixel), by_engine[1])


def test_a_run_that_looks_at_neighbours_sees_them(prepared, tmp_path, truth):
    settings = {"fit.steps": 2, "fit.warmup_steps": 1, "network.widths": [4, 8], "network.slices": 3}
    small = {"data.patch": 32, "data.batch": 1, "data.synthetic_share": 0, "fit.tensorboard": False}
    fit(load_config(None, {**settings, **small}), prepared, tmp_path / "run", report=lambda _: None)
    noisy = noisy_among_neighbours(truth, "white 25")
    method = baseline_method(tmp_path / "run")
    assert method.slices == 3
    with torch.inference_mode():
        stack = torch.from_numpy(to_network(np.stack([noisy.beside(-1), noisy.image, noisy.beside(1)])))[None]
        expected = from_network(method.network(stack)[0, 0].numpy())
    np.testing.assert_array_equal(method.denoise(noisy, truth.pixel), expected)


def test_neighbours_are_the_anatomy_next_to_it_under_noise_of_their_own(truth):
    for name, sd in (("white 25", 25), ("dose 25 % smooth", 24)):
        noisy = noisy_among_neighbours(truth, name)
        stack = noisy.among_neighbours(1)
        np.testing.assert_array_equal(stack[1], noisy.image)
        clean = np.stack([truth.neighbour(o) for o in (-1, 0, 1)])
        assert not np.array_equal(clean[0], clean[1])
        soft = soft_tissue(truth.reference)
        added = (stack - clean)[:, soft]
        np.testing.assert_allclose(added.std(axis=1), sd, rtol=0.1)
        assert np.abs(np.corrcoef(added) - np.eye(3)).max() < 0.03


def test_noise_of_neighbours_is_made_in_their_own_projections_each_time_anew(truth):
    air = dataclasses.replace(truth, beside=lambda _: np.full_like(truth.reference, -1000))
    dose = CONDITION["dose 25 % smooth"]
    own, beside = (noise_realisations(truth, dose, 2, offset, views=90) for offset in (0, 1))
    soft = soft_tissue(truth.reference)
    assert np.abs(np.corrcoef(np.concatenate([own, beside])[:, soft]) - np.eye(4)).max() < 0.1
    in_air = noise_realisations(air, dose, 1, 1, views=90)
    assert in_air[:, soft].std() < 0.3 * own[:, soft].std()


def test_neighbours_that_overlap_share_noise(truth):
    thick = dataclasses.replace(truth, overlap=2.5)
    noisy = noisy_among_neighbours(thick, "white 25")
    np.testing.assert_array_equal(noisy.image, noisy_among_neighbours(truth, "white 25").image)
    added = noisy.among_neighbours(2) - np.stack([thick.neighbour(o) for o in range(-2, 3)])
    flat = added[:, soft_tissue(truth.reference)]
    np.testing.assert_allclose(flat.std(axis=1), 25, rtol=0.03)
    distance = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    np.testing.assert_allclose(np.corrcoef(flat), np.maximum(0, 1 - distance / 2.5), atol=0.03)


def test_neighbours_of_a_patients_slice_are_those_of_its_series(prepared):
    first, middle, last = neighbours(prepared, "test", 3)
    np.testing.assert_array_equal(middle.neighbour(-1), first.reference)
    np.testing.assert_array_equal(middle.neighbour(1), last.reference)
    np.testing.assert_array_equal(last.neighbour(1), last.reference)
    np.testing.assert_array_equal(first.neighbour(2), last.reference)
    np.testing.assert_array_equal(as_scanned(middle).among_neighbours(1), [c.reference for c in (first, middle, last)])
    assert middle.overlap == 1


def test_slices_thicker_than_their_spacing_overlap(prepared, tmp_path):
    copy = tmp_path / "prepared"
    shutil.copytree(prepared, copy)
    manifest = json.loads((copy / "manifest.json").read_text("utf-8"))
    for entry in manifest["splits"]["test"]:
        entry["thickness_mm"] = 2.5 * entry["spacing_mm"]
    (copy / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    assert [case.overlap for case in patient_cases(copy, "test", 1)] == [2.5]


def test_neighbours_are_made_before_a_method_is_timed(truth):
    asked = []

    def noise(offset: int):
        asked.append(offset)
        return np.zeros_like(truth.reference)

    noisy = with_noise(truth, noise(0), noise).with_neighbours(2)
    asked.clear()
    assert noisy.among_neighbours(2).shape == (5, *truth.reference.shape)
    assert asked == []


def test_what_is_laid_into_a_slice_is_a_rod_through_its_neighbours(truth):
    noisy = noisy_among_neighbours(truth, "white 25")
    lesion = np.zeros_like(truth.reference)
    lesion[100:105, 100:105] = 50
    laid = noisy.laid_over(truth.reference + lesion, truth.reference)
    np.testing.assert_allclose(laid.among_neighbours(1) - noisy.among_neighbours(1), [lesion] * 3, atol=1e-3)


def test_a_run_with_weights_of_one_slice_and_of_three(prepared, tmp_path, weights, three):
    """Noise of neighbours is made when somebody looks at it; what was measured without it stays."""
    out, said = tmp_path / "out", []
    one = [input_itself(), weights_method(str(weights), precision="float32")]
    first = run_benchmark(prepared, out, one, LEAST, report=lambda _: None)
    made = {p.name for p in (out / "noise").glob("*.npy")}
    assert not any("before" in name or "after" in name for name in made)
    assert "Several slices" not in (out / "BENCHMARK.md").read_text("utf-8")
    both = [*one, weights_method(str(three), precision="float32")]
    second = run_benchmark(prepared, out, both, LEAST, report=said.append)
    assert not any("tiny" in line or "input" in line for line in said), "nothing else is measured again"
    for source in ("patients", "truth"):
        for condition, rows in first["images"][source].items():
            assert rows["tiny"] == second["images"][source][condition]["tiny"]
            assert second["images"][source][condition]["three"][0]["strengths"]["1"]["rmse"] > 0
    kept = sorted(p.stem for p in (out / "noise").glob("*.npy") if p.name not in made)
    case = patient_cases(prepared, "test", 1)[0]
    for name in ("truth dose 25 smooth scan 0", "tasks cylinder", "grid abdomen 1 slice 0", f"grid {case.name}"):
        assert {f"{name} {side} 1".replace(" ", "-") for side in ("before", "after")} <= set(kept), kept
    page = (out / "BENCHMARK.md").read_text("utf-8")
    assert page.count("**Several slices at the entrance**: three (3). Their neighbours") == 1
    assert {m["name"]: m["slices"] for m in second["methods"]} == {"input": 1, "tiny": 1, "three": 3}
