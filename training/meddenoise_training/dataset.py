"""Patches drawn from prepared slices: the cleanest targets most often, body rather than air."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from meddenoise.errors import InputError
from meddenoise_training.cleaned_targets import CleanedTargets
from meddenoise_training.config import DataConfig
from meddenoise_training.manifest import Slice, neighbours, open_slices, read_manifest
from meddenoise_training.noise.bank import Bank
from meddenoise_training.slabs import BODY_ABOVE_HU

#: Added to each target's SD before weighting by 1/SD^2: below it an estimate tells more about anatomy than about noise.
SD_FLOOR_HU = 6.0
_TRIES = 4


@dataclass(frozen=True)
class Patch:
    """A piece of a training slice, and what it takes to make a noisy input of it; images are float32.

    :param target: (1, patch, patch) HU: what the network is asked for.
    :param target_sd: of the noise that the target carries, HU.
    :param base: (slices, patch, patch) HU: what noise is added to; the target itself, or the slice before its target
        was cleaned; the neighbours of such a slice with it, where the network looks at several.
    :param base_sd: of the noise that the base carries, HU.
    :param projection: noise of the bank, made in the projections of these slices, the same shape; SD 1 in their soft
        tissue. None without.
    :param slice: of the train split.
    :param place: where in it, and how turned.
    :param realisation: of the bank; None without.
    :param overlap: thickness of the slices of the base over their spacing, where there are several; 1 where unknown.
    """

    target: Tensor
    target_sd: float
    base: Tensor
    base_sd: float
    projection: Tensor | None
    slice: int
    place: Place
    realisation: int | None
    overlap: float


class Patches:
    """Random patches of the train split of a prepared folder, flipped and turned at random."""

    def __init__(self, prepared: Path, config: DataConfig, *, projection: bool = False, slices: int = 1) -> None:
        """Open a prepared folder.

        :param slices: neighbouring slices that the network looks at.
        :param projection: whether patches come with noise of its bank.
        :raises InputError: when it does not hold what the configuration asks for.
        """
        manifest = read_manifest(prepared)
        self._config = config
        self._slices = open_slices(prepared, "train", manifest)
        if config.patch > self._slices.smallest_side:
            raise InputError(
                f"Patches of {config.patch} do not fit into the smallest slices, whose side is "
                f"{self._slices.smallest_side}."
            )
        entries = self._entries = manifest.splits["train"]
        self._reach = slices // 2
        self._sd = np.array([e.noise_sd for e in entries], dtype=np.float32)
        self._cleaned = CleanedTargets(prepared, manifest, config.targets) if config.targets is not None else None
        self._target_sd = self._sd
        if self._cleaned is not None:
            self._target_sd = np.array(self._cleaned.noise_sd, dtype=np.float32)
        self._bank = Bank(prepared, manifest) if projection else None
        synthetic = np.array([e.kind == "synthetic" for e in entries], dtype=bool)
        self._ct, self._synthetic = _cumulated(self._target_sd, ~synthetic), _cumulated(self._target_sd, synthetic)
        if config.synthetic_share < 1 and not self._ct.any():
            raise InputError("The prepared folder has synthetic slices alone; set synthetic_share = 1, or prepare CT.")
        if config.synthetic_share > 0 and not self._synthetic.any():
            raise InputError(
                "The prepared folder has no synthetic slices; prepare with --synthetic or set synthetic_share = 0."
            )

    def draw(self, rng: np.random.Generator) -> Patch:
        """Draw a patch; it depends on the generator alone."""
        synthetic = rng.random() < self._config.synthetic_share
        # Not rng.choice, which adds the probabilities up each time.
        index = int(np.searchsorted(self._synthetic if synthetic else self._ct, rng.random(), side="right"))
        place = self._place(index, rng)
        as_it_was = self._cleaned is not None and not synthetic and rng.random() < self._config.own_noise
        base_sd = self._sd if as_it_was else self._target_sd
        around = neighbours(self._entries, index, self._reach)
        realisation = int(rng.integers(self._bank.realisations)) if self._bank is not None else None
        return Patch(
            target=place.cut(self._target(index)),
            target_sd=float(self._target_sd[index]),
            base=torch.cat([place.cut(self._slices[i] if as_it_was else self._target(i)) for i in around]),
            base_sd=float(base_sd[index]),
            projection=self._projection(around, place, realisation),
            slice=index,
            place=place,
            realisation=realisation,
            overlap=overlap_of(self._entries[index]) if self._reach else 1.0,
        )

    def _target(self, index: int) -> npt.NDArray[np.int16]:
        if self._cleaned is None or self._entries[index].kind == "synthetic":
            return self._slices[index]
        return self._cleaned.slice(index)

    def _place(self, index: int, rng: np.random.Generator) -> Place:
        size = self._config.patch
        image = self._slices[index]
        for _ in range(_TRIES):
            top, left = (int(rng.integers(n - size + 1)) for n in image.shape)
            patch = image[top : top + size, left : left + size]
            if (patch[::8, ::8] > BODY_ABOVE_HU).mean() > 0.5 or rng.random() < self._config.air_share:
                break
        return Place(top, left, size, int(rng.integers(4)), bool(rng.random() < 0.5))

    def _projection(self, around: list[int], place: Place, realisation: int | None) -> Tensor | None:
        if self._bank is None or realisation is None:
            return None
        chosen = set[int]()
        layers = []
        for index in around:
            # A slice that stands for its own neighbour has its noise once; other noise where there is some.
            again = (realisation + 1) % self._bank.realisations if index in chosen else realisation
            noise, sd = self._bank.slice(index, again)
            layers.append(place.cut(noise) / sd)
            chosen.add(index)
        return torch.cat(layers)


@dataclass(frozen=True)
class Place:
    """Where a patch lies in its slice, and how it is turned and flipped."""

    top: int
    left: int
    size: int
    turns: int
    flipped: bool

    def cut(self, image: npt.NDArray[np.int16] | npt.NDArray[np.float16]) -> Tensor:
        """Return the patch, (1, size, size) float32."""
        piece = image[self.top : self.top + self.size, self.left : self.left + self.size]
        turned = np.rot90(piece, self.turns)
        return torch.from_numpy((turned[:, ::-1] if self.flipped else turned).astype(np.float32)).unsqueeze(0)


def overlap_of(entry: Slice) -> float:
    """Return how many spacings a slice reaches over: its own thickness, and the neighbours that it is the mean of."""
    if entry.spacing_mm is None or entry.averaged_mm is None:
        return 1.0
    return max(1.0, entry.averaged_mm / entry.spacing_mm)


def _cumulated(sd: npt.NDArray[np.float32], chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return how often a slice up to each one is drawn among those chosen, 1 at the end; all 0 without any."""
    total = np.cumsum(chosen / (sd.astype(np.float64) ** 2 + SD_FLOOR_HU**2))
    return total / total[-1] if total.size and total[-1] > 0 else total
