"""Which noise model resembles a real scan: spectra, SD maps and patches of each beside what was measured."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude, median_filter, uniform_filter

from meddenoise import read_volume
from meddenoise.errors import InputError, OutputError
from meddenoise.metrics import NoisePower, noise_power, noise_power_of_difference, regions_inside
from meddenoise.tissue_windows import flattest
from meddenoise.volume_files import Volume
from meddenoise_training.config import HIGHEST_MEAN_FREQUENCY, NoiseConfig
from meddenoise_training.noise.correlated import (
    SHARP,
    SMOOTH,
    STREAKED,
    NoiseShape,
    alike,
    correlated_noise,
    cutoff_for,
    spectrum,
)
from meddenoise_training.noise.gaussian import gaussian_noise
from meddenoise_training.noise.kernels import SCANNER_KERNELS, named_kernel
from meddenoise_training.noise.projection import APODISATIONS, LowDose, in_soft_tissue, low_dose_noise
from meddenoise_training.noise.quantum import quantum_noise
from meddenoise_training.noise.sd_map import smooth_sd_map
from meddenoise_training.noise_plot import plot_noise

Floats = npt.NDArray[np.float32]
#: So many slices from the middle of a scan: the projections of more would take minutes.
SLICES = 6
#: Side of the regions, pixels; smaller where anatomy has to be kept out.
SIDE_WITH_REFERENCE, SIDE_ALONE = 40, 24
#: Of the regions in soft tissue so many count without a reference, the flattest: anatomy only ever adds.
FLATTEST_SHARE = 0.3
FEWEST_REGIONS = 6
#: Spectra are compared from here up, cycles/pixel: below, regions without a reference hold anatomy.
LOWEST_FREQUENCY = 0.07
#: Projections over half a turn: enough for the middle of a slice.
VIEWS = 360
#: Window of the SD maps, pixels.
MAP_WINDOW = 25
#: Strength of the SD map, as training draws it up to.
SD_MAP = NoiseConfig().sd_map
#: Where a scan's smoothed slices change by less than this share of the noise's SD a pixel, there is no edge.
FLAT = 0.25
#: Other seeds of the nearest model, to see how far chance moves its distance.
OTHER_SEEDS = 2


@dataclass(frozen=True)
class Texture:
    """Noise of a scan or of a model.

    :param noise: (j, i) HU, of the slice in the middle; NaN where it cannot be told from anatomy, as in the SD map.
    :param sd_map: (j, i) HU, local SD.
    :param power: NPS in the regions.
    """

    name: str
    noise: Floats
    sd_map: Floats
    power: NoisePower

    def figures(self, measured: Texture) -> dict[str, float]:
        """Return the figures of the table: frequencies in cycles/pixel, SD in HU.

        ``distance`` is half the integral of the difference of the two radial spectra, each scaled to 1: 0 the same, 1
        nothing in common.
        """
        f, p = self.compared()
        return {
            "sd": math.sqrt(self.power.variance),
            "mean_frequency": float((f * p).sum() / p.sum()),
            "mean_frequency_2d": float((f * f * p).sum() / (f * p).sum()),
            "peak_frequency": float(f[np.argmax(p)]),
            "distance": measured.distance(p),
        }

    def distance(self, profile: npt.NDArray[np.float64]) -> float:
        """Return how far another radial spectrum, at the frequencies that are compared, is from this one."""
        _, own = self.compared()
        return float(np.abs(profile / profile.sum() - own / own.sum()).sum() / 2)

    def compared(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the frequencies that are compared, cycles/pixel, and the radial NPS there."""
        f = self.power.frequency * self.power.spacing[0]
        return f[f >= LOWEST_FREQUENCY], self.power.profile[f >= LOWEST_FREQUENCY]


