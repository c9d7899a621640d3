"""DICOM series read into HU: the same on pydicom 2.4.4 (Slicer 5.10) and 3, and the same as ITK's own reader gives."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import (
    COLUMNS,
    ENHANCED_CT,
    JPEG_2000_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS,
    RLE,
    ROWS,
    RT_STRUCTURE_SET,
    SECONDARY_CAPTURE,
    compress,
    ct_slice,
    with_raw_text,
    write,
    write_series,
    z_of,
)

from meddenoise.dicom import find_series, read_folder, read_series
from meddenoise.dicom.acquisition import read_acquisition
from meddenoise.dicom.pixels import in_smallest_exact_type
from meddenoise.dicom.series import scan
from meddenoise.errors import InputError, InputWarning
from meddenoise.volume_files import read_volume


def itk_reads(paths: list[Path]) -> Any:
    """Return the image that ITK and its own GDCM make of the files, in the order given."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in paths])
    return reader.Execute()


def assert_same_as_itk(volume: Any, paths: list[Path]) -> None:
    import SimpleITK

    image = itk_reads(paths)
    expected = SimpleITK.GetArrayFromImage(image).astype(np.float64)
    # 1e-3 HU: the rounding of float32, where the rescale gives fractions
    np.testing.assert_allclose(volume.array, expected, rtol=0, atol=0 if volume.array.dtype == np.int16 else 1e-3)
    np.testing.assert_allclose(volume.origin, image.GetOrigin(), rtol=0, atol=1e-9)
    np.testing.assert_allclose(volume.spacing, image.GetSpacing(), rtol=0, atol=1e-9)
    np.testing.assert_allclose(volume.direction, image.GetDirection(), rtol=0, atol=1e-9)


# --- a series becomes a volume


def test_slices_are_sorted_by_position_and_rescaled(tmp_path: Path):
    volume = read_volume(write_series(tmp_path))
    expected = [np.random.default_rng(k).integers(0, 2500, (ROWS, COLUMNS)) - 1024 for k in range(5)]
    np.testing.assert_array_equal(volume.array, expected)
    assert volume.array.dtype == np.int16
    assert volume.spacing == (0.7, 0.8, 2.5)
    assert volume.origin == (-100.5, -80.25, 40)
    assert volume.direction == (1, 0, 0, 0, 1, 0, 0, 0, 1)


OBLIQUE = [0.8, 0.6, 0, 0, 0, -1]  # normal (-0.6, 0.8, 0)


@pytest.mark.parametrize(
    ("orientation", "step"),
    [
        ([1, 0, 0, 0, 1, 0], (0, 0, 2.5)),
        ([1, 0, 0, 0, 1, 0], (0, 0, -2.5)),
        ([-1, 0, 0, 0, 1, 0], (0, 0, 2.5)),
        (OBLIQUE, (-1.5, 2.0, 0)),
        (OBLIQUE, (1.5, -2.0, 0)),
    ],
    ids=["axial", "from head to feet", "prone", "oblique", "oblique, backwards"],
)
def test_geometry_is_what_itk_says(tmp_path: Path, orientation: list[float], step: tuple[float, ...]):
    for k in range(4):
        position = [round(10 + k * d, 6) for d in step]
        write(ct_slice(k, ImageOrientationPatient=orientation, ImagePositionPatient=position), tmp_path / f"{k}.dcm")
    (series,) = find_series(tmp_path)
    volume = read_series(series)
    normal = np.cross(orientation[:3], orientation[3:])
    paths = [tmp_path / f"{k}.dcm" for k in range(4)]
    assert_same_as_itk(volume, paths if np.dot(normal, step) > 0 else paths[::-1])
    assert np.linalg.det(np.reshape(volume.direction, (3, 3))) == pytest.approx(1)


def test_each_slice_has_its_own_rescale(tmp_path: Path):
    stored = np.full((ROWS, COLUMNS), 1000, np.uint16)
    write(ct_slice(0, stored=stored, RescaleIntercept="-1000"), tmp_path / "0.dcm")
    write(ct_slice(1, stored=stored, RescaleSlope="2", RescaleIntercept="-1024"), tmp_path / "1.dcm")
    np.testing.assert_array_equal(read_folder(tmp_path).array[:, 0, 0], [0, 976])


