"""DICOM to prepared slices: exact HU, padding, slabs, patients kept to one split, reasons for what is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from meddenoise.dicom import find_series
from meddenoise.errors import InputError, OutputError
from meddenoise_training.benchmark import cases
from meddenoise_training.dicom_slices import read_slices
from meddenoise_training.manifest import Slice, neighbours, open_slices, read_manifest
from meddenoise_training.prepare import prepare, read_shares
from meddenoise_training.slabs import slab_count, slab_thickness

SIZE = 64


def read_one(folder: Path) -> np.ndarray:
    (series,) = find_series(folder)
    (one,) = read_slices(series, "p", lambda path, reason: pytest.fail(reason))
    return one.hu


def stored(*values: int, dtype: str = "u2") -> np.ndarray:
    return np.resize(np.array(values, dtype=dtype), (16, 16))


def test_odd_rescale_texts_are_read_and_rounded(archive, write_slice, tmp_path):
    """Slopes and intercepts as scanners write them; integers by rounding, not by cutting off."""
    for split in ("train", "validation"):
        rescale = {"RescaleSlope": "1.0002441", "RescaleIntercept": "-01.024000E+03"}
        values = np.arange(SIZE * SIZE, dtype="u2").reshape(SIZE, SIZE)
        write_slice(tmp_path / f"in/{split}/s/1.dcm", values, split, f"2.{len(split)}", 0.0, **rescale)
    manifest = prepare(tmp_path / "in", tmp_path / "out", synthetic=0)
    hu = open_slices(tmp_path / "out", "train", manifest)[0]
    np.testing.assert_array_equal(hu, np.minimum(np.rint(values * 1.0002441 - 1024), 3000))
    assert hu[-1, -1] == 3000
    # Half of a patch of values would differ if they were truncated.
    assert np.any(hu != np.minimum(np.trunc(values * 1.0002441 - 1024), 3000))


@pytest.mark.parametrize("tag", [None, 63536, -2000])
def test_padding_outside_the_circle_becomes_air(write_slice, tmp_path, tag):
    """GE: -2000 stored with an intercept of -1024, tagged signed, unsigned, or not at all."""
    extra = {} if tag is None else {"PixelPaddingValue": tag & 0xFFFF if tag > 0 else tag}
    values = stored(-2000, 1074, dtype="i2")
    if tag == 63536:
        extra = {}
        path = write_slice(tmp_path / "1.dcm", values, "p", "2.1", 0.0)
        import pydicom

        dataset = pydicom.dcmread(path)
        dataset.add_new("PixelPaddingValue", "US", 63536)
        dataset.save_as(path)
    else:
        write_slice(tmp_path / "1.dcm", values, "p", "2.1", 0.0, **extra)
    hu = read_one(tmp_path)
    np.testing.assert_array_equal(hu[0, :2], [-1000, 50])


def test_padding_tag_is_believed_only_where_it_means_air(write_slice, tmp_path):
    """A tag of 0 is -1024 HU with the usual intercept, but water where the intercept is 0."""
    write_slice(tmp_path / "a/1.dcm", stored(0, 1), "p", "2.1", 0.0, PixelPaddingValue=0)
    write_slice(tmp_path / "b/1.dcm", stored(0, 1), "p", "2.1", 0.0, PixelPaddingValue=0, RescaleIntercept="0")
    np.testing.assert_array_equal(read_one(tmp_path / "a")[0, :2], [-1000, -1023])
    np.testing.assert_array_equal(read_one(tmp_path / "b")[0, :2], [0, 1])


def test_thin_series_are_averaged_and_their_noise_falls(prepared):
    train = read_manifest(prepared).splits["train"]
    slabs = [e for e in train if e.kind == "slab"]
    thick = [e for e in train if e.kind == "ct"]
    assert [e.slab for e in slabs] == [5] * 9, "13 slices of 1 mm, slabs of 5 mm"
    assert [e.slab for e in thick] == [1] * 3
    assert np.mean([e.noise_sd for e in slabs]) == pytest.approx(30 / np.sqrt(5), rel=0.15)
    assert np.mean([e.noise_sd for e in thick]) == pytest.approx(10, rel=0.15)
    assert {(e.spacing_mm, e.thickness_mm, e.pixel_mm, e.kernel, e.kvp) for e in slabs} == {
        (1.0, 1.0, 0.75, "STANDARD", 120.0)
    }


def test_slabs_are_the_rounded_mean_of_neighbours_in_order(archive, prepared, tissue):
    """Files run from high to low positions; the mean over the first five by position comes first."""
    manifest = read_manifest(prepared)
    first = next(i for i, e in enumerate(manifest.splits["train"]) if e.kind == "slab")
    lowest = [tissue(k, 30).astype(float) - 1024 for k in (12, 11, 10, 9, 8)]
    slab = open_slices(prepared, "train", manifest)[first]
    np.testing.assert_array_equal(slab, np.rint(np.mean(lowest, axis=0)))


def test_validation_slices_are_as_scanned(prepared):
    """They lie 1 mm apart, but figures are reported on what scanners give."""
    ct = [e for e in read_manifest(prepared).splits["validation"] if e.kind != "synthetic"]
    assert [e.slab for e in ct] == [1, 1, 1]


@pytest.mark.parametrize(
    ("spacing", "thickness", "slices", "slab_mm", "expected"),
    [
        pytest.param(1.0, 1.0, 90, 7.5, 7, id="side by side"),
        pytest.param(2.5, 2.5, 60, 7.5, 3, id="just fitting"),
        pytest.param(1.25, 5.0, 60, 7.5, 3, id="overlapping: 2 x 1.25 + 5"),
        pytest.param(1.25, 5.0, 60, 7.4, 1, id="overlapping, not fitting"),
        pytest.param(1.0, 2.0, 90, 7.5, 5, id="overlapping by half"),
        pytest.param(2.5, 1.25, 60, 7.5, 3, id="with room between: 2 x 2.5 + 1.25"),
        pytest.param(1.0, None, 30, 6.9, 5, id="thickness not known: as the spacing"),
        pytest.param(5.0, 5.0, 60, 7.5, 1, id="thick"),
        pytest.param(1.0, 10.0, 60, 7.5, 1, id="a slice alone is thicker"),
        pytest.param(1.0, 1.0, 4, 7.5, 3, id="few slices"),
        pytest.param(0.1, 0.1, 9, 0.3, 3, id="rounding"),
        pytest.param(None, 1.0, 9, 7.5, 1, id="no neighbours"),
        pytest.param(1.0, 1.0, 9, 0.0, 1, id="no slabs wanted"),
    ],
)
def test_slab_count(spacing, thickness, slices, slab_mm, expected):
    count = slab_count(spacing, thickness, slices, slab_mm)
    assert count == expected
    if count > 1:
        assert slab_thickness(count, spacing, thickness) <= slab_mm + 1e-6


def test_overlapping_slices_make_no_slab_thicker_than_asked(write_slice, tmp_path, tissue):
    """Slices of 5 mm every 1.25 mm: five of them would be 10 mm of the body; the thickest slice of a series counts."""
    for k in range(7):
        thickness = {"SliceThickness": 5 if k != 2 else 2}
        write_slice(tmp_path / f"in/train/s/{k}.dcm", tissue(k, 10), "a", "2.1", 1.25 * k, **thickness)
    write_slice(tmp_path / "in/validation/s/1.dcm", tissue(9, 10), "b", "2.2", 0.0)
    train = prepare(tmp_path / "in", tmp_path / "out", synthetic=0, slab_mm=7.5).splits["train"]
    assert [(e.slab, e.spacing_mm, e.thickness_mm) for e in train] == [(3, 1.25, t) for t in (5.0, 2.0, 5.0, 5.0, 5.0)]
    assert [e.averaged_mm for e in train] == [7.5, 4.5, 7.5, 7.5, 7.5]


@pytest.mark.parametrize(
    ("positions", "slabs", "said"),
    [
        pytest.param(
            [0, 1, 2, 4, 5, 6, 7, 8], [3, 5], "2 runs of slices: gap of 2 mm after slice 3", id="a slice is missing"
        ),
        pytest.param([0, 2, 3, 4], [1, 3], "2 runs of slices: gap of 2 mm after slice 1", id="the second is missing"),
        pytest.param(
            [0, 1, 2, 7, 12],
            [3, 1, 1],
            "2 runs of slices: spacing changes from 1 to 5 mm after slice 3",
            id="two spacings",
        ),
        pytest.param(
            [0, 1, 1, 2, 3], [1] * 5, "5 runs of slices: two in one place after slice 2", id="two in one place"
        ),
        pytest.param(
            [0, 0.7, 2.1, 2.9, 4.5],
            [1] * 5,
            "3 runs of slices: gap of 1.4 mm after slice 2; gap of 1.6 mm after slice 4",
            id="uneven",
        ),
        pytest.param(
            [0, 3, 7, 12, 18, 25],
            [1] * 6,
            "3 runs of slices: spacing changes from 3 to 5 mm after slice 2; spacing changes from 5 to 7 mm after "
            "slice 4",
            id="wider and wider",
        ),
        pytest.param([0, 1.03, 1.98, 3.02, 4], [5], None, id="rounded positions"),
    ],
)
def test_slabs_do_not_reach_over_gaps_and_each_gap_is_told(write_slice, tmp_path, tissue, positions, slabs, said):
    for k, z in enumerate(positions):
        write_slice(tmp_path / f"in/train/s/{k}.dcm", tissue(k, 10), "a", "2.1", z)
    write_slice(tmp_path / "in/validation/s/1.dcm", tissue(9, 10), "b", "2.2", 0.0)
    lines: list[str] = []
    manifest = prepare(tmp_path / "in", tmp_path / "out", synthetic=0, slab_mm=5.0, report=lines.append)
    train = manifest.splits["train"]
    assert [e.slab for e in train] == slabs
    assert manifest.broken == ({train[0].series: said} if said else {})
    assert read_manifest(tmp_path / "out").broken == manifest.broken
    told = [line for line in lines if line.startswith("Series ")]
    assert told == ([f"Series {train[0].series} in {tmp_path}/in/train/s: {said}"] if said else [])


def test_slices_on_both_sides_of_a_gap_are_no_neighbours(write_slice, tmp_path, tissue):
    for number, split in enumerate(("train", "validation")):
        for k, z in enumerate([0, 5, 10, 20, 25, 30, 35]):
            path = tmp_path / f"in/{split}/s/{k}.dcm"
            write_slice(path, tissue(k, 10), f"P{number}", f"2.{number}", z, SliceThickness=5)
    manifest = prepare(tmp_path / "in", tmp_path / "out", synthetic=0)
    entries = manifest.splits["train"]
    assert [entry.slab for entry in entries] == [1] * 7
    assert [neighbours(entries, i, 1) for i in (1, 2, 3, 4)] == [[0, 1, 2], [1, 2, 2], [3, 3, 4], [3, 4, 5]]
    chosen = cases.neighbours(tmp_path / "out", "validation", 12)
    assert [case.name for case in chosen] == [f"validation {i}" for i in (3, 4, 5, 6)], "the longer side of the gap"


def test_tilted_series_are_not_averaged(write_slice, tmp_path, tissue):
    """Neighbours that are shifted within their plane show another place of the body in each pixel."""
    for k in range(5):
        position = [0, 0.5 * k, 1.0 * k]
        write_slice(tmp_path / f"in/train/s/{k}.dcm", tissue(k, 10), "a", "2.1", 0, ImagePositionPatient=position)
    write_slice(tmp_path / "in/validation/s/1.dcm", tissue(9, 10), "b", "2.2", 0.0)
    manifest = prepare(tmp_path / "in", tmp_path / "out", synthetic=0)
    assert [e.slab for e in manifest.splits["train"]] == [1] * 5
    moved = "shifted sideways, turned or of another pixel size after slice"
    said = f"5 runs of slices: {moved} 1; {moved} 2; {moved} 3; 1 more"
    assert list(manifest.broken.values()) == [said]


def test_slices_without_positions_are_told(write_slice, tmp_path, tissue):
    for k in range(3):
        write_slice(tmp_path / f"in/train/s/{k}.dcm", tissue(k, 10), "a", "2.1", 0, ImagePositionPatient=None)
    write_slice(tmp_path / "in/validation/s/1.dcm", tissue(9, 10), "b", "2.2", 0.0, ImagePositionPatient=None)
    manifest = prepare(tmp_path / "in", tmp_path / "out", synthetic=0)
    assert list(manifest.broken.values()) == ["3 runs of slices: not all have a position"]


def test_slabs_do_not_reach_over_an_unreadable_slice(write_slice, tmp_path, tissue):
    for k in range(7):
        damage = {"RescaleIntercept": None} if k == 3 else {}
        write_slice(tmp_path / f"in/train/s/{k}.dcm", tissue(k, 10), "a", "2.1", 1.0 * k, **damage)
    write_slice(tmp_path / "in/validation/s/1.dcm", tissue(9, 10), "b", "2.2", 0.0)
    manifest = prepare(tmp_path / "in", tmp_path / "out", synthetic=0)
    assert [e.slab for e in manifest.splits["train"]] == [3, 3]


def test_same_patient_in_two_splits_is_refused_and_nothing_is_left(write_slice, tmp_path, tissue):
    write_slice(tmp_path / "in/train/s/1.dcm", tissue(1, 10), "SAME", "2.1", 0.0)
    write_slice(tmp_path / "in/validation/t/1.dcm", tissue(2, 10), "SAME", "2.2", 0.0)
    with pytest.raises(InputError, match="'SAME' stands in 'train' and in 'validation'"):
        prepare(tmp_path / "in", tmp_path / "out", synthetic=0)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]  # refused before any work


def test_free_folder_is_split_by_patient(write_slice, tmp_path, tissue):
    for number in range(10):
        for series in range(2):
            path = tmp_path / f"in/any/{number}/{series}.dcm"
            write_slice(path, tissue(number, 10), f"P{number}", f"2.{number}.{series + 1}", 0.0)
    with pytest.raises(InputError, match="--split"):
        prepare(tmp_path / "in", tmp_path / "no", synthetic=0)
    manifest = prepare(tmp_path / "in", tmp_path / "out", synthetic=0, split=read_shares("60,20,20"))
    patients = {name: {e.patient for e in entries} for name, entries in manifest.splits.items()}
    assert {name: len(p) for name, p in patients.items()} == {"train": 6, "validation": 2, "test": 2}
    assert len(set.union(*patients.values())) == 10
    assert {name: len(e) for name, e in manifest.splits.items()} == {"train": 12, "validation": 4, "test": 4}


def write_two_collections(write_slice, tissue, root: Path, division: dict[str, list[str]]) -> None:
    """Write patients of collections a and b, each file two folders below its patient's, and one file of neither."""
    for above, patients in division.items():
        for patient in patients:
            path = root / above / f"{patient}/study/series/1.dcm"
            write_slice(path, tissue(1, 10), patient, f"2.{ord(patient[0])}.{patient[-1]}", 0.0)


