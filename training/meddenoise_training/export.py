"""A run's averaged weights written as ``.safetensors`` with their model card, and the card once more to read."""

from __future__ import annotations

import datetime
import math
import platform
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from meddenoise.catalogue import MODELS_FOLDER, shipped_models
from meddenoise.errors import InputError, OutputError
from meddenoise.intensity import HU_PER_UNIT
from meddenoise.model_card import ModelCard
from meddenoise.network import ResidualAutoencoder
from meddenoise.weights import save_weights
from meddenoise_training.checkpoint import read_checkpoint
from meddenoise_training.config import Config
from meddenoise_training.manifest import Manifest, read_manifest
from meddenoise_training.networks import averaged_network
from meddenoise_training.noise.correlated import SHARP, SMOOTH
from meddenoise_training.toml_files import read_toml, wrong_fields
from meddenoise_training.validation import NOISE_SD_HU, Validation

#: Slices of each kind behind the card's figures.
_FIGURE_SLICES = 16
_OPTIMISERS = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD with momentum", "lion": "Lion"}
_SOFTWARE = ("torch", "lightning-fabric", "numpy", "meddenoise", "meddenoise-training")


class CardText(BaseModel):
    """What only a person can say of the weights, from a TOML file; see :class:`meddenoise.model_card.ModelCard`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    version: str
    licence: str
    summary: str
    limits: list[str]


def export(run: Path, target: Path, card_text: Path, *, overwrite: bool = False) -> str:
    """Measure the averaged weights of a run on validation and test slices and write them with their card.

    :param run: folder of the run; its prepared data must still lie where they were.
    :param target: ``.safetensors`` file; the card to read goes beside it, as ``.md``.
    :param card_text: TOML file with the fields of :class:`CardText`.
    :param overwrite: replace the target and its card where they exist.
    :returns: the SHA-256 of the file.
    :raises InputError: without a checkpoint, prepared data or card text, when it is not said where data are from, or
        when the card has the name of a shipped model.
    :raises OutputError: when a file exists already or cannot be written.
    """
    if target.suffix != ".safetensors":
        raise OutputError(f"Weights are written as .safetensors, not as '{target.suffix}'; rename {target.name}.")
    for path in (target, target.with_suffix(".md")):
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists already; choose another name, or give --overwrite to replace it.")
    saved = read_checkpoint(run)
    if saved is None:
        raise InputError(f"There is no checkpoint in {run}; train with `meddenoise-train fit` first.")
    config, prepared = Config.model_validate(saved["config"]), Path(saved["prepared"])
    if config.shape is None:
        raise InputError(
            f"'{config.architecture}' is a network for comparison, which MedDenoise does not run or export."
        )
    text, manifest = _read_card_text(card_text), read_manifest(prepared)
    _refuse_shipped_name(text.name, target, card_text)
    network = averaged_network(saved, config)
    assert isinstance(network, ResidualAutoencoder)
    card = ModelCard(
        architecture=config.shape,
        hu_per_unit=HU_PER_UNIT,
        created=datetime.date.today().isoformat(),
        training=_training(saved, config, manifest),
        data=_data(manifest),
        figures=_figures(network, prepared, manifest),
        **text.model_dump(),
    )
    sha256 = save_weights(target, network, card)
    _write_text(target.with_suffix(".md"), card_to_markdown(card, sha256))
    return sha256


def card_to_markdown(card: ModelCard, sha256: str) -> str:
    """Return a card as a page for people."""
    data = [
        f"- {d['name']}: patients {d['patients']}, slices {d['slices']}, {d['licence']}, doi:{d['doi']}"
        for d in card.data
    ]
    rows = [
        f"| {split} | {f['name']} | {f['rmse_before']} → {f['rmse']} | {_psnr(f)} | {f['bias']:+} |"
        for split in ("validation", "test")
        for f in card.figures.get(split, [])
    ]
    return "\n".join(
        [
            f"# {card.title} (`{card.name}`, version {card.version})",
            "",
            card.summary,
            "",
            "## Limits",
            *(f"- {limit}" for limit in card.limits),
            "",
            "## Figures",
            card.figures["conditions"],
            "",
            "| split | slices, noise | RMSE, HU | PSNR C50/W400, dB | bias, HU |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "## Training data",
            *data,
            "",
            "## Training",
            *(f"- {key}: {value}" for key, value in card.training.items() if key != "config"),
            "",
            f"Architecture: {card.architecture}. Weights: {card.licence}, created {card.created}, SHA-256 `{sha256}`.",
            "",
        ]
    )


def _psnr(figures: dict[str, Any]) -> str:
    return "" if figures["psnr_before"] is None else f"{figures['psnr_before']} → {figures['psnr']}"


def _read_card_text(path: Path) -> CardText:
    try:
        return CardText.model_validate(read_toml(path))
    except ValidationError as error:
        raise InputError(f"The card text {path} is not complete or not right: {wrong_fields(error)}.") from error


def _refuse_shipped_name(name: str, target: Path, card_text: Path) -> None:
    """Refuse weights under the name of a shipped model outside the package: results could not be told apart."""
    if target.resolve().parent != MODELS_FOLDER.resolve() and name in [model.name for model in shipped_models()]:
        raise InputError(
            f"The name '{name}' is that of a shipped model; give your weights another name in {card_text}."
        )


def _training(saved: dict[str, Any], config: Config, manifest: Manifest) -> dict[str, Any]:
    fit, data, noise = config.fit, config.data, config.noise
    best = saved.get("best")
    steps = best["step"] if best is not None else saved["step"]
    origins = {"begun from": saved.get("begun_from"), "distilled from": saved.get("distilled_from")}
    low, high = noise.mean_frequency
    return {
        "steps": f"{steps} of {fit.steps} planned, {data.batch} patches of {data.patch} x {data.patch} pixels each",
        **{name: origin for name, origin in origins.items() if origin},
        "loss": _loss(config),
        "optimiser": f"{_OPTIMISERS[fit.optimiser]}, learning rate {fit.learning_rate}, warm-up {fit.warmup_steps} "
        f"steps, {fit.schedule}; "
        f"weights averaged (EMA {fit.ema_decay}); seed {fit.seed}",
        "noise": f"SD {noise.sd_low} to {noise.sd_high} HU (log-uniform, at least {noise.over_own_noise} times the "
        f"target's own), {noise.white_share:.0%} white, else correlated with mean frequencies of {low} to {high} "
        f"cycles/pixel and streaks in any direction (anisotropy up to {noise.anisotropy}); {noise.clean_share:.0%} of "
        f"the noise-free targets get less than {noise.sd_low} HU",
        "targets": f"scanned slices, the cleanest most often, thin ones averaged up to {manifest.slab_mm} mm; "
        f"{data.synthetic_share:.0%} of the patches from noise-free synthetic slices (dead leaves)",
        **_ranges(manifest),
        "software": ", ".join(
            [f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in _SOFTWARE)]
        ),
        # Without paths, which are nobody else's business.
        "config": config.model_dump(mode="json", exclude={"init": True, "distil": {"teacher"}}),
    }


def _loss(config: Config) -> str:
    """Return the loss in words."""
    kind, share, (centre, width) = config.loss.kind, config.loss.share, config.loss.window
    window = f"in the window C{centre:g}/W{width:g}"
    if kind == "bce":
        text = f"binary cross-entropy of grey values {window}"
    else:
        measure = {"l1": "absolute value", "mse": "square"}.get(kind, "Charbonnier")
        text = f"{measure} of the residual in units of the patch's noise SD + {config.fit.scale_floor_hu} HU"
    mixed = {"ssim": f"1 - SSIM {window}", "ms-ssim": f"1 - MS-SSIM {window}", "edge": "that of its differences"}
    if kind in mixed:
        text = f"{1 - share:.0%} {text}, {share:.0%} {mixed[kind]}"
    if config.distil is not None:
        text += f"; {config.distil.share:.0%} of it against the teacher's result"
    return text


def _ranges(manifest: Manifest) -> dict[str, str]:
    """Return what the scanned training slices span: outside it the weights were never tried."""
    entries = [e for e in manifest.splits["train"] if e.kind != "synthetic"]

    def span(values: Iterable[float | None], unit: str) -> str:
        known = sorted(v for v in values if v is not None)
        return f"{known[0]:g} to {known[-1]:g} {unit}" if known else "not known"

    return {
        "noise of the targets": span((e.noise_sd for e in entries), "HU"),
        "pixels": span((e.pixel_mm for e in entries), "mm"),
        "slice thickness": span((e.thickness_mm for e in entries), "mm"),
        "tube voltage": span((e.kvp for e in entries), "kV"),
        "reconstruction kernels": ", ".join(sorted({e.kernel for e in entries if e.kernel})) or "not known",
    }


def _data(manifest: Manifest) -> list[dict[str, Any]]:
    """Return one entry for each collection of the train split.

    :raises InputError: when slices belong to none: weights must name the data they were trained on.
    """
    entries = [e for e in manifest.splits["train"] if e.kind != "synthetic"]
    if any(e.collection is None for e in entries):
        raise InputError(
            "The card must name the data, but some training slices belong to no collection; "
            "prepare again with --sources and a [[collection]] for every folder."
        )
    rows = []
    for collection in manifest.collections:
        own = [e for e in entries if e.collection == collection.name]
        if own:
            counts = {"patients": len({e.patient for e in own}), "slices": len(own)}
            rows.append({**collection.model_dump(exclude={"folders"}), **counts})
    return rows


def _figures(network: ResidualAutoencoder, prepared: Path, manifest: Manifest) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "conditions": f"Means over up to {_FIGURE_SLICES} slices of each kind, from its cleaner half. Added noise of "
        f"{NOISE_SD_HU:.0f} HU: white; smooth and sharp, as a smooth and a sharp kernel leave it (mean frequencies of "
        f"{SMOOTH[0]} and {SHARP[0]} cycles/pixel); streaked: smooth, with streaks from side to side; or none. RMSE "
        "over the slice, PSNR in the window C50/W400, bias within the body. The scans that results are compared with "
        "carry noise of their own."
    }
    for split in ("validation", "test"):
        if manifest.splits[split]:
            measured = Validation(prepared, split, _FIGURE_SLICES, entrance=network.architecture.slices).figures(
                network
            )
            figures[split] = [{key: _rounded(value) for key, value in asdict(f).items()} for f in measured]
    return figures


def _rounded(value: float | str) -> float | str | None:
    """Return a figure with 2 decimals; JSON knows no infinite PSNR."""
    if isinstance(value, str):
        return value
    return round(value, 2) if math.isfinite(value) else None


def _write_text(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(text, "utf-8")
        beside.replace(path)
    except OSError as error:
        raise OutputError(f"The card cannot be written to {path}: {error.strerror or error}.") from error
