"""The command `meddenoise-train`: the whole way in three commands; one line and exit code 1 when something is wrong."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from meddenoise.weights import read_card
from meddenoise_training.checkpoint import CHECKPOINT_NAME, read_checkpoint
from meddenoise_training.cleaned_targets import TARGETS_FOLDER
from meddenoise_training.cli import main
from meddenoise_training.noise.bank import BANK_FOLDER

TRAINING = Path(__file__).parent.parent
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


def test_the_first_block_of_the_readme_makes_weights_from_dicom(archive, tmp_path, monkeypatch, call):
    """Its lines as typed, with the two copies edited, a small archive for CT, and options that make it quick."""
    quick: dict[str, list[object]] = {
        "prepare": ["--synthetic", 10, "--slab-mm", 5],
        "bank": ["--views", 24],
        "fit": ["--steps", 4, *SMALL],
    }
    monkeypatch.chdir(tmp_path)
    block = (TRAINING / "README.md").read_text(encoding="utf-8").split("```")[1]
    out = {}
    for line in block.splitlines():
        program, *words = shlex.split(line, comments=True) or [""]
        words = [w.replace("training/", f"{TRAINING}/") for w in words]
        if program == "cp":
            shutil.copyfile(*words)
            edit(Path(words[1]), archive)
        elif program == "meddenoise-train":
            words = [str(archive) if w == "CT" else w for w in words]
            code, out[words[0]], error = call(*words, *quick.get(words[0], []))
            assert code == 0, error
    assert "train: 12 slices of 2 patients, 10 synthetic slices" in out["prepare"]
    assert "Warning" not in out["prepare"]
    assert "ct, white: RMSE" in out["fit"]
    last = out["fit"].splitlines()[-1]
    assert last == "Done: 4 steps in RUN; next: meddenoise-train export RUN my.safetensors --card card.toml"
    assert "SHA-256" in out["export"]
    assert read_card(tmp_path / "my.safetensors").name == "mine"
    assert (tmp_path / "my.md").exists()


def edit(copy: Path, archive: Path) -> None:
    """Do what the comments of the block ask for."""
    if copy.name == "sources.toml":
        shutil.copyfile(archive / "sources.toml", copy)
    else:
        copy.write_text(copy.read_text(encoding="utf-8").replace('name = "fast"', 'name = "mine"'), encoding="utf-8")


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
    assert f"The run has {planned} steps already, of {planned} planned; with more `--steps` it goes on.\n" in out
    assert out.splitlines()[-1].startswith(f"Done: {planned} steps in ")


def test_a_network_for_comparison_is_benchmarked_and_its_export_refused_at_once(prepared, tmp_path, call):
    run = tmp_path / "run"
    code, out, error = call("fit", prepared, run, *SMALL, "--set", "architecture=cnn10", "--steps", 3)
    assert code == 0, error
    assert out.endswith(f"Done: 3 steps in {run}; next: meddenoise-train benchmark {prepared} OUT --baseline {run}\n")
    for where, words in ((run, "network for comparison"), (tmp_path, "no checkpoint")):
        code, out, error = call("export", where, tmp_path / "x.safetensors", "--card", "c.toml")
        assert (code, out) == (1, "")
        assert words in error


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
        (["fit", "nowhere", "run", "--config", "nowhere.toml"], "cannot be read: No such file or directory.\n"),
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


def test_slabs_have_no_thickness_below_0(tmp_path, call):
    code, _, error = call("prepare", tmp_path, tmp_path / "out", "--slab-mm", -3)
    assert (code, "--slab-mm" in error) == (2, True)


def press_ctrl_c(*_: object, **__: object) -> None:
    signal.raise_signal(signal.SIGINT)


STOPPED = {
    "prepare CT OUT": ("prepare.prepare", "what is done is kept in .OUT.part beside OUT, and the same command goes on"),
    "bank PREPARED": (
        "noise.bank.make_bank",
        "the noise made so far is kept in PREPARED, and the same",
    ),
    "noise SCAN OUT": ("noise_report.noise_report", "nothing is kept; the same command begins anew"),
    "clean PREPARED once --model fast": ("cleaned_targets.clean_targets", "slices cleaned so far are kept in PREPARED"),
    "fit PREPARED RUN --steps 9": ("config.load_config", "the last checkpoint is kept in RUN, and"),
    "plot RUN": ("plots.plot", "the same command draws all of them"),
    "benchmark PREPARED OUT --peers none": ("benchmark.run.run_benchmark", "what is measured is kept in OUT, and"),
    "tune-peers PREPARED tuned.json": (
        "benchmark.tuning_cases.tuning_cases",
        "what is tuned is kept beside tuned",
    ),
    "export RUN x.safetensors --card c.toml": ("export.export", "nothing is half-written; the same command"),
    "inspect RUN": ("inspection.inspect", "nothing was changed"),
}


#: What is there when some of the work is done.
DONE = {
    "prepare": ".OUT.part/records/train/a.json",
    "bank": f"PREPARED/{BANK_FOLDER}/00000.npy",
    "clean": f"PREPARED/{TARGETS_FOLDER}/.once.part/000000.npy",
    "fit": f"RUN/{CHECKPOINT_NAME}",
    "benchmark": "OUT/parts/white-25--input.json",
    "tune-peers": ".tuned.json.begun",
}


@pytest.mark.parametrize("done", [True, False], ids=["begun", "nothing yet"])
@pytest.mark.parametrize("command", STOPPED)
def test_every_command_says_at_ctrl_c_what_is_kept(command, done, prepared, tmp_path, monkeypatch, call):
    """Ctrl-C in the midst of its work: of the command all is real but what it would work on for long."""
    where, words = STOPPED[command]
    monkeypatch.chdir(tmp_path)
    shutil.copytree(prepared, tmp_path / "PREPARED")
    if (file := DONE.get(command.split()[0])) is not None:
        if done:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).touch()
        else:
            words = "nothing was done yet; the same command begins anew"
    monkeypatch.setattr(f"meddenoise_training.{where}", press_ctrl_c)
    code, out, error = call(*command.split())
    assert (code, error) == (130, "")
    (stopped,) = [text for text in out.splitlines() if text.startswith("Stopped; ")]
    assert words in stopped
