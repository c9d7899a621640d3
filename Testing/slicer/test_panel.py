"""The panel, used as a user uses it: what it offers and refuses, runs to the end, and all that can come between."""

from __future__ import annotations

import gc
import shutil
import unittest
import unittest.mock
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from scene_support import addCT, denoisedByEngine, model, noisyArray, waitUntil

#: Enough slices that a run is still going on while the test does something.
LONG = (200, 64, 64)


class Panel(unittest.TestCase):
    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        self.widget = slicer.util.getModuleWidget("MedDenoise")
        self.widget.parent.enter()
        self.ui = self.widget.ui
        self.parameters = self.widget.logic.getParameterNode()

    def tearDown(self) -> None:
        if self.running():
            self.ui.denoiseButton.click()
            waitUntil(lambda: not self.running())
        self.widget.parent.exit()

    @classmethod
    def tearDownClass(cls) -> None:
        slicer.util.getModuleWidget("MedDenoise").logic.close()

    def running(self) -> bool:
        return self.ui.progressBar.visible or self.ui.denoiseButton.text == "&Cancel"

    def choose(self, array: np.ndarray, name: str = "CT") -> Any:
        """Add a volume and choose it, with a model to test with."""
        node = addCT(array, name)
        self.ui.inputSelector.setCurrentNode(node)
        name = model()
        if name.endswith(".safetensors"):
            self.ui.weightsPathLineEdit.currentPath = name
        return node

    def denoise(self) -> Any:
        """Click Denoise, wait, and return the output."""
        self.ui.denoiseButton.click()
        self.assertTrue(self.running(), self.ui.statusLabel.text)
        waitUntil(lambda: not self.running())
        return self.ui.outputSelector.currentNode()

    def startLong(self) -> Any:
        """Start a run that takes its time, and wait until slices are coming."""
        node = self.choose(noisyArray(LONG))
        self.ui.denoiseButton.click()
        waitUntil(lambda: self.ui.progressBar.maximum == LONG[0] or not self.running())
        self.assertTrue(self.running(), self.ui.statusLabel.text)
        return node

    def volumes(self) -> list[str]:
        return [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]


class Offers(Panel):
    def test_empty_scene(self) -> None:
        self.assertFalse(self.ui.denoiseButton.enabled)
        self.assertFalse(self.ui.compareButton.enabled)
        self.assertFalse(self.running())
        self.assertEqual(self.ui.statusLabel.text, "Choose the CT volume to denoise.")
        self.assertIn("not for diagnosis", self.ui.noticeLabel.text)
        self.assertIn("not for diagnosis", slicer.modules.meddenoise.helpText)

    def test_module_description(self) -> None:
        module = slicer.modules.meddenoise
        self.assertEqual(module.title, "MedDenoise")
        self.assertEqual(list(module.categories), ["Filtering.Denoising"])
        self.assertTrue(module.acknowledgementText.strip())

    def test_first_volume_is_chosen_but_no_label_map(self) -> None:
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
        node = addCT(noisyArray())
        self.widget.parent.exit()
        self.widget.parent.enter()
        self.assertEqual(self.ui.inputSelector.currentNode().GetID(), node.GetID())
        self.assertEqual(self.ui.inputSelector.nodeCount(), 1)

    def test_every_shipped_model_is_offered(self) -> None:
        from meddenoise.catalogue import shipped_models

        offered = [self.ui.modelComboBox.itemData(index) for index in range(self.ui.modelComboBox.count)]
        self.assertEqual(offered, ["auto", *(each.name for each in shipped_models())])
        self.assertEqual(self.ui.modelComboBox.currentIndex, 0)
        self.assertTrue(self.ui.modelComboBox.currentText.startswith("Automatic: "))

    def test_model_of_the_list_and_own_weights_go_to_the_parameter_node_and_come_from_it(self) -> None:
        self.ui.modelComboBox.currentIndex = 1
        self.assertEqual(self.parameters.model, self.ui.modelComboBox.itemData(1))
        self.parameters.model = "auto"
        self.assertEqual(self.ui.modelComboBox.currentIndex, 0)
        self.parameters.weightsFile = "/some/where.safetensors"
        self.assertEqual(self.ui.weightsPathLineEdit.currentPath, "/some/where.safetensors")

    def test_uncertainty_comes_with_best_quality_only(self) -> None:
        self.choose(noisyArray())
        self.assertFalse(self.ui.bestQualityCheckBox.checked or self.ui.uncertaintyCheckBox.checked)
        self.assertFalse(self.ui.uncertaintyCheckBox.enabled)
        self.ui.bestQualityCheckBox.checked = True
        self.assertTrue(self.ui.uncertaintyCheckBox.enabled)
        self.ui.uncertaintyCheckBox.checked = True
        self.assertTrue(self.parameters.bestQuality and self.parameters.makeUncertainty)
        self.ui.bestQualityCheckBox.checked = False
        self.assertFalse(self.ui.uncertaintyCheckBox.enabled)

    def test_devices(self) -> None:
        self.ui.deviceComboBox.currentIndex = 1
        self.assertEqual(self.parameters.device.value, "cpu")
        self.assertEqual(self.ui.deviceComboBox.count, 4)

    def test_own_weights_replace_the_model(self) -> None:
        self.ui.weightsPathLineEdit.currentPath = "/some/where.safetensors"
        self.assertFalse(self.ui.modelComboBox.enabled)
        self.assertEqual(self.parameters.weightsFile, "/some/where.safetensors")
        self.ui.weightsPathLineEdit.currentPath = ""
        self.assertTrue(self.ui.modelComboBox.enabled)
        self.assertEqual(self.parameters.weightsFile, "")

    def test_interpreter_is_kept_in_the_settings(self) -> None:
        from MedDenoiseLib import torch_installation

        before = torch_installation.otherPython()
        self.addCleanup(torch_installation.setOtherPython, before)
        self.addCleanup(setattr, self.ui.pythonPathLineEdit, "currentPath", before)
        self.ui.pythonPathLineEdit.currentPath = "/opt/python"
        self.assertEqual(torch_installation.otherPython(), "/opt/python")
        self.ui.pythonPathLineEdit.currentPath = ""
        self.assertEqual(torch_installation.otherPython(), "")


