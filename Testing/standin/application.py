"""The application without its windows: slicer.app, slicer.mrmlScene, slicer.modules on slicer-core's real logics.

Checked against Base/QTCore/qSlicerCoreApplication.h, Base/QTGUI/qSlicerApplication.h (properties, Q_INVOKABLE, slots)
and Base/QTCore/qSlicerAbstractCoreModule.h; a Q_PROPERTY there is an attribute here, a method there is a method here.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import slicer
import vtk

from .refusal import not_known

# Attribute of slicer.modules (the module's name in lower case) -> its name, VTK class of its logic.
CORE_MODULES = {
    "colors": ("Colors", "vtkSlicerColorLogic"),
    "cropvolume": ("CropVolume", "vtkSlicerCropVolumeLogic"),
    "markups": ("Markups", "vtkSlicerMarkupsLogic"),
    "models": ("Models", "vtkSlicerModelsLogic"),
    "plots": ("Plots", "vtkSlicerPlotsLogic"),
    "segmentations": ("Segmentations", "vtkSlicerSegmentationsModuleLogic"),
    "sequences": ("Sequences", "vtkSlicerSequencesLogic"),
    "subjecthierarchy": ("SubjectHierarchy", "vtkSlicerSubjectHierarchyModuleLogic"),
    "tables": ("Tables", "vtkSlicerTablesLogic"),
    "texts": ("Texts", "vtkSlicerTextsLogic"),
    "transforms": ("Transforms", "vtkSlicerTransformLogic"),
    "units": ("Units", "vtkSlicerUnitsLogic"),
    "volumerendering": ("VolumeRendering", "vtkSlicerVolumeRenderingLogic"),
    "volumes": ("Volumes", "vtkSlicerVolumesLogic"),
}


class Signal:
    """A signal of an application object that needs no Qt: handlers are called in the order of connection."""

    def __init__(self) -> None:
        self._handlers: list[Callable[..., Any]] = []

    def connect(self, handler: Callable[..., Any]) -> bool:
        """Add a handler (PythonQt: PythonQtSignalFunction_connect returns whether it worked)."""
        self._handlers.append(handler)
        return True

    def disconnect(self, handler: Callable[..., Any]) -> bool:
        """Remove one handler; False when it was not connected, as PythonQtSignalReceiver::removeSignalHandler."""
        if handler in self._handlers:
            self._handlers.remove(handler)
            return True
        return False

    def emit(self, *arguments: Any) -> None:
        """Call every handler."""
        for handler in list(self._handlers):
            handler(*arguments)


class SignalSource:
    """An object with signals: connect("signature", handler), or object.signal.connect(handler)."""

    label = ""
    source = ""
    signatures: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._signals = {signature: Signal() for signature in self.signatures}

    def _signal(self, signature: str) -> Signal:
        if signature not in self._signals:
            raise not_known(f"the signal {signature} of {self.label}", self.source)
        return self._signals[signature]

    def __getattr__(self, name: str) -> Any:
        for signature, signal in vars(self).get("_signals", {}).items():
            if signature.split("(")[0] == name:
                return signal
        raise not_known(f"{self.label}.{name}", self.source)

    def connect(self, signature: str, handler: Callable[..., Any]) -> bool:
        """Connect a handler to a signal named by its C++ signature."""
        return self._signal(signature).connect(handler)

    def disconnect(self, signature: str, handler: Callable[..., Any]) -> bool:
        """Disconnect a handler."""
        return self._signal(signature).disconnect(handler)


class ProcessEnvironment:
    """QProcessEnvironment as slicer.util.startupEnvironment uses it: keys() and value(name)."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = variables

    def keys(self) -> list[str]:
        """Return the names of the variables."""
        return list(self._variables)

    def value(self, name: str) -> str:
        """Return one value, "" where there is none (QProcessEnvironment::value)."""
        return self._variables.get(name, "")


