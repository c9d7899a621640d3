"""MedDenoise: CT volumes denoised with a convolutional denoising autoencoder, Hounsfield units in and out.

Three lines from an array to its denoised copy::

    from meddenoise import Denoiser

    denoised = Denoiser("fast").denoise(volume)  # (k, j, i), HU, any integer or float type

Importing the package loads neither torch nor SimpleITK nor pydicom: each is imported by the function that needs it.
Research use only, not for diagnosis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Denoiser",
    "Volume",
    "__version__",
    "blend",
    "estimate_noise",
    "read_volume",
    "shipped_models",
    "write_volume",
]

if TYPE_CHECKING:
    from meddenoise.catalogue import shipped_models
    from meddenoise.denoiser import Denoiser
    from meddenoise.noise_estimate import estimate_noise
    from meddenoise.strength import blend
    from meddenoise.volume_files import Volume, read_volume, write_volume

_HOMES = {
    "Denoiser": "denoiser",
    "Volume": "volume_files",
    "blend": "strength",
    "estimate_noise": "noise_estimate",
    "read_volume": "volume_files",
    "shipped_models": "catalogue",
    "write_volume": "volume_files",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module the first time it is used."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    """Return what is here, with the public names that are imported when they are used."""
    return sorted({*globals(), *__all__})
