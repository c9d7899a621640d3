"""Why a file could not be written, in words, and what to do: PyTorch and NumPy keep the system's own reason back."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

#: What is left of a full disk: less than what was to be written at once, bytes.
_AS_GOOD_AS_NOTHING = 16_000_000
#: EIO is what ``whole_file`` makes of an error without a number, PyTorch's and NumPy's.
_FOR_LACK_OF_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def why_not_written(error: OSError | RuntimeError, folder: Path) -> str:
    """Return the reason for a failure to write into a folder, to go into a sentence.

    To be called before the half-written file is removed, which would make room again.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    words = (str(error).splitlines() or [type(error).__name__])[0]
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return words
    room = f"{free / 1e6:.1f} MB are free"
    return f"the disk is full, {room}" if free < _AS_GOOD_AS_NOTHING else f"{words}; {room}, perhaps a quota is used up"


def then_again(error: OSError) -> str:
    """Return what to do about a failure to write, to end a sentence: room is not always what is missing."""
    todo = "make room" if error.errno in _FOR_LACK_OF_ROOM else "mend that"
    return f"{todo}, and give the same command again"
