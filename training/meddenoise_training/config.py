"""The configuration of a training run: read from TOML, checked before work starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from meddenoise.errors import InputError, WeightsError
from meddenoise.model_card import ARCHITECTURE_KINDS, FAST, STANDARD, Architecture
from meddenoise_training.toml_files import parse_toml, read_toml, wrong_fields

ARCHITECTURES: dict[str, Architecture] = {"fast": FAST, "standard": STANDARD}
Share = Annotated[float, Field(ge=0, le=1)]
#: No mean frequency of noise above is drawn, cycles/pixel; why: ``noise/kernels.py``.
HIGHEST_MEAN_FREQUENCY = 0.42


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Section):
    """What patches are drawn.

    :param patch: side, pixels.
    :param batch: patches a step.
    :param synthetic_share: of the patches come from noise-free synthetic slices; 0 for a network of several slices, as
        they have no neighbours.
    :param air_share: chance that a patch of mostly air is taken as it comes, not drawn again.
    :param targets: name of cleaned targets (`meddenoise-train clean`); none: the slices themselves.
    :param own_noise: with cleaned targets, the share of patches whose input is made of the slice before it was cleaned,
        so that its own noise has to be removed too.
    """

    patch: int = Field(default=128, ge=16)
    batch: int = Field(default=8, ge=1)
    synthetic_share: Share = 0.4
    air_share: Share = 0.1
    targets: str | None = None
    own_noise: Share = 0.5


class NoiseConfig(_Section):
    """What noise is added; see ``noise/mixture.py``.

    :param sd_low: SD is drawn log-uniformly from here, HU; ``sd_high``: up to here. With ``sd_window``, the width of a
        window in HU, both are shares of it, as the ancestor gave its noise; they are kept in HU.
    :param clean_share: of the noise-free patches get less than ``sd_low``, so that clean input is left alone.
    :param projection_share: of the patches get noise of the bank (`meddenoise-train bank`), made in the projections of
        their slice; 0 needs no bank.
    :param white_share: of the other patches get white noise, the rest correlated noise.
    :param mixed_share: of the patches with correlated noise or noise of the bank get white noise as well, which has 10
        to 90 % of the variance.
    :param quantum_share: of the other patches get a variance that follows the attenuation, the rest a smooth SD map.
    :param mean_frequency: range of kernels, cycles/pixel; at pixels of 0.75 mm a smooth body kernel has 0.2, a sharp
        one 0.32. Below 0.12 noise is as coarse as the texture of organs, which a network would then remove as well.
    :param order: range of how steeply spectra fall, see ``noise/correlated.py``.
    :param anisotropy: correlated noise has streaks, of a strength drawn up to this one; 0 none, 1.4 as an abdomen's at
        a quarter of the dose.
    :param sd_map: strength of the smooth variation of the SD over a patch; 0 none.
    :param over_own_noise: noise added to a scanned target is at least this times its own noise, up to the middle of the
        range of SD.
    """

    sd_low: float = Field(default=3.0, gt=0)
    sd_high: float = Field(default=80.0, gt=0)
    clean_share: Share = 0.25
    projection_share: Share = 0.0
    white_share: Share = 0.3
    mixed_share: Share = 0.25
    quantum_share: Share = 0.1
    mean_frequency: tuple[float, float] = (0.12, 0.40)
    order: tuple[float, float] = (1.5, 8.0)
    anisotropy: float = Field(default=1.6, ge=0, le=4)
    sd_map: float = Field(default=0.25, ge=0, le=1)
    over_own_noise: float = Field(default=1.5, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _in_hu(cls, values: Any) -> Any:
        """Turn shares of a window into HU: the window itself is not kept."""
        if not isinstance(values, dict) or "sd_window" not in values:
            return values
        width, shares = values["sd_window"], [values.get(name) for name in ("sd_low", "sd_high")]
        if not all(isinstance(v, int | float) and not isinstance(v, bool) and v > 0 for v in (width, *shares)):
            raise ValueError("sd_window takes the width of a window in HU, and sd_low and sd_high as shares of it")
        rest = {name: value for name, value in values.items() if name != "sd_window"}
        return {**rest, "sd_low": shares[0] * width, "sd_high": shares[1] * width}

    @model_validator(mode="after")
    def _ranges(self) -> NoiseConfig:
        if self.sd_low >= self.sd_high:
            raise ValueError("sd_low must be below sd_high")
        if not 0 < self.mean_frequency[0] <= self.mean_frequency[1] <= HIGHEST_MEAN_FREQUENCY:
            raise ValueError(
                f"mean_frequency must be a rising pair between 0 and {HIGHEST_MEAN_FREQUENCY} cycles/pixel"
            )
        if not 0 < self.order[0] <= self.order[1]:
            raise ValueError("order must be a rising pair above 0")
        return self


class NetworkConfig(_Section):
    """A network of one's own; see :class:`meddenoise.model_card.Architecture`.

    :param widths: channels at each level, finest first.
    :param blocks: residual blocks at each level.
    :param slices: neighbouring slices at the entrance: 1, 3, 5 or 7; the middle one is denoised.
    """

    widths: tuple[int, ...]
    blocks: int = 2
    slices: int = 1

    @model_validator(mode="after")
    def _possible(self) -> NetworkConfig:
        try:
            self.architecture()
        except WeightsError as error:
            raise ValueError(
                "1 to 6 widths of 1 to 1024 channels, 1 to 16 blocks, and 1, 3, 5 or 7 slices can be built"
            ) from error
        return self

    def architecture(self) -> Architecture:
        """Return what is built."""
        return Architecture(ARCHITECTURE_KINDS[0], self.widths, self.blocks, self.slices)


class LossConfig(_Section):
    """What is made small; see ``losses.py``.

    :param kind: ``charbonnier``, ``l1`` or ``mse`` of the residual in units of the patch's noise; ``ssim``, ``ms-ssim``
        or ``edge``: Charbonnier mixed with that; ``bce``: the ancestor's, on values scaled to a window.
    :param share: of the term mixed in.
    :param window: centre and width, HU; of ``ssim``, ``ms-ssim`` and ``bce``.
    """

    kind: Literal["charbonnier", "l1", "mse", "ssim", "ms-ssim", "edge", "bce"] = "charbonnier"
    share: Share = 0.2
    window: tuple[float, Annotated[float, Field(gt=0)]] = (50.0, 400.0)


class DistilConfig(_Section):
    """Learning from a larger network that is trained already.

    :param teacher: its weights: a ``.safetensors`` file or the folder of a run.
    :param share: of the loss is against the teacher's result, the rest against the target.
    """

    teacher: str
    share: Share = 0.5


class FitConfig(_Section):
    """How the network is fitted.

    :param steps: planned; the schedule is laid out over them.
    :param optimiser: AdamW, Adam, SGD with ``momentum``, or Lion, which wants a third to a tenth of AdamW's rate.
    :param schedule: of the learning rate after its warm-up: ``cosine`` down to 1 %, ``constant``, or ``step``: times
        ``drop_factor`` every ``drop_every`` steps.
    :param scale_floor_hu: added to a patch's noise SD, in units of which the loss measures its residual.
    :param clip_norm: of the gradient, in units of the loss a network unit.
    :param precision: ``auto`` takes bfloat16 for the convolutions where the processor has it, float16 on other GPUs.
    :param compile: torch.compile the network; takes minutes first.
    :param workers: processes that draw patches beside the step; by default none on a CPU, up to 8 beside a GPU.
    :param validation_slices: of each kind, spread over the cleaner half of the validation slices.
    :param patience: stop after so many validations in a row without a lower mean RMSE, and keep the weights of the
        best; none: never.
    :param pictures: slices shown at each validation as noisy, denoised and reference.
    :param tensorboard: log for TensorBoard as well.
    :param checkpoint_minutes: between checkpoints.
    """

    steps: int = Field(default=30000, ge=1)
    optimiser: Literal["adamw", "adam", "sgd", "lion"] = "adamw"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    schedule: Literal["cosine", "constant", "step"] = "cosine"
    warmup_steps: int = Field(default=500, ge=0)
    drop_every: int = Field(default=10000, ge=1)
    drop_factor: float = Field(default=0.1, gt=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    ema_decay: float = Field(default=0.999, gt=0, lt=1)
    clip_norm: float = Field(default=0.5, gt=0)
    scale_floor_hu: float = Field(default=4.0, gt=0)
    seed: int = Field(default=0, ge=0)
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    compile: bool = False
    workers: int | None = Field(default=None, ge=0)
    log_every: int = Field(default=100, ge=1)
    validate_every: int = Field(default=1000, ge=1)
    validation_slices: int = Field(default=6, ge=1)
    patience: int | None = Field(default=None, ge=1)
    pictures: int = Field(default=2, ge=0)
    tensorboard: bool = True
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

    :param architecture: name of a network: of ``ARCHITECTURES``, or a baseline of ``baselines/``.
    :param network: a network of one's own instead.
    :param init: weights to begin from, of the same architecture: a ``.safetensors`` file or the folder of a run.
    """

    architecture: str | None = None
    network: NetworkConfig | None = None
    init: str | None = None
    data: DataConfig = DataConfig()
    noise: NoiseConfig = NoiseConfig()
    loss: LossConfig = LossConfig()
    distil: DistilConfig | None = None
    fit: FitConfig = FitConfig()

    @model_validator(mode="before")
    @classmethod
    def _one_network(cls, values: Any) -> Any:
        """Take ``fast`` where nothing is said; refuse two networks."""
        if isinstance(values, dict):
            named, described = values.get("architecture"), values.get("network")
            if named is not None and described is not None:
                raise ValueError("architecture and [network] each name a network; give one of them")
            if named is None and described is None:
                return {**values, "architecture": "fast"}
        return values

    @model_validator(mode="after")
    def _known(self) -> Config:
        from meddenoise_training.networks import NAMES

        if self.architecture is not None and self.architecture not in NAMES:
            raise ValueError(f"architecture must be one of {', '.join(NAMES)}")
        if self.network is not None and self.network.slices > 1 and self.data.synthetic_share > 0:
            # As their own neighbours they would teach that neighbours are identical.
            raise ValueError(
                "synthetic slices have no neighbours, which this network looks at; use `--set data.synthetic_share=0`"
            )
        return self

    @property
    def shape(self) -> Architecture | None:
        """What the engine builds to run the weights; None for a baseline, which it does not run."""
        if self.network is not None:
            return self.network.architecture()
        return ARCHITECTURES.get(self.architecture or "")


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
            if not isinstance(place, dict):
                raise InputError(f"'{name}' cannot be set: {section} is a value, not a section.")
        place[last] = value
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise InputError(f"The configuration is not valid: {wrong_fields(error, Config)}.") from error


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
