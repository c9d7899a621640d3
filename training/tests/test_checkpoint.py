"""The checkpoint on disk: whole or the last one, on a full disk, too, and at Ctrl-C; what is none is told in a line."""

from __future__ import annotations

import collections
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from meddenoise.catalogue import find_model
from meddenoise.errors import InputError, OutputError, WeightsError
from meddenoise.weights import load_network, read_card, save_weights
from meddenoise_training.benchmark.store import write_beside
from meddenoise_training.checkpoint import CHECKPOINT_NAME, read_checkpoint, write_checkpoint
from meddenoise_training.cli import main
from meddenoise_training.cli.ending import asked_to_stop
from meddenoise_training.config import load_config
from meddenoise_training.fit import fit
from meddenoise_training.manifest import read_manifest
from meddenoise_training.noise.bank import BANK_FOLDER, make_bank
from meddenoise_training.prepare import part_folder, prepare

TINY = {
    **{"network.widths": [4, 8], "network.blocks": 1, "data.patch": 32, "data.batch": 2, "fit.warmup_steps": 1},
    **{"fit.precision": "32-true", "fit.validation_slices": 1, "fit.tensorboard": False, "fit.pictures": 0},
    **{"fit.checkpoint_minutes": 0},
}


def train(prepared, run, steps):
    return fit(load_config(None, {**TINY, "fit.steps": steps}), prepared, run, report=lambda _: None)


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "run"
    train(prepared, folder, 2)
    return folder


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """Return a file system of 400 kB; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    (disk / "other").write_bytes(bytes(shutil.disk_usage(disk).free - 20_000))


def test_a_disk_that_fills_is_named_and_the_last_checkpoint_kept(run, small_disk):
    saved = read_checkpoint(run)
    whole = (run / CHECKPOINT_NAME).read_bytes()
    (small_disk / CHECKPOINT_NAME).write_bytes(whole)
    (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free - len(whole) // 2))
    with pytest.raises(
        OutputError, match=r"the disk is full, [\d.]+ MB are free; the last checkpoint is kept; make room"
    ):
        write_checkpoint(small_disk, saved)
    assert (small_disk / CHECKPOINT_NAME).read_bytes() == whole
    assert not list(small_disk.glob(".*")), "nothing half-written is left"
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OutputError, match=r"Read-only file system; the last checkpoint is kept; mend that, and give"):
        write_checkpoint(small_disk, saved)


def test_a_run_that_cannot_be_written_is_told_before_its_first_step(run, prepared, small_disk):
    """Not after the minutes until the first checkpoint; and room is named only where it is what is missing."""
    config, steps = load_config(None, {**TINY, "fit.steps": 2}), list[int]()

    def begin(folder: Path) -> None:
        fit(config, prepared, folder, report=lambda _: None, progress=lambda step, _: steps.append(step))

    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OutputError, match=rf"^{small_disk}/run cannot be written to \(Read-only file system\); choose"):
        begin(small_disk / "run")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free - 9000))
    with pytest.raises(OutputError, match=r"^The checkpoint .*the disk is full, [\d.]+ MB are free; make room, "):
        begin(small_disk / "run")
    assert steps == []


def test_a_disk_that_fills_while_preparing_is_named(archive, small_disk):
    target = small_disk / "out"
    with pytest.raises(
        OutputError, match=r"the disk is full, [\d.]+ MB are free\. What is done is kept in .*; the same"
    ):
        prepare(archive, target, slab_mm=5.0, synthetic=36, report=lambda _: None)
    assert list(part_folder(target).rglob("*.npy"))
    assert not target.exists()


def test_a_disk_that_fills_with_pictures_is_named(archive, tmp_path, small_disk):
    fill(small_disk)
    with pytest.raises(
        OutputError, match=rf"^The pictures .* to {small_disk}/png: the disk is full, [\d.]+ MB are free\. What is done"
    ):
        prepare(archive, tmp_path / "out", synthetic=0, png=small_disk / "png", report=lambda _: None)
    (small_disk / "other").unlink()
    prepare(archive, tmp_path / "out", synthetic=0, png=small_disk / "png", report=lambda _: None)
    assert list((small_disk / "png").rglob("*.png"))


def test_a_bank_on_a_disk_that_fills_says_that_it_goes_on(prepared, small_disk):
    fill(small_disk)
    copy = small_disk / "copy"
    copy.mkdir()
    for path in prepared.iterdir():
        if path.name != BANK_FOLDER:
            (copy / path.name).symlink_to(path)
    with pytest.raises(OutputError, match=r"^The noise bank .*\. What is done is kept; the same command goes on\.$"):
        make_bank(copy, read_manifest(prepared), views=8)


def test_a_figure_of_the_benchmark_on_a_full_disk_says_that_it_goes_on(small_disk):
    fill(small_disk)
    with pytest.raises(OutputError, match=r"No space left on device\. What is done is kept; the same command goes on"):
        write_beside(small_disk / "x.json", lambda path: path.write_bytes(bytes(100_000)))


def test_weights_on_a_full_disk_are_told_in_the_systems_words(small_disk):
    fill(small_disk)
    path = find_model("fast").path
    with pytest.raises(OutputError, match=r"^The weights cannot be written to .*: No space left on device\.$"):
        save_weights(small_disk / "x.safetensors", load_network(path).network, read_card(path))


@pytest.mark.skipif(sys.platform != "linux", reason="file size limits of Linux")
def test_torch_that_keeps_the_reason_to_itself_is_asked_about_the_disk(prepared, tmp_path):
    """The limit on the size of a file stands for a quota: the system refuses to write on in the middle of it."""
    train(prepared, tmp_path, 2)
    whole = (tmp_path / CHECKPOINT_NAME).read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2, before[1]))
    try:
        with pytest.raises(OutputError, match=r"[\d.]+ MB are free, perhaps a quota is used up[;.]"):
            train(prepared, tmp_path, 6)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / CHECKPOINT_NAME).read_bytes() == whole
    assert not list(tmp_path.glob(".*.part")), "nothing half-written is left"
    assert train(prepared, tmp_path, 6).step == 6, "the same command goes on when there is room again"


class _Interrupting:
    """What presses Ctrl-C while it is being saved."""

    def __reduce__(self):
        signal.raise_signal(signal.SIGINT)
        return collections.OrderedDict, ()


def test_ctrl_c_while_a_checkpoint_is_written_leaves_it_whole(run, tmp_path):
    with asked_to_stop() as asked:
        write_checkpoint(tmp_path, {**read_checkpoint(run), "step": 3, "schedule": _Interrupting()})
    assert asked == [signal.SIGINT]
    assert read_checkpoint(tmp_path)["step"] == 3


def test_damaged_checkpoints_are_named_in_a_line(run, tmp_path):
    assert read_checkpoint(tmp_path) is None
    whole = (run / CHECKPOINT_NAME).read_bytes()
    for body in (b"", b"not a checkpoint", b"\x80\x02.", whole[: len(whole) // 2]):
        (tmp_path / CHECKPOINT_NAME).write_bytes(body)
        with pytest.raises(InputError, match=r"cannot be read, it is damaged or something else; remove it") as caught:
            read_checkpoint(tmp_path)
        assert "\n" not in str(caught.value)


def without(saved, name):
    return {key: value for key, value in saved.items() if key != name}


FOREIGN = {
    "a list": lambda saved: [1, 2],
    "no optimizer": lambda saved: without(saved, "optimizer"),
    "no config": lambda saved: without(saved, "config"),
    "no planned steps": lambda saved: {**saved, "config": without(saved["config"], "fit")},
    "no tensors": lambda saved: {**saved, "ema": {"module.exit.weight": 1}},
    "a best of nothing": lambda saved: {**saved, "best": {"step": 2}},
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("command", ["fit", "fit --minutes", "inspect", "export", "benchmark"])
def test_a_foreign_checkpoint_is_one_line_everywhere(run, prepared, tmp_path, monkeypatch, capsys, kind, command):
    (tmp_path / "run").mkdir()
    torch.save(FOREIGN[kind](read_checkpoint(run)), tmp_path / "run" / CHECKPOINT_NAME)
    there = str(tmp_path / "run")
    sets = [word for name, value in TINY.items() for word in ("--set", f"{name}={str(value).lower()}")]
    arguments = {
        "fit": ["fit", str(prepared), there, *sets],
        "fit --minutes": ["fit", str(prepared), there, *sets, "--minutes", "1"],
        "inspect": ["inspect", there],
        "export": ["export", there, str(tmp_path / "x.safetensors"), "--card", "nowhere.toml"],
        "benchmark": ["benchmark", str(prepared), str(tmp_path / "out"), "--peers", "none", "--baseline", there],
    }[command]
    monkeypatch.setattr(sys, "argv", ["meddenoise-train", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    error = capsys.readouterr().err
    assert "is not a checkpoint of `meddenoise-train fit` that this version knows" in error
    assert len(error.splitlines()) == 1


def test_a_checkpoint_with_parts_of_another_network_is_named(run, prepared, tmp_path):
    saved = read_checkpoint(run)
    for name, part in (("network", {"a": torch.zeros(1)}), ("optimizer", {"state": {}})):
        write_checkpoint(tmp_path, {**saved, name: part})
        with pytest.raises(
            InputError, match=r"The checkpoint in .* is damaged: its parts do not fit its configuration"
        ):
            train(prepared, tmp_path, 2)


def test_a_run_given_for_a_model_is_to_be_exported_first(run):
    with pytest.raises(
        WeightsError, match=rf"^{run} is the folder of a training run; .*meddenoise-train export {run} "
    ):
        find_model(run)
