"""Export: the averaged weights come back as they were, with a card that names data, noise, software and figures."""

from __future__ import annotations

import shutil

import pytest
import torch

from meddenoise.catalogue import shipped_models
from meddenoise.denoiser import Denoiser
from meddenoise.errors import InputError, OutputError
from meddenoise.weights import load_network, read_card
from meddenoise_training.checkpoint import read_checkpoint
from meddenoise_training.config import load_config
from meddenoise_training.export import export
from meddenoise_training.fit import fit
from meddenoise_training.manifest import open_slices, read_manifest
from meddenoise_training.prepare import prepare

CARD = """
name = "mine"
title = "Mine"
version = "3"
licence = "CC BY 4.0"
summary = "For the test."
limits = ["Research use only, not for diagnosis.", "Never shown a head."]
"""


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = load_config(
        None,
        {"data.patch": 32, "data.batch": 2, "fit.steps": 6, "fit.warmup_steps": 2, "fit.ema_decay": 0.5}
        | {"fit.validate_every": 1000, "fit.precision": "32-true"},
    )
    fit(config, prepared, folder, report=lambda _: None)
    return folder


@pytest.fixture
def card_text(tmp_path):
    path = tmp_path / "card.toml"
    path.write_text(CARD)
    return path


def test_exported_weights_are_the_averaged_ones_and_carry_their_card(run, card_text, tmp_path):
    sha256 = export(run, tmp_path / "mine.safetensors", card_text)
    loaded = load_network(tmp_path / "mine.safetensors", sha256)
    saved = read_checkpoint(run)
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, saved["ema"][f"module.{name}"]), name
    assert any(not torch.equal(t, saved["network"][n]) for n, t in loaded.network.state_dict().items()), (
        "not the last ones"
    )
    card = read_card(tmp_path / "mine.safetensors")
    assert (card.name, card.version, card.licence) == ("mine", "3", "CC BY 4.0")
    assert card.data == [
        {"name": "Thin", "licence": "CC BY 4.0", "doi": "10.0/thin", "patients": 1, "slices": 9},
        {"name": "Thick", "licence": "CC BY 3.0", "doi": "10.0/thick", "patients": 1, "slices": 3},
    ]
    assert "6 of 6 planned" in card.training["steps"]
    assert "3.0 to 80.0 HU" in card.training["noise"]
    assert "below -1024 HU" in card.training["noise"]
    assert f"torch {torch.__version__}" in card.training["software"]
    assert {f["name"] for f in card.figures["validation"]} >= {
        "ct, white",
        "ct, smooth",
        "ct, sharp",
        "synthetic, none",
    }
    assert {f["name"] for f in card.figures["test"]} == {"ct, white", "ct, smooth", "ct, sharp", "ct, streaked"}
    assert all(f["rmse_before"] == pytest.approx(25, abs=1) for f in card.figures["test"])


def test_card_can_be_read_by_people(run, card_text, tmp_path):
    sha256 = export(run, tmp_path / "mine.safetensors", card_text)
    text = (tmp_path / "mine.md").read_text(encoding="utf-8")
    for words in (
        "not for diagnosis",
        "Never shown a head",
        "10.0/thin",
        "CC BY 3.0",
        sha256,
        "ct, sharp",
        "Charbonnier",
    ):
        assert words in text, words
    assert str(tmp_path) not in text


def test_exported_weights_run_in_the_engine(run, card_text, tmp_path, prepared):
    import numpy as np

    export(run, tmp_path / "mine.safetensors", card_text)
    volume = np.stack(open_slices(prepared, "test", read_manifest(prepared))[:])
    denoised = Denoiser(tmp_path / "mine.safetensors", device="cpu").denoise(volume)
    assert denoised.dtype == volume.dtype
    assert 0 < np.abs(denoised - volume).max() < 1000


def test_data_that_nobody_can_cite_are_not_exported(archive, card_text, tmp_path):
    prepare(archive, tmp_path / "prepared", synthetic=0, report=lambda _: None)
    config = load_config(None, {"data.patch": 32, "data.synthetic_share": 0.0, "fit.steps": 2, "fit.warmup_steps": 1})
    fit(config, tmp_path / "prepared", tmp_path / "run", report=lambda _: None)
    with pytest.raises(InputError, match="belong to no collection"):
        export(tmp_path / "run", tmp_path / "mine.safetensors", card_text)
    assert not (tmp_path / "mine.safetensors").exists()
    shutil.rmtree(tmp_path / "prepared")
    with pytest.raises(InputError, match="not a prepared folder"):
        export(tmp_path / "run", tmp_path / "mine.safetensors", card_text)


def test_existing_weights_or_cards_are_replaced_only_when_asked(run, card_text, tmp_path):
    target = tmp_path / "mine.safetensors"
    target.with_suffix(".md").write_text("notes")
    with pytest.raises(OutputError, match=r"mine\.md exists already.*--overwrite"):
        export(run, target, card_text)
    assert not target.exists()
    target.write_text("other weights")
    with pytest.raises(OutputError, match=r"mine\.safetensors exists already"):
        export(run, target, card_text)
    assert target.read_text() == "other weights"
    export(run, target, card_text, overwrite=True)
    assert read_card(target).name == "mine"
    assert "# Mine" in target.with_suffix(".md").read_text(encoding="utf-8")


def test_the_name_of_a_shipped_model_is_kept_to_the_models_folder(run, card_text, tmp_path, monkeypatch):
    shipped = shipped_models()[0].name
    card_text.write_text(CARD.replace('"mine"', f'"{shipped}"'))
    with pytest.raises(InputError, match=f"'{shipped}' is that of a shipped model; give your weights another name"):
        export(run, tmp_path / "mine.safetensors", card_text)
    assert not (tmp_path / "mine.safetensors").exists()
    monkeypatch.setattr("meddenoise_training.export.MODELS_FOLDER", tmp_path)
    export(run, tmp_path / "mine.safetensors", card_text)
    assert read_card(tmp_path / "mine.safetensors").name == shipped


def test_what_cannot_be_exported_is_refused_in_a_sentence(run, card_text, tmp_path):
    with pytest.raises(OutputError, match="safetensors"):
        export(run, tmp_path / "mine.pt", card_text)
    with pytest.raises(InputError, match="no checkpoint"):
        export(tmp_path, tmp_path / "mine.safetensors", card_text)
    card_text.write_text(CARD.replace('title = "Mine"', 'tilte = "Mine"'))
    with pytest.raises(InputError, match="title is missing; tilte is unknown"):
        export(run, tmp_path / "mine.safetensors", card_text)
