"""The command `meddenoise-train`: the whole way in three commands; one line and exit code 1 when something is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from meddenoise.weights import read_card

CONFIGS = Path(__file__).parent.parent / "configs"
SMALL = ["--set", "data.patch=32", "--set", "data.batch=2", "--set", "fit.warmup_steps=2", "--threads", "1"]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from meddenoise_training.cli import main; main()", *map(str, arguments)]


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False)


def test_from_dicom_to_weights_in_three_commands(archive, tmp_path):
    made = call(
        "prepare",
        archive,
        tmp_path / "prepared",
        "--sources",
        archive / "sources.toml",
        "--synthetic",
        10,
        "--slab-mm",
        5,
    )
    assert made.returncode == 0, made.stderr
    assert "train: 12 slices of 2 patients, 10 synthetic slices" in made.stdout
    config = CONFIGS / "fast.toml"
    trained = call("fit", tmp_path / "prepared", tmp_path / "run", "--config", config, "--steps", 4, *SMALL)
    assert trained.returncode == 0, trained.stderr
    assert "ct, white: RMSE" in trained.stdout
    weights = tmp_path / "fast.safetensors"
    exported = call("export", tmp_path / "run", weights, "--card", CONFIGS / "fast-card.toml")
    assert exported.returncode == 0, exported.stderr
    assert "SHA-256" in exported.stdout
    assert read_card(weights).name == "fast"
    assert weights.with_suffix(".md").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_terminated_run_saves_and_the_same_command_goes_on(prepared, tmp_path):
    arguments = command("fit", prepared, tmp_path / "run", "--steps", 1000000, "--set", "fit.log_every=1", *SMALL)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("step 3 "):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        last = process.stdout.read().splitlines()[-1]
    assert process.returncode == 130
    assert last.startswith("Stopped and saved at step ")
    step = int(last.split()[5])
    resumed = call(*arguments[3:5], tmp_path / "run", "--steps", step + 1, *SMALL, "--set", "fit.log_every=1")
    assert resumed.returncode == 0, resumed.stderr
    assert f"Going on from step {step} of {step + 1}." in resumed.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prepare", "nowhere", "out"], "no folder nowhere"),
        (["prepare", ".", "out", "--split", "1,2"], "three numbers"),
        (["fit", "nowhere", "run", "--steps", "600"], "not a prepared folder"),
        (["fit", "nowhere", "run", "--steps", "1", "--minutes", "1"], "give one of them"),
        (["fit", "nowhere", "run", "--set", "data.batch"], "section.name=value"),
        (["fit", "nowhere", "run", "--config", "nowhere.toml"], "cannot be read"),
        (["export", "nowhere", "out.safetensors", "--card", "nowhere.toml"], "no checkpoint"),
    ],
)
def test_errors_are_one_line(arguments, words, tmp_path, monkeypatch, capsys):
    from meddenoise_training.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["meddenoise-train", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert words in error
    assert len(error.splitlines()) == 1
