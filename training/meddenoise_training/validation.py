"""Figures on validation patients, with noise of fixed seeds: the same slices and the same noise every time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from meddenoise.errors import Cancelled
from meddenoise.intensity import from_network, to_network
from meddenoise.metrics import ABDOMEN, bias, psnr, rmse
from meddenoise_training.dataset import overlap_of
from meddenoise_training.manifest import neighbours, open_slices, read_manifest
from meddenoise_training.noise.correlated import SHARP, SMOOTH, STREAKED, NoiseShape, alike, correlated_noise
from meddenoise_training.noise.gaussian import gaussian_noise
from meddenoise_training.noise.overlap import shared_between
from meddenoise_training.slabs import BODY_ABOVE_HU

Noise = Callable[[int, int, torch.Generator], Tensor]
Image = npt.NDArray[np.float32]

#: The noise added for the figures, HU.
NOISE_SD_HU = 25.0


@dataclass(frozen=True)
class Figures:
    """Of one kind of slice with one kind of noise: means over the slices.

    :param rmse_before: HU, noisy against reference; ``rmse`` denoised against reference.
    :param psnr_before: dB in the abdomen window; ``psnr`` denoised.
    :param bias: HU, mean of denoised minus reference within the body.
    """

    name: str
    rmse_before: float
    rmse: float
    psnr_before: float
    psnr: float
    bias: float

    def __str__(self) -> str:
        """Return the figures as a line of a log."""
        line = f"{self.name}: RMSE {self.rmse_before:.2f} -> {self.rmse:.2f} HU, bias {self.bias:+.2f} HU"
        if math.isfinite(self.psnr_before):
            line += f", PSNR(C50/W400) {self.psnr_before:.2f} -> {self.psnr:.2f} dB"
        return line


@dataclass(frozen=True)
class _Around:
    """A slice and its neighbours, (slices, j, i) HU, and by how many spacings their thickness overlaps."""

    slices: Image
    overlap: float

    @property
    def middle(self) -> Image:
        middle: Image = self.slices[len(self.slices) // 2]
        return middle


class Validation:
    """Slices of a split of a prepared folder, spread evenly, with their noise."""

    def __init__(self, prepared: Path, split: str, slices: int, *, entrance: int = 1) -> None:
        """Choose slices.

        :param slices: of each kind.
        :param entrance: neighbouring slices that the network looks at.
        """
        manifest = read_manifest(prepared)
        stack = open_slices(prepared, split, manifest)
        entries = manifest.splits[split]
        self._groups: dict[str, list[_Around]] = {}
        for name, synthetic in (("ct", False), ("synthetic", True)):
            indices = [i for i, e in enumerate(entries) if (e.kind == "synthetic") == synthetic]
            # The cleaner half: what a reference carries of its own hides how near the result comes.
            limit = np.median([entries[i].noise_sd for i in indices]) if indices else 0.0
            clean = [i for i in indices if entries[i].noise_sd <= limit]
            places = np.linspace(0, len(clean) - 1, min(slices, len(clean))).round().astype(int)
            self._groups[name] = [
                _Around(
                    np.stack([stack[i] for i in neighbours(entries, clean[place], entrance // 2)]).astype(np.float32),
                    overlap_of(entries[clean[place]]),
                )
                for place in places
            ]

    def __bool__(self) -> bool:
        """Whether there are slices to validate on."""
        return any(self._groups.values())

    def pictures(self, network: nn.Module, count: int) -> list[tuple[Image, Image, Image]]:
        """Return noisy (as a smooth kernel leaves it), denoised and reference, HU, of the first scanned slices."""
        rows = []
        for number, around in enumerate(self._groups["ct"][:count]):
            noisy, denoised = _denoised(network, around, _NOISES["smooth"], number)
            rows.append((noisy, denoised, around.middle))
        return rows

    def figures(self, network: nn.Module, cancel: Callable[[], bool] = lambda: False) -> list[Figures]:
        """Denoise and measure; synthetic slices, being noise-free, are given without added noise as well.

        :param cancel: asked before each slice.
        :raises Cancelled: when it says so.
        """
        result = []
        for group, slices in self._groups.items():
            for name, noise in _NOISES.items():
                if slices and (group == "synthetic" or name != "none"):
                    result.append(_measure(f"{group}, {name}", network, slices, noise, cancel))
        return result


def _white(height: int, width: int, generator: torch.Generator) -> Tensor:
    return gaussian_noise(torch.tensor([NOISE_SD_HU]), height, width, generator)


def _shaped(shape: NoiseShape) -> Noise:
    shapes = alike(shape, 1)
    return lambda height, width, generator: correlated_noise(
        torch.tensor([NOISE_SD_HU]), shapes, height, width, generator
    )


def _none(height: int, width: int, generator: torch.Generator) -> Tensor:
    return torch.zeros(1, 1, height, width)


_NOISES: dict[str, Noise] = {
    "white": _white,
    "smooth": _shaped(SMOOTH),
    "sharp": _shaped(SHARP),
    "streaked": _shaped(STREAKED),
    "none": _none,
}


def _measure(
    name: str,
    network: nn.Module,
    slices: list[_Around],
    noise: Noise,
    cancel: Callable[[], bool],
) -> Figures:
    rows = []
    for number, around in enumerate(slices):
        if cancel():
            raise Cancelled("The validation was stopped.")
        noisy, denoised = _denoised(network, around, noise, number)
        reference = around.middle
        body = reference > BODY_ABOVE_HU
        rows.append(
            (
                rmse(reference, noisy),
                rmse(reference, denoised),
                psnr(reference, noisy, ABDOMEN),
                psnr(reference, denoised, ABDOMEN),
                bias(reference, denoised, body),
            )
        )
    return Figures(name, *(float(np.mean(column)) for column in zip(*rows, strict=True)))


def _denoised(network: nn.Module, around: _Around, noise: Noise, seed: int) -> tuple[Image, Image]:
    """Add noise to a slice and its neighbours and denoise it; return noisy and denoised (j, i), HU.

    As on a scanner, and as in training, neighbours that overlap share noise.
    """
    count, height, width = around.slices.shape
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([noise(height, width, generator)[0, 0] for _ in range(count)])
    noisy = around.slices + shared_between(drawn, around.overlap).numpy()
    with torch.inference_mode():
        x = torch.from_numpy(to_network(noisy))[None].to(next(network.parameters()).device)
        return noisy[count // 2], from_network(network(x)[0, 0].float().cpu().numpy())
