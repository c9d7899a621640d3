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
from scipy.ndimage import gaussian_filter, median_filter, uniform_filter

from meddenoise import read_volume
from meddenoise.errors import InputError, OutputError
from meddenoise.metrics import NoisePower, noise_power, regions_inside
from meddenoise.tissue_windows import flattest
from meddenoise.volume_files import Volume
from meddenoise_training.noise.correlated import SHARP, SMOOTH, STREAKED, Kernel, alike, correlated_noise
from meddenoise_training.noise.gaussian import gaussian_noise
from meddenoise_training.noise.projection import KERNELS, SOFT_TISSUE_HU, LowDose, low_dose_noise
from meddenoise_training.noise.quantum import quantum_noise

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
PATCH = 128


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
        _, theirs = measured.compared()
        return {
            "sd": math.sqrt(self.power.variance),
            "mean_frequency": float((f * p).sum() / p.sum()),
            "mean_frequency_2d": float((f * f * p).sum() / (f * p).sum()),
            "peak_frequency": float(f[np.argmax(p)]),
            "distance": float(np.abs(p / p.sum() - theirs / theirs.sum()).sum() / 2),
        }

    def compared(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the frequencies that are compared, cycles/pixel, and the radial NPS there."""
        f = self.power.frequency * self.power.spacing[0]
        return f[f >= LOWEST_FREQUENCY], self.power.profile[f >= LOWEST_FREQUENCY]


def noise_report(scan: Path, target: Path, *, reference: Path | None = None, seed: int = 0) -> dict[str, Any]:
    """Compare the noise models with a scan and write ``noise.png``, ``noise.json`` and ``noise.md`` into a folder.

    :param scan: DICOM folder or volume file, HU.
    :param target: new or empty folder.
    :param reference: the same scan at a higher dose: the difference is noise alone, anatomy gone. Without it the
        flattest regions of soft tissue are taken.
    :returns: the content of ``noise.json``.
    :raises InputError: when there is too little soft tissue, or the two scans do not fit.
    :raises OutputError: when the folder is not empty or cannot be written.
    """
    if target.exists() and any(target.iterdir()):
        raise OutputError(f"{target} is not empty; choose another folder.")
    volume = read_volume(scan)
    other = read_volume(reference) if reference is not None else None
    anatomy, measured, cut = _measured(volume, other)
    sd = math.sqrt(measured.power.variance)
    textures = [measured]
    for name, make in _models(anatomy, float(volume.spacing[0]), sd, seed).items():
        noise = make()
        textures.append(_texture(name, noise, cut(noise), volume))
    rows = {t.name: {k: round(v, 3) for k, v in t.figures(measured).items()} for t in textures}
    nearest = min((name for name in rows if name != measured.name), key=lambda name: rows[name]["distance"])
    report = {
        "scan": scan.name,
        "reference": reference.name if reference is not None else None,
        "pixel_mm": float(volume.spacing[0]),
        "seed": seed,
        "nearest": nearest,
        "rows": rows,
    }
    try:
        target.mkdir(parents=True, exist_ok=True)
        (target / "noise.json").write_text(json.dumps(report, indent=1), "utf-8")
        (target / "noise.md").write_text(_table(report), "utf-8")
        _plot(textures, target / "noise.png")
    except OSError as error:
        raise OutputError(f"The report cannot be written to {target}: {error.strerror or error}.") from error
    return report


Cut = Callable[[Floats], npt.NDArray[Any]]


def _measured(volume: Volume, reference: Volume | None) -> tuple[Floats, Texture, Cut]:
    """Return the slices that models are applied to, the noise measured, and how regions are cut from noise."""
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
    smooth = np.stack([median_filter(s, 5) for s in clean])
    soft = (smooth > SOFT_TISSUE_HU[0]) & (smooth < SOFT_TISSUE_HU[1])
    source = noise if reference is not None else hu
    regions = regions_inside(source, soft, side)
    keep = np.arange(len(regions))
    if reference is None and len(regions):
        keep = flattest(regions, FLATTEST_SHARE, FEWEST_REGIONS)
    if len(keep) < FEWEST_REGIONS:
        raise InputError(
            f"Only {len(keep)} regions of {side} x {side} pixels lie in soft tissue; give a scan of the abdomen."
        )

    def cut(field: Floats) -> npt.NDArray[Any]:
        return regions_inside(field, soft, side)[keep]

    name = "scan minus reference" if reference is not None else "scan, flattest regions"
    told = None if reference is not None else soft[len(soft) // 2]
    return clean, _texture(name, noise, regions[keep], volume, told), cut


def _texture(
    name: str,
    noise: Floats,
    regions: npt.NDArray[Any],
    volume: Volume,
    told: npt.NDArray[np.bool_] | None = None,
) -> Texture:
    """Make the texture of noise (k, j, i); ``told``: where in the middle slice it can be told from anatomy, (j, i)."""
    field = noise[len(noise) // 2]
    where = np.ones_like(field) if told is None else told.astype(np.float32)
    share = uniform_filter(where, MAP_WINDOW)
    mean, square = (uniform_filter(where * f, MAP_WINDOW) / np.maximum(share, 1e-6) for f in (field, field**2))
    local = np.where(share > 0.5, np.sqrt(np.maximum(square - mean**2, 0)), np.nan)
    power = noise_power(regions, (float(volume.spacing[1]), float(volume.spacing[0])))
    return Texture(name, np.where(where > 0, field, np.nan), local, power)


def _models(anatomy: Floats, pixel: float, sd: float, seed: int) -> dict[str, Callable[[], Floats]]:
    """Return how the noise of each model is made for these slices, (k, j, i) HU, of that SD in soft tissue."""
    hu = torch.from_numpy(anatomy)
    n, height, width = hu.shape
    soft = (hu > SOFT_TISSUE_HU[0]) & (hu < SOFT_TISSUE_HU[1])
    level = torch.full((n,), sd)

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    def shaped(kernel: Kernel) -> Callable[[], Floats]:
        return lambda: correlated_noise(level, alike(kernel, n), height, width, seeded())[:, 0].numpy()

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
        **{f"projection, {kernel}": projected(kernel) for kernel in KERNELS},
    }


def _table(report: dict[str, Any]) -> str:
    lines = [
        f"# Noise of {report['scan']}",
        "",
        f"Frequencies in cycles/pixel, from {LOWEST_FREQUENCY} up; a pixel is {report['pixel_mm']:.3f} mm. "
        "Distance: half the integral of the "
        "difference of the radial spectra, 0 the same, 1 nothing in common. "
        f"Nearest: **{report['nearest']}**.",
        "",
        "| noise | SD, HU | mean frequency, 1-D | mean frequency, 2-D | peak | distance |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in report["rows"].items():
        lines.append(
            f"| {name} | {row['sd']:.1f} | {row['mean_frequency']:.3f} | {row['mean_frequency_2d']:.3f} "
            f"| {row['peak_frequency']:.3f} | {row['distance']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _densest(noise: Floats) -> tuple[int, int]:
    """Return where the patch begins that holds most noise told from anatomy: the middle, where that is everywhere."""
    known = uniform_filter(np.isfinite(noise).astype(np.float32), PATCH)
    middle = (noise.shape[0] // 2, noise.shape[1] // 2)
    centre = middle if known[middle] > 0.999 else np.unravel_index(int(np.argmax(known)), known.shape)
    j, i = (max(0, min(int(c) - PATCH // 2, n - PATCH)) for c, n in zip(centre, noise.shape, strict=True))
    return j, i


def _plot(textures: list[Texture], path: Path) -> None:
    """Draw a row of each: a patch, the SD map, the spectrum with the measured one behind it."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    measured = textures[0]
    sd = math.sqrt(measured.power.variance)
    figure, axes = plt.subplots(3, len(textures), figsize=(1.9 * len(textures), 6.2), layout="constrained")
    for column, texture in zip(axes.T, textures, strict=True):
        j, i = _densest(texture.noise)
        column[0].imshow(texture.noise[j : j + PATCH, i : i + PATCH], cmap="gray", vmin=-3 * sd, vmax=3 * sd)
        column[0].set_title(texture.name.replace(", ", ",\n"), fontsize=9)
        shown = column[1].imshow(texture.sd_map, cmap="viridis", vmin=0, vmax=1.8 * sd)
        for axis in column[:2]:
            axis.set_axis_off()
        for one, colour, width in ((measured, "0.6", 3), (texture, "C0", 1.5)):
            f, power = one.compared()
            column[2].plot(f, power / power.sum(), colour, lw=width)
        column[2].set_yticks([])
        column[2].set_xlim(0, 0.5)
        column[2].set_xlabel("cycles/pixel", fontsize=8)
        column[2].tick_params(labelsize=8)
    axes[0, 0].text(
        -0.1, 0.5, f"patch, ±{3 * sd:.0f} HU", transform=axes[0, 0].transAxes, rotation=90, va="center", ha="right"
    )
    axes[1, 0].text(-0.1, 0.5, "local SD", transform=axes[1, 0].transAxes, rotation=90, va="center", ha="right")
    axes[2, 0].set_ylabel("NPS (grey: scan)")
    figure.colorbar(shown, ax=axes[1, -1], label="HU", fraction=0.08)
    figure.savefig(path, dpi=90)
    plt.close(figure)
