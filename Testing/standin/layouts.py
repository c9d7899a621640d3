"""A main window for code that needs one: module selector, status bar, and a layout manager on real MRML.

Checked against Libs/MRML/Widgets/qMRMLLayoutManager.{h,cxx} (qMRMLLayoutSliceViewFactory::createViewFromNode),
qMRMLSliceWidget.h, qMRMLSliceControllerWidget.h, Base/QTGUI/qSlicerModuleSelectorToolBar.h and qSlicerMainWindow.h.
The view nodes come from the real vtkMRMLLayoutLogic, which reads the layout's description; each has a real
vtkMRMLSliceLogic with its composite node, and the application logic's link logic links them. Nothing is rendered.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from .application import Application, SignalSource, observe_nodes
from .pythonqt import declare, wrap
from .refusal import not_known


class SliceController:
    """qMRMLSliceControllerWidget: the bar above a slice view."""

    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def __getattr__(self, name: str) -> Any:
        raise not_known(f"sliceController().{name}", "Libs/MRML/Widgets/qMRMLSliceControllerWidget.h")

    def mrmlSliceNode(self) -> Any:
        """Return the slice node."""
        return self._logic.GetSliceNode()

    def sliceLogic(self) -> Any:
        """Return the slice logic."""
        return self._logic

    def fitSliceToBackground(self) -> None:
        """Fit the view to its background; a slot."""
        self._logic.FitSliceToBackground()


class SliceWidget:
    """qMRMLSliceWidget without its picture."""

    def __init__(self, logic: Any) -> None:
        self._logic = logic
        self._controller = SliceController(logic)

    def __getattr__(self, name: str) -> Any:
        raise not_known(f"sliceWidget(...).{name}", "Libs/MRML/Widgets/qMRMLSliceWidget.h")

    def sliceLogic(self) -> Any:
        """Return the real vtkMRMLSliceLogic."""
        return self._logic

    def mrmlSliceNode(self) -> Any:
        """Return the slice node."""
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        """Return the slice composite node: which volumes are shown, and whether the view is linked."""
        return self._logic.GetSliceCompositeNode()

    def sliceController(self) -> SliceController:
        """Return the bar above the view."""
        return self._controller

    def fitSliceToBackground(self) -> None:
        """Fit the view to its background; a slot."""
        self._logic.FitSliceToBackground()


class LayoutManager(SignalSource):
    """qSlicerLayoutManager: the layout and its slice views."""

    label = "slicer.app.layoutManager()"
    source = "Libs/MRML/Widgets/qMRMLLayoutManager.h"
    signatures = ("layoutChanged(int)",)

    def __init__(self, application: Application) -> None:
        super().__init__()
        self._application_logic = application.applicationLogic()
        self._scene = application.mrmlScene()
        self._widgets: dict[str, SliceWidget] = {}
        self._slice_logics = vtk.vtkCollection()
        self._application_logic.SetSliceLogics(self._slice_logics)
        observe_nodes(self._scene, slicer.vtkMRMLScene.NodeAddedEvent, self._node_added)
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLApplicationLogic(self._application_logic)
        self._logic.SetMRMLScene(self._scene)
        self._shown = self.layout
        self._logic.GetLayoutNode().AddObserver(vtk.vtkCommand.ModifiedEvent, self._layout_modified)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name != "layout":
            raise not_known(f"{self.label}.{name}", self.source)
        super().__setattr__(name, value)

    def _node_added(self, scene: Any, node: Any) -> None:
        if not node.IsA("vtkMRMLSliceNode") or node.GetName() in self._widgets:
            return
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self._application_logic)
        self._slice_logics.AddItem(logic)
        logic.SetMRMLScene(scene)
        logic.SetSliceNode(node)
        self._widgets[node.GetName()] = SliceWidget(logic)

    def _layout_modified(self, node: Any, event: str) -> None:
        if self.layout != self._shown:
            self._shown = self.layout
            self._signal("layoutChanged(int)").emit(self._shown)

    @property
    def layout(self) -> int:
        """The number of the layout shown (vtkMRMLLayoutNode::SlicerLayout)."""
        return int(self._logic.GetLayoutNode().GetViewArrangement())

    @layout.setter
    def layout(self, number: int) -> None:
        self.setLayout(number)

    def setLayout(self, number: int) -> None:
        """Show a layout; an unknown number gives the conventional one. A slot."""
        node = self._logic.GetLayoutNode()
        if number == self.layout:
            return
        node.RemoveAllMaximizedViewNodes()
        known = node.IsLayoutDescription(number)
        node.SetViewArrangement(number if known else slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)

    def layoutLogic(self) -> Any:
        """Return the real vtkMRMLLayoutLogic."""
        return self._logic

    def mrmlScene(self) -> Any:
        """Return the scene."""
        return self._scene

    def mrmlSliceLogics(self) -> Any:
        """Return the slice logics of all slice views, shown or not."""
        return self._slice_logics

    def sliceViewNames(self) -> tuple[str, ...]:
        """Return the names of all slice views, shown or not (qMRMLLayoutViewFactory::viewNodeNames)."""
        return tuple(self._widgets)

    def sliceWidget(self, name: str) -> SliceWidget | None:
        """Return a slice view by its name ("Red"), None where there is none."""
        return self._widgets.get(name)

    def resetSliceViews(self) -> None:
        """Fit every slice view to its background; a slot."""
        for widget in self._widgets.values():
            widget.fitSliceToBackground()


class ModuleSelector(QtWidgets.QWidget):
    """qSlicerModuleSelectorToolBar: opening a module's panel leaves the one before."""

    source = "Base/QTGUI/qSlicerModuleSelectorToolBar.h"

    def __init__(self) -> None:
        super().__init__()
        self._selected = ""

    def selectModule(self, name: str) -> None:
        """Leave the open module and enter this one; a slot."""
        if name == self._selected:
            return
        module = slicer.app.moduleManager().module(name)
        if name and module is None:
            raise not_known(f"the module {name}", "the list of loaded modules")
        if self._selected:
            panel = slicer.app.moduleManager().module(self._selected).widgetRepresentation()
            panel.exit()
            panel.hide()
        self._selected = name
        if name:
            panel = module.widgetRepresentation()
            panel.enter()
            panel.show()

    selectedModule = QtCore.Property(str, lambda self: self._selected, selectModule)


class MainWindow(QtWidgets.QMainWindow):
    """qSlicerMainWindow as slicer.util.mainWindow() finds it."""

    source = "Base/QTGUI or Applications/SlicerApp/qSlicerAppMainWindow.h"

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._selector = ModuleSelector()

    def moduleSelector(self) -> Any:
        """Return the module selector."""
        return self._selector


def open_main_window(application: Any) -> None:
    """Give the application a main window and a layout manager."""
    declare(ModuleSelector, "selectModule", name="qSlicerModuleSelectorToolBar")
    declare(MainWindow, "moduleSelector", name="qSlicerMainWindow")
    window = wrap(MainWindow())
    manager = LayoutManager(application)
    application.open_window(window, manager)
