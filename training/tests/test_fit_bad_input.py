"""Training that cannot go on: one clear sentence, and the last checkpoint as it was."""

from __future__ import annotations

import collections
import json
import re
import resource
import shutil
import signal
import sys

import pytest
import torch

from meddenoise.errors import InputError, OutputError
from meddenoise_training.checkpoint import CHECKPOINT_NAME, read_checkpoint, write_checkpoint
from meddenoise_training.cli.ending import asked_to_stop
from meddenoise_training.config import load_config
from meddenoise_training.fit import fit
from meddenoise_training.manifest import MANIFEST_NAME
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


def test_nan_in_a_patch_stops_before_the_step_and_names_the_slice(prepared):
    state = FitState(tiny(), prepared, Processes().launch("32-true"))
    batch = next(state.batches())
    batch.noisy[1, 0, 3, 5] = float("nan")
    before = {name: tensor.clone() for name, tensor in state.plain.state_dict().items()}
    named = re.escape(f"a patch of training slice {int(batch.slices[1])} (")
    with pytest.raises(InputError, match=f"Step 1 was not taken: {named}.*the last checkpoint is kept"):
        state.train_step(batch)
    assert state.step == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.plain.state_dict().items())


def test_a_run_that_diverges_stops_and_keeps_its_last_checkpoint(prepared, tmp_path):
    config = tiny(fit__optimiser="sgd", fit__learning_rate=1e30, fit__schedule="constant")
    with pytest.raises(InputError, match=r"was not taken: .*holds NaN or infinity.*lower fit\.learning_rate"):
        train(config, prepared, tmp_path)
    saved = read_checkpoint(tmp_path)
    assert saved["step"] >= 1
    assert all(tensor.isfinite().all() for tensor in saved["network"].values())


@pytest.mark.skipif(sys.platform != "linux", reason="file size limits of Linux")
def test_full_disk_at_a_checkpoint_keeps_the_last_one(prepared, tmp_path):
    """The limit on the size of a file stands for the disk: the system refuses to write on in the middle of it."""
    train(tiny(fit__steps=2), prepared, tmp_path)
    whole = (tmp_path / CHECKPOINT_NAME).read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2, before[1]))
    try:
        with pytest.raises(OutputError, match="checkpoint cannot be written"):
            train(tiny(), prepared, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / CHECKPOINT_NAME).read_bytes() == whole
    assert not list(tmp_path.glob(".*")), "nothing half-written is left"
    assert train(tiny(), prepared, tmp_path).step == 6, "the same command goes on when there is room again"


def test_ctrl_c_during_validation_saves_and_goes_on_bit_for_bit(prepared, tmp_path):
    whole = train(tiny(), prepared, tmp_path / "whole")
    seen: list[str] = []

    def interrupt(line: str) -> None:
        if not seen and "RMSE" in line:
            signal.raise_signal(signal.SIGINT)
        seen.append(line)

    with asked_to_stop() as asked:
        part = train(tiny(), prepared, tmp_path / "parts", report=interrupt, stop=lambda: bool(asked))
    assert part.step == 2, "the validation is finished, no step is taken after it"
    resumed = train(tiny(), prepared, tmp_path / "parts")
    for name, tensor in whole.ema.state_dict().items():
        assert torch.equal(tensor, resumed.ema.state_dict()[name]), name


class _Interrupting:
    """What presses Ctrl-C while it is being saved."""

    def __reduce__(self):
        signal.raise_signal(signal.SIGINT)
        return collections.OrderedDict, ()


def test_ctrl_c_while_a_checkpoint_is_written_leaves_it_whole(tmp_path):
    with asked_to_stop() as asked:
        write_checkpoint(tmp_path, {"step": 3, "network": _Interrupting()})
    assert asked == [signal.SIGINT]
    assert read_checkpoint(tmp_path)["step"] == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network__widths": [4, 12]}, r"another configuration \(network.widths\)"),
        ({"noise__sd_high": 70.0, "fit__seed": 3}, r"another configuration \(noise.sd_high, fit.seed\)"),
    ],
)
def test_a_run_of_another_configuration_is_not_gone_on_with(prepared, tmp_path, changes, words):
    train(tiny(fit__steps=2), prepared, tmp_path)
    before = (tmp_path / CHECKPOINT_NAME).read_bytes()
    with pytest.raises(InputError, match=words):
        train(tiny(**changes), prepared, tmp_path)
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
