"""The benchmark: its figures are right, nothing finished is computed twice, the report holds what was measured."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import re
import sys
from functools import partial

import numpy as np
import pytest
import SimpleITK
import torch
from scipy import ndimage
from torchmetrics.functional.image import visual_information_fidelity

from meddenoise.metrics import Interval, rmse
from meddenoise.network import parameter_count, seeded_network
from meddenoise.weights import read_card, sha256_of
from meddenoise_training.benchmark.cases import neighbours, patient_cases, square_around, truth_cases
from meddenoise_training.benchmark.conditions import (
    CONDITIONS,
    condition_noise,
    noise_revision,
)
from meddenoise_training.benchmark.evaluation import figures, pattern, vif
from meddenoise_training.benchmark.flicker import measure_flicker
from meddenoise_training.benchmark.methods import (
    Method,
    input_itself,
    peer_methods,
    weights_method,
)
from meddenoise_training.benchmark.noisy import soft_tissue, with_noise
from meddenoise_training.benchmark.observers import contrast_transfer
from meddenoise_training.benchmark.phantoms import DISC_RADIUS_MM, LESIONS, PIXEL_MM, disc_phantom, lay_lesions
from meddenoise_training.benchmark.report import _head
from meddenoise_training.benchmark.run import Plan, run_benchmark
from meddenoise_training.benchmark.store import Store
from meddenoise_training.benchmark.summary import Source
from meddenoise_training.benchmark.targets import Measured, _bias, _detectability, _pattern
from meddenoise_training.benchmark.tasks import Effort
from meddenoise_training.benchmark.tuning_cases import tuning_cases
from meddenoise_training.cli import main
from meddenoise_training.noise.projection import LowDose
from meddenoise_training.peers import tuned_at_edge, use_threads

SMALL = Plan(
    slices=1,
    bodies=(1,),
    size=96,
    conditions=("white 25", "dose 25 % smooth", "none"),
    noisy_scans=1,
    neighbours=3,
    effort=Effort(discs=2, uniform=2, patient=1),
    views=24,
)


def named(name: str):
    return next(c for c in CONDITIONS if c.name == name)


def test_doing_nothing_leaves_exactly_the_noise(truth):
    noise = condition_noise([truth], named("white 25"))[0]
    noisy = with_noise(truth, noise)
    found = figures(truth, noisy, noisy.image)
    assert found["rmse"] == pytest.approx(float(np.sqrt(np.mean(noise.astype(np.float64) ** 2))), rel=1e-5)
    assert found["sd_after"] == found["sd_before"] == pytest.approx(25, rel=0.05)
    assert found["pattern"] == 0
    assert noisy.sd == pytest.approx(25, rel=0.03)
    assert noisy.psd is not None
    assert noisy.psd.mean() == pytest.approx(25**2, rel=0.05)


def test_the_truth_itself_is_perfect(truth):
    noisy = with_noise(truth, condition_noise([truth], named("white 25"))[0])
    found = figures(truth, noisy, truth.reference)
    assert (found["rmse"], found["psnr"], found["ssim"], found["sd_after"]) == (0, None, pytest.approx(1), 0)
    assert found["vif"] == pytest.approx(1, abs=1e-3)
    assert set(found["bias"]) >= {"liver", "fat", "air", "muscle"}
    assert all(value == 0 for value in found["bias"].values())


def test_bias_is_told_with_its_sign(truth):
    noisy = with_noise(truth, condition_noise([truth], named("white 25"))[0])
    found = figures(truth, noisy, truth.reference + 1.5, full=False)
    assert found["bias"]["liver"] == pytest.approx(1.5, abs=1e-4)
    assert found["sd_after"] == pytest.approx(0, abs=1e-4)  # a bias is no noise


def test_a_checkerboard_is_seen_and_noise_is_none():
    noise = np.random.default_rng(0).normal(0, 20, (256, 256)).astype(np.float32)
    board = 0.5 * (np.indices(noise.shape).sum(0) % 2).astype(np.float32)
    everywhere = np.ones(noise.shape, bool)
    assert pattern(noise, everywhere) == 0
    assert pattern(noise + 8 * board, everywhere) == pytest.approx(2 * math.sqrt(4 / 3), rel=0.1)
    assert pattern(board, everywhere) == pytest.approx(0.25 * math.sqrt(4 / 3), rel=0.01)


def test_dose_noise_has_the_strength_and_texture_of_its_name():
    case = truth_cases(size=192, seeds=(1,))[0]
    smooth, tenth, sharp = (
        with_noise(case, condition_noise([case], named(f"dose {name}"), views=90)[0])
        for name in ("25 % smooth", "10 % smooth", "25 % sharp")
    )
    assert smooth.sd == pytest.approx(24, rel=0.1)  # 12 HU at full dose
    assert tenth.sd == pytest.approx(12 * math.sqrt(10), rel=0.1)
    assert sharp.sd > 2 * smooth.sd
    assert mean_frequency(smooth.psd) == pytest.approx(0.20, abs=0.015)
    assert mean_frequency(sharp.psd) == pytest.approx(0.32, abs=0.015)


def test_patients_get_only_what_the_dose_lacks(truth):
    patient = dataclasses.replace(truth, name="patient", own_sd=12.0, truth=False)
    noisy = with_noise(patient, condition_noise([patient], named("dose 25 % smooth"), views=90)[0])
    assert noisy.sd == pytest.approx(12 * math.sqrt(3), rel=0.1)


def test_photons_found_with_few_views_give_the_noise_of_many():
    case = dataclasses.replace(truth_cases(size=192, seeds=(1,))[0], name="many views", own_sd=10.0, truth=False)
    noise = condition_noise([case], named("dose 50 % smooth"), views=270)
    assert np.std(noise[:, soft_tissue(case.reference)]) == pytest.approx(10, rel=0.06)


def test_all_noise_of_a_truth_has_the_electronic_noise_of_its_dose_once(monkeypatch):
    """Electronic noise alone: of variance 1/a^2 = 4 at half of the dose, of which a scan lacks 4 - 1 = 3."""
    case = truth_cases(size=96, seeds=(1,))[0]
    monkeypatch.setattr("meddenoise_training.benchmark.conditions._photons", lambda cases, views: 1e4)
    monkeypatch.setattr("meddenoise_training.noise.projection.STARVED_VARIANCE", math.inf)
    settings = dataclasses.replace(LowDose(), electronic_variance=1e9)
    monkeypatch.setattr("meddenoise_training.benchmark.conditions.LowDose", partial(dataclasses.replace, settings))
    scan = dataclasses.replace(case, truth=False)
    whole, lacking = (condition_noise([c], named("dose 50 % smooth"), views=24)[0] for c in (case, scan))
    assert float(np.var(whole) / np.var(lacking)) == pytest.approx(4 / 3, rel=0.01)


def test_photons_follow_the_scans_own_noise_not_its_name():
    case = truth_cases(size=96, seeds=(1,))[0]
    patients = [dataclasses.replace(case, name="same name", own_sd=own, truth=False) for own in (8.0, 16.0)]
    low, high = (np.std(condition_noise([p], named("dose 50 % smooth"), views=60)) for p in patients)
    assert high / low == pytest.approx(2, rel=0.15)


def test_what_was_kept_of_other_noise_is_made_anew(tmp_path, truth):
    """Noise of truths in the projections changed; that of patients and white noise did not, and still counts."""
    patient = dataclasses.replace(truth, truth=False)
    dose, white = named("dose 25 % smooth"), named("white 25")
    assert [noise_revision(c, d) for c, d in ((patient, dose), (patient, white), (truth, white))] == [0, 0, 0]
    store, revision = Store(tmp_path, {}), noise_revision(truth, dose)
    assert store.part("c", "m", "1", lambda: "old") == "old"
    assert store.part("c", "m", "1", lambda: "new") == "old"
    assert store.part("c", "m", "1", lambda: "new", revision=revision) == "new"
    kept = [
        store.array("n", lambda value=value: np.array([value]), revision=r)[0]
        for value, r in ((1, 0), (2, 0), (3, revision))
    ]
    assert kept == [1, 1, 3]


def test_vif_falls_with_noise_and_ignores_what_is_clipped(truth):
    noisy = truth.reference + np.random.default_rng(0).normal(0, 20, truth.reference.shape).astype(np.float32)
    assert 0.1 < vif(truth.reference, noisy) < 0.9
    low = np.where(truth.reference < -1000, np.float32(-2000), truth.reference)
    assert vif(truth.reference, low) == pytest.approx(1, abs=1e-3)


def test_vif_in_single_precision_is_that_in_double(truth):
    for sd in (3, 25):
        noise = np.random.default_rng(sd).normal(0, sd, truth.reference.shape)
        noisy = (truth.reference + noise).astype(np.float32)
        stored = [torch.from_numpy(np.clip(hu.astype(np.float64) + 1024, 0, 2924)) for hu in (truth.reference, noisy)]
        double = float(visual_information_fidelity(*(s[None, None] for s in stored), sigma_n_sq=2.0))
        assert vif(truth.reference, noisy) == pytest.approx(double, abs=1e-3)


@pytest.mark.parametrize("sd_pixels", [0.0, 1.0])
def test_a_known_blur_gives_the_transfer_function_it_must(sd_pixels):
    """Its edges have a Gaussian blur of 0.65 pixels; blurs add as their squares; f50 = sqrt(ln 2 / 2) / (pi s)."""
    image, discs = disc_phantom()
    before = np.stack([image, image]).astype(np.float64)
    after = ndimage.gaussian_filter(before, (0, sd_pixels, sd_pixels))
    found = contrast_transfer(before, after, discs, DISC_RADIUS_MM / PIXEL_MM, PIXEL_MM)
    assert set(found) == {"30", "100", "900"}
    expected = 0.65 / math.hypot(0.65, sd_pixels)
    for value in found.values():
        assert value["ratio"][0] == pytest.approx(expected, rel=0.04)
    f50 = math.sqrt(math.log(2) / 2) / (math.pi * 0.65 * PIXEL_MM)
    assert found["900"]["f50_input"] == pytest.approx(f50, rel=0.05)


def test_every_lesion_is_laid_equally_often():
    rng = np.random.default_rng(0)
    places = [(30 + 44 * j, 30 + 44 * i) for j in range(4) for i in range(4)]
    image, laid = lay_lesions(np.zeros((200, 200), np.float32), places, PIXEL_MM, rng)
    assert sorted(laid, key=str) == sorted([*range(6), *range(6), None, None, None, None], key=str)
    for place, kind in zip(places, laid, strict=True):
        contrast = 0 if kind is None else LESIONS[kind].contrast
        assert image[place] == pytest.approx(contrast, rel=0.02)


def mean_frequency(psd) -> float:
    n = len(psd)
    radial = np.hypot(*np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n)))
    ring = (radial * n + 0.5).astype(int).ravel()
    profile = (np.bincount(ring, psd.ravel()) / np.bincount(ring))[: n // 2 + 1]
    return float(np.sum(np.arange(n // 2 + 1) / n * profile) / np.sum(profile))


def methods_of(weights) -> list[Method]:
    peers = peer_methods(["non-local means", "total variation"], None, print)
    return [input_itself(), *peers, weights_method(str(weights), strength=0.8, precision="float32")]


def test_a_method_tells_which_weights_it_is(weights):
    card, method = read_card(weights), weights_method(str(weights))
    assert method.origin == f"weights '{card.name}' version {card.version}, SHA-256 {sha256_of(weights)}"
    assert weights_method(str(weights), quality="best").origin == method.origin


def test_ours_is_measured_again_when_the_engine_computes_otherwise(weights, monkeypatch):
    before = weights_method(str(weights)).fingerprint
    assert weights_method(str(weights)).fingerprint == before
    sources = inspect.getsource
    changed = "meddenoise.network"
    monkeypatch.setattr(inspect, "getsource", lambda m: sources(m) + ("# otherwise" if m.__name__ == changed else ""))
    assert weights_method(str(weights)).fingerprint != before


def test_a_whole_run_and_a_second_one_that_computes_nothing(prepared, tmp_path, weights, monkeypatch):
    out = tmp_path / "out"
    methods = methods_of(weights)
    at_edge = {"total variation": ["white: k 0.5", "sharp: k 9"], "not measured": ["white: k 1"]}
    first = run_benchmark(
        prepared, out, methods, SMALL, left_out=["X: not here."], at_edge=at_edge, report=lambda _: None
    )
    read = json.loads((out / "benchmark.json").read_text("utf-8"))
    shifts = {
        name: next((row["figure"], row["target"]) for row in rows if row["figure"].startswith("NPS"))
        for name, rows in read["figures_to_reach"].items()
    }
    assert shifts == {
        "tiny": ("NPS mean-frequency shift at strength 0.8", "within 16 %"),
        "tiny at full strength": ("NPS mean-frequency shift at strength 1", "reported"),
    }
    cells = [line.split() for line in (out / "BENCHMARK.md").read_text("utf-8").splitlines() if "| reported" in line]
    assert [c[-3:] for c in cells] == [["|", "-", "|"]], "nothing is asked of it, so nothing is reached"
    costs = (out / "BENCHMARK.md").read_text("utf-8").split("## Cost of a slice")[1]
    row = next(line for line in costs.splitlines() if line.startswith("| tiny "))
    assert [cell.strip() for cell in row.split("|")][5] == "float32"
    assert "Too few regions" in (out / "BENCHMARK.md").read_text("utf-8")
    assert {m["name"] for m in read["methods"]} == {"input", "non-local means", "total variation", "tiny"}
    page = (out / "BENCHMARK.md").read_text("utf-8")
    for text in ("Figures to reach: tiny", "Left out: X: not here.", "Strength: tiny"):
        assert text in page
    assert "might be better still: total variation (white: k 0.5; sharp: k 9).\n" in page
    assert "one template" not in page, "all pixels are alike"
    assert "| tiny at full strength |" in page
    number = r"[+-]?\d+(\.\d+)?%?"
    for title in (
        "### RMSE in the body, HU",
        "### PSNR, dB, C50/W400",
        "### SSIM",
        "### VIF",
        "### SD removed",
        "## HU bias",
    ):
        line = next(row for row in page.split(title)[1].splitlines() if row.startswith("| total variation"))
        cells = [cell for cell in line.split("|")[2:-1] if cell.strip() != "-"]
        assert len(cells) >= 2, title
        assert all(re.fullmatch(rf" {number} \[{number}, {number}\] *", cell) for cell in cells), line
    assert sorted(p.name for p in out.glob("*.png")) == sorted(
        line.split("(")[1].rstrip(")") for line in page.splitlines() if line.startswith("![")
    )
    assert not list(out.rglob(".*.part"))
    computed = []
    monkeypatch.setattr(Store, "part", counting(Store.part, computed))
    second = run_benchmark(prepared, out, methods, SMALL, report=lambda _: None)
    assert computed == []
    assert second["images"] == first["images"]
    assert second["tasks"] == first["tasks"]
    other = [input_itself(), dataclasses.replace(methods[1], fingerprint="tuned anew")]
    run_benchmark(prepared, out, other, SMALL, report=lambda _: None)
    assert {method for _, method in computed} == {"non-local means"}


def counting(part, computed):
    def wrapped(self, condition, method, fingerprint, compute, **revision):
        def counted():
            computed.append((condition, method))
            return compute()

        return part(self, condition, method, fingerprint, counted, **revision)

    return wrapped


def test_input_in_a_run_is_as_noisy_as_told(prepared, tmp_path):
    result = run_benchmark(prepared, tmp_path, [input_itself()], SMALL, report=lambda _: None)
    source = Source(result["images"]["truth"], [input_itself()])
    assert source.mean("white 25", "input", "rmse") == pytest.approx(25, rel=0.02)
    assert source.mean("none", "input", "rmse") == 0
    assert source.sd_reduction(["white 25"], "input") == Interval(0, 0, 0)
    texture = result["tasks"]["uniform"]["input"]["1"]["texture"]
    assert texture["mean_frequency"] == pytest.approx(0.2, abs=0.03)
    assert set(texture["reduction"]) == {0.0}
    assert result["tasks"]["discs"]["input"]["1"]["900"]["ratio"][0] == 1


def test_cases_are_those_asked_for(prepared):
    cases = patient_cases(prepared, "test", 2)
    assert len(cases) == 2
    assert len({c.patient for c in cases}) == 1
    assert all(not c.truth and c.own_sd > 0 for c in cases)


def test_neighbours_are_of_one_series_in_order(prepared):
    cases = neighbours(prepared, "train", 2)
    assert len(cases) == 2
    assert len({c.patient for c in cases}) == 1
    numbers = [int(c.name.split()[1]) for c in cases]
    assert numbers[1] == numbers[0] + 1
    assert len(neighbours(prepared, "test", 50)) == 3


def test_flicker_is_what_a_method_adds_from_slice_to_slice(truth, tmp_path):
    """It lifts every other slice by 2 HU: steps of +2 and -2 between neighbours, a SD of 2; at half the strength 1."""
    noise = np.random.default_rng(0).normal(0, 10, (5, *truth.reference.shape)).astype(np.float32)
    cases = [dataclasses.replace(truth, name=str(k), reference=truth.reference + n) for k, n in enumerate(noise)]
    called = iter(range(100))
    lifting = Method("lifting", "ours", "1", lambda noisy, _: noisy.image + 2 * (next(called) % 2), (0.5, 1.0))
    found = measure_flicker(cases, [input_itself(), lifting], Store(tmp_path, {}), lambda _: None)
    assert found["input"]["1"]["added"] == 0
    assert found["input"]["1"]["after"] == found["input"]["1"]["before"] > 0
    assert found["lifting"]["1"]["added"] == pytest.approx(2, abs=1e-3)
    assert found["lifting"]["0.5"]["added"] == pytest.approx(1, abs=1e-3)
    assert found["lifting"]["1"]["after"] == pytest.approx(2, abs=0.3)
    lines: list[str] = []
    assert measure_flicker(cases[:2], [lifting], Store(tmp_path, {"other": 1}), lines.append) == {}
    assert "flicker is not measured" in lines[0]


def test_a_square_stays_within_the_image():
    mask = np.zeros((20, 30), bool)
    mask[1:3, 20:29] = True
    assert square_around(mask, 10) == (slice(0, 10), slice(19, 29))
    assert square_around(mask, 64) == (slice(0, 20), slice(10, 30))


def test_peers_are_tuned_in_the_middle_of_the_cleanest_slices(prepared, monkeypatch):
    monkeypatch.setattr("meddenoise_training.benchmark.tuning_cases._SIDE", 32)
    cases = tuning_cases(prepared, 1, views=24)
    assert [c.group for c in cases] == ["white"] * 2 + ["smooth"] * 2 + ["sharp"] * 2
    for case in cases:
        assert case.reference.shape == case.image.shape == (32, 32)
        assert rmse(case.reference, case.image) == pytest.approx(case.noise.sd, rel=0.3)
    assert cases[1].noise.sd == pytest.approx(50, rel=0.1)


@pytest.fixture
def command(monkeypatch, capsys):
    """Return a function that runs ``meddenoise-train`` with arguments and returns its exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["meddenoise-train", *map(str, arguments), "--threads", "1"])
        with pytest.raises(SystemExit) as caught:
            main()
        return (caught.value.code, *capsys.readouterr())

    return run


