"""Parameter nodes: values in the node, validators, and the binding to widgets in both directions."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import ctk
import numpy as np
import pytest
import qt
import slicer
from slicer.parameterNodeWrapper import Choice, Decimals, Default, Minimum, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

import standin


class Device(enum.Enum):
    CPU = "cpu"
    GPU = "cuda"

    def label(self):
        return {"cpu": "Processor", "cuda": "Graphics card"}[self.value]


@parameterNodeWrapper
class Parameters:
    inputVolume: slicer.vtkMRMLScalarVolumeNode
    strength: Annotated[float, WithinRange(0.0, 1.0)] = 0.75
    count: Annotated[int, Minimum(1), Default(3)]
    model: Annotated[str, Choice(["fast", "standard"])] = "fast"
    device: Device
    compare: bool = True
    weights: Path


class ParametersLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return Parameters(super().getParameterNode())


@pytest.fixture
def parameters():
    return ParametersLogic().getParameterNode()


@pytest.fixture
def bound(parameters, widgets):
    """Bind the parameters to the widgets and let go afterwards, as a module's exit() does."""
    tag = parameters.connectGui(widgets["container"])
    yield tag
    parameters.disconnectGui(tag)


def volume(name="CT"):
    return slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16), name=name)


def test_defaults(parameters):
    assert (parameters.strength, parameters.count, parameters.model) == (0.75, 3, "fast")
    assert (parameters.device, parameters.compare, parameters.inputVolume) == (Device.CPU, True, None)
    assert parameters.weights == Path()
    assert parameters.default("count").value == 3
    assert parameters.isCached("strength")


def test_values_live_in_the_node(parameters):
    ct = volume()
    parameters.inputVolume, parameters.strength, parameters.device = ct, 0.25, Device.GPU
    parameters.compare, parameters.weights = False, Path("a") / "b"
    again = ParametersLogic().getParameterNode()
    assert again.parameterNode is parameters.parameterNode
    assert (again.inputVolume, again.strength, again.device) == (ct, 0.25, Device.GPU)
    assert (again.compare, again.weights) == (False, Path("a") / "b")
    assert parameters.parameterNode.GetParameter("device") == "GPU"
    parameters.parameterNode.SetParameter("strength", "0.5")
    assert again.strength == 0.5


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("strength", 1.5, ValueError),
        ("strength", None, ValueError),
        ("strength", "1", TypeError),
        ("count", 0, ValueError),
        ("count", 2.0, TypeError),
        ("model", "huge", ValueError),
        ("device", "CPU", TypeError),
        ("inputVolume", "vtkMRMLScalarVolumeNode1", TypeError),
    ],
)
def test_a_wrong_value_raises_and_changes_nothing(parameters, name, value, error):
    before = getattr(parameters, name)
    with pytest.raises(error):
        setattr(parameters, name, value)
    assert getattr(parameters, name) == before
    assert getattr(ParametersLogic().getParameterNode(), name) == before


def test_a_removed_node_is_none(parameters):
    ct = volume()
    parameters.inputVolume = ct
    slicer.mrmlScene.RemoveNode(ct)
    assert parameters.inputVolume is None


def test_closing_the_scene_brings_the_defaults_back(parameters):
    parameters.strength = 0.1
    slicer.mrmlScene.Clear()
    assert ParametersLogic().getParameterNode().strength == 0.75
    assert standin.slot_errors == []


def test_reserved_names_and_unknown_types_are_refused():
    with pytest.raises(ValueError, match="reserved"):

        @parameterNodeWrapper
        class _Reserved:
            connectGui: int

    with pytest.raises(standin.NotKnownError, match="list"):

        @parameterNodeWrapper
        class _Unknown:
            values: list[int]


@pytest.fixture
def widgets():
    """Return a container with one widget a parameter, marked as a .ui file marks them."""
    container = qt.QWidget()
    layout = qt.QVBoxLayout(container)
    made = {
        "inputVolume": slicer.qMRMLNodeComboBox(),
        "strength": ctk.ctkSliderWidget(),
        "count": qt.QSpinBox(),
        "model": qt.QComboBox(),
        "device": qt.QComboBox(),
        "compare": qt.QCheckBox(),
        "weights": ctk.ctkPathLineEdit(),
    }
    for name, widget in made.items():
        layout.addWidget(widget)
        widget.setProperty("SlicerParameterName", name)
    made["inputVolume"].nodeTypes = ["vtkMRMLScalarVolumeNode"]
    made["inputVolume"].setMRMLScene(slicer.mrmlScene)
    made["device"].addItem("to be replaced")
    made["container"] = container
    return made


@pytest.mark.usefixtures("bound")
def test_the_node_writes_the_widgets(parameters, widgets):
    ct = volume()
    assert widgets["strength"].value == 0.75
    assert (widgets["strength"].minimum, widgets["strength"].maximum) == (0.0, 1.0)
    assert widgets["device"].currentText == "Processor"
    parameters.inputVolume, parameters.strength, parameters.count = ct, 0.5, 9
    parameters.model, parameters.device, parameters.compare = "standard", Device.GPU, False
    parameters.weights = Path("w.safetensors")
    assert widgets["inputVolume"].currentNode() is ct
    assert (widgets["strength"].value, widgets["count"].value) == (0.5, 9)
    assert (widgets["model"].currentText, widgets["device"].currentText) == ("standard", "Graphics card")
    assert widgets["compare"].checked is False
    assert widgets["weights"].currentPath == "w.safetensors"


def test_the_widgets_write_the_node(parameters, widgets, bound):
    ct = volume()
    widgets["inputVolume"].setCurrentNode(ct)
    widgets["strength"].value = 0.25
    widgets["count"].value = 7
    widgets["model"].currentIndex = 1
    widgets["device"].currentIndex = 1
    widgets["compare"].checked = False
    widgets["weights"].currentPath = "x"
    again = ParametersLogic().getParameterNode()
    assert (again.inputVolume, again.strength, again.count) == (ct, 0.25, 7)
    assert (again.model, again.device, again.compare) == ("standard", Device.GPU, False)
    assert again.weights == Path("x")
    parameters.disconnectGui(bound)
    widgets["strength"].value = 1.0
    assert parameters.strength == 0.25
    parameters.strength = 0.0
    assert widgets["strength"].value == 1.0
    assert standin.slot_errors == []


def test_a_widget_that_slicer_cannot_bind_is_refused(parameters):
    with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
        parameters.connectParametersToGui({"strength": qt.QLineEdit()})
    with pytest.raises(ValueError, match="Cannot find a param"):
        parameters.connectParametersToGui({"strenght": ctk.ctkSliderWidget()})


def test_an_unbounded_number_cannot_be_a_slider():
    @parameterNodeWrapper
    class Unbounded:
        threshold: Annotated[float, Decimals(2)] = 0.0

    node = Unbounded(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    with pytest.raises(RuntimeError, match="unbounded"):
        node.connectParametersToGui({"threshold": ctk.ctkSliderWidget()})
