"""Non-local means of scikit-image, fast mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise_training.peers.peer import Image, NoiseKnowledge, Parameters, Peer


def nonlocal_means_peer() -> Peer:
    """Return it with patches of 5 x 5 sought up to 6 pixels away; h follows the SD and is tuned."""
    return Peer(
        "non-local means",
        "Non-local means, h = k SD/25 HU, tuned",
        "Buades et al., IEEE CVPR (2005) and Darbon et al., IEEE ISBI (2008); scikit-image denoise_nl_means",
        "BSD-3-Clause",
        _filter,
        {"k": 20.0, "p": 1.0, "subtracted": 1.0},
        {"k": (10.0, 12.5, 15.0, 20.0, 25.0, 30.0, 37.5), "p": (1.0,), "subtracted": (0.0, 1.0)},
    )


def _filter(image: Image, noise: NoiseKnowledge, parameters: Parameters) -> npt.NDArray[Any]:
    from skimage.restoration import denoise_nl_means

    # Running sums of squares over a slice from air to metal are beyond what float32 tells apart.
    return np.asarray(
        denoise_nl_means(
            image.astype(np.float64),
            patch_size=5,
            patch_distance=6,
            h=noise.strength(parameters),
            # What noise alone makes of the distance of patches, taken off it.
            sigma=parameters["subtracted"] * noise.sd,
            fast_mode=True,
            preserve_range=True,
        )
    )
