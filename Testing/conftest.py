"""Fixtures that all tests share: weights made on the spot, and the real CT beside the project where it is present."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import numpy as np
import pytest

from meddenoise.model_card import Architecture, ModelCard

ROOT = Path(__file__).resolve().parent.parent
# A shell has what it runs in the background ignore Ctrl-C, processes begun there, too; tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def ct_data() -> Path:
    """Return the folder of real CT beside the project; skip where it is absent."""
    folder = ROOT.parent / "shared" / "data" / "ct"
    if not folder.is_dir():
        pytest.skip("the real CT is not beside the project (../shared/data/ct)")
    return folder


@pytest.fixture(scope="session")
def tiny_card() -> ModelCard:
    """Return the card of a tiny untrained network."""
    return ModelCard(
        name="tiny",
        title="Tiny",
        version="0",
        architecture=Architecture("residual-autoencoder", widths=(4, 8), blocks=1),
        hu_per_unit=1000.0,
        summary="Untrained, for tests.",
        licence="Apache-2.0",
        created="2026-01-01",
    )


@pytest.fixture(scope="session")
def tiny_weights(tiny_card: ModelCard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a weights file of a tiny untrained network: real in every respect but its figures."""
    from meddenoise.network import seeded_network
    from meddenoise.weights import save_weights

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, seeded_network(tiny_card.architecture, seed=1), tiny_card)
    return path


@pytest.fixture(scope="session")
def mild_weights(tiny_card: ModelCard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same network under a card whose default strength is 0.35."""
    from meddenoise.network import seeded_network
    from meddenoise.weights import save_weights

    path = tmp_path_factory.mktemp("weights") / "mild.safetensors"
    card = dataclasses.replace(tiny_card, name="mild", default_strength=0.35)
    save_weights(path, seeded_network(tiny_card.architecture, seed=1), card)
    return path


@pytest.fixture
def small_archive(tmp_path: Path) -> Path:
    """Return a folder of six small CT in HU, each of other noise: two DICOM series in one folder, four volume files."""
    from meddenoise.volume_files import Volume, write_volume

    root = tmp_path / "archive"
    for number, name in enumerate(("a/0.nrrd", "a/1.nii.gz", "b/c/2.mha", "3.nrrd")):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_volume(path, Volume(_small_ct(number), spacing=(0.7, 0.7, 2.5)))
    for number in (1, 2):
        _write_small_series(root / "b", number)
    return root


def _small_ct(seed: int) -> np.ndarray:
    """Return four slices of air around soft tissue with noise, (k, j, i), HU."""
    rows, columns = np.mgrid[-1:1:64j, -1:1:64j]
    tissue = np.where(np.hypot(rows, columns) < 0.8, 40.0, -1000.0)
    return (tissue + np.random.default_rng(seed).normal(0, 25, (4, 64, 64))).round().astype(np.int16)


def _write_small_series(folder: Path, number: int) -> None:
    """Write a CT series of four slices as DICOM."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    folder.mkdir(parents=True, exist_ok=True)
    for k, stored in enumerate(_small_ct(100 + number)):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}.{k + 1}"
        values = {
            "SOPClassUID": meta.MediaStorageSOPClassUID,
            "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
            "StudyInstanceUID": "1.2.3",
            "SeriesInstanceUID": f"1.2.3.{number}",
            "FrameOfReferenceUID": "1.2.3.9",
            "PatientID": "P1",
            "PatientName": "Phantom",
            "Modality": "CT",
            "Manufacturer": "None",
            "StudyDate": "20260101",
            "StudyTime": "120000",
            "SeriesNumber": number,
            "SeriesDescription": f"Abdomen 5.0 / {number}",
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "InstanceNumber": k + 1,
            "ImagePositionPatient": [-22.4, -22.4, 2.5 * k],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [0.7, 0.7],
            "SliceThickness": 2.5,
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": 64,
            "Columns": 64,
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 1,
            "RescaleSlope": "1",
            "RescaleIntercept": "0",
            "RescaleType": "HU",
            "PixelData": stored.tobytes(),
        }
        path = folder / f"series{number}-{k}.dcm"
        dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        for name, value in values.items():
            setattr(dataset, name, value)
        dataset.save_as(path, enforce_file_format=True)


@pytest.fixture
def denoised_archive(small_archive: Path, tiny_weights: Path) -> dict[str, np.ndarray]:
    """Return what becomes of each input of the small archive by its place, from the denoiser itself."""
    from meddenoise import Denoiser, read_volume
    from meddenoise.batch.inventory import take_inventory
    from meddenoise.dicom import read_series

    denoiser = Denoiser(tiny_weights, device="cpu", threads=1)
    found = {}
    for entry in take_inventory(small_archive).entries:
        volume = read_volume(entry.source) if isinstance(entry.source, Path) else read_series(entry.source)
        found[entry.place] = denoiser.denoise(volume.array)
    return found
