"""What the tests of this folder share: volumes as they come from DICOM, a model, and waiting as a user waits."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk

# The child inherits it: tiny slices on several threads crawl where other programs want the processor, too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

MEDDENOISE_FOLDER = Path(slicer.modules.meddenoise.path).parent


def noisyArray(shape: tuple[int, int, int] = (4, 64, 64), dtype: Any = np.int16, seed: int = 0) -> np.ndarray:
    """Return a block of tissue with noise, in HU, in air."""
    rng = np.random.default_rng(seed)
    hu = np.full(shape, -1000.0)
    hu[:, shape[1] // 8 : -shape[1] // 8, shape[2] // 8 : -shape[2] // 8] = 60
    hu += rng.normal(0, 25, shape)
    return np.rint(hu).astype(dtype)


def addCT(array: np.ndarray, name: str = "CT") -> Any:
    """Add a CT volume as the DICOM reader leaves it: oblique, under a transform, in a study, with window and units."""
    from MedDenoiseLib import volumes

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    scalarType = {
        "int16": vtk.VTK_SHORT,
        "uint16": vtk.VTK_UNSIGNED_SHORT,
        "int32": vtk.VTK_INT,
        "int64": vtk.VTK_LONG_LONG,
        "float32": vtk.VTK_FLOAT,
        "float64": vtk.VTK_DOUBLE,
    }[str(array.dtype)]
    volumes.setVoxels(node, array, scalarType)
    matrix = np.array([[-0.8, 0.01, 0.1, 11], [0.01, -0.79, 0.2, -7], [0.1, 0.02, 2.5, 30], [0, 0, 0, 1]])
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevel(350, 45)
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    node.SetVoxelValueQuantity(codedEntry("112031", "DCM", "Attenuation Coefficient"))
    node.SetVoxelValueUnits(codedEntry("[hnsf'U]", "UCUM", "Hounsfield unit"))
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", f"{name} acquisition transform")
    node.SetAndObserveTransformNodeID(transform.GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)
    return node


def codedEntry(value: str, scheme: str, meaning: str) -> Any:
    """Return a coded entry."""
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(value, scheme, meaning)
    return entry


def model() -> str:
    """Return the model to test with: the shipped one for CPUs, or an untrained network where none is shipped yet."""
    from meddenoise.catalogue import default_model, shipped_models
    from MedDenoiseLib import torch_installation

    missing = torch_installation.missingPackages()
    if missing:
        raise unittest.SkipTest(f"{', '.join(missing)} not installed in Slicer")
    if shipped_models():
        return default_model("cpu")
    path = Path(slicer.app.temporaryPath) / "untrained.safetensors"
    if not path.exists():
        from meddenoise.model_card import Architecture, ModelCard
        from meddenoise.network import seeded_network
        from meddenoise.weights import save_weights

        architecture = Architecture("residual-autoencoder", widths=(4, 8), blocks=1)
        card = ModelCard("untrained", "Untrained", "0", architecture, 1000.0, "For tests.", "Apache-2.0", "2026-01-01")
        save_weights(path, seeded_network(architecture, seed=1), card)
    return str(path)


def denoisedByEngine(
    arrays: list[np.ndarray], modelName: str, strength: float | None = None, quality: str = "standard"
) -> list[np.ndarray]:
    """Return what the engine alone makes of arrays, in a process of its own: Slicer is to stay without torch."""
    from MedDenoiseLib import torch_installation

    folder = Path(slicer.app.temporaryPath)
    options = {"quality": quality} if strength is None else {"quality": quality, "strength": strength}
    source, target = folder / "engine-input.npz", folder / "engine-output.npz"
    np.savez(source, *arrays)
    script = (
        f"import sys, numpy; sys.path.insert(0, {str(MEDDENOISE_FOLDER)!r})\n"
        "from meddenoise import Denoiser\n"
        f"denoiser, volumes = Denoiser({modelName!r}, device='cpu', threads=1), numpy.load({str(source)!r})\n"
        f"results = [denoiser.denoise(volumes[name], **{options!r}) for name in volumes.files]\n"
        f"numpy.savez({str(target)!r}, *results)"
    )
    subprocess.run([torch_installation.slicerPython() or sys.executable, "-c", script], check=True, timeout=120)
    with np.load(target) as results:
        return [results[name] for name in results.files]


def waitUntil(condition: Callable[[], bool], seconds: float = 90.0) -> None:
    """Let the application's events through until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"still not so after {seconds} s")
        slicer.app.processEvents()
        time.sleep(0.005)
