"""Training that cannot go on: one clear sentence, and the last checkpoint as it was."""

from __future__ import annotations

import json
import re
import shutil
import signal

import numpy as np
import pytest
import torch

from meddenoise.catalogue import MODELS_FOLDER
from meddenoise.errors import InputError
from meddenoise_training.checkpoint import CHECKPOINT_NAME, read_checkpoint, write_checkpoint
from meddenoise_training.cleaned_targets import TARGETS_FOLDER, clean_targets
from meddenoise_training.cli.ending import asked_to_stop
from meddenoise_training.config import load_config
from meddenoise_training.export import export
from meddenoise_training.fit import fit
from meddenoise_training.logs import FIGURES_NAME, read_log
from meddenoise_training.manifest import MANIFEST_NAME, read_manifest
from meddenoise_training.networks import read_network
from meddenoise_training.noise.bank import BANK_FOLDER, make_bank
from meddenoise_training.processes import Processes
from meddenoise_training.state import FitState

SETTINGS = {
    **{"network.widths": [4, 8], "network.blocks": 1, "data.patch": 32, "data.batch": 2, "fit.warmup_steps": 1},
    **{"fit.precision": "32-true", "fit.validation_slices": 1, "fit.validate_every": 2, "fit.tensorboard": False},
    **{"fit.steps": 6, "fit.checkpoint_minutes": 0, "fit.pictures": 0},
}


def tiny(**changes):
    return load_config(None, {**SETTINGS, **{k.replace("__", "."): v for k, v in changes.items()}})


def train(config, prepared, run, **told):
    return fit(config, prepared, run, **{"report": lambda _: None, **told})


def test_nan_in_a_patch_stops_before_the_step(prepared):
    state = FitState(tiny(), prepared, Processes().launch("32-true"))
    batch = next(state.batches())
    batch.noisy[1, 0, 3, 5] = float("nan")
    before = {name: tensor.clone() for name, tensor in state.plain.state_dict().items()}
    named = re.escape(f"the patch drawn of training slice {int(batch.slices[1])} (")
    with pytest.raises(InputError, match=rf"Step 1 was not taken, as {named}.*change the settings in \[noise\]"):
        state.train_step(batch)
    assert state.step == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.plain.state_dict().items())


@pytest.mark.parametrize("saves", [True, False])
def test_a_run_that_diverges_says_so_and_keeps_its_last_checkpoint(prepared, tmp_path, saves):
    wild = {"fit__optimiser": "sgd", "fit__learning_rate": 1e30, "fit__schedule": "constant"}
    config = tiny(**wild, fit__checkpoint_minutes=0 if saves else 99)
    words = r"diverged; begin another run with a lower fit\.learning_rate than 1e\+30\. "
    kept = r"The checkpoint of step \d is kept in" if saves else "Nothing was saved yet"
    with pytest.raises(InputError, match=words + kept):
        train(config, prepared, tmp_path)
    saved = read_checkpoint(tmp_path)
    assert (saved["step"] > 0) == saves
    if saves:
        assert all(tensor.isfinite().all() for tensor in saved["network"].values())


@pytest.fixture(scope="module")
def banked(prepared, tmp_path_factory):
    """Return a prepared folder with a bank, and with targets 'once'."""
    folder = shutil.copytree(prepared, tmp_path_factory.mktemp("banked") / "prepared")
    make_bank(folder, read_manifest(folder), views=8)
    clean_targets(folder, read_manifest(folder), "once", model="fast", threads=1)
    return folder


def test_nan_in_the_bank_names_its_file_and_costs_no_step(banked, tmp_path):
    copy = shutil.copytree(banked, tmp_path / "prepared")
    config = tiny(noise__projection_share=1.0, fit__checkpoint_minutes=99)
    whole = train(config, copy, tmp_path / "whole")
    (file,) = (copy / BANK_FOLDER).glob("*0.npy")
    good = file.read_bytes()

    def damage(line: str) -> None:
        if "RMSE" not in line:  # of the validation after the second step
            return
        noise = np.load(file, mmap_mode="r+")
        noise[:] = np.nan

    words = rf"Step 3 .*bank holds NaN or infinity in {file}; remove.* --views 8`\..*Step 2 is saved"
    with pytest.raises(InputError, match=words):
        train(tiny(noise__projection_share=1.0, fit__checkpoint_minutes=99), copy, tmp_path / "run", report=damage)
    assert read_checkpoint(tmp_path / "run")["step"] == 2
    file.write_bytes(good)
    resumed = train(config, copy, tmp_path / "run")
    for name, tensor in whole.ema.state_dict().items():
        assert torch.equal(tensor, resumed.ema.state_dict()[name]), name


