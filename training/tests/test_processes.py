"""Several processes: the same weights as one with the whole batch; one writer; clear refusals."""

from __future__ import annotations

import csv
import os
import subprocess
import sys

import pytest
import torch

from meddenoise.errors import InputError
from meddenoise_training.checkpoint import read_checkpoint
from meddenoise_training.config import load_config
from meddenoise_training.fit import fit
from meddenoise_training.logs import LOG_NAME
from meddenoise_training.processes import Processes

SETTINGS = {
    **{"data.patch": 32, "data.batch": 4, "fit.steps": 6, "fit.warmup_steps": 2, "fit.precision": "32-true"},
    **{"fit.ema_decay": 0.9, "fit.log_every": 1, "fit.validation_slices": 1, "fit.tensorboard": False},
}


@pytest.mark.skipif(sys.platform != "linux", reason="gloo of torch for Linux")
def test_two_processes_give_the_weights_of_one_with_twice_the_batch(prepared, tmp_path):
    """Two of 2 patches and one of 4, equal up to the order in which float32 sums the gradients of patches.

    Each step's update is about the learning rate, 2e-3, whatever the gradient: other patches or a missing average of
    gradients change weights by 1e-3; the order of sums changed them by 3e-7.
    """
    fit(load_config(None, SETTINGS), prepared, tmp_path / "one", report=lambda _: None)
    options = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={str(value).lower()}")]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    program = [sys.executable, "-c", "from meddenoise_training.cli import main; main()"]
    command = [*torchrun, *program, "fit", str(prepared), str(tmp_path / "two"), "--threads", "1", *options]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step 6 of 6") == 1, "the first process alone reports"
    one, two = (read_checkpoint(tmp_path / name) for name in ("one", "two"))
    assert one["step"] == two["step"] == 6
    for part in ("network", "ema"):
        for name, values in one[part].items():
            torch.testing.assert_close(two[part][name], values, rtol=0, atol=1e-5, msg=f"{part} {name}")
    logs = []
    for name in ("one", "two"):
        with (tmp_path / name / LOG_NAME).open() as file:
            logs.append([[float(row[k]) for k in ("step", "loss", "gradient_norm")] for row in csv.DictReader(file)])
    assert len(logs[0]) == 6
    torch.testing.assert_close(torch.tensor(logs[1]), torch.tensor(logs[0]), rtol=1e-3, atol=0)


def test_what_does_not_fit_is_refused_in_a_sentence(prepared, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="16-mixed needs an NVIDIA GPU"):
        Processes().launch("16-mixed")
    monkeypatch.setattr("meddenoise_training.processes.choose_device", lambda name: name)
    with pytest.raises(InputError, match="'cuda:1' is one device; name 'cuda' for several"):
        Processes("cuda:1", devices=2).launch("32-true")
    for name, value in {"LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "4", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(InputError, match="2 processes on each of 2 machines were started, not 3 on 2"):
        Processes(devices=3).launch("32-true")