AB = "".join(
    f'[[collection]]\nname = "{name}"\nlicence = "CC0"\ndoi = "10.0/{name}"\nfolders = ["{name}-*"]\n' for name in "ab"
)


@pytest.mark.parametrize("free", [True, False])
def test_slices_belong_to_the_collection_of_the_folders_above_them(write_slice, tissue, tmp_path, free):
    named = {"train": ["a-1", "b-1", "c-1"], "validation": ["a-2", "c-2"]}
    division = {".": [p for patients in named.values() for p in patients]} if free else named
    write_two_collections(write_slice, tissue, tmp_path / "in", division)
    (tmp_path / "ab.toml").write_text(AB)
    lines: list[str] = []
    shares = read_shares("80,20,0") if free else None
    manifest = prepare(
        *(tmp_path / "in", tmp_path / "out"),
        synthetic=0,
        split=shares,
        sources=tmp_path / "ab.toml",
        report=lines.append,
    )
    found = sorted(str(e.collection) for entries in manifest.splits.values() for e in entries)
    assert found == ["None", "None", "a", "a", "b"]
    (line,) = lines
    assert "export will refuse them" in line
    uncited = [e for e in manifest.splits["train"] if e.collection is None]
    assert line.count("/study/series") == len(uncited) > 0
    assert line.count("c-") == len(uncited)


