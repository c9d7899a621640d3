"""The command `meddenoise-train`: the whole way in three commands; one line and exit code 1 when something is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from meddenoise.weights import read_card
from meddenoise_training.checkpoint import read_checkpoint
from meddenoise_training.cli import main

CONFIGS = Path(__file__).parent.parent / "configs"
SMALL = ["--set", "data.patch=32", "--set", "data.batch=2", "--set", "fit.warmup_steps=2", "--threads", "1"]


@pytest.fixture
def call(monkeypatch, capsys):
    """Return a function that runs the command with arguments and returns its exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["meddenoise-train", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return (caught.value.code, *capsys.readouterr())

    return run


def test_from_dicom_to_weights_in_three_commands(archive, tmp_path, call):
    options = ["--sources", archive / "sources.toml", "--synthetic", 10, "--slab-mm", 5]
    code, out, error = call("prepare", archive, tmp_path / "prepared", *options)
    assert code == 0, error
    assert "train: 12 slices of 2 patients, 10 synthetic slices" in out
    config = CONFIGS / "fast.toml"
    code, out, error = call("fit", tmp_path / "prepared", tmp_path / "run", "--config", config, "--steps", 4, *SMALL)
    assert code == 0, error
    assert "ct, white: RMSE" in out
    weights = tmp_path / "fast.safetensors"
    code, out, error = call("export", tmp_path / "run", weights, "--card", CONFIGS / "fast-card.toml")
    assert code == 0, error
    assert "SHA-256" in out
    assert read_card(weights).name == "fast"
    assert weights.with_suffix(".md").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_terminated_run_saves_and_the_same_command_goes_on(prepared, tmp_path, call):
    fit = ["fit", prepared, tmp_path / "run", "--set", "fit.log_every=1", *SMALL]
    program = [
        sys.executable,
        "-c",
        "from meddenoise_training.cli import main; main()",
        *map(str, fit),
        "--steps",
        "9999",
    ]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("step 3 "):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        last = process.stdout.read().splitlines()[-1]
    assert process.returncode == 130
    assert last.startswith("Stopped and saved at step ")
    step = int(last.split()[5])
    code, out, error = call(*fit, "--steps", step + 1)
    assert code == 0, error
    assert f"Going on from step {step} of {step + 1}." in out


def test_minutes_plan_a_run_and_the_plan_holds_when_it_goes_on(prepared, tmp_path, call):
    fit = ["fit", prepared, tmp_path / "run", *SMALL, "--minutes"]
    code, _, error = call(*fit, 0.02)
    assert code == 0, error
    planned = int(read_checkpoint(tmp_path / "run")["config"]["fit"]["steps"])
    assert planned > 4, "more than the least, twice the warm-up"
    _, out, _ = call(*fit, 0.0001)
    assert f"Going on from step {planned} of {planned}." in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prepare", "nowhere", "out"], "no folder nowhere"),
        (["prepare", ".", "out", "--split", "1,2"], "three numbers"),
        (["fit", "nowhere", "run", "--steps", "600"], "not a prepared folder"),
        (["fit", "nowhere", "run", "--steps", "1", "--minutes", "1"], "give one of them"),
        (["fit", "nowhere", "run", "--accelerator", "cuda:99"], "'cuda:99' is not available here"),
        (["fit", "nowhere", "run", "--accelerator", "cuda", "--minutes", "1"], "'cuda' is not available here"),
        (["fit", "nowhere", "run", "--accelerator", "tpu"], "'tpu' is not a device"),
        (["fit", "nowhere", "run", "--set", "data.batch"], "section.name=value"),
        (["fit", "nowhere", "run", "--config", "nowhere.toml"], "cannot be read"),
        (["export", "nowhere", "out.safetensors", "--card", "nowhere.toml"], "no checkpoint"),
    ],
)
def test_errors_are_one_line(arguments, words, tmp_path, monkeypatch, call):
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("a machine with CUDA")
    monkeypatch.chdir(tmp_path)
    code, _, error = call(*arguments)
    assert code == 1
    assert error.startswith("Error: ")
    assert words in error
    assert len(error.splitlines()) == 1
