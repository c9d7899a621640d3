"""Filters of SimpleITK: with the defaults of Slicer's modules, and tuned.

Slicer runs its modules on volumes; here they get a slice, since everything is compared slice by slice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from meddenoise_training.peers.peer import Image, NoiseKnowledge, Parameters, Peer

_LICENCE = "Apache-2.0"
_CLI = "Slicer/Slicer, Modules/CLI/"
#: The largest stable one in two dimensions at a spacing of 1.
_TIME_STEP = 0.125
_GRADIENT = "Perona and Malik, IEEE Trans Pattern Anal 12:629 (1990); SimpleITK GradientAnisotropicDiffusion"
_CURVATURE = "Whitaker and Xue, IEEE ICIP (2001); SimpleITK CurvatureAnisotropicDiffusion"
_BILATERAL = "Tomasi and Manduchi, IEEE ICCV (1998); SimpleITK Bilateral"


def simpleitk_peers() -> list[Peer]:
    """Return the filters with Slicer's defaults, then the tuned ones."""
    return [*_slicer_defaults(), *_tuned()]


def use_threads(count: int) -> None:
    """Let the filters use so many threads; SimpleITK takes all processors otherwise, whatever others are told."""
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(count)


def _slicer_defaults() -> list[Peer]:
    def peer(name: str, title: str, source: str, apply: Callable[..., npt.NDArray[Any]], **parameters: float) -> Peer:
        def run(image: Image, noise: NoiseKnowledge, values: Parameters) -> npt.NDArray[Any]:
            return apply(image, noise.pixel, **values)

        return Peer(
            f"{name} (Slicer)", f"{title}, Slicer's defaults", source, _LICENCE, run, parameters, knows_noise=False
        )

    return [
        peer(
            "Gaussian",
            "Gaussian blur",
            f"SimpleITK SmoothingRecursiveGaussian; sigma in mm: {_CLI}GaussianBlurImageFilter.xml",
            _recursive_gaussian,
            sigma=1.0,
        ),
        peer(
            "median",
            "Median",
            f"SimpleITK Median; the module's 'neighborhood' is a radius in pixels: {_CLI}MedianImageFilter.xml",
            _median,
            radius=1,
        ),
        peer(
            "gradient diffusion",
            "Gradient anisotropic diffusion",
            f"{_GRADIENT}; {_CLI}GradientAnisotropicDiffusion.xml, whose image spacing is on",
            _gradient,
            conductance=1.0,
            iterations=5,
            time_step=0.0625,
        ),
        peer(
            "curvature diffusion",
            "Curvature anisotropic diffusion",
            f"{_CURVATURE}; {_CLI}CurvatureAnisotropicDiffusion.xml and .cxx, where image spacing is on",
            _curvature,
            conductance=1.0,
            iterations=1,
            time_step=0.0625,
        ),
        peer(
            "bilateral",
            "Bilateral",
            f"{_BILATERAL}; module Simple Filters, whose defaults are SimpleITK's (json/BilateralImageFilter.json): "
            "domain in mm, range in HU",
            _bilateral,
            domain_sigma=4.0,
            range_sigma=50.0,
        ),
    ]


