"""The configuration of a training run: read from TOML, checked before work starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from meddenoise.errors import InputError
from meddenoise.model_card import FAST, STANDARD, Architecture
from meddenoise_training.toml_files import parse_toml, read_toml, wrong_fields

ARCHITECTURES: dict[str, Architecture] = {"fast": FAST, "standard": STANDARD}
Share = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Section):
    """What patches are drawn.

    :param patch: side, pixels.
    :param batch: patches a step.
    :param synthetic_share: of the patches come from noise-free synthetic slices.
    :param air_share: chance that a patch of mostly air is taken as it comes, not drawn again.
    """

    patch: int = Field(default=128, ge=16)
    batch: int = Field(default=8, ge=1)
    synthetic_share: Share = 0.4
    air_share: Share = 0.1


class NoiseConfig(_Section):
    """What noise is added; see ``noise/mixture.py``.

    :param sd_low: SD is drawn log-uniformly from here, HU; ``sd_high``: up to here.
    :param clean_share: of the noise-free patches get less than ``sd_low``, so that clean input is left alone.
    :param white_share: of the patches get white noise, the others correlated noise.
    :param mean_frequency: range of kernels, cycles/pixel; at pixels of 0.75 mm a smooth body kernel has 0.2, a sharp
        one 0.32.
    :param order: range of how steeply spectra fall, see ``noise/correlated.py``.
    :param anisotropy: correlated noise has streaks, of a strength drawn up to this one; 0 none, 1.4 as an abdomen's at
        a quarter of the dose.
    :param sd_map: strength of the smooth variation of the SD over a patch; 0 none.
    :param over_own_noise: noise added to a scanned target is at least this times its own noise.
    """

    sd_low: float = Field(default=3.0, gt=0)
    sd_high: float = Field(default=80.0, gt=0)
    clean_share: Share = 0.25
    white_share: Share = 0.3
    mean_frequency: tuple[float, float] = (0.12, 0.38)
    order: tuple[float, float] = (1.5, 8.0)
    anisotropy: float = Field(default=1.6, ge=0, le=4)
    sd_map: float = Field(default=0.25, ge=0, le=1)
    over_own_noise: float = Field(default=1.5, ge=0)

    @model_validator(mode="after")
    def _ranges(self) -> NoiseConfig:
        if self.sd_low >= self.sd_high:
            raise ValueError("sd_low must be below sd_high")
        if not 0 < self.mean_frequency[0] <= self.mean_frequency[1] <= 0.42:
            raise ValueError("mean_frequency must be a rising pair between 0 and 0.42 cycles/pixel")
        if not 0 < self.order[0] <= self.order[1]:
            raise ValueError("order must be a rising pair above 0")
        return self


class FitConfig(_Section):
    """How the network is fitted.

    :param steps: planned; warm-up and cosine are laid out over them.
    :param scale_floor_hu: added to a patch's noise SD, in units of which the loss measures its residual.
    :param clip_norm: of the gradient, in units of the loss a network unit.
    :param precision: ``auto`` takes bfloat16 for the convolutions where the processor has it.
    :param validation_slices: of each kind, spread over the cleaner half of the validation slices.
    :param checkpoint_minutes: between checkpoints.
    """

    steps: int = Field(default=30000, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    warmup_steps: int = Field(default=500, ge=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    ema_decay: float = Field(default=0.999, gt=0, lt=1)
    clip_norm: float = Field(default=0.5, gt=0)
    scale_floor_hu: float = Field(default=4.0, gt=0)
    seed: int = Field(default=0, ge=0)
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    log_every: int = Field(default=100, ge=1)
    validate_every: int = Field(default=1000, ge=1)
    validation_slices: int = Field(default=6, ge=1)
    checkpoint_minutes: float = Field(default=2.0, ge=0)

    @model_validator(mode="after")
    def _warmup(self) -> FitConfig:
        if self.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps ({self.warmup_steps}) must be below steps ({self.steps}); plan more steps, or use "
                "`--set fit.warmup_steps=N`"
            )
        return self


class Config(_Section):
    """All of it.

    :param architecture: one of ``ARCHITECTURES``.
    :param init: weights to begin from, of the same architecture: a ``.safetensors`` file or the folder of a run.
    """

    architecture: str = "fast"
    init: str | None = None
    data: DataConfig = DataConfig()
    noise: NoiseConfig = NoiseConfig()
    fit: FitConfig = FitConfig()

    @model_validator(mode="after")
    def _known(self) -> Config:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}")
        return self


def load_config(path: Path | None, overrides: Mapping[str, Any]) -> Config:
    """Read a configuration.

    :param path: a TOML file; None takes the defaults.
    :param overrides: dotted names to values, as ``{"fit.steps": 1000}``; they win over the file.
    :raises InputError: when the file cannot be read, or says something that cannot be.
    """
    values = read_toml(path) if path is not None else {}
    for name, value in overrides.items():
        *sections, last = name.split(".")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise InputError(f"The configuration is not valid: {wrong_fields(error)}.") from error


def parse_override(text: str) -> tuple[str, Any]:
    """Read ``section.name=value`` of the command line; the value as TOML would have it, else as text.

    :raises InputError: when there is no ``=``.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"'{text}' sets nothing; write section.name=value, as data.batch=16.")
    try:
        return name.strip(), parse_toml(f"value = {value}")["value"]
    except ValueError:
        return name.strip(), value.strip()