class Scenes(Panel):
    def test_opened_scene_is_shown(self) -> None:
        addCT(noisyArray(), "First")
        node = self.choose(noisyArray(), "Second")
        output = self.denoise()
        folder = Path(slicer.app.temporaryPath) / "PanelScene"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.assertTrue(slicer.mrmlScene.SaveSceneToSlicerDataBundleDirectory(str(folder)))
        names = [node.GetName(), output.GetName()]
        del node, output
        slicer.mrmlScene.Clear()
        self.assertIsNone(self.ui.inputSelector.currentNode())
        slicer.mrmlScene.SetURL(str(next(folder.glob("*.mrml"))))
        self.assertTrue(slicer.mrmlScene.Connect())
        shown = [self.ui.inputSelector.currentNode(), self.ui.outputSelector.currentNode()]
        self.assertEqual([node.GetName() if node else None for node in shown], names)
        self.assertTrue(self.ui.compareButton.enabled)
        self.ui.strengthSlider.value = 35  # the panel writes where it reads
        self.assertEqual(self.widget.logic.getParameterNode().strength, 35)

    def test_selectors_do_not_count_during_an_import(self) -> None:
        self.choose(noisyArray())
        output = self.denoise()
        slicer.mrmlScene.StartState(slicer.vtkMRMLScene.ImportState)
        self.ui.outputSelector.setCurrentNode(None)
        slicer.mrmlScene.EndState(slicer.vtkMRMLScene.ImportState)
        self.assertEqual(self.ui.outputSelector.currentNode().GetID(), output.GetID())

    def test_deleted_input_is_freed(self) -> None:
        node = self.choose(noisyArray())
        self.widget.parent.exit()
        self.widget.parent.enter()
        freed: list[str] = []
        node.AddObserver(vtk.vtkCommand.DeleteEvent, lambda caller, event: freed.append(event))
        slicer.mrmlScene.RemoveNode(node)
        del node
        slicer.app.processEvents()
        gc.collect()
        self.assertEqual(freed, ["DeleteEvent"])

    def test_one_wrapper_for_one_parameter_node(self) -> None:
        before = self.widget._parameterNode
        self.widget.parent.exit()
        self.widget.parent.enter()
        self.assertIs(self.widget._parameterNode, before)


