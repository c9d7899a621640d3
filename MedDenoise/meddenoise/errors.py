"""Every error and warning a user may see: one clear sentence each, what is wrong and what to do."""

import errno


class MedDenoiseError(Exception):
    """Base of all errors of this package; ``str(error)`` is a sentence for the user.

    ``code`` is stable and crosses the worker's pipe (see ``docs/worker-protocol.md``).
    """

    code = "error"


class InputError(MedDenoiseError):
    """The volume or file given cannot be denoised."""

    code = "bad_input"


class NotCTError(InputError):
    """What was given is certainly no CT in HU: a label map, another modality."""

    code = "not_ct"


class WeightsError(MedDenoiseError):
    """A weights file is missing, damaged, foreign or not the one the catalogue names."""

    code = "bad_weights"


class DeviceError(MedDenoiseError):
    """The device asked for is not there."""

    code = "no_device"


class OutOfMemoryError(MedDenoiseError):
    """The device or the machine ran out of memory."""

    code = "out_of_memory"


def counted(count: int, thing: str) -> str:
    """Return a number of things in words for a sentence: ``1 slice``, ``2 slices``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out: Python's, a memory map's, or torch's (by its words).

    torch has many classes for it, and a bare ``RuntimeError`` on the CPU; an "illegal memory access" is none of them.
    """
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    words = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(sign in words for sign in ("out of memory", "can't allocate memory", "not enough memory"))
    )


class MissingPackageError(MedDenoiseError):
    """A Python package that this step needs is not installed."""

    code = "missing_package"


class OutputError(MedDenoiseError):
    """The output exists already, cannot be written, or the disk is full."""

    code = "bad_output"


class HURangeError(OutputError):
    """The result spans more HU than the output can hold."""


class DiskFullError(OutputError):
    """Nothing more can be written: the disk is full, a quota is used up, or it may only be read."""


class ClusterError(MedDenoiseError):
    """The Dask scheduler cannot be reached or was lost, or its workers run another MedDenoise."""

    code = "cluster"


class WorkerError(MedDenoiseError):
    """The child process ended, or spoke something that is not the protocol."""

    code = "worker"


class Cancelled(MedDenoiseError):  # noqa: N818 - it is how a run ends when the user asks for it, not a fault
    """The run was cancelled on request."""

    code = "cancelled"


class InputWarning(UserWarning):
    """Something about the input that the user should know but that does not stop the run."""
