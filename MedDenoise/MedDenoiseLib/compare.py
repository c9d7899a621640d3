"""Compare: input, result and difference in three linked slice views, side by side at one window and level."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from MedDenoiseLib import volumes

if TYPE_CHECKING:
    import numpy as np

#: Node reference of a result: input minus result, what was taken away.
DIFFERENCE = "MedDenoise.difference"
#: Views of our own: Red, Green and Yellow keep their orientation for the time after.
VIEWS = ("MedDenoiseInput", "MedDenoiseResult", "MedDenoiseDifference")
#: Any number that no other layout has; Slicer's own are below 1000.
LAYOUT = 57431
#: Linked views move the others of their group only.
VIEW_GROUP = 57431
LAYOUT_DESCRIPTION = (
    '<layout type="horizontal" split="true">'
    + "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{name}">'
        '<property name="orientation" action="default">Axial</property>'
        f'<property name="viewcolor" action="default">{colour}</property>'
        "</view></item>"
        for name, colour in zip(VIEWS, ("#8C8C8C", "#6EB04B", "#4B8EB0"), strict=True)
    )
    + "</layout>"
)
COLOURS_NAME = "MedDenoise difference"


def registerLayout() -> None:
    """Tell Slicer's layout manager of the layout; a scene that was saved with it can be opened from then on."""
    layoutManager = slicer.app.layoutManager()
    if layoutManager is not None:
        layoutNode = layoutManager.layoutLogic().GetLayoutNode()
        if layoutNode is not None and not layoutNode.IsLayoutDescription(LAYOUT):
            layoutNode.AddLayoutDescription(LAYOUT, LAYOUT_DESCRIPTION)


class Comparison:
    """The comparison on the screen; one at a time.

    :param left: called when the user has left the layout.
    """

    def __init__(self, left: Callable[[], None] = lambda: None) -> None:
        self._left = left
        self._syncing = False
        self._observed: list[tuple[Any, int]] = []
        self._inputID: str | None = None
        self._outputID: str | None = None
        #: The layout to go back to.
        self._layoutBefore: int | None = None

    def isShown(self) -> bool:
        """Return whether the three views are on the screen."""
        layoutManager = slicer.app.layoutManager()
        return layoutManager is not None and layoutManager.layout == LAYOUT

    def isShowing(self, outputVolume: Any) -> bool:
        """Return whether the three views show this result."""
        return self.isShown() and outputVolume is not None and outputVolume.GetID() == self._outputID

    def show(self, inputVolume: Any, outputVolume: Any) -> None:
        """Show the three views; without a main window only the difference volume is made."""
        isNew = not self.isShown() or inputVolume.GetID() != self._inputID
        self.stop()
        differenceVolume = updateDifference(inputVolume, outputVolume)
        layoutManager = slicer.app.layoutManager()
        if layoutManager is None:
            return
        makeActive(outputVolume)  # who goes back to the usual views finds the result there, not the noisy input
        with slicer.util.RenderBlocker():
            registerLayout()
            if not self.isShown():
                self._layoutBefore = layoutManager.layout
                layoutManager.setLayout(LAYOUT)
            labels = (_("Input"), _("Denoised"), _("Difference"))
            shown = (inputVolume, outputVolume, differenceVolume)
            for name, label, volume in zip(VIEWS, labels, shown, strict=True):
                _showIn(layoutManager.sliceWidget(name), label, volume)
        self._inputID, self._outputID = inputVolume.GetID(), outputVolume.GetID()
        if isNew:  # later, place and zoom are the user's
            self._fit()
            qt.QTimer.singleShot(0, self._fit)  # once more when the layout is on the screen and the views have a size
        self._keepWindowLevelEqual(inputVolume.GetDisplayNode(), outputVolume.GetDisplayNode())
        layoutManager.connect("layoutChanged(int)", self._onLayoutChanged)

    def hide(self) -> None:
        """Go back to the layout before the comparison."""
        self.stop()
        if self.isShown():
            fallback = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
            slicer.app.layoutManager().setLayout(fallback if self._layoutBefore is None else self._layoutBefore)

    def refresh(self, outputVolume: Any) -> None:
        """Compute the difference anew after the result has changed, if there is one."""
        inputVolume = outputVolume.GetNodeReference(volumes.SOURCE)
        if inputVolume is not None and outputVolume.GetNodeReference(DIFFERENCE) is not None:
            updateDifference(inputVolume, outputVolume)

    def stop(self) -> None:
        """Uncouple the two display nodes and forget the volumes: in another scene their IDs come again."""
        self._inputID = self._outputID = None
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        if self._observed and slicer.app.layoutManager() is not None:
            slicer.app.layoutManager().disconnect("layoutChanged(int)", self._onLayoutChanged)
        self._observed = []

    def _onLayoutChanged(self, layout: int) -> None:
        if layout != LAYOUT:
            self.stop()
            self._left()

    def _fit(self) -> None:
        """Fit the views to their volumes, at the place where the red view is."""
        layoutManager = slicer.app.layoutManager()
        if not self.isShown():
            return
        red = layoutManager.sliceWidget("Red")
        for name in VIEWS:
            logic = layoutManager.sliceWidget(name).sliceLogic()
            logic.FitSliceToBackground()
            if red is not None and red.mrmlSliceNode().GetOrientation() == logic.GetSliceNode().GetOrientation():
                logic.SetSliceOffset(red.sliceLogic().GetSliceOffset())

    def _keepWindowLevelEqual(self, first: Any, second: Any) -> None:
        if first is None or second is None:
            return
        self._copyWindowLevel(first, second)
        # Not by VTKObservationMixin, which keeps what it ever observed, here with the voxels that it displays.
        for node, other in ((first, second), (second, first)):

            def follow(caller: Any, event: Any, node: Any = node, other: Any = other) -> None:
                self._copyWindowLevel(node, other)

            self._observed.append((node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, follow)))

    def _copyWindowLevel(self, source: Any, target: Any) -> None:
        if self._syncing:
            return
        self._syncing = True
        try:
            wanted = (source.GetWindow(), source.GetLevel())
            if target.GetAutoWindowLevel() or (target.GetWindow(), target.GetLevel()) != wanted:
                target.SetAutoWindowLevel(False)
                target.SetWindowLevel(*wanted)
        finally:
            self._syncing = False