def test_the_commands_tune_and_measure(prepared, tmp_path, weights, monkeypatch, command):
    monkeypatch.setattr("meddenoise_training.peers.catalogue.is_installed", lambda: False)
    monkeypatch.setattr("meddenoise_training.benchmark.run.QUICK_PLAN", SMALL)
    tuned, out = tmp_path / "tuned.json", tmp_path / "out"
    use_threads(2)
    code, said, _ = command("tune-peers", prepared, tuned, "--peers", "Gaussian (tuned),median (tuned)")
    assert code == 0
    assert set(json.loads(tuned.read_text("utf-8"))["peers"]) == {"Gaussian (tuned)", "median (tuned)"}
    assert "median (tuned), sharp: {" in said
    (edges,) = [line for line in said.splitlines() if line.startswith("Best at the edge of what was tried")]
    assert edges.endswith(": " + ", ".join(f"{n} ({'; '.join(w)})" for n, w in tuned_at_edge(tuned).items()) + ".")
    assert SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads() == 1
    asked = ["--quick", "--weights", weights, "--tuned", tuned, "--peers", "BM3D,Gaussian (tuned)", "--strength", 0.7]
    asked.append("--best-quality")
    code, said, error = command("benchmark", prepared, out, *asked)
    assert code == 0, error
    result = json.loads((out / "benchmark.json").read_text("utf-8"))
    assert [m["name"] for m in result["methods"]] == ["input", "Gaussian (tuned)", "tiny", "tiny, best quality"]
    once, eight_times = result["methods"][2:]
    assert eight_times["gflop"] == 8 * once["gflop"]
    assert eight_times["weights"] is None, "a card's figures are not those of the best quality"
    rmse_of = {m: result["images"]["truth"]["white 25"][m][0]["strengths"]["1"]["rmse"] for m in ("tiny", "input")}
    best = result["images"]["truth"]["white 25"]["tiny, best quality"][0]["strengths"]["1"]["rmse"]
    assert best not in rmse_of.values()
    assert set(result["figures_to_reach"]) == {"tiny", "tiny at full strength"}
    assert "tuned" in result["methods"][1]["fingerprint"]
    assert result["methods"][2]["strength"] == 0.7
    (line,) = result["left_out"]
    assert line.startswith("BM3D")
    ours = result["methods"][2]
    assert ours["parameters"] == parameter_count(seeded_network(read_card(weights).architecture, 0)) > 0
    titles = [row["figure"] for row in result["figures_to_reach"]["tiny"]]
    assert sum("best classical peer but BM3D, which was not measured" in title for title in titles) == 2
    assert len(set(titles)) == len(titles)
    assert '`pip install -e "./training[bm3d]"`' in line
    assert said.count(line) == 1
    page = (out / "BENCHMARK.md").read_text("utf-8")
    assert result["tuned_at_edge"] == {n: w for n, w in tuned_at_edge(tuned).items() if n == "Gaussian (tuned)"}
    assert page.count("[bm3d]") == 1
    assert "## Slice to slice" in page
    code, _, error = command("benchmark", prepared, out, "--weights", tmp_path / "none.safetensors")
    assert code == 1
    assert error.count("\n") == 1
    code, _, error = command("benchmark", prepared, out, "--peers", "gauss")
    assert code == 1
    assert "no peer 'gauss'" in error


