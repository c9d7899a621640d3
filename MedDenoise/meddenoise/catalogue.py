"""The models that are shipped: name, file, SHA-256; and how a name or a path becomes a weights file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from meddenoise.errors import WeightsError

MODELS_FOLDER = Path(__file__).parent / "models"
DEFAULT_MODEL = "fast"


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
    """Return the models of the catalogue, the default one first; reads no weights and needs no torch."""
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


def find_model(name_or_path: str | Path) -> Model:
    """Find a shipped model by name, or take a ``.safetensors`` file of the user's own.

    :raises WeightsError: when it is neither.
    """
    models = {model.name: model for model in shipped_models()}
    if str(name_or_path) in models:
        return models[str(name_or_path)]
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return Model(path.stem, path.stem, f"Own weights: {path}", path, None)
    raise WeightsError(
        f"There is no model or weights file '{name_or_path}'; the shipped models are: {', '.join(models)}."
    )