def makeActive(volume: Any, *, fit: bool = False) -> None:
    """Show a volume in the usual slice views, as loading one does; the views of a comparison keep theirs.

    ``slicer.util.setSliceViewerLayers`` would change every view there is.
    """
    logic = slicer.app.applicationLogic()
    logic.GetSelectionNode().SetActiveVolumeID(volume.GetID())
    logic.PropagateVolumeSelection(1 if fit else 0)


def updateDifference(inputVolume: Any, outputVolume: Any) -> Any:
    """Compute input minus result into the result's difference volume, made at the first call; return that volume.

    In HU: integers as int16 (whatever is taken away from a CT fits), others in the input's float type.
    """
    values, scalarType = _difference(volumes.voxels(inputVolume), volumes.voxels(outputVolume))
    volume = outputVolume.GetNodeReference(DIFFERENCE)
    with slicer.util.RenderBlocker():
        isNew = volume is None
        if isNew:
            volume = volumes.volumeLike(inputVolume, _("{name} difference").format(name=outputVolume.GetName()))
            outputVolume.SetNodeReferenceID(DIFFERENCE, volume.GetID())
        else:
            volume.CopyOrientation(inputVolume)
            volume.SetAndObserveTransformNodeID(inputVolume.GetTransformNodeID())
        volumes.setVoxels(volume, values, scalarType)
        display = volume.GetDisplayNode()
        if isNew or display is None or display.GetColorNode() is None or not display.GetColorNode().GetNumberOfColors():
            volumes.display(volume, _colours().GetID(), _windowFor(values), 0.0)
    return volume


def _difference(original: np.ndarray, denoised: np.ndarray) -> tuple[np.ndarray, int]:
    import numpy as np

    floating = np.issubdtype(original.dtype, np.floating)
    dtype = original.dtype if floating else np.dtype(np.int16)
    scalarType = {2: vtk.VTK_SHORT, 4: vtk.VTK_FLOAT, 8: vtk.VTK_DOUBLE}[dtype.itemsize]
    values = np.empty(original.shape, dtype)
    for k in range(len(original)):
        with np.errstate(invalid="ignore"):  # infinity - infinity
            if floating:
                values[k] = np.nan_to_num(original[k] - denoised[k], nan=0.0, posinf=0.0, neginf=0.0)
            else:
                wide = original[k].astype(np.int64) - denoised[k].astype(np.int64)
                values[k] = np.clip(wide, -32768, 32767)
    return values, scalarType


def _windowFor(values: np.ndarray) -> float:
    """Return a window centred at 0 that shows 99 % of what was taken away, in whole tens of HU, 20 at least."""
    import numpy as np

    some = np.abs(values[:: max(1, len(values) // 8), ::2, ::2].astype(np.float32))
    changed = some[some > 0]
    limit = float(np.percentile(changed, 99)) if changed.size else 0.0
    return 2.0 * max(10.0, float(np.ceil(limit / 10) * 10))


def _colours() -> Any:
    """Return the colour table of differences, made at the first call: blue below 0, black at 0, red above.

    Black in the middle, because slice views are black: what was left alone disappears.
    """
    table = slicer.util.getFirstNodeByClassByName("vtkMRMLColorTableNode", COLOURS_NAME)
    if table is not None and table.GetNumberOfColors() == 256:  # it has none when its file was not saved
        return table
    table = slicer.vtkMRMLColorTableNode()
    table.SetName(COLOURS_NAME)
    table.SetTypeToUser()
    table.SetHideFromEditors(True)
    table.SetNumberOfColors(256)
    transfer = vtk.vtkColorTransferFunction()
    for position, colour in (
        (0.0, (0.65, 0.90, 1.00)),
        (0.25, (0.10, 0.40, 0.95)),
        (0.5, (0.0, 0.0, 0.0)),
        (0.75, (0.90, 0.15, 0.05)),
        (1.0, (1.00, 0.85, 0.45)),
    ):
        transfer.AddRGBPoint(position, *colour)
    for index in range(256):
        red, green, blue = transfer.GetColor(index / 255)
        table.SetColor(index, red, green, blue, 1.0)
    return slicer.mrmlScene.AddNode(table)


def _showIn(sliceWidget: Any, label: str, volume: Any) -> None:
    sliceNode = sliceWidget.mrmlSliceNode()
    sliceNode.SetLayoutLabel(label)
    sliceNode.SetViewGroup(VIEW_GROUP)
    composite = sliceWidget.mrmlSliceCompositeNode()
    composite.SetDoPropagateVolumeSelection(False)  # a volume that is loaded later must not come under this label
    composite.SetBackgroundVolumeID(volume.GetID())
    composite.SetForegroundVolumeID(None)
    composite.SetLabelVolumeID(None)
    composite.SetLinkedControl(True)
    composite.SetHotLinkedControl(True)
