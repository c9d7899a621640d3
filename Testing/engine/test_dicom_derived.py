"""A denoised series as DICOM: true to its source, read alike by others, refused rather than half written."""

from __future__ import annotations

import dataclasses
import json
import struct
import subprocess
import sys
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.data
import pytest
from dicom_files import COLUMNS, JPEG_LS, RLE, ROWS, compress, ct_slice, with_raw_text, write, write_series, z_of
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from meddenoise.arrays import rounded_to
from meddenoise.dicom import Derivation, Series, find_series, read_series, write_derived_series
from meddenoise.dicom.pixels import read_image, stored_values
from meddenoise.errors import InputError, InputWarning, OutputError

DERIVATION = Derivation("fast", "Fast", "ab12" * 16, 0.7, {"quality": "best"})
NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=timezone.utc)


def one_series(folder: Path) -> Series:
    (series,) = find_series(folder)
    return series


def derive(source: Path, target: Path, change: Any = lambda hu: hu, **options: Any) -> list[Path]:
    """Write what ``change`` makes of the HU of the one series in a folder."""
    series = one_series(source)
    hu = change(read_series(series, regular=False).array)
    return write_derived_series(target, series, hu, options.pop("derivation", DERIVATION), **options)


def noisier(hu: np.ndarray) -> np.ndarray:
    return hu + np.random.default_rng(1).integers(-40, 41, hu.shape).astype(hu.dtype)


def stored(path: Path) -> np.ndarray:
    return stored_values(read_image(path), path).astype(int)


def header(path: Path) -> Any:
    return pydicom.dcmread(path)


def errors_of(path: Path) -> set[str]:
    """Return what dciodvfy, of David Clunie's dicom3tools, has against a file."""
    tool = Path(sys.executable).with_name("dciodvfy")
    lines = subprocess.run([tool, path], capture_output=True, text=True, errors="replace", check=False).stderr
    assert "CTImage" in lines  # it has run, and has seen what it is
    return {line for line in lines.splitlines() if line.startswith("Error")}


# --- what it says


def test_header_of_a_derived_series(tmp_path: Path):
    source = write_series(
        tmp_path / "in",
        3,
        StudyInstanceUID="1.2.3",
        FrameOfReferenceUID="1.2.4",
        PatientName="Doe^Jane",
        PatientID="7",
        ConvolutionKernel="B30f",
        WindowCenter=50,
        WindowWidth=400,
        LossyImageCompression="01",
        Manufacturer="SCANNER",
        IconImageSequence=Sequence([Dataset()]),
        ContributingEquipmentSequence=Sequence([Dataset()]),
        DerivationDescription="averaged",
    )
    files = derive(source, tmp_path / "out", noisier, created=NOON)
    sources = sorted(source.iterdir(), key=z_of)
    assert [path.name for path in files] == ["0001.dcm", "0002.dcm", "0003.dcm"]
    for before, after in zip(map(header, sources), map(header, files), strict=True):
        for kept in [
            "StudyInstanceUID",
            "FrameOfReferenceUID",
            "PatientName",
            "PatientID",
            "ConvolutionKernel",
            "WindowCenter",
            "WindowWidth",
            "LossyImageCompression",
            "Manufacturer",
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "PixelSpacing",
            "InstanceNumber",
            "RescaleSlope",
            "RescaleIntercept",
        ]:
            assert after[kept] == before[kept], kept
        assert after.ImageType == ["DERIVED", "SECONDARY", "AXIAL"]
        assert (after.SeriesNumber, after.SeriesDescription) == (1003, "Abdomen DENOISED fast 70%")
        for words in (
            "MedDenoise",
            "'Fast' (fast), strength 70%, quality best",
            "weights: SHA-256 " + "ab12" * 16,
            "averaged",
        ):
            assert words in after.DerivationDescription
        code = after.DerivationCodeSequence[0]
        assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == ("113087", "DCM", "Smoothing")
        (reference,) = after.SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == before.SOPInstanceUID != after.SOPInstanceUID
        assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        scanner, equipment = after.ContributingEquipmentSequence
        assert len(scanner) == 0
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert (equipment.Manufacturer, after.SeriesDate, len(equipment.SoftwareVersions) > 0) == (
            "MedDenoise",
            NOON.astimezone().strftime("%Y%m%d"),
            True,
        )
        assert "IconImageSequence" not in after
        assert after.SOPInstanceUID == after.file_meta.MediaStorageSOPInstanceUID
    assert len({header(path).SOPInstanceUID for path in files}) == 3
    assert len({header(path).SeriesInstanceUID for path in files}) == 1
    assert header(files[0]).SeriesInstanceUID != "1.2.3.4"


