"""What the worker and its client say to each other: one JSON object a line (``docs/worker-protocol.md``)."""

from __future__ import annotations

import json
import types
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints

from meddenoise.errors import MedDenoiseError, WorkerError

#: Changes when a message changes in a way the other side would misread. Every line carries it, both sides check it.
PROTOCOL_VERSION = 1
#: A longer line is not a message, and is not waited for.
MAX_LINE_BYTES = 1 << 20
#: Of the voxels in a job's file for the spread.
SPREAD_TYPE = "<f4"


@dataclass(frozen=True)
class JobMessage:
    """Client to worker: denoise ``input`` into ``output``, files of raw C-order voxels that the client owns.

    :param strength: 0 to 1; None: the default of the model.
    :param spread: file for the SD over the eight orientations of quality ``best``, float32; None where not asked for.
    """

    job: str
    input: str
    output: str
    shape: list[int]
    dtype: str
    model: str
    strength: float | None
    device: str
    threads: int | None
    quality: str = "standard"
    spread: str | None = None


@dataclass(frozen=True)
class CancelMessage:
    """Client to worker: end this job soon; the answer is an error with code ``cancelled``."""

    job: str


@dataclass(frozen=True)
class ReadyMessage:
    """Worker to client, once at the start and before torch is imported."""

    version: str
    python: str
    pid: int


@dataclass(frozen=True)
class ProgressMessage:
    """Worker to client: slices done; ``seconds_left`` is None before the first slice."""

    job: str
    done: int
    total: int
    seconds_left: float | None


@dataclass(frozen=True)
class DoneMessage:
    """Worker to client: the output file is complete and no longer open in the worker.

    :param model: name of the model that ran, where the job said ``auto``; left out otherwise.
    :param default_strength: of the model; left out where it is 1.
    :param precision: in which the noise was computed; left out where it is ``float32``.
    """

    job: str
    model_sha256: str
    device: str
    seconds: float
    warnings: list[str]
    version: str
    model: str = ""
    default_strength: float = 1.0
    precision: str = "float32"


@dataclass(frozen=True)
class ErrorMessage:
    """Worker to client: the job ended without a result; ``job`` is None when no job could be made out."""

    job: str | None
    code: str
    message: str
    details: str


@dataclass(frozen=True)
class IdleMessage:
    """Worker to client: nothing to do for long, ending; a job sent meanwhile was not taken."""


Message: TypeAlias = (
    JobMessage | CancelMessage | ReadyMessage | ProgressMessage | DoneMessage | ErrorMessage | IdleMessage
)

_TYPES: dict[str, type[Message]] = {
    "job": JobMessage,
    "cancel": CancelMessage,
    "ready": ReadyMessage,
    "progress": ProgressMessage,
    "done": DoneMessage,
    "error": ErrorMessage,
    "idle": IdleMessage,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}


def encode(message: Message) -> bytes:
    """Return a message as one line, newline included; ASCII, so that even a file name that is not Unicode survives.

    An optional field at its default is left out, so that a side which does not know it takes the message all the same.
    """
    optional = {field.name: field.default for field in fields(message) if field.default is not MISSING}
    said = {name: value for name, value in asdict(message).items() if name not in optional or value != optional[name]}
    values = {"protocol": PROTOCOL_VERSION, "type": _NAMES[type(message)], **said}
    return json.dumps(values).encode("ascii") + b"\n"


def decode(line: bytes) -> Message:
    """Read one line.

    :raises WorkerError: when it is not a message of this protocol and version.
    """
    try:
        values = json.loads(line.decode("utf-8"))
        version = values.pop("protocol")
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise WorkerError(f"What came through the pipe is not a MedDenoise message: {_excerpt(line)}.") from error
    if version != PROTOCOL_VERSION:
        raise WorkerError(
            f"The denoising process and its client come from different versions of MedDenoise (protocol {version!r} "
            f"against {PROTOCOL_VERSION}); install the same version for both, or restart after an update."
        )
    kind = _TYPES.get(str(values.pop("type", None)))
    hints = get_type_hints(kind) if kind else {}
    required = {field.name for field in fields(kind) if field.default is MISSING} if kind else set()
    if (
        kind is None
        or not required <= values.keys() <= hints.keys()
        or not all(_fits(value, hints[name]) for name, value in values.items())
    ):
        raise WorkerError(f"A message of protocol {version} is not as it should be: {_excerpt(line)}.")
    return kind(**values)


def error_from(code: str, message: str) -> MedDenoiseError:
    """Return the error that a code stands for; an unknown code gives the base class."""
    kinds = [MedDenoiseError]
    for kind in kinds:  # grows: subclasses of subclasses, too
        kinds.extend(kind.__subclasses__())
    classes = {kind.code: kind for kind in reversed(kinds)}  # a subclass without a code of its own gives way
    return classes.get(code, MedDenoiseError)(message)


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a JSON value is of a message field's type."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, choice) for choice in get_args(hint))
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_fits(item, get_args(hint)[0]) for item in value)
    if isinstance(value, bool):  # for Python a kind of int, for a message never meant
        return False
    return isinstance(value, (int, float) if hint is float else hint)


def _excerpt(line: bytes) -> str:
    text = line[:80].decode("utf-8", errors="replace").strip()
    return repr(text + ("..." if len(line) > 80 else ""))
