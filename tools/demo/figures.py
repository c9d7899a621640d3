"""The demo's figures: against the truth where there is one, and what was taken away; as a table, JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise import estimate_noise
from meddenoise.metrics import ABDOMEN, bias, psnr, rmse, ssim
from meddenoise.phantom import Phantom

FILES = ("figures.json", "figures.md")
Array = npt.NDArray[Any]
#: The body without lungs and gas, and without table and air.
BODY_ABOVE_HU = -200


@dataclass(frozen=True)
class Figure:
    """One figure of the noisy and of the denoised volume."""

    name: str
    unit: str
    noisy: float
    denoised: float


def noise_levels(noisy: Array, denoised: Array) -> list[Figure]:
    """Return the blind estimate of the noise of both volumes, (k, j, i) in HU."""
    return [Figure("noise, estimated", "HU", estimate_noise(noisy), estimate_noise(denoised))]


def against_truth(truth: Array, noisy: Array, denoised: Array) -> list[Figure]:
    """Return how far both volumes are from the truth; all (k, j, i) in HU."""
    body = truth > BODY_ABOVE_HU
    return [
        Figure("PSNR, C50/W400", "dB", psnr(truth, noisy, ABDOMEN), psnr(truth, denoised, ABDOMEN)),
        Figure("SSIM, C50/W400", "", ssim(truth, noisy, ABDOMEN), ssim(truth, denoised, ABDOMEN)),
        Figure("RMSE in the body", "HU", rmse(truth, noisy, body), rmse(truth, denoised, body)),
    ]


def bias_by_organ(phantom: Phantom, noisy: Array, denoised: Array) -> list[Figure]:
    """Return the mean error inside each organ, away from its edges."""
    masks = {organ: phantom.labels == label for organ, label in phantom.organs.items()}
    return [
        Figure(organ, "HU", bias(phantom.hu, noisy, mask), bias(phantom.hu, denoised, mask))
        for organ, mask in masks.items()
        if mask.any()
    ]


def taken_away_in_the_body(noisy: Array, denoised: Array) -> dict[str, float]:
    """Return statistics of noisy minus denoised in the body, HU: the sign of the module's difference view."""
    body = noisy > BODY_ABOVE_HU
    if not body.any():
        body = np.ones(noisy.shape, bool)
    taken = noisy[body].astype(np.float64) - denoised[body]
    low, median, high = np.percentile(taken, (1, 50, 99))
    return {
        "mean": float(taken.mean()),
        "SD": float(taken.std()),
        "median": float(median),
        "1st percentile": float(low),
        "99th percentile": float(high),
    }


def table(figures: Sequence[Figure], before: str) -> str:
    """Return figures as aligned text.

    :param before: what the volume before is called.
    """
    lines = [f"  {'':<24}{before:>10}{'denoised':>10}"]
    lines += [f"  {_named(f):<24}{_rounded(f.noisy, f.unit):>10}{_rounded(f.denoised, f.unit):>10}" for f in figures]
    return "\n".join(lines)


def write_figures(
    folder: Path,
    run: dict[str, str],
    figures: Sequence[Figure],
    organs: Sequence[Figure],
    taken: dict[str, float],
    before: str,
) -> None:
    """Write the :data:`FILES`.

    :param run: what was done with what.
    :param organs: bias by organ; empty without a truth.
    :param taken: statistics of what was taken away.
    :param before: what the volume before is called.
    """
    title = f"{before.capitalize()} minus denoised, in the body"
    everything = {
        "run": run,
        "figures": [asdict(f) for f in figures],
        "bias by organ": [asdict(f) for f in organs],
        f"{title}, HU": taken,
    }
    text = ["# Figures of the demo", "", *(f"- {name}: {value}" for name, value in run.items())]
    text += _markdown("Figures", figures, before)
    if organs:
        text += _markdown("Bias by organ (mean of the error inside the organ)", organs, before)
    text += ["", f"## {title}", ""]
    text += [f"- {name}: {value:.2f} HU" for name, value in taken.items()]
    (folder / FILES[0]).write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")
    (folder / FILES[1]).write_text("\n".join(text) + "\n", encoding="utf-8")


def _markdown(title: str, figures: Sequence[Figure], before: str) -> list[str]:
    return [
        "",
        f"## {title}",
        "",
        f"| | {before} | denoised |",
        "|---|---:|---:|",
        *(f"| {_named(f)} | {_rounded(f.noisy, f.unit)} | {_rounded(f.denoised, f.unit)} |" for f in figures),
    ]


def _named(figure: Figure) -> str:
    return f"{figure.name} ({figure.unit})" if figure.unit else figure.name


def _rounded(value: float, unit: str) -> str:
    return f"{value:.2f}" if unit else f"{value:.3f}"
