"""Several processes: the same weights as one with the whole batch; one writer; clear refusals."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from meddenoise.errors import InputError
from meddenoise_training.checkpoint import read_checkpoint
from meddenoise_training.config import load_config
from meddenoise_training.fit import fit
from meddenoise_training.logs import LOG_NAME
from meddenoise_training.manifest import read_manifest
from meddenoise_training.noise.bank import Bank, make_bank
from meddenoise_training.processes import Processes
from meddenoise_training.samples import Samples

SETTINGS = {
    **{"data.patch": 32, "data.batch": 4, "fit.steps": 6, "fit.warmup_steps": 2, "fit.precision": "32-true"},
    **{"fit.ema_decay": 0.9, "fit.log_every": 1, "fit.validation_slices": 1, "fit.tensorboard": False},
}


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--no-python"]
PROGRAM = [sys.executable, "-c", "from meddenoise_training.cli import main; main()"]


def torchrun_starts(fit_command: list[str]) -> list[subprocess.Popen[str]]:
    """Two processes of one machine."""
    return [started([*TORCHRUN, "--standalone", "--nproc-per-node", "2", *fit_command])]


def torchrun_starts_on_two_machines(fit_command: list[str]) -> list[subprocess.Popen[str]]:
    """One process of each, which find each other at an address, here both on this one."""
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{free_port()}", "--local-addr", "localhost"]
    return [started([*TORCHRUN, "--nnodes", "2", "--nproc-per-node", "1", *meeting, *fit_command]) for _ in range(2)]


def slurm_starts_on_two_machines(fit_command: list[str]) -> list[subprocess.Popen[str]]:
    """One task of each, as `srun` starts them: it sets these variables and runs the command."""
    port = free_port(15000, 24999)  # made of the job's number by Fabric
    job = {"SLURM_JOB_ID": str(port - 15000), "SLURM_JOB_NAME": "job.sh", "SLURM_NODELIST": "localhost,elsewhere"}
    job |= {"SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_LOCALID": "0"}
    return [
        started(fit_command, {**job, "SLURM_PROCID": str(number), "SLURM_NODEID": str(number)}) for number in range(2)
    ]


def started(command: list[str], variables: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(variables or {})}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def free_port(first: int = 0, last: int = 0) -> int:
    """Return a port that nobody listens at: any, or one of a range."""
    for port in range(first, last + 1):
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("localhost", port))
            return int(tried.getsockname()[1])
    raise AssertionError("no port is free")


@pytest.fixture(scope="module")
def one_process(prepared, tmp_path_factory):
    """The run of one process with the whole batch."""
    run = tmp_path_factory.mktemp("one")
    fit(load_config(None, SETTINGS), prepared, run, report=lambda _: None)
    return run


@pytest.mark.skipif(sys.platform != "linux", reason="gloo of torch for Linux")
@pytest.mark.parametrize("start", [torchrun_starts, torchrun_starts_on_two_machines, slurm_starts_on_two_machines])
def test_two_processes_give_the_weights_of_one_with_twice_the_batch(prepared, one_process, tmp_path, start):
    """Two of 2 patches and one of 4, equal up to the order in which float32 sums the gradients of patches.

    Each step's update is about the learning rate, 2e-3, whatever the gradient: other patches or a missing average of
    gradients change weights by 1e-3; the order of sums changed them by 3e-7.
    """
    options = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={str(value).lower()}")]
    processes = start([*PROGRAM, "fit", str(prepared), str(tmp_path / "two"), "--threads", "1", *options])
    said = [process.communicate(timeout=300) for process in processes]
    assert not any(process.returncode for process in processes), said
    output = "".join(stdout for stdout, _ in said)
    assert output.count("step 6 of 6") == 1, "the first process alone reports"
    runs = (one_process, tmp_path / "two")
    one, two = (read_checkpoint(run) for run in runs)
    assert one["step"] == two["step"] == 6
    for part in ("network", "ema"):
        for name, values in one[part].items():
            torch.testing.assert_close(two[part][name], values, rtol=0, atol=1e-5, msg=f"{part} {name}")
    logs = []
    for run in runs:
        with (run / LOG_NAME).open() as file:
            logs.append([[float(row[k]) for k in ("step", "loss", "gradient_norm")] for row in csv.DictReader(file)])
    assert len(logs[0]) == 6
    torch.testing.assert_close(torch.tensor(logs[1]), torch.tensor(logs[0]), rtol=1e-3, atol=0)


@pytest.mark.skipif(sys.platform != "linux", reason="gloo of torch for Linux")
def test_a_bank_damaged_for_one_process_is_named_by_all(prepared, tmp_path):
    """Its NaN reaches the gradients of both: the other one must not tell of a divergence, and the run is saved."""
    folder = shutil.copytree(prepared, tmp_path / "prepared")
    make_bank(folder, read_manifest(folder), views=8)
    settings = {**SETTINGS, "noise.projection_share": 1.0}
    samples = Samples(folder, load_config(None, settings))
    drawn = [[samples.drawn(step, place).patch.slice for place in range(4)] for step in range(6)]
    step, index = next(
        (step, slices[3])
        for step, slices in enumerate(drawn)
        if step > 0 and slices[3] not in {*slices[:3], *(i for before in drawn[:step] for i in before)}
    )
    noise, _ = Bank(folder, read_manifest(folder)).slice(index, 0)
    damaged = np.load(noise.filename, mmap_mode="r+")
    record = json.loads(Path(noise.filename).with_suffix(".json").read_text("utf-8"))
    damaged[:, record["slices"].index(index)] = np.nan
    damaged.flush()
    options = [part for name, value in settings.items() for part in ("--set", f"{name}={str(value).lower()}")]
    run = tmp_path / "run"
    (process,) = torchrun_starts([*PROGRAM, "fit", str(folder), str(run), "--threads", "1", *options])
    output, errors = process.communicate(timeout=300)
    assert process.returncode != 0, output
    told = {line for line in errors.splitlines() if line.startswith("Error: ")}
    assert len(told) == 1, errors
    (line,) = told
    assert f"Step {step + 1} was not taken, as the noise bank holds NaN or infinity in {noise.filename};" in line
    assert f"Step {step} is saved" in line
    assert read_checkpoint(run)["step"] == step


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
