"""A batch in this process: all of it done, once, right; whatever is wrong with some of it."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import meddenoise
from meddenoise import Denoiser, read_volume, write_volume
from meddenoise.batch import Summary, run_batch
from meddenoise.batch.inventory import Entry
from meddenoise.batch.manifest import MANIFEST_FILE
from meddenoise.batch.outcome import Outcome
from meddenoise.batch.pipeline import run_here
from meddenoise.catalogue import default_model
from meddenoise.devices import import_torch
from meddenoise.errors import DeviceError, InputError, InputWarning, WeightsError
from meddenoise.processing import Settings
from meddenoise.remarks import collected_remarks, remark, silenced
from meddenoise.volume_files import Volume


class Recorder:
    """Keeps what a batch tells; calls a function at each end of a series."""

    def __init__(self, at_end: Any = None, at_slice: Any = None) -> None:
        self.ended: list[tuple[str, str]] = []
        self.reports: dict[str, dict[str, Any]] = {}
        self.slice_counts: list[tuple[str, int, int]] = []
        self._at_end, self._at_slice = at_end, at_slice

    def begins(self, series: int) -> None:
        self.series = series

    def slices(self, entry: Entry, done: int, total: int) -> None:
        self.slice_counts.append((entry.place, done, total))
        if self._at_slice:
            self._at_slice()

    def ends(self, entry: Entry, outcome: Outcome) -> None:
        self.ended.append((entry.place, outcome.state))
        self.reports[entry.place] = outcome.report or {}
        if self._at_end:
            self._at_end()


@pytest.fixture
def settings(tiny_weights: Path) -> Settings:
    return Settings(model=str(tiny_weights), device="cpu", threads=1)


def batch(source: Path, settings: Settings, recorder: Recorder | None = None, **options: Any) -> Summary:
    options = {"stop": threading.Event(), "watcher": recorder or Recorder(), **options}
    return run_batch(source, source.parent / "out", settings, run_here, **options)


def assert_results(source: Path, expected: dict[str, np.ndarray]) -> None:
    """Check that exactly these results are visible, and what is in them."""
    out = source.parent / "out"
    for place, array in expected.items():
        np.testing.assert_array_equal(read_volume(out / place).array, array)
    visible = {path for path in out.rglob("*") if path.is_file() and path.parent != out}
    of_series = {path for place in expected if (out / place).is_dir() for path in (out / place).iterdir()}
    assert visible == of_series | {out / place for place in expected if "/" in place and (out / place).is_file()}


def test_all_is_denoised_and_a_second_run_does_nothing(
    small_archive: Path, settings: Settings, denoised_archive: dict[str, np.ndarray]
):
    recorder = Recorder()
    summary = batch(small_archive, settings, recorder)
    assert summary == Summary(done=6, slices=24)
    assert sorted(recorder.ended) == [(place, "done") for place in sorted(denoised_archive)]
    assert recorder.series == 6
    assert recorder.slice_counts == [(place, k, 4) for place in denoised_archive for k in (1, 2, 3, 4)]
    assert_results(small_archive, denoised_archive)
    report = recorder.reports["a/0.nrrd"]
    assert (report["slices"], report["strength"]) == (4, 1.0)
    assert 20 < report["noise_before"] < 30

    out = small_archive.parent / "out"
    states = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != MANIFEST_FILE}
    again = Recorder()
    assert batch(small_archive, settings, again) == Summary(done_before=6)
    assert again.ended == []
    assert {path: path.stat().st_mtime_ns for path in states} == states


def test_damaged_inputs_stop_nothing(small_archive: Path, settings: Settings, denoised_archive: dict[str, np.ndarray]):
    (small_archive / "a" / "broken.nrrd").write_bytes(b"NRRD0004\n")
    labels = np.zeros((4, 64, 64), np.uint8)
    labels[:, 20:40, 20:40] = 1
    write_volume(small_archive / "a" / "labels.nrrd", Volume(labels))
    victim = small_archive / "b" / "series1-2.dcm"
    victim.write_bytes(victim.read_bytes()[:-300])
    series = next(place for place in denoised_archive if place.startswith("b/1-"))
    summary = batch(small_archive, settings)
    assert (summary.done, set(summary.failed), set(summary.skipped)) == (
        5,
        {"a/broken.nrrd", series},
        {"a/labels.nrrd"},
    )
    assert "series1-2.dcm" in summary.failed[series]
    assert_results(small_archive, {place: a for place, a in denoised_archive.items() if place != series})
    assert batch(small_archive, settings) == Summary(done_before=5, failed=summary.failed, skipped=summary.skipped)


def test_failed_ones_are_tried_again_when_asked_or_changed(small_archive: Path, settings: Settings):
    broken, good = small_archive / "a" / "broken.nrrd", (small_archive / "3.nrrd").read_bytes()
    broken.write_bytes(b"NRRD0004\n")
    assert set(batch(small_archive, settings).failed) == {"a/broken.nrrd"}
    recorder = Recorder()
    assert set(batch(small_archive, settings, recorder, retry_failed=True).failed) == {"a/broken.nrrd"}
    assert recorder.ended == [("a/broken.nrrd", "failed")]
    broken.write_bytes(good)
    assert batch(small_archive, settings) == Summary(done=1, done_before=6, slices=4)


def test_what_is_new_changed_or_was_removed_is_done(small_archive: Path, settings: Settings):
    batch(small_archive, settings)
    shutil.copy(small_archive / "3.nrrd", small_archive / "a" / "new.nrrd")
    write_volume(small_archive / "a" / "0.nrrd", read_volume(small_archive / "3.nrrd"), overwrite=True)
    out = small_archive.parent / "out"
    (out / "b" / "c" / "2.mha").unlink()
    recorder = Recorder()
    assert batch(small_archive, settings, recorder) == Summary(done=3, done_before=4, slices=12)
    assert sorted(place for place, _ in recorder.ended) == ["a/0.nrrd", "a/new.nrrd", "b/c/2.mha"]
    np.testing.assert_array_equal(read_volume(out / "a" / "0.nrrd").array, read_volume(out / "3.nrrd").array)


def test_a_copy_that_keeps_times_is_done_and_failures_are_tried_again(small_archive: Path, settings: Settings):
    """One slice, not the newest, comes back with other pixels and another time, as by ``cp -p``: the sum stays."""
    slices = sorted((small_archive / "b").glob("series1-*.dcm"))
    for number, path in enumerate(slices):
        os.utime(path, ns=(0, 10**18 + number))
    good, damaged = slices[0].read_bytes(), slices[1].read_bytes()
    slices[1].write_bytes(damaged[:-300])
    os.utime(slices[1], ns=(0, 10**18 + 1))
    slices[0].write_bytes(good + bytes(300))
    os.utime(slices[0], ns=(0, 10**18))
    assert len(batch(small_archive, settings).failed) == 1
    slices[1].write_bytes(damaged)
    slices[0].write_bytes(good)
    for path in slices[:2]:
        os.utime(path, ns=(0, 10**17))
    assert batch(small_archive, settings) == Summary(done=1, done_before=5, slices=4)
    slices[0].write_bytes(good[:-2] + b"\7\0")
    os.utime(slices[0], ns=(0, 10**16))
    assert batch(small_archive, settings) == Summary(done=1, done_before=5, slices=4)


def test_a_result_that_lacks_something_is_done_again(
    small_archive: Path, settings: Settings, denoised_archive: dict[str, np.ndarray]
):
    for name in ("two.mhd", "too.nhdr"):
        write_volume(small_archive / name, read_volume(small_archive / "3.nrrd"))
    batch(small_archive, settings)
    out = small_archive.parent / "out"
    first, second = (out / place for place in denoised_archive if place.startswith("b/") and "/c/" not in place)
    (first / "0002.dcm").unlink()
    (second / "0003.dcm").write_bytes(b"")
    (out / "3.nrrd").write_bytes(b"")
    (out / "two.zraw").unlink()
    (out / "too.raw.gz").unlink()
    recorder = Recorder()
    assert batch(small_archive, settings, recorder) == Summary(done=5, done_before=3, slices=20)
    assert {place for place, _ in recorder.ended} == {
        "3.nrrd",
        "two.mhd",
        "too.nhdr",
        f"b/{first.name}",
        f"b/{second.name}",
    }
    assert_results(small_archive, denoised_archive)
    assert batch(small_archive, settings) == Summary(done_before=8)


def test_a_manifest_without_digests_is_taken_as_it_is_and_gets_them(small_archive: Path, settings: Settings):
    batch(small_archive, settings)
    manifest = small_archive.parent / "out" / MANIFEST_FILE
    lines = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
    for line in lines:
        line.get("stamp", {}).pop("digest", None)
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    assert batch(small_archive, settings) == Summary(done_before=6)
    (small_archive / "b" / "series1-0.dcm").rename(small_archive / "b" / "first")  # seen by the digest alone
    assert batch(small_archive, settings) == Summary(done=1, done_before=5, slices=4)


def test_what_is_not_the_batchs_own_is_not_replaced(small_archive: Path, settings: Settings):
    theirs = small_archive.parent / "out" / "a" / "0.nrrd"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("precious")
    for _ in range(2):
        summary = batch(small_archive, settings)
        assert "exists already and is not this batch's" in summary.failed["a/0.nrrd"]
        assert theirs.read_text() == "precious"
    theirs.unlink()
    assert batch(small_archive, settings) == Summary(done=1, done_before=5, slices=4)


def test_leftovers_of_a_killed_run_are_cleared_and_its_result_replaced(
    small_archive: Path, settings: Settings, denoised_archive: dict[str, np.ndarray]
):
    """As ``kill -9`` leaves it between the rename and the manifest's line, and in the middle of a file."""
    batch(small_archive, settings)
    out = small_archive.parent / "out"
    lines = (out / MANIFEST_FILE).read_text().splitlines()
    kept = [line for line in lines if json.loads(line).get("place") not in ("a/0.nrrd", "a/1.nii.gz")]
    (out / MANIFEST_FILE).write_text("\n".join(kept) + '\n{"place": "a/0.nr')
    (out / "a" / "1.nii.gz").unlink()
    scratch = out / "a" / f".meddenoise-{'0' * 32}"
    scratch.mkdir()
    (scratch / "1.nii.gz").write_text("half")
    assert batch(small_archive, settings) == Summary(done=2, done_before=4, slices=8)
    assert not scratch.exists()
    assert_results(small_archive, denoised_archive)


