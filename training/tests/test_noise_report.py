"""The noise report: it finds the model that a scan's noise was made with, with and without a reference."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from meddenoise.errors import InputError, OutputError
from meddenoise.phantom import numerical_abdomen
from meddenoise.volume_files import Volume, write_volume
from meddenoise_training.noise.correlated import SHARP, alike, correlated_noise
from meddenoise_training.noise.projection import LowDose, low_dose_noise
from meddenoise_training.noise_report import noise_report

PIXEL = 1.0


def write(path, array):
    write_volume(path, Volume(array.astype(np.float32), (PIXEL, PIXEL, 5.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel())))
    return path


@pytest.fixture(scope="module")
def abdomen():
    return numerical_abdomen(slices=3, size=384).hu.astype(np.float32)


def test_the_model_of_the_noise_is_found_with_a_reference(abdomen, tmp_path):
    made = low_dose_noise(
        torch.from_numpy(abdomen), PIXEL, LowDose(kernel="smooth", views=240), torch.Generator().manual_seed(9)
    )
    full, low = write(tmp_path / "full.nrrd", abdomen), write(tmp_path / "low.nrrd", abdomen + made.numpy())
    report = noise_report(low, tmp_path / "report", reference=full)
    rows = report["rows"]
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


def test_sharp_noise_is_told_from_smooth_without_a_reference(abdomen, tmp_path):
    noise = correlated_noise(torch.full((3,), 30.0), alike(SHARP, 3), 384, 384, torch.Generator().manual_seed(2))[
        :, 0
    ].numpy()
    rows = noise_report(write(tmp_path / "scan.nrrd", abdomen + noise), tmp_path / "report")["rows"]
    assert rows["correlated, sharp"]["distance"] < 0.5 * rows["correlated, smooth"]["distance"]
    assert rows["scan, flattest regions"]["mean_frequency"] == pytest.approx(0.32, abs=0.025)
    assert rows["scan, flattest regions"]["sd"] == pytest.approx(30, rel=0.15)


def test_scans_that_cannot_be_compared_are_refused(abdomen, tmp_path):
    scan = write(tmp_path / "scan.nrrd", abdomen)
    with pytest.raises(InputError, match="one grid"):
        noise_report(scan, tmp_path / "a", reference=write(tmp_path / "other.nrrd", abdomen[:2]))
    with pytest.raises(InputError, match="soft tissue"):
        noise_report(write(tmp_path / "air.nrrd", np.full_like(abdomen, -1000)), tmp_path / "b")
    assert not (tmp_path / "a").exists()
