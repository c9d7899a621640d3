"""The card says by itself what the run was trained with, and holds the benchmark's figures of these very weights."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from meddenoise.catalogue import shipped_models
from meddenoise.errors import InputError
from meddenoise.weights import load_network, read_card, tensors_digest
from meddenoise_training.benchmark.methods import input_itself, weights_method
from meddenoise_training.benchmark.run import RESULT_NAME, Plan, run_benchmark
from meddenoise_training.benchmark.tasks import Effort
from meddenoise_training.card import DefaultStrength, read_card_text
from meddenoise_training.checkpoint import read_checkpoint, write_checkpoint
from meddenoise_training.cleaned_targets import CleanedTargets, clean_targets
from meddenoise_training.config import load_config
from meddenoise_training.export import export
from meddenoise_training.fit import fit
from meddenoise_training.manifest import MANIFEST_NAME, open_slices, read_manifest
from meddenoise_training.noise.bank import BANK_FOLDER, make_bank
from meddenoise_training.prepare import prepare

CONFIGS = Path(__file__).parent.parent / "configs"
CARD = """
name = "mine"
title = "Mine"
version = "3"
licence = "CC BY 4.0"
summary = "For the test."
limits = ["Research use only, not for diagnosis."]
[strength]
default = 0.8
reason = "texture is kept"
"""
TINY = {
    **{"data.patch": 32, "data.batch": 2, "fit.steps": 3, "fit.warmup_steps": 1, "fit.precision": "32-true"},
    **{"network.widths": [4, 8], "network.blocks": 1, "fit.tensorboard": False, "fit.pictures": 0},
    **{"fit.ema_decay": 0.5, "fit.validation_slices": 1},
}
SMALL = Plan(
    slices=3,
    bodies=(1, 2),
    size=96,
    conditions=("white 10", "white 25", "dose 25 % smooth", "none"),
    noisy_scans=1,
    effort=Effort(discs=2, uniform=2, patient=1),
    views=24,
)


def train(prepared: Path, run: Path, **changes: object) -> Path:
    config = load_config(None, {**TINY, **{name.replace("__", "."): value for name, value in changes.items()}})
    fit(config, prepared, run, report=lambda _: None)
    return run


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory) -> Path:
    # Steps large enough for the weights to do something.
    return train(prepared, tmp_path_factory.mktemp("runs") / "run", fit__learning_rate=0.02)


@pytest.fixture(scope="module")
def card_text(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("card") / "card.toml"
    path.write_text(CARD)
    return path


@pytest.fixture(scope="module")
def measured(run, prepared, card_text, tmp_path_factory) -> Path:
    """Return the benchmark.json of the weights of the run, exported without figures first."""
    folder = tmp_path_factory.mktemp("measured")
    export(run, folder / "first.safetensors", card_text)
    methods = [input_itself(), weights_method(str(folder / "first.safetensors"), strength=0.8, precision="float32")]
    run_benchmark(prepared, folder / "out", methods, SMALL, report=lambda _: None)
    return folder / "out" / RESULT_NAME


@pytest.fixture
def card(run, card_text, measured, tmp_path):
    export(run, tmp_path / "mine.safetensors", card_text, benchmark=measured)
    return read_card(tmp_path / "mine.safetensors")


def rows(result, source: str, condition: str, method: str) -> list[dict]:
    return result["images"][source][condition][method]


def test_a_second_export_has_the_same_weights_and_the_benchmarks_figures(card, measured, tmp_path):
    first, second = measured.parent.parent / "first.safetensors", tmp_path / "mine.safetensors"
    assert tensors_digest(load_network(first).network) == tensors_digest(load_network(second).network)
    assert "benchmark" not in read_card(first).figures
    result, found = json.loads(measured.read_text("utf-8")), card.figures["benchmark"]
    by_row = {(row["slices"], row["noise"]): row for row in found["images"]}
    assert set(by_row) == {
        *(("patients", noise) for noise in ("white", "smooth")),
        *(("numerical abdomens", noise) for noise in ("white", "smooth", "none")),
    }
    white = by_row["numerical abdomens", "white"]
    assert white["conditions"] == ["white 10", "white 25"]
    for key, method, strength in (("rmse_body_before", "input", "1"), ("rmse_body", "first", "0.8")):
        bodies = [
            np.mean(
                [rows(result, "truth", c, method)[b]["strengths"][strength]["rmse_body"] for c in white["conditions"]]
            )
            for b in (0, 1)
        ]
        value, low, high = white[key]
        assert value == pytest.approx(np.mean(bodies), abs=0.01), "of this strength, over both conditions"
        assert (low, high) == pytest.approx((min(bodies), max(bodies)), abs=0.01), "over bodies"
    liver = [
        np.mean(
            [rows(result, "truth", c, "first")[b]["strengths"]["0.8"]["bias"]["liver"] for c in white["conditions"]]
        )
        for b in (0, 1)
    ]
    assert white["bias"]["liver"][0] == pytest.approx(np.mean(liver), abs=0.01)
    uniform = result["tasks"]["uniform"]
    shift = (
        uniform["first"]["0.8"]["texture"]["mean_frequency"] / uniform["input"]["1"]["texture"]["mean_frequency"] - 1
    )
    assert found["texture"]["shift"][0] == pytest.approx(shift)
    assert found["texture"]["shift"][1] < shift < found["texture"]["shift"][2]
    assert found["resolution"]["900"] == result["tasks"]["discs"]["first"]["0.8"]["900"]["ratio"]
    assert {row["lesion"] for row in found["detectability"]} == set(uniform["first"]["1"]["lesions"])
    assert [row["strength"] for row in found["strengths"]] == [0.5, 0.6, 0.65, 0.7, 0.8, 0.9, 1.0]
    assert "Not measured: unseen white, sharp, unseen kernel." in found["conditions"]


def test_the_page_shows_the_figures_with_their_intervals(card, tmp_path):
    page = (tmp_path / "mine.md").read_text(encoding="utf-8")
    white = next(r for r in card.figures["benchmark"]["images"] if (r["slices"], r["noise"]) == ("patients", "white"))
    (before, _, _), (value, low, high) = white["rmse_body_before"], white["rmse_body"]
    assert f"white (white 10, white 25) {before:.2f} → {value:.2f} [{low:.2f}, {high:.2f}]" in " ".join(
        page.replace("|", "").split()
    )
    for words in ("0.8: texture is kept", "C50/W400", "at strength 0.8", "Training domain", "STANDARD", "cycles/pixel"):
        assert words in page, words
    assert str(tmp_path) not in page


def test_figures_of_other_weights_are_refused(run, prepared, card_text, measured, tmp_path):
    train(prepared, tmp_path / "other", fit__steps=4)
    with pytest.raises(InputError, match="holds figures of first, but not of the weights of this run: measure these"):
        export(tmp_path / "other", tmp_path / "mine.safetensors", card_text, benchmark=measured)
    assert not (tmp_path / "mine.safetensors").exists()


def changed(measured: Path, path: Path, change) -> Path:
    result = json.loads(measured.read_text("utf-8"))
    change(result)
    path.write_text(json.dumps(result))
    return path


def test_a_benchmark_that_is_none_for_this_card_is_refused(run, prepared, card_text, measured, tmp_path):
    seen = next(e.patient for e in read_manifest(prepared).splits["train"] if e.patient)
    own = tmp_path / "own.json"
    for change, words in (
        (lambda r: r["cases"]["patients"][0].update(patient=seen), "patients that these weights were trained on"),
        (lambda r: r["methods"][1].update(strength=0.6), "measured strength 0.6, but the card's default is 0.8"),
        (lambda r: r["methods"][1].update(group="baseline"), "holds figures of no weights of MedDenoise"),
        (lambda r: r.update(format=1), "of another version"),
        (lambda r: r.pop("format"), "no benchmark.json"),
        (lambda r: r.pop("manifest"), "does not tell which prepared folder it measured; run"),
    ):
        with pytest.raises(InputError, match=words):
            export(run, tmp_path / "mine.safetensors", card_text, benchmark=changed(measured, own, change))
    with pytest.raises(InputError, match=r"no benchmark\.json"):
        export(run, tmp_path / "mine.safetensors", card_text, benchmark=tmp_path / "nowhere.json")
    assert not (tmp_path / "mine.safetensors").exists()


def test_patients_trained_on_do_not_pass_by_being_prepared_again(run, archive, prepared, card_text, measured, tmp_path):
    """The second prepare gives the same patients other names."""
    again = tmp_path / "again"
    prepare(archive, again, slab_mm=5.0, synthetic=2, sources=archive / "sources.toml", report=lambda _: None)
    first = measured.parent.parent / "first.safetensors"
    methods = [input_itself(), weights_method(str(first), strength=0.8, precision="float32")]
    plan = dataclasses.replace(SMALL, split="train", slices=1, conditions=("white 25",), bodies=(1,))
    result = run_benchmark(again, tmp_path / "out", methods, plan, report=lambda _: None)
    names = {e.patient for e in read_manifest(prepared).splits["train"]}
    assert names.isdisjoint(case["patient"] for case in result["cases"]["patients"])
    with pytest.raises(InputError, match="measured another prepared folder than the one that these weights were"):
        export(run, tmp_path / "mine.safetensors", card_text, benchmark=tmp_path / "out" / RESULT_NAME)
    assert not (tmp_path / "mine.safetensors").exists()


def test_the_domain_is_that_of_the_training_slices(card, prepared):
    manifest = read_manifest(prepared)
    stack, entries = open_slices(prepared, "train", manifest), manifest.splits["train"]
    scanned = [stack[i] for i, e in enumerate(entries) if e.kind != "synthetic"]
    domain = card.domain
    assert domain.kernels == ("STANDARD",)
    assert (domain.pixel_mm, domain.kvp) == ((0.75, 0.75), (120, 120))
    assert {(e.slab, e.thickness_mm) for e in entries if e.kind != "synthetic"} == {(5, 1), (1, 5)}
    assert domain.thickness_mm == (5, 5), "five slices of 1 mm averaged show 5 mm"
    assert "thin ones averaged to slabs of up to 5 mm" in card.training["targets"]
    assert domain.noise_sd_hu == (0, 80)
    assert domain.noise_mean_frequency == (0.12, 0.40)
    assert domain.hu == (min(s.min() for s in scanned), max(s.max() for s in scanned))


def test_bank_and_cleaned_targets_are_told(prepared, card_text, tmp_path):
    folder = tmp_path / "prepared"
    shutil.copytree(prepared, folder)
    manifest = read_manifest(folder)
    make_bank(folder, manifest, views=24)
    clean_targets(folder, manifest, "once", model="fast", strength=0.6, threads=1)
    noise = {"noise__projection_share": 0.5, "noise__white_share": 1.0, "data__targets": "once"}
    run = train(folder, tmp_path / "run", **noise)
    export(run, tmp_path / "mine.safetensors", card_text)
    card = read_card(tmp_path / "mine.safetensors")
    source = CleanedTargets(folder, manifest, "once").source
    for words in ("second stage", "weights 'fast' at strength 0.6", source["sha256"], "50% of the inputs"):
        assert words in card.training["targets"], words
    assert "50% made in the projections" in card.training["noise"]
    assert "2 realisations of each slice in 24 views" in card.training["noise bank"]
    low, high = card.domain.noise_mean_frequency
    assert low < 0.25 < high, "of white noise alone it would be 0.25"
    before = [e.noise_sd for e in manifest.splits["train"] if e.kind != "synthetic"]
    assert card.training["noise of the targets"].endswith(
        f"{min(before):g} to {max(before):g} HU before they were cleaned"
    )
    shutil.rmtree(folder / BANK_FOLDER)
    with pytest.raises(InputError, match="no noise bank"):
        export(run, tmp_path / "again.safetensors", card_text)


def test_a_digest_is_of_names_shapes_and_values():
    """Whatever changes in a network changes it; what does not change its results does not."""
    networks = [torch.nn.Linear(2, 3, bias=False), torch.nn.Linear(3, 2, bias=False), torch.nn.PReLU(6)]
    for network in networks:
        torch.nn.init.ones_(network.weight)
    digests = [tensors_digest(network) for network in networks]
    assert len(set(digests)) == 3, "six ones each, of other shapes"
    assert tensors_digest(torch.nn.Sequential(networks[0])) != digests[0], "of another name"
    assert tensors_digest(networks[0].double()) == digests[0]
    with torch.no_grad():
        networks[0].weight[0, 0] += 1e-6
    assert tensors_digest(networks[0].float()) != digests[0]


def test_what_an_older_run_did_not_write_down_is_said_to_be_assumed(run, card_text, card, tmp_path):
    saved = read_checkpoint(run)
    del saved["config"]["noise"]["quantum_share"]
    of_loss = [f"loss.{name}" for name in saved["config"].pop("loss")]
    write_checkpoint(tmp_path / "older", saved)
    export(tmp_path / "older", tmp_path / "older.safetensors", card_text)
    found = {
        key: value for key, value in read_card(tmp_path / "older.safetensors").training.items() if "assumed" in key
    }
    assert list(found.values()) == [", ".join(["noise.quantum_share", *of_loss])]
    assert not any("assumed" in key for key in card.training)


def test_data_prepared_anew_since_are_not_named_for_those_trained_on(archive, card_text, tmp_path):
    def make() -> None:
        sources = archive / "sources.toml"
        prepare(archive, tmp_path / "prepared", slab_mm=5.0, synthetic=2, sources=sources, report=lambda _: None)

    make()
    run = train(tmp_path / "prepared", tmp_path / "run")
    before = (tmp_path / "prepared" / MANIFEST_NAME).read_text()
    shutil.rmtree(tmp_path / "prepared")
    make()
    assert (tmp_path / "prepared" / MANIFEST_NAME).read_text() != before
    with pytest.raises(InputError, match="made anew since the run began"):
        export(run, tmp_path / "mine.safetensors", card_text)


@pytest.mark.parametrize("name", ["fast", "standard"])
def test_the_configurations_that_come_with_it_are_right(name):
    config = load_config(CONFIGS / f"{name}.toml", {})
    assert config.architecture == name
    assert config.noise.projection_share == 0.5
    text = read_card_text(CONFIGS / f"{name}-card.toml")
    assert text.name == name
    assert any("not for diagnosis" in limit for limit in text.limits)


def test_the_template_of_a_card_claims_no_strength_and_no_shipped_name():
    text = read_card_text(CONFIGS / "own-card.toml")
    assert text.name not in [model.name for model in shipped_models()]
    assert text.strength == DefaultStrength()
    assert any("not for diagnosis" in limit for limit in text.limits)
