"""What drawing patches and noise costs of a training step, of Fast and of Standard, as a share in one run.

``python -m tools.benchmark.training_step PREPARED``, PREPARED with the noise bank that half of the noise is taken from.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from meddenoise_training.config import Config, load_config
from meddenoise_training.processes import Processes
from meddenoise_training.state import FitState

CONFIGS = Path(__file__).resolve().parents[2] / "training" / "configs"
#: Steps that warm caches and do not count.
_FIRST = 2


def drawing_share(prepared: Path, config: Config, steps: int) -> float:
    """Return the share of the processor's time that goes into the patches and their noise; the rest is the network's.

    :param prepared: folder made by ``meddenoise-train prepare``.
    :param steps: that are timed, each drawn and then taken.
    """
    state = FitState(config, prepared, Processes().launch(config.fit.precision))
    state.begin()
    drawing = training = 0.0
    for step in range(_FIRST + steps):
        started = time.process_time()
        batch = state.samples.draw(step, range(config.data.batch))
        drawn = time.process_time()
        state.train_step(batch)
        if step >= _FIRST:
            drawing += drawn - started
            training += time.process_time() - drawn
    return drawing / (drawing + training)


def main() -> None:
    """Print the share of each shipped model's configuration."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmark.training_step", description=__doc__)
    parser.add_argument("prepared", type=Path, metavar="PREPARED")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in ("fast", "standard"):
        share = drawing_share(arguments.prepared, load_config(CONFIGS / f"{name}.toml", {}), arguments.steps)
        print(f"{name}: {share:.0%} of a step's processor time goes into patches and noise")


if __name__ == "__main__":
    main()
