"""Validation: what networks are shown on validation slices."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from meddenoise.intensity import HU_PER_UNIT
from meddenoise_training.manifest import MANIFEST_NAME
from meddenoise_training.validation import NOISE_SD_HU, Validation


class Watching(nn.Module):
    """The identity of the middle slice; keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.seen: list[np.ndarray] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(HU_PER_UNIT * x[0].numpy())
        return x[:, 1:2] * self.scale


@pytest.mark.parametrize(("thickness", "shared"), [(1.0, 0.0), (2.0, 0.5)])
def test_neighbours_of_validation_slices_share_noise_as_they_overlap(prepared, tmp_path, thickness, shared):
    folder = shutil.copytree(prepared, tmp_path / "prepared")
    manifest = json.loads((folder / MANIFEST_NAME).read_text("utf-8"))
    scanned = [entry for entry in manifest["splits"]["validation"] if entry["kind"] != "synthetic"]
    for entry in scanned:
        assert entry["spacing_mm"] == 1.0
        entry["thickness_mm"] = thickness
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest), "utf-8")
    network = Watching()
    reference = np.load(folder / "validation" / scanned[0]["file"]).astype(np.float64)
    (figures, *_) = Validation(folder, "validation", 3, entrance=3).figures(network)
    assert figures.rmse == pytest.approx(NOISE_SD_HU, rel=0.1)
    middle = next(seen for seen in network.seen if np.allclose(seen, reference, atol=8 * NOISE_SD_HU))
    noise = (middle - reference).reshape(3, -1)
    assert noise.std(axis=1) == pytest.approx([NOISE_SD_HU] * 3, rel=0.1)
    assert np.corrcoef(noise)[0, 1] == pytest.approx(shared, abs=0.06)
    assert np.corrcoef(noise)[0, 2] == pytest.approx(0, abs=0.06)
