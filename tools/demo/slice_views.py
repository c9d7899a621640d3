"""Slicer's own slice views as pictures: slice logic, slice node and composite node of MRML, the blended layers out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.metrics import Window

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Field:
    """What a slice view shows.

    :param orientation: ``Axial`` or ``Coronal``.
    :param centre: RAS, mm.
    :param extent: across and down, mm.
    """

    orientation: str
    centre: tuple[float, float, float]
    extent: tuple[float, float]


class SliceView:
    """A slice view of the scene."""

    def __init__(self, name: str) -> None:
        import slicer

        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._node = self._logic.AddSliceNode(name)

    def picture(self, volume: Any, field: Field, width: int) -> Picture:
        """Render a volume as the view shows it.

        :param volume: a vtkMRMLScalarVolumeNode with its window, level and colours.
        :param width: of the picture, pixels; the height follows from the field.
        :returns: (rows, columns, 3).
        """
        from vtk.util.numpy_support import vtk_to_numpy

        across, down = field.extent
        height = round(width * down / across)
        getattr(self._node, f"SetOrientationTo{field.orientation}")()
        self._logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        self._node.SetDimensions(width, height, 1)
        self._node.SetFieldOfView(across, down, 1.0)
        self._node.JumpSliceByCentering(*field.centre)
        self._logic.UpdatePipeline()
        producer = self._logic.GetImageDataConnection().GetProducer()
        producer.Update()
        image = producer.GetOutputDataObject(0)
        columns, rows, _ = image.GetDimensions()
        rgba = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, 4)[::-1]
        # Outside of the volume a view shows its black background.
        return np.asarray(rgba[..., :3] * (rgba[..., 3:] > 0), np.uint8)


def show_in_window(volume: Any, window: Window) -> None:
    """Set window and level of a volume, in grey."""
    display = volume.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(window.width, window.centre)
    display.SetInterpolate(True)
