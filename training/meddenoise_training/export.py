"""A run's averaged weights written as ``.safetensors`` with their model card, and the card once more to read."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from meddenoise.catalogue import MODELS_FOLDER, shipped_models
from meddenoise.errors import InputError, OutputError
from meddenoise.intensity import HU_PER_UNIT
from meddenoise.model_card import ModelCard
from meddenoise.network import ResidualAutoencoder
from meddenoise.weights import save_weights, tensors_digest
from meddenoise_training.benchmark.card_figures import Benchmarked
from meddenoise_training.card import CardText, Origins, read_card_text
from meddenoise_training.card_page import card_page
from meddenoise_training.checkpoint import read_checkpoint
from meddenoise_training.config import Config
from meddenoise_training.data_identity import data_identity, first_other_data
from meddenoise_training.manifest import Manifest, read_manifest
from meddenoise_training.networks import averaged_network
from meddenoise_training.noise.correlated import SHARP, SMOOTH
from meddenoise_training.validation import NOISE_SD_HU, Validation
from meddenoise_training.whole_file import whole_file

#: Slices of each kind behind the card's figures.
_FIGURE_SLICES = 16


def export(
    run: Path,
    target: Path,
    card_text: Path,
    *,
    benchmark: Path | None = None,
    overwrite: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> str:
    """Measure the averaged weights of a run on validation and test slices and write them with their card.

    :param run: folder of the run; its prepared data must still lie where they were.
    :param target: ``.safetensors`` file; the card to read goes beside it, as ``.md``.
    :param card_text: TOML file with the fields of :class:`~meddenoise_training.card.CardText`.
    :param benchmark: ``benchmark.json`` that measured these very weights, for the card's figures.
    :param overwrite: replace the target and its card where they exist.
    :param report: called with a line before the figures are measured, which takes a minute.
    :returns: the SHA-256 of the file.
    :raises InputError: without a checkpoint, prepared data or card text, when it is not said where data are from, when
        the card has the name of a shipped model, or the benchmark is not of these weights.
    :raises OutputError: when a file exists already or cannot be written.
    """
    if target.suffix != ".safetensors":
        raise OutputError(f"Weights are written as .safetensors, not as '{target.suffix}'; rename {target.name}.")
    for path in (target, target.with_suffix(".md")):
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists already; choose another name, or give --overwrite to replace it.")
    if not target.parent.is_dir():
        raise OutputError(f"There is no folder {target.parent} to write {target.name} to; make it first.")
    saved = read_checkpoint(run)
    if saved is None or saved["step"] == 0:
        there = "no checkpoint" if saved is None else "no step done yet"
        raise InputError(f"There is {there} in {run}; train with `meddenoise-train fit` first.")
    config, prepared = _config(saved, run), Path(saved["prepared"])
    if config.shape is None:
        raise InputError(
            f"'{config.architecture}' is a network for comparison, which MedDenoise does not run or export."
        )
    text, manifest = read_card_text(card_text), read_manifest(prepared)
    _refuse_shipped_name(text.name, target, card_text)
    origins = Origins(prepared, manifest, config)  # says so where bank or targets are missing
    _refuse_other_data(saved, prepared, config)
    network = averaged_network(saved, config)
    assert isinstance(network, ResidualAutoencoder)
    measured = (
        {} if benchmark is None else {"benchmark": _measured(benchmark, network, text, origins, saved["manifest"])}
    )
    report(f"Measuring the weights of {run} on validation and test slices.")
    card = ModelCard(
        architecture=config.shape,
        hu_per_unit=HU_PER_UNIT,
        created=datetime.date.today().isoformat(),
        training=origins.training(saved, text),
        data=origins.data(),
        figures={**_figures(network, prepared, manifest), **measured},
        domain=origins.domain(),
        default_strength=text.strength.default,
        **text.model_dump(exclude={"strength", "earlier_stages"}),
    )
    sha256 = save_weights(target, network, card)
    _write_text(target.with_suffix(".md"), card_page(card, sha256))
    return sha256


def _config(saved: dict[str, Any], run: Path) -> Config:
    try:
        return Config.model_validate(saved["config"])
    except ValidationError as error:
        raise InputError(f"The run in {run} was made by another version; export it with that one.") from error


def _refuse_other_data(saved: dict[str, Any], prepared: Path, config: Config) -> None:
    """Refuse a prepared folder, bank or targets other than those that a run was trained with."""
    if other := first_other_data(saved, data_identity(prepared, config), prepared, config):
        raise InputError(
            f"{other} was made anew since the run began, so the card would name other data; put the former one back."
        )


def _refuse_shipped_name(name: str, target: Path, card_text: Path) -> None:
    """Refuse weights under the name of a shipped model outside the package: results could not be told apart."""
    if target.resolve().parent != MODELS_FOLDER.resolve() and name in [model.name for model in shipped_models()]:
        raise InputError(
            f"The name '{name}' is that of a shipped model; give your weights another name in {card_text}."
        )


def _measured(
    path: Path, network: ResidualAutoencoder, text: CardText, origins: Origins, manifest: str
) -> dict[str, Any]:
    """Return the benchmark's figures of a network.

    :param manifest: of the prepared folder that the run was trained on, as its checkpoint tells it.
    :raises InputError: when they are of other weights, of another prepared folder, of patients seen in training, or of
        another strength than the card's default.
    """
    found = Benchmarked(path, tensors_digest(network))
    if found.manifest is None:
        raise InputError(
            f"{path} does not tell which prepared folder it measured; run `meddenoise-train benchmark` into the same "
            "folder again, which keeps what is measured."
        )
    if found.manifest != manifest:
        raise InputError(
            f"{path} measured another prepared folder than the one that these weights were trained on, where the same "
            "patients have other names; benchmark them on the split 'test' of the one they were trained on."
        )
    if origins.trained_on(found.patients):
        raise InputError(
            f"{path} measured patients that these weights were trained on (split '{found.split}'); benchmark them on "
            "the split 'test'."
        )
    if not math.isclose(found.strength, text.strength.default):
        raise InputError(
            f"{path} measured strength {found.strength:g}, but the card's default is {text.strength.default:g}; run "
            f"`meddenoise-train benchmark` with --strength {text.strength.default:g}, or change the card."
        )
    return found.figures()


def _figures(network: ResidualAutoencoder, prepared: Path, manifest: Manifest) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "conditions": f"Means over up to {_FIGURE_SLICES} slices of each kind, from its cleaner half. Added noise of "
        f"{NOISE_SD_HU:.0f} HU: white; smooth and sharp, as a smooth and a sharp kernel leave it (mean frequencies of "
        f"{SMOOTH[0]} and {SHARP[0]} cycles/pixel); streaked: smooth, with streaks from side to side; or none. RMSE "
        "over the slice, PSNR in the window C50/W400, bias within the body. The scans that results are compared with "
        "carry noise of their own."
    }
    entrance = network.architecture.slices
    for split in ("validation", "test"):
        if manifest.splits[split]:
            measured = Validation(prepared, split, _FIGURE_SLICES, entrance=entrance).figures(network)
            figures[split] = [{key: _rounded(value) for key, value in asdict(f).items()} for f in measured]
    return figures


def _rounded(value: float | str) -> float | str | None:
    """Return a figure with 2 decimals; JSON knows no infinite PSNR."""
    if isinstance(value, str):
        return value
    return round(value, 2) if math.isfinite(value) else None


def _write_text(path: Path, text: str) -> None:
    try:
        with whole_file(path) as beside:
            beside.write_text(text, "utf-8")
    except OSError as error:
        raise OutputError(f"The card cannot be written to {path}: {error.strerror or error}.") from error
