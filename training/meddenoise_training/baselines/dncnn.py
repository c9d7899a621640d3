"""DnCNN, the residual network with batch normalisation that natural images are compared with."""

from __future__ import annotations

from torch import Tensor, nn

LAYERS = 17
WIDTH = 64


class DnCNN(nn.Module):
    """17 layers of 3 x 3 convolutions with 64 filters that estimate the noise and subtract it; 0.56 M parameters.

    Zhang et al., "Beyond a Gaussian denoiser", IEEE Trans Image Process 26:3142 (2017), the depth for one noise level.
    The edge is padded with zeros, as published. Two differences: the input is HU / 1000 instead of grey levels / 255,
    and the last layer starts at zero, as in our own networks, so that time spent on training is spent alike.

    Input and output (n, 1, j, i) in network units, any size.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, WIDTH, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(LAYERS - 2):
            # Batch normalisation brings the constant that the convolution lacks.
            layers += [nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True)]
        last = nn.Conv2d(WIDTH, 1, 3, padding=1, bias=False)
        self.layers = nn.Sequential(*layers, last)
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the denoised slices; the subtraction is in the input's own type also under autocast."""
        noise: Tensor = self.layers(x)
        return x - noise.to(x.dtype)
