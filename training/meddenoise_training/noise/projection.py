"""Low-dose noise made where it arises: in the projections of a slice, then reconstructed.

Filtered back projection is linear, so that only the missing noise is reconstructed and added to the slice, whose
anatomy is never reconstructed again: ``low = slice + FBP(noise of the projections)``. Anatomy shapes it: more noise
behind bone and in the middle of the body, streaks along the longest paths; so do the scanner's tube current modulation
and beam shaping filter (bowtie). The projections come from the reconstructed slice, not from a scanner's raw data, and
the rays are parallel: a fan beam would add a mild change of the noise with the distance from the middle.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from torch import Tensor

from meddenoise_training.noise.projector import Kernel, back_project, by_slice, detector_count, even_angles, project

#: Attenuation of water at the effective energy of a 120 kV beam, 1/mm.
MU_WATER = 0.02
#: Apodisations by name, smoothest first; which mean frequencies their noise has is measured in the tests.
APODISATIONS = {
    "softest": Kernel(2, 0.6),
    "smooth": Kernel(2, 0.77),
    "medium": Kernel(2, 1.0),
    "detail": Kernel(1, 1.1),
    "sharp": Kernel(1, 1.6),
    "edge": Kernel(1, 1.4, boost=2.0),
}
#: Diameter of the water cylinder that a beam shaping filter is made for, mm.
BOWTIE_CYLINDER_MM = 400.0
#: No ray's noise has more variance: a detector that hardly a photon reaches still reads about one, and the logarithm of
#: about one photon swings by about one. The formula, made for many photons, would give millions of HU.
STARVED_VARIANCE = 1.0
#: What counts as soft tissue where the noise of a slice is spoken of, HU; neither end belongs to it.
SOFT_TISSUE_HU = (-100.0, 200.0)


@dataclass(frozen=True)
class LowDose:
    """What a simulated dose reduction depends on; to be recorded with the result.

    :param dose_fraction: dose of the result as a fraction of the input's, above 0 and up to 1.
    :param photons: photons N0 that reach, at the input's dose and with nothing in the beam, one detector of a pixel's
        width and a slice's height in one view, on average over the views.
    :param electronic_variance: variance of the electronic noise, photons squared, at the same detector.
    :param kernel: name in :data:`APODISATIONS`, or a kernel of one's own.
    :param views: over half a turn.
    :param modulation: of the tube current by angle: the photons of a view grow as the attenuation of its longest path
        to this power; 0 none, 0.5 the least noise for the dose (Gies et al., Med Phys 26:2235, 1999).
    :param bowtie: share of the path differences of a water cylinder of 400 mm that the beam shaping filter evens out:
        0 no filter, 1 all (then the edge of the fan gets e^-8 of the photons).
    """

    dose_fraction: float = 0.25
    photons: float = 1.5e6
    electronic_variance: float = 50.0
    kernel: str | Kernel = "smooth"
    views: int = 720
    modulation: float = 0.0
    bowtie: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.dose_fraction <= 1:
            raise ValueError(f"The dose fraction is {self.dose_fraction}; it must be above 0 and at most 1.")
        if self.photons <= 0 or self.electronic_variance < 0:
            raise ValueError("The number of photons must be above 0 and the electronic variance not below 0.")
        if isinstance(self.kernel, str) and self.kernel not in APODISATIONS:
            raise ValueError(f"There is no kernel '{self.kernel}'; there are: {', '.join(APODISATIONS)}.")
        if self.views < 2:
            raise ValueError(f"{self.views} views are too few; give 2 or more.")
        if not 0 <= self.modulation <= 1 or not 0 <= self.bowtie <= 1:
            raise ValueError("Modulation and bowtie must lie between 0 and 1.")

    @property
    def apodisation(self) -> Kernel:
        """The kernel itself."""
        return APODISATIONS[self.kernel] if isinstance(self.kernel, str) else self.kernel


def low_dose_noise(hu: Tensor, pixel: float | Tensor, settings: LowDose, generator: torch.Generator) -> Tensor:
    """Make the noise that slices would have in addition at a fraction of their dose.

    :param hu: (n, j, i) float32, slices in HU; values below -1000 (padding) count as air.
    :param pixel: width and height of a pixel, mm, of all slices or (n,) of each.
    :param generator: of the device of ``hu``; decides the noise.
    :returns: (n, j, i) float32, HU, mean 0, each slice's of its own; to be added to the slices.
    """
    integrals = line_integrals(hu, pixel, settings.views)
    variance = missing_variance(integrals, incident_photons(integrals, pixel, settings), settings)
    deviation = variance.clamp_max(STARVED_VARIANCE).sqrt()
    normal = torch.randn(deviation.shape, generator=generator, device=deviation.device, dtype=deviation.dtype)
    angles = even_angles(settings.views, hu)
    size = (hu.shape[1], hu.shape[2])
    return back_project(deviation * normal, angles, pixel, size, settings.apodisation) * (1000 / MU_WATER)


@overload
def in_soft_tissue(hu: Tensor) -> Tensor: ...
@overload
def in_soft_tissue(hu: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.bool_]: ...
def in_soft_tissue(hu: Any) -> Any:
    """Return where soft tissue is by :data:`SOFT_TISSUE_HU`, a mask of the shape of ``hu``; it may be empty.

    What stands for it in a slice of next to none is the caller's to say: a bank takes the body
    (:mod:`~meddenoise_training.noise.bank`), the benchmark all of the slice, and a noise report refuses the scan. The
    first two stay apart, as banks that exist and figures that are kept were made so.
    """
    return (hu > SOFT_TISSUE_HU[0]) & (hu < SOFT_TISSUE_HU[1])


def calibrated(hu: Tensor, pixel: float, settings: LowDose, own_sd: float, generator: torch.Generator) -> LowDose:
    """Return the settings with the photons at which slices have the noise that they are known to have.

    Reconstructed noise falls as the root of the photons, as long as electronic noise is a small part of it.

    :param hu: (n, j, i) float32, slices in HU.
    :param own_sd: SD of the slices' own noise in soft tissue, HU; a dose fraction a then adds
        ``sqrt((1 - a) / a)`` times as much there.
    :raises ValueError: when the slices hold no soft tissue.
    """
    soft = in_soft_tissue(hu)
    if not bool(soft.any()):
        raise ValueError("There is no soft tissue in the slices, by whose noise the dose could be told.")
    for _ in range(2):  # twice: with electronic noise the first step falls a little short
        a = settings.dose_fraction
        added = float(low_dose_noise(hu, pixel, settings, generator)[soft].std())
        wanted = own_sd * math.sqrt((1 - a) / a)
        settings = dataclasses.replace(settings, photons=settings.photons * (added / wanted) ** 2)
    return settings


def line_integrals(hu: Tensor, pixel: float | Tensor, views: int) -> Tensor:
    """Return the attenuation p along the rays of each view, without unit: (n, views, detectors)."""
    mu = MU_WATER * (1 + hu / 1000).clamp_min(0)
    # The noise's strength varies slowly across the projections: a quarter of the views and half the detectors will do.
    coarse = project(mu, pixel, even_angles(math.ceil(views / 4), hu), step=2)
    fine = F.interpolate(coarse, size=detector_count(hu.shape[1], hu.shape[2]), mode="linear")
    return fine.repeat_interleave(4, dim=1)[:, :views]


def incident_photons(integrals: Tensor, pixel: float | Tensor, settings: LowDose) -> Tensor:
    """Return the photons N0 that leave tube and filter towards each detector, at the input's dose.

    :param integrals: (n, views, detectors), without unit.
    :returns: (n, views, detectors).
    """
    longest = integrals.amax(dim=2, keepdim=True)
    by_view = torch.exp(settings.modulation * (longest - longest.amax(dim=1, keepdim=True)))
    by_view = by_view / by_view.mean(dim=1, keepdim=True)
    detectors = integrals.shape[2]
    t = (torch.arange(detectors, device=integrals.device) - (detectors - 1) / 2) * by_slice(pixel, integrals)
    radius = BOWTIE_CYLINDER_MM / 2
    chord = 2 * (radius**2 - t.square()).clamp_min(0).sqrt()
    filtered = torch.exp(-settings.bowtie * MU_WATER * (BOWTIE_CYLINDER_MM - chord))
    return settings.photons * by_view * filtered.to(integrals.dtype)


def missing_variance(integrals: Tensor, photons: Tensor | float, settings: LowDose) -> Tensor:
    """Return the variance of line integrals that a dose fraction lacks (Yu, Shiung, Jondal, McCollough, JCAT 2012).

    It is the variance at dose a less that at dose 1: ``(1-a)/a * e^p/N0 * (1 + (1+a)/a * Ne * e^p/N0)``.

    :param integrals: p, without unit, any shape.
    :param photons: N0, a number or of that shape.
    """
    a = settings.dose_fraction
    per_photon = integrals.exp() / photons
    return (1 - a) / a * per_photon * (1 + (1 + a) / a * settings.electronic_variance * per_photon)