@pytest.mark.parametrize(
    ("slope", "intercept", "hu_of_1000"),
    [
        (b"001.000000E+00", b"-01.024000E+03", -24),
        (b" 1 ", b"-1024 ", -24),
        (b"1.0002441", b"-1024", 1000 * 1.0002441 - 1024),
        (b"0.5", b"-1000", -500),
        (b"0.5", b"-1000.25", -500.25),
    ],
)
def test_rescale_as_scanners_write_it(tmp_path: Path, slope: bytes, intercept: bytes, hu_of_1000: float):
    stored = np.full((ROWS, COLUMNS), 1000, np.uint16)
    path = write(ct_slice(stored=stored), tmp_path / "0.dcm")
    with_raw_text(path, (0x0028, 0x1053), slope)
    with_raw_text(path, (0x0028, 0x1052), intercept)
    array = read_volume(path).array
    assert array.dtype == (np.int16 if hu_of_1000 == int(hu_of_1000) else np.float32)
    np.testing.assert_array_equal(array, np.full((1, ROWS, COLUMNS), hu_of_1000, array.dtype))
    assert_same_as_itk_values(array, path)


def assert_same_as_itk_values(array: np.ndarray, path: Path) -> None:
    import SimpleITK

    expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).astype(np.float64)
    np.testing.assert_allclose(array.reshape(expected.shape), expected, rtol=0, atol=1e-3)


def test_fractions_in_one_slice_make_the_volume_float_and_change_no_other(tmp_path: Path):
    write_series(tmp_path, 3)
    with_raw_text(tmp_path / "007.dcm", (0x0028, 0x1053), b"1.0002441")
    volume = read_folder(tmp_path)
    assert volume.array.dtype == np.float32
    # file by file: ITK's series reader takes the type of the first slice and truncates the others to it
    for k, path in enumerate(sorted(tmp_path.iterdir(), key=z_of)):
        assert_same_as_itk_values(volume.array[k], path)


def test_padding_comes_as_it_is(tmp_path: Path):
    stored = np.zeros((ROWS, COLUMNS), np.int16)
    stored[0] = -2000
    # 63536 is -2000 read as unsigned: real GE series say so
    path = write(ct_slice(stored=stored, PixelPaddingValue=-2000), tmp_path / "0.dcm")
    array = read_volume(path).array
    assert array[0, 0, 0] == -3024
    assert array[0, 1, 0] == -1024
    assert array.dtype == np.int16


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        (np.uint16, {}, None),
        (np.uint16, {"PixelPaddingValue": 0}, (-1024, -1024)),
        (np.int16, {"PixelPaddingValue": -2000}, (-3024, -3024)),
        (np.int16, {"PixelPaddingValue": 63536}, (-3024, -3024)),
        (np.uint16, {"PixelPaddingValue": 10, "PixelPaddingRangeLimit": 0}, (-1024, -1014)),
        (np.uint16, {"PixelPaddingValue": 7, "RescaleSlope": "0.1"}, (float(np.float32(-1023.3)),) * 2),
    ],
)
def test_what_the_header_says_is_padding(tmp_path: Path, kind: type, changes: dict[str, Any], expected: Any):
    stored = np.full((ROWS, COLUMNS), 1000, kind)
    stored[0] = np.array(changes.get("PixelPaddingValue", 0)).astype(kind)
    for k in range(2):
        dataset = ct_slice(k, stored=stored, **changes)
        if changes.get("PixelPaddingValue") == 63536:
            dataset["PixelPaddingValue"].VR = "US"  # as scanners write it
        write(dataset, tmp_path / f"{k}.dcm")
    volume = read_folder(tmp_path)
    assert volume.padding == expected
    assert expected is None or volume.array[0, 0, 0] in expected
    write(ct_slice(2, stored=stored, PixelPaddingValue=5), tmp_path / "2.dcm")  # which says something else
    assert read_folder(tmp_path).padding is None


def test_bits_that_are_not_stored_do_not_count(tmp_path: Path):
    unsigned = np.full((ROWS, COLUMNS), 0xF000 | 1000, np.uint16)  # an old overlay in the upper 4 bits
    signed = np.full((ROWS, COLUMNS), 0x0FFF, np.uint16).view(np.int16)  # -1 in 12 bits, the sign not carried up
    bits = {"BitsStored": 12, "HighBit": 11}
    for k, stored in enumerate((unsigned, signed)):
        write(ct_slice(k, stored=stored, **bits), tmp_path / f"{k}.dcm")
    volume = read_folder(tmp_path)
    np.testing.assert_array_equal(volume.array[:, 0, 0], [-24, -1025])
    assert_same_as_itk(volume, [tmp_path / "0.dcm", tmp_path / "1.dcm"])


