"""The averaged weights of a run, which are what it exports."""

from __future__ import annotations

import torch

from meddenoise_training.checkpoint import read_checkpoint
from meddenoise_training.config import load_config
from meddenoise_training.processes import Processes
from meddenoise_training.state import FitState

SETTINGS = {"network.widths": [4, 8], "network.blocks": 1, "data.patch": 32, "data.batch": 2, "fit.warmup_steps": 1}


def test_the_average_of_a_run_by_hand(prepared, tmp_path):
    """Begun with the weights of the first step; then n steps count with (1 + n) / (10 + n), up to the decay told."""
    config = load_config(None, {**SETTINGS, "fit.steps": 4, "fit.ema_decay": 0.22})
    state = FitState(config, prepared, Processes().launch("32-true"))
    saved = []
    for batch in state.batches():
        state.train_step(batch)
        state.save(tmp_path)
        saved.append(read_checkpoint(tmp_path))
    for name, average in saved[0]["network"].items():
        for decay, checkpoint in zip((0.0, 2 / 11, 0.22, 0.22), saved, strict=True):
            average = decay * average + (1 - decay) * checkpoint["network"][name]
            torch.testing.assert_close(checkpoint["ema"][f"module.{name}"], average)
    moved = saved[3]["network"]["entrance.weight"] - saved[0]["network"]["entrance.weight"]
    assert float(moved.abs().max()) > 1e-3, "else any average would do"
