"""The uncertainty volume of a result: where the model disagrees with itself, as a volume node beside the result.

Best quality is the mean of the network's answers to the eight flips and quarter turns of each slice; the uncertainty is
their SD in HU. It is that of the result at full strength, whatever the strength at which the result is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer
import vtk
from slicer.i18n import tr as _

from MedDenoiseLib import volumes

if TYPE_CHECKING:
    import numpy as np

#: Node reference of a result: its uncertainty volume.
VOLUME = "MedDenoise.uncertainty"
#: Node reference and attribute of an uncertainty volume: its result (by reference while it is the same, by name).
RESULT = "MedDenoise.result"
SD_CONTENT = "SD over eight orientations, HU"
#: Black where the model is sure, by red and yellow to white. One of the tables that vtkMRMLColorLogic makes.
COLOURS = "vtkMRMLPETProceduralColorNodePET-Heat"
#: The same for every CT, so that colours can be compared: of a CT with 25 HU of noise, 99 % lie below 7 HU.
WINDOW_HU = 10.0


def volumeOf(outputVolume: Any) -> Any:
    """Return the uncertainty volume of a result; None when it has none.

    Both must refer to each other: a clone of either has the references, too, and belongs to nobody.
    """
    volume = outputVolume.GetNodeReference(VOLUME)
    if volume is None or volume.GetNodeReferenceID(RESULT) != outputVolume.GetID():
        return None
    return volume


def deliver(inputVolume: Any, outputVolume: Any, spread: np.ndarray | None) -> None:
    """Put the uncertainty of a result that was just delivered into the scene.

    :param spread: (k, j, i), float32, HU; with None, an uncertainty volume of what the output held before is kept, and
        does not claim any longer to be that of the output.
    """
    volume = volumeOf(outputVolume)
    if spread is None:
        if volume is not None:
            volume.SetAttribute(RESULT, _("{name}, denoised anew since").format(name=outputVolume.GetName()))
            volume.RemoveNodeReferenceIDs(RESULT)
        outputVolume.RemoveNodeReferenceIDs(VOLUME)
        return
    with slicer.util.RenderBlocker():
        if volume is None:
            volume = volumes.volumeLike(inputVolume, _("{name} uncertainty").format(name=outputVolume.GetName()))
            volumes.display(volume, COLOURS, WINDOW_HU, WINDOW_HU / 2)
        else:
            volumes.placeAs(inputVolume, volume)
        with slicer.util.NodeModify(volume):
            volumes.setVoxels(volume, spread, vtk.VTK_FLOAT)
            outputVolume.SetNodeReferenceID(VOLUME, volume.GetID())
            volume.SetNodeReferenceID(RESULT, outputVolume.GetID())
            for attribute in outputVolume.GetAttributeNames():
                if attribute.startswith("MedDenoise."):
                    volume.SetAttribute(attribute, outputVolume.GetAttribute(attribute))
            volume.SetAttribute(volumes.STRENGTH, "1")
            volume.SetAttribute(volumes.CONTENT, SD_CONTENT)
            volume.SetAttribute(RESULT, outputVolume.GetName())
