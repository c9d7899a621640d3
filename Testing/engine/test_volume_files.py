"""Volume files: values, type and geometry kept; what is not a CT volume refused by name; nothing half-written."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as everybody calls it

from meddenoise import volume_files
from meddenoise.errors import InputError, InputWarning, OutputError
from meddenoise.volume_files import EXTENSIONS, Volume, check_output, read_volume, write_volume

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
COS, SIN = math.cos(0.1), math.sin(0.1)


def a_volume(dtype: str = "int16", slices: int = 3) -> Volume:
    """Return a small oblique volume with values up to the limits of its type."""
    kind = np.dtype(dtype)
    array = np.random.default_rng(0).normal(0, 100, (slices, 4, 5)).astype(dtype)
    limits = np.iinfo(kind) if kind.kind in "iu" else np.finfo(kind)
    array[0, 0, :2] = limits.min, limits.max
    return Volume(
        array,
        spacing=(0.703125, 0.7031251234567, 2.3),
        origin=(-123.456789012345, 1 / 3, -1e3),
        direction=(COS, -SIN, 0, SIN, COS, 0, 0, 0, 1),
    )


def assert_same(volume: Volume, other: Volume, tolerance: float) -> None:
    assert other.array.dtype == volume.array.dtype
    np.testing.assert_array_equal(other.array, volume.array)
    for name in ("spacing", "origin", "direction"):
        np.testing.assert_allclose(getattr(other, name), getattr(volume, name), rtol=0, atol=tolerance)


def tolerance_of(extension: str) -> float:
    """Return how exactly a format holds geometry: MetaImage to the bit, NRRD to a last bit, NIfTI in float32."""
    return {".nrrd": 1e-15, ".nhdr": 1e-15, ".nii": 1e-5, ".nii.gz": 1e-5, ".mha": 0.0, ".mhd": 0.0}[extension]


@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_round_trip(tmp_path: Path, extension: str, dtype: str, slices: int):
    volume = a_volume(dtype, slices)
    write_volume(tmp_path / f"ct{extension}", volume)
    assert_same(volume, read_volume(tmp_path / f"ct{extension}"), tolerance_of(extension))


@pytest.mark.parametrize("change", ["big-endian", "strided", "read-only"])
def test_any_layout_of_the_array(tmp_path: Path, change: str):
    volume = a_volume()
    array = volume.array
    if change == "big-endian":
        volume.array = array.astype(">i2")
    elif change == "strided":
        volume.array = np.asfortranarray(array)[:, ::-1]
    else:
        array.setflags(write=False)
    expected = np.array(volume.array, dtype="int16")
    write_volume(tmp_path / "ct.nrrd", volume)
    np.testing.assert_array_equal(read_volume(tmp_path / "ct.nrrd").array, expected)


def test_itk_agrees_on_axes_and_geometry(tmp_path: Path):
    volume = a_volume()
    write_volume(tmp_path / "ct.mha", volume)
    image = sitk.ReadImage(str(tmp_path / "ct.mha"))
    assert image.GetPixel(4, 1, 2) == volume.array[2, 1, 4]
    corner = np.array(volume.direction).reshape(3, 3) @ (np.array([4, 1, 2]) * volume.spacing) + volume.origin
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((4, 1, 2)), corner, atol=1e-9)


@pytest.mark.parametrize("extension", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_metadata_lies_in_the_header(tmp_path: Path, extension: str):
    path = tmp_path / f"ct{extension}"
    write_volume(path, a_volume(), metadata={"MedDenoise.model": "fast", "MedDenoise.strength": "0.5"})
    image = sitk.ReadImage(str(path))
    assert image.GetMetaData("MedDenoise.model") == "fast"
    assert image.GetMetaData("MedDenoise.strength") == "0.5"


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_note_lies_in_nifti_s_descrip(tmp_path: Path, extension: str):
    for note in ("", "Denoised", "x" * 100):
        write_volume(tmp_path / f"ct{extension}", a_volume(), overwrite=True, note=note)
        assert sitk.ReadImage(str(tmp_path / f"ct{extension}")).GetMetaData("descrip") == note[:79]


# --- reading refused


def write_array(path: Path, array: np.ndarray, *, is_vector: bool = False) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=is_vector), str(path))
    return path


@pytest.mark.parametrize("extension", [".nrrd", ".nii.gz", ".mha"])
def test_what_is_not_one_ct_volume(tmp_path: Path, extension: str):
    for array, is_vector, words in (
        (np.zeros((3, 4, 5, 3), "uint8"), True, "3 values in each voxel"),
        (np.zeros((4, 5), "int16"), False, r"2 dimensions \(5 x 4\)"),
        (np.zeros((2, 3, 4, 5), "int16"), False, r"4 dimensions \(5 x 4 x 3 x 2\)"),
        (np.zeros((3, 4, 5), "complex64"), False, "2 values in each voxel"),
    ):
        path = tmp_path / f"ct{extension}"
        write_array(path, array, is_vector=is_vector)
        with pytest.raises(InputError, match=words):
            read_volume(path)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_garbage_under_a_known_name(tmp_path: Path, extension: str):
    path = tmp_path / f"ct{extension}"
    path.write_bytes(b"this is not an image" * 50)
    with pytest.raises(InputError, match="cannot be read"):
        read_volume(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read"):
        read_volume(path)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("extension", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_a_file_cut_short_is_never_filled_with_zeros(tmp_path: Path, extension: str, compressed: bool):
    """The NIfTI library alone would do that, without a word."""
    path = tmp_path / f"ct{extension}"
    array = np.random.default_rng(0).integers(-1000, 1000, (8, 32, 32)).astype("int16")
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path), compressed)
    np.testing.assert_array_equal(read_volume(path).array, array)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"incomplete|damaged"):
        read_volume(path)


def test_a_nifti_beside_its_compressed_namesake_is_not_confused_with_it(tmp_path: Path):
    """The NIfTI library alone would give the values of ct.nii for ct.nii.gz."""
    write_array(tmp_path / "ct.nii", np.full((2, 3, 4), 1, "int16"))
    write_array(tmp_path / "other.nii.gz", np.full((2, 3, 4), 2, "int16"))
    (tmp_path / "other.nii.gz").rename(tmp_path / "ct.nii.gz")
    assert read_volume(tmp_path / "ct.nii").array.max() == 1
    with pytest.raises(InputError, match=r"Beside ct\.nii\.gz lies ct\.nii"):
        read_volume(tmp_path / "ct.nii.gz")
    (tmp_path / "ct.nii").unlink()
    assert read_volume(tmp_path / "ct.nii.gz").array.max() == 2


def test_scaled_nifti_gives_the_scaled_values(tmp_path: Path):
    path = write_array(tmp_path / "ct.nii", np.full((2, 3, 4), 100, "int16"))
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([0.5, -1024], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(data)
    np.testing.assert_array_equal(read_volume(path).array, np.full((2, 3, 4), -974.0))


def test_missing_and_unknown_inputs(tmp_path: Path):
    with pytest.raises(InputError, match="no file or folder"):
        read_volume(tmp_path / "nothing.nrrd")
    (tmp_path / "ct.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match="no known kind"):
        read_volume(tmp_path / "ct.png")
    (tmp_path / "ct.dcm").write_bytes(b"not DICOM")
    with (
        pytest.warns(InputWarning, match=r"because damaged; .*ct\.dcm"),
        pytest.raises(InputError, match="1 damaged DICOM file"),
    ):
        read_volume(tmp_path / "ct.dcm")
    write_volume(tmp_path / "ct.nrrd", a_volume())
    with pytest.raises(InputError, match="no series to choose"):
        read_volume(tmp_path / "ct.nrrd", series_uid="1.2.3")


# --- writing refused, and nothing left behind


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_existing_file_is_kept_until_overwriting_is_allowed(tmp_path: Path):
    path = tmp_path / "ct.nrrd"
    write_volume(path, a_volume())
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        check_output(path)
    with pytest.raises(OutputError, match="exists already"):
        write_volume(path, a_volume("float32"))
    assert path.read_bytes() == before
    write_volume(path, a_volume("float32"), overwrite=True)
    assert read_volume(path).array.dtype == np.float32
    assert left_in(tmp_path) == ["ct.nrrd"]


def test_the_data_file_of_another_header_is_not_overwritten(tmp_path: Path):
    (tmp_path / "ct.zraw").write_bytes(b"of something else")
    with pytest.raises(OutputError, match=r"ct\.zraw exists already"):
        write_volume(tmp_path / "ct.mhd", a_volume())
    assert left_in(tmp_path) == ["ct.zraw"]
    assert (tmp_path / "ct.zraw").read_bytes() == b"of something else"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing/ct.nrrd", "does not exist"),
        ("a_file/ct.nrrd", "does not exist"),
        ("ct.png", "cannot be written as"),
        ("ct.gz", "cannot be written as"),
        ("ct.dcm", "only from DICOM input"),
        ("folder", "only from DICOM input"),
        ("no_extension", "has no ending that names a format"),
        ("no_folder/", "only from DICOM input"),
        ("folder.nrrd", "only from DICOM input"),
    ],
)
def test_outputs_that_cannot_be(tmp_path: Path, name: str, words: str):
    (tmp_path / "a_file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.nrrd").mkdir()
    before = left_in(tmp_path)
    for action in (check_output, lambda path: write_volume(path, a_volume())):
        with pytest.raises(OutputError, match=words):
            action(f"{tmp_path}/{name}")
    assert left_in(tmp_path) == before


def test_a_closed_folder():
    """The process file system takes no files, not even from root."""
    if not Path("/proc/self").is_dir():
        pytest.skip("this system has no /proc to try")
    with pytest.raises(OutputError, match="cannot be written to"):
        check_output("/proc/ct.nrrd")


def test_a_check_leaves_nothing(tmp_path: Path):
    assert check_output(tmp_path / "ct.nrrd") == tmp_path / "ct.nrrd"
    assert left_in(tmp_path) == []


def test_a_full_disk_leaves_the_old_file(tmp_path: Path):
    """A limit on the size of files stands for the full disk: the write really fails in the middle."""
    resource = pytest.importorskip("resource", reason="this system has no limits to set")
    path = tmp_path / "ct.nrrd"
    write_volume(path, a_volume())
    before = path.read_bytes()
    noise = np.random.default_rng(0).integers(-32768, 32768, (10, 100, 100)).astype("int16")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=re.escape(str(path))):
            write_volume(path, Volume(noise), overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert left_in(tmp_path) == ["ct.nrrd"]


def test_an_interruption_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object) -> None:
        assert any((tmp_path / left_in(tmp_path)[0]).iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(volume_files, "_move_into_place", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_volume(tmp_path / "ct.nrrd", a_volume())
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    "array", [np.zeros((2, 3, 4), "float16"), np.zeros((2, 3, 4), bool), np.zeros((3, 4)), np.zeros((0, 3, 4))]
)
def test_arrays_that_are_no_volume(tmp_path: Path, array: np.ndarray):
    with pytest.raises(InputError):
        write_volume(tmp_path / "ct.nrrd", Volume(array))
    assert left_in(tmp_path) == []


def test_home_folder_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write_volume("~/ct.nrrd", a_volume())
    assert left_in(tmp_path) == ["ct.nrrd"]
    assert read_volume(f"~{os.sep}ct.nrrd").array.shape == (3, 4, 5)


# --- MetaImage without all of its data


@pytest.mark.parametrize("name", ["local.mha", "apart.mhd"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_metaimage_cut_short_is_refused_with_nothing_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, compressed: bool
) -> None:
    path = tmp_path / name
    values = np.random.default_rng(0).integers(0, 99, (4, 30, 30)).astype(np.int16)
    for dtype in (np.int16, np.float32):
        sitk.WriteImage(sitk.GetImageFromArray(values.astype(dtype)), str(path), compressed)
        np.testing.assert_array_equal(read_volume(path).array, values)
    data = next((file for file in tmp_path.iterdir() if file.suffix in (".raw", ".zraw")), path)
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    with pytest.raises(InputError, match=r"incomplete or damaged"):
        read_volume(path)
    if data != path:
        data.unlink()
        with pytest.raises(InputError, match=r"which is not there; copy both files"):
            read_volume(path)
    assert capfd.readouterr() == ("", "")


def test_a_volume_is_on_the_grid_of_another_within_what_files_round() -> None:
    geometry = {"spacing": (0.7, 0.8, 2.5), "origin": (-120.25, 3.5, 1000.0)}
    volume = Volume(np.zeros((5, 6, 7), np.int16), **geometry)
    assert Volume(np.zeros((5, 6, 7), bool), **geometry).is_on_grid_of(volume)
    rounded = {name: tuple(float(np.float32(v)) for v in values) for name, values in geometry.items()}
    assert Volume(np.zeros((5, 6, 7)), **rounded).is_on_grid_of(volume)
    for other in (
        Volume(np.zeros((5, 7, 6)), **geometry),
        Volume(np.zeros((5, 6, 7)), spacing=(0.7, 0.8, 2.6), origin=geometry["origin"]),
        Volume(np.zeros((5, 6, 7)), spacing=geometry["spacing"], origin=(-120.25, 3.6, 1000.0)),
        Volume(np.zeros((5, 6, 7)), **geometry, direction=(-1.0, 0, 0, 0, -1, 0, 0, 0, 1)),
    ):
        assert not other.is_on_grid_of(volume)


def test_a_name_that_is_not_in_unicode_is_refused_before_simpleitk_ends_the_process(tmp_path: Path):
    with pytest.raises(OutputError, match="not in Unicode"):
        check_output(tmp_path / "M\udcfcller.nrrd")
