"""CNN-10, the three-layer network that the comparisons of low-dose CT begin with."""

from __future__ import annotations

from torch import Tensor, nn


class CNN10(nn.Module):
    """Convolutions of 9 x 9, 3 x 3 and 5 x 5 with 64, 32 and 1 filters; 0.025 M parameters, no shortcut.

    Chen et al., "Low-dose CT via convolutional neural network", Biomed Opt Express 8:679 (2017). As ldct-benchmark has
    it, the edge is padded with zeros (water), and the input is not scaled to 0..1 but centred: here, on water.

    Input and output (n, 1, j, i) in network units, any size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 64, 9, padding=4),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 32, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 1, 5, padding=2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the denoised slices, in the input's type also under autocast."""
        denoised: Tensor = self.layers(x)
        return denoised.to(x.dtype)