def test_without_sources_prepare_says_that_export_will_refuse(write_slice, tissue, tmp_path):
    division = {"train": [f"a-{k}" for k in range(9)], "validation": ["b-1"]}
    write_two_collections(write_slice, tissue, tmp_path / "in", division)
    lines: list[str] = []
    prepare(tmp_path / "in", tmp_path / "out", synthetic=0, report=lines.append)
    (line,) = lines
    assert "train/a-0/study/series" in line
    assert " and 1 more belong to no collection" in line
    assert "give --sources" in line
    assert "b-1" not in line, "validation slices are not what export asks for"


def test_files_right_in_the_source_belong_to_the_collection_of_everything(write_slice, tissue, tmp_path):
    for number in range(2):
        write_slice(tmp_path / f"in/{number}.dcm", tissue(number, 10), f"P{number}", f"2.{number}", 0.0)
    (tmp_path / "all.toml").write_text(AB.replace("a-*", "*"))
    shares, lines = read_shares("50,50,0"), list[str]()
    manifest = prepare(
        *(tmp_path / "in", tmp_path / "out"),
        synthetic=0,
        split=shares,
        sources=tmp_path / "all.toml",
        report=lines.append,
    )
    assert [e.collection for e in manifest.splits["train"]] == ["a"]
    assert lines == []


