"""Weights files: written whole, read without running code, refused with one sentence."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from meddenoise import catalogue
from meddenoise.catalogue import DEFAULT_MODEL, default_model, find_model, shipped_models
from meddenoise.denoiser import Denoiser
from meddenoise.devices import choose_device
from meddenoise.errors import OutputError, WeightsError
from meddenoise.model_card import ModelCard
from meddenoise.weights import CARD_KEY, load_network, read_card, save_weights, sha256_of


def test_what_was_saved_comes_back(tiny_weights: Path, tmp_path: Path) -> None:
    loaded = load_network(tiny_weights)
    sha256 = save_weights(tmp_path / "again.safetensors", loaded.network, loaded.card)
    again = load_network(tmp_path / "again.safetensors", expected_sha256=sha256)
    assert again.card == loaded.card == read_card(tiny_weights)
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor)
    assert not again.network.training
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.safetensors"]
    if sys.platform != "win32":
        assert (tmp_path / "again.safetensors").stat().st_mode & 0o777 == 0o644


def with_metadata(weights: Path, path: Path, **changes: object) -> Path:
    card = json.loads(loaded_card(weights)) | changes
    save_file(load_file(weights), path, metadata={CARD_KEY: json.dumps(card)})
    return path


def loaded_card(weights: Path) -> str:
    return read_card(weights).to_json()


def test_a_pickle_under_this_name_is_refused_and_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (trap,))

    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(WeightsError, match=r"not a readable .safetensors file"):
        load_network(path)
    torch.save({"a": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match=r"not a readable .safetensors file"):
        read_card(path)
    assert not trap.exists()


def test_damaged_and_missing_files_are_refused(tiny_weights: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(tiny_weights.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="not a readable"):
        load_network(cut)
    with pytest.raises(WeightsError, match=r"There is no weights file|cannot be read"):
        load_network(tmp_path / "nowhere.safetensors")
    with pytest.raises(WeightsError, match="There is no weights file"):
        read_card(tmp_path / "nowhere.safetensors")


def test_a_changed_file_is_not_the_one_that_was_shipped(tiny_weights: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.safetensors"
    content = bytearray(tiny_weights.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    load_network(changed)  # readable: only the hash tells
    with pytest.raises(WeightsError, match="not the one that was shipped"):
        load_network(changed, expected_sha256=sha256_of(tiny_weights))


def test_foreign_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match="carries no MedDenoise card"):
        load_network(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 99}, "format 99"),
        ({"architecture": {"kind": "transformer", "widths": [4], "blocks": 1}}, "unknown architecture 'transformer'"),
        ({"architecture": {"kind": "residual-autoencoder", "widths": [4, 16], "blocks": 1}}, "do not fit the network"),
        ({"architecture": "import os"}, "does not describe a network"),
        ({"hu_per_unit": 0}, "impossible intensity scale"),
        ({"default_strength": 0}, "impossible default strength: 0"),
        ({"default_strength": "half"}, "impossible default strength: 'half'"),
        ({"surprise": 1}, "unknown fields: surprise"),
    ],
)
def test_cards_that_do_not_fit_are_refused(tiny_weights: Path, tmp_path: Path, changes: dict, words: str) -> None:
    path = with_metadata(tiny_weights, tmp_path / "changed.safetensors", **changes)
    with pytest.raises(WeightsError, match=words):
        load_network(path)


def test_nan_in_the_weights_is_refused(tiny_weights: Path, tmp_path: Path) -> None:
    tensors = load_file(tiny_weights)
    tensors["exit.weight"][0, 0, 0, 0] = float("nan")
    save_file(tensors, tmp_path / "nan.safetensors", metadata={CARD_KEY: loaded_card(tiny_weights)})
    with pytest.raises(WeightsError, match="NaN"):
        load_network(tmp_path / "nan.safetensors")


def test_a_failed_save_leaves_the_old_file(tiny_weights: Path, tmp_path: Path) -> None:
    loaded = load_network(tiny_weights)
    target = tmp_path / "taken"
    target.mkdir()
    (target / "inside").touch()  # a folder in the way: the rename must fail
    with pytest.raises(OutputError, match="cannot be written"):
        save_weights(target, loaded.network, loaded.card)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_card_survives_json() -> None:
    with pytest.raises(WeightsError, match="no readable MedDenoise card"):
        ModelCard.from_json("not json")
    with pytest.raises(WeightsError, match="no readable MedDenoise card"):
        ModelCard.from_json("[]")


def test_shipped_models_are_whole_and_small() -> None:
    models = shipped_models()
    assert models[0].name == default_model("cpu") == "fast"
    for model in models:
        loaded = load_network(model.path, model.sha256)
        assert loaded.card.name == model.name
        assert model.path.with_suffix(".md").is_file(), "a model card for people stands beside the weights"
        assert "diagnosis" in " ".join(loaded.card.limits)
    assert sum(model.path.stat().st_size for model in models) < 8_000_000


def with_models(folder: Path, *names: str) -> Path:
    """Return a new folder with a catalogue of the Fast model under these names."""
    folder.mkdir()
    fast = find_model("fast")
    shutil.copy(fast.path, folder)
    entries = [
        {"name": name, "title": name.title(), "description": "", "file": fast.path.name, "sha256": fast.sha256}
        for name in names
    ]
    (folder / "catalogue.json").write_text(json.dumps({"models": entries}), encoding="utf-8")
    return folder


def test_default_is_standard_on_a_gpu_and_fast_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = ("cpu", "cuda", "cuda:1", "mps")
    monkeypatch.setattr(catalogue, "MODELS_FOLDER", with_models(tmp_path / "two", "fast", "standard"))
    assert [default_model(device) for device in devices] == ["fast", *["standard"] * 3]
    assert [find_model(DEFAULT_MODEL, device).name for device in devices] == ["fast", *["standard"] * 3]
    assert [find_model("fast", device).name for device in devices] == ["fast"] * 4
    assert default_model() == default_model(choose_device())
    monkeypatch.setattr(catalogue, "MODELS_FOLDER", with_models(tmp_path / "one", "fast"))
    assert [default_model(device) for device in devices] == ["fast"] * 4


def test_who_names_no_model_gets_the_default_of_the_device() -> None:
    for denoiser in (Denoiser(device="cpu"), Denoiser("auto", device="cpu")):
        assert denoiser.card.name == default_model("cpu")
        assert denoiser.sha256 == find_model("fast").sha256


def test_models_are_found_by_name_or_path(tiny_weights: Path, tmp_path: Path) -> None:
    assert find_model("fast").sha256
    own = find_model(shutil.copy(tiny_weights, tmp_path / "own.safetensors"))
    assert own.name == "own"
    assert own.sha256 is None
    with pytest.raises(WeightsError, match=r"the shipped models are: .*fast"):
        find_model("no-such-model")
