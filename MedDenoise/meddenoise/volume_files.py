"""``Volume``: a CT with its geometry; NRRD, NIfTI and MetaImage files in and out."""

from __future__ import annotations

import gzip
import math
import os
import shutil
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.errors import InputError, MissingPackageError, OutputError

EXTENSIONS = (".nrrd", ".nhdr", ".nii.gz", ".nii", ".mha", ".mhd")
#: Of the hidden folders in which results are written before they are moved into place.
SCRATCH_PREFIX = ".meddenoise-"
_NIFTI = (".nii.gz", ".nii")
_LONGEST_HEADER_LINE = 65536
#: NIfTI's field has 80 bytes, the last of which is 0.
_DESCRIP_LENGTH = 79
_SUGGESTION = ".nrrd, .nii.gz or .mha"
#: CT noise hardly compresses: level 1 gives nearly the size of level 9 in a fraction of the time.
_COMPRESSION_LEVEL = 1


@dataclass
class Volume:
    """A CT volume with its place in the patient.

    :param array: (k, j, i), HU, any integer or float type; k runs over slices.
    :param spacing: between voxels along (i, j, k), mm.
    :param origin: centre of voxel (0, 0, 0), LPS (to the patient's left, posterior, superior), mm.
    :param direction: 3 x 3, row-major, LPS; its columns are the unit vectors of i, j and k.
    :param padding: lowest and highest HU of voxels that a DICOM series says hold no measurement; no file keeps it.
    """

    array: npt.NDArray[np.generic]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    padding: tuple[float, float] | None = None

    def is_on_grid_of(self, other: Volume) -> bool:
        """Return whether the voxels of both lie at the same places, within a hundredth of the smallest spacing.

        Files round: NIfTI keeps geometry in float32, DICOM in decimals.
        """
        if self.array.shape != other.array.shape:
            return False
        tolerance = 0.01 * min(self.spacing)
        return bool(np.allclose(self._corners(), other._corners(), rtol=0, atol=tolerance))

    def _corners(self) -> npt.NDArray[np.float64]:
        """Return the centres of the first voxel and of the last along each axis, LPS, mm."""
        axes = np.array(self.direction).reshape(3, 3) * self.spacing  # columns: one step along i, j, k
        ends = (axes * (np.array(self.array.shape[::-1]) - 1)).T
        return np.asarray(np.array(self.origin) + np.vstack([np.zeros(3), ends]))


def read_volume(path: str | Path, *, series_uid: str | None = None) -> Volume:
    """Read a CT volume: an NRRD, NIfTI or MetaImage file, a DICOM folder, or one DICOM file.

    :param series_uid: which series of a DICOM folder to read, where it holds several.
    :returns: values, type and geometry as stored (DICOM: HU after the rescale; NIfTI: geometry in float32).
    :raises InputError: when it is missing, damaged, of another kind, or not one 3-D volume of single values.
    :raises MissingPackageError: without SimpleITK (or, for DICOM, pydicom).
    """
    path = Path(path).expanduser()
    if check_input(path) == "dicom":
        from meddenoise.dicom import read_folder

        return read_folder(path, series_uid)
    if series_uid is not None:
        raise InputError(f"{path.name} is not DICOM, so it has no series to choose; leave the series out.")
    return _read_image(path)


