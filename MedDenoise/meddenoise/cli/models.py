"""``meddenoise models``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meddenoise.catalogue import default_model, find_model
from meddenoise.cli import options
from meddenoise.cli.reporting import SHA256_PREFIX, as_json, lines
from meddenoise.errors import counted

if TYPE_CHECKING:
    from meddenoise.catalogue import Model
    from meddenoise.model_card import ModelCard


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]", help="A model's name or the path of a weights file: show its card.", show_default=False
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the card of every model.")] = False,
    json: options.AsJson = False,
) -> None:
    """List the models that come with MedDenoise, or show the card of one: domain, figures, data, limits."""
    from meddenoise import shipped_models
    from meddenoise.weights import read_card

    chosen = shipped_models() if name is None else [find_model(name)]
    with_cards = verbose or json or name is not None
    cards = [read_card(model.path) if with_cards else None for model in chosen]
    chosen = [_as_its_card_says(model, card) for model, card in zip(chosen, cards, strict=True)]
    if json:
        as_json([_values(model, card) for model, card in zip(chosen, cards, strict=True)])
        return
    for model, card in zip(chosen, cards, strict=True):
        devices = " and ".join(f"a {device.upper()}" for device in _default_on(model))
        default = f" (default on {devices})" if devices else ""
        lines(
            False,
            f"{model.name}{default}: {model.title}. {model.description}",
            f"    {model.path}, SHA-256 {(model.sha256 or 'unknown')[:SHA256_PREFIX]}",
        )
        if card is not None:
            lines(False, *(f"    {line}" for line in _card_lines(card)))


def _values(model: Model, card: ModelCard | None) -> dict[str, Any]:
    import json

    return {
        "name": model.name,
        "path": str(model.path),
        "sha256": model.sha256,
        "default_on": _default_on(model),
        "card": None if card is None else json.loads(card.to_json()),
    }


def _as_its_card_says(model: Model, card: ModelCard | None) -> Model:
    """Return a model of the user's own with name and title of its card, and the SHA-256 of its file."""
    from meddenoise.weights import sha256_of

    if card is None or model.sha256 is not None:
        return model
    return replace(model, name=card.name, title=card.title, sha256=sha256_of(model.path))


def _default_on(model: Model) -> list[str]:
    """Return on which devices a model is the one that ``auto`` stands for."""
    return [
        kind
        for kind, device in (("cpu", "cpu"), ("gpu", "cuda"))
        if find_model(default_model(device)).path == model.path
    ]


def _card_lines(card: ModelCard) -> list[str]:
    return [
        f"version {card.version} of {card.created}, licence {card.licence}: {card.summary}",
        f"default strength: {card.training.get('default strength', f'{card.default_strength:g}')}",
        *_domain_lines(card),
        *([card.figures["conditions"]] if "conditions" in card.figures else []),
        *(_figure_line(split, row) for split in ("validation", "test") for row in card.figures.get(split, [])),
        *(
            f"data: {row['name']}, {counted(row['patients'], 'patient')}, {row['licence']}"
            + (f", doi:{row['doi']}" if row.get("doi") else "")
            for row in card.data
        ),
        *(f"limit: {limit}" for limit in card.limits),
    ]


def _domain_lines(card: ModelCard) -> list[str]:
    """Return what the model was trained on; weights made before cards had a domain tell it in words."""
    domain = card.domain
    if domain is None:
        words = ("noise", "noise of the targets", "pixels", "slice thickness", "tube voltage", "reconstruction kernels")
        return [f"trained on {word}: {card.training[word]}" for word in words if word in card.training]
    ranges = {
        "pixels, mm": domain.pixel_mm,
        "slice thickness, mm": domain.thickness_mm,
        "slice spacing, mm": domain.spacing_mm,
        "tube voltage, kV": domain.kvp,
        "noise SD, HU": domain.noise_sd_hu,
        "mean frequency of the noise, cycles/pixel": domain.noise_mean_frequency,
        "values, HU": domain.hu,
    }
    return [
        f"trained on {domain.modality}, kernels: {', '.join(domain.kernels) or 'not known'}",
        *(f"trained on {words}: {ends[0]:g} to {ends[1]:g}" for words, ends in ranges.items() if ends is not None),
    ]


def _figure_line(split: str, row: dict[str, Any]) -> str:
    psnr = ", PSNR {psnr_before} -> {psnr} dB".format_map(row) if row.get("psnr") is not None else ""
    if psnr and row.get("psnr_before") is None:  # no noise was added: nothing to compare with before
        psnr = f", PSNR {row['psnr']} dB"
    return f"{split}, {row['name']}: RMSE {row['rmse_before']} -> {row['rmse']} HU{psnr}, bias {row['bias']:+} HU"
