"""A small archive of CT made on the spot, as DICOM and prepared, for all training tests."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from meddenoise.model_card import Architecture, ModelCard
from meddenoise.network import seeded_network
from meddenoise.weights import save_weights
from meddenoise_training.benchmark.cases import Case, truth_cases
from meddenoise_training.prepare import prepare

CT = "1.2.840.10008.5.1.4.1.1.2"
SIZE = 64
SOURCES = """
[[collection]]
name = "Thin"
licence = "CC BY 4.0"
doi = "10.0/thin"
folders = ["thin*"]
[[collection]]
name = "Thick"
licence = "CC BY 3.0"
doi = "10.0/thick"
folders = ["thick*"]
"""

WriteSlice = Callable[..., Path]
# A shell has what it runs in the background ignore Ctrl-C, processes begun there, too; tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def write_slice() -> WriteSlice:
    """Return a function that writes a CT file: stored values, patient, series, position in mm, other elements."""

    def write(path: Path, stored: np.ndarray, patient: str, series: str, z: float, **changes: Any) -> Path:
        values = {
            "SOPClassUID": CT,
            "SOPInstanceUID": generate_uid(),
            "Modality": "CT",
            "PatientID": patient,
            "SeriesInstanceUID": series,
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "ImagePositionPatient": [0, 0, z],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [0.75, 0.75],
            "SliceThickness": 1,
            "ConvolutionKernel": "STANDARD",
            "KVP": 120,
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": stored.shape[0],
            "Columns": stored.shape[1],
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": int(stored.dtype.kind == "i"),
            "RescaleSlope": "1",
            "RescaleIntercept": "-1024",
            "PixelData": stored.tobytes(),
            **changes,
        }
        dataset = Dataset()
        for name, value in values.items():
            if value is not None:
                setattr(dataset, name, value)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.MediaStorageSOPClassUID = CT
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path.parent.mkdir(parents=True, exist_ok=True)
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        return path

    return write


@pytest.fixture(scope="session")
def tissue() -> Callable[[int, float], np.ndarray]:
    """Return a function of seed and noise SD: stored values of a disc of 50 HU with a denser one in it, in air."""

    def make(seed: int, noise_sd: float) -> np.ndarray:
        y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
        hu = np.where(np.hypot(x, y) < 0.47 * SIZE, 50.0, -1000.0)
        hu[np.hypot(x - 6, y) < 7] = 120.0
        hu += np.random.default_rng(seed).normal(0, noise_sd, hu.shape)
        return np.rint(np.maximum(hu, -1024) + 1024).astype(np.uint16)

    return make


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory, write_slice: WriteSlice, tissue) -> Path:
    """Return a folder: train has a thin series and a thick one of other patients, validation and test one each."""
    root = tmp_path_factory.mktemp("archive")
    for k in range(13):
        write_slice(root / f"train/thin-a/{k:02}.dcm", tissue(k, 30), "HOSPITAL-1", "1.1", 40 - 1.0 * k)
    for k in range(3):
        path = root / f"train/thick-b/{k}.dcm"
        write_slice(path, tissue(50 + k, 10), "HOSPITAL-2", "1.2", 5.0 * k, SliceThickness=5)
    for number, split in ((3, "validation"), (4, "test")):
        for k in range(3):
            path = root / f"{split}/thick-{number}/{k}.dcm"
            write_slice(path, tissue(number * 100 + k, 8), f"HOSPITAL-{number}", f"1.{number}", 1.0 * k)
    (root / "sources.toml").write_text(SOURCES)
    return root


@pytest.fixture(scope="session")
def prepared(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the archive prepared, slabs of 5 mm, with 20 synthetic slices."""
    folder = tmp_path_factory.mktemp("work") / "prepared"
    prepare(archive, folder, slab_mm=5.0, synthetic=20, sources=archive / "sources.toml", report=lambda _: None)
    return folder


@pytest.fixture(scope="session")
def truth() -> Case:
    """Return a small numerical abdomen as a case of the benchmark."""
    return truth_cases(size=256, seeds=(1,))[0]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Return untrained weights of a tiny network that looks at one slice."""
    return _untrained(tmp_path / "tiny.safetensors", slices=1)


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Return such weights that look at three slices."""
    return _untrained(tmp_path / "three.safetensors", slices=3)


def _untrained(path: Path, *, slices: int) -> Path:
    architecture = Architecture("residual-autoencoder", widths=(4, 8), blocks=1, slices=slices)
    card = ModelCard(path.stem, path.stem.title(), "1", architecture, 1000.0, "For tests.", "none", "2026-01-01")
    save_weights(path, seeded_network(architecture, 0), card)
    return path
