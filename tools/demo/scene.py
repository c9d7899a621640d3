"""A real MRML scene without the Slicer application: volumes in, the module's logic on them, files out."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.volume_files import Volume

ROOT = Path(__file__).resolve().parent.parent.parent


def start_slicer() -> None:
    """Give ``slicer`` (slicer-core) a scene and an application, and load the MedDenoise module into it."""
    sys.path.insert(0, str(ROOT / "Testing"))
    import standin

    standin.install(qt=False)
    standin.load_module(str(ROOT / "MedDenoise" / "MedDenoise.py"))


def add_volume(name: str, volume: Volume) -> Any:
    """Add a CT volume to the scene, in its place.

    :returns: the vtkMRMLScalarVolumeNode, with a display node.
    """
    import slicer.util

    matrix = slicer.util.vtkMatrixFromArray(ijk_to_ras(volume))
    node = slicer.util.addVolumeFromArray(volume.array, ijkToRAS=matrix, name=name)
    node.CreateDefaultDisplayNodes()
    return node


def denoise(node: Any, model: str) -> Any:
    """Run the module's own logic on a volume node, as its panel or a script in Slicer does.

    :returns: the node of the denoised volume.
    """
    import slicer

    # The file MedDenoise.py as loaded into slicer; to static tools the name is the folder around it.
    logic = importlib.import_module("MedDenoise").MedDenoiseLogic()
    result = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "denoised")
    logic.process(node, result, model=model)
    return result


def add_difference(noisy: Any, denoised: Any) -> Any:
    """Add what was taken away, noisy minus denoised in HU, as the module's own comparison does.

    :returns: its vtkMRMLScalarVolumeNode, in diverging colours around 0.
    """
    return importlib.import_module("MedDenoiseLib.compare").updateDifference(noisy, denoised)


def values(node: Any) -> npt.NDArray[Any]:
    """Return the voxels of a volume node, (k, j, i), HU."""
    import slicer.util

    return np.asarray(slicer.util.arrayFromVolume(node))


def save(node: Any, path: Path) -> None:
    """Save a volume node by its storage node, as Slicer does.

    :raises OSError: when it cannot be written.
    """
    node.AddDefaultStorageNode(str(path))
    storage = node.GetStorageNode()
    storage.SetFileName(str(path))
    if not storage.WriteData(node):
        raise OSError(f"{path} cannot be written.")


def provenance(node: Any) -> dict[str, str]:
    """Return what the module wrote on a result: model, strength, device, ..."""
    names = [name for name in node.GetAttributeNames() if name.startswith("MedDenoise.")]
    return {name.removeprefix("MedDenoise."): node.GetAttribute(name) for name in names}


def ijk_to_ras(volume: Volume) -> npt.NDArray[np.float64]:
    """Return the 4 x 4 matrix from voxel indices (i, j, k) to RAS in mm: x and y change sign from LPS."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(volume.direction, (3, 3)) * volume.spacing
    matrix[:3, 3] = volume.origin
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix
