"""What a model card says of a run: a person's words, and all that configuration, manifest and bank know."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from meddenoise.errors import InputError
from meddenoise.model_card import Range, TrainingDomain
from meddenoise_training.cleaned_targets import CleanedTargets
from meddenoise_training.config import Config
from meddenoise_training.manifest import Manifest, open_slices
from meddenoise_training.noise.bank import Bank
from meddenoise_training.noise.bank_record import BankRecord, bank_record
from meddenoise_training.toml_files import read_toml, wrong_fields

WHITE_MEAN_FREQUENCY = 0.25
_OPTIMISERS = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD with momentum", "lion": "Lion"}
_SOFTWARE = ("torch", "lightning-fabric", "numpy", "meddenoise", "meddenoise-training")


class DefaultStrength(BaseModel):
    """At which strength the weights are meant to be used, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: Annotated[float, Field(gt=0, le=1)] = 1.0
    reason: str = "the whole result; no other was chosen"


class CardText(BaseModel):
    """What only a person can say of the weights, from a TOML file; see :class:`meddenoise.model_card.ModelCard`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    version: str
    licence: str
    summary: str
    limits: list[str]
    #: What the weights that a run began from were trained on, which the run itself knows by name alone.
    earlier_stages: str | None = None
    strength: DefaultStrength = DefaultStrength()


def read_card_text(path: Path) -> CardText:
    """Read what a person says of the weights.

    :raises InputError: when the file cannot be read, or is not complete or not right.
    """
    try:
        return CardText.model_validate(read_toml(path))
    except ValidationError as error:
        raise InputError(
            f"The card text {path} is not complete or not right: {wrong_fields(error, CardText)}."
        ) from error


class Origins:
    """The prepared folder of a run, opened for what the card says of it.

    :raises InputError: when the noise bank or the cleaned targets that the run was trained with are not there.
    """

    def __init__(self, prepared: Path, manifest: Manifest, config: Config) -> None:
        self._prepared, self._manifest, self._config = prepared, manifest, config
        self._entries = [e for e in manifest.splits["train"] if e.kind != "synthetic"]
        self._bank: BankRecord | None = None
        if config.noise.projection_share > 0:
            Bank(prepared, manifest)  # says what is missing
            self._bank = bank_record(prepared)
        targets = config.data.targets
        self._cleaned = CleanedTargets(prepared, manifest, targets) if targets is not None else None

    def training(self, saved: dict[str, Any], text: CardText) -> dict[str, Any]:
        """Return how the run was trained, in words by key.

        :param saved: its checkpoint.
        :param text: what a person says of the default strength and of earlier stages.
        """
        config, fit, data = self._config, self._config.fit, self._config.data
        best = saved.get("best")
        steps = best["step"] if best is not None else saved["step"]
        origins = {
            "begun from": saved.get("begun_from"),
            "earlier stages": text.earlier_stages,
            "distilled from": saved.get("distilled_from"),
        }
        strength = text.strength
        return {
            "default strength": f"{strength.default:g}: {strength.reason}",
            "steps": f"{steps} of {fit.steps} planned, {data.batch} patches of {data.patch} x {data.patch} pixels each",
            "seed": fit.seed,
            **{name: origin for name, origin in origins.items() if origin},
            "loss": _loss(config),
            "optimiser": f"{_OPTIMISERS[fit.optimiser]}, learning rate {fit.learning_rate}, warm-up {fit.warmup_steps} "
            f"steps, {fit.schedule}; weights averaged (EMA {fit.ema_decay})",
            "noise": self._noise(),
            **({} if self._bank is None else {"noise bank": str(self._bank)}),
            "targets": self._targets(),
            "noise of the targets": self._noise_of_targets(),
            "software": ", ".join(
                [f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in _SOFTWARE)]
            ),
            **_not_recorded(saved["config"], config),
            # Without paths, which are nobody else's business.
            "config": config.model_dump(mode="json", exclude={"init": True, "distil": {"teacher"}}),
        }

    def domain(self) -> TrainingDomain:
        """Return what the training inputs spanned: outside it the weights were never tried."""
        entries = self._entries
        return TrainingDomain(
            kernels=tuple(sorted({e.kernel for e in entries if e.kernel})),
            pixel_mm=_ends(e.pixel_mm for e in entries),
            thickness_mm=_ends(e.averaged_mm for e in entries),
            spacing_mm=_ends(e.spacing_mm for e in entries),
            kvp=_ends(e.kvp for e in entries),
            noise_sd_hu=(self._least_noise(), self._config.noise.sd_high),
            noise_mean_frequency=self._mean_frequencies(),
            hu=self._hu(),
        )

    def data(self) -> list[dict[str, Any]]:
        """Return one entry for each collection of the train split.

        :raises InputError: when slices belong to none: weights must name the data they were trained on.
        """
        if any(e.collection is None for e in self._entries):
            raise InputError(
                "The card must name the data, but some training slices belong to no collection; "
                "prepare again with --sources and a [[collection]] for every folder."
            )
        rows = []
        for collection in self._manifest.collections:
            own = [e for e in self._entries if e.collection == collection.name]
            if own:
                counts = {"patients": len({e.patient for e in own}), "slices": len(own)}
                rows.append({**collection.model_dump(exclude={"folders"}, exclude_defaults=True), **counts})
        return rows

    def trained_on(self, patients: Iterable[str]) -> bool:
        """Return whether one of these patients, as the manifest knows them, is among those of the train split."""
        return not {e.patient for e in self._entries}.isdisjoint(patients)

    def _noise(self) -> str:
        noise, share = self._config.noise, self._config.noise.projection_share
        low, high = noise.mean_frequency
        banked, others = "", ""
        if share > 0:
            banked = (
                f"{share:.0%} made in the projections of the slice (low dose, from the noise bank); of the others, "
            )
            others = "of these, "
        return (
            f"SD {noise.sd_low} to {noise.sd_high} HU (log-uniform, at least {noise.over_own_noise} times the target's "
            f"own), {banked}{noise.white_share:.0%} white, else correlated with mean frequencies of {low} to {high} "
            f"cycles/pixel and streaks in any direction (anisotropy up to {noise.anisotropy}); "
            f"{noise.mixed_share:.0%} of what is not white has white noise upon it; "
            f"{others}{noise.quantum_share:.0%} with a variance that follows the attenuation (quantum), else with a "
            f"smooth SD map (up to {noise.sd_map:.0%}); "
            f"{noise.clean_share:.0%} of the noise-free targets get less than {noise.sd_low} HU; added noise reaches "
            "below -1024 HU, where scanners cut stored air off: their one-sided noise of air is not imitated"
        )

    def _targets(self) -> str:
        data = self._config.data
        text = "scanned slices, the cleanest most often"
        # As they are, not as prepare was asked: earlier versions averaged overlapping slices beyond their limit.
        slabs = _ends(e.averaged_mm for e in self._entries if e.slab > 1)
        if slabs is not None:
            text += f", thin ones averaged to slabs of up to {slabs[1]:g} mm"
        if self._cleaned is not None:
            source = self._cleaned.source
            text += (
                f"; second stage: cleaned before with weights '{source['model']}' at strength {source['strength']:g} "
                f"(SHA-256 {source['sha256']}), {data.own_noise:.0%} of the inputs made of the slice as it was"
            )
        return f"{text}; {data.synthetic_share:.0%} of the patches from noise-free synthetic slices (dead leaves)"

    def _noise_of_targets(self) -> str:
        def scanned(noise_sd: Iterable[float]) -> Range | None:
            pairs = zip(self._manifest.splits["train"], noise_sd, strict=True)
            return _ends(sd for entry, sd in pairs if entry.kind != "synthetic")

        as_scanned = _span(scanned(e.noise_sd for e in self._manifest.splits["train"]), "HU")
        if self._cleaned is None:
            return as_scanned
        return f"{_span(scanned(self._cleaned.noise_sd), 'HU')}, {as_scanned} before they were cleaned"

    def _least_noise(self) -> float:
        noise, data = self._config.noise, self._config.data
        return 0.0 if noise.clean_share > 0 and data.synthetic_share > 0 else noise.sd_low

    def _mean_frequencies(self) -> Range:
        noise = self._config.noise
        ranges = [(WHITE_MEAN_FREQUENCY, WHITE_MEAN_FREQUENCY)] if noise.white_share > 0 else []
        ranges += [noise.mean_frequency] if noise.white_share < 1 else []
        ranges += [self._bank.mean_frequency] if self._bank is not None and self._bank.mean_frequency else []
        return min(low for low, _ in ranges), max(high for _, high in ranges)

    def _hu(self) -> Range | None:
        """Return lowest and highest value of the scanned training slices, HU."""
        stack = open_slices(self._prepared, "train", self._manifest)
        scanned = [i for i, e in enumerate(self._manifest.splits["train"]) if e.kind != "synthetic"]
        if not scanned:
            return None
        return float(min(stack[i].min() for i in scanned)), float(max(stack[i].max() for i in scanned))


def _not_recorded(recorded: dict[str, Any], config: Config) -> dict[str, str]:
    """Return an entry of the card that names the options which a run of an earlier version did not write down.

    They did not exist then. What the card's ``config`` says of them are today's defaults, which the run may not have
    followed.

    :param recorded: the configuration in the checkpoint, as it is.
    :param config: the same, read by this version: all of today's options.
    :returns: empty where nothing is missing.
    """
    missing = [
        f"{section}.{name}"
        for section, values in config.model_dump().items()
        if isinstance(values, dict)
        for name in values
        if name not in (recorded.get(section) or {})
    ]
    return {"not recorded by the run, assumed as today's defaults": ", ".join(missing)} if missing else {}


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


def _ends(values: Iterable[float | None]) -> Range | None:
    known = [v for v in values if v is not None]
    return (min(known), max(known)) if known else None


def _span(ends: Range | None, unit: str) -> str:
    return "not known" if ends is None else f"{ends[0]:g} to {ends[1]:g} {unit}"
