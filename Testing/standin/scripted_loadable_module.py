"""slicer.ScriptedLoadableModule: the base classes of a scripted module, and the C++ side that instantiates them.

Our own code with the contract of Base/Python/slicer/ScriptedLoadableModule.py (the four base classes),
Base/QTGUI/qSlicerScriptedLoadableModule.{h,cxx} (setPythonSource: what becomes of a module's file; the properties of
`parent`) and Base/QTGUI/qSlicerScriptedLoadableModuleWidget.cxx. Developer mode is off.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import unittest
from pathlib import Path
from typing import Any

import slicer

from .refusal import not_known

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]

MODULE_SOURCE = "Base/QTGUI/qSlicerScriptedLoadableModule.h"


class ScriptedLoadableModule:
    """Base of the module class: fills `parent` with defaults, which the module's own __init__ overwrites."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        parent.contributors = ["Andras Lasso (PerkLab, Queen's University), Steve Pieper (Isomics)"]
        parent.helpText = "This module was created from a template and the help section has not yet been updated."
        parent.acknowledgementText = "This work is supported by NA-MIC, NAC, BIRN, NCIGT, and the Slicer Community."
        if not hasattr(slicer, "selfTests"):
            slicer.selfTests = {}
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        """Return the path of a file in the module's Resources folder."""
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        """Return an HTML link to the module's page in the online documentation."""
        url = (
            slicer.app.documentationBaseUrl + docPage if docPage else slicer.app.moduleDocumentationUrl(self.moduleName)
        )
        return f'<p>For more information, see the <a href="{url}">online documentation</a>.</p>'

    def runTest(self, msec: int = 100, **kwargs: Any) -> None:
        """Run the class <ModuleName>Test of the module's file; its absence is an AssertionError."""
        test_class = getattr(sys.modules[type(self).__module__], f"{self.moduleName}Test", None)
        if test_class is None:
            raise AssertionError(f"Test case class not found: {type(self).__module__}.{self.moduleName}Test")
        test = test_class()
        test.messageDelay = msec
        test.runTest(**kwargs)


class ScriptedLoadableModuleLogic:
    """Base of the logic class: one parameter node for a module, a singleton of the scene."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """Return the first parameter node of this module, made when there is none."""
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is not None:
                # Closing the scene may have cleared the attribute.
                if node.GetAttribute("ModuleName") != self.moduleName:
                    node.SetAttribute("ModuleName", self.moduleName)
                return node
        else:
            found = self.getAllParameterNodes()
            if found:
                return found[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        """Return every parameter node of this module."""
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        """Return a new parameter node, not yet in the scene."""
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of the module's own test class; Slicer runs it through runTest(), pytest and unittest method by method."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.enableScreenshots = False
        self.screenshotScaleFactor = 1.0
        self.moduleTestNames = [name for name in dir(self) if "test" in name and callable(getattr(self, name))]

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        """Log the message and let pending events through, as slicer.util.delayDisplay does for short delays."""
        logging.info(message)
        slicer.app.processEvents()

    def takeScreenshot(self, name: str, description: str, type: int = -1) -> None:
        """Show the message only: screenshots are off (enableScreenshots is False)."""
        self.delayDisplay(description)

    def runTest(self) -> None:
        """Run every test method, in Slicer's way: the first failure ends the run."""
        if not self.moduleTestNames:
            logging.warning(f"No test is defined in {type(self).__name__}")
            return
        self.setUpClass()
        for name in self.moduleTestNames:
            self.setUp()
            logging.info(f"Running {name}")
            getattr(self, name)()
            self.tearDown()
        self.tearDownClass()


class ScriptedLoadableModuleWidget:
    """Base of the widget class: `parent`, `layout`, `resourcePath`; setup() is called by whoever made the parent."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        if parent is None:
            import qt

            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        else:
            self.parent = parent
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        """Return the path of a file in the module's Resources folder."""
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """Build nothing: the developer section is off."""

    def cleanup(self) -> None:
        """Do nothing; modules override it."""

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedModule:
    """qSlicerScriptedLoadableModule: what a module's class gets as `parent`, and what slicer.modules.<name> is."""

    WRITABLE = {  # noqa: RUF012
        "title": str,
        "categories": list,
        "contributors": list,
        "associatedNodeTypes": list,
        "helpText": str,
        "acknowledgementText": str,
        "extensions": dict,
        "icon": object,
        "hidden": bool,
        "dependencies": list,
        "index": int,
        "widgetRepresentationCreationEnabled": bool,
    }

    def __init__(self, path: Path) -> None:
        fields = vars(self)
        fields["name"] = path.stem
        fields["path"] = str(path)
        fields["hidden"] = False
        fields["index"] = -1
        fields["widgetRepresentationCreationEnabled"] = True
        fields["_logic"] = slicer.vtkSlicerScriptedLoadableModuleLogic()
        fields["_widget"] = None

    def __setattr__(self, name: str, value: Any) -> None:
        # PythonQtInstanceWrapper_setattro: only declared properties can be set on a C++ object.
        if name not in self.WRITABLE:
            raise not_known(f"parent.{name} of a module", MODULE_SOURCE)
        expected = self.WRITABLE[name]
        if not isinstance(value, expected):
            raise AttributeError(f"Property '{name}' does not accept an object of type {type(value).__name__}")
        if expected is list and not all(isinstance(item, str) for item in value):
            raise AttributeError(f"Property '{name}' takes a list of str, not {value!r}")
        vars(self)[name] = value

    def __getattr__(self, name: str) -> Any:
        raise not_known(f"parent.{name} of a module", MODULE_SOURCE)

    def logic(self) -> Any:
        """Return the VTK logic of a scripted module, which holds nothing of the Python logic (createLogic)."""
        return self._logic

    def widgetRepresentation(self) -> Any:
        """Return the module's panel, built at the first call (qSlicerAbstractCoreModule::widgetRepresentation)."""
        if self._widget is None and self.widgetRepresentationCreationEnabled:
            from .mrml_widgets import create_module_panel

            vars(self)["_widget"] = create_module_panel(self)
        return self._widget


def load_module(path: str | Path) -> ScriptedModule:
    """Load a scripted module as Slicer does at start-up and return slicer.modules.<name>.

    The folder goes to sys.path, the file is imported under its own name, the class of that name is instantiated with
    the module as parent (qSlicerScriptedLoadableModule::setPythonSource). The panel is built when it is asked for.
    """
    path = Path(path).resolve()
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        source = importlib.util.module_from_spec(spec)
        sys.modules[name] = source
        try:
            spec.loader.exec_module(source)
        except BaseException:
            del sys.modules[name]
            raise
    source = sys.modules[name]
    module = ScriptedModule(path)
    instance = getattr(source, name)(module)
    if not hasattr(source, f"{name}Widget"):
        module.widgetRepresentationCreationEnabled = False
    setattr(slicer.modules, f"{name}Instance", instance)
    setattr(slicer.modules, name.lower(), module)
    return module