def check_input(path: str | Path) -> str:
    """Say what a path holds without reading it: ``dicom`` (a folder or a DICOM file) or ``image``.

    :raises InputError: when it is not there or its name is of no known kind.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return "dicom"
    if not path.exists():
        raise InputError(f"There is no file or folder {path}.")
    if _extension(path) is not None:
        if not _is_unicode(path):
            raise InputError(f"The name {path} is not in Unicode, which image readers need; rename the file or folder.")
        return "image"
    if path.suffix.lower() == ".dcm" or _has_dicom_prefix(path):
        return "dicom"
    raise InputError(
        f"{path.name} is of no known kind; give a DICOM folder or a file of the kinds {', '.join(EXTENSIONS)}."
    )


def check_output(path: str | Path, *, overwrite: bool = False, inputs: Iterable[Path] = ()) -> Path:
    """Check that a volume could be written to a path, before any work is spent on it; nothing is left there.

    :param inputs: what is read on the way to it, which is never replaced.
    :returns: the path, with ``~`` expanded.
    :raises OutputError: for another kind of file, one that exists (without ``overwrite``), one of the inputs, a missing
        or closed folder.
    """
    names_folder = str(path).endswith(("/", os.sep))  # Path would drop it
    path = Path(path).expanduser()
    if names_folder or path.is_dir() or path.suffix.lower() == ".dcm":
        raise OutputError(
            f"{path} is not the name of a volume file, and only from DICOM input a DICOM series can be derived; "
            f"give an output file ending in {_SUGGESTION}."
        )
    if not path.suffix:
        raise OutputError(f"{path} has no ending that names a format; use {_SUGGESTION}.")
    if _extension(path) is None:
        raise OutputError(f"A volume cannot be written as {path.name}; give an output file ending in {_SUGGESTION}.")
    if not _is_unicode(path):
        raise OutputError(f"The name {path} is not in Unicode, which image writers need; choose another.")
    if path.exists() and not overwrite:
        raise _exists(path)
    for read in (item.expanduser() for item in inputs):
        if path.exists() and read.exists() and path.samefile(read):
            raise OutputError(f"{path} is an input itself, which would be lost; choose another output.")
    check_place(path)
    return path


def check_place(path: Path) -> None:
    """Check that something could be written at a path: files beside it, and so its folder, can be made.

    :raises OutputError: when its folder is missing or closed.
    """
    if not path.parent.is_dir():
        raise OutputError(f"The folder {path.parent} does not exist; make it first, or choose another.")
    with scratch_folder_beside(path):
        pass


def write_volume(
    path: str | Path,
    volume: Volume,
    *,
    overwrite: bool = False,
    metadata: Mapping[str, str] | None = None,
    note: str = "",
) -> None:
    """Write a volume as NRRD, NIfTI or MetaImage, by the file's extension; the type of the array is kept.

    It is written into a hidden folder beside, then moved into place: a failure leaves the old file, or none.

    :param metadata: keys and values for the header; NIfTI has no room for them and leaves them out.
    :param note: what was done, for NIfTI alone: its field ``descrip``, cut after 79 characters.
    :raises OutputError: when the file exists (without ``overwrite``), cannot be written, or the disk is full.
    :raises InputError: when the array is not a volume of a type that files can hold.
    """
    path = check_output(path, overwrite=overwrite)
    image = _image_of(volume)
    for key, value in (metadata or {}).items():
        image.SetMetaData(key, value)
    if path.name.lower().endswith(_NIFTI):
        image.SetMetaData("ITK_FileNotes", note[:_DESCRIP_LENGTH])
    sitk = _import_sitk()
    with written_beside(path, overwrite=overwrite) as beside:
        try:
            with _quiet(sitk):
                sitk.WriteImage(image, str(beside), True, _COMPRESSION_LEVEL)
        except RuntimeError as error:
            free = shutil.disk_usage(path.parent).free
            raise OutputError(f"{path} cannot be written; is the disk full ({free / 1e6:.0f} MB free)?") from error


@contextmanager
def written_beside(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a path in a hidden folder beside; what is written there is moved into place at the end, unless that fails.

    :raises OutputError: when the file exists (without ``overwrite``), or the folder cannot be written to.
    """
    with scratch_folder_beside(path) as folder:
        yield folder / path.name
        _move_into_place(folder, path, overwrite)


def _exists(path: Path) -> OutputError:
    return OutputError(
        f"{path} exists already; choose another name, or allow it to be overwritten "
        "(overwrite=True, on the command line --overwrite)."
    )


def _move_into_place(folder: Path, path: Path, overwrite: bool) -> None:
    """Move what was written; of two files (.mhd, .zraw) the header comes last, so that it never names missing data."""
    written = sorted(folder.iterdir(), key=lambda file: file.name == path.name)
    taken = [path.parent / file.name for file in written if (path.parent / file.name).exists()]
    if taken and not overwrite:
        raise _exists(taken[0])
    try:
        for file in written:
            file.replace(path.parent / file.name)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error


