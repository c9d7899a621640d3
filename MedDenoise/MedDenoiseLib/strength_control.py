"""The strength of a finished result: input and full result blended anew, without a second run.

The full-strength result is kept in memory beside the scene, one array a result (a 512 x 512 x 300 CT: 150 MB), because
the volume in the scene holds the blend. It goes when its volume goes, when the scene is closed, and with the module.
The input is not kept: the node in the scene is read again, and if it changed since, the strength cannot be changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from MedDenoiseLib import volumes

if TYPE_CHECKING:
    import numpy as np


@dataclass
class _Kept:
    inputID: str
    inputTime: int
    outputTime: int
    denoised: np.ndarray


class StrengthControl:
    """Keeps full-strength results by the ID of their volume and blends them."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def keep(self, outputVolume: Any, denoised: np.ndarray) -> None:
        """Keep the full-strength result of a volume that was just delivered."""
        self._kept = {nodeID: kept for nodeID, kept in self._kept.items() if slicer.mrmlScene.GetNodeByID(nodeID)}
        inputVolume = outputVolume.GetNodeReference(volumes.SOURCE)
        self._kept[outputVolume.GetID()] = _Kept(
            inputVolume.GetID(), volumes.voxelsTime(inputVolume), volumes.voxelsTime(outputVolume), denoised
        )

    def forget(self, nodeID: str) -> None:
        """Drop what is kept for a volume that goes, or whose input goes."""
        self._kept = {outputID: kept for outputID, kept in self._kept.items() if nodeID not in (outputID, kept.inputID)}

    def clear(self) -> None:
        """Drop everything."""
        self._kept.clear()

    def holds(self, outputVolume: Any) -> bool:
        """Return whether the full-strength result of this volume is kept."""
        return outputVolume is not None and outputVolume.GetID() in self._kept

    def isEdited(self, outputVolume: Any) -> bool:
        """Return whether somebody else has changed this result since, as far as is known here."""
        kept = self._kept.get(outputVolume.GetID()) if outputVolume is not None else None
        if kept is None:
            return False
        return outputVolume.GetImageData() is None or volumes.voxelsTime(outputVolume) != kept.outputTime

    def problem(self, outputVolume: Any) -> str:
        """Return one sentence on why the strength of this result cannot be changed; empty when it can."""
        kept = self._kept.get(outputVolume.GetID()) if outputVolume is not None else None
        if kept is None:
            return _("The strength takes effect when you denoise.")
        inputVolume = slicer.mrmlScene.GetNodeByID(kept.inputID)
        if inputVolume is None or inputVolume.GetImageData() is None:
            return _("The input of this result is gone; its strength stays as it is.")
        if volumes.voxelsTime(inputVolume) != kept.inputTime:
            return _("'{name}' has changed since; denoise it again.").format(name=inputVolume.GetName())
        if self.isEdited(outputVolume):
            return _("'{name}' has been edited; its strength stays as it is.").format(name=outputVolume.GetName())
        return ""

    def apply(self, outputVolume: Any, strength: float) -> None:
        """Blend a result anew, in its own memory.

        :param strength: 0 to 1.
        :raises meddenoise.errors.InputError: when that is not possible, see :meth:`problem`.
        """
        from meddenoise.errors import InputError
        from meddenoise.strength import blend

        problem = self.problem(outputVolume)
        if problem:
            raise InputError(problem)
        kept = self._kept[outputVolume.GetID()]
        original = volumes.voxels(slicer.mrmlScene.GetNodeByID(kept.inputID))
        blend(original, kept.denoised, strength, out=volumes.voxels(outputVolume))
        outputVolume.SetAttribute(volumes.STRENGTH, f"{strength:g}")
        volumes.voxelsModified(outputVolume)
        kept.outputTime = volumes.voxelsTime(outputVolume)