def test_uids_follow_from_source_and_derivation_alone(tmp_path: Path):
    source = write_series(tmp_path / "in", 2)
    first = [header(path) for path in derive(source, tmp_path / "a", created=NOON)]
    again = [header(path) for path in derive(source, tmp_path / "b", noisier)]
    assert [file.SOPInstanceUID for file in first] == [file.SOPInstanceUID for file in again]
    assert first[0].SeriesInstanceUID == again[0].SeriesInstanceUID
    others = [
        Derivation("fast", "Fast", "ab12" * 16, 0.71, {"quality": "best"}),
        Derivation("fast", "Fast", "ab13" * 16, 0.7, {"quality": "best"}),
        Derivation("fast", "Fast", "ab12" * 16, 0.7),
        Derivation("fast", "Fast", "ab12" * 16, 0.7, {"quality": "best"}, version="9"),
    ]
    assert len({derivation.uid("1.2.3") for derivation in [DERIVATION, *others]}) == 5
    assert all(pydicom.uid.UID(derivation.uid("1.2.3")).is_valid for derivation in others)


def test_uids_are_those_of_earlier_versions(tmp_path: Path):
    """Whoever denoises again in the same way must get the same series: as computed here."""
    (path,) = derive(write_series(tmp_path / "in", 1, SOPInstanceUID="1.2.5"), tmp_path / "out")
    for name, uid in (("SOPInstanceUID", "1.2.5"), ("SeriesInstanceUID", "1.2.3.4")):
        key = json.dumps([uid, "ab12" * 16, "fast", "0.7", [["quality", "best"]]]) + DERIVATION.version
        expected = uuid.uuid5(uuid.UUID("6f3c1c6e-7f1d-5d0a-9b57-3c1f0a5e8d42"), key).int
        assert header(path)[name].value == f"2.25.{expected}"


def test_a_series_without_a_uid_gets_one_for_all_its_slices(tmp_path: Path):
    import SimpleITK

    source = write_series(tmp_path / "in", 3, series_uid=None, StudyInstanceUID="1.2.3")
    files = derive(source, tmp_path / "out", noisier)
    (uid,) = {header(path).SeriesInstanceUID for path in files}
    assert uid not in {header(path).SOPInstanceUID for path in files}
    assert SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(str(tmp_path / "out")) == (uid,)
    assert {header(path).SeriesInstanceUID for path in derive(source, tmp_path / "again")} == {uid}
    assert not any("SeriesInstanceUID" in error for path in files for error in errors_of(path))
    other = write_series(tmp_path / "other", 3, series_uid=None, StudyInstanceUID="1.2.3")
    assert header(derive(other, tmp_path / "more")[0]).SeriesInstanceUID != uid


def test_a_mask_makes_another_series_and_its_file_name_is_told_nowhere(tmp_path: Path):
    digests = {None: False, "01" * 32: False, "23" * 32: False, "01" * 31 + "45": True}
    uids = set()
    for mask, outside in digests.items():
        derivation = dataclasses.replace(DERIVATION, mask=mask, outside=outside)
        uids.add(derivation.uid("1.2.3"))
        words = "" if mask is None else ", outside a mask" if outside else ", inside a mask"
        assert str(derivation).startswith(str(DERIVATION).replace("; its", f"{words}; its"))
    assert len(uids) == 4
    inside = dataclasses.replace(DERIVATION, mask="01" * 32)
    assert inside.uid("1.2.3") != dataclasses.replace(inside, outside=True).uid("1.2.3")


