"""Networks: built as a configuration says, or read trained, from a weights file or a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from meddenoise.errors import InputError
from meddenoise.network import build_network, seeded_network
from meddenoise.weights import LoadedModel, load_network, sha256_of
from meddenoise_training.baselines import BASELINES
from meddenoise_training.checkpoint import CHECKPOINT_NAME, averaged_weights, read_checkpoint_file
from meddenoise_training.config import ARCHITECTURES, Config, DataConfig

#: What ``architecture`` may be in a configuration.
NAMES = (*ARCHITECTURES, *BASELINES)


@dataclass(frozen=True)
class TrainedNetwork:
    """A network in evaluation mode.

    :param origin: where it is from, for a card: no path, which would tell of the machine.
    :param manifest: identity of the prepared folder that it was trained on, where that is known.
    """

    network: nn.Module
    origin: str
    manifest: str | None = None


def build(config: Config) -> nn.Module:
    """Build the network of a configuration; its untrained weights depend on the seed alone.

    Ours begins as the identity: a random noise branch first has to unlearn that it shifts air by hundreds of HU.
    """
    if config.shape is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.fit.seed)
            return _baseline(config)
    network = seeded_network(config.shape, config.fit.seed)
    torch.nn.init.zeros_(network.exit.weight)
    return network


def averaged_network(saved: dict[str, Any], config: Config) -> nn.Module:
    """Build the network with the averaged weights (EMA) of a checkpoint, in evaluation mode."""
    network = _baseline(config) if config.shape is None else build_network(config.shape)
    network.load_state_dict(averaged_weights(saved))
    return network.eval()


def read_network(path: Path) -> TrainedNetwork:
    """Read a trained network.

    :param path: a ``.safetensors`` file, a checkpoint, or the folder of a run, of which the averaged weights are taken.
    :raises InputError: when there is none, or a checkpoint cannot be read.
    :raises WeightsError: when a weights file cannot be read.
    """
    if path.suffix == ".safetensors":
        loaded = load_network(path)
        return TrainedNetwork(loaded.network, origin_of(loaded))
    file = path / CHECKPOINT_NAME if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"There are no weights at {path}; name a .safetensors file or the folder of a run of `fit`.")
    try:
        saved = read_checkpoint_file(file)
    except InputError as error:
        if path.is_dir():
            raise
        raise InputError(
            f"{path} holds no weights that can be read; name a .safetensors file or the folder of a run of `fit`."
        ) from error
    if saved["step"] == 0:
        raise InputError(f"The run at {path} has no step done yet; train it with `meddenoise-train fit` first.")
    try:
        # Only this of its configuration: the rest may be that of an older version. Whatever its network looks at, no
        # data are drawn for it here.
        named = {key: saved["config"].get(key) for key in ("architecture", "network")}
        config = Config(**named, data=DataConfig(synthetic_share=0))
        origin = f"a run of {saved['step']} steps, SHA-256 {sha256_of(file)}"
        return TrainedNetwork(averaged_network(saved, config), origin, saved.get("manifest"))
    except (RuntimeError, ValidationError) as error:
        raise InputError(f"{file} is not a checkpoint of `meddenoise-train fit` that this version knows.") from error


def origin_of(loaded: LoadedModel) -> str:
    """Return where the weights of a file are from, for a card or a report."""
    return f"weights '{loaded.card.name}' version {loaded.card.version}, SHA-256 {loaded.sha256}"


def entrance_of(network: nn.Module) -> int:
    """Return how many neighbouring slices a network looks at; those of others look at one."""
    slices: int = getattr(getattr(network, "architecture", None), "slices", 1)
    return slices


def name_of(network: nn.Module) -> str:
    """Return what a configuration calls a network; its shape where it has no name."""
    shape = getattr(network, "architecture", None)
    if shape is None:
        return next((name for name, kind in BASELINES.items() if kind is type(network)), type(network).__name__)
    named = next((name for name, known in ARCHITECTURES.items() if known == shape), None)
    return named or f"widths {list(shape.widths)}, blocks {shape.blocks}, slices {shape.slices}"


def _baseline(config: Config) -> nn.Module:
    return BASELINES[config.architecture or ""]()
