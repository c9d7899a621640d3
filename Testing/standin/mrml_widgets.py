"""Slicer's own widgets in a module panel: qMRMLWidget, qMRMLNodeComboBox, and the panel of a scripted module.

Checked against Libs/MRML/Widgets/qMRMLWidget.h, qMRMLNodeComboBox.{h,cxx} (what is selected when:
setCurrentNodeIDInternal, emitCurrentNodeChanged, refreshIfCurrentNodeHidden; which nodes are listed:
qMRMLSortFilterProxyModel.cxx, filterAcceptsNode; how a node is made: qMRMLNodeFactory.cxx),
Base/QTGUI/qSlicerAbstractModuleWidget.h and qSlicerScriptedLoadableModuleWidget.h. The choice after a removal is
QComboBox's own: a real QComboBox holds the same rows as in Slicer (None, nodes, actions).
"""

from __future__ import annotations

import sys
import weakref
from typing import Any, ClassVar

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from .application import observe_nodes
from .ctk_widgets import CtkComboBox
from .pythonqt import declare, wrap


def _weak(method: Any) -> Any:
    """Return a VTK callback that does not keep its widget alive, and does nothing once the widget is destroyed."""
    reference = weakref.WeakMethod(method)

    def call(*arguments: Any) -> None:
        alive = reference()
        if alive is not None and shiboken6.isValid(alive.__self__):
            alive(*arguments)

    return call


class QMRMLWidget(QtWidgets.QWidget):
    """A widget that hands the scene on: its signal mrmlSceneChanged is connected in the .ui file."""

    source = "Libs/MRML/Widgets/qMRMLWidget.h"
    mrmlSceneChangedSignal = QtCore.Signal(object)
    cpp_signals: ClassVar[dict[str, str]] = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChangedSignal"}

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        """Return the scene."""
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        """Set the scene; a slot."""
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChangedSignal.emit(scene)


