"""The noise report: it finds the model that a scan's noise was made with, with and without a reference."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from scipy.ndimage import gaussian_filter

from meddenoise.errors import InputError, OutputError
from meddenoise.phantom import numerical_abdomen
from meddenoise.volume_files import Volume, write_volume
from meddenoise_training import noise_report as noise_report_module
from meddenoise_training.config import load_config, parse_override
from meddenoise_training.noise.correlated import SHARP, SMOOTH, alike, correlated_noise
from meddenoise_training.noise.kernels import SCANNER_KERNELS
from meddenoise_training.noise.projection import LowDose, low_dose_noise
from meddenoise_training.noise_report import advice, noise_report

PIXEL = 1.0


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def write(path, array):
    write_volume(path, Volume(array.astype(np.float32), (PIXEL, PIXEL, 5.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel())))
    return path


@pytest.fixture
def few_views(monkeypatch):
    """Make the projection models of a report quickly, where they are not what is asked."""
    monkeypatch.setattr(noise_report_module, "VIEWS", 40)


@pytest.fixture(scope="module")
def abdomen():
    return numerical_abdomen(slices=3, size=384).hu.astype(np.float32)


def test_the_model_of_the_noise_is_found_with_a_reference(abdomen, tmp_path):
    made = low_dose_noise(
        torch.from_numpy(abdomen), PIXEL, LowDose(kernel="smooth", views=240), torch.Generator().manual_seed(9)
    )
    full, low = write(tmp_path / "full.nrrd", abdomen), write(tmp_path / "low.nrrd", abdomen + made.numpy())
    steps: list[tuple[int, int]] = []
    report = noise_report(low, tmp_path / "report", reference=full, progress=lambda *step: steps.append(step))
    rows = report["rows"]
    assert steps == [(number, steps[0][1]) for number in range(steps[0][1] + 1)]
    assert steps[0][1] > len(rows) - 1, "each model, and the nearest with other seeds"
    assert report["nearest"] == min((n for n in rows if not n.startswith("scan")), key=lambda n: rows[n]["distance"])
    assert report["nearest"].startswith("projection, smooth")
    assert rows["projection, smooth"]["distance"] < 0.5 * rows["white"]["distance"]
    measured = rows["scan minus reference"]
    assert rows["projection, smooth"]["mean_frequency"] == pytest.approx(measured["mean_frequency"], rel=0.05)
    assert rows["projection, smooth"]["sd"] == pytest.approx(measured["sd"], rel=0.2)
    assert json.loads((tmp_path / "report/noise.json").read_text()) == report
    assert "| projection, smooth |" in (tmp_path / "report/noise.md").read_text()
    assert imread(tmp_path / "report/noise.png")[..., :3].std() > 0.05
    with pytest.raises(OutputError, match="not empty"):
        noise_report(low, tmp_path / "report")


def test_sharp_noise_is_told_from_smooth_without_a_reference(abdomen, tmp_path, few_views):
    noise = correlated_noise(torch.full((3,), 30.0), alike(SHARP, 3), 384, 384, torch.Generator().manual_seed(2))[
        :, 0
    ].numpy()
    report = noise_report(write(tmp_path / "scan.nrrd", abdomen + noise), tmp_path / "report")
    rows = report["rows"]
    assert rows["correlated, sharp"]["distance"] < 0.5 * rows["correlated, smooth"]["distance"]
    assert rows["scan, flattest regions"]["mean_frequency"] == pytest.approx(0.32, abs=0.025)
    assert rows["scan, flattest regions"]["sd"] == pytest.approx(30, rel=0.15)
    assert not report["nearest"].startswith("scan")
    neighbours = rows["scan, neighbouring slices"]
    assert neighbours["mean_frequency"] == pytest.approx(0.32, abs=0.025)
    assert neighbours["sd"] == pytest.approx(30, rel=0.1), "of one slice: the difference has sqrt 2 times as much"
    kernels = report["kernels"]
    assert report["nearest_kernel"] == min(kernels, key=lambda name: kernels[name]["distance"])
    assert kernels["B60f"]["distance"] < 0.5 * kernels["B20f"]["distance"], "a sharp kernel is told from a smooth one"
    assert report["nearest"] in report["equally_near"]
    assert "correlated, smooth" not in report["equally_near"]
    assert not report["anatomy_at_low_frequencies"]
    (option,) = re.findall(r'--set "(\S+)"', advice(report))
    assert "correlated noise" in advice(report)
    low, high = load_config(None, dict([parse_override(option)])).noise.mean_frequency
    assert low < kernels[report["nearest_kernel"]]["mean_frequency"] < high
    assert (tmp_path / "report/noise.md").read_text().rstrip().endswith(advice(report))


def test_structure_that_goes_on_from_slice_to_slice_is_not_taken_for_noise(abdomen, tmp_path, few_views):
    """A texture of 20 HU, the same in every slice, and 8 HU of noise: the difference of slices has noise alone."""
    texture = correlated_noise(torch.full((1,), 20.0), alike(SMOOTH, 1), 384, 384, seeded(4))[:, 0].numpy()
    noise = correlated_noise(torch.full((3,), 8.0), alike(SHARP, 3), 384, 384, seeded(5))[:, 0].numpy()
    slices = np.repeat(abdomen[1:2], 3, axis=0) + texture
    rows = noise_report(write(tmp_path / "scan.nrrd", slices + noise), tmp_path / "report")["rows"]
    assert rows["scan, neighbouring slices"]["sd"] == pytest.approx(8, rel=0.1)
    assert rows["scan, neighbouring slices"]["mean_frequency"] == pytest.approx(0.32, abs=0.015)
    assert rows["scan, flattest regions"]["sd"] > 15


def test_anatomy_that_dominates_the_low_frequencies_is_said(abdomen, tmp_path, few_views):
    blobs = gaussian_filter(np.random.default_rng(6).normal(0, 1, abdomen.shape), (0, 4, 4))
    report = noise_report(write(tmp_path / "scan.nrrd", abdomen + 20 * blobs / blobs.std()), tmp_path / "report")
    assert report["anatomy_at_low_frequencies"]
    assert "anatomy" in (tmp_path / "report/noise.md").read_text()


def test_every_model_of_the_package_stands_in_the_report_at_the_level_of_the_scan(abdomen, tmp_path, few_views):
    noise = correlated_noise(torch.full((1,), 20.0), alike(SMOOTH, 1), 384, 384, seeded(3))[:, 0].numpy()
    report = noise_report(write(tmp_path / "scan.nrrd", abdomen[1:2] + noise), tmp_path / "report")
    rows = report["rows"]
    assert "scan, neighbouring slices" not in rows, "there is one slice alone"
    models = {name.split(",")[0] for name in rows if not name.startswith("scan")}
    assert models == {"white", "quantum", "correlated", "projection"}
    assert {name for name in rows if "SD map" in name} == {"correlated, SD map"}
    plain, mapped = rows["correlated, smooth"], rows["correlated, SD map"]
    assert mapped["mean_frequency"] == pytest.approx(plain["mean_frequency"], rel=0.03), "the map leaves the texture"
    assert mapped["sd"] == pytest.approx(20, rel=0.3)
    assert abs(mapped["sd"] / plain["sd"] - 1) > 0.005, "and changes the level from place to place"
    page = (tmp_path / "report/noise.md").read_text()
    assert all(f"| {name} |" in page for name in (*rows, *SCANNER_KERNELS))


def test_scans_that_cannot_be_compared_are_refused(abdomen, tmp_path):
    scan = write(tmp_path / "scan.nrrd", abdomen)
    with pytest.raises(InputError, match="one grid"):
        noise_report(scan, tmp_path / "a", reference=write(tmp_path / "other.nrrd", abdomen[:2]))
    with pytest.raises(InputError, match="soft tissue"):
        noise_report(write(tmp_path / "air.nrrd", np.full_like(abdomen, -1000)), tmp_path / "b")
    assert not (tmp_path / "a").exists()
