"""A scripted module on the stand-in, from its files to its panel, on a module of 40 lines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import qt
import slicer

import standin

MODULE = """
from typing import Annotated
import ctk, qt, slicer, vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import *
from slicer.parameterNodeWrapper import parameterNodeWrapper, WithinRange
from slicer.util import VTKObservationMixin


class TinyPanel(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Tiny")
        parent.categories = ["Filtering.Denoising"]
        slicer.app.connect("startupCompleted()", lambda: events.append("startup"))


@parameterNodeWrapper
class TinyPanelParameterNode:
    inputVolume: slicer.vtkMRMLScalarVolumeNode
    strength: Annotated[float, WithinRange(0, 1)] = 1.0


class TinyPanelLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return TinyPanelParameterNode(super().getParameterNode())


class TinyPanelWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/TinyPanel.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = TinyPanelLogic()
        self.ui.applyButton.connect("clicked(bool)", lambda: events.append("apply"))

    def enter(self):
        events.append("enter")
        self.tag = self.logic.getParameterNode()
        self.guiTag = self.tag.connectGui(self.ui)

    def exit(self):
        events.append("exit")
        self.tag.disconnectGui(self.guiTag)

    def cleanup(self):
        events.append("cleanup")


class TinyPanelTest(ScriptedLoadableModuleTest):
    def test_it(self):
        self.assertIsNone(TinyPanelLogic().getParameterNode().inputVolume)
        events.append("test")


events = []
"""

PANEL = """<ui version="4.0"><class>TinyPanel</class>
<widget class="qMRMLWidget" name="TinyPanel"><layout class="QVBoxLayout" name="column">
<item><widget class="ctkCollapsibleButton" name="inputs"><property name="text"><string>Inputs</string></property>
<layout class="QFormLayout" name="form"><item row="0" column="1"><widget class="qMRMLNodeComboBox" name="inputSelector">
<property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
<property name="SlicerParameterName" stdset="0"><string>inputVolume</string></property></widget></item>
<item row="1" column="1"><widget class="ctkSliderWidget" name="strength">
<property name="SlicerParameterName" stdset="0"><string>strength</string></property></widget></item></layout></widget>
</item>
<item><widget class="QPushButton" name="applyButton"><property name="text"><string>Apply</string></property></widget>
</item>
</layout></widget><connections><connection><sender>TinyPanel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>inputSelector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""


def write_module(folder: Path) -> Path:
    (folder / "Resources" / "UI").mkdir(parents=True)
    (folder / "Resources" / "UI" / "TinyPanel.ui").write_text(PANEL)
    path = folder / "TinyPanel.py"
    path.write_text(MODULE)
    return path


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    standin.load_module(write_module(tmp_path_factory.mktemp("module")))
    return sys.modules["TinyPanel"].events


def test_the_module_s_file_becomes_a_module(events):
    module = slicer.modules.tinypanel
    assert (module.name, module.title, module.categories) == ("TinyPanel", "Tiny", ["Filtering.Denoising"])
    assert slicer.util.getModule("TinyPanel") is module
    with pytest.raises(standin.NotKnownError, match=r"parent\.titel"):
        module.titel = "misspelt"
    with pytest.raises(AttributeError, match="categories"):
        module.categories = "Filtering"


def test_startup_completed_reaches_the_module(events):
    events.clear()
    slicer.app.startupCompleted.emit()
    assert "startup" in events


def test_the_panel_is_built_bound_and_left(events):
    events.clear()
    widget = slicer.util.getModuleWidget("TinyPanel")
    assert slicer.util.getModuleLogic("TinyPanel") is widget.logic
    assert slicer.modules.tinypanel.widgetRepresentation()._native.mrmlScene() is slicer.mrmlScene
    assert widget.ui.inputSelector.mrmlScene() is slicer.mrmlScene
    assert widget.parent.isEntered is False
    slicer.util.selectModule("TinyPanel")
    assert widget.parent.isEntered is True
    ct = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16))
    widget.ui.inputSelector.setCurrentNode(ct)
    assert widget.logic.getParameterNode().inputVolume is ct
    widget.ui.strength.value = 0.5
    assert widget.logic.getParameterNode().strength == 0.5
    widget.ui.applyButton.click()
    slicer.util.mainWindow().moduleSelector().selectModule("")
    assert events == ["enter", "apply", "exit"]
    assert standin.slot_errors == []


def test_the_module_s_own_test_runs_as_slicer_runs_it(events):
    events.clear()
    slicer.selfTests["TinyPanel"]()
    assert events == ["test"]


