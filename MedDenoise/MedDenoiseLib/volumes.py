"""MRML volume <-> array: which volumes can be denoised, and the result as a volume node in its proper place.

A result lies on the grid of its input, sample for sample (nothing is ever resampled), under the same transform, beside
it in the subject hierarchy, at the same window and level, and says in its attributes how it came about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

if TYPE_CHECKING:
    import numpy as np

    from meddenoise.worker_client import WorkerResult

#: Node reference and attribute: the volume that was denoised (by reference while it exists, by name for ever).
SOURCE = "MedDenoise.source"
MODEL = "MedDenoise.model"
STRENGTH = "MedDenoise.strength"
QUALITY = "MedDenoise.quality"
PRECISION = "MedDenoise.precision"
#: What a volume holds that was made with a result and is no CT.
CONTENT = "MedDenoise.content"


def checkInput(volumeNode: Any) -> None:
    """Check that a volume can be denoised.

    :raises meddenoise.errors.InputError: with one sentence that says why not.
    """
    from meddenoise.errors import InputError

    if volumeNode is None:
        raise InputError(_("Choose the CT volume to denoise."))
    name = volumeNode.GetName()
    if not volumeNode.IsA("vtkMRMLVolumeNode"):
        raise InputError(_("'{name}' is not a volume; choose a CT volume.").format(name=name))
    if volumeNode.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(_("'{name}' is a label map, not an image; choose a CT volume.").format(name=name))
    image = volumeNode.GetImageData()
    if image is not None and image.GetNumberOfScalarComponents() > 1:
        raise InputError(
            _("'{name}' has colours or several values in each voxel; choose a CT volume.").format(name=name)
        )
    if volumeNode.GetClassName() != "vtkMRMLScalarVolumeNode":
        raise InputError(_("'{name}' is not a plain scalar volume; choose a CT volume.").format(name=name))
    if volumeNode.GetAttribute(CONTENT) is not None:
        raise InputError(_("'{name}' is an uncertainty volume; choose a CT volume.").format(name=name))
    if image is None or image.GetPointData().GetScalars() is None or image.GetNumberOfPoints() == 0:
        raise InputError(_("'{name}' has no voxels; load or choose a CT volume.").format(name=name))


def checkOutput(outputVolume: Any, inputVolume: Any) -> None:
    """Check that a volume can take the result.

    :param outputVolume: None stands for a new volume.
    :raises meddenoise.errors.InputError: with one sentence that says why not.
    """
    from meddenoise.errors import InputError

    if outputVolume is None:
        return
    name = outputVolume.GetName()
    if outputVolume.GetID() == inputVolume.GetID():
        raise InputError(
            _("'{name}' is the input; choose another output, so that the original is kept.").format(name=name)
        )
    if outputVolume.GetClassName() != "vtkMRMLScalarVolumeNode":
        raise InputError(_("'{name}' cannot take the result; choose a scalar volume or a new one.").format(name=name))


def mayBeOverwritten(outputVolume: Any, inputVolume: Any) -> bool:
    """Return whether nothing is lost: no volume, an empty one, or an earlier result from the same input."""
    return outputVolume is None or outputVolume.GetImageData() is None or isResultOf(outputVolume, inputVolume)


def isResultOf(outputVolume: Any, inputVolume: Any) -> bool:
    """Return whether a volume was denoised from this input, and lies on its grid still (it may have been cropped)."""
    images = [volume.GetImageData() if volume is not None else None for volume in (inputVolume, outputVolume)]
    if None in images or images[0].GetDimensions() != images[1].GetDimensions():
        return False
    return outputVolume.GetNodeReferenceID(SOURCE) == inputVolume.GetID()


def isResultOfOtherModel(outputVolume: Any, inputVolume: Any, models: set[str]) -> bool:
    """Return whether a volume is a result of this input, but of none of these models."""
    return isResultOf(outputVolume, inputVolume) and outputVolume.GetAttribute(MODEL) not in (None, *models)


def voxels(volumeNode: Any) -> np.ndarray:
    """Return the volume's own memory, not a copy: (k, j, i), in the volume's type."""
    return slicer.util.arrayFromVolume(volumeNode)


def voxelsTime(volumeNode: Any) -> int:
    """Return a number that grows whenever the voxels are changed or replaced."""
    return volumeNode.GetImageData().GetMTime()


def setVoxels(volumeNode: Any, array: np.ndarray, scalarType: int) -> None:
    """Give a volume new voxels.

    ``slicer.util.updateVolumeFromArray`` chooses the type by the array and refuses 64-bit integers; here the volume
    gets exactly the VTK type that is asked for, which is the input's.

    :param array: (k, j, i), of the NumPy type that ``scalarType`` has.
    :param scalarType: as ``vtkImageData.GetScalarType`` says it.
    """
    import vtk
    import vtk.util.numpy_support

    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[2], array.shape[1], array.shape[0])
    image.AllocateScalars(scalarType, 1)
    target = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(array.shape)
    if target.dtype != array.dtype:
        raise TypeError(f"voxels of type {array.dtype} do not fit into a volume of type {target.dtype}")
    target[...] = array
    volumeNode.SetAndObserveImageData(image)


def voxelsModified(volumeNode: Any) -> None:
    """Tell the application that :func:`voxels` were written to."""
    slicer.util.arrayFromVolumeModified(volumeNode)


def deliver(
    inputVolume: Any,
    outputVolume: Any,
    voxelValues: np.ndarray,
    *,
    result: WorkerResult,
    model: str,
    strength: float,
    quality: str = "standard",
) -> Any:
    """Put a result into the scene.

    :param outputVolume: the volume that takes it, None for a new one.
    :param voxelValues: (k, j, i), blended by ``strength`` already, type and shape of the input.
    :param result: what the child process reported, for the attributes.
    :returns: the output volume.
    """
    with slicer.util.RenderBlocker():
        if outputVolume is None:
            outputVolume = volumeLike(inputVolume, _("{name} denoised").format(name=inputVolume.GetName()))
        else:
            placeAs(inputVolume, outputVolume)
        with slicer.util.NodeModify(outputVolume):
            setVoxels(outputVolume, voxelValues, inputVolume.GetImageData().GetScalarType())
            outputVolume.SetNodeReferenceID(SOURCE, inputVolume.GetID())
            for attribute, value in {
                SOURCE: inputVolume.GetName(),
                MODEL: model,
                "MedDenoise.sha256": result.model_sha256,
                STRENGTH: f"{strength:g}",
                QUALITY: quality,
                "MedDenoise.device": result.device,
                PRECISION: result.precision,
                "MedDenoise.version": result.version,
            }.items():
                outputVolume.SetAttribute(attribute, value)
    return outputVolume


def volumeLike(inputVolume: Any, name: str) -> Any:
    """Return a new volume node without voxels: grid, transform, display and place in the hierarchy of another."""
    volume = slicer.modules.volumes.logic().CloneVolumeWithoutImageData(slicer.mrmlScene, inputVolume, name)
    _forgetOrigin(volume)
    roles = [volume.GetNthNodeReferenceRole(index) for index in range(volume.GetNumberOfNodeReferenceRoles())]
    for role in roles:  # the clone has them, of an input that is itself a result
        if role.startswith("MedDenoise."):
            volume.RemoveNodeReferenceIDs(role)
    _copyMeaning(inputVolume, volume)
    _copyWindowLevel(inputVolume, volume)
    _putBeside(inputVolume, volume)
    return volume


def placeAs(inputVolume: Any, volume: Any) -> None:
    """Give a volume that exists already the grid, transform and display of the input."""
    volume.CopyOrientation(inputVolume)
    # CopyOrientation leaves the transform alone, acquisition transforms (gantry tilt, uneven spacing) among them.
    volume.SetAndObserveTransformNodeID(inputVolume.GetTransformNodeID())
    _forgetOrigin(volume)
    _copyMeaning(inputVolume, volume)
    if volume.GetDisplayNode() is None:
        volume.CreateDefaultDisplayNodes()
        _copyWindowLevel(inputVolume, volume)
        if inputVolume.GetDisplayNode() is not None:
            volume.GetDisplayNode().SetAndObserveColorNodeID(inputVolume.GetDisplayNode().GetColorNodeID())
    _putBeside(inputVolume, volume)


def display(volume: Any, coloursID: str, window: float, level: float) -> None:
    """Show a volume that is no CT in colours of its own, without a threshold."""
    if volume.GetDisplayNode() is None:
        volume.CreateDefaultDisplayNodes()
    displayNode = volume.GetDisplayNode()
    with slicer.util.NodeModify(displayNode):
        displayNode.SetAndObserveColorNodeID(coloursID)
        displayNode.SetAutoWindowLevel(False)
        displayNode.SetWindowLevel(window, level)
        displayNode.SetApplyThreshold(False)


def _forgetOrigin(volume: Any) -> None:
    """Drop what would claim that these voxels are the source files' (the clone has it), and traces of other results."""
    for attribute in ("DICOM.instanceUIDs", "DICOM.instanceNumbers"):
        volume.RemoveAttribute(attribute)
    for attribute in list(volume.GetAttributeNames()):
        if attribute.startswith("MedDenoise."):
            volume.RemoveAttribute(attribute)


def _copyMeaning(inputVolume: Any, volume: Any) -> None:
    """Copy what the numbers are (attenuation coefficient) and their unit (HU), which the clone drops."""
    if inputVolume.GetVoxelValueQuantity() is not None:
        volume.SetVoxelValueQuantity(inputVolume.GetVoxelValueQuantity())
    if inputVolume.GetVoxelValueUnits() is not None:
        volume.SetVoxelValueUnits(inputVolume.GetVoxelValueUnits())


def _copyWindowLevel(inputVolume: Any, volume: Any) -> None:
    """Fix window and level at the input's present ones; automatic ones would differ between the two."""
    source, target = inputVolume.GetDisplayNode(), volume.GetDisplayNode()
    if source is not None and target is not None and hasattr(source, "GetWindow"):
        target.SetAutoWindowLevel(False)
        target.SetWindowLevel(source.GetWindow(), source.GetLevel())


def _putBeside(inputVolume: Any, volume: Any) -> None:
    """Move a volume into the input's study or folder."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy is None:
        return
    inputItem, item = hierarchy.GetItemByDataNode(inputVolume), hierarchy.GetItemByDataNode(volume)
    if inputItem and item:  # 0 is the invalid item
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(inputItem))
