"""The parameter node: what the user has chosen in the panel, saved and restored with the scene."""

import enum
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


class Device(enum.Enum):
    """Where to compute. To list what is really there would load torch into Slicer; the child process looks instead."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    def label(self) -> str:
        """Return the text in the panel."""
        return {
            Device.AUTO: _("Automatic"),
            Device.CPU: _("CPU"),
            Device.CUDA: _("NVIDIA or AMD GPU (CUDA)"),
            Device.MPS: _("Apple GPU"),
        }[self]


@parameterNodeWrapper
class MedDenoiseParameterNode:
    """The parameters of the module.

    inputVolume - the CT volume to denoise.
    outputVolume - the volume that takes the result; none: a new one.
    model - name of a shipped model; auto: the one that suits the device.
    weightsFile - path of weights of the user's own, used instead of the model; empty: none.
    strength - percent: 0 as the input, 100 fully denoised; at first the shipped models' default.
    bestQuality - whether the result is the mean over the eight flips and quarter turns of each slice.
    makeUncertainty - whether best quality also makes an uncertainty volume.
    device - where to compute.
    showComparison - whether the comparison opens when a run is done.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    outputVolume: vtkMRMLScalarVolumeNode
    model: str = "auto"
    weightsFile: str = ""
    strength: Annotated[float, WithinRange(0, 100)] = 65
    bestQuality: bool = False
    makeUncertainty: bool = False
    device: Device = Device.AUTO
    showComparison: bool = True


def chosenModel(parameters: MedDenoiseParameterNode) -> str:
    """Return the name of the chosen model, auto, or the path of the user's own weights."""
    return parameters.weightsFile or parameters.model