@pytest.mark.parametrize(
    ("hu", "dtype"),
    [
        ([-1024.0, 3071.0], np.int16),
        ([-32768.0, 32767.0], np.int16),
        ([0.0, 32768.0], np.float32),
        ([-32769.0, 0.0], np.float32),
        ([0.0, 1e-3], np.float32),
    ],
)
def test_hu_are_int16_only_where_nothing_is_lost(hu: list[float], dtype: type):
    result = in_smallest_exact_type(np.array(hu))
    assert result.dtype == dtype
    np.testing.assert_allclose(result, hu, rtol=1e-7)


@pytest.mark.parametrize("syntax", [JPEG_LOSSLESS_SV1, JPEG_LS, JPEG_2000_LOSSLESS, RLE])
@pytest.mark.parametrize(
    ("kind", "bits", "low", "high"),
    [(np.uint16, 12, 0, 4096), (np.uint16, 16, 0, 65536), (np.int16, 16, -32768, 32768), (np.int16, 13, -4096, 4096)],
    ids=["12 bits unsigned", "16 bits unsigned", "16 bits signed", "13 bits signed"],
)
def test_compressed_files_hold_the_same_hu(tmp_path: Path, syntax: str, kind: type, bits: int, low: int, high: int):
    stored = np.random.default_rng(bits).integers(low, high, (ROWS, COLUMNS)).astype(kind)
    stored[0, :2] = low, high - 1
    bits_tags = {"BitsStored": bits, "HighBit": bits - 1}
    path = write(ct_slice(stored=stored, RescaleIntercept="-1024", **bits_tags), tmp_path / "0.dcm")
    compress(path, syntax)
    array = read_volume(path).array
    np.testing.assert_array_equal(array[0], stored.astype(np.int64) - 1024)
    assert_same_as_itk_values(array, path)


def test_files_of_other_software_read_as_itk_reads_them():
    """CT_small.dcm, inside pydicom's wheel, was written by a GE scanner."""
    from pydicom.data import get_testdata_file

    path = get_testdata_file("CT_small.dcm", download=False)
    assert path is not None
    array = read_volume(path).array
    assert array.shape == (1, 128, 128)
    assert_same_as_itk_values(array, Path(path))


# --- what lies in a folder


def test_only_ct_images_count(tmp_path: Path):
    write_series(tmp_path / "deep" / "er", 3)
    write(ct_slice(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), tmp_path / "scout.dcm")
    write(ct_slice(SOPClassUID=SECONDARY_CAPTURE), tmp_path / "dose report")
    write(ct_slice(SOPClassUID=RT_STRUCTURE_SET, Modality="RTSTRUCT", PixelData=None), tmp_path / "rs.dcm")
    (tmp_path / "README.txt").write_text("Read me.")
    (series,) = find_series(tmp_path)
    assert (series.uid, series.description, series.number, len(series.slices)) == ("1.2.3.4", "Abdomen", "3", 3)


def test_a_folder_without_ct_says_what_it_holds(tmp_path: Path):
    write(ct_slice(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), tmp_path / "scout.dcm")
    write(ct_slice(Modality="MR"), tmp_path / "mr.dcm")
    (tmp_path / "README.txt").write_text("Read me.")
    with pytest.raises(InputError, match="no CT series") as caught:
        read_folder(tmp_path)
    for words in ("1 CT localizer,", "1 MR file,", "1 non-DICOM file."):
        assert words in str(caught.value)
    with pytest.raises(InputError, match=r"no CT series.* no files"):
        read_folder(tmp_path_empty(tmp_path))


def test_a_dicomdir_is_neither_a_ct_nor_damaged():
    """The one inside pydicom's wheel; without its images there is nothing to read."""
    from pydicom.data import get_testdata_file

    path = get_testdata_file("DICOMDIR", download=False)
    assert path is not None
    with pytest.raises(InputError, match=r"1 DICOMDIR file\."):  # a warning would be an error here
        read_volume(path)