def test_neighbours_that_the_model_saw_are_sources_too(tmp_path: Path):
    derivation = Derivation("fast", "Fast", "ab", 1.0, context=3)
    files = derive(write_series(tmp_path / "in", 4), tmp_path / "out", derivation=derivation)
    assert [len(header(path).SourceImageSequence) for path in files] == [2, 3, 3, 2]


def test_long_descriptions_stay_within_64_characters(tmp_path: Path):
    files = derive(write_series(tmp_path / "in", 1, SeriesDescription="x" * 64), tmp_path / "out")
    description = header(files[0]).SeriesDescription
    assert len(description) == 64
    assert description.endswith("xx DENOISED fast 70%")


def test_names_in_other_alphabets_stay_as_they_are(tmp_path: Path):
    source = write_series(tmp_path / "in", 1, SpecificCharacterSet="ISO_IR 144", PatientName="Люкceмбypг^A")
    before = next(source.iterdir()).read_bytes()
    (path,) = derive(source, tmp_path / "out")
    name = header(path)["PatientName"]
    assert str(name.value) == "Люкceмбypг^A"
    assert str(name.value).encode("iso8859-5") in before
    assert str(name.value).encode("iso8859-5") in path.read_bytes()


def test_private_elements_signatures_and_overlays_in_pixel_bits_go(tmp_path: Path):
    dataset = ct_slice(0)
    inner = Dataset()
    for holder in (dataset, inner):
        holder.private_block(0x0029, "VENDOR", create=True).add_new(1, "LO", "Doe")
    inner.CodeValue = "1"
    dataset.ProcedureCodeSequence = Sequence([inner])
    dataset.add_new(0x60000100, "US", 16)  # OverlayBitsAllocated without OverlayData
    dataset.add_new(0x60020010, "US", 16)
    dataset.add_new(0x60023000, "OW", b"\0\0")
    dataset.DigitalSignaturesSequence = Sequence([Dataset()])
    write(dataset, tmp_path / "in" / "0.dcm")
    after = header(derive(tmp_path / "in", tmp_path / "out")[0])
    assert not any(element.tag.is_private for element in after.iterall())
    assert after.ProcedureCodeSequence[0].CodeValue == "1"
    assert 0x60000100 not in after
    assert 0x60023000 in after
    assert "DigitalSignaturesSequence" not in after


