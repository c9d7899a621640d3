"""Losses: how far a result is from its target."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from meddenoise_training.config import LossConfig

#: Of denoised and target, (n, 1, j, i) HU, and the unit of each patch, (n, 1, 1, 1) HU; the mean over the patches.
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

_SSIM_WINDOW = 11
#: Exponents of the scales of MS-SSIM, finest first (Wang, Simoncelli, Bovik, Asilomar 2003).
_MS_SSIM_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def charbonnier(difference: Tensor) -> Tensor:
    """Return the mean of ``sqrt(d^2 + 1) - 1``: quadratic below 1, linear beyond (Charbonnier et al., ICIP 1994)."""
    return (torch.sqrt(difference.square() + 1) - 1).mean()


def make_loss(config: LossConfig) -> Loss:
    """Return the loss of a configuration.

    The residual of each patch is measured in units of its noise: levels count alike, from next to none (which is to
    be left alone) to the highest, and within the noise Charbonnier is quadratic, its optimum the mean: no HU bias.
    (An absolute loss takes the median, which reads low where structures are bright and sparse, as in lung.)
    SSIM and the ancestor's cross-entropy look at grey values in a window instead.
    """
    if config.kind in _RESIDUAL:
        measure = _RESIDUAL[config.kind]
        return lambda denoised, target, unit: measure((denoised - target) / unit)
    low, width = config.window[0] - config.window[1] / 2, config.window[1]
    if config.kind == "bce":
        return lambda denoised, target, unit: window_cross_entropy(denoised, target, low, width)
    if config.kind == "edge":
        other: Loss = lambda denoised, target, unit: edge_difference((denoised - target) / unit)  # noqa: E731
    else:
        similarity = ssim if config.kind == "ssim" else ms_ssim
        other = lambda denoised, target, unit: 1 - similarity(denoised, target, width)  # noqa: E731
    return lambda denoised, target, unit: (
        (1 - config.share) * charbonnier((denoised - target) / unit) + config.share * other(denoised, target, unit)
    )


def edge_difference(difference: Tensor) -> Tensor:
    """Return the Charbonnier of the differences between neighbours, along j and i: edges moved or softened."""
    return 0.5 * (charbonnier(difference.diff(dim=-2)) + charbonnier(difference.diff(dim=-1)))


def ssim(denoised: Tensor, target: Tensor, width: float) -> Tensor:
    """Return SSIM for a window ``width`` HU wide; HU outside it count as well."""
    value = structural_similarity_index_measure(denoised, target, kernel_size=_SSIM_WINDOW, data_range=width)
    assert isinstance(value, Tensor)
    return value


def ms_ssim(denoised: Tensor, target: Tensor, width: float) -> Tensor:
    """Return MS-SSIM likewise, over as many of its five scales as the patch has room for."""
    # The window must fit into the halved image; torchmetrics asks for the square of the scale's number instead of 2^it.
    side = min(target.shape[-2:])
    room = [scale for scale in range(5) if side // max(2**scale, scale**2) > _SSIM_WINDOW - 1]
    exponents = _MS_SSIM_EXPONENTS[: len(room)]
    return multiscale_structural_similarity_index_measure(
        denoised,
        target,
        kernel_size=_SSIM_WINDOW,
        data_range=width,
        betas=tuple(exponent / sum(exponents) for exponent in exponents),
        normalize="relu",  # a negative value, possible at first, has no power
    )


def window_cross_entropy(denoised: Tensor, target: Tensor, low: float, width: float) -> Tensor:
    """Return the binary cross-entropy of grey values in a window, 0 to 1, as the ancestor's notebook had it on PNG.

    Where HU lie outside the window it sees nothing, so HU there are left to chance: for comparison only.
    """
    tiny = 1e-4  # neither the logarithm of 0 nor a gradient without end
    grey, wanted = (((hu - low) / width).clamp(tiny, 1 - tiny) for hu in (denoised, target))
    return F.binary_cross_entropy(grey, wanted)


_RESIDUAL: dict[str, Callable[[Tensor], Tensor]] = {
    "charbonnier": charbonnier,
    "l1": lambda difference: difference.abs().mean(),
    "mse": lambda difference: difference.square().mean(),
}
