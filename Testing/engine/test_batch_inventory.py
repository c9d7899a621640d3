"""What a batch finds in a folder, and where each result goes."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from meddenoise.batch.inventory import Entry, Stamp, take_inventory
from meddenoise.dicom.series import _files_below
from meddenoise.errors import InputError, InputWarning


def entries_of(folder: Path) -> dict[str, Entry]:
    return {entry.place: entry for entry in take_inventory(folder).entries}


def change_headers(folder: Path, pattern: str, **values: str) -> None:
    for path in folder.glob(pattern):
        dataset = pydicom.dcmread(path)
        for name, value in values.items():
            setattr(dataset, name, value)
        dataset.save_as(path)


def test_places_mirror_the_folders_and_two_series_of_one_folder_differ(small_archive: Path):
    entries = entries_of(small_archive)
    one, two = (place for place in entries if place.startswith("b/") and "/c/" not in place)
    assert list(entries) == ["3.nrrd", "a/0.nrrd", "a/1.nii.gz", one, two, "b/c/2.mha"]
    assert one.startswith("b/1-Abdomen-5-0-1-")
    assert two.startswith("b/2-Abdomen-5-0-2-")
    assert entries[one].source.uid == "1.2.3.1"
    assert (entries[one].stamp.files, entries["a/0.nrrd"].stamp.files) == (4, 1)
    assert entries["b/c/2.mha"].source == small_archive / "b" / "c" / "2.mha"


def test_a_place_stays_when_the_archive_grows(small_archive: Path):
    before = entries_of(small_archive)
    change_headers(small_archive / "b", "series2-*", SeriesInstanceUID="1.2.3.77", SeriesNumber="1")
    shutil.copytree(small_archive / "b", small_archive / "b" / "new")
    change_headers(small_archive / "b" / "new", "*.dcm", SeriesInstanceUID="1.2.3.78")
    after = entries_of(small_archive)
    assert len(after) > len(before)
    first = next(place for place in before if place.startswith("b/1-"))
    assert after[first].source.uid == before[first].source.uid


def test_series_of_the_same_number_and_description_differ(small_archive: Path):
    change_headers(small_archive / "b", "*.dcm", SeriesNumber="7", SeriesDescription="../x")
    places = [place for place in entries_of(small_archive) if place.startswith("b/7")]
    assert len(set(places)) == 2
    assert all(place.startswith("b/7-x-") for place in places)


def test_a_link_to_nowhere_is_an_entry_that_will_fail_by_itself(small_archive: Path):
    (small_archive / "dead.nrrd").symlink_to(small_archive / "nowhere")
    with pytest.warns(InputWarning, match=r"dead\.nrrd"):
        entries = entries_of(small_archive)
    assert entries["dead.nrrd"].stamp.files == 0
    assert len(entries) == 7


def test_folders_that_are_not_looked_into_are_named(small_archive: Path, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (small_archive / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.warns(InputWarning, match=r"1 linked folder left out; the first: .*/linked"):
        entries_of(small_archive)


def test_a_folder_that_cannot_be_read_is_named(small_archive: Path):
    looking = _files_below(small_archive)
    next(looking)
    shutil.rmtree(small_archive / "a")  # as good as one that is closed, and works for root, too
    with pytest.warns(InputWarning, match=r"1 folder left out, because unreadable; the first: .*/a \(No such"):
        list(looking)


def test_a_series_spread_over_folders_is_one(small_archive: Path):
    (small_archive / "b" / "part").mkdir()
    (small_archive / "b" / "series1-3.dcm").rename(small_archive / "b" / "part" / "x")
    series = next(entry for place, entry in entries_of(small_archive).items() if place.startswith("b/1-"))
    assert series.stamp.files == 4


def test_the_stamp_tells_of_a_change(small_archive: Path):
    def stamps() -> list[object]:
        return [entry.stamp for entry in take_inventory(small_archive).entries]

    before = stamps()
    assert stamps() == before
    (small_archive / "a" / "0.nrrd").touch()
    (small_archive / "b" / "series1-0.dcm").unlink()
    assert sum(one != other for one, other in zip(before, stamps(), strict=True)) == 2


def test_the_stamp_tells_of_changes_that_leave_total_size_and_newest_time(small_archive: Path):
    def stamp() -> Stamp:
        return next(entry.stamp for entry in take_inventory(small_archive).entries if entry.place.startswith("b/1-"))

    first, *_, newest = sorted((small_archive / "b").glob("series1-*.dcm"))
    times = first.stat().st_atime_ns, newest.stat().st_mtime_ns
    os.utime(newest, ns=times)
    before = stamp()
    content = first.read_bytes()
    assert content.count(b"1.2.3.1.1\0") == 2
    changes: list[Stamp] = []
    for changed in (content.replace(b"1.2.3.1.1\0", b"1.2.3.1.8\0"), content[:-1] + b"\7"):
        state = first.stat()
        first.write_bytes(changed)
        os.utime(first, ns=(state.st_atime_ns, state.st_mtime_ns - (changed[-1] == 7)))  # in other pixels: the time
        changes.append(stamp())
        first.write_bytes(content)
        os.utime(first, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert stamp() == before
    first.rename(first.with_name("third"))
    changes.append(stamp())
    assert len({before, *changes}) == 4
    assert len({replace(one, digest="") for one in (before, *changes)}) == 1


def test_hidden_files_are_no_volumes_and_others_are_counted(small_archive: Path):
    before = list(entries_of(small_archive))
    shutil.copy(small_archive / "3.nrrd", small_archive / "._3.nrrd")
    shutil.copytree(small_archive / "a", small_archive / ".hidden")
    (small_archive / "notes.txt").write_text("no CT")
    change_headers(small_archive / "b", "series2-*", Modality="MR")
    inventory = take_inventory(small_archive)
    assert [entry.place for entry in inventory.entries] == [place for place in before if "2-Abdomen" not in place]
    assert dict(inventory.others) == {"MR file": 4}


def test_files_without_a_series_uid_are_not_taken_for_a_series(small_archive: Path):
    change_headers(small_archive / "b", "*.dcm", SeriesInstanceUID="")
    unfit = [entry for entry in take_inventory(small_archive).entries if entry.unfit]
    assert [entry.unfit for entry in unfit] == ["Its files have no valid SeriesInstanceUID."]


@pytest.mark.parametrize("what", ["missing", "a file", "empty"])
def test_nothing_to_do_is_said(tmp_path: Path, what: str):
    folder = tmp_path / "archive"
    if what == "a file":
        folder.write_text("")
    elif what == "empty":
        folder.mkdir()
    with pytest.raises(InputError, match="There is no "):
        take_inventory(folder)