def tmp_path_empty(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def test_of_several_series_none_is_chosen_silently(tmp_path: Path):
    write_series(tmp_path / "a", 3)
    write_series(tmp_path / "b", 4, series_uid="1.2.3.5", SeriesDescription="Lung")
    with pytest.raises(InputError, match="2 CT series") as caught:
        read_volume(tmp_path)
    for words in ("--series", "1.2.3.4", "1.2.3.5", "'Abdomen', 3 slices", "'Lung', 4 slices"):
        assert words in str(caught.value)
    assert read_volume(tmp_path, series_uid="1.2.3.5").array.shape[0] == 4
    with pytest.raises(InputError, match=r"no CT series 9\.9.*Lung"):
        read_volume(tmp_path, series_uid="9.9")


def test_many_series_are_listed_in_short(tmp_path: Path):
    for number in range(10):
        write_series(tmp_path / f"{number}", 1, series_uid=f"1.2.3.{number}", SeriesDescription="Long words " * 5)
    with pytest.raises(InputError, match=r"10 CT series .*; 1\.2\.3\.7 .*; … and 2 more\.") as caught:
        read_volume(tmp_path)
    words = str(caught.value)
    assert "1.2.3.0 ('Long words Long words Long words Long wo…', 1 slice)" in words
    assert "1.2.3.8" not in words
    assert "\n" not in words


def test_a_damaged_file_is_reported_and_the_gap_it_leaves_is_noticed(tmp_path: Path):
    write_series(tmp_path, 5)
    victim = next(path for path in tmp_path.iterdir() if z_of(path) == 45)
    victim.write_bytes(victim.read_bytes()[:200])
    with (
        pytest.warns(InputWarning, match="1 DICOM file left out"),
        pytest.raises(InputError, match="misses slices"),
    ):
        read_folder(tmp_path)


@pytest.mark.parametrize("left", [0, 700, "text"], ids=["empty", "cut inside the header", "no DICOM"])
def test_a_slice_that_was_copied_in_part_is_told(tmp_path: Path, left: int | str):
    write_series(tmp_path, 3, InstitutionAddress="x" * 600)
    middle = next(path for path in tmp_path.iterdir() if z_of(path) == 42.5)  # without it, the grid is regular still
    middle.write_bytes(b"<html>" * 99 if isinstance(left, str) else middle.read_bytes()[:left])
    if left == 700:
        rest = pydicom.dcmread(middle)
        assert rest.Modality == "CT"
        assert "SeriesInstanceUID" not in rest
    (tmp_path / "._000.dcm").write_bytes(b"Mac")
    (tmp_path / ".nomedia").touch()
    (tmp_path / "notes.txt").touch()
    with pytest.warns(InputWarning, match=rf"1 DICOM file left out, because damaged; the first: {middle}\."):
        contents = scan(tmp_path)
    assert [len(series.slices) for series in contents.series] == [2]
    assert contents.damaged == {tmp_path: [middle]}
    assert contents.others == {"damaged DICOM file": 1, "non-DICOM file": 3}


def test_slices_without_a_series_uid_are_one_series_by_folder(tmp_path: Path):
    for name in "ab":
        write_series(tmp_path / name, 3, series_uid=None)
    with pytest.raises(InputError, match="2 CT series") as caught:
        read_folder(tmp_path)
    assert f"without UID in {tmp_path / 'b'} ('Abdomen', 3 slices)" in str(caught.value)
    with pytest.raises(InputError, match="Several CT series"):
        read_folder(tmp_path, "without UID")
    assert read_folder(tmp_path / "a", "without UID").array.shape[0] == 3


def test_what_a_killed_run_left_is_no_series(tmp_path: Path):
    write_series(tmp_path / "a", 3)
    write_series(tmp_path / ".meddenoise-0123", 2, series_uid="1.2.3.5")
    (series,) = find_series(tmp_path)
    assert len(series.slices) == 3


def test_copies_of_slices_are_left_out(tmp_path: Path):
    write_series(tmp_path, 5)
    first = sorted(tmp_path.iterdir())[0]
    (tmp_path / "copy.dcm").write_bytes(first.read_bytes())
    with pytest.warns(InputWarning, match=r"1 repeated slice .*: .*copy\.dcm"):
        assert read_folder(tmp_path).array.shape[0] == 5


def test_files_without_a_preamble(tmp_path: Path):
    whole, bare = write_series(tmp_path / "whole", 3), tmp_path / "bare"
    bare.mkdir()
    for path in whole.iterdir():
        (bare / path.name).write_bytes(path.read_bytes()[132:])  # the meta information is there still
    np.testing.assert_array_equal(read_folder(bare).array, read_folder(whole).array)
    for path in whole.iterdir():
        data = path.read_bytes()
        (bare / path.name).write_bytes(data[data.index(b"\x08\x00\x08\x00CS") :])  # the data set alone
    np.testing.assert_array_equal(read_folder(bare).array, read_folder(whole).array)
    assert read_acquisition(find_series(bare)[0]).thickness_mm == 2.5
    (bare / "notes.txt").write_bytes(b"\x08\x00")
    assert len(find_series(bare)) == 1


@pytest.mark.parametrize(
    ("positions", "words"),
    [
        ([[0, 0, 0], [0, 0, 2.5], [0, 0, 6], [0, 0, 8.5]], "uneven slice spacing"),
        ([[0, 0, 0], [0, 0, 2.5], [0, 0, 5], [0, 0, 10]], "misses slices"),
        ([[0, 0, 0], [0, 1, 2.5], [0, 2, 5], [0, 3, 7.5]], "shifted sideways"),
    ],
)
def test_what_is_no_grid_is_read_slice_by_slice_when_asked(tmp_path: Path, positions: list[list[float]], words: str):
    for k, position in enumerate(positions):
        write(ct_slice(k, ImagePositionPatient=position), tmp_path / f"{9 - k}.dcm")
    (series,) = find_series(tmp_path)
    with pytest.raises(InputError, match=f"^The CT series .*{words}.*; convert it to NRRD"):
        read_series(series)
    with pytest.warns(InputWarning, match=words):
        volume = read_series(series, regular=False)
    expected = [np.random.default_rng(k).integers(0, 2500, (ROWS, COLUMNS)) - 1024 for k in range(4)]
    np.testing.assert_array_equal(volume.array, expected)


def test_missing_folder():
    with pytest.raises(InputError, match="no file or folder"):
        find_series("/nowhere/at/all")


# --- what is refused, by name


def replace_slice(folder: Path, k: int, **changes: Any) -> None:
    for path in folder.iterdir():
        if pydicom.dcmread(path).InstanceNumber == k + 1:
            write(ct_slice(k, **changes), path)


WIDE = np.zeros((ROWS, COLUMNS + 1), np.uint16)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ImagePositionPatient": [-100.5, -80.25, 40]}, "at the position of another"),
        ({"ImagePositionPatient": [-100.5, -80.25, 46.0]}, "uneven slice spacing"),
        ({"ImageOrientationPatient": [0, 1, 0, -1, 0, 0]}, "different orientations"),
        ({"PixelSpacing": [0.9, 0.7]}, "different pixel spacings"),
        ({"stored": WIDE}, "different sizes"),
        ({"Rows": None, "Columns": None, "PixelData": None}, r"\.dcm is incomplete or damaged; copy it again"),
        ({"ImagePositionPatient": [-100, -80.25, 45]}, "shifted sideways"),
        ({"ImagePositionPatient": None}, "where its slices lie"),
        ({"ImageOrientationPatient": None}, "different orientations"),
        ({"SOPClassUID": ENHANCED_CT}, "does not say where its frames lie"),
        ({"NumberOfFrames": 2}, "does not say where its frames lie"),
        ({"RescaleSlope": None}, "no rescale slope"),
        ({"RescaleIntercept": ""}, "no rescale slope"),
        ({"RescaleSlope": "0"}, "impossible rescale"),
        ({"RescaleType": "MGML"}, "in 'MGML', not in HU"),
        ({"PixelData": None}, r"\.dcm holds no image or is incomplete; copy it again"),
        ({"PixelData": b"\0\0"}, "damaged, incomplete, or compressed"),
        ({"SamplesPerPixel": 3}, "colour image"),
    ],
)
def test_one_slice_that_does_not_fit(tmp_path: Path, change: dict[str, Any], words: str):
    write_series(tmp_path, 5)
    replace_slice(tmp_path, 2, **change)
    with pytest.raises(InputError, match=words) as caught:
        read_folder(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"PixelSpacing": None}, "how large its pixels are"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "impossible orientation"),
        ({"ImageOrientationPatient": None}, "where its slices lie"),
        ({"ImagePositionPatient": [0, 0, 0]}, "4 slices at the position of another"),
    ],
)
def test_whole_series_refused(tmp_path: Path, change: dict[str, Any], words: str):
    with pytest.raises(InputError, match=words):
        read_folder(write_series(tmp_path, 5, **change))