class Refuses(Panel):
    def assertRefused(self, part: str) -> None:
        self.assertIn(part, self.ui.statusLabel.text)
        self.assertIn(part, self.ui.denoiseButton.toolTip)
        self.assertFalse(self.ui.denoiseButton.enabled)

    def test_empty_volume(self) -> None:
        self.ui.inputSelector.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty"))
        self.assertRefused("'Empty' has no voxels")

    def test_empty_volume_gets_its_voxels(self) -> None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Later")
        self.ui.inputSelector.setCurrentNode(node)
        self.ui.weightsPathLineEdit.currentPath = "/some/where.safetensors"
        self.assertFalse(self.ui.denoiseButton.enabled)
        slicer.util.updateVolumeFromArray(node, noisyArray())
        self.assertTrue(self.ui.denoiseButton.enabled)

    def test_input_as_output(self) -> None:
        node = self.choose(noisyArray())
        self.ui.outputSelector.setCurrentNode(node)
        self.assertRefused("is the input")

    def test_other_volume_as_output(self) -> None:
        self.choose(noisyArray())
        self.ui.outputSelector.setCurrentNode(addCT(noisyArray(), "Precious"))
        self.assertRefused("'Precious' holds something else")
        self.ui.outputSelector.setCurrentNode(None)
        self.assertTrue(self.ui.denoiseButton.enabled)

    def test_edited_result_as_output(self) -> None:
        self.choose(noisyArray())
        output = self.denoise()
        slicer.util.arrayFromVolume(output)[0, 0, 0] = 7
        slicer.util.arrayFromVolumeModified(output)
        self.ui.denoiseButton.click()
        self.assertFalse(self.running())
        self.assertRefused("'CT denoised' has been edited; choose \"Create new volume\" as output.")
        self.ui.outputSelector.setCurrentNode(None)
        self.assertTrue(self.ui.denoiseButton.enabled)

    def test_cropped_result(self) -> None:
        self.choose(noisyArray())
        self.parameters.showComparison = False
        self.ui.showComparisonCheckBox.checked = False
        output = self.denoise()
        cropped = slicer.util.arrayFromVolume(output)[:, :32].copy()
        slicer.util.updateVolumeFromArray(output, cropped)
        self.ui.compareButton.click()
        self.assertIn("'CT denoised' does not fit its input any more", self.ui.statusLabel.text)
        self.assertFalse(self.ui.compareButton.enabled)
        self.assertEqual(self.ui.outputSelector.currentNode().GetID(), output.GetID())
        self.assertFalse(self.ui.denoiseButton.enabled)

    def test_result_of_another_input_as_output(self) -> None:
        self.choose(noisyArray())
        output = self.denoise()
        self.choose(noisyArray(seed=2), "Other")
        self.ui.outputSelector.setCurrentNode(output)
        self.assertIsNone(self.ui.outputSelector.currentNode())
        self.assertEqual(
            self.ui.statusLabel.text, "'CT denoised' belongs to another input and is kept; a new volume is made."
        )
        self.assertTrue(self.ui.denoiseButton.enabled)

    def test_unknown_model(self) -> None:
        self.ui.inputSelector.setCurrentNode(addCT(noisyArray()))
        self.parameters.model = "no such model"
        self.assertRefused("'no such model' is not installed")