def test_another_bank_is_not_gone_on_with(banked, tmp_path):
    copy = shutil.copytree(banked, tmp_path / "prepared")
    with_bank, without = tiny(noise__projection_share=0.5, fit__steps=2), tiny(fit__steps=2)
    longer = tiny(noise__projection_share=0.5, fit__steps=3)
    train(with_bank, copy, tmp_path / "with")
    train(without, copy, tmp_path / "without")
    for views in (8, 9):
        shutil.rmtree(copy / BANK_FOLDER)
        make_bank(copy, read_manifest(copy), views=views)
        if views == 8:
            assert train(longer, copy, tmp_path / "with").step == 3, "made again, it is the same"
    before = (tmp_path / "with" / CHECKPOINT_NAME).read_bytes()
    with pytest.raises(InputError, match=r"The noise bank in .* is not the one that the run in .*with began with"):
        train(tiny(noise__projection_share=0.5, fit__steps=4), copy, tmp_path / "with")
    assert (tmp_path / "with" / CHECKPOINT_NAME).read_bytes() == before
    assert train(tiny(fit__steps=3), copy, tmp_path / "without").step == 3, "it uses none"
    saved = read_checkpoint(tmp_path / "with")
    del saved["bank"]
    write_checkpoint(tmp_path / "with", saved)
    assert train(tiny(noise__projection_share=0.5, fit__steps=4), copy, tmp_path / "with").step == 4, "nothing is known"


def test_targets_cleaned_anew_are_not_gone_on_with(banked, tmp_path):
    copy = shutil.copytree(banked, tmp_path / "prepared")
    train(tiny(data__targets="once", fit__steps=2), copy, tmp_path / "run")
    shutil.rmtree(copy / TARGETS_FOLDER / "once")
    clean_targets(copy, read_manifest(copy), "once", model="fast", strength=0.3, threads=1)
    with pytest.raises(InputError, match=r"What lies in .*once is not the one that the run in .* began with"):
        train(tiny(data__targets="once", fit__steps=3), copy, tmp_path / "run")


def test_what_chooses_the_exported_weights_may_not_change(prepared, tmp_path):
    """Early stopping keeps the weights of the best validation: whether it does, and by what, is no mere look."""
    train(tiny(fit__steps=4), prepared, tmp_path / "plain")
    free = {"fit__validate_every": 3, "fit__validation_slices": 2}
    assert train(tiny(fit__steps=5, **free), prepared, tmp_path / "plain").step == 5
    with pytest.raises(InputError, match=r"another configuration \(fit\.patience\)"):
        train(tiny(fit__steps=6, fit__patience=5), prepared, tmp_path / "plain")
    train(tiny(fit__steps=4, fit__patience=5), prepared, tmp_path / "early")
    with pytest.raises(InputError, match=r"another configuration \(fit\.patience\)"):
        train(tiny(fit__steps=6), prepared, tmp_path / "early")
    with pytest.raises(InputError, match=r"\(fit\.validate_every, fit\.validation_slices\)"):
        train(tiny(fit__steps=6, fit__patience=5, **free), prepared, tmp_path / "early")
    assert train(tiny(fit__steps=5, fit__patience=9), prepared, tmp_path / "early").step == 5, "it waits longer"


def test_ctrl_c_during_validation_saves_and_goes_on_bit_for_bit(prepared, tmp_path):
    whole = train(tiny(), prepared, tmp_path / "whole")
    seen: list[str] = []

    def interrupt(line: str) -> None:
        if "RMSE" in line:
            if not seen:
                signal.raise_signal(signal.SIGINT)
            seen.append(line)

    with asked_to_stop() as asked:
        part = train(tiny(), prepared, tmp_path / "parts", report=interrupt, stop=lambda: bool(asked))
    assert part.step == 2, "the validation is finished, no step is taken after it"
    resumed = train(tiny(), prepared, tmp_path / "parts")
    for name, tensor in whole.ema.state_dict().items():
        assert torch.equal(tensor, resumed.ema.state_dict()[name]), name


