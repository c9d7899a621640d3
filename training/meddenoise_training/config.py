"""The configuration of a training run: read from TOML, checked before work starts."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

from meddenoise.errors import InputError
from meddenoise.model_card import FAST, STANDARD, Architecture
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

ARCHITECTURES: dict[str, Architecture] = {"fast": FAST, "standard": STANDARD}
Share = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Section):
    """What patches are drawn.

    ``synthetic_share`` of them come from noise-free synthetic slices; ``air_share`` of the patches that hold mostly air are kept.
    """

    patch: int = Field(128, ge=16)
    batch: int = Field(8, ge=1)
    synthetic_share: Share = 0.4
    air_share: Share = 0.1


class NoiseConfig(_Section):
    """What noise is added: SD in HU, frequencies in cycles/pixel; see ``noise/mixture.py``."""

    sd_low: float = Field(3.0, gt=0)
    sd_high: float = Field(80.0, gt=0)
    clean_share: Share = 0.15
    white_share: Share = 0.3
    mean_frequency: tuple[float, float] = (0.12, 0.38)
    order: tuple[float, float] = (1.5, 8.0)
    sd_map: float = Field(0.25, ge=0, le=1)
    over_own_noise: float = Field(1.5, ge=0)

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

    ``charbonnier_hu``: below this residual the loss is quadratic (its optimum is the mean: no HU bias), beyond it linear (edges do not
    rule). ``precision``: ``auto`` takes bfloat16 for the residual branch where the processor has it.
    """

    steps: int = Field(20000, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    warmup_steps: int = Field(500, ge=0)
    weight_decay: float = Field(1e-4, ge=0)
    ema_decay: float = Field(0.999, gt=0, lt=1)
    clip_norm: float = Field(50.0, gt=0)
    charbonnier_hu: float = Field(10.0, gt=0)
    seed: int = Field(0, ge=0)
    precision: str = Field("auto", pattern="^(auto|32-true|bf16-mixed)$")
    log_every: int = Field(100, ge=1)
    validate_every: int = Field(1000, ge=1)
    validation_slices: int = Field(6, ge=1)
    checkpoint_minutes: float = Field(2.0, ge=0)

    @model_validator(mode="after")
    def _warmup(self) -> FitConfig:
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps ({self.warmup_steps}) must be below steps ({self.steps})")
        return self


class Config(_Section):
    """All of it; ``architecture`` is one of ``ARCHITECTURES``."""

    architecture: str = "fast"
    data: DataConfig = DataConfig()
    noise: NoiseConfig = NoiseConfig()
    fit: FitConfig = FitConfig()

    @model_validator(mode="after")
    def _known(self) -> Config:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}")
        return self


def load_config(path: Path | None, overrides: dict[str, Any]) -> Config:
    """Read a configuration.

    :param path: a TOML file; None takes the defaults.
    :param overrides: dotted names to values, as ``{"fit.steps": 1000}``; they win over the file.
    :raises InputError: when the file cannot be read, or says something that cannot be.
    """
    values: dict[str, Any] = {}
    try:
        if path is not None:
            values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"The configuration {path} cannot be read: {error}.") from error
    for name, value in overrides.items():
        *sections, last = name.split(".")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InputError(f"The configuration is not valid: {reasons}.") from error


def parse_override(text: str) -> tuple[str, Any]:
    """Read ``section.name=value`` of the command line; the value as TOML would have it, else as text.

    :raises InputError: when there is no ``=``.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"'{text}' sets nothing; write section.name=value, as data.batch=16.")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()