class Runs(Panel):
    def test_to_the_result(self) -> None:
        node = self.choose(noisyArray())
        self.ui.deviceComboBox.currentIndex = 1
        output = self.denoise()
        self.assertEqual(output.GetName(), "CT denoised")
        self.assertIn("Done in", self.ui.statusLabel.text)
        self.assertEqual(self.ui.denoiseButton.text, "&Denoise")
        self.assertTrue(self.ui.denoiseButton.enabled)
        self.assertTrue(self.ui.compareButton.enabled)
        self.assertEqual(output.GetNodeReferenceID("MedDenoise.source"), node.GetID())

        # Once more: the same volume takes the result, nothing new appears.
        self.denoise()
        self.assertEqual(self.volumes(), ["CT", "CT denoised", "CT denoised difference"])

        # Another input: its result becomes a volume of its own.
        self.ui.inputSelector.setCurrentNode(addCT(noisyArray(seed=2), "Other"))
        self.assertIsNone(self.ui.outputSelector.currentNode())
        self.assertEqual(self.denoise().GetName(), "Other denoised")

    def test_best_quality_with_and_without_uncertainty(self) -> None:
        self.choose(noisyArray())
        self.ui.showComparisonCheckBox.checked = False
        self.ui.deviceComboBox.currentIndex = 1
        self.ui.bestQualityCheckBox.checked = True
        self.ui.uncertaintyCheckBox.checked = True
        output = self.denoise()
        self.assertEqual(output.GetAttribute("MedDenoise.quality"), "best")
        self.assertEqual(self.volumes(), ["CT", "CT denoised", "CT denoised uncertainty"])
        uncertainty = self.widget.logic.uncertaintyVolumeOf(output)
        self.assertGreater(slicer.util.arrayFromVolume(uncertainty).max(), 0.1)
        self.ui.bestQualityCheckBox.checked = False  # the other box stays checked, without effect
        self.assertEqual(self.denoise().GetAttribute("MedDenoise.quality"), "standard")
        self.assertIsNone(self.widget.logic.uncertaintyVolumeOf(output))

    def test_result_of_another_model_is_kept_by_the_automatic_one(self) -> None:
        self.choose(noisyArray())
        self.ui.deviceComboBox.currentIndex = 1
        first = self.denoise()
        self.assertIn(f"({model()} on cpu)", self.ui.statusLabel.text)
        first.SetAttribute("MedDenoise.model", "another")
        self.parameters.Modified()
        self.assertIn("was made with another model", self.ui.statusLabel.text)
        self.assertNotEqual(self.denoise().GetID(), first.GetID())

    def test_another_model_gets_a_volume_of_its_own(self) -> None:
        from meddenoise.catalogue import shipped_models

        if not shipped_models():
            self.skipTest("no model is shipped")
        own = Path(slicer.app.temporaryPath) / "own.safetensors"
        shutil.copyfile(shipped_models()[0].path, own)
        self.choose(noisyArray())
        first = self.denoise()
        self.ui.weightsPathLineEdit.currentPath = str(own)
        before = slicer.util.arrayFromVolume(first).copy()
        self.assertIn("'CT denoised' was made with another model", self.ui.statusLabel.text)
        second = self.denoise()
        self.assertNotEqual(second.GetID(), first.GetID())
        self.assertNotEqual(second.GetName(), first.GetName())
        self.assertEqual(first.GetAttribute("MedDenoise.model"), model())
        self.assertEqual(second.GetAttribute("MedDenoise.model"), str(own))
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(first), before)
        self.assertEqual(self.denoise().GetID(), second.GetID())  # the same model again: the same volume

    def test_outcome_stays_until_another_output_is_chosen(self) -> None:
        node = self.choose(noisyArray())
        self.denoise()
        node.Modified()
        self.ui.deviceComboBox.currentIndex = 1
        self.widget.parent.exit()
        self.widget.parent.enter()
        self.assertIn("Done in", self.ui.statusLabel.text)
        self.ui.outputSelector.setCurrentNode(None)
        self.assertEqual(self.ui.statusLabel.text, "")

    def test_progress_is_shown(self) -> None:
        self.startLong()
        seen: set[int] = set()
        texts: set[str] = set()

        def look() -> bool:
            seen.add(self.ui.progressBar.value)
            texts.add(self.ui.statusLabel.text)
            return not self.running()

        waitUntil(look)
        self.assertGreater(len(seen), 1)
        self.assertTrue(any(text.startswith("Denoising: ") and text.endswith(" left") for text in texts), texts)

    def test_cancel(self) -> None:
        self.startLong()
        self.assertEqual(self.ui.denoiseButton.text, "&Cancel")
        self.assertFalse(self.ui.inputSelector.enabled)
        self.ui.denoiseButton.click()
        self.assertFalse(self.ui.denoiseButton.enabled)
        waitUntil(lambda: not self.running())
        self.assertEqual(self.ui.statusLabel.text, "Cancelled.")
        self.assertEqual(self.volumes(), ["CT"])
        self.assertTrue(self.ui.denoiseButton.enabled)
        self.assertTrue(self.ui.inputSelector.enabled)

    def test_scene_closed_in_the_middle(self) -> None:
        self.startLong()
        slicer.mrmlScene.Clear()
        waitUntil(lambda: not self.running())
        self.assertEqual(self.volumes(), [])
        self.widget.parent.enter()
        self.parameters = self.widget.logic.getParameterNode()
        self.choose(noisyArray())
        self.assertIsNotNone(self.denoise())

    def test_input_deleted_in_the_middle(self) -> None:
        slicer.mrmlScene.RemoveNode(self.startLong())
        waitUntil(lambda: not self.running())
        self.assertEqual(self.volumes(), [])
        self.assertEqual(self.ui.statusLabel.text, "Choose the CT volume to denoise.")

    def test_output_deleted_in_the_middle(self) -> None:
        self.choose(noisyArray())
        first = self.denoise()
        first.SetName("First")
        self.ui.denoiseButton.click()
        slicer.mrmlScene.RemoveNode(first)
        waitUntil(lambda: not self.running())
        self.assertEqual(len([name for name in self.volumes() if "difference" not in name]), 2)
        output = self.ui.outputSelector.currentNode()
        self.assertTrue(output.GetName().startswith("CT denoised"))  # _1: the scene gives no name twice
        self.assertEqual(output.GetImageData().GetDimensions(), (64, 64, 4))

    def test_output_deleted_afterwards(self) -> None:
        self.choose(noisyArray())
        slicer.mrmlScene.RemoveNode(self.denoise())
        self.assertIsNone(self.ui.outputSelector.currentNode())
        self.assertTrue(self.ui.denoiseButton.enabled)

    def test_module_left_in_the_middle(self) -> None:
        self.startLong()
        self.widget.parent.exit()
        waitUntil(lambda: not self.running())
        self.widget.parent.enter()
        self.assertEqual(self.ui.outputSelector.currentNode().GetName(), "CT denoised")

    def test_wrong_weights(self) -> None:
        self.choose(noisyArray())
        self.ui.weightsPathLineEdit.currentPath = "/no/such/file.safetensors"
        self.ui.denoiseButton.click()
        waitUntil(lambda: not self.running())
        self.assertIn("/no/such/file.safetensors", self.ui.statusLabel.text)
        self.assertEqual(self.volumes(), ["CT"])
        self.assertTrue(self.ui.denoiseButton.enabled)

    def test_remarks_on_the_input_are_told(self) -> None:
        array = noisyArray(dtype=np.float32)
        array[0, 0, 0] = np.nan
        self.choose(array)
        self.denoise()
        self.assertIn("Done in", self.ui.statusLabel.text)
        self.assertIn("NaN", self.ui.statusLabel.text)

    def test_fault_of_our_own_ends_the_run_and_is_told_once(self) -> None:
        from MedDenoiseLib import run

        self.choose(noisyArray())
        fault = RuntimeError("no such thing")
        with (
            unittest.mock.patch.object(run.volumes, "deliver", side_effect=fault) as deliver,
            unittest.mock.patch.object(slicer.util, "errorDisplay") as errorDisplay,
        ):
            self.denoise()
            slicer.app.processEvents()
        deliver.assert_called_once()
        errorDisplay.assert_called_once()
        self.assertEqual(self.ui.statusLabel.text, "no such thing")
        self.assertEqual(self.denoise().GetName(), "CT denoised")  # and the next run is as good as any

    def test_panel_closed_in_the_middle(self) -> None:
        """What a reload and the end of Slicer do first."""
        from MedDenoise import MedDenoiseWidget

        self.widget.parent.exit()
        other = MedDenoiseWidget()  # a panel in a window of its own
        other.ui.inputSelector.setCurrentNode(addCT(noisyArray(LONG)))
        other.ui.weightsPathLineEdit.currentPath = model() if model().endswith(".safetensors") else ""
        other.ui.denoiseButton.click()
        waitUntil(lambda: other.ui.progressBar.maximum == LONG[0])
        child = other.logic._client._child
        self.assertFalse(child.has_ended())
        other.cleanup()
        other.parent.hide()
        self.assertTrue(child.has_ended())
        slicer.app.processEvents()
        self.assertEqual(self.volumes(), ["CT"])


