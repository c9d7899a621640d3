"""Networks of others, trained for comparison alone: the engine does not run them."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from meddenoise_training.baselines.ancestor import DenseAutoencoder
from meddenoise_training.baselines.cnn10 import CNN10
from meddenoise_training.baselines.dncnn import DnCNN
from meddenoise_training.baselines.redcnn import REDCNN

#: By name; input and output (n, 1, j, i) float32 in network units (HU / 1000, water is 0).
BASELINES: dict[str, Callable[[], nn.Module]] = {
    "cnn10": CNN10,
    "redcnn": REDCNN,
    "dncnn": DnCNN,
    "ancestor": DenseAutoencoder,
}
