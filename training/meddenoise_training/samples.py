"""What a training step sees: noisy patches and their targets, each drawn from the seed, the step and its place alone.

So a resumed run sees exactly what an uninterrupted one sees, however the patches of a step are divided among processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from meddenoise.intensity import HU_PER_UNIT, METAL_ABOVE_HU, PADDING_BELOW_HU
from meddenoise_training.config import Config
from meddenoise_training.dataset import Patches
from meddenoise_training.noise.mixture import draw_noise


class Batch(NamedTuple):
    """Patches of a step.

    :param noisy: (n, slices, patch, patch) float32, network units.
    :param target: (n, 1, patch, patch) float32, HU.
    :param scale: (n, 1, 1, 1) HU: the unit in which the residual of a patch is measured.
    :param slices: (n,) of the train split, that they are from.
    """

    noisy: Tensor
    target: Tensor
    scale: Tensor
    slices: Tensor


class Samples:
    """The samples of a run; see :class:`meddenoise_training.config.Config`."""

    def __init__(self, prepared: Path, config: Config) -> None:
        self._config = config
        slices = config.shape.slices if config.shape is not None else 1
        projection = config.noise.projection_share > 0
        self._patches = Patches(prepared, config.data, projection=projection, slices=slices)

    def draw(self, step: int, places: Iterable[int]) -> Batch:
        """Draw some of the patches of a step.

        :param places: of the patches in the step, from 0 to below ``data.batch``.
        """
        samples = [self._sample(step, place) for place in places]
        noisy, target, scale, slices = (torch.stack(column) for column in zip(*samples, strict=True))
        return Batch(noisy, target, scale.view(-1, 1, 1, 1), slices)

    def _sample(self, step: int, place: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        settings = self._config
        seed = np.random.SeedSequence([settings.fit.seed, step, place])
        patch = self._patches.draw(np.random.default_rng(seed))
        generator = torch.Generator().manual_seed(int(seed.generate_state(1, np.uint32)[0]))
        drawn = draw_noise(patch.base, patch.target_sd, patch.projection, settings.noise, generator)
        noisy = (patch.base + drawn.noise).clamp(PADDING_BELOW_HU, METAL_ABOVE_HU) / HU_PER_UNIT
        scale = math.hypot(drawn.sd, patch.base_sd) + settings.fit.scale_floor_hu
        return noisy, patch.target, torch.tensor(scale), torch.tensor(patch.slice)