def noise_report(
    scan: Path,
    target: Path,
    *,
    reference: Path | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Compare the noise models with a scan and write ``noise.png``, ``noise.json`` and ``noise.md`` into a folder.

    :param scan: DICOM folder or volume file, HU.
    :param target: new or empty folder.
    :param reference: the same scan at a higher dose: the difference is noise alone, anatomy gone. Without it the
        flattest regions of soft tissue are taken.
    :param progress: called with the noises made and how many there are.
    :returns: the content of ``noise.json``.
    :raises InputError: when there is too little soft tissue, or the two scans do not fit.
    :raises OutputError: when the folder is not empty or cannot be written.
    """
    if target.exists() and any(target.iterdir()):
        raise OutputError(f"{target} is not empty; choose another folder.")
    volume = read_volume(scan)
    other = read_volume(reference) if reference is not None else None
    anatomy, measured, power = _measured(volume, other)
    sd = math.sqrt(measured.power.variance)
    neighbours = _of_neighbours(anatomy, volume) if other is None else None
    textures = [measured] if neighbours is None else [measured, neighbours]
    scanned = {texture.name for texture in textures}
    pixel = float(volume.spacing[0])
    models = _models(anatomy, pixel, sd, seed)
    steps = len(models) + OTHER_SEEDS
    for number, (name, make) in enumerate(models.items()):
        progress(number, steps)
        noise = make()
        textures.append(_texture(name, noise, power(noise)))
    rows = {t.name: {k: round(v, 3) for k, v in t.figures(measured).items()} for t in textures}
    nearest = min((name for name in rows if name not in scanned), key=lambda name: rows[name]["distance"])
    reach = rows[nearest]["distance"]
    for number, other_seed in enumerate(range(seed + 1, seed + 1 + OTHER_SEEDS)):
        progress(len(models) + number, steps)
        noise = _models(anatomy, pixel, sd, other_seed)[nearest]()
        again = _texture(nearest, noise, power(noise)).figures(measured)["distance"]
        reach += abs(again - rows[nearest]["distance"]) / OTHER_SEEDS
    progress(steps, steps)
    near = [name for name in rows if name not in scanned and rows[name]["distance"] <= reach]
    has_anatomy = other is None and int(np.argmax(measured.compared()[1])) == 0
    kernels = _kernels(neighbours if has_anatomy and neighbours is not None else measured, pixel)
    report = {
        "scan": scan.name,
        "reference": reference.name if reference is not None else None,
        "pixel_mm": pixel,
        "seed": seed,
        "nearest": nearest,
        "equally_near": near,
        "anatomy_at_low_frequencies": has_anatomy,
        "rows": rows,
        "nearest_kernel": min(kernels, key=lambda name: kernels[name]["distance"]),
        "kernels": kernels,
    }
    try:
        target.mkdir(parents=True, exist_ok=True)
        (target / "noise.json").write_text(json.dumps(report, indent=1), "utf-8")
        (target / "noise.md").write_text(_table(report), "utf-8")
        plot_noise(textures, {name: row["distance"] for name, row in rows.items()}, near, target / "noise.png")
    except OSError as error:
        raise OutputError(f"The report cannot be written to {target}: {error.strerror or error}.") from error
    return report


def _measured(volume: Volume, reference: Volume | None) -> tuple[Floats, Texture, Callable[[Floats], NoisePower]]:
    """Return the slices that models are applied to, the noise measured, and how the same regions of noise are."""
    middle = slice(max(0, (len(volume.array) - SLICES) // 2), max(0, (len(volume.array) - SLICES) // 2) + SLICES)
    hu = volume.array[middle].astype(np.float32)
    if reference is not None:
        if reference.array.shape != volume.array.shape:
            raise InputError(
                f"The scan is {volume.array.shape}, its reference {reference.array.shape}; they must be one grid."
            )
        clean = reference.array[middle].astype(np.float32)
        noise, side = hu - clean, SIDE_WITH_REFERENCE
    else:
        clean, side = hu, SIDE_ALONE
        # Noise alone cannot be told from fine anatomy: for the pictures, what a smoothing takes away.
        noise = hu - np.stack([gaussian_filter(s, 3.0) for s in hu])
    soft = _soft(clean)
    source = noise if reference is not None else hu
    regions = regions_inside(source, soft, side)
    keep = np.arange(len(regions))
    if reference is None and len(regions):
        keep = flattest(regions, FLATTEST_SHARE, FEWEST_REGIONS)
    if len(keep) < FEWEST_REGIONS:
        raise InputError(
            f"Only {len(keep)} regions of {side} x {side} pixels lie in soft tissue; give a scan of the abdomen."
        )

    def power(field: Floats) -> NoisePower:
        rows_columns = float(volume.spacing[1]), float(volume.spacing[0])
        return noise_power(regions_inside(field, soft, side)[keep], rows_columns)

    name = "scan minus reference" if reference is not None else "scan, flattest regions"
    found = power(source)
    told = None if reference is not None else soft[len(soft) // 2] & _flat(clean[len(clean) // 2], found)
    return clean, _texture(name, noise, found, told), power


def _of_neighbours(hu: Floats, volume: Volume) -> Texture | None:
    """Return the noise in the difference of neighbouring slices (k, j, i), over sqrt 2; None with too little tissue.

    Anatomy that goes on from slice to slice cancels out, whatever its texture; but where slices overlap, so does the
    noise that they share, and the SD reads low.
    """
    if len(hu) < 2:
        return None
    soft = _soft(hu)
    both = soft[1:] & soft[:-1]
    first, second = (regions_inside(part, both, SIDE_ALONE) for part in (hu[1:], hu[:-1]))
    if len(first) < FEWEST_REGIONS:
        return None
    keep = flattest(first - second, FLATTEST_SHARE, FEWEST_REGIONS)
    power = noise_power_of_difference(first[keep], second[keep], (float(volume.spacing[1]), float(volume.spacing[0])))
    noise = (hu[1:] - hu[:-1]) / math.sqrt(2)
    middle = len(both) // 2
    told = both[middle] & _flat(hu[middle], power) & _flat(hu[middle + 1], power)
    return _texture("scan, neighbouring slices", noise, power, told)


def _soft(hu: Floats) -> npt.NDArray[np.bool_]:
    """Return where soft tissue is in a noisy scan, (k, j, i): by its median, lest the noise decide."""
    return in_soft_tissue(np.stack([median_filter(s, 5) for s in hu]))


def _flat(hu: Floats, power: NoisePower) -> npt.NDArray[np.bool_]:
    """Return where a slice (j, i) has no edge that the pictures would show as noise."""
    flat: npt.NDArray[np.bool_] = gaussian_gradient_magnitude(hu, 3.0) < FLAT * math.sqrt(power.variance)
    return flat


def _texture(name: str, noise: Floats, power: NoisePower, told: npt.NDArray[np.bool_] | None = None) -> Texture:
    """Make the texture of noise (k, j, i); ``told``: where in the middle slice it can be told from anatomy, (j, i)."""
    field = noise[len(noise) // 2]
    where = np.ones_like(field) if told is None else told.astype(np.float32)
    share = uniform_filter(where, MAP_WINDOW)
    mean, square = (uniform_filter(where * f, MAP_WINDOW) / np.maximum(share, 1e-6) for f in (field, field**2))
    local = np.where(share > 0.5, np.sqrt(np.maximum(square - mean**2, 0)), np.nan)
    return Texture(name, np.where(where > 0, field, np.nan), local, power)


def _models(anatomy: Floats, pixel: float, sd: float, seed: int) -> dict[str, Callable[[], Floats]]:
    """Return how the noise of each model is made for these slices, (k, j, i) HU, of that SD in soft tissue."""
    hu = torch.from_numpy(anatomy)
    n, height, width = hu.shape
    soft = in_soft_tissue(hu)
    level = torch.full((n,), sd)

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    def shaped(shape: NoiseShape) -> Callable[[], Floats]:
        return lambda: correlated_noise(level, alike(shape, n), height, width, seeded())[:, 0].numpy()

    def mapped() -> Floats:
        generator = seeded()
        factor = smooth_sd_map(torch.full((n,), SD_MAP), height, width, generator)
        return scaled((correlated_noise(level, alike(SMOOTH, n), height, width, generator) * factor)[:, 0])

    def scaled(noise: torch.Tensor) -> Floats:
        return (noise * (sd / noise[soft].std())).numpy()

    def projected(kernel: str) -> Callable[[], Floats]:
        settings = LowDose(kernel=kernel, views=VIEWS, modulation=0.4, bowtie=0.3)
        return lambda: scaled(low_dose_noise(hu, pixel, settings, seeded()))

    return {
        "white": lambda: gaussian_noise(level, height, width, seeded())[:, 0].numpy(),
        "quantum": lambda: scaled(quantum_noise(hu.unsqueeze(1), level, seeded())[:, 0]),
        "correlated, smooth": shaped(SMOOTH),
        "correlated, streaked": shaped(STREAKED),
        "correlated, sharp": shaped(SHARP),
        "correlated, SD map": mapped,
        **{f"projection, {kernel}": projected(kernel) for kernel in APODISATIONS},
    }


def _kernels(measured: Texture, pixel: float) -> dict[str, dict[str, float]]:
    """Return of each kernel by name its mean frequency below Nyquist, cycles/pixel, and how far its spectrum is."""
    f, _ = measured.compared()
    found = {}
    for name in SCANNER_KERNELS:
        shape = named_kernel(name, pixel)
        one = alike(shape, 1)
        profile = spectrum(torch.from_numpy(f), cutoff_for(one), one.order, one.ramp).numpy()
        found[name] = {
            "mean_frequency": round(shape.mean_frequency, 3),
            "distance": round(measured.distance(profile), 3),
        }
    return found


_ANATOMY = (
    "",
    "The scan's spectrum is highest at the lowest frequency, where filtered back projection leaves little noise: "
    "anatomy (or an iterative reconstruction) dominates there, and every model is further away than its noise is. "
    "Give a reference to be sure.",
)


def advice(report: dict[str, Any]) -> str:
    """Return what to do in one sentence: the option of `fit` that gives correlated noise like the nearest kernel's."""
    name = report["nearest_kernel"]
    mean = report["kernels"][name]["mean_frequency"]
    low, high = 0.9 * mean, min(1.1 * mean, HIGHEST_MEAN_FREQUENCY)
    return (
        f"To train with correlated noise like this (nearest kernel: {name}), give `fit` "
        f'--set "noise.mean_frequency=[{low:.2f},{high:.2f}]"; the noise of a bank keeps its own.'
    )


def _table(report: dict[str, Any]) -> str:
    lines = [
        f"# Noise of {report['scan']}",
        "",
        f"Frequencies in cycles/pixel, from {LOWEST_FREQUENCY} up; a pixel is {report['pixel_mm']:.3f} mm. "
        "Distance: half the integral of the "
        "difference of the radial spectra, 0 the same, 1 nothing in common. "
        f"Nearest: **{report['nearest']}**. Equally near, as other seeds of it move it as far: "
        f"{', '.join(name for name in report['equally_near'] if name != report['nearest']) or 'none'}.",
        *(_ANATOMY if report["anatomy_at_low_frequencies"] else ()),
        "",
        "| noise | SD, HU | mean frequency, 1-D | mean frequency, 2-D | peak | distance |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in report["rows"].items():
        lines.append(
            f"| {name} | {row['sd']:.1f} | {row['mean_frequency']:.3f} | {row['mean_frequency_2d']:.3f} "
            f"| {row['peak_frequency']:.3f} | {row['distance']:.2f} |"
        )
    lines += [
        "",
        "Scanners' kernels, by the spectra measured on them, at these pixels; their mean frequencies below Nyquist. "
        f"Nearest: **{report['nearest_kernel']}**.",
        "",
        "| kernel | mean frequency, 1-D | distance |",
        "|---|---|---|",
        *(f"| {name} | {k['mean_frequency']:.3f} | {k['distance']:.2f} |" for name, k in report["kernels"].items()),
    ]
    return "\n".join([*lines, "", advice(report)]) + "\n"
