"""Total variation of scikit-image, by Chambolle's projection."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise_training.peers.peer import Image, NoiseKnowledge, Parameters, Peer


def total_variation_peer() -> Peer:
    """Return it with a weight that follows the SD and is tuned."""
    return Peer(
        "total variation",
        "Total variation, weight = k SD/25 HU, tuned",
        "Chambolle, J Math Imaging Vis 20:89 (2004); scikit-image denoise_tv_chambolle",
        "BSD-3-Clause",
        _filter,
        {"k": 20.0, "p": 1.0},
        {"k": (7.5, 10.0, 15.0, 20.0, 25.0, 35.0, 50.0), "p": (1.0,)},
    )


def _filter(image: Image, noise: NoiseKnowledge, parameters: Parameters) -> npt.NDArray[Any]:
    from skimage.restoration import denoise_tv_chambolle

    return np.asarray(denoise_tv_chambolle(image.astype(np.float64), weight=noise.strength(parameters)))
