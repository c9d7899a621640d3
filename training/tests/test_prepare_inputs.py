"""What is fit for training and what is not: lossy, other modalities and planes, damaged files, volume files, PNG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLSNearLossless, RLELossless

from meddenoise.errors import InputError, OutputError
from meddenoise_training.manifest import Manifest, open_slices
from meddenoise_training.pictures import read_window, windowed
from meddenoise_training.prepare import prepare, read_shares

Prepare = Callable[..., tuple[Manifest, list[str]]]


@pytest.fixture
def prepared_with(write_slice, tissue, tmp_path) -> Prepare:
    """Return a function that prepares ``in``, to which one good slice for train and validation each is added."""

    def run(**options) -> tuple[Manifest, list[str]]:
        for number, split in enumerate(("train", "validation")):
            write_slice(tmp_path / f"in/{split}/zz/1.dcm", tissue(number, 10), f"good{number}", f"3.{number}", 0.0)
        lines: list[str] = []
        manifest = prepare(tmp_path / "in", tmp_path / "out", synthetic=0, report=lines.append, **options)
        return manifest, [line.removeprefix("Left out: ") for line in lines if line.startswith("Left out")]

    return run


def compress(path: Path, syntax: str) -> None:
    dataset = pydicom.dcmread(path)
    if syntax == RLELossless:
        dataset.compress(syntax)
    else:  # what is refused by its header is not decoded
        dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
        dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"LossyImageCompression": "01"}, "compressed with loss"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "it is not axial"),
        ({"RescaleType": "Z_EFF"}, "holds values in 'Z_EFF', not in HU"),
        ({"PatientID": "other"}, "of another patient"),
    ],
)
def test_unfit_slices_are_one_line_with_their_reason(write_slice, tissue, tmp_path, prepared_with, changes, reason):
    write_slice(tmp_path / "in/train/s/1.dcm", tissue(1, 10), "a", "2.1", 0.0)
    for k in (2, 3):
        write_slice(tmp_path / f"in/train/s/{k}.dcm", tissue(k, 10), "a", "2.1", 9.0 * k, **changes)
    manifest, lines = prepared_with()
    assert len(manifest.splits["train"]) == 2
    (line,) = lines
    assert line.startswith(f"2 slices in {tmp_path}/in/train/s: ")
    assert reason in line
    assert sum(manifest.left_out.values()) == 2


def test_other_modalities_are_counted_by_kind(write_slice, tissue, tmp_path, prepared_with):
    for k, modality in enumerate(("RTSTRUCT", "MR", "MR", "PT")):
        write_slice(tmp_path / f"in/train/s/{k}.dcm", tissue(k, 10), "a", f"2.{k}", 0.0, Modality=modality)
    manifest, _ = prepared_with()
    assert manifest.left_out == {"RTSTRUCT file": 1, "MR file": 2, "PT file": 1}


def test_compressed_without_loss_is_exact_and_near_lossless_is_refused(write_slice, tissue, tmp_path, prepared_with):
    for name, syntax in (("a", RLELossless), ("b", JPEGLSNearLossless)):
        path = write_slice(tmp_path / f"in/train/{name}/1.dcm", tissue(1, 10), name, f"2.{ord(name)}", 0.0)
        compress(path, syntax)
    manifest, (line,) = prepared_with()
    assert f"in {tmp_path}/in/train/b/1.dcm: it was compressed with loss" in line
    hu = open_slices(tmp_path / "out", "train", manifest)[0]
    np.testing.assert_array_equal(hu, tissue(1, 10).astype(int) - 1024)


@pytest.mark.parametrize("damage", ["cut in the header", "cut in the pixels"])
def test_one_damaged_file_costs_one_slice_and_one_line_that_names_it(
    write_slice, tissue, tmp_path, prepared_with, damage
):
    for k in range(9):
        path = write_slice(tmp_path / f"in/train/s/{k}.dcm", tissue(k, 10), "a", "2.1", 5.0 * k)
        if k == 4:
            content = path.read_bytes()
            path.write_bytes(content[: 500 if damage == "cut in the header" else len(content) // 2])
    manifest, (line,) = prepared_with()
    assert len(manifest.splits["train"]) == 9
    assert line.startswith("1 ")
    assert "train/s/4.dcm" in line


def test_a_copy_of_a_file_is_not_read_twice(write_slice, tissue, tmp_path, prepared_with):
    for k in range(3):
        path = write_slice(tmp_path / f"in/train/s/{k}.dcm", tissue(k, 10), "a", "2.1", 1.0 * k)
    (tmp_path / "in/train/copy").mkdir()
    (tmp_path / "in/train/copy/x.dcm").write_bytes(path.read_bytes())
    manifest, (line,) = prepared_with()
    assert "it is a copy of another file" in line
    assert [e.slab for e in manifest.splits["train"]] == [3, 1], "parts in two folders are one series"


def test_mixed_series_and_patients_in_one_folder_and_sizes(write_slice, tissue, tmp_path, prepared_with):
    for k in range(3):
        write_slice(tmp_path / f"in/train/s/a{k}.dcm", tissue(k, 10), "a", "2.1", 9.0 * k)
        write_slice(tmp_path / f"in/train/s/b{k}.dcm", tissue(k, 10)[:48], "b", "2.2", 9.0 * k)
    manifest, lines = prepared_with()
    train = open_slices(tmp_path / "out", "train", manifest)
    assert sorted(hu.shape for hu in train) == [(48, 64)] * 3 + [(64, 64)] * 4
    assert lines == []
    assert len({e.patient for e in manifest.splits["train"]}) == 3


def test_current_and_time_are_believed_before_exposure(write_slice, tissue, tmp_path, prepared_with):
    """GE writes as Exposure what is not mAs: 4803 for 80 mA during 1.186 s."""
    headers = ({"XRayTubeCurrent": 80, "ExposureTime": 1186, "Exposure": 4803}, {"Exposure": 300}, {})
    for k, header in enumerate(headers):
        write_slice(tmp_path / f"in/train/s/{k}.dcm", tissue(k, 10), "a", "2.1", 9.0 * k, **header)
    manifest, _ = prepared_with()
    assert [e.mas for e in manifest.splits["train"][:3]] == [94.88, 300.0, None]


@pytest.mark.parametrize("free", [False, True])
def test_an_empty_folder_is_one_sentence(tmp_path, free):
    (tmp_path / "in/train").mkdir(parents=True)
    source = tmp_path / "in/train" if free else tmp_path / "in"
    with pytest.raises(InputError, match=r"^There is no CT for training in .*: it holds no files\.$"):
        prepare(source, tmp_path / "out", split=read_shares("80,20,0") if free else None)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_a_folder_without_files_is_told_before_its_division_is_missed(tmp_path):
    (tmp_path / "in/deeper").mkdir(parents=True)
    with pytest.raises(InputError, match=r"^There is no CT for training in .*: it holds no files\.$"):
        prepare(tmp_path / "in", tmp_path / "out")


def write_volume(path: Path, slices: np.ndarray, direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1)) -> None:
    image = sitk.GetImageFromArray(slices)
    image.SetSpacing((0.75, 0.75, 1.0))
    image.SetDirection(direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def test_volume_files_are_series_of_the_patient_that_their_folder_names(tissue, tmp_path, prepared_with):
    """Right below the split the file's own name is the patient's."""
    slices = np.stack([tissue(k, 20).astype(np.int16) - 1024 for k in range(5)])
    for name in ("train/p1/a.nii.gz", "train/p1/b.nrrd", "train/p2.mha", "validation/p3.nrrd"):
        write_volume(tmp_path / "in" / name, slices)
    manifest, lines = prepared_with(slab_mm=3.0)
    train = [e for e in manifest.splits["train"] if e.kind == "slab"]
    assert [(e.slab, e.spacing_mm, e.pixel_mm) for e in train] == [(3, 1.0, 0.75)] * 9
    assert (len({e.patient for e in train}), len({e.series for e in train})) == (2, 3)
    hu = open_slices(tmp_path / "out", "train", manifest)[0]
    np.testing.assert_array_equal(hu, np.rint(slices[:3].mean(axis=0)))
    assert lines == []


def test_the_same_name_in_two_splits_is_one_patient(tissue, tmp_path, prepared_with):
    for split in ("train", "validation"):
        write_volume(tmp_path / f"in/{split}/p1.nrrd", np.stack([tissue(1, 9).astype(np.int16) - 1024]))
    with pytest.raises(InputError, match="'p1' stands in 'train' and in 'validation'"):
        prepared_with()


@pytest.mark.parametrize(
    ("make", "direction", "reason"),
    [
        (lambda hu: (hu > 0).astype(np.uint8), None, "label map"),
        (lambda hu: (hu + 1024).astype(np.uint16), None, "1024 was not taken away|below 0"),
        (lambda hu: (hu / 1000).astype(np.float32), None, "scaled image"),
        (lambda hu: hu, (1, 0, 0, 0, 0, 1, 0, -1, 0), "not axial"),
    ],
)
def test_volume_files_that_are_no_axial_ct_are_refused(tissue, tmp_path, prepared_with, make, direction, reason):
    hu = np.stack([tissue(k, 20).astype(np.int16) - 1024 for k in range(5)])
    write_volume(tmp_path / "in/train/p.nrrd", make(hu), direction or (1, 0, 0, 0, 1, 0, 0, 0, 1))
    manifest, lines = prepared_with()
    assert len(manifest.splits["train"]) == 1
    assert len(lines) == 1
    assert f"1 volume file, {tmp_path}/in/train/p.nrrd: " in lines[0]
    assert any(words in lines[0] for words in reason.split("|"))


def test_a_damaged_volume_file_costs_itself(tissue, tmp_path, prepared_with):
    write_volume(tmp_path / "in/train/p.nii.gz", np.stack([tissue(1, 9).astype(np.int16) - 1024] * 3))
    path = tmp_path / "in/train/p.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    _, (line,) = prepared_with()
    assert "it is incomplete or damaged" in line


def test_pictures_are_rounded_grey_values_of_the_window(tmp_path, prepared_with):
    manifest, _ = prepared_with(png=tmp_path / "png", window=read_window("40/350"))
    entry, hu = manifest.splits["train"][0], open_slices(tmp_path / "out", "train", manifest)[0]
    grey = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"png/train/{entry.series}-0000.png")))
    assert grey.dtype == np.uint8
    expected = np.rint(np.clip((hu.astype(float) + 135) / 350 * 255, 0, 255))
    np.testing.assert_array_equal(grey, expected)
    assert np.unique(grey).size > 50, "neither black nor white alone"
    assert len(list((tmp_path / "png").rglob("*.png"))) == 2
    with pytest.raises(OutputError, match="png exists already"):
        prepare(tmp_path / "in", tmp_path / "new", png=tmp_path / "png")


def test_a_window_is_centre_and_width():
    np.testing.assert_array_equal(windowed(np.array([[-200, -150, 50, 250, 900]], np.int16)), [[0, 0, 128, 255, 255]])
    for text in ("50", "50/0", "a/b", "nan/4"):
        with pytest.raises(InputError, match="The window"):
            read_window(text)