class QMRMLNodeComboBox(QtWidgets.QWidget):
    """A choice of one node of the scene; the list follows the scene."""

    source = "Libs/MRML/Widgets/qMRMLNodeComboBox.h"
    currentNodeSignal = QtCore.Signal(object)
    currentNodeValidSignal = QtCore.Signal(bool)
    currentNodeIDChanged = QtCore.Signal(str)
    nodeActivatedSignal = QtCore.Signal(object)
    nodeAddedSignal = QtCore.Signal(object)
    nodeAddedByUserSignal = QtCore.Signal(object)
    nodeAboutToBeRemovedSignal = QtCore.Signal(object)
    cpp_signals: ClassVar[dict[str, str]] = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeSignal",
        "currentNodeChanged(bool)": "currentNodeValidSignal",
        "currentNodeIDChanged(QString)": "currentNodeIDChanged",
        "nodeActivated(vtkMRMLNode*)": "nodeActivatedSignal",
        "nodeAdded(vtkMRMLNode*)": "nodeAddedSignal",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUserSignal",
        "nodeAboutToBeRemoved(vtkMRMLNode*)": "nodeAboutToBeRemovedSignal",
    }

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._observers: list[int] = []
        self._watched: dict[str, tuple[Any, int]] = {}
        self._requested: str | None = None
        self._node_types: list[str] = []
        self._hidden_child_types: list[str] = []
        self._attributes: dict[str, tuple[str, str | None]] = {}
        self._base_names: dict[str, str] = {}
        self._flags = {
            "noneEnabled": False,
            "addEnabled": True,
            "removeEnabled": True,
            "editEnabled": False,
            "renameEnabled": False,
            "selectNodeUponCreation": True,
            "showHidden": False,
            "showChildNodeTypes": True,
        }
        self._none_display = "None"
        self._combo = CtkComboBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Fixed)
        self._combo.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._combo.currentTextChanged.connect(self._emit_current)
        self._combo.activated.connect(self._emit_activated)
        self.setEnabled(False)
        self._update_default_text()

    # Rows: None, nodes, actions.

    def _accepts(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self._flags["showHidden"]:
            return False
        for node_type in self._node_types:
            if not node.IsA(node_type):
                continue
            if not self._flags["showChildNodeTypes"] and node.GetClassName() != node_type:
                continue
            if self._flags["showChildNodeTypes"] and any(node.IsA(hidden) for hidden in self._hidden_child_types):
                return False
            if node_type in self._attributes:
                name, wanted = self._attributes[node_type]
                value = node.GetAttribute(name)
                return value is not None and wanted in (None, value)
            return True
        return not self._node_types

    def _actions(self) -> list[str]:
        if self._scene is None:
            return []
        label = self._type_label(self._node_types[0] if len(self._node_types) == 1 else "")
        actions = []
        if self._flags["renameEnabled"]:
            actions.append(f"Rename current {label}")
        if self._flags["editEnabled"]:
            actions.append(f"Edit current {label}")
        if self._flags["addEnabled"]:
            for node_type in self._node_types:
                actions.append(f"Create new {self._type_label(node_type)}")
                if self._flags["renameEnabled"]:
                    actions.append(f"Create new {self._type_label(node_type)} as...")
        if self._flags["removeEnabled"]:
            actions.append(f"Delete current {label}")
        return ["separator", *actions] if actions else []

    def _type_label(self, node_type: str) -> str:
        label = self._scene.GetTypeDisplayNameByClassName(node_type) if self._scene is not None and node_type else ""
        return label or "node"

    def _update_default_text(self) -> None:
        self._combo.defaultText = f"Select a {self._type_label(self._node_types[0] if self._node_types else '')}"

    def _rebuild(self, *_: Any) -> None:
        """List everything anew and keep the choice; the choice changes only where its node is not listed any more."""
        chosen = self._combo.currentData() or ""
        with QtCore.QSignalBlocker(self._combo):
            self._combo.clear()
            if self._scene is not None:
                if self._flags["noneEnabled"]:
                    self._combo.addItem(self._none_display, "")
                for index in range(self._scene.GetNumberOfNodes()):
                    node = self._scene.GetNthNode(index)
                    if self._accepts(node):
                        self._combo.addItem(node.GetName(), node.GetID())
                        self._watch(node)
                for action in self._actions():
                    if action == "separator":
                        self._combo.insertSeparator(self._combo.count())
                    else:
                        self._combo.addItem(action, None)
            self._combo.setCurrentIndex(self._index_of(chosen))
        self._update_default_text()
        if (self._combo.currentData() or "") != chosen:
            self._emit_current()

    def _index_of(self, node_id: str) -> int:
        index = self._combo.findData(node_id) if node_id else -1
        return index if index >= 0 else (0 if self._flags["noneEnabled"] and self._scene is not None else -1)

    def _nodes(self) -> list[Any]:
        ids = [self._combo.itemData(index) for index in range(self._combo.count())]
        return [self._scene.GetNodeByID(node_id) for node_id in ids if node_id]

    # The scene.

    def mrmlScene(self) -> Any:
        """Return the scene."""
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        """Set the scene, and choose now what was set before there was one; a slot."""
        if scene is self._scene:
            return
        if self._scene is not None:
            for tag in self._observers:
                self._scene.RemoveObserver(tag)
        chosen = self.currentNodeID
        self._observers = []
        self._scene = scene
        if scene is not None:
            self._observers = [
                observe_nodes(scene, slicer.vtkMRMLScene.NodeAddedEvent, _weak(self._node_added)),
                observe_nodes(scene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, _weak(self._node_leaves)),
                observe_nodes(scene, slicer.vtkMRMLScene.NodeRemovedEvent, _weak(self._node_removed)),
                scene.AddObserver(slicer.vtkMRMLScene.EndCloseEvent, _weak(self._rebuild)),
                scene.AddObserver(slicer.vtkMRMLScene.EndBatchProcessEvent, _weak(self._rebuild)),
            ]
        self._rebuild()
        self.setCurrentNodeID(self._requested if self._requested is not None else chosen)
        self._requested = None
        self.setEnabled(scene is not None)

    def _node_added(self, scene: Any, node: Any) -> None:
        # qMRMLSceneModel waits for the end of a batch (closing, loading a scene), then lists everything anew.
        if scene.IsBatchProcessing() or not self._accepts(node):
            return
        row = len(self._nodes()) + self._flags["noneEnabled"]
        self._combo.insertItem(row, node.GetName(), node.GetID())
        self._watch(node)
        self.nodeAddedSignal.emit(node)

    def _watch(self, node: Any) -> None:
        if node.GetID() not in self._watched:
            self._watched[node.GetID()] = (
                node,
                node.AddObserver(vtk.vtkCommand.ModifiedEvent, _weak(self._node_modified)),
            )

    def _node_modified(self, node: Any, event: str) -> None:
        row = self._combo.findData(node.GetID())
        if row >= 0 and not self._accepts(node):
            self._remove_row(row)
        elif row >= 0 and self._combo.itemText(row) != node.GetName():
            self._combo.setItemText(row, node.GetName())

    def _node_leaves(self, scene: Any, node: Any) -> None:
        if self._combo.findData(node.GetID()) >= 0:
            self.nodeAboutToBeRemovedSignal.emit(node)

    def _node_removed(self, scene: Any, node: Any) -> None:
        watched, tag = self._watched.pop(node.GetID(), (None, 0))
        if watched is not None:
            watched.RemoveObserver(tag)
        if not scene.IsBatchProcessing():
            row = self._combo.findData(node.GetID())
            if row >= 0:
                self._remove_row(row)

    def _remove_row(self, row: int) -> None:
        self._combo.removeItem(row)
        if self.currentNode() is None:  # refreshIfCurrentNodeHidden
            self.setCurrentNode(None)

    # The choice.

    def currentNode(self) -> Any:
        """Return the chosen node, None where there is none."""
        node_id = self._combo.currentData()
        return self._scene.GetNodeByID(node_id) if node_id and self._scene is not None else None

    def setCurrentNode(self, node: Any) -> None:
        """Choose a node; one that is not listed, or None, chooses nothing. A slot."""
        if node is not None and not isinstance(node, slicer.vtkMRMLNode):
            raise TypeError(f"setCurrentNode takes a node or None, not {node!r}")
        self.setCurrentNodeID("" if node is None else node.GetID())

    def setCurrentNodeID(self, node_id: str) -> None:
        """Choose a node by its ID; a slot."""
        if self._scene is None:
            self._requested = node_id
            return
        self._combo.setCurrentIndex(self._index_of(node_id))

    def setCurrentNodeIndex(self, index: int) -> None:
        """Choose the n-th node, counted without None; a slot."""
        self.setCurrentNode(self.nodeFromIndex(index))

    def _emit_current(self, *_: Any) -> None:
        node = self.currentNode()
        index = self._combo.currentIndex()
        if node is None and index != (0 if self._flags["noneEnabled"] else -1) and self._nodes():
            self.setCurrentNode(self._nodes()[-1])
            return
        self.currentNodeSignal.emit(node)
        self.currentNodeValidSignal.emit(node is not None)
        self.currentNodeIDChanged.emit("" if node is None else node.GetID())

    def _emit_activated(self, index: int) -> None:
        node = self.currentNode()
        if node is not None or (self._flags["noneEnabled"] and index == 0):
            self.nodeActivatedSignal.emit(node)

    # Q_INVOKABLE methods and slots.

    def nodeCount(self) -> int:
        """Return the number of nodes listed."""
        return len(self._nodes())

    def nodeFromIndex(self, index: int) -> Any:
        """Return the n-th node, counted without None; None where there is none."""
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        """List only nodes of this type with this attribute (of this value); new nodes get it."""
        self._attributes[node_type] = (name, None if value is None else str(value))
        self._rebuild()

    def addNode(self, node_type: str | None = None) -> Any:
        """Make a node of one of the types, the first by default, as the user's Create new does; a slot."""
        if not self._node_types or (node_type is not None and node_type not in self._node_types) or self._scene is None:
            return None
        node_type = node_type or self._node_types[0]
        node = self._scene.CreateNodeByClass(node_type)
        node.UnRegister(None)
        name = self._base_names.get(node_type) or (node.GetDefaultNodeNamePrefix() if not node.GetName() else "")
        if name:
            node.SetName(self._scene.GetUniqueNameByString(name))
        for attribute, value in self._attributes.values():
            node.SetAttribute(attribute, value or "")
        node = self._scene.AddNode(node)
        if self._flags["selectNodeUponCreation"]:
            self.setCurrentNode(node)
        self.nodeAddedByUserSignal.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        """Remove the chosen node from the scene; a slot."""
        self._scene.RemoveNode(self.currentNode())

    # Properties.

    def _set_node_types(self, types: list[str]) -> None:
        self._node_types = [name for name in types if name]
        self._rebuild()

    def _set_hidden_child_types(self, types: list[str]) -> None:
        self._hidden_child_types = [name for name in types if name]
        self._rebuild()

    def _base_name(self) -> str:
        return self._base_names.get(self._node_types[0], "") if self._node_types else ""

    def _set_base_name(self, name: str) -> None:
        # In a .ui file baseName comes after nodeTypes, or Slicer warns and forgets it (setBaseName).
        if not self._node_types:
            raise ValueError("qMRMLNodeComboBox::setBaseName failed: no node types have been set yet")
        self._base_names = dict.fromkeys(self._node_types, name)

    def _set_none_display(self, text: str) -> None:
        self._none_display = text
        self._rebuild()

    def _current_id(self) -> str:
        node = self.currentNode()
        return "" if node is None else str(node.GetID())

    @staticmethod
    def _flag(name: str) -> Any:
        def write(self: Any, value: bool) -> None:
            if self._flags[name] != value:
                self._flags[name] = value
                self._rebuild()

        return QtCore.Property(bool, lambda self: self._flags[name], write)

    noneEnabled = _flag("noneEnabled")
    addEnabled = _flag("addEnabled")
    removeEnabled = _flag("removeEnabled")
    editEnabled = _flag("editEnabled")
    renameEnabled = _flag("renameEnabled")
    selectNodeUponCreation = _flag("selectNodeUponCreation")
    showHidden = _flag("showHidden")
    showChildNodeTypes = _flag("showChildNodeTypes")
    nodeTypes = QtCore.Property("QStringList", lambda self: self._node_types, _set_node_types)
    hideChildNodeTypes = QtCore.Property("QStringList", lambda self: self._hidden_child_types, _set_hidden_child_types)
    baseName = QtCore.Property(str, _base_name, _set_base_name)
    noneDisplay = QtCore.Property(str, lambda self: self._none_display, _set_none_display)
    currentNodeID = QtCore.Property(str, _current_id, setCurrentNodeID, notify=currentNodeIDChanged)


class QSlicerScriptedLoadableModuleWidget(QMRMLWidget):
    """The panel of a scripted module: holds the module's Python widget and tells it when it is entered and left."""

    source = "Base/QTGUI/qSlicerAbstractModuleWidget.h or qSlicerScriptedLoadableModuleWidget.h"

    def __init__(self, module: Any) -> None:
        super().__init__(None)
        QtWidgets.QVBoxLayout(self)
        self._module = module
        self._entered = False
        self._python: Any = None

    def self(self) -> Any:
        """Return the module's Python widget."""
        return self._python

    def enter(self) -> None:
        """Tell the module that its panel was opened (qSlicerAbstractModuleWidget::enter)."""
        self._entered = True
        getattr(self._python, "enter", lambda: None)()

    def exit(self) -> None:
        """Tell the module that its panel was left."""
        self._entered = False
        getattr(self._python, "exit", lambda: None)()

    def reload(self) -> None:
        """Instantiate the module's widget class anew, from the source in sys.modules, and set it up."""
        widget_class = getattr(sys.modules[self._module.name], f"{self._module.name}Widget")
        self._python = widget_class(wrap(self))
        setattr(slicer.modules, f"{self._module.name}Widget", self._python)
        self._python.setup()

    isEntered = QtCore.Property(bool, lambda self: self._entered)
    moduleName = QtCore.Property(str, lambda self: self._module.name)


def create_module_panel(module: Any) -> Any:
    """Build a module's panel: the order of qSlicerAbstractCoreModule::createNewWidgetRepresentation.

    The Python widget is instantiated with the panel as parent, slicer.modules.<Name>Widget is set, setup() is called,
    and only then the panel gets the scene.
    """
    panel = QSlicerScriptedLoadableModuleWidget(module)
    panel.reload()
    panel.setMRMLScene(slicer.mrmlScene)
    return wrap(panel)


NODE_COMBO_BOX_METHODS = (
    "addAttribute addNode currentNode mrmlScene nodeCount nodeFromIndex removeCurrentNode setCurrentNode "
    "setCurrentNodeID setCurrentNodeIndex setMRMLScene"
)


def declare_widgets() -> None:
    """Put the widget classes into the module slicer, as Slicer does."""
    slicer.qMRMLWidget = declare(QMRMLWidget, "mrmlScene setMRMLScene", name="qMRMLWidget")
    slicer.qMRMLNodeComboBox = declare(QMRMLNodeComboBox, NODE_COMBO_BOX_METHODS, name="qMRMLNodeComboBox")
    slicer.qSlicerScriptedLoadableModuleWidget = declare(
        QSlicerScriptedLoadableModuleWidget, "self enter exit reload", name="qSlicerScriptedLoadableModuleWidget"
    )