def _tuned() -> list[Peer]:
    def gaussian(image: Image, noise: NoiseKnowledge, p: Parameters) -> npt.NDArray[Any]:
        # The recursive filter of the module is not exact below a sigma of a pixel.
        variance = noise.strength(p) ** 2
        return _array(SimpleITK.DiscreteGaussian(_picture(image, 1.0), variance, maximumKernelWidth=64))

    def median(image: Image, noise: NoiseKnowledge, p: Parameters) -> npt.NDArray[Any]:
        return _median(image, 1.0, radius=round(noise.strength(p)))

    def diffusion(apply: Callable[..., npt.NDArray[Any]]) -> Callable[..., npt.NDArray[Any]]:
        def run(image: Image, noise: NoiseKnowledge, p: Parameters) -> npt.NDArray[Any]:
            iterations = round(noise.strength(p))
            return apply(image, 1.0, conductance=p["conductance"], iterations=iterations, time_step=_TIME_STEP)

        return run

    def bilateral(image: Image, noise: NoiseKnowledge, p: Parameters) -> npt.NDArray[Any]:
        return _bilateral(image, 1.0, domain_sigma=p["domain_sigma"], range_sigma=noise.strength(p))

    diffusion_grid = {"k": (1.5, 2.5, 5.0, 10.0, 20.0), "p": (0.5, 1.0), "conductance": (0.7, 1.0, 1.5, 2.0, 3.0)}
    return [
        Peer(
            "Gaussian (tuned)",
            "Gaussian blur, sigma = k (SD/25)^p pixels, tuned",
            "SimpleITK DiscreteGaussian",
            _LICENCE,
            gaussian,
            {"k": 0.6, "p": 0.5},
            {"k": (0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2), "p": (0.25, 0.5, 0.75)},
        ),
        Peer(
            "median (tuned)",
            "Median, radius = k (SD/25)^p pixels rounded, tuned",
            "SimpleITK Median",
            _LICENCE,
            median,
            {"k": 1.0, "p": 0.5},
            {"k": (0.8, 1.0, 1.5, 2.0, 3.0), "p": (0.25, 0.5)},
        ),
        Peer(
            "gradient diffusion (tuned)",
            "Gradient anisotropic diffusion, k SD/25 iterations, tuned",
            _GRADIENT,
            _LICENCE,
            diffusion(_gradient),
            {"k": 5.0, "p": 1.0, "conductance": 1.5},
            diffusion_grid,
        ),
        Peer(
            "curvature diffusion (tuned)",
            "Curvature anisotropic diffusion, k SD/25 iterations, tuned",
            _CURVATURE,
            _LICENCE,
            diffusion(_curvature),
            {"k": 5.0, "p": 1.0, "conductance": 1.0},
            diffusion_grid,
        ),
        Peer(
            "bilateral (tuned)",
            "Bilateral, range sigma = k SD/25 HU, domain sigma in pixels, tuned",
            _BILATERAL,
            _LICENCE,
            bilateral,
            {"k": 75.0, "p": 1.0, "domain_sigma": 1.5},
            {"k": (25.0, 50.0, 75.0, 100.0, 150.0), "p": (1.0,), "domain_sigma": (0.7, 1.0, 1.5, 2.0, 3.0)},
        ),
    ]


def _recursive_gaussian(image: Image, spacing: float, *, sigma: float) -> npt.NDArray[Any]:
    return _array(SimpleITK.SmoothingRecursiveGaussian(_picture(image, spacing), sigma))


def _median(image: Image, spacing: float, *, radius: float) -> npt.NDArray[Any]:
    return _array(SimpleITK.Median(_picture(image, spacing), [int(radius)] * 2))


def _gradient(image: Image, spacing: float, **settings: float) -> npt.NDArray[Any]:
    return _diffused(SimpleITK.GradientAnisotropicDiffusion, image, spacing, **settings)


def _curvature(image: Image, spacing: float, **settings: float) -> npt.NDArray[Any]:
    return _diffused(SimpleITK.CurvatureAnisotropicDiffusion, image, spacing, **settings)


def _diffused(
    run: Any, image: Image, spacing: float, *, conductance: float, iterations: float, time_step: float
) -> npt.NDArray[Any]:
    # A constant slice has no gradient to scale the conductance by, and nothing to diffuse.
    if iterations == 0 or not np.ptp(image):
        return image.copy()
    return _array(
        run(
            _picture(image, spacing),
            timeStep=time_step,
            conductanceParameter=conductance,
            numberOfIterations=int(iterations),
        )
    )


def _bilateral(image: Image, spacing: float, *, domain_sigma: float, range_sigma: float) -> npt.NDArray[Any]:
    return _array(SimpleITK.Bilateral(_picture(image, spacing), domain_sigma, range_sigma))


def _picture(image: Image, spacing: float) -> Any:
    picture = SimpleITK.GetImageFromArray(image)
    picture.SetSpacing((spacing, spacing))
    return picture


def _array(picture: Any) -> npt.NDArray[Any]:
    return np.asarray(SimpleITK.GetArrayFromImage(picture))
