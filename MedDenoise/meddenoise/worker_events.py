"""What the worker's client reports of a job: that it goes on, its result, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy.typing as npt

from meddenoise.errors import MedDenoiseError


@dataclass(frozen=True)
class WorkerResult:
    """A denoised volume and how it came about.

    :param array: shape and type of the input; ordinary memory of the caller's own, it outlives client and child.
    :param device: what it was computed on, ``cpu`` or ``cuda:0`` say.
    :param seconds: that the denoising took, without starting the process and loading the model.
    :param warnings: sentences on the input that the user should see.
    :param version: of MedDenoise in the child.
    :param spread: SD over the eight orientations of quality ``best``, float32, HU; None where not asked for.
    :param model: that ran: as asked for, or for ``auto`` the name of the one that suits the device.
    :param default_strength: of that model.
    :param precision: in which the noise was computed, ``float32`` or ``bfloat16``.
    """

    array: npt.NDArray[Any]
    model_sha256: str
    device: str
    seconds: float
    warnings: tuple[str, ...]
    version: str
    spread: npt.NDArray[Any] | None = None
    model: str = ""
    default_strength: float = 1.0
    precision: str = "float32"


@dataclass(frozen=True)
class Ready:
    """A child has started and speaks our protocol; a warm one does not say so again."""

    version: str
    python: str
    pid: int


@dataclass(frozen=True)
class Progress:
    """Slices done; ``seconds_left`` is None before the first slice. ``done`` is 0 once the model is loaded."""

    done: int
    total: int
    seconds_left: float | None


@dataclass(frozen=True)
class Done:
    """The job is done."""

    result: WorkerResult


@dataclass(frozen=True)
class Failed:
    """The job ended without a result; ``details`` (a traceback, the child's last words) are for a report."""

    error: MedDenoiseError
    details: str = ""


Event: TypeAlias = Ready | Progress | Done | Failed