def test_lesions_of_several_pixels_are_said_to_be_seen_through_one_template():
    patients = [{"patient": p, "pixel": pixel, "own_sd": 9.0} for p, pixel in (("a", 0.68), ("b", 0.977), ("b", 0.7))]
    result = {
        **{"plan": dataclasses.asdict(SMALL), "software": {}, "methods": [], "left_out": [], "tuned_at_edge": {}},
        "cases": {"patients": patients, "truth": [], "noisy scans": []},
    }
    (tasks,) = [line for line in _head(result) if line.startswith("- **Tasks**")]
    assert "pixels are 0.68 to 0.98 mm, and their lesions are all seen through one template, that of the mean" in tasks
    assert "no scatter between patients" in tasks


@pytest.mark.parametrize(("patterns", "reached"), [([0, 0, 0, 1.5], True), ([0.2, 0.2, 0.2, 0.2], False)])
def test_a_pattern_counts_where_most_slices_have_it(patterns, reached):
    rows = [{"patient": str(k), "strengths": {"1": {"pattern": value}}} for k, value in enumerate(patterns)]
    method = Method("net", "ours", "1", lambda noisy, pixel: noisy.image)
    source = Source({"white 25": {"net": rows}}, [method])
    row = _pattern(method, Measured(source, Source({}, [method]), {}, {}, [method]))
    assert row.reached is reached


