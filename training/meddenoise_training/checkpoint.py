"""The checkpoint of a run: written beside, then renamed; read without running code."""

from __future__ import annotations

import contextlib
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from meddenoise.errors import InputError, OutputError

CHECKPOINT_NAME = "checkpoint.pt"


def write_checkpoint(run: Path, state: dict[str, Any]) -> None:
    """Write the state of a run into its folder.

    :raises OutputError: when it cannot be written; the last checkpoint is still there then.
    """
    beside = run / f".{CHECKPOINT_NAME}.part"
    try:
        run.mkdir(parents=True, exist_ok=True)
        torch.save(state, beside)
        beside.replace(run / CHECKPOINT_NAME)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise OutputError(f"The checkpoint cannot be written to {run}: {error}.") from error


def read_checkpoint(run: Path) -> dict[str, Any] | None:
    """Read the state of a run; None where there is no checkpoint.

    :raises InputError: when it cannot be read.
    """
    path = run / CHECKPOINT_NAME
    return read_checkpoint_file(path) if path.exists() else None


def read_checkpoint_file(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    :raises InputError: when it cannot be read.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise InputError(f"The checkpoint {path} cannot be read: {error}. Remove it to start again.") from error
    return state


def averaged_weights(saved: dict[str, Any]) -> dict[str, Tensor]:
    """Return the averaged weights (EMA) of a checkpoint, by their names in the network.

    Those of the best validation where the run looked for it (early stopping), else the last ones.
    """
    prefix, best = "module.", saved.get("best")
    weights = best["ema"] if best is not None else saved["ema"]
    return {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}
