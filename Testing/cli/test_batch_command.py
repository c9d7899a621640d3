"""``meddenoise batch`` in a process of its own: killed, interrupted, resumed; its exit codes and what it prints."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner, Result

from meddenoise import Denoiser, read_volume, write_volume
from meddenoise.batch.manifest import MANIFEST_FILE
from meddenoise.cli import app
from meddenoise.volume_files import Volume

SERIES = 16


@pytest.fixture
def options(tiny_weights: Path) -> list[str]:
    return ["--model", str(tiny_weights), "--device", "cpu", "--threads", "1"]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return a folder of volume files, each long enough to be killed in."""
    folder = tmp_path / "archive"
    for number in range(SERIES):
        path = folder / f"p{number % 3}" / f"{number:02}.nrrd"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).normal(0, 25, (24, 64, 64))
        write_volume(path, Volume((np.where(np.arange(64) < 8, -1000, 40) + noise).round().astype(np.int16)))
    return folder


def start(source: Path, options: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "meddenoise.cli", "batch", str(source), str(source.parent / "out"), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def run_here(source: Path, options: list[str]) -> Result:
    return CliRunner().invoke(app, ["batch", str(source), str(source.parent / "out"), *options])


def places_done(out: Path) -> list[str]:
    try:
        text = (out / MANIFEST_FILE).read_text()
    except FileNotFoundError:
        return []
    whole = text[: text.rfind("\n") + 1].splitlines()
    return [line["place"] for line in map(json.loads, whole) if line.get("state") == "done"]


def wait_for_done(process: subprocess.Popen[str], out: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(places_done(out)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def assert_complete(source: Path, model: str) -> None:
    """Check that every input has its result, the denoiser's own, and that nothing else is there."""
    out = source.parent / "out"
    denoiser = Denoiser(model, device="cpu", threads=1)
    inputs = sorted(path.relative_to(source) for path in source.rglob("*.nrrd"))
    for place in inputs:
        expected = denoiser.denoise(read_volume(source / place).array)
        np.testing.assert_array_equal(read_volume(out / place).array, expected)
    beside = {path for path in out.rglob("*") if path.parent != out}
    assert beside == {out / place for place in inputs}


def test_killed_again_and_again_it_loses_nothing_and_shows_nothing_half_written(archive: Path, options: list[str]):
    out = archive.parent / "out"
    for count in (1, 6):
        process = start(archive, options)
        wait_for_done(process, out, count)
        process.kill()
        process.communicate()
        done = places_done(out)
        assert count <= len(done) < SERIES
        visible = [path for path in out.rglob("*.nrrd") if not path.parent.name.startswith(".meddenoise-")]
        assert {out / place for place in done} <= set(visible)
        for path in visible:
            assert read_volume(path).array.shape == (24, 64, 64)
    states = {place: (out / place).stat().st_mtime_ns for place in done}
    result = run_here(archive, [*options, "--json"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["done"], summary["done_before"]) == (SERIES - len(done), len(done))
    assert {place: (out / place).stat().st_mtime_ns for place in done} == states
    assert sorted(places_done(out)) == sorted(set(places_done(out)))
    assert_complete(archive, options[1])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_ends_cleanly_and_goes_on(archive: Path, options: list[str], number: int, code: int):
    out = archive.parent / "out"
    process = start(archive, options)
    wait_for_done(process, out, 2)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "left to do: the same command resumes" in stdout
    assert "Traceback" not in stderr
    assert not list(out.rglob(".meddenoise-*/"))
    assert {str(path.relative_to(out)) for path in out.rglob("*.nrrd")} == set(places_done(out))
    assert run_here(archive, options).exit_code == 0
    assert_complete(archive, options[1])


def test_exit_code_and_list_tell_what_failed(small_archive: Path, options: list[str]):
    (small_archive / "a" / "broken.nrrd").write_bytes(b"NRRD0004\n")
    result = run_here(small_archive, options)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0].startswith(f"{small_archive.parent / 'out'}: 6 series (24 slices) done in")
    assert ", 1 failed." in result.stdout
    last = result.stderr.splitlines()[-1]
    assert last.startswith("failed: a/broken.nrrd: broken.nrrd cannot be read")
    assert " a/1.nii.gz done" in result.stderr

    again = run_here(small_archive, [*options, "--quiet"])
    assert (again.exit_code, again.stdout, again.stderr) == (1, "", last + "\n")
    (small_archive / "a" / "broken.nrrd").unlink()
    assert run_here(small_archive, options).exit_code == 0


def test_what_is_skipped_or_damaged_is_named(small_archive: Path, options: list[str]):
    labels = np.zeros((4, 64, 64), np.uint8)
    labels[:, 20:40, 20:40] = 1
    write_volume(small_archive / "a" / "labels.nrrd", Volume(labels))
    result = run_here(small_archive, options)
    last = result.stderr.splitlines()[-1]
    assert (result.exit_code, last.startswith("skipped: a/labels.nrrd: "), " is refused: " in last) == (0, True, True)
    assert run_here(small_archive, [*options, "--quiet"]).stderr == ""

    slices = sorted((small_archive / "b").glob("*.dcm"))
    slices[0].write_bytes(slices[0].read_bytes()[:300])
    for path in slices[4:]:
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID = ""
        dataset.save_as(path)
    (small_archive / "empty.nrrd").write_bytes(b"")
    for count in (1, 0):
        result = run_here(small_archive, options)
        assert (result.exit_code, "3 failed" in result.stdout) == (1, True)
        failed = [line for line in result.stderr.splitlines() if line.startswith("failed: b/")]
        assert [line.split(": ", 2)[2] for line in failed] == [
            "Its files have no valid SeriesInstanceUID.",
            "This DICOM file is damaged and was left out, so that its series may lack slices; get the file again.",
        ]
        assert failed[1].startswith(f"failed: b/{slices[0].name}: ")
        assert result.stderr.count("failed: Its files have no valid SeriesInstanceUID.\n") == count


def test_what_leaves_the_domain_is_warned_of(small_archive: Path, options: list[str]):
    unsigned = read_volume(small_archive / "3.nrrd")
    unsigned.array = (unsigned.array + 1400).astype(np.uint16)
    write_volume(small_archive / "unsigned.nrrd", unsigned)
    result = run_here(small_archive, [*options, "--quiet"])
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: unsigned.nrrd: None of its values is below 0")
    assert len(result.stderr.splitlines()) == 1
    again = run_here(small_archive, [*options, "--json"])
    assert json.loads(again.stdout)["warned"] == {}  # of this run alone
    (small_archive.parent / "out" / "unsigned.nrrd").unlink()
    result = run_here(small_archive, options)
    assert "1 series (4 slices) done in" in result.stdout
    assert ", 1 of them with warnings, 6 done before." in result.stdout


@pytest.mark.parametrize("where", [[], ["--workers", "1"]])
def test_what_was_remarked_on_an_input_is_kept_when_it_fails(tmp_path: Path, options: list[str], where: list[str]):
    if where:
        pytest.importorskip("distributed")
    noise = np.random.default_rng(0).normal(0, 25, (4, 64, 64))
    unsigned = Volume((np.where(np.arange(64) < 8, 400, 1440) + noise).round().astype(np.uint16))
    (tmp_path / "archive" / "a").mkdir(parents=True)
    write_volume(tmp_path / "archive" / "a" / "unsigned.nrrd", unsigned)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("in the way")
    result = run_here(tmp_path / "archive", [*options, *where])
    assert result.exit_code == 1
    warning, failure = result.stderr.splitlines()[-2:]
    assert warning.startswith("warning: a/unsigned.nrrd: None of its values is below 0")
    assert failure.startswith("failed: a/unsigned.nrrd: ")
    assert "with warnings" not in result.stdout
    again = json.loads(run_here(tmp_path / "archive", [*options, "--json"]).stdout)  # from the manifest
    assert f"warning: a/unsigned.nrrd: {again['warned']['a/unsigned.nrrd'][0]}" == warning


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no file names but Unicode ones")
def test_file_names_of_another_age_and_links_to_nowhere_stop_nothing(small_archive: Path, options: list[str]):
    strange = os.fsdecode(os.fsencode(small_archive / "a") + b"/M\xfcller.nrrd")
    (small_archive / "3.nrrd").rename(strange)
    (small_archive / "dead.nrrd").symlink_to(small_archive / "nowhere")
    command = [sys.executable, "-m", "meddenoise.cli", "batch", str(small_archive), str(small_archive.parent / "out")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8:strict"}
    for count in ("5 series (20 slices) done", "5 done before"):
        result = subprocess.run([*command, *options], capture_output=True, text=True, env=environment, check=False)
        assert (result.returncode, count in result.stdout, ", 2 failed" in result.stdout) == (1, True, True)
        assert "failed: dead.nrrd: There is no file" in result.stderr
        assert r"failed: a/M\udcfcller.nrrd: The name " in result.stderr
        assert "Traceback" not in result.stderr
    values = json.loads(subprocess.run([*command, *options, "--json"], capture_output=True, env=environment).stdout)
    assert sorted(values["failed"]) == ["a/M\udcfcller.nrrd", "dead.nrrd"]


def test_two_at_once_on_one_output_are_refused(archive: Path, options: list[str]):
    process = start(archive, options)
    try:
        wait_for_done(process, archive.parent / "out", 1)
        result = run_here(archive, options)
    finally:
        process.kill()
        process.communicate()
    assert result.exit_code == 1
    assert "error: Another run is at work on" in result.stderr


def test_other_settings_and_options_that_exclude_each_other_are_refused(small_archive: Path, options: list[str]):
    assert run_here(small_archive, options).exit_code == 0
    result = run_here(small_archive, [*options, "--strength", "0.5"])
    assert result.exit_code == 1
    assert "begun with other settings: strength 1.0 (now 0.5)" in result.stderr
    assert run_here(small_archive, ["--workers", "2", "--scheduler", "tcp://127.0.0.1:9"]).exit_code == 2


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_bars_on_a_terminal(small_archive: Path, options: list[str]):
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "meddenoise.cli", "batch", str(small_archive), str(small_archive.parent / "out")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=slave, env=environment)
    os.close(slave)
    shown = b""
    while True:
        try:
            block = os.read(master, 4096)
        except OSError:  # EIO: the other side is closed
            break
        if not block:
            break
        shown += block
    os.close(master)
    assert process.wait() == 0
    process.communicate()
    assert b"series" in shown
    assert b"6/6" in shown
    assert b"4/4" in shown