@contextmanager
def scratch_folder_beside(path: Path) -> Iterator[Path]:
    """Give a hidden empty folder on the disk of ``path``, removed at the end with what is left in it."""
    # Not tempfile.mkdtemp: on Windows only its maker may read what was written there and moved away.
    folder = path.parent / f"{SCRATCH_PREFIX}{uuid.uuid4().hex}"
    try:
        folder.mkdir()
    except OSError as error:
        raise OutputError(
            f"The folder {path.parent} cannot be written to ({error.strerror or error}); choose another."
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _image_of(volume: Volume) -> Any:
    """Return the SimpleITK image of a volume."""
    sitk = _import_sitk()
    array = volume.array
    if array.ndim != 3 or array.size == 0:
        raise InputError(f"The array has the shape {array.shape}; a CT volume has slices, rows and columns.")
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8 or array.dtype == np.float16:
        raise InputError(f"Volume files hold no values of type {array.dtype}; convert them to float32.")
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    image = sitk.GetImageFromArray(native, isVector=False)
    image.SetSpacing(volume.spacing)
    image.SetOrigin(volume.origin)
    image.SetDirection(volume.direction)
    return image


def _read_image(path: Path) -> Volume:
    """Read an image file through SimpleITK, its header first: no CT volume, no data read."""
    sitk = _import_sitk()
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with _quiet(sitk):
            reader.ReadImageInformation()
            _check_header(reader, path)
            image = reader.Execute()
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise InputError(
                f"{path.name} lies on a skewed grid (gantry tilt, say), which NIfTI readers refuse; "
                "resample it in 3D Slicer and save it as NRRD."
            ) from error
        raise InputError(
            f"{path.name} cannot be read; it is damaged, incomplete or of another kind than its name says."
        ) from error
    return Volume(sitk.GetArrayFromImage(image), image.GetSpacing(), image.GetOrigin(), tuple(image.GetDirection()))


def _check_header(reader: Any, path: Path) -> None:
    """Refuse, by its header, a file that is not one 3-D volume of single real values, or is not complete."""
    size = " x ".join(str(n) for n in reader.GetSize())
    if reader.GetNumberOfComponents() != 1:
        raise InputError(
            f"{path.name} holds {reader.GetNumberOfComponents()} values in each voxel (a colour or vector image); "
            "give a CT volume with one HU value in each voxel."
        )
    if reader.GetDimension() != 3:
        raise InputError(
            f"{path.name} has {reader.GetDimension()} dimensions ({size}); give a 3-D CT volume, one at a time."
        )
    if path.name.lower().endswith(_NIFTI):
        _check_nifti(reader, path)
    if path.suffix.lower() in (".mha", ".mhd"):
        _check_metaimage(reader, path)


def _check_nifti(reader: Any, path: Path) -> None:
    """Refuse two things that the NIfTI library lets pass silently: missing data, read as zeros, and a neighbour's data.

    For ``a.nii.gz`` it takes the header from that file but the values from an ``a.nii`` beside it, where there is one.
    """
    if path.name.lower().endswith(".nii.gz") and path.with_name(path.name[: -len(".gz")]).exists():
        raise InputError(
            f"Beside {path.name} lies {path.name[: -len('.gz')]}, and NIfTI readers confuse the two; "
            "rename or move one of them."
        )
    voxels = math.prod(reader.GetSize())
    needed = float(reader.GetMetaData("vox_offset")) + voxels * int(reader.GetMetaData("bitpix")) / 8
    try:
        there = _bytes_in(path)
    except (OSError, EOFError, zlib.error):  # gzip's own ways to say cut short or damaged
        there = 0
    if there < needed:
        raise InputError(f"{path.name} is incomplete or damaged; copy or download it again.")


def _check_metaimage(reader: Any, path: Path) -> None:
    """Refuse a MetaImage without all of its data, about which the library writes lines of its own to the terminal.

    The header is ``key = value`` lines, of which ``ElementDataFile`` is the last. Data in several files (``LIST``, a
    pattern) are left to the library.
    """
    header, start = {}, 0
    with path.open("rb") as file:
        while "ElementDataFile" not in header and (line := file.readline(_LONGEST_HEADER_LINE)):
            key, _, value = line.decode("latin-1").partition("=")
            header[key.strip()] = value.strip()
        start = file.tell()
    name = header.get("ElementDataFile", "")
    if name.split(" ")[0] == "LIST" or "%" in name:
        return
    data = path if name.upper() == "LOCAL" else path.parent / name
    start = start if data == path else max(0, int(header.get("HeaderSize", 0)))
    needed = math.prod(reader.GetSize()) * _bytes_of(reader)
    if header.get("CompressedData", "").lower() == "true":
        needed = int(header.get("CompressedDataSize", 0))
    if not data.is_file():
        raise InputError(f"The data of {path.name} are in {data.name}, which is not there; copy both files.")
    if data.stat().st_size - start < needed:
        raise InputError(f"{data.name} is incomplete or damaged; copy or download it again.")


def _bytes_of(reader: Any) -> int:
    """Return the size of one voxel in a file whose header has been read."""
    words = str(_import_sitk().GetPixelIDValueAsString(reader.GetPixelID()))  # "16-bit signed integer"
    return int(words.split("-")[0]) // 8


def _bytes_in(path: Path) -> int:
    """Return the size of a file, or of what is compressed in it, whose checksum is checked on the way."""
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    if not is_gzip:
        return path.stat().st_size
    there = 0
    with gzip.open(path) as stream:
        while block := stream.read(1 << 20):
            there += len(block)
    return there


def _extension(path: Path) -> str | None:
    name = path.name.lower()
    return next((extension for extension in EXTENSIONS if name.endswith(extension)), None)


def _is_unicode(path: Path) -> bool:
    """Return whether a name is Unicode; in old archives not all are, and SimpleITK ends the whole process over them."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _has_dicom_prefix(path: Path) -> bool:
    """Return whether a file starts as DICOM part 10 says: 128 bytes, then DICM."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


@contextmanager
def _quiet(sitk: Any) -> Iterator[None]:
    """Keep ITK's warnings off the terminal; what matters is said in our own words."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def _import_sitk() -> Any:
    try:
        import SimpleITK
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "The Python package 'SimpleITK' is missing; install it to read and write volumes."
        ) from error
    return SimpleITK
