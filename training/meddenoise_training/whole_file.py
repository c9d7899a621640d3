"""A file written beside its place, then renamed: whole under its own name, or not there."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise_training.disk import why_not_written


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path beside to write to, which takes the place of ``path`` at the end; a failure leaves that as it was.

    :raises OSError: when it cannot be written, with the reason in words as its ``strerror``, PyTorch's failures too.
    """
    # Always the same name: what a killed process left there is written over, not left lying about.
    beside = path.with_name(f".{path.name}.part")
    try:
        yield beside
        beside.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        reason = why_not_written(error, path.parent)
        _remove(beside)
        raise OSError(getattr(error, "errno", None) or errno.EIO, reason, str(path)) from error
    except BaseException:
        _remove(beside)
        raise


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as ``np.save`` does, under a name that need not end in ``.npy``, as those beside do not."""
    with path.open("wb") as file:
        np.save(file, array)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
