"""Enhanced (multi-frame) CT: the same volume as the single slices it could have been; no DICOM is derived from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import COLUMNS, ENHANCED_CT, JPEG_LS, ROWS, compress, ct_slice, write
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from meddenoise.dicom import check_derived_folder, find_series, read_folder
from meddenoise.dicom.acquisition import read_acquisition
from meddenoise.dicom.enhanced import GROUPS
from meddenoise.errors import InputError, InputWarning, OutputError

#: The order of the slices in the file.
ORDER = (2, 0, 3, 1)
#: The functional group of each element that a single slice has at its top.
MACROS = {
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "CTReconstructionSequence": ("ConvolutionKernel",),
    "CTXRayDetailsSequence": ("KVP",),
    "PlanePositionSequence": ("ImagePositionPatient",),
}


def enhanced_ct(path: Path, slices: list[Dataset], *, shared: tuple[str, ...], **changes: Any) -> Path:
    """Write slices as the frames of one file; the macros in ``shared`` are said once, as the first slice says them."""

    def group(single: Dataset, macros: Any) -> Dataset:
        result = Dataset()
        for macro in macros:
            item = Dataset()
            for name in MACROS[macro]:
                item[name] = single[name]
            setattr(result, macro, Sequence([item]))
        return result

    stored = b"".join(single.PixelData for single in slices)
    dataset = ct_slice(
        SOPClassUID=ENHANCED_CT, NumberOfFrames=len(slices), PixelData=stored + b"\0" * (len(stored) % 2)
    )
    for names in MACROS.values():
        for name in names:
            if name in dataset:
                delattr(dataset, name)
    dataset.SharedFunctionalGroupsSequence = Sequence([group(slices[0], shared)])
    own = [macro for macro in MACROS if macro not in shared]
    dataset.PerFrameFunctionalGroupsSequence = Sequence([group(single, own) for single in slices])
    for name, value in changes.items():
        setattr(dataset, name, value)
    return write(dataset, path)


def single(k: int, **changes: Any) -> Dataset:
    return ct_slice(k, **{"KVP": 120, "ConvolutionKernel": "B30f", "RescaleType": "HU", **changes})


SHARED = tuple(macro for macro in MACROS if macro != "PlanePositionSequence")


@pytest.mark.parametrize("shared", [SHARED, ()])
@pytest.mark.parametrize("is_compressed", [False, True])
def test_frames_are_slices_in_order_of_position(tmp_path: Path, shared: tuple[str, ...], is_compressed: bool):
    import SimpleITK

    for k in ORDER:
        write(single(k), tmp_path / "singles" / f"{k}.dcm")
    path = enhanced_ct(tmp_path / "enhanced" / "0.dcm", [single(k) for k in ORDER], shared=shared)
    if is_compressed:
        groups = pydicom.dcmread(path)
        compress(path, JPEG_LS)
        compressed = pydicom.dcmread(path)
        for name in GROUPS:  # GDCM makes them anew, with frames 1 mm apart
            compressed[name] = groups[name]
        compressed.save_as(path)
    expected, volume = read_folder(tmp_path / "singles"), read_folder(tmp_path / "enhanced")
    np.testing.assert_array_equal(volume.array, expected.array)
    assert volume.array.dtype == np.int16
    assert (volume.spacing, volume.origin, volume.direction) == (expected.spacing, expected.origin, expected.direction)
    (series,) = find_series(path)
    assert len(series.slices) == 4
    acquisition = read_acquisition(series)
    assert (acquisition.kernel, acquisition.kvp, acquisition.thickness_mm) == ("B30f", 120, 2.5)
    if shared:  # GDCM looks for the rescale there; it leaves the frames in the order of the file
        frames = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
        np.testing.assert_array_equal(volume.array[list(ORDER)], frames)


def test_each_frame_has_its_own_rescale(tmp_path: Path):
    stored = np.full((ROWS, COLUMNS), 1000, np.uint16)
    slices = [single(k, stored=stored, RescaleSlope=slope) for k, slope in enumerate(("1", "2", "0.5005"))]
    enhanced_ct(tmp_path / "0.dcm", slices, shared=())
    volume = read_folder(tmp_path)
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array[:, 0, 0], np.float32([-24, 976, -523.5]))


def test_a_series_in_several_files_and_one_of_them_twice(tmp_path: Path):
    first, second = ([single(k) for k in range(begin, begin + 2)] for begin in (0, 2))
    enhanced_ct(tmp_path / "0.dcm", first, shared=SHARED, SOPInstanceUID="1.2.1")
    enhanced_ct(tmp_path / "1.dcm", second, shared=SHARED, SOPInstanceUID="1.2.2")
    (tmp_path / "2.dcm").write_bytes((tmp_path / "0.dcm").read_bytes())
    with pytest.warns(InputWarning, match="2 repeated slices"):
        volume = read_folder(tmp_path)
    np.testing.assert_array_equal(
        volume.array[3] + 1024, np.frombuffer(second[1].PixelData, np.uint16)[: ROWS * COLUMNS].reshape(ROWS, COLUMNS)
    )


def test_phases_at_one_position_are_refused_never_dropped(tmp_path: Path):
    enhanced_ct(tmp_path / "0.dcm", [single(k) for k in (0, 1, 1, 2)], shared=SHARED)
    with pytest.raises(
        InputError, match=r"1 slice at the position of another \(frame 2 of 0\.dcm and frame 3 of 0\.dcm"
    ):
        read_folder(tmp_path)


def test_frames_without_groups_or_rescale_are_refused(tmp_path: Path):
    slices = [single(k) for k in range(3)]
    enhanced_ct(tmp_path / "a" / "0.dcm", slices, shared=SHARED, NumberOfFrames=2)
    with pytest.raises(InputError, match="does not say where its frames lie"):
        read_folder(tmp_path / "a")
    for item in slices:
        item.RescaleSlope = None
    enhanced_ct(tmp_path / "b" / "0.dcm", slices, shared=SHARED)
    with pytest.raises(InputError, match="no rescale slope"):
        read_folder(tmp_path / "b")


def test_no_dicom_is_derived_from_it(tmp_path: Path):
    enhanced_ct(tmp_path / "in" / "0.dcm", [single(k) for k in range(3)], shared=SHARED)
    (series,) = find_series(tmp_path)
    with pytest.raises(OutputError, match=r"enhanced multi-frame CT, .* \.nrrd"):
        check_derived_folder(tmp_path / "out", series)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