@pytest.mark.parametrize("is_whole", [True, False])
def test_private_elements_in_a_sequence_that_a_converter_wrote_as_unknown(tmp_path: Path, is_whole: bool):
    def element(group: int, number: int, value: bytes) -> bytes:
        return struct.pack("<HHI", group, number, len(value)) + value

    inner = element(8, 0x100, b"1 ") + element(0x29, 0x10, b"VENDOR") + element(0x29, 0x1001, b"Doe^Jane")
    items = element(0xFFFE, 0xE000, inner if is_whole else b"Doe^Jane")
    path = write(ct_slice(), tmp_path / "in" / "0.dcm")
    before, after = path.read_bytes().split(b"\x08\x00\x3e\x10LO")
    unknown = struct.pack("<HH2s2xI", 8, 0x1032, b"UN", len(items)) + items  # ProcedureCodeSequence
    path.write_bytes(before + unknown + b"\x08\x00\x3e\x10LO" + after)
    (result,) = derive(tmp_path / "in", tmp_path / "out")
    assert b"Doe^Jane" not in result.read_bytes()
    assert not is_whole or header(result).ProcedureCodeSequence[0].CodeValue == "1"


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_encoding_of_the_source_makes_no_difference(tmp_path: Path, syntax: UID):
    results = []
    for name, kind in [("usual", ExplicitVRLittleEndian), ("other", syntax)]:
        words = "<u2" if kind.is_little_endian else ">u2"
        stored_ = np.random.default_rng(0).integers(0, 2500, (ROWS, COLUMNS)).astype(words)
        table = Dataset()
        table.LUTDescriptor = [3, 0, 16]
        table["LUTDescriptor"].VR = "US"
        table.add_new(0x00283006, "OW", np.array([1, 2, 60000], words).tobytes())
        dataset = ct_slice(stored=stored_, SOPInstanceUID="1.2.5", PatientName="Doe^Jane", PixelPaddingValue=63536)
        dataset.VOILUTSequence = Sequence([table])
        dataset.add_new(0x60003000, "OW", np.array([1, 2, 60000], words).tobytes())
        write(dataset, tmp_path / name / "0.dcm", kind)
        results += derive(tmp_path / name, tmp_path / f"{name}-out", created=NOON)
    usual, other = (path.read_bytes() for path in results)
    assert usual == other


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("compression", [None, "jpeg-ls", "rle"])
def test_a_slice_is_written_as_if_it_were_alone(tmp_path: Path, syntax: UID, compression: Any):
    """What alike slices share is encoded once: no slice may get what is another's."""
    values = np.random.default_rng(0).integers(0, 2500, (6, ROWS, COLUMNS))
    changes: list[dict[str, Any]] = [
        {},
        {"SliceLocation": "7.25", "XRayTubeCurrent": 300, "AcquisitionTime": "101112.5", "WindowCenter": [40, 500]},
        {"XRayTubeCurrent": None},
        {"XRayTubeCurrent": None, "SeriesNumber": 4, "ContentTime": "1015"},
        {"PatientComments": "moved", "AcquisitionNumber": 2},
        {"PatientComments": "moved", "AcquisitionNumber": 3, "PixelPaddingValue": 0},
    ]
    for k, own in enumerate(changes):
        words = values[k].astype("<u2" if syntax.is_little_endian else ">u2")
        usual = {
            "XRayTubeCurrent": 120,
            "SliceLocation": "1",
            "WindowCenter": 50,
            "SOPInstanceUID": f"1.2.{10**k}",
            "AcquisitionTime": "1010",
        }
        write(ct_slice(k, stored=words, **{**usual, **own}), tmp_path / "in" / f"{k}.dcm", syntax)
    series = one_series(tmp_path / "in")
    hu = read_series(series).array + np.int16(3)  # all of it fits the source's type
    options: dict[str, Any] = {"compression": compression, "created": NOON}
    together = write_derived_series(tmp_path / "out", series, hu, DERIVATION, **options)
    for k, item in enumerate(series.slices):
        one = Series(series.uid, series.description, series.number, [item])
        (alone,) = write_derived_series(tmp_path / str(k), one, hu[k : k + 1], DERIVATION, **options)
        assert together[k].read_bytes() == alone.read_bytes(), changes[k]


@pytest.mark.parametrize(
    ("zone", "expected"), [("+0530", "20261124173000+0530"), ("-0300", "20261124090000-0300"), ("+9999", None)]
)
def test_times_are_in_the_zone_of_the_source(tmp_path: Path, zone: str, expected: str | None):
    (path,) = derive(write_series(tmp_path / "in", 1, TimezoneOffsetFromUTC=zone), tmp_path / "out", created=NOON)
    at = str(header(path).ContributingEquipmentSequence[0].ContributionDateTime)
    assert at == (expected or NOON.astimezone().strftime("%Y%m%d%H%M%S%z"))


def test_a_description_of_several_values_an_image_type_without_a_plane_and_a_high_number(tmp_path: Path):
    changes = {
        "SeriesDescription": ["Abdomen", "late"],
        "ImageType": ["ORIGINAL", "PRIMARY", ""],
        "SeriesNumber": 2147483000,
    }
    (path,) = derive(write_series(tmp_path / "in", 1, **changes), tmp_path / "out")
    assert header(path).SeriesDescription == "Abdomen late DENOISED fast 70%"
    assert header(path).ImageType == ["DERIVED", "SECONDARY", "AXIAL"]
    assert header(path).SeriesNumber == 2147483647