def test_missing_slice(tmp_path: Path):
    write_series(tmp_path, 5)
    next(path for path in tmp_path.iterdir() if z_of(path) == 45).unlink()
    with pytest.raises(InputError, match=r"misses slices: .* 2\.5 mm apart, but with 1 wider gap, the first of 5 mm"):
        read_folder(tmp_path)


def test_gantry_tilt(tmp_path: Path):
    for k in range(5):  # tilted about x by 10 degrees, moved along the table
        tilt = np.deg2rad(10)
        orientation = [1, 0, 0, 0, round(float(np.cos(tilt)), 6), round(float(np.sin(tilt)), 6)]
        write(ct_slice(k, ImageOrientationPatient=orientation), tmp_path / f"{k}.dcm")
    with pytest.raises(InputError, match="gantry tilt of about 10 degrees"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("positions", "spacing"),
    [([0, 2.54, 4.96, 7.54, 10], 2.5), ([0, 5.09, 10, 14.91, 20], 5), ([0, 0.6, 1.2, 1.9, 2.5], 0.625)],
    ids=["0.04 mm", "2 % of the spacing", "0.625 mm rounded to 0.1 mm"],
)
def test_positions_rounded_by_the_scanner_are_accepted(tmp_path: Path, positions: list[float], spacing: float):
    for k, position in enumerate(positions):
        write(ct_slice(k, ImagePositionPatient=[0, 0, position]), tmp_path / f"{k}.dcm")
    assert read_folder(tmp_path).spacing[2] == pytest.approx(spacing)


