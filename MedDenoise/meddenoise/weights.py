"""Weights on disk: ``.safetensors`` with a card in the metadata, checked by SHA-256, read without running code."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddenoise.errors import MissingPackageError, OutputError, WeightsError
from meddenoise.model_card import ModelCard

if TYPE_CHECKING:
    from torch import nn

    from meddenoise.network import ResidualAutoencoder

CARD_KEY = "meddenoise_card"


@dataclass(frozen=True)
class LoadedModel:
    """A network with its weights, on the CPU in evaluation mode, with what the file says of itself."""

    network: ResidualAutoencoder
    card: ModelCard
    sha256: str


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    :raises WeightsError: when the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise WeightsError(f"The weights file {path} cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()


def tensors_digest(network: nn.Module) -> str:
    """Return the SHA-256 of a network's values alone, in hexadecimal: the same under another card.

    Of each tensor, in the order of their names: name, shape, and its values as float32.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        values = tensor.detach().cpu().float().contiguous()
        digest.update(f"{name} {tuple(values.shape)}\n".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def save_weights(path: str | Path, network: ResidualAutoencoder, card: ModelCard) -> str:
    """Write a network and its card; an existing file is replaced only once the new one is complete.

    :param path: of the ``.safetensors`` file.
    :returns: the SHA-256 of the file.
    :raises OutputError: when it cannot be written.
    :raises WeightsError: when the card describes another network.
    """
    from safetensors.torch import save_file

    path = Path(path)
    if card.architecture != network.architecture:
        raise WeightsError(f"The card describes {card.architecture}, but the network is {network.architecture}.")
    tensors = {name: tensor.detach().cpu().float().contiguous() for name, tensor in network.state_dict().items()}
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(tensors, beside, metadata={CARD_KEY: card.to_json()})
        beside.chmod(0o644)  # safetensors writes for its maker alone; an installed model is everybody's
        beside.replace(path)
    except Exception as error:
        beside.unlink(missing_ok=True)
        # safetensors wraps the system's reason: "Error while serializing: I/O error: REASON (os error 28)".
        reason = re.sub(r".*I/O error: | \(os error \d+\)", "", getattr(error, "strerror", None) or str(error))
        raise OutputError(f"The weights cannot be written to {path}: {reason}.") from error
    return sha256_of(path)


def read_card(path: str | Path) -> ModelCard:
    """Read the card of a weights file; needs neither torch nor the network.

    :raises WeightsError: when the file is not there, damaged, or not MedDenoise's.
    :raises MissingPackageError: without the safetensors package.
    """
    with _opened(Path(path), framework="numpy") as file:
        return _card_of(file, Path(path))


def load_network(path: str | Path, expected_sha256: str | None = None) -> LoadedModel:
    """Build the network that a weights file describes and load its values.

    :param expected_sha256: what the catalogue says; None for a file of the user's own.
    :raises WeightsError: when the file is missing, damaged, foreign, or not the one expected.
    :raises MissingPackageError: without torch or safetensors.
    """
    path = Path(path)
    sha256 = sha256_of(path)
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise WeightsError(
            f"The weights file {path.name} is not the one that was shipped (SHA-256 {sha256[:12]}, "
            f"expected {expected_sha256[:12]}): it is damaged or was changed. Install MedDenoise again."
        )
    try:
        from meddenoise.network import build_network
    except ModuleNotFoundError as error:
        raise MissingPackageError(f"The Python package '{error.name}' is missing; install torch (PyTorch).") from error

    with _opened(path, framework="pt") as file:
        card = _card_of(file, path)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    network = build_network(card.architecture)
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise WeightsError(f"The weights in {path.name} do not fit the network that its card describes.") from error
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise WeightsError(f"The weights in {path.name} contain NaN or infinite values; they are damaged.")
    return LoadedModel(network.eval().requires_grad_(False), card, sha256)


def _opened(path: Path, *, framework: str) -> Any:
    """Open a safetensors file, or say in one sentence why not."""
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError as error:
        raise MissingPackageError("The Python package 'safetensors' is missing; install it to read weights.") from error
    try:
        return safe_open(path, framework=framework)
    except FileNotFoundError as error:
        raise WeightsError(f"There is no weights file at {path}.") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path.name} is not a readable .safetensors file (damaged, or another format under this name). "
            "MedDenoise reads no pickled weights (.pth, .pt, .ckpt); export them with `meddenoise-train export`."
        ) from error


def _card_of(file: Any, path: Path) -> ModelCard:
    metadata = file.metadata() or {}
    if CARD_KEY not in metadata:
        raise WeightsError(f"{path.name} holds weights of something else: it carries no MedDenoise card.")
    return ModelCard.from_json(metadata[CARD_KEY])
