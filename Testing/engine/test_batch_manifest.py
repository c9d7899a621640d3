"""The manifest of a batch: what it keeps through crashes, whom it lets in, and what it refuses."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from meddenoise.batch.inventory import Entry, Stamp
from meddenoise.batch.manifest import MANIFEST_FILE, Record, open_manifest
from meddenoise.batch.outcome import Outcome, outcome_of, remembering, says_disk_is_full
from meddenoise.errors import DiskFullError, InputError, NotCTError, OutputError
from meddenoise.processing import Settings, load
from meddenoise.volume_files import Volume, write_volume

SETTINGS = {"model": "fast", "strength": 1.0}
STAMP = Stamp(1, 100, 123)
DONE = Outcome("done", report={"slices": 4})
FAILED = Outcome("failed", "It is damaged.", "Traceback ...", remarks=("None of its values is below 0.",))


def an_entry(place: str) -> Entry:
    return Entry(place, Path("/archive") / place, STAMP)


def test_what_was_recorded_is_there_at_the_next_run(tmp_path: Path):
    with open_manifest(tmp_path, SETTINGS) as manifest:
        manifest.begin(["a", "b", "c"])
        manifest.record(an_entry("a"), FAILED)
        manifest.record(an_entry("b"), DONE)
        manifest.record(an_entry("a"), DONE)
        manifest.record(an_entry("ü\u2028"), FAILED)
    with open_manifest(tmp_path, SETTINGS) as again:
        assert again.records == {
            "a": Record(DONE, STAMP),
            "b": Record(DONE, STAMP),
            "ü\u2028": Record(FAILED, STAMP),
        }
        assert again.claimed == {"a", "b", "c"}


def test_every_length_that_a_crash_can_leave_is_read(tmp_path: Path):
    with open_manifest(tmp_path, SETTINGS) as manifest:
        manifest.begin(["a", "b"])
        manifest.record(an_entry("a"), DONE)
        manifest.record(an_entry("b"), FAILED)
    path = tmp_path / MANIFEST_FILE
    whole = path.read_bytes()
    ends = [len(whole[: k + 1]) for k, byte in enumerate(whole) if byte == ord("\n")]
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        with open_manifest(tmp_path, SETTINGS) as cut:
            assert len(cut.records) == sum(end <= length for end in ends[2:])
            cut.record(an_entry("c"), DONE)
        with open_manifest(tmp_path, SETTINGS) as mended:
            assert mended.records["c"] == Record(DONE, STAMP)


def test_other_settings_are_refused_in_one_sentence(tmp_path: Path):
    with open_manifest(tmp_path, SETTINGS):
        pass
    with (
        pytest.raises(InputError, match=r"begun with other settings: strength 1\.0 \(now 0\.5\)"),
        open_manifest(tmp_path, {**SETTINGS, "strength": 0.5}),
    ):
        pass


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "Line 2 .* cannot be read"),
        ('{"state": "done"}', "Line 2 .* cannot be read"),
        ("[]", "Line 2 .* cannot be read"),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, line: str, words: str):
    with open_manifest(tmp_path, SETTINGS):
        pass
    with (tmp_path / MANIFEST_FILE).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=words), open_manifest(tmp_path, SETTINGS):
        pass


def test_a_newer_manifest_is_refused(tmp_path: Path):
    (tmp_path / MANIFEST_FILE).write_text(json.dumps({"meddenoise_batch": 2, "settings": SETTINGS}) + "\n")
    with pytest.raises(InputError, match="newer MedDenoise"), open_manifest(tmp_path, SETTINGS):
        pass


HOLDER = """
import sys, time
from pathlib import Path
from meddenoise.batch.manifest import open_manifest
with open_manifest(Path(sys.argv[1]), {"model": "fast", "strength": 1.0}):
    print("held", flush=True)
    time.sleep(100)
"""


def test_one_run_at_a_time_and_a_killed_one_holds_nothing(tmp_path: Path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="Another run is at work"), open_manifest(tmp_path, SETTINGS):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with open_manifest(tmp_path, SETTINGS) as manifest:
        manifest.begin(["a"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full (Linux)")
def test_a_full_disk_is_said(tmp_path: Path):
    with open_manifest(tmp_path, SETTINGS) as manifest:
        manifest.path = Path("/dev/full")
        with pytest.raises(DiskFullError, match="no room left"):
            manifest.record(an_entry("a"), DONE)
        assert manifest.records == {}


def test_which_errors_say_that_the_disk_is_full(tmp_path: Path):
    hidden = OutputError("cannot be written")
    hidden.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert says_disk_is_full(hidden, tmp_path, 0)
    assert says_disk_is_full(OutputError("in a library's words"), tmp_path, 1 << 62)
    assert not says_disk_is_full(OSError(errno.EACCES, "no"), tmp_path, 0)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NotCTError("A label map."), Outcome("skipped", "A label map.")),
        (InputError("Damaged."), Outcome("failed", "Damaged.")),
        (MemoryError(), Outcome("failed", "There is not enough memory for this series.")),
        (OSError(errno.EIO, "Input/output error", "/x"), Outcome("failed", "/x: Input/output error")),
    ],
)
def test_errors_become_outcomes(error: Exception, outcome: Outcome):
    assert outcome_of(error) == outcome


def test_an_error_remembers_what_was_remarked_on_its_input_on_its_way_from_a_worker(tmp_path: Path):
    write_volume(tmp_path / "x.nrrd", Volume(np.random.default_rng(0).normal(1400, 25, (2, 32, 32)).astype(np.int16)))
    loaded = load(tmp_path / "x.nrrd", Settings("fast"))
    assert len(loaded.findings) > 0
    for error in (OSError(errno.EIO, "Input/output error", "/x"), OutputError("Cannot be written.")):
        with pytest.raises(type(error)) as caught, remembering(replace(loaded, warnings=("First.",))):
            raise error
        outcome = outcome_of(pickle.loads(pickle.dumps(caught.value)))
        assert outcome.warnings == ["First.", *(finding.sentence for finding in loaded.findings)]


def test_what_nobody_expected_keeps_its_traceback():
    try:
        _ = {}["x"]
    except KeyError as error:
        outcome = outcome_of(error)
    assert (outcome.state, outcome.reason) == ("failed", "Unexpected KeyError: 'x'")
    assert "test_batch_manifest" in outcome.details