@pytest.mark.parametrize(("name", "told"), [("BM3D (spectrum)", ""), ("median", " but BM3D, which was not measured")])
def test_the_best_peer_is_called_so_where_the_strongest_was_there(name, told):
    methods = [dataclasses.replace(input_itself(), name=n, group=g) for n, g in ((name, "classical"), ("net", "ours"))]
    measured = Measured(Source({}, methods), Source({}, methods), {}, {}, methods)
    assert measured.best_peer == f"the best classical peer{told}"


@pytest.mark.parametrize(("muscle", "reached"), [(0.4, True), (-1.2, False)])
def test_every_tissue_that_is_told_is_judged(muscle, reached):
    method = Method("net", "ours", "1", lambda noisy, pixel: noisy.image)
    bias = {"liver": 0.1, "muscle": muscle}
    rows = {"net": [{"patient": patient, "strengths": {"1": {"bias": bias}}} for patient in "ab"]}
    truth = Source({"white 25": rows}, [method])
    row = _bias(method, Measured(Source({}, [method]), truth, {}, {}, [method]), 1)
    assert row.reached is reached
    assert f"muscle {muscle:+.2f}" in row.truth


@pytest.mark.parametrize(
    ("less", "spread", "reached"),
    [(0.01, 0.002, True), (0.05, 0.002, False), (0.01, 0.03, None), (-0.05, 0.002, True)],
)
def test_detectability_is_reached_missed_or_not_decided(less, spread, reached):
    """Of a lesion seen less well by some AUC than in the input; the regions scatter, and with them both."""
    wobble = np.linspace(-1, 1, 20)
    names = {"input": "input", "strong": "classical", "net": "ours"}
    methods = [dataclasses.replace(input_itself(), name=n, group=g) for n, g in names.items()]

    def seen(auc, own):
        without = auc + 0.01 * wobble + own * np.tile([-1, 1], 10) / 5
        found = {"auc": [auc, auc - 0.1, auc + 0.1], "auc_without": without.tolist(), "detectability": [1, 0, 2]}
        return {"1": {"lesions": {"5 mm, 7 HU": {"cho": found}}}}

    parts = {"input": seen(0.8, 0), "strong": seen(0.7, 0), "net": seen(0.8 - less, spread)}
    tasks = {"uniform": parts, "patient": {}}
    nothing = Source({}, methods)
    row = _detectability(methods[2], Measured(nothing, nothing, tasks, {}, methods), with_peers=False)
    assert row.reached is reached
    assert row.measured
    assert f"{-less:+.3f}" in row.truth
    worse = _detectability(
        methods[2],
        Measured(nothing, nothing, {**tasks, "uniform": {**parts, "strong": seen(0.99, 0)}}, {}, methods),
        with_peers=True,
    )
    assert worse.reached is False, "the best peer sees it better beyond doubt"


def test_differences_are_paired_by_patient():
    """Of two patients one is much noisier; the gain is 1 dB for both, so its interval has no width."""
    rows = {
        name: [{"patient": p, "strengths": {"1": {"psnr": base + gain}}} for p, base in (("a", 20.0), ("b", 40.0))]
        for name, gain in (("input", 0.0), ("weak", 1.0), ("strong", 2.0), ("own", 3.0))
    }
    groups = {"input": "input", "weak": "classical", "strong": "classical", "own": "ours"}
    methods = [dataclasses.replace(input_itself(), name=n, group=g) for n, g in groups.items()]
    source = Source({"white 25": rows}, methods)
    assert source.above_best(["white 25"], "own", "classical") == Interval(1, 1, 1)
    assert source.above(["white 25"], "own", "input") == Interval(3, 3, 3)
    assert source.best("white 25", "classical") == "strong"
    assert source.above_best(["white 25"], "own", "baseline") is None
