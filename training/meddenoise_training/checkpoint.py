"""The checkpoint of a run: whole or the last one; read without running code."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from meddenoise.errors import InputError, OutputError
from meddenoise_training.disk import then_again
from meddenoise_training.whole_file import whole_file

CHECKPOINT_NAME = "checkpoint.pt"
#: What every checkpoint of `fit` holds, and of which type.
_PARTS: dict[str, type] = {
    **dict.fromkeys(("network", "ema", "optimizer", "schedule", "precision", "config"), dict),
    **{"step": int, "prepared": str, "manifest": str},
}


def write_checkpoint(run: Path, state: dict[str, Any]) -> None:
    """Write the state of a run into its folder.

    :raises OutputError: when it cannot be written; the last checkpoint is still there then.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        with whole_file(run / CHECKPOINT_NAME) as beside:
            beside.touch()  # of a file that cannot even be made PyTorch would not tell why
            torch.save(state, beside)
    except OSError as error:
        kept = "; the last checkpoint is kept" if (run / CHECKPOINT_NAME).exists() else ""
        raise OutputError(
            f"The checkpoint cannot be written to {run}: {error.strerror or error}{kept}; {then_again(error)}."
        ) from error


def read_checkpoint(run: Path) -> dict[str, Any] | None:
    """Read the state of a run; None where there is no checkpoint.

    :raises InputError: when it cannot be read, or is none.
    """
    path = run / CHECKPOINT_NAME
    return read_checkpoint_file(path) if path.exists() else None


def read_checkpoint_file(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    :raises InputError: when it cannot be read, or is none of ``fit``.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"The checkpoint {path} cannot be read: {error.strerror or error}.") from error
    try:
        with file:
            state = torch.load(file, map_location="cpu", weights_only=True)
    # A damaged file is told in whatever way, and what torch tells of it fills a screen.
    except (OSError, RuntimeError, EOFError, UnpicklingError, LookupError, ValueError, TypeError) as error:
        raise InputError(
            f"The checkpoint {path} cannot be read, it is damaged or something else; remove it to start again."
        ) from error
    if not _is_checkpoint(state):
        raise InputError(
            f"{path} is not a checkpoint of `meddenoise-train fit` that this version knows; name the folder of another "
            "run."
        )
    return dict(state)


def _is_checkpoint(state: object) -> bool:
    if not isinstance(state, dict) or any(not isinstance(state.get(name), kind) for name, kind in _PARTS.items()):
        return False
    fit, best = state["config"].get("fit"), state.get("best")
    weights = [state["network"], state["ema"]]
    if best is not None:
        if not isinstance(best, dict) or not isinstance(best.get("ema"), dict) or "step" not in best:
            return False
        weights.append(best["ema"])
    tensors = all(isinstance(tensor, Tensor) for some in weights for tensor in some.values())
    return tensors and isinstance(fit, dict) and isinstance(fit.get("steps"), int)


def averaged_weights(saved: dict[str, Any]) -> dict[str, Tensor]:
    """Return the averaged weights (EMA) of a checkpoint, by their names in the network.

    Those of the best validation where the run looked for it (early stopping), else the last ones.
    """
    prefix, best = "module.", saved.get("best")
    weights = best["ema"] if best is not None else saved["ema"]
    return {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}
