"""What a weights file says of itself: ``ModelCard``, its ``TrainingDomain``, the closed list of ``Architecture``."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any

from meddenoise.errors import WeightsError

ARCHITECTURE_KINDS = ("residual-autoencoder",)
CARD_FORMAT = 1


@dataclass(frozen=True)
class Architecture:
    """Shape of a network: enough to build it, nothing that could run code.

    :param kind: one of ``ARCHITECTURE_KINDS``.
    :param widths: channels at each level, finest first; the network halves the resolution before the first level
        (pixel-unshuffle) and between levels.
    :param blocks: residual blocks at each level, in the encoder and again in the decoder.
    :param slices: neighbouring slices at the entrance (1, or an odd number; the middle one is denoised).
    """

    kind: str
    widths: tuple[int, ...]
    blocks: int
    slices: int = 1

    def __post_init__(self) -> None:
        """Refuse what no network of ours can be built from.

        :raises WeightsError: for an unknown kind or sizes outside what this version builds.
        """
        if self.kind not in ARCHITECTURE_KINDS:
            raise WeightsError(
                f"The weights are of the unknown architecture '{self.kind}'; this version knows "
                f"{', '.join(ARCHITECTURE_KINDS)}. Update MedDenoise or choose another model."
            )
        sizes_fit = (
            1 <= len(self.widths) <= 6
            and all(isinstance(w, int) and 1 <= w <= 1024 for w in self.widths)
            and isinstance(self.blocks, int)
            and 1 <= self.blocks <= 16
            and self.slices in (1, 3, 5, 7)
        )
        if not sizes_fit:
            raise WeightsError(f"The weights describe a network of impossible size: {self}.")


FAST = Architecture("residual-autoencoder", widths=(16, 32, 64), blocks=2)
STANDARD = Architecture("residual-autoencoder", widths=(32, 64, 128), blocks=2)


Range = tuple[float, float]


@dataclass(frozen=True)
class TrainingDomain:
    """What a model has seen in training, for the domain guard; None or empty where it is not known.

    Every range is (lowest, highest) over the training slices.

    :param kernels: reconstruction kernels, as ConvolutionKernel names them.
    :param pixel_mm: pixel spacing, mm.
    :param thickness_mm: slice thickness, mm.
    :param spacing_mm: distance of slices, mm.
    :param kvp: tube voltage, kV.
    :param noise_sd_hu: SD of the noise in training inputs, HU.
    :param noise_mean_frequency: mean frequency of that noise's power spectrum, cycles/pixel; white noise has 0.25.
    :param hu: values, HU.
    """

    modality: str = "CT"
    kernels: tuple[str, ...] = ()
    pixel_mm: Range | None = None
    thickness_mm: Range | None = None
    spacing_mm: Range | None = None
    kvp: Range | None = None
    noise_sd_hu: Range | None = None
    noise_mean_frequency: Range | None = None
    hu: Range | None = None

    @classmethod
    def from_values(cls, values: Any) -> TrainingDomain:
        """Read a domain from the values of a card.

        :raises WeightsError: when they are not a domain.
        """
        try:
            values = dict(values)
            modality, kernels = values.pop("modality"), values.pop("kernels")
            ranges = {name: None if ends is None else _range(ends) for name, ends in values.items()}
            if not (isinstance(modality, str) and all(isinstance(kernel, str) for kernel in kernels)):
                raise TypeError("names are text")
            return cls(modality=modality, kernels=tuple(kernels), **ranges)
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError("The card of the weights does not describe a training domain.") from error


def _range(ends: Any) -> Range:
    low, high = (float(end) for end in ends)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError("not a range")
    return low, high


@dataclass(frozen=True)
class ModelCard:
    """The card in the metadata of a ``.safetensors`` file.

    :param name: short name, as in the catalogue and in output attributes.
    :param title: name for people.
    :param version: of the weights.
    :param architecture: what to build before the weights are loaded.
    :param hu_per_unit: HU that one network unit stands for; water (0 HU) is 0.
    :param summary: one sentence: what it is for.
    :param training: how it was trained: noise models and ranges, steps, loss, seed, software.
    :param data: one entry a collection: name, patients, slices, licence, DOI.
    :param licence: of the weights.
    :param figures: measured results, each with its conditions and units.
    :param limits: what it must not be used for, what it was never shown.
    :param created: ISO date.
    :param domain: what it has seen in training; None on cards older than this field.
    :param default_strength: at which results are made where none is given, chosen by what each strength does to texture
        and faint lesions; 1, the network's whole answer, where nobody has chosen.
    """

    name: str
    title: str
    version: str
    architecture: Architecture
    hu_per_unit: float
    summary: str
    licence: str
    created: str
    training: dict[str, Any] = field(default_factory=dict)
    data: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    limits: list[str] = field(default_factory=list)
    domain: TrainingDomain | None = None
    default_strength: float = 1.0

    def strength_or_default(self, strength: float | None) -> float:
        """Return a strength that was asked for, or the default where none was."""
        return self.default_strength if strength is None else strength

    def to_json(self) -> str:
        """Return the card as JSON text, with the format's number."""
        return json.dumps({"format": CARD_FORMAT, **dataclasses.asdict(self)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read a card.

        :raises WeightsError: when the text is not a card of this format.
        """
        try:
            values = json.loads(text)
            number = values.pop("format")
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise WeightsError(
                "The weights carry no readable MedDenoise card; they are not MedDenoise weights."
            ) from error
        if number != CARD_FORMAT:
            raise WeightsError(
                f"The weights carry a card of format {number}; this version reads format {CARD_FORMAT}. "
                "Update MedDenoise."
            )
        known = {f.name: f for f in dataclasses.fields(cls)}
        required = {n for n, f in known.items() if f.default is f.default_factory is dataclasses.MISSING}
        wrong = sorted((required - values.keys()) | (values.keys() - known.keys()))
        if wrong:
            raise WeightsError(f"The card of the weights has missing or unknown fields: {', '.join(wrong)}.")
        try:
            shape = dict(values.pop("architecture"))
            architecture = Architecture(**{**shape, "widths": tuple(shape["widths"])})
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError("The card of the weights does not describe a network.") from error
        hu_per_unit = values["hu_per_unit"]
        if not isinstance(hu_per_unit, (int, float)) or not 0 < hu_per_unit < 1e5:
            raise WeightsError(f"The card of the weights has an impossible intensity scale: {hu_per_unit!r}.")
        strength = values.get("default_strength", 1.0)
        if not isinstance(strength, (int, float)) or not 0 < strength <= 1:
            raise WeightsError(f"The card of the weights has an impossible default strength: {strength!r}.")
        domain = values.pop("domain", None)
        return cls(
            architecture=architecture,
            domain=None if domain is None else TrainingDomain.from_values(domain),
            **values,
        )
