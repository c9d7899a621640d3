"""Weights that a run begins from instead of random ones: a weights file, or the averaged weights of another run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from meddenoise.errors import InputError
from meddenoise.weights import load_network, sha256_of
from meddenoise_training.checkpoint import CHECKPOINT_NAME, averaged_weights, read_checkpoint_file


@dataclass(frozen=True)
class InitialWeights:
    """Tensors by name, and where they are from, for the card: no path, which would tell of the machine."""

    tensors: dict[str, Tensor]
    origin: str


def read_initial_weights(path: Path) -> InitialWeights:
    """Read weights to begin from.

    :param path: a ``.safetensors`` file, a checkpoint, or the folder of a run.
    :raises InputError: when there is none, or a checkpoint cannot be read.
    :raises WeightsError: when a weights file cannot be read.
    """
    if path.suffix == ".safetensors":
        loaded = load_network(path)
        origin = f"weights '{loaded.card.name}' version {loaded.card.version}, SHA-256 {loaded.sha256}"
        return InitialWeights(dict(loaded.network.state_dict()), origin)
    file = path / CHECKPOINT_NAME if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"There are no weights at {path}; name a .safetensors file or the folder of a run of `fit`.")
    saved = read_checkpoint_file(file)
    try:
        return InitialWeights(averaged_weights(saved), f"a run of {saved['step']} steps, SHA-256 {sha256_of(file)}")
    except (KeyError, TypeError) as error:
        raise InputError(f"{file} is not a checkpoint of `meddenoise-train fit`.") from error


def begin_from(network: nn.Module, weights: InitialWeights, path: str | Path) -> None:
    """Put weights into a network.

    :raises InputError: when they are of another architecture.
    """
    try:
        network.load_state_dict(weights.tensors)
    except RuntimeError as error:
        raise InputError(
            f"The weights at {path} are of another architecture than this run's; set the architecture they have, or "
            "begin without them."
        ) from error