KILLED_BETWEEN_RENAMES = """
import os, pathlib, signal, sys
sys.path.insert(0, sys.argv[4])
from meddenoise.processing import Settings, denoise, find_source, load, make_denoiser, save
rename = pathlib.Path.rename
def then_killed(path, target):
    rename(path, target)
    os.kill(os.getpid(), signal.SIGKILL)
settings = Settings(sys.argv[3], device="cpu", threads=1, output="dicom", overwrite=True, strength=0.5)
result = denoise(load(find_source(sys.argv[1], "1.2.3.1"), settings), make_denoiser(settings), settings)
pathlib.Path.rename = then_killed
save(result, sys.argv[2], settings)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_former_result_is_put_back_when_a_kill_came_between_the_renames(
    small_archive: Path, settings: Settings, denoised_archive: dict[str, np.ndarray]
):
    batch(small_archive, settings)
    place = next(place for place in denoised_archive if place.startswith("b/1-"))
    target = small_archive.parent / "out" / place
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    arguments = [str(small_archive), str(target), settings.model, str(Path(meddenoise.__file__).parent.parent)]
    run = subprocess.run([sys.executable, "-c", KILLED_BETWEEN_RENAMES, *arguments], capture_output=True, check=False)
    assert run.returncode == -signal.SIGKILL, run.stderr
    hidden = list(target.parent.glob(".meddenoise-*"))
    assert (len(hidden), target.exists()) == (2, False)
    others = shutil.copytree(hidden[0], hidden[0].with_name(f".meddenoise-{'1' * 32}"))
    for path in others.iterdir():  # of a series that is none of the batch
        path.write_bytes(path.read_bytes().replace(b"1.2.3.1.", b"1.2.4.1."))
    half = shutil.copytree(hidden[0], hidden[0].with_name(f".meddenoise-{'2' * 32}"))
    (half / "0004.dcm").unlink()
    os.utime(half, (0, 0))
    assert batch(small_archive, settings) == Summary(done_before=6)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert list(target.parent.glob(".meddenoise-*")) == [others]


def test_the_default_strength_is_the_cards_and_part_of_the_settings(small_archive: Path, mild_weights: Path) -> None:
    mild = Settings(str(mild_weights), device="cpu", threads=1)
    recorder = Recorder()
    batch(small_archive, mild, recorder)
    assert {report["strength"] for report in recorder.reports.values()} == {0.35}
    assert batch(small_archive, replace(mild, strength=0.35)).done_before == 6
    with pytest.raises(InputError, match=r"strength 0\.35 \(now 1\.0\)"):
        batch(small_archive, replace(mild, strength=1.0))


def test_other_settings_or_inputs_are_refused(small_archive: Path, settings: Settings, tmp_path: Path):
    batch(small_archive, settings)
    with pytest.raises(InputError, match=r"strength 1\.0 \(now 0\.5\)"):
        batch(small_archive, Settings(settings.model, strength=0.5, device="cpu", threads=1))
    moved = shutil.copytree(small_archive, tmp_path / "other")
    with pytest.raises(InputError, match=r"other settings: input .*archive \(now .*other\)"):
        batch(moved, settings)
    assert batch(small_archive, Settings(settings.model, device="auto", threads=None)).done_before == 6


def test_without_a_model_one_is_named_before_workers_see_the_settings(small_archive: Path, settings: Settings):
    seen: list[str] = []
    folder, options = small_archive.parent / "out", {"watcher": Recorder(), "stop": threading.Event()}
    run_batch(
        small_archive, folder, replace(settings, model="auto"), lambda work: seen.append(work.settings.model), **options
    )
    assert seen == [default_model("cpu")]
    begun = json.loads((folder / MANIFEST_FILE).read_text("utf-8").splitlines()[0])["settings"]
    assert begun["model"] == default_model("cpu")


def begun_with(folder: Path) -> dict[str, Any]:
    return json.loads((folder / MANIFEST_FILE).read_text("utf-8").splitlines()[0])["settings"]


@pytest.mark.parametrize("as_before", [False, True])
def test_the_precision_is_decided_once(small_archive: Path, settings: Settings, as_before: bool):
    """As if begun on a machine of the other kind; ``as_before``: by a MedDenoise that left it to each machine."""
    out = small_archive.parent / "out"
    recorder = Recorder()
    batch(small_archive, settings, recorder)
    here = Denoiser(settings.model, device="cpu", threads=1).precision
    assert {report["precision"] for report in recorder.reports.values()} == {begun_with(out)["precision"]} == {here}

    other = ({"float32", "bfloat16"} - {here}).pop()
    text = (out / MANIFEST_FILE).read_text("utf-8").replace(f'"precision": "{here}"', f'"precision": "{other}"')
    if as_before:
        text = text.replace(f'"precision": "{other}"', '"precision": "auto"', 1)
    (out / MANIFEST_FILE).write_text(text, "utf-8")
    for name in ("3.nrrd", "a/0.nrrd"):
        (out / name).unlink()
    again = Recorder()
    assert batch(small_archive, settings, again).done_before == 4
    assert [report["precision"] for report in again.reports.values()] == [other, other]
    assert batch(small_archive, replace(settings, precision=other)).done_before == 6
    with pytest.raises(InputError, match=rf"other settings: precision {other} \(now {here}\)"):
        batch(small_archive, replace(settings, precision=here))


def test_a_device_that_is_not_here_may_be_the_workers(small_archive: Path, settings: Settings):
    if import_torch().cuda.device_count() > 7:
        pytest.skip("this machine has eight GPUs")
    settings = replace(settings, device="cuda:7")
    with pytest.raises(DeviceError):
        batch(small_archive, settings)
    out = small_archive.parent / "out"
    assert not (out / MANIFEST_FILE).exists()
    seen: list[str] = []
    options = {"watcher": Recorder(), "stop": threading.Event(), "devices_here": False}
    run_batch(small_archive, out, settings, lambda work: seen.append(work.settings.precision), **options)
    assert seen == [begun_with(out)["precision"]] == ["float32"]


@pytest.mark.parametrize("out", ["archive", "archive/out", "."])
def test_output_and_input_one_in_the_other_are_refused(small_archive: Path, settings: Settings, out: str):
    with pytest.raises(InputError, match=r"one in the other|is the input itself"):
        run_batch(
            small_archive, small_archive.parent / out, settings, run_here, watcher=Recorder(), stop=threading.Event()
        )


def test_without_a_model_nothing_is_begun(small_archive: Path, settings: Settings):
    with pytest.raises(WeightsError):
        batch(small_archive, Settings("no-such-model"))
    assert not (small_archive.parent / "out").exists()


def test_it_stops_when_told_and_goes_on_later(
    small_archive: Path, settings: Settings, denoised_archive: dict[str, np.ndarray]
):
    stop = threading.Event()
    recorder = Recorder(at_end=stop.set)
    summary = batch(small_archive, settings, recorder, stop=stop)
    assert 1 <= summary.done < 6
    assert summary.left == 6 - summary.done
    assert_results(small_archive, {place: denoised_archive[place] for place, _ in recorder.ended})
    assert batch(small_archive, settings) == Summary(
        done=summary.left, done_before=summary.done, slices=4 * summary.left
    )
    assert_results(small_archive, denoised_archive)


def test_a_series_in_the_middle_is_dropped(small_archive: Path, settings: Settings):
    stop = threading.Event()
    assert batch(small_archive, settings, Recorder(at_slice=stop.set), stop=stop) == Summary(left=6)
    assert not list((small_archive.parent / "out").rglob("*.nrrd"))


def test_few_series_are_in_memory(small_archive: Path, settings: Settings):
    for number in range(12):
        shutil.copy(small_archive / "3.nrrd", small_archive / f"more-{number}.nrrd")
    most = 0

    def count() -> None:
        nonlocal most
        if most == 0:
            time.sleep(2)  # the reader could get ahead
        most = max(most, sum(type(thing) is Volume for thing in gc.get_objects()))

    gc.collect()
    summary = batch(small_archive, settings, Recorder(at_slice=count))
    assert summary.done == 18
    assert 1 <= most <= 3 + 1  # of the one being denoised, input and output


def test_remarks_stay_with_their_series(small_archive: Path, settings: Settings):
    for number in range(6):
        volume = read_volume(small_archive / "3.nrrd")
        volume.array = volume.array.astype(np.float32)
        volume.array[0, 0, : number + 1] = np.nan
        write_volume(small_archive / f"nan-{number}.nrrd", volume)
    recorder = Recorder()
    before = list(warnings.filters)
    batch(small_archive, settings, recorder)
    assert warnings.filters == before
    for place, report in recorder.reports.items():
        expected = ()
        if place.startswith("nan-"):
            expected = (
                f"The volume has {int(place[4]) + 1} voxels that are NaN or infinite; they were left as they are.",
            )
        assert tuple(report["warnings"]) == expected, place


def test_remarks_of_threads_do_not_mix():
    together = threading.Barrier(2)
    caught: dict[str, list[str]] = {}

    def work(name: str) -> None:
        with collected_remarks() as said:
            together.wait()
            remark(f"{name}, first")
            with silenced():
                together.wait()
                remark(f"{name}, then")
                warnings.warn("a library's", stacklevel=1)
            together.wait()
        caught[name] = said

    before = list(warnings.filters)
    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert caught == {name: [f"{name}, first", f"{name}, then"] for name in ("one", "two")}
    assert warnings.filters == before


def test_a_remark_that_nobody_collects_is_a_warning_of_the_caller():
    def reads() -> None:
        remark("Look")

    with pytest.warns(InputWarning, match="^Look$") as caught:
        reads()
    assert caught[0].filename == __file__


SMALL_DISK = """
mount -t tmpfs -o size=800k none "$1" && shift && exec "$@"
"""
SMALL_DISK_RUN = """
import sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from meddenoise.batch import run_batch
from meddenoise.batch.pipeline import run_here
from meddenoise.cli.batch_progress import PlainWatcher
from meddenoise.errors import DiskFullError
from meddenoise.processing import Settings
source, out, model = map(Path, sys.argv[1:4])
settings = Settings(str(model), device="cpu", threads=1)
def run():
    return run_batch(source, out, settings, run_here, watcher=PlainWatcher(True), stop=threading.Event())
filler = out / "filler"
filler.write_bytes(b"x" * 600_000)
try:
    run()
except DiskFullError as error:
    print(error)
print(sorted(path.name for path in out.rglob("*") if path.is_dir()))
print("failed" in (out / "meddenoise-batch.jsonl").read_text())
filler.unlink()
summary = run()
print(summary.done_before > 0, summary.done > 0, summary.done + summary.done_before, summary.failed)
"""


def test_a_full_disk_stops_the_batch_and_loses_nothing(tmp_path: Path, settings: Settings):
    source, out = tmp_path / "archive", tmp_path / "disk"
    out.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        array = rng.normal(0, 300, (16, 48, 48)).round().astype(np.int16)
        source.mkdir(exist_ok=True)
        write_volume(source / f"{number}.nrrd", Volume(array))
    arguments = [str(argument) for argument in (source, out, settings.model, "")]
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SMALL_DISK, "sh", str(out)]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (unshare, tmpfs)")
    run = subprocess.run(
        [*command, sys.executable, "-c", SMALL_DISK_RUN, *arguments], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    first, folders, failed, then = run.stdout.splitlines()
    assert "There is no room left in" in first
    assert (folders, failed) == ("[]", "False")
    assert then == "True True 6 {}"