class Settings:
    """QSettings as far as modules use it without Qt: value, setValue, remove, contains; forgotten at the end."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def value(self, key: str, default: Any = None) -> Any:
        """Return a value; None where there is none and no default (an invalid QVariant)."""
        return self._values.get(key, default)

    def setValue(self, key: str, value: Any) -> None:
        """Store a value."""
        self._values[key] = value

    def remove(self, key: str) -> None:
        """Forget a key; nothing happens where there is none."""
        self._values.pop(key, None)

    def contains(self, key: str) -> bool:
        """Return whether there is a value."""
        return key in self._values


class ModuleManager(SignalSource):
    """slicer.app.moduleManager(): Base/QTCore/qSlicerModuleManager.h."""

    label = "slicer.app.moduleManager()"
    source = "Base/QTCore/qSlicerModuleManager.h"
    signatures = ("moduleAboutToBeUnloaded(QString)", "moduleLoaded(QString)", "moduleUnloaded(QString)")

    def module(self, name: str) -> Any:
        """Return the loaded module of this exact name, None where there is none."""
        module = vars(slicer.modules).get(name.lower())
        return module if module is not None and getattr(module, "name", None) == name else None


class CoreModule:
    """A loadable module written in C++: its real logic, no widget."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name = name
        self._logic = logic

    def logic(self) -> Any:
        """Return the module's VTK logic (qSlicerAbstractCoreModule::logic)."""
        return self._logic

    def __getattr__(self, name: str) -> Any:
        raise not_known(f"slicer.modules.{self.name.lower()}.{name}", "Base/QTCore/qSlicerAbstractCoreModule.h")


class Modules(SimpleNamespace):
    """slicer.modules: what is not loaded is an AttributeError, as in Slicer, where it is a Python module."""

    def __getattr__(self, name: str) -> Any:
        raise not_known(f"slicer.modules.{name}", "the list of core modules, Modules/Loadable and Modules/Scripted")


class Application(SignalSource):
    """slicer.app as far as code outside a window may use it. The Qt layer derives from it."""

    label = "slicer.app"
    source = "Base/QTCore/qSlicerCoreApplication.h or Base/QTGUI/qSlicerApplication.h"
    signatures = ("startupCompleted()", "aboutToQuit()", "mrmlSceneChanged(vtkMRMLScene*)")

    # The version of Slicer that slicer-core is built from (distribution slicer-core 5.13.*).
    majorVersion = 5
    minorVersion = 13
    applicationName = "Slicer"
    applicationVersion = "5.13.0"
    revision = "0"
    isInstalled = True
    documentationBaseUrl = "https://slicer.readthedocs.io/en/latest/"

    def __init__(self, scene: Any) -> None:
        super().__init__()
        self._scene = scene
        self._logic = slicer.vtkSlicerApplicationLogic()
        self._module_manager = ModuleManager()
        self._startup_environment = dict(os.environ)
        self._user_settings = Settings()
        self._temporary_folder = tempfile.TemporaryDirectory(prefix="slicer-standin-")
        self.temporaryPath = self._temporary_folder.name
        self.slicerHome = str(Path(slicer.__file__).parent)
        self.renderPauses = 0
        self._logic.SetTemporaryPath(self.temporaryPath)
        # slicer-core has no colour files; the colour logic complains of a missing folder, not of an empty one.
        (Path(self.temporaryPath) / "share" / "ColorFiles").mkdir(parents=True)
        self._logic.SetHomeDirectory(self.temporaryPath)
        self._logic.SetShareDirectory("share")

    def mrmlScene(self) -> Any:
        """Return the one scene of the application."""
        return self._scene

    def applicationLogic(self) -> Any:
        """Return the real vtkSlicerApplicationLogic."""
        return self._logic

    def moduleManager(self) -> ModuleManager:
        """Return the module manager."""
        return self._module_manager

    def layoutManager(self) -> Any:
        """Return None: without a main window there is no layout manager (qSlicerApplication::layoutManager)."""
        return None

    def commandOptions(self) -> Any:
        """Return the options of `Slicer --testing` (Base/QTCore/qSlicerCoreCommandOptions.h)."""
        return SimpleNamespace(noMainWindow=self.layoutManager() is None, testingEnabled=True, runPythonAndExit=False)

    def testingEnabled(self) -> bool:
        """Return True: the stand-in behaves as `Slicer --testing`."""
        return True

    def startupEnvironment(self) -> ProcessEnvironment:
        """Return the environment without Slicer's own additions: here the process's."""
        return ProcessEnvironment(dict(self._startup_environment))

    def userSettings(self) -> Any:
        """Return the user's settings, empty at the start."""
        return self._user_settings

    def moduleDocumentationUrl(self, moduleName: str) -> str:
        """Return the address of a core module's documentation page."""
        return f"{self.documentationBaseUrl}user_guide/modules/{moduleName.lower()}.html"

    def processEvents(self, flags: Any = None) -> None:
        """Do nothing: without Qt there is no event loop."""

    def pauseRender(self) -> None:
        """Count one pause of rendering (slicer.util.RenderBlocker)."""
        self.renderPauses += 1

    def resumeRender(self) -> None:
        """Take one pause back; one too many is an error, in Slicer it would render halfway."""
        if self.renderPauses == 0:
            raise RuntimeError("slicer.app.resumeRender() without pauseRender()")
        self.renderPauses -= 1


