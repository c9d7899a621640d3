"""The picture of a noise report: one scale for all, the nearest framed, patches free of edges."""

from __future__ import annotations

import numpy as np
import pytest

from meddenoise.metrics import noise_power
from meddenoise_training.noise_plot import PATCH, draw_noise
from meddenoise_training.noise_report import Texture


def texture(name, smoothing, seed):
    """Return white noise, or the mean of neighbours."""
    noise = np.random.default_rng(seed).normal(0, 10, (160, 160)).astype(np.float32)
    for _ in range(smoothing):
        noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1)) / 3
    regions = np.stack([noise[j : j + 40, i : i + 40] for j in (0, 40, 80) for i in (0, 40, 80)])
    return Texture(name, noise, np.full_like(noise, float(noise.std())), noise_power(regions, (0.7, 0.7)))


@pytest.fixture(scope="module")
def figure():
    textures = [texture(name, k, k) for k, name in enumerate(("scan", "a", "b, c", "d", "e"))]
    known = textures[0].noise.copy()
    known[:, :70] = np.nan  # anatomy
    textures[0] = Texture("scan", known, textures[0].sd_map, textures[0].power)
    distances = {t.name: 0.01 * k for k, t in enumerate(textures)}
    drawn = draw_noise(textures, distances, ["a", "b, c"])
    drawn.draw_without_rendering()
    return drawn


def test_the_scan_s_curve_has_one_height_in_all_panels(figure):
    curves = [ax for ax in figure.axes if ax.lines]
    assert len(curves) == 5
    assert len({ax.get_ylim() for ax in curves}) == 1
    assert all(line.get_ydata().max() <= ax.get_ylim()[1] for ax in curves for line in ax.lines)


def test_each_model_has_its_distance_and_those_equally_near_a_frame(figure):
    titles = {ax.get_title(): ax for ax in figure.axes if ax.get_title()}
    assert list(titles) == ["scan", "a\ndistance 0.01", "b,\nc\ndistance 0.02", "d\ndistance 0.03", "e\ndistance 0.04"]
    framed = [title[0] for title, ax in titles.items() if ax.spines["left"].get_linewidth() > 2]
    assert framed == ["a", "b"]


def test_no_panel_is_empty_and_the_patch_keeps_clear_of_anatomy(figure):
    assert all(ax.images or ax.lines or ax.collections for ax in figure.axes)
    patch = figure.axes[0].images[0].get_array()
    assert patch.shape == (PATCH, PATCH)
    assert np.ma.count_masked(patch) == 0
    low, high = figure.axes[0].images[0].get_clim()
    assert np.mean((patch < low) | (patch > high)) < 0.001
