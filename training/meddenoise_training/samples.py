"""What a training step sees: noisy patches and their targets, each drawn from the seed, the step and its place alone.

So a resumed run sees exactly what an uninterrupted one sees, however the patches of a step are divided among processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from meddenoise.intensity import HU_PER_UNIT, METAL_ABOVE_HU, PADDING_BELOW_HU
from meddenoise_training.config import Config
from meddenoise_training.dataset import Patch, Patches
from meddenoise_training.noise.mixture import NoiseDraw, draw_noise


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


@dataclass(frozen=True)
class Drawn:
    """A patch of a step, and the noise that it gets with all that it was drawn with."""

    patch: Patch
    noise: NoiseDraw


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

    def drawn(self, step: int, place: int) -> Drawn:
        """Draw a patch of a step and its noise: what any step of a run was shown can be looked at, at any time.

        :param step: from 0 to below ``fit.steps``.
        :param place: in the step, from 0 to below ``data.batch``.
        """
        settings = self._config
        seed = np.random.SeedSequence([settings.fit.seed, step, place])
        patch = self._patches.draw(np.random.default_rng(seed))
        generator = torch.Generator().manual_seed(int(seed.generate_state(1, np.uint32)[0]))
        noise = draw_noise(patch.base, patch.target_sd, patch.projection, settings.noise, generator, patch.overlap)
        return Drawn(patch, noise)

    def _sample(self, step: int, place: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        drawn = self.drawn(step, place)
        patch, noise = drawn.patch, drawn.noise
        noisy = (patch.base + noise.noise).clamp(PADDING_BELOW_HU, METAL_ABOVE_HU) / HU_PER_UNIT
        scale = math.hypot(noise.sd, patch.base_sd) + self._config.fit.scale_floor_hu
        return noisy, patch.target, torch.tensor(scale), torch.tensor(patch.slice)
