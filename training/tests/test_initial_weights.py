"""Weights to begin from: a weights file or another run's averaged ones, nothing of another architecture."""

from __future__ import annotations

import shutil

import pytest
import torch

from meddenoise.catalogue import find_model
from meddenoise.errors import InputError, WeightsError
from meddenoise.folder_lock import LOCK_NAME
from meddenoise.weights import load_network, read_card
from meddenoise_training.checkpoint import averaged_weights, read_checkpoint, write_checkpoint
from meddenoise_training.config import load_config
from meddenoise_training.export import export
from meddenoise_training.fit import fit

TINY = {"data.patch": 32, "data.batch": 2, "fit.steps": 2, "fit.warmup_steps": 1, "fit.precision": "32-true"}
CARD = 'name="mine"\ntitle="Mine"\nversion="1"\nlicence="CC BY 4.0"\nsummary="For the test."\nlimits=["None."]'


def untrained(prepared, run, **changes):
    """Begin a run and stop it before its first step."""
    config = load_config(None, {**TINY, **changes})
    return fit(config, prepared, run, report=lambda _: None, stop=lambda: True)


def equal(network, expected):
    return all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())


def test_a_run_begins_from_a_weights_file(prepared, tmp_path):
    path = find_model("fast").path
    state = untrained(prepared, tmp_path / "run", init=str(path))
    expected = load_network(path).network.state_dict()
    assert equal(state.plain, expected)
    assert equal(state.ema.module, expected)
    assert state.begun_from is not None
    assert read_card(path).name in state.begun_from


@pytest.mark.parametrize("what", ["", "checkpoint.pt"])
def test_a_run_begins_from_another_runs_averaged_weights(prepared, tmp_path, what):
    config = load_config(None, {**TINY, "fit.ema_decay": 0.5})
    first = fit(config, prepared, tmp_path / "first", report=lambda _: None)
    saved = read_checkpoint(tmp_path / "first")
    saved["config"]["forgotten"] = {}  # as of another version
    write_checkpoint(tmp_path / "first", saved)
    state = untrained(prepared, tmp_path / "second", init=str(tmp_path / "first" / what))
    assert equal(state.plain, averaged_weights(saved))
    assert not equal(state.plain, first.plain.state_dict()), "not the last ones"


def test_a_resumed_run_does_not_begin_again_and_its_card_says_what_it_began_from(prepared, tmp_path):
    fit(load_config(None, TINY), prepared, tmp_path / "first", report=lambda _: None)
    changes = {"init": str(tmp_path / "first"), "fit.ema_decay": 0.5}
    config = load_config(None, {**TINY, **changes})
    fit(config, prepared, tmp_path / "run", report=lambda _: None)
    (tmp_path / "first" / "checkpoint.pt").unlink()
    longer = load_config(None, {**TINY, **changes, "fit.steps": 3})
    assert fit(longer, prepared, tmp_path / "run", report=lambda _: None).step == 3
    (tmp_path / "card.toml").write_text('earlier_stages = "on the same patients"\n' + CARD)
    export(tmp_path / "run", tmp_path / "mine.safetensors", tmp_path / "card.toml")
    card = read_card(tmp_path / "mine.safetensors")
    assert card.training["begun from"].startswith("a run of 2 steps, SHA-256 ")
    assert card.training["earlier stages"] == "on the same patients"
    assert "- earlier stages: on the same patients\n" in (tmp_path / "mine.md").read_text("utf-8")
    assert str(tmp_path) not in card.to_json()


def test_weights_of_other_prepared_data_are_told_as_such_and_those_of_the_same_are_not(prepared, tmp_path):
    """Each `prepare` gives patients other names: those tested on in one may be those trained on in another."""
    lines = []

    def begun(prepared, run, **changes):
        lines.clear()
        config = load_config(None, {**TINY, **changes})
        state = fit(config, prepared, tmp_path / run, report=lines.append)
        told = [line for line in lines if "other prepared data" in line]
        return state.begun_from or "", state.teacher.origin if state.teacher else "", len(told)

    assert begun(prepared, "first") == ("", "", 0)
    first = str(tmp_path / "first")
    again = tmp_path / "again"
    shutil.copytree(prepared, again)
    manifest = again / "manifest.json"
    manifest.write_text(manifest.read_text("utf-8") + "\n", "utf-8")
    origin, _, told = begun(prepared, "second", init=first)
    assert "other prepared data" not in origin
    assert not told
    origin, _, told = begun(again, "third", init=first)
    assert origin.endswith("whose patients may be among these")
    assert told == 1
    _, teacher, told = begun(again, "fourth", **{"distil.teacher": first})
    assert teacher.endswith("whose patients may be among these")
    assert told == 1
    _, _, told = begun(prepared, "fifth", **{"init": str(find_model("fast").path), "architecture": "fast"})
    assert told == 1, "a weights file does not say"


def test_what_a_run_cannot_begin_from_is_refused_in_a_sentence(prepared, tmp_path):
    fast = str(find_model("fast").path)
    with pytest.raises(InputError, match="another architecture"):
        untrained(prepared, tmp_path / "run", architecture="standard", init=fast)
    with pytest.raises(InputError, match="no weights at"):
        untrained(prepared, tmp_path / "run", init=str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match="cannot be read"):
        untrained(prepared, tmp_path / "run", init=str(tmp_path / "nowhere.safetensors"))
    write_checkpoint(tmp_path / "other", {"a": 1})
    with pytest.raises(InputError, match="not a checkpoint of"):
        untrained(prepared, tmp_path / "run", init=str(tmp_path / "other"))
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK_NAME], "nothing is begun"
