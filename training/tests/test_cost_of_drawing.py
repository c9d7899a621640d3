"""The network is what training spends its time on, not the patches and their noise."""

from __future__ import annotations

import pytest

from meddenoise_training.config import load_config
from tools.benchmark.training_step import CONFIGS, drawing_share


@pytest.mark.parametrize(("name", "most"), [("fast", 0.4), ("standard", 0.2)])
def test_patches_and_noise_cost_little_of_a_step(prepared, name, most):
    """A share of the processor time of the same steps: what else the machine does changes both alike.

    With patches of 128 pixels and half of the noise from a bank it is 11 and 4 %, where a fifth is allowed
    (``python -m tools.benchmark.training_step``); slices are smaller here and all noise is made: 25 and 11 %.
    """
    small = {"data.patch": 64, "data.batch": 16, "noise.projection_share": 0.0}
    share = drawing_share(prepared, load_config(CONFIGS / f"{name}.toml", small), steps=6)
    assert 0 < share < most
