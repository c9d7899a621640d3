"""One run at a time on one output folder or file: a lock that ends with its process, however that dies."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meddenoise.errors import OutputError
from meddenoise.remarks import remark

LOCK_NAME = ".meddenoise.lock"
_HELD_BY_ANOTHER = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


@contextmanager
def locked(
    place: Path, *, lock: Path | None = None, otherwise: str = ", or choose another output folder"
) -> Iterator[None]:
    """Hold the lock of a place that is written; its file stays there afterwards (to remove it could let two others in).

    It is the system's own lock, which the system takes back when its holder ends, by ``kill -9`` too. On NFS it holds
    between machines (Linux passes it to the server); the lock of a machine that died lasts until the server gives it
    up. Where a file system has no locks, a warning says so.

    :param lock: the file that is locked, whose folder is made where it is not there; by default in the place, a folder.
    :param otherwise: what can be done but wait, for the sentence that refuses.
    :raises OutputError: when another process holds it, or the lock cannot be written.
    """
    lock = place / LOCK_NAME if lock is None else lock
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OutputError(f"{place} cannot be written to ({error.strerror or error}); choose another.") from error
    try:
        try:
            _lock(descriptor)
        except OSError as error:
            if error.errno in _HELD_BY_ANOTHER:
                raise OutputError(f"Another run is at work on {place}; wait until it ends{otherwise}.") from error
            remark(
                f"The file system of {place} cannot lock files ({error.strerror or error}), so that a second run at "
                "the same time would not be noticed; start one at a time."
            )
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Lock an open file without waiting; closing it, or the end of the process, unlocks it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
