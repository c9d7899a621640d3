"""Preparing in several processes, stopped and gone on with, on a disk that fills: nothing done is lost or doubled."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from meddenoise.errors import InputError, OutputError
from meddenoise_training import series_files
from meddenoise_training.manifest import Manifest, open_slices, read_manifest
from meddenoise_training.pool import Pool
from meddenoise_training.prepare import part_folder, prepare


def content(folder: Path, manifest: Manifest) -> list[bytes]:
    return [hu.tobytes() for split in manifest.splits for hu in open_slices(folder, split, manifest)]


def silent(_: str) -> None:
    pass


def test_two_processes_give_what_one_gives(archive, tmp_path):
    made = {}
    for workers in (1, 2):
        calls: list[tuple[int, int]] = []
        manifest = prepare(
            *(archive, tmp_path / str(workers)),
            slab_mm=5.0,
            synthetic=10,
            workers=workers,
            report=silent,
            progress=lambda done, total, calls=calls: calls.append((done, total)),
        )
        made[workers] = content(tmp_path / str(workers), manifest)
        assert calls[-1] == (13 + 3 + 3 + 3 + 10 + 1,) * 2
        assert not part_folder(tmp_path / str(workers)).exists()
    assert made[1] == made[2]
    assert len(made[1]) == 9 + 3 + 3 + 3 + 11


def fill_the_disk(monkeypatch, after: int) -> None:
    written = iter(range(100))
    whole = series_files.save_array

    def write(path, slices):
        if next(written) >= after:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        whole(path, slices)

    monkeypatch.setattr(series_files, "save_array", write)


def test_a_full_disk_is_one_sentence_and_what_is_done_is_kept(archive, tmp_path, monkeypatch):
    target = tmp_path / "out"
    with monkeypatch.context() as patch:
        fill_the_disk(patch, after=2)
        with pytest.raises(OutputError, match=r"No space left on device\. What is done is kept in .*; the same"):
            prepare(archive, target, synthetic=0, report=silent)
    assert not target.exists()
    kept = {p.name: p.stat().st_mtime_ns for p in (part_folder(target) / "prepared").rglob("*.npy") if p.name[0] != "."}
    assert len(kept) == 2
    with pytest.raises(InputError, match=r"begun with other settings \(slab-mm, seed\); go on with those, or remove"):
        prepare(archive, target, synthetic=0, slab_mm=3.0, seed=5, report=silent)
    manifest = prepare(archive, target, synthetic=0, report=silent)
    assert {name: next(target.rglob(name)).stat().st_mtime_ns for name in kept} == kept, "not made again"
    prepare(archive, tmp_path / "fresh", synthetic=0, report=silent)
    assert content(target, manifest) == content(tmp_path / "fresh", read_manifest(tmp_path / "fresh"))
    assert sorted(p.name for p in target.iterdir()) == ["manifest.json", "test", "train", "validation"]
    assert not part_folder(target).exists(), "nor the salt"
    assert not list(target.rglob(".*")), "nothing half-written is left"


def test_a_series_that_changed_meanwhile_is_read_again(write_slice, tissue, tmp_path, monkeypatch):
    for split in ("train", "validation"):
        write_slice(tmp_path / f"in/{split}/s/1.dcm", tissue(1, 10), split, f"2.{len(split)}", 0.0)
    with monkeypatch.context() as patch:
        fill_the_disk(patch, after=1)
        with pytest.raises(OutputError):
            prepare(tmp_path / "in", tmp_path / "out", synthetic=0, report=silent)
    write_slice(tmp_path / "in/train/s/2.dcm", tissue(2, 10), "train", "2.5", 20.0)
    manifest = prepare(tmp_path / "in", tmp_path / "out", synthetic=0, report=silent)
    assert [len(entries) for entries in manifest.splits.values()] == [2, 1, 0]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_from_outside_it_ends_with_its_processes_and_goes_on(write_slice, tissue, tmp_path, how):
    for number in range(8):
        for split in ("train", "validation"):
            path = tmp_path / f"in/{split}/{number}/1.dcm"
            write_slice(path, tissue(number, 10), f"{split}{number}", f"2.{len(split)}.{number}", 0.0)
    program = [sys.executable, "-c", "from meddenoise_training.cli import main; main()"]
    process = subprocess.Popen(
        [*program, "prepare", "in", "out", "--workers", "2", "--synthetic", "2000"],
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    records = part_folder(tmp_path / "out") / "records"
    deadline = time.monotonic() + 60
    while not list(records.rglob("[!.]*.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    done = {p.name for p in records.rglob("[!.]*.json")}
    assert done, "something was done"
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # a terminal sends Ctrl-C to all
    else:
        process.send_signal(how)
    out, error = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert ("Stopped; what is done is kept in .out.part" in out) == (how == signal.SIGINT)
    assert "Traceback" not in error
    while time.monotonic() < deadline and alive(process.pid):
        time.sleep(0.05)
    assert not alive(process.pid), "its processes ended too"
    salt = json.loads((records.parent / "begun.json").read_text())["salt"]
    with pytest.raises(InputError, match=r"other settings \(synthetic\)"):
        prepare(tmp_path / "in", tmp_path / "out", synthetic=0, report=silent)
    # Without the 2000 synthetic slices it would have to make: those are no part of what is tested here.
    begun = json.loads((records.parent / "begun.json").read_text())
    begun["settings"]["synthetic"] = 0
    (records.parent / "begun.json").write_text(json.dumps(begun))
    manifest = prepare(tmp_path / "in", tmp_path / "out", synthetic=0, report=silent)
    assert [len(entries) for entries in manifest.splits.values()] == [8, 8, 0]
    assert done - {"synthetic-000.json"} <= {f"{Path(e.file).stem}.json" for es in manifest.splits.values() for e in es}
    assert salt not in "".join(p.read_text("latin1") for p in (tmp_path / "out").rglob("*") if p.is_file())


def work_for_long(folder: Path) -> None:
    (folder / f"begun-{os.getpid()}").touch()
    time.sleep(20)
    (folder / f"done-{os.getpid()}").touch()


def test_ctrl_c_waits_for_no_process(tmp_path):
    def stopped() -> None:
        with Pool(2) as pool:
            results = pool.map(work_for_long, [tmp_path] * 2)
            threading.Thread(target=ctrl_c_when_begun, args=(tmp_path,), daemon=True).start()
            list(results)

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert len(list(tmp_path.glob("begun-*"))) == 2
    assert not list(tmp_path.glob("done-*"))


def ctrl_c_when_begun(folder: Path) -> None:
    while len(list(folder.glob("begun-*"))) < 2:
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)


def alive(session: int) -> list[int]:
    """Return the processes of a session."""
    listed = subprocess.run(["ps", "-eo", "pid=,sid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [int(pid) for pid, sid, stat in rows if int(sid) == session and not stat.startswith("Z")]