def add_to_subject_hierarchy(scene: Any, node: Any) -> None:
    """Give a new visible data node its item in the subject hierarchy.

    Slicer's Qt plugins do this for nodes that a plugin owns: qSlicerSubjectHierarchyPluginLogic::onNodeAdded
    (Modules/Loadable/SubjectHierarchy/Widgets). All node types a CT user meets have such a plugin.
    """
    if scene.IsImporting() or node.GetHideFromEditors() or not node.IsA("vtkMRMLDisplayableNode"):
        return
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def remove_from_subject_hierarchy(scene: Any, node: Any) -> None:
    """Drop a node's item before the node goes: qSlicerSubjectHierarchyPluginLogic::onNodeAboutToBeRemoved."""
    if scene.IsClosing() or node.IsA("vtkMRMLSubjectHierarchyNode"):
        return
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.RemoveItem(item, False, False)


def observe_nodes(scene: Any, event: int, handler: Callable[[Any, Any], None]) -> int:
    """Call handler(scene, node) at a scene event that carries a node; return the observer's tag."""

    def callback(caller: Any, event_name: str, node: Any) -> None:
        handler(caller, node)

    # VTK reads this attribute to convert the event's data: Wrapping/PythonCore/vtkPythonCommand.cxx.
    callback.CallDataType = vtk.VTK_OBJECT  # type: ignore[attr-defined]
    return int(scene.AddObserver(event, callback))


def create_scene() -> Any:
    """Return the application's scene; its subject hierarchy follows the nodes from now on."""
    scene = slicer.vtkMRMLScene()
    observe_nodes(scene, slicer.vtkMRMLScene.NodeAddedEvent, add_to_subject_hierarchy)
    observe_nodes(scene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, remove_from_subject_hierarchy)
    return scene


def create_modules(application: Application) -> Modules:
    """Return slicer.modules with the real logics of the core modules, connected to the scene."""
    logic = application.applicationLogic()
    scene = application.mrmlScene()
    modules = Modules()
    for key, (name, class_name) in CORE_MODULES.items():
        module_logic = getattr(slicer, class_name)()
        if key == "colors":
            logic.SetColorLogic(module_logic)
        module_logic.SetMRMLApplicationLogic(logic)
        module_logic.SetMRMLScene(scene)
        logic.SetModuleLogic(name, module_logic)
        setattr(modules, key, CoreModule(name, module_logic))
    return modules