def test_another_precision_makes_another_series(tmp_path: Path):
    from meddenoise import processing

    source = write_series(tmp_path / "in", 1)
    said = {}
    for precision in ("float32", "bfloat16"):
        settings = processing.Settings(precision=precision, device="cpu", threads=1, output="dicom")
        denoised = processing.denoise(
            processing.load(one_series(source), settings), processing.make_denoiser(settings), settings
        )
        processing.save(denoised, tmp_path / precision, settings)
        said[precision] = header(tmp_path / precision / "0001.dcm")
    assert said["float32"].SOPInstanceUID != said["bfloat16"].SOPInstanceUID
    assert "precision bfloat16" in said["bfloat16"].DerivationDescription
    assert "precision" not in said["float32"].DerivationDescription


@pytest.mark.parametrize("limit", [None, 1030])
def test_padding_comes_out_as_it_went_in(tmp_path: Path, tiny_weights: Path, limit: int | None):
    """Also where its HU could be those of tissue; all else is denoised."""
    from meddenoise import processing
    from meddenoise.volume_files import read_volume

    stored_ = np.random.default_rng(0).integers(1000, 1100, (2, 32, 32)).astype(np.uint16)
    stored_[:, :4] = 1024  # 0 HU
    stored_[:, 4] = 1029
    for k, values in enumerate(stored_):
        padded = ct_slice(k, stored=values, PixelPaddingValue=1024, PixelPaddingRangeLimit=limit)
        write(padded, tmp_path / "in" / f"{k}.dcm")
    settings = processing.Settings(str(tiny_weights), device="cpu", threads=1, quality="best")
    loaded = processing.load(one_series(tmp_path / "in"), settings)
    denoiser = processing.make_denoiser(settings)
    denoised = processing.denoise(loaded, denoiser, settings, spread=True)
    is_padding = (stored_ == 1024) if limit is None else (stored_ >= 1024) & (stored_ <= limit)
    for target in ("out", "out.nrrd"):
        processing.save(denoised, tmp_path / target, settings)
        result = read_volume(tmp_path / target).array
        np.testing.assert_array_equal(result[is_padding], stored_[is_padding].astype(int) - 1024)
        network = denoiser.denoise(loaded.volume.array, quality="best")
        np.testing.assert_array_equal(result[~is_padding], network[~is_padding])
        assert not np.array_equal(network[is_padding], result[is_padding])
    assert denoised.spread is not None
    assert not denoised.spread[is_padding].any()
    assert denoised.spread[~is_padding].any()


def test_text_in_the_pixels_is_warned_of(tmp_path: Path):
    with pytest.warns(InputWarning, match="burnt"):
        (path,) = derive(write_series(tmp_path / "in", 1, BurnedInAnnotation="YES"), tmp_path / "out")
    assert header(path).BurnedInAnnotation == "YES"


def test_missing_attributes_are_empty_never_invented(tmp_path: Path):
    after = header(derive(write_series(tmp_path / "in", 1), tmp_path / "out")[0])
    for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber", "KVP"):
        assert name in after
        assert not after[name].value, name


# --- what it holds


