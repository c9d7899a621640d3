"""The button that saves a result as DICOM: when it can be pressed, why not, and what it does."""

from __future__ import annotations

import unittest.mock

import slicer
from test_export import DICOMScene


class SaveButton(DICOMScene):
    def setUp(self) -> None:
        super().setUp()
        self.widget = slicer.util.getModuleWidget("MedDenoise")
        self.widget.parent.enter()
        self.addCleanup(self.widget.parent.exit)
        self.ui = self.widget.ui

    def test_button_says_why_it_is_disabled(self) -> None:
        inputVolume = self.loaded()
        self.ui.inputSelector.setCurrentNode(inputVolume)
        self.assertFalse(self.ui.saveButton.enabled)
        self.assertIn("Denoise a volume first", self.ui.saveButton.toolTip)
        inputVolume.RemoveAttribute("DICOM.instanceUIDs")
        self.ui.outputSelector.setCurrentNode(self.denoised(inputVolume))
        self.assertFalse(self.ui.saveButton.enabled)
        self.assertIn("was not loaded from DICOM", self.ui.saveButton.toolTip)

    def click(self, folder: str) -> None:
        with unittest.mock.patch.object(self.widget, "_askFolder", return_value=folder):
            self.ui.saveButton.click()

    def test_button_saves_into_a_folder_of_its_own(self) -> None:
        inputVolume = self.loaded()
        output = self.denoised(inputVolume)
        self.ui.inputSelector.setCurrentNode(inputVolume)
        self.ui.outputSelector.setCurrentNode(output)
        self.assertTrue(self.ui.saveButton.enabled, self.ui.saveButton.toolTip)
        self.click("")
        self.assertEqual([path.name for path in self.folder.iterdir()], ["in"])
        self.click(str(self.folder))
        self.assertEqual(len(list((self.folder / output.GetName()).iterdir())), 4)
        self.assertIn("Saved in", self.ui.statusLabel.text)