def test_split_does_not_throw_away_a_division(archive, tmp_path):
    with pytest.raises(InputError, match="divided already, into train, validation, test; leave out --split"):
        prepare(archive, tmp_path / "out", split=read_shares("80,10,10"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (AB.replace("licence", "license", 1), r"collection 1\.licence is missing; collection 1\.license is unknown"),
        (AB.replace("[[collection]]", "[[collections]]"), "collection is missing; collections is unknown"),
        ("[[collection", "is no TOML: "),
        (None, r"sources\.toml cannot be read: No such file or directory\.$"),
    ],
)
def test_wrong_sources_are_refused_with_the_fields_at_fault(archive, tmp_path, text, words):
    if text is not None:
        (tmp_path / "sources.toml").write_text(text)
    with pytest.raises(InputError, match=words):
        prepare(archive, tmp_path / "out", sources=tmp_path / "sources.toml")


def test_what_is_left_out_is_named_with_its_reason(archive, write_slice, tmp_path, tissue):
    folder = tmp_path / "in/train/s"
    write_slice(folder / "1.dcm", tissue(1, 10), "a", "2.1", 0.0)
    write_slice(folder / "2.dcm", tissue(2, 10), "a", "2.9", 0.0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_slice(folder / "3.dcm", tissue(3, 10), None, "2.3", 0.0)
    write_slice(folder / "4.dcm", tissue(2, 10)[:32], "a", "2.1", 1.0)
    write_slice(folder / "6.dcm", tissue(2, 10), "a", "2.1", 2.0)
    write_slice(folder / "5.dcm", tissue(3, 10), "a", "2.5", 0.0, RescaleIntercept=None)
    (folder / "notes.txt").write_text("not DICOM")
    write_slice(tmp_path / "in/validation/s/1.dcm", tissue(9, 10), "b", "2.6", 0.0)
    lines: list[str] = []
    manifest = prepare(tmp_path / "in", tmp_path / "out", synthetic=0, report=lines.append)
    assert len(manifest.splits["train"]) == 2
    lines = [line for line in lines if line.startswith("Left out: ")]
    assert len(lines) == sum(manifest.left_out.values()) == 5
    for reason in ("1 CT localizer in", "1 non-DICOM file, ", "no PatientID", "not of the size", "no rescale slope"):
        assert sum(reason in line for line in lines) == 1, (reason, lines)
    assert not any("train" in kind or ".dcm" in kind for kind in manifest.left_out), "folders may have patients' names"


def test_manifest_keeps_no_identity_but_the_collection(prepared):
    text = (prepared / "manifest.json").read_text(encoding="utf-8")
    assert "HOSPITAL" not in text
    assert '"1.1"' not in text, "nor a series UID"
    train: list[Slice] = read_manifest(prepared).splits["train"]
    assert {e.collection for e in train if e.kind == "slab"} == {"Thin"}
    assert {e.collection for e in train if e.kind == "ct"} == {"Thick"}
    assert len({e.patient for e in train if e.kind != "synthetic"}) == 2


def test_synthetic_slices_are_noise_free_and_not_shared_between_splits(prepared):
    manifest = read_manifest(prepared)
    made = {}
    for name in ("train", "validation"):
        where = [i for i, e in enumerate(manifest.splits[name]) if e.kind == "synthetic"]
        assert all(manifest.splits[name][i].noise_sd == 0 for i in where)
        made[name] = np.stack([open_slices(prepared, name, manifest)[i] for i in where])
    assert made["train"].shape == (20, SIZE, SIZE)
    assert made["validation"].shape == (2, SIZE, SIZE)
    assert made["train"].min() >= -1024
    assert not any(np.array_equal(a, b) for a in made["train"] for b in made["validation"])


def test_existing_target_is_refused_and_damaged_data_too(prepared, archive, tmp_path):
    with pytest.raises(OutputError, match="exists already"):
        prepare(archive, prepared)
    with pytest.raises(InputError, match="not a prepared folder"):
        read_manifest(tmp_path)
    manifest = read_manifest(prepared)
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match=r"cannot be read.*Prepare the data again"):
        open_slices(tmp_path, "train", manifest)
    for entry in manifest.splits["train"]:
        np.save(tmp_path / "train" / entry.file, np.zeros((1, 2, 2), np.int16))
    with pytest.raises(InputError, match="prepare again"):
        open_slices(tmp_path, "train", manifest)
    (tmp_path / "manifest.json").write_text('{"format": 1, "size": [512, 512]}')
    with pytest.raises(InputError, match="made by another version"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["80,20", "a,b,c", "0,50,50", "80,0,20"])
def test_impossible_shares_are_refused(text):
    with pytest.raises(InputError, match="The split"):
        read_shares(text)
