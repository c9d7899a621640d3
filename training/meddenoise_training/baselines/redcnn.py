"""RED-CNN, the residual encoder-decoder that leads the comparisons of low-dose CT."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from meddenoise.errors import InputError
from meddenoise.intensity import HU_PER_UNIT

WIDTH = 96
#: Five convolutions of 5 x 5 without padding take 4 pixels each.
SMALLEST = 21
# The published code's scale, (HU + 1024) / 4096: positive down to air, or its last ReLU would make air water.
OFFSET_HU = 1024.0
RANGE_HU = 4096.0


class REDCNN(nn.Module):
    """Five convolutions and five transposed ones of 5 x 5 with 96 filters and three shortcuts; 1.85 M parameters.

    Chen et al., "Low-dose CT with a residual encoder-decoder convolutional neural network", IEEE Trans Med Imaging
    36:2524 (2017). Inside, HU are scaled as in the code of SSinyu/RED-CNN, so that its last ReLU cuts below -1024 HU.
    Two differences: untrained weights are torch's (as in ldct-benchmark) instead of Gaussian of SD 0.01, nearly the
    same SD, and the last layer starts at zero, as in our own networks, so that time spent on training is spent alike.

    Input and output (n, 1, j, i) in network units, 21 x 21 or larger.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(nn.Conv2d(1 if n == 0 else WIDTH, WIDTH, 5) for n in range(5))
        self.decoder = nn.ModuleList(nn.ConvTranspose2d(WIDTH, 1 if n == 4 else WIDTH, 5) for n in range(5))
        for values in self.decoder[-1].parameters():
            nn.init.zeros_(values)

    def forward(self, x: Tensor) -> Tensor:
        """Return the denoised slices; the shortcuts are added in the input's own type also under autocast.

        :raises InputError: when they are smaller than 21 x 21.
        """
        if min(x.shape[-2:]) < SMALLEST:
            raise InputError(f"RED-CNN needs {SMALLEST} x {SMALLEST} pixels or more; there are {tuple(x.shape[-2:])}.")
        scaled = (x * HU_PER_UNIT + OFFSET_HU) / RANGE_HU
        h, shortcuts = scaled, []
        for number, convolve in enumerate(self.encoder):
            if number % 2 == 0:
                shortcuts.append(h)  # the input, and what layers 2 and 4 give
            h = F.relu(convolve(h))
        for number, convolve in enumerate(self.decoder):
            h = convolve(h)
            if number % 2 == 0:
                h = h + shortcuts.pop()
            h = F.relu(h)
        return (h * RANGE_HU - OFFSET_HU) / HU_PER_UNIT