@pytest.mark.parametrize("slope", [b"1", b"1.0002441", b"0.00001", b"001.000000E+00"])
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (np.int16, {"PixelPaddingValue": -2000}),
        (np.uint16, {"BitsStored": 12, "HighBit": 11}),
        (np.uint16, {"PixelPaddingValue": 63536}),
    ],
)
def test_strength_0_gives_the_stored_values_to_the_bit(
    tmp_path: Path, slope: bytes, kind: type, changes: dict[str, Any]
):
    values = np.random.default_rng(0).integers(0, 4096, (ROWS, COLUMNS)).astype(kind)
    values[0] = np.array(changes.get("PixelPaddingValue", 0)).astype(kind)
    path = write(ct_slice(stored=values, **changes), tmp_path / "in" / "0.dcm")
    with_raw_text(path, (0x0028, 0x1053), slope)
    with_raw_text(path, (0x0028, 0x1052), b"-01.024000E+03")
    (result,) = derive(tmp_path / "in", tmp_path / "out")
    before, after = header(path), header(result)
    assert after.PixelData == before.PixelData
    for name in ("BitsStored", "PixelRepresentation", "RescaleSlope", "RescaleIntercept"):
        assert after[name].value == before[name].value
    assert slope.strip() in result.read_bytes()
    assert b"-01.024000E+03" in result.read_bytes()
    assert (after.SmallestImagePixelValue, after.LargestImagePixelValue) == (values.min(), values.max())


@pytest.mark.parametrize(
    ("slope", "read_as"),
    [
        ("0.7", np.int16),  # parts of HU, rounded
        ("1", np.int16),  # above 32767 HU, clipped
        ("1.0002441", np.float16),  # steps of 1 HU and more from 1024 HU
    ],
)
def test_what_is_unchanged_in_a_narrower_type_is_the_source_to_the_bit(tmp_path: Path, slope: str, read_as: type):
    values = np.random.default_rng(0).integers(0, 65536 if slope == "1" else 4096, (ROWS, COLUMNS)).astype(np.uint16)
    write(ct_slice(stored=values, RescaleSlope=slope), tmp_path / "in" / "0.dcm")
    narrower = rounded_to if read_as is np.int16 else lambda dtype, hu: hu.astype(dtype)
    (result,) = derive(tmp_path / "in", tmp_path / "out", lambda hu: narrower(np.dtype(read_as), hu))
    np.testing.assert_array_equal(stored(result), values)


def test_padding_whose_tag_is_read_unsigned(tmp_path: Path):
    values = np.full((ROWS, COLUMNS), -2000, np.int16)
    dataset = ct_slice(stored=values)
    dataset.add_new(0x00280120, "US", 63536)
    write(dataset, tmp_path / "in" / "0.dcm")
    (result,) = derive(tmp_path / "in", tmp_path / "out")
    assert (header(result)["PixelPaddingValue"].VR, header(result).PixelPaddingValue) == ("SS", -2000)
    assert (stored(result) == -2000).all()


@pytest.mark.parametrize(
    ("first_stored", "kind", "hu", "bits", "signed"),
    [
        (0, np.uint16, -1025, 16, True),  # below what unsigned holds
        (0, np.uint16, 3072, 16, False),  # above 12 bits
        (0, np.int16, 3000, 16, True),
        (4095, np.uint16, 3071, 12, False),
    ],
)
def test_a_wider_type_where_hu_would_be_clipped(
    tmp_path: Path, first_stored: int, kind: type, hu: int, bits: int, signed: bool
):
    values = np.zeros((ROWS, COLUMNS), kind)
    values[0, 0] = first_stored
    for k in range(2):
        write(ct_slice(k, stored=values, BitsStored=12, HighBit=11), tmp_path / "in" / f"{k}.dcm")

    def change(array: np.ndarray) -> np.ndarray:
        array[1, 0, 1] = hu
        return array

    files = derive(tmp_path / "in", tmp_path / "out", change)
    assert read_series(one_series(tmp_path / "out")).array[1, 0, 1] == hu
    for path in files:  # the first slice, too: readers take the type from it
        assert (header(path).BitsStored, bool(header(path).PixelRepresentation)) == (bits, signed)
        assert stored(path)[0, 0] == first_stored


def test_padding_of_unsigned_images_and_negative_values_together(tmp_path: Path):
    values = np.zeros((ROWS, COLUMNS), np.uint16)
    values[0] = 63536
    write(ct_slice(stored=values, PixelPaddingValue=63536), tmp_path / "in" / "0.dcm")

    def change(array: np.ndarray) -> np.ndarray:
        array[0, 1, 1] = -1030
        return array

    expected = change(read_series(one_series(tmp_path / "in")).array)
    (path,) = derive(tmp_path / "in", tmp_path / "out", change)
    np.testing.assert_array_equal(read_series(one_series(tmp_path / "out")).array, expected)
    padding = header(path).PixelPaddingValue
    assert padding * header(path).RescaleSlope + header(path).RescaleIntercept == 63536 - 1024


