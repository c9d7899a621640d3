"""Optimisers by name."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from lion_pytorch import Lion
from torch import nn

from meddenoise_training.config import FitConfig


def make_optimiser(parameters: Iterable[nn.Parameter], config: FitConfig) -> torch.optim.Optimizer:
    """Return the optimiser of a configuration; Lion: Chen et al., NeurIPS 2023."""
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimiser == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=config.momentum, weight_decay=decay)
    if config.optimiser == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
    if config.optimiser == "lion":
        lion: torch.optim.Optimizer = Lion(parameters, lr=rate, weight_decay=decay)
        return lion
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
