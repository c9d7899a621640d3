"""The models that are shipped: name, file, SHA-256; which is the default; how a name becomes a weights file."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from meddenoise.devices import choose_device
from meddenoise.errors import WeightsError

MODELS_FOLDER = Path(__file__).parent / "models"
#: Stands for the model that suits the device, see :func:`default_model`.
DEFAULT_MODEL = "auto"


@dataclass(frozen=True)
class Model:
    """A weights file that can be chosen.

    :param sha256: what the file must hash to; None for a file of the user's own, which nothing vouches for.
    """

    name: str
    title: str
    description: str
    path: Path
    sha256: str | None


def shipped_models() -> list[Model]:
    """Return the models of the catalogue, the smallest first; reads no weights and needs no torch."""
    entries = json.loads((MODELS_FOLDER / "catalogue.json").read_text(encoding="utf-8"))["models"]
    return [
        Model(
            entry["name"],
            entry["title"],
            entry["description"],
            MODELS_FOLDER / entry["file"],
            entry["sha256"],
        )
        for entry in entries
    ]


def default_model(device: str = "auto") -> str:
    """Return the name of the model that runs where the user names none: Standard on a GPU, Fast on a CPU.

    :param device: as :func:`~meddenoise.devices.choose_device` takes it; only ``auto`` needs torch, to look for a GPU.
    :raises MissingPackageError: without torch, for ``auto``.
    """
    kind = choose_device() if device == "auto" else device
    is_shipped = "standard" in [model.name for model in shipped_models()]
    return "standard" if kind != "cpu" and is_shipped else "fast"


def find_model(name_or_path: str | Path, device: str = "auto") -> Model:
    """Find a shipped model by name, or take a ``.safetensors`` file of the user's own.

    :param name_or_path: ``auto`` is the default model of the device.
    :raises WeightsError: when it is neither.
    :raises MissingPackageError: without torch, where model and device are ``auto``.
    """
    models = {model.name: model for model in shipped_models()}
    name = default_model(device) if str(name_or_path) == DEFAULT_MODEL else str(name_or_path)
    if name in models:
        return models[name]
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return Model(path.stem, path.stem, f"Own weights: {path}", path, None)
    if (path / "checkpoint.pt").is_file():
        raise WeightsError(
            f"{name_or_path} is the folder of a training run; make weights of it first: `meddenoise-train export "
            f"{shlex.quote(str(name_or_path))} my.safetensors --card card.toml`."
        )
    raise WeightsError(
        f"There is no model or weights file '{name_or_path}'; the shipped models are: {', '.join(models)}."
    )