class Strength(Panel):
    def setUp(self) -> None:
        super().setUp()
        self.array = noisyArray()
        self.source = self.choose(self.array)
        self.ui.deviceComboBox.currentIndex = 1
        self.output = self.denoise()

    def values(self) -> np.ndarray:
        return slicer.util.arrayFromVolume(self.output).copy()

    def test_slider_blends_at_once(self) -> None:
        from meddenoise.strength import blend

        full = denoisedByEngine([self.array], model(), strength=1)[0]
        self.assertEqual(self.output.GetAttribute("MedDenoise.strength"), "0.65")
        np.testing.assert_array_equal(self.values(), blend(self.array, full, 0.65))
        for percent in (30, 0, 55, 100):
            self.ui.strengthSlider.value = 90  # moves in quick succession count as one
            self.ui.strengthSlider.value = percent
            waitUntil(lambda: self.output.GetAttribute("MedDenoise.strength") == f"{percent / 100:g}")  # noqa: B023
            np.testing.assert_array_equal(self.values(), blend(self.array, full, percent / 100))
        self.assertFalse(np.array_equal(full, self.array))

    def test_slider_moved_during_the_run(self) -> None:
        from meddenoise.strength import blend

        full = denoisedByEngine([self.array], model(), strength=1)[0]
        self.ui.denoiseButton.click()
        self.ui.strengthSlider.value = 25
        waitUntil(lambda: not self.running())
        np.testing.assert_array_equal(self.values(), blend(self.array, full, 0.25))

    def test_slider_takes_the_strength_of_the_chosen_result(self) -> None:
        before = self.values()
        self.ui.outputSelector.setCurrentNode(None)
        self.ui.strengthSlider.value = 40
        other = self.denoise()
        for node, percent in ((self.output, 65), (other, 40)):
            self.ui.outputSelector.setCurrentNode(node)
            self.assertEqual(self.ui.strengthSlider.value, percent)
        np.testing.assert_array_equal(self.values(), before)

    def test_slider_moved_during_the_run_of_a_new_volume(self) -> None:
        self.ui.outputSelector.setCurrentNode(None)
        self.ui.denoiseButton.click()
        self.ui.strengthSlider.value = 25
        waitUntil(lambda: not self.running())
        self.assertEqual(self.ui.strengthSlider.value, 25)
        self.assertEqual(self.ui.outputSelector.currentNode().GetAttribute("MedDenoise.strength"), "0.25")

    def test_result_is_not_blended_twice(self) -> None:
        logic = self.widget.logic
        with unittest.mock.patch.object(logic, "setStrength", wraps=logic.setStrength) as setStrength:
            self.denoise()
            setStrength.assert_not_called()
            self.ui.strengthSlider.value = 70
            waitUntil(lambda: self.output.GetAttribute("MedDenoise.strength") == "0.7")
            setStrength.assert_called_once()

    def test_compare_and_back(self) -> None:
        layoutManager = slicer.app.layoutManager()
        if layoutManager is None:
            self.skipTest("no main window")
        fourUp = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
        layoutManager.setLayout(fourUp)
        self.denoise()  # "Compare when done" is on
        self.assertNotEqual(layoutManager.layout, fourUp)
        self.assertEqual(self.ui.compareButton.text, "Go &back")
        self.ui.compareButton.click()
        self.assertEqual(layoutManager.layout, fourUp)
        self.assertEqual(self.ui.compareButton.text, "Com&pare")
        self.ui.compareButton.click()
        layoutManager.setLayout(fourUp)  # by the layout menu
        self.assertEqual(self.ui.compareButton.text, "Com&pare")

    def test_difference_follows_the_slider(self) -> None:
        from MedDenoiseLib import compare

        self.ui.compareButton.click()
        difference = self.output.GetNodeReference(compare.DIFFERENCE)
        before = slicer.util.arrayFromVolume(difference).copy()
        self.ui.strengthSlider.value = 50
        waitUntil(lambda: self.output.GetAttribute("MedDenoise.strength") == "0.5")
        after = slicer.util.arrayFromVolume(difference)
        np.testing.assert_array_equal(after, self.array - self.values())
        self.assertFalse(np.array_equal(after, before))

    def test_changed_input_disables_the_slider(self) -> None:
        slicer.util.arrayFromVolume(self.source)[0, 0, 0] = 7
        slicer.util.arrayFromVolumeModified(self.source)
        before = self.values()
        self.assertIn("has changed since", self.ui.statusLabel.text)
        self.assertFalse(self.ui.strengthSlider.enabled)
        np.testing.assert_array_equal(self.values(), before)

    def test_result_of_another_session(self) -> None:
        self.widget.logic.close()  # forgets the full-strength results, as the end of Slicer does
        before = self.values()
        self.ui.strengthSlider.value = 20
        waitUntil(lambda: self.ui.statusLabel.text == "The strength takes effect when you denoise.")
        self.assertTrue(self.ui.strengthSlider.enabled)
        np.testing.assert_array_equal(self.values(), before)

    def test_strength_chosen_before_the_run(self) -> None:
        from meddenoise.strength import blend

        full = denoisedByEngine([self.array], model(), strength=1)[0]
        self.ui.outputSelector.setCurrentNode(None)
        self.ui.strengthSlider.value = 40
        self.output = self.denoise()
        np.testing.assert_array_equal(self.values(), blend(self.array, full, 0.4))


if __name__ == "__main__":
    unittest.main()
