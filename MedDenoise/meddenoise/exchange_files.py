"""The files in which volumes cross between the worker and its client: raw voxels in C order, nothing else.

Shape and type travel in the job message. A full disk is an error here, never a crash: a file that is memory-mapped is
filled with zeros first, for writing to a hole that the disk has no room for kills the process (SIGBUS).
"""

from __future__ import annotations

import contextlib
import errno
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.errors import OutOfMemoryError, OutputError, WorkerError

Array = npt.NDArray[Any]

#: The disk, the user's quota, or the largest file that is allowed.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) if sys.platform != "win32" else (errno.ENOSPC, errno.EFBIG)
_BLOCK = 1 << 20


def write_volume_file(path: Path, volume: Array) -> None:
    """Write a volume, slice by slice, so that one that is not contiguous is never copied as a whole.

    :raises OutputError: when the disk is full or not writable.
    """
    with _clear_disk_errors(path, volume.nbytes), path.open("wb") as file:
        for one_slice in volume:
            file.write(one_slice.tobytes())


def map_volume_file(path: Path, shape: Sequence[int], dtype: str) -> Array:
    """Return the volume in a file as a read-only memory map."""
    return np.memmap(path, dtype=dtype, mode="r", shape=tuple(shape))


def reserve_volume_file(path: Path, shape: Sequence[int], dtype: str) -> np.memmap[Any, Any]:
    """Make a file with room for a volume and return it as a writable memory map.

    :raises OutputError: when the disk is full or not writable.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    with _clear_disk_errors(path, size), path.open("wb") as file:
        zeros = bytes(min(size, _BLOCK))
        for start in range(0, size, _BLOCK):
            file.write(zeros[: size - start])
    return np.memmap(path, dtype=dtype, mode="r+", shape=tuple(shape))


def read_volume_file(path: Path, shape: Sequence[int], dtype: str) -> Array:
    """Read a volume into memory, so that it outlives its file.

    Not a memory map: on Windows a mapped file cannot be deleted, and a map whose file breaks kills whoever looks at it.

    :raises WorkerError: when the file is not there or not of the right size.
    :raises OutOfMemoryError: when the volume does not fit into memory.
    """
    count = math.prod(shape)
    try:
        volume = np.fromfile(path, dtype=dtype, count=count)
    except OSError as error:
        raise WorkerError(f"The denoised volume cannot be read from {path}: {_reason(error)}.") from error
    except MemoryError as error:
        size = math.ceil(count * np.dtype(dtype).itemsize / 1e6)
        raise OutOfMemoryError(
            f"There is no memory for the denoised volume ({size} MB); close other programs or volumes."
        ) from error
    if volume.size != count:
        raise WorkerError(f"The denoised volume in {path} is not complete.")
    return volume.reshape(shape)


@contextlib.contextmanager
def _clear_disk_errors(path: Path, size: int) -> Iterator[None]:
    """Turn the system's error on writing into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OutputError(
                "The disk with the folder for temporary files is full; "
                f"free at least {math.ceil(size / 1e6)} MB in {path.parent.parent}."
            ) from error
        raise OutputError(f"The temporary file {path} cannot be written: {_reason(error)}.") from error


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
