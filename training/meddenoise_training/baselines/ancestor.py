"""The autoencoder that this project descends from: a dense bottleneck between convolutions, 128 x 128 alone."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from meddenoise.intensity import HU_PER_UNIT
from meddenoise.metrics import ABDOMEN

SIZE = 128
CHANNELS = 3
_CODE = (32, 16, 16)


class DenseAutoencoder(nn.Module):
    """Seven convolutions to 8 x 8 x 32, dense layers of 8192, 4096 and 8192, seven back; 85.7 M parameters.

    The notebook of dharmikrathod/Denoising-Medical-images- (2023): ReLU, then batch normalisation after every
    convolution, the last one too; no shortcut, no sigmoid; a grey image in three equal channels, 0 to 1. Differences:

    - 0 to 1 is the abdomen window C50/W400; the notebook's is the stored value modulo 256. What the window cuts off,
      noise included, is added again afterwards, so that air and bone keep their HU.
    - The three channels of the result are averaged.
    - Strided convolutions are padded on both sides (torch), not on one (Keras).
    - Other sizes than 128 x 128 are cut into tiles that do not overlap, the edge repeated to fill the last ones.

    Input and output (n, 1, j, i) in network units, any size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *_normalised(nn.Conv2d(CHANNELS, 256, 3, padding=1)),
            *_normalised(nn.Conv2d(256, 256, 3, padding=1)),
            *_normalised(nn.Conv2d(256, 128, 3, stride=2, padding=1)),
            *_normalised(nn.Conv2d(128, 128, 3, stride=2, padding=1)),
            *_normalised(nn.Conv2d(128, 64, 3, stride=2, padding=1)),
            *_normalised(nn.Conv2d(64, 64, 3, stride=2, padding=1)),
            *_normalised(nn.Conv2d(64, 32, 3, padding=1)),
        )
        self.bottleneck = nn.Sequential(
            nn.Flatten(),
            nn.Linear(8 * 8 * 32, 8192),
            nn.ReLU(inplace=True),
            nn.Linear(8192, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, 8192),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, _CODE),
        )
        self.decoder = nn.Sequential(
            *_normalised(nn.Conv2d(32, 32, 3, padding=1)),
            *_normalised(nn.ConvTranspose2d(32, 64, 3, stride=2, padding=1, output_padding=1)),
            *_normalised(nn.Conv2d(64, 64, 3, padding=1)),
            *_normalised(nn.Conv2d(64, 128, 3, padding=1)),
            *_normalised(nn.ConvTranspose2d(128, 128, 3, stride=2, padding=1, output_padding=1)),
            *_normalised(nn.Conv2d(128, 256, 3, padding=1)),
            *_normalised(nn.ConvTranspose2d(256, CHANNELS, 3, stride=2, padding=1, output_padding=1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the denoised slices, in the input's type also under autocast."""
        low = (ABDOMEN.centre - ABDOMEN.width / 2) / HU_PER_UNIT
        width = ABDOMEN.width / HU_PER_UNIT
        windowed = ((x - low) / width).clamp(0, 1)
        beyond = x - (windowed * width + low)
        denoised = _in_tiles(self._tile, windowed).to(x.dtype)
        return denoised * width + low + beyond

    def _tile(self, tile: Tensor) -> Tensor:
        """Denoise (n, 1, 128, 128), 0 to 1."""
        code = self.bottleneck(self.encoder(tile.expand(-1, CHANNELS, -1, -1)))
        result: Tensor = self.decoder(code).mean(dim=1, keepdim=True)
        return result


def _normalised(convolution: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, ...]:
    # Keras' epsilon, and its momentum, which torch counts from the other end.
    return convolution, nn.ReLU(inplace=True), nn.BatchNorm2d(convolution.out_channels, eps=1e-3, momentum=0.01)


def _in_tiles(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a network of a fixed size to every tile of (n, 1, j, i), all tiles of a batch at once."""
    height, width = x.shape[-2:]
    below, right = -height % SIZE, -width % SIZE
    padded = F.pad(x, (0, right, 0, below), mode="replicate")
    count, rows, columns = len(x), padded.shape[-2] // SIZE, padded.shape[-1] // SIZE
    tiles = padded.view(count, rows, SIZE, columns, SIZE).transpose(2, 3).reshape(-1, 1, SIZE, SIZE)
    done = network(tiles).view(count, rows, columns, SIZE, SIZE).transpose(2, 3).reshape(padded.shape)
    return done[..., :height, :width]
