"""Schedules of the learning rate, as factors by step."""

from __future__ import annotations

import math
from collections.abc import Callable

from meddenoise_training.config import FitConfig


def make_schedule(config: FitConfig) -> Callable[[int], float]:
    """Return the factor of the learning rate at a step: a straight rise, then what the configuration says."""
    after = {"cosine": _cosine, "constant": _constant, "step": _step}[config.schedule]

    def factor(step: int) -> float:
        if step < config.warmup_steps:
            return (step + 1) / config.warmup_steps
        return after(step - config.warmup_steps, config)

    return factor


def _cosine(step: int, config: FitConfig) -> float:
    """Half a cosine down to 1 %."""
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / (config.steps - config.warmup_steps))))


def _constant(step: int, config: FitConfig) -> float:
    return 1.0


def _step(step: int, config: FitConfig) -> float:
    factor: float = config.drop_factor ** (step // config.drop_every)
    return factor
