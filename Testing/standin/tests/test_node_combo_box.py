"""qMRMLNodeComboBox follows the scene and chooses as Slicer's does."""

from __future__ import annotations

import numpy as np
import pytest
import slicer


def volume(name="CT"):
    return slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16), name=name)


@pytest.fixture
def selector():
    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    return combo


def test_it_is_off_without_a_scene_and_remembers_what_was_asked_for(selector):
    ct = volume()
    assert selector.enabled is False
    selector.setCurrentNode(ct)
    assert selector.currentNode() is None
    selector.setMRMLScene(slicer.mrmlScene)
    assert selector.enabled is True
    assert selector.currentNode() is ct


def test_it_lists_what_fits(selector):
    selector.setMRMLScene(slicer.mrmlScene)
    selector.hideChildNodeTypes = ["vtkMRMLLabelMapVolumeNode"]
    ct = volume()
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "model")
    hidden = slicer.vtkMRMLScalarVolumeNode()
    hidden.SetHideFromEditors(True)
    slicer.mrmlScene.AddNode(hidden)
    assert [selector.nodeFromIndex(i) for i in range(selector.nodeCount())] == [ct]
    selector.hideChildNodeTypes = []
    assert selector.nodeCount() == 2
    selector.showChildNodeTypes = False
    assert selector.nodeCount() == 1


def test_only_nodes_with_the_attribute(selector):
    selector.setMRMLScene(slicer.mrmlScene)
    selector.addAttribute("vtkMRMLScalarVolumeNode", "MedDenoise.model", "fast")
    volume()
    assert selector.nodeCount() == 0
    made = selector.addNode()
    assert made.GetAttribute("MedDenoise.model") == "fast"
    assert selector.nodeCount() == 1


def test_it_tells_of_a_change_once(selector):
    selector.setMRMLScene(slicer.mrmlScene)
    selector.noneEnabled = True
    first, second = volume("first"), volume("second")
    nodes, valid, ids = [], [], []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", nodes.append)
    selector.connect("currentNodeChanged(bool)", valid.append)
    selector.connect("currentNodeIDChanged(QString)", ids.append)
    selector.setCurrentNode(first)
    selector.setCurrentNode(first)
    selector.currentNodeID = second.GetID()
    selector.setCurrentNode(None)
    assert nodes == [first, second, None]
    assert valid == [True, True, False]
    assert ids == [first.GetID(), second.GetID(), ""]


def test_a_new_name_is_shown(selector):
    from PySide6.QtWidgets import QComboBox

    selector.setMRMLScene(slicer.mrmlScene)
    ct = volume()
    selector.setCurrentNode(ct)
    ct.SetName("renamed")
    assert selector._native.findChild(QComboBox).currentText() == "renamed"


def test_the_previous_one_is_chosen_when_the_chosen_node_goes(selector):
    # QComboBox's own rule; it makes an output selector jump to the input.
    selector.setMRMLScene(slicer.mrmlScene)
    selector.noneEnabled = True
    first, second = volume("first"), volume("second")
    selector.setCurrentNode(second)
    slicer.mrmlScene.RemoveNode(second)
    assert selector.currentNode() is first
    slicer.mrmlScene.RemoveNode(first)
    assert selector.currentNode() is None


def test_the_first_node_is_chosen_where_there_is_nothing_else_to_choose(selector):
    selector.setMRMLScene(slicer.mrmlScene)
    selector.addEnabled = False
    selector.removeEnabled = False
    ct = volume()
    assert selector.currentNode() is ct


def test_nothing_is_chosen_by_itself_where_there_are_actions(selector):
    selector.setMRMLScene(slicer.mrmlScene)
    volume()
    assert selector.currentNode() is None


def test_closing_the_scene_empties_it(selector):
    selector.setMRMLScene(slicer.mrmlScene)
    selector.setCurrentNode(volume())
    heard = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    slicer.mrmlScene.Clear()
    assert selector.nodeCount() == 0
    assert selector.currentNode() is None
    assert heard[-1:] == [None]


def test_adding_chooses_and_names(selector):
    selector.setMRMLScene(slicer.mrmlScene)
    selector.baseName = "Denoised"
    made, again = selector.addNode(), selector.addNode()
    assert (made.GetName(), again.GetName()) == ("Denoised", "Denoised_1")
    assert selector.currentNode() is again
    selector.selectNodeUponCreation = False
    selector.addNode()
    assert selector.currentNode() is again


def test_a_base_name_before_the_node_types_is_an_error():
    with pytest.raises((ValueError, RuntimeError)):
        slicer.qMRMLNodeComboBox()._native._set_base_name("Denoised")
