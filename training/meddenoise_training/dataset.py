"""Patches drawn from prepared slices: the cleanest targets most often, body rather than air."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from meddenoise.errors import InputError
from meddenoise_training.config import DataConfig
from meddenoise_training.manifest import Slice, open_slices, read_manifest

#: Added to each target's SD before weighting by 1/SD^2: below it an estimate tells more about anatomy than about noise.
SD_FLOOR_HU = 6.0
BODY_ABOVE_HU = -900.0
_TRIES = 4


@dataclass(frozen=True)
class Patch:
    """A target (1, patch, patch) float32 HU, the SD of the noise it carries in HU, and the slice it is from."""

    target: Tensor
    target_sd: float
    slice: int


class Patches:
    """Random patches of the train split of a prepared folder, flipped and turned at random."""

    def __init__(self, prepared: Path, config: DataConfig) -> None:
        manifest = read_manifest(prepared)
        if config.patch > min(manifest.size):
            raise InputError(f"Patches of {config.patch} do not fit into slices of {manifest.size}.")
        self._config = config
        self._slices = open_slices(prepared, "train", manifest)
        entries = manifest.splits["train"]
        self._sd = np.array([e.noise_sd for e in entries], dtype=np.float32)
        self._ct = _cumulated(entries, synthetic=False)
        self._synthetic = _cumulated(entries, synthetic=True)
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
        patch = self._cut(index, rng).astype(np.float32)
        return Patch(torch.from_numpy(patch).unsqueeze(0), float(self._sd[index]), index)

    def _cut(self, index: int, rng: np.random.Generator) -> npt.NDArray[np.int16]:
        size = self._config.patch
        image = self._slices[index]
        for _ in range(_TRIES):
            top, left = (int(rng.integers(n - size + 1)) for n in image.shape)
            patch = image[top : top + size, left : left + size]
            if (patch[::8, ::8] > BODY_ABOVE_HU).mean() > 0.5 or rng.random() < self._config.air_share:
                break
        turned: npt.NDArray[np.int16] = np.rot90(patch, int(rng.integers(4)))
        return turned[:, ::-1] if rng.random() < 0.5 else turned


def _cumulated(entries: list[Slice], *, synthetic: bool) -> npt.NDArray[np.float64]:
    """Return how often a slice up to each one is drawn among those of its kind, 1 at the end; all 0 without any."""
    weight = np.array(
        [(e.kind == "synthetic") == synthetic and 1 / (e.noise_sd**2 + SD_FLOOR_HU**2) for e in entries], dtype=float
    )
    total = np.cumsum(weight)
    return total / total[-1] if total.size and total[-1] > 0 else total
