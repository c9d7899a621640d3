"""Two commands at once on what they write: the second is refused in a sentence; a killed one is in nobody's way."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from meddenoise.errors import OutputError
from meddenoise.folder_lock import LOCK_NAME, locked
from meddenoise_training.checkpoint import read_checkpoint
from meddenoise_training.cleaned_targets import clean_targets
from meddenoise_training.cli import main
from meddenoise_training.config import load_config
from meddenoise_training.fit import fit
from meddenoise_training.manifest import read_manifest
from meddenoise_training.noise.bank import make_bank
from meddenoise_training.prepare import part_folder, prepare

TINY = {
    **{"network.widths": [4, 8], "network.blocks": 1, "data.patch": 32, "data.batch": 2, "fit.warmup_steps": 1},
    **{"fit.precision": "32-true", "fit.validation_slices": 1, "fit.tensorboard": False, "fit.pictures": 0},
    **{"fit.checkpoint_minutes": 0, "fit.log_every": 1},
}


def test_a_second_fit_is_refused_and_one_that_was_killed_is_gone_on_with(prepared, tmp_path):
    run = tmp_path / "run"
    sets = [word for name, value in TINY.items() for word in ("--set", f"{name}={str(value).lower()}")]
    program = [sys.executable, "-c", "from meddenoise_training.cli import main; main()"]
    command = [*program, "fit", str(prepared), str(run), "--threads", "1", "--steps", "99999", *sets]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        while not first.stdout.readline().startswith("step 3 "):
            assert first.poll() is None
        with pytest.raises(
            OutputError, match=rf"^Another run is at work on {run}; wait until it ends, or take another"
        ):
            fit(load_config(None, {**TINY, "fit.steps": 2}), prepared, run, report=lambda _: None)
        assert first.poll() is None
        first.kill()
    step = read_checkpoint(run)["step"]
    lines: list[str] = []
    fit(load_config(None, {**TINY, "fit.steps": step + 1}), prepared, run, report=lines.append)
    assert lines[0] == f"Going on from step {step} of {step + 1}."


def refused_while(place: Path, work: Callable[[], object], **lock: Path) -> None:
    with (
        locked(place, **lock),
        pytest.raises(OutputError, match=rf"^Another run is at work on {place}; wait until it ends[^;]*\.$"),
    ):
        work()


def test_a_second_preparation_is_refused(archive, tmp_path):
    def work() -> None:
        prepare(archive, tmp_path / "out", slab_mm=5.0, synthetic=0, report=lambda _: None)

    refused_while(tmp_path / "out", work, lock=part_folder(tmp_path / "out") / LOCK_NAME)
    work()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_second_bank_and_second_targets_are_refused(prepared, tmp_path):
    folder = shutil.copytree(prepared, tmp_path / "prepared")
    manifest = read_manifest(folder)
    refused_while(folder / "noise-bank", lambda: make_bank(folder, manifest, views=8))
    lock = folder / "targets" / ".once.lock"
    refused_while(
        folder / "targets" / "once", lambda: clean_targets(folder, manifest, "once", model="fast", threads=1), lock=lock
    )
    with locked(folder / "targets" / "once", lock=lock):
        clean_targets(folder, manifest, "twice", model="fast", threads=1)


@pytest.mark.parametrize(
    ("command", "place", "lock"),
    [
        (["benchmark", "PREPARED", "OUT", "--peers", "none"], "OUT", f"OUT/{LOCK_NAME}"),
        (["tune-peers", "PREPARED", "tuned.json"], "tuned.json", ".tuned.json.lock"),
    ],
    ids=["benchmark", "tune-peers"],
)
def test_a_second_measurement_is_refused(prepared, tmp_path, monkeypatch, capsys, command, place, lock):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "PREPARED").symlink_to(prepared)
    monkeypatch.setattr(sys, "argv", ["meddenoise-train", *command])
    with locked(tmp_path / place, lock=tmp_path / lock), pytest.raises(SystemExit):
        main()
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"Error: Another run is at work on {place}; wait until it ends, or ")