def test_a_single_slice_without_a_position_is_read_with_a_warning(tmp_path: Path):
    path = write(ct_slice(ImagePositionPatient=None, ImageOrientationPatient=None), tmp_path / "0.dcm")
    with pytest.warns(InputWarning, match="put at the origin"):
        volume = read_volume(path)
    assert volume.array.shape == (1, ROWS, COLUMNS)
    assert (volume.origin, volume.spacing) == ((0, 0, 0), (0.7, 0.8, 2.5))


def test_a_palette_is_no_ct(tmp_path: Path):
    with pytest.raises(InputError, match="a colour image, not a CT"):
        read_folder(write_series(tmp_path, 3, PhotometricInterpretation="PALETTE COLOR"))


def test_without_a_high_bit(tmp_path: Path):
    assert read_folder(write_series(tmp_path, 3, HighBit=None)).array.shape == (3, ROWS, COLUMNS)


def test_a_rescale_that_is_no_number(tmp_path: Path):
    path = write(ct_slice(), tmp_path / "0.dcm")
    for text in (b"abc", b"1\\2"):
        with_raw_text(path, (0x0028, 0x1053), text)
        with pytest.raises(InputError, match="not a number"):
            read_volume(path)


@pytest.mark.parametrize("syntax", [JPEG_LS, JPEG_2000_LOSSLESS, JPEG_LOSSLESS_SV1, RLE])
def test_a_file_cut_short(tmp_path: Path, syntax: str):
    stored = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    path = write(ct_slice(stored=stored), tmp_path / "0.dcm")
    compress(path, syntax)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(InputError, match="incomplete"):
        read_volume(path)


def test_reading_leaves_warnings_of_the_caller_alone(tmp_path: Path):
    write_series(tmp_path, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        read_folder(tmp_path)
        assert warnings.filters == before


# --- real CT


@pytest.mark.parametrize("name", ["test/stage2-crc-005", "test/kits-00072", "train/rider-0117"])
def test_real_series_are_what_itk_reads(ct_data: Path, name: str):
    (series,) = find_series(ct_data / name)
    assert_same_as_itk(read_series(series), sorted((item.path for item in series.slices), key=z_of))


def test_real_slices_with_every_slope_and_intercept(ct_data: Path):
    folder = ct_data / "validation" / "tcga-lung"
    with pytest.raises(InputError, match="23 CT series"):
        read_folder(folder)
    for series in find_series(folder)[::4]:
        assert_same_as_itk_values(read_series(series).array, series.slices[0].path)