def test_rounded_half_to_even_in_steps_of_the_source(tmp_path: Path):
    write(ct_slice(stored=np.full((ROWS, COLUMNS), 500, np.uint16), RescaleSlope="2"), tmp_path / "in" / "0.dcm")

    def change(array: np.ndarray) -> np.ndarray:
        array[0, 0, :4] = [-1024 + 2 * 500 + odd for odd in (1, 3, 5, -1)]
        return array

    (path,) = derive(tmp_path / "in", tmp_path / "out", change)
    np.testing.assert_array_equal(stored(path)[0, :5], [500, 502, 502, 500, 500])


@pytest.mark.parametrize("compression", [None, "jpeg-ls", "rle"])
def test_independent_readers_see_the_same(tmp_path: Path, compression: Any):
    import SimpleITK

    source = write_series(tmp_path / "in", 3)
    for path in source.iterdir():
        compress(path, JPEG_LS)
    volume = read_series(one_series(source))
    hu = noisier(volume.array)
    files = write_derived_series(tmp_path / "out", one_series(source), hu, DERIVATION, compression=compression)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "out")))
    image = reader.Execute()
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), hu)
    np.testing.assert_allclose(image.GetOrigin(), volume.origin, rtol=0, atol=1e-9)
    np.testing.assert_allclose(image.GetSpacing(), volume.spacing, rtol=0, atol=1e-9)
    expected = {None: "1.2.840.10008.1.2.1", "jpeg-ls": JPEG_LS, "rle": RLE}[compression]
    for k, path in enumerate(files):
        assert header(path).file_meta.TransferSyntaxUID == expected
        np.testing.assert_array_equal(stored(path) - 1024, hu[k])


def test_uneven_spacing_goes_through(tmp_path: Path):
    for k, z in enumerate([0, 3, 5.5, 8.5, 11]):
        write(ct_slice(k, ImagePositionPatient=[0, 0, z]), tmp_path / "in" / f"{9 - k}.dcm")
    with pytest.warns(InputWarning, match="uneven"):
        files = derive(tmp_path / "in", tmp_path / "out", noisier)
    assert [z_of(path) for path in files] == [0, 3, 5.5, 8.5, 11]


# --- what is refused; nothing is lost


def test_a_folder_is_never_overwritten_silently(tmp_path: Path):
    source, target = write_series(tmp_path / "in", 2), tmp_path / "out"
    target.mkdir()
    derive(source, target)  # empty: nothing to lose
    before = sorted(path.read_bytes() for path in target.iterdir())
    with pytest.raises(OutputError, match=r"not empty.*--overwrite"):
        derive(source, target, noisier)
    assert sorted(path.read_bytes() for path in target.iterdir()) == before
    derive(source, target, noisier, overwrite=True)
    assert sorted(path.read_bytes() for path in target.iterdir()) != before
    (target / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"something else \(notes\.txt\)"):
        derive(source, target, overwrite=True)
    with pytest.raises(OutputError, match="the source itself"):
        derive(source, source, overwrite=True)
    with pytest.raises(OutputError, match="the source itself"):
        derive(source, tmp_path, overwrite=True)
    with pytest.raises(OutputError, match="does not exist"):
        derive(source, tmp_path / "no" / "such")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path):
    source, link, disk = write_series(tmp_path / "in", 2), tmp_path / "link", tmp_path / "disk"
    disk.mkdir()
    link.symlink_to(disk / "out")
    for overwrite in (False, True):  # first it points to nothing
        files = derive(source, link, overwrite=overwrite)
        assert link.is_symlink()
        assert sorted(path.name for path in (disk / "out").iterdir()) == [path.name for path in files]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "in", "link"]
    assert [path.name for path in disk.iterdir()] == ["out"]


