"""Files are whole or not there: what fails half-way leaves the old one, nothing beside it, and its reason."""

from __future__ import annotations

import ast
import errno
from pathlib import Path

import numpy as np
import pytest
import torch

import meddenoise_training
from meddenoise.errors import OutputError
from meddenoise.folder_lock import LOCK_NAME
from meddenoise_training.checkpoint import CHECKPOINT_NAME, write_checkpoint
from meddenoise_training.export import _write_text
from meddenoise_training.logs import LOG_NAME, Logs, read_log
from meddenoise_training.prepare import part_folder, prepare
from meddenoise_training.whole_file import save_array, whole_file


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def write(path: Path, text: str, failure: BaseException) -> None:
    with whole_file(path) as beside:
        beside.write_text(text)
        raise failure


def write_slices(path: Path) -> None:
    with whole_file(path) as beside:
        save_array(beside, np.zeros((1, 300, 300), np.int16))


def write_tensor(path: Path) -> None:
    with whole_file(path) as beside:
        beside.symlink_to("/dev/full")
        torch.save({"a": torch.zeros(100_000)}, beside)


def test_it_is_not_there_before_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    (tmp_path / ".a.txt.part").write_text("half, by a killed process, and longer")
    with whole_file(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("failure", "raised", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OSError, "No space left on device"),
        (OSError("512 requested and 0 written"), OSError, "512 requested and 0 written"),
        (RuntimeError("inline_container.cc: file write failed"), OSError, "file write failed"),
        (KeyboardInterrupt(), KeyboardInterrupt, ""),
        (ValueError("no such shape"), ValueError, "no such shape"),
    ],
    ids=["system", "numpy", "torch", "Ctrl-C", "bug"],
)
def test_a_failure_leaves_the_old_file_and_nothing_beside(tmp_path, failure, raised, words):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(raised) as caught:
        write(path, "half", failure)
    assert words in (getattr(caught.value, "strerror", None) or str(caught.value))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_the_writers_of_a_full_disk_leave_nothing_half_written(tmp_path):
    """What each writes beside is a full disk."""
    for name in ("slices.npy", "card.md", LOG_NAME, CHECKPOINT_NAME):
        (tmp_path / f".{name}.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"slices\.npy"):
        write_slices(tmp_path / "slices.npy")
    with pytest.raises(OutputError, match=r"card cannot be written .*: No space left on device"):
        _write_text(tmp_path / "card.md", "x")
    with pytest.raises(OutputError, match=r"No space left on device; make room|the disk is full|\d MB are free"):
        write_checkpoint(tmp_path, {"step": 1})
    logs = Logs(tmp_path, 0, tensorboard=False)
    for step in (1, 2):
        logs.training(step, {"loss": 0.5})
    with pytest.raises(OutputError, match="No space left on device; the last checkpoint is kept"):
        Logs(tmp_path, 1, tensorboard=False)
    assert [row["step"] for row in read_log(tmp_path / LOG_NAME)] == ["1", "2"]
    assert names(tmp_path) == [LOG_NAME]
    with pytest.raises(OSError, match="weights"):
        write_tensor(tmp_path / "weights")
    assert names(tmp_path) == [LOG_NAME]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_preparation_that_could_not_begin_begins_when_there_is_room(archive, tmp_path):
    target = tmp_path / "out"
    part = part_folder(target)
    part.mkdir()
    (part / ".begun.json.part").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"cannot be written to .*out: No space left on device"):
        prepare(archive, target, slab_mm=5.0, synthetic=0, report=lambda _: None)
    assert [path.name for path in part.rglob("*") if path.is_file() or path.is_symlink()] == [LOCK_NAME]
    assert prepare(archive, target, slab_mm=5.0, synthetic=0, report=lambda _: None).splits["train"]
    assert names(tmp_path) == ["out"]


def test_nothing_else_renames_what_it_wrote():
    """Of all `replace` that there are, a path's alone has one argument and no names."""
    package = Path(meddenoise_training.__file__).parent
    renaming = [
        path.name
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "replace"
        and (len(node.args), len(node.keywords)) == (1, 0)
    ]
    assert renaming == ["whole_file.py"]
