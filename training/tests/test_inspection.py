"""Inspect: the card of a weights file; of a run its step, best figures and configuration; all of it as JSON too."""

from __future__ import annotations

import csv
import json
import shutil
import sys

import pytest
import torch

from meddenoise.catalogue import find_model
from meddenoise.errors import InputError, WeightsError
from meddenoise.weights import read_card, sha256_of
from meddenoise_training.checkpoint import CHECKPOINT_NAME, read_checkpoint, write_checkpoint
from meddenoise_training.cli import main
from meddenoise_training.config import load_config
from meddenoise_training.fit import fit
from meddenoise_training.inspection import inspect, inspect_patch
from meddenoise_training.logs import FIGURES_NAME
from meddenoise_training.manifest import MANIFEST_NAME, read_manifest
from meddenoise_training.noise.bank import make_bank
from meddenoise_training.samples import Samples

TINY = {
    **{"data.patch": 32, "data.batch": 2, "fit.steps": 4, "fit.warmup_steps": 1, "fit.precision": "32-true"},
    **{"network.widths": [4, 8], "network.blocks": 1, "fit.tensorboard": False, "fit.pictures": 0},
    **{"fit.ema_decay": 0.5, "fit.validation_slices": 1, "fit.validate_every": 1, "fit.learning_rate": 0.02},
}


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    fit(load_config(None, TINY), prepared, folder, report=lambda _: None)
    return folder


def test_a_weights_file_shows_its_card():
    path = find_model("fast").path
    card, found = read_card(path), inspect(path)
    assert found.values["card"] == json.loads(card.to_json())
    assert found.values["sha256"] == sha256_of(path)
    built = "Architecture: residual autoencoder, widths 16, 32 and 64, 2 blocks a level, 1 slice. Weights: "
    for words in (card.title, card.summary, card.limits[0], card.data[0]["doi"], sha256_of(path), built):
        assert words in found.page, words


def test_a_run_shows_its_step_its_best_figures_and_its_configuration(run):
    found = inspect(run)
    with (run / FIGURES_NAME).open(newline="") as file:
        rows = list(csv.DictReader(file))
    by_step = {s: [float(r["rmse"]) for r in rows if int(r["step"]) == s] for s in (1, 2, 3, 4)}
    best = min(by_step, key=lambda s: sum(by_step[s]))
    assert (found.values["step"], found.values["planned"]) == (4, 4)
    assert found.values["best"]["step"] == best
    assert [r["rmse"] for r in found.values["best"]["figures"]] == by_step[best]
    assert found.values["last"]["step"] == 4
    saved = read_checkpoint(run)
    assert found.values["config"] == saved["config"]
    assert found.values["parameters"] == sum(t.numel() for t in saved["network"].values())
    for words in ("# Run tiny", "4 of 4 planned", f"step {best}", "learning_rate = 0.02", "ct, white", "[noise]"):
        assert words in found.page, words
    (clean,) = (line for line in found.page.splitlines() if line.startswith("| synthetic, none"))
    assert [cell.strip() for cell in clean.split("|")][3] == "", "without added noise there is no PSNR"
    assert inspect(run / CHECKPOINT_NAME).values == found.values


def test_a_checkpoint_is_not_older_than_what_is_shown(run, tmp_path):
    """A run that was killed after a validation goes on from before it."""
    write_checkpoint(tmp_path, {**read_checkpoint(run), "step": 2})
    (tmp_path / FIGURES_NAME).write_bytes((run / FIGURES_NAME).read_bytes() + b"5,broken")
    found = inspect(tmp_path)
    assert found.values["last"]["step"] == 2


def test_of_a_run_that_stopped_early_the_step_kept_is_told(run, tmp_path):
    saved = read_checkpoint(run)
    write_checkpoint(tmp_path, {**saved, "best": {"step": 3, "rmse": 9.0, "ema": saved["ema"]}})
    assert inspect(tmp_path).values["exported_step"] == 3
    assert "averaged weights (EMA) of step 3" in inspect(tmp_path).page


def test_a_run_of_another_version_can_be_looked_at(run, tmp_path):
    saved = read_checkpoint(run)
    saved["config"]["noise"]["gone"] = 1
    write_checkpoint(tmp_path, saved)
    assert "made by another version" in inspect(tmp_path).page
    assert "made by another version" not in inspect(run).page


def test_the_command_prints_a_page_or_json(run, monkeypatch, capsys):
    for path in (find_model("fast").path, run):
        for options, is_json in (([], False), (["--json"], True)):
            monkeypatch.setattr(sys, "argv", ["meddenoise-train", "inspect", str(path), *options])
            with pytest.raises(SystemExit) as caught:
                main()
            assert caught.value.code == 0
            out = capsys.readouterr().out
            assert json.loads(out)["path"].startswith(str(path)) if is_json else out == inspect(path).page + "\n"


def test_what_cannot_be_inspected_is_told_in_a_sentence(tmp_path):
    with pytest.raises(InputError, match="no checkpoint in"):
        inspect(tmp_path)
    with pytest.raises(WeightsError, match="no weights file"):
        inspect(tmp_path / "nowhere.safetensors")
    with pytest.raises(InputError, match="cannot be read"):
        inspect(tmp_path / "nowhere.pt")
    torch.save({"a": 1}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="not a checkpoint of"):
        inspect(tmp_path / "other.pt")


def test_a_patch_of_a_run_tells_its_slice_and_its_noise(prepared, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(prepared, tmp_path / "prepared")
    make_bank(folder, read_manifest(folder), views=8)
    config = load_config(None, {**TINY, "noise.projection_share": 0.5, "data.batch": 4, "fit.validate_every": 4})
    run = tmp_path / "run"
    fit(config, folder, run, report=lambda _: None)
    entries, samples = read_manifest(folder).splits["train"], Samples(folder, config)
    models = set()
    for step in range(4):
        for place in range(4):
            found, drawn = inspect_patch(run, step, place), samples.drawn(step, place)
            values, noise, entry = found.values, drawn.noise, entries[drawn.patch.slice]
            of = {"number": drawn.patch.slice, "file": entry.file, "index": entry.index, "kind": entry.kind}
            assert values["slice"] == of
            assert (values["noise"]["model"], values["noise"]["sd"]) == (noise.model, noise.sd)
            assert values["noise"]["realisation"] == (drawn.patch.realisation if noise.model == "projection" else None)
            assert f"noise added: {noise.model}, SD {noise.sd:.1f} HU" in found.page
            if noise.shape is not None:
                assert f"mean frequency {noise.shape.mean_frequency:.3f}" in found.page
            models.add(noise.model)
    assert models == {"white", "correlated", "projection"}
    for options, status in ((["--step", "3", "--place", "1", "--json"], 0), (["--step", "3"], 1)):
        monkeypatch.setattr(sys, "argv", ["meddenoise-train", "inspect", str(run), *options])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == status
    said = capsys.readouterr()
    assert json.loads(said.out) == json.loads(json.dumps(inspect_patch(run, 3, 1).values))
    assert "--step and --place name a patch together; give both." in said.err
    for step, place, words in ((4, 0, "no step 4; give one from 0 to 3"), (0, -1, "no place -1; give one from 0 to 3")):
        with pytest.raises(InputError, match=words):
            inspect_patch(run, step, place)
    with pytest.raises(InputError, match="is no run"):
        inspect_patch(find_model("fast").path, 0, 0)
    path = folder / MANIFEST_NAME
    path.write_text(path.read_text() + " ")
    with pytest.raises(InputError, match=r"is not the one that the run in .* began with"):
        inspect_patch(run, 0, 0)