def test_child_widgets_by_name_and_nothing_else(events):
    ui = slicer.util.getModuleWidget("TinyPanel").ui
    assert ui.applyButton.text == "Apply"
    assert type(ui.strength).__name__ == "ctkSliderWidget"
    with pytest.raises(AttributeError):
        _ = ui.aplyButton


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("ctkSliderWidget", "ctkSlidingWidget", "the widget class ctkSlidingWidget"),
        ('name="text"', 'name="caption"', "the property caption"),
        ("setMRMLScene(vtkMRMLScene*)</slot>", "setScene(vtkMRMLScene*)</slot>", "qMRMLNodeComboBox.setScene"),
        ("<signal>mrmlSceneChanged(", "<signal>sceneChanged(", "the signal sceneChanged"),
    ],
)
def test_what_slicer_would_ignore_in_a_ui_file_raises(tmp_path, before, after, words):
    assert before in PANEL
    path = tmp_path / "Wrong.ui"
    path.write_text(PANEL.replace(before, after))
    with pytest.raises(standin.NotKnownError, match="not known") as caught:
        slicer.util.loadUI(str(path))
    assert words in str(caught.value)


def test_layout_changes_make_real_slice_views():
    manager = slicer.app.layoutManager()
    heard = []
    manager.layoutChanged.connect(heard.append)
    nodes = slicer.vtkMRMLLayoutNode
    manager.setLayout(nodes.SlicerLayoutThreeByThreeSliceView)
    assert heard == [nodes.SlicerLayoutThreeByThreeSliceView]
    assert "Slice9" in manager.sliceViewNames()
    manager.layout = nodes.SlicerLayoutConventionalView
    manager.layoutChanged.disconnect(heard.append)
    ct = slicer.util.addVolumeFromArray(np.zeros((4, 8, 8), np.int16))
    slicer.util.setSliceViewerLayers(background=ct, fit=True)
    red = manager.sliceWidget("Red")
    assert red.sliceLogic().GetBackgroundLayer().GetVolumeNode() is ct
    assert red.mrmlSliceCompositeNode().GetBackgroundVolumeID() == ct.GetID()
    assert manager.sliceWidget("Purple") is None


def test_linked_views_move_together():
    manager = slicer.app.layoutManager()
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutThreeByThreeSliceView)
    ct = slicer.util.addVolumeFromArray(np.zeros((40, 8, 8), np.int16))
    slicer.util.setSliceViewerLayers(background=ct, fit=True)
    first, other = manager.sliceWidget("Red"), manager.sliceWidget("Slice4")
    assert first.mrmlSliceNode().GetOrientation() == other.mrmlSliceNode().GetOrientation()
    for linked in (False, True):
        for widget in (first, other):
            widget.mrmlSliceCompositeNode().SetLinkedControl(linked)
        offset = 7.0 if linked else 3.0
        first.sliceLogic().StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.SliceToRASFlag)
        first.sliceLogic().SetSliceOffset(offset)
        first.sliceLogic().EndSliceNodeInteraction()
        assert (other.sliceLogic().GetSliceOffset() == offset) is linked
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)


def test_the_subject_hierarchy_follows_the_nodes():
    ct = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    assert hierarchy.GetItemByDataNode(ct) != 0
    slicer.mrmlScene.RemoveNode(ct)
    assert hierarchy.GetItemByDataNode(ct) == 0


WITHOUT_QT = """
import sys
sys.path.insert(0, {testing!r})
import standin
standin.install(qt=False)
import slicer
module = standin.load_module({module!r})
from TinyPanel import TinyPanelLogic
TinyPanelLogic().getParameterNode().strength = 0.5
assert TinyPanelLogic().getParameterNode().strength == 0.5
assert slicer.app.layoutManager() is None
assert slicer.modules.volumes.logic().IsA("vtkSlicerVolumesLogic")
assert "PySide6" not in sys.modules
import qt
try:
    qt.QTimer
except standin.NotKnownError:
    print("fine")
"""


def test_the_logic_runs_without_qt(tmp_path):
    testing = str(Path(__file__).resolve().parents[2])
    script = WITHOUT_QT.format(testing=testing, module=str(write_module(tmp_path)))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


def test_one_installation_a_process():
    standin.install(window=True)
    with pytest.raises(RuntimeError, match="already installed"):
        standin.install(qt=False)


def test_the_screenshot_of_a_panel(tmp_path, events):
    widget = slicer.util.getModuleWidget("TinyPanel")
    path = standin.screenshot(widget.parent, tmp_path / "panel.png", size=(300, 200))
    picture = qt.QPixmap(str(path))
    assert (picture.width(), picture.height()) == (300, 200)