@pytest.mark.parametrize("step", [2, 6])
def test_a_stop_is_obeyed_amid_a_validation_which_is_made_when_the_run_goes_on(prepared, tmp_path, step):
    """Its figures are not logged by halves; the best weights and the waiting for better ones end up the same."""
    config = tiny(fit__patience=3)
    whole = train(config, prepared, tmp_path / "whole")
    state_of_run: list[int] = []
    slices_seen = 0

    def stop() -> bool:
        """Say so at the second slice of the validation of the step."""
        nonlocal slices_seen
        if state_of_run[-1:] == [step]:
            slices_seen += 1
        return slices_seen > 1

    part = train(config, prepared, tmp_path / "run", progress=lambda done, _: state_of_run.append(done), stop=stop)
    assert (part.step, part.unvalidated, slices_seen) == (step, True, 2 if step == 6 else 3)
    logged = [int(row["step"]) for row in read_log(tmp_path / "run" / FIGURES_NAME)]
    assert set(logged) == set(range(2, step, 2))
    lines: list[str] = []
    resumed = train(config, prepared, tmp_path / "run", report=lines.append)
    assert lines[0] == f"Going on from step {step} of 6."
    assert not resumed.unvalidated
    assert (tmp_path / "run" / FIGURES_NAME).read_text() == (tmp_path / "whole" / FIGURES_NAME).read_text()
    assert (resumed.waited, resumed.best["step"]) == (whole.waited, whole.best["step"])
    for weights, others in (
        (whole.ema.state_dict(), resumed.ema.state_dict()),
        (whole.best["ema"], resumed.best["ema"]),
    ):
        assert all(torch.equal(tensor, others[name]) for name, tensor in weights.items())


def test_a_run_without_a_step_is_none_yet(prepared, tmp_path):
    """Its checkpoint tells early whether one can be written, and is in nobody's way."""
    run = tmp_path / "run"
    assert train(tiny(), prepared, run, stop=lambda: True).step == 0
    with pytest.raises(InputError, match=r"no step done yet in .*; train"):
        export(run, tmp_path / "x.safetensors", tmp_path / "card.toml")
    with pytest.raises(InputError, match="has no step done yet; train"):
        read_network(run)
    lines: list[str] = []
    assert train(tiny(noise__sd_high=70.0, fit__steps=2), prepared, run, report=lines.append).step == 2
    assert lines[0].startswith("Training ")


CATALOGUE = load_config(
    None,
    {"architecture": "cnn10", **{k: v for k, v in SETTINGS.items() if not k.startswith("network")}},
)
TAUGHT = tiny(distil__teacher=str(MODELS_FOLDER / "fast.safetensors"))
NETWORK = r"another configuration \(architecture, network.widths, network.blocks, network.slices\)"


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        (tiny(), tiny(network__widths=[4, 12]), r"another configuration \(network.widths\)"),
        (tiny(), tiny(noise__sd_high=70.0, fit__seed=3), r"another configuration \(noise.sd_high, fit.seed\)"),
        (tiny(), CATALOGUE, NETWORK),
        (CATALOGUE, tiny(), NETWORK),
        (tiny(), TAUGHT, r"another configuration \(distil.teacher, distil.share\)"),
        (TAUGHT, tiny(), r"another configuration \(distil.teacher, distil.share\)"),
    ],
)
def test_a_run_of_another_configuration_is_not_gone_on_with(prepared, tmp_path, first, then, words):
    train(first, prepared, tmp_path)
    before = (tmp_path / CHECKPOINT_NAME).read_bytes()
    with pytest.raises(InputError, match=words):
        train(then, prepared, tmp_path)
    assert (tmp_path / CHECKPOINT_NAME).read_bytes() == before


def test_a_prepared_folder_that_changed_is_told(prepared, tmp_path):
    copy = shutil.copytree(prepared, tmp_path / "prepared")
    train(tiny(fit__steps=2), copy, tmp_path / "run")
    moved = copy.rename(tmp_path / "moved")
    assert train(tiny(fit__steps=3), moved, tmp_path / "run").step == 3, "another place is no other data"
    path = moved / MANIFEST_NAME
    path.write_text(path.read_text().replace('"created": "2', '"created": "1').replace('"created":"2', '"created":"1'))
    with pytest.raises(InputError, match=r"is not the one that the run in .* began with"):
        train(tiny(fit__steps=4), moved, tmp_path / "run")


def test_stopping_early_needs_validation_slices(prepared, tmp_path):
    copy = shutil.copytree(prepared, tmp_path / "prepared")
    manifest = json.loads((copy / MANIFEST_NAME).read_text())
    manifest["splits"]["validation"] = []
    (copy / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="no validation slices to stop early by"):
        train(tiny(fit__patience=2), copy, tmp_path / "run")


def test_a_value_is_no_section():
    with pytest.raises(InputError, match="batch is a value, not a section"):
        load_config(None, {"data.batch": 8, "data.batch.x": 1})