def test_the_current_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source, here = write_series(tmp_path / "in", 2), tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(OutputError, match="give a new folder in it"):
        derive(source, Path())
    assert len(derive(source, Path("new"))) == 2


def test_a_source_that_is_damaged_on_the_way_leaves_nothing(tmp_path: Path):
    source = write_series(tmp_path / "in", 3)
    series = one_series(source)
    hu = read_series(series).array
    last = max(source.iterdir(), key=z_of)
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged"):
        write_derived_series(tmp_path / "out", series, hu, DERIVATION)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_what_cannot_be_written_is_one_sentence_and_leaves_nothing(tmp_path: Path):
    resource = pytest.importorskip("resource")
    import signal

    source = write_series(tmp_path / "in", 1, stored=np.zeros((300, 300), np.uint16))
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # as a full disk, for this process alone
    try:
        with pytest.raises(OutputError, match=r"out cannot be written: File too large\.$") as caught:
            derive(source, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_arrays_that_do_not_belong_to_the_series(tmp_path: Path):
    source = write_series(tmp_path / "in", 3)
    with pytest.raises(InputError, match="do not belong together"):
        derive(source, tmp_path / "out", lambda hu: hu[1:])
    with pytest.raises(InputError, match="no numbers"):
        derive(source, tmp_path / "out", lambda hu: np.full(hu.shape, np.nan, np.float32))
    with pytest.raises(OutputError, match="more HU than a DICOM CT can hold"):
        derive(source, tmp_path / "out", lambda hu: np.where(hu == hu.max(), 1e6, hu.astype(np.float32)))


def test_slices_without_or_with_one_uid(tmp_path: Path):
    with pytest.raises(OutputError, match="no SOPInstanceUID"):
        derive(write_series(tmp_path / "a", 2, SOPInstanceUID=None), tmp_path / "out")
    with pytest.raises(InputError, match="the same SOPInstanceUID"):
        derive(write_series(tmp_path / "b", 2, SOPInstanceUID="1.2.3"), tmp_path / "out")


# --- real CT


def pydicom_file(name: str) -> Path:
    return Path(pydicom.data.__file__).parent / "test_files" / name


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "J2K_pixelrep_mismatch.dcm", "693_J2KI.dcm", "dicomdirtests/98892001/CT5N"]
)
def test_dciodvfy_has_no_more_against_the_result_than_against_the_source(tmp_path: Path, name: str):
    (series,) = find_series(pydicom_file(name))
    hu = noisier(read_series(series).array)
    files = write_derived_series(tmp_path / "out", series, hu, DERIVATION)
    assert errors_of(files[0]) <= errors_of(series.slices[0].path)
    np.testing.assert_array_equal(read_series(one_series(tmp_path / "out")).array, hu)


def test_real_series_through_dciodvfy_and_to_the_bit(ct_data: Path, tmp_path: Path):
    folders = [folder for folder in sorted(ct_data.glob("*/*")) if folder.is_dir()]
    assert folders
    for folder in folders:
        found = find_series(folder)[-1]
        series = Series(found.uid, found.description, found.number, found.slices[:1])
        target = tmp_path / folder.parent.name / folder.name
        target.mkdir(parents=True)
        hu = read_series(series).array
        source = series.slices[0].path
        (same,) = write_derived_series(target / "same", series, hu, DERIVATION)
        np.testing.assert_array_equal(stored(same), stored(source))
        (changed,) = write_derived_series(target / "changed", series, noisier(hu), DERIVATION)
        half_a_step = 0.5 * float(header(source).RescaleSlope) if hu.dtype == np.float32 else 0
        np.testing.assert_allclose(
            read_series(one_series(target / "changed")).array,
            noisier(hu),
            rtol=0,
            atol=half_a_step + 1e-3 * (half_a_step > 0),
        )
        assert errors_of(changed) <= errors_of(source)
