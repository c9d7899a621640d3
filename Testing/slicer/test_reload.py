"""Reload, as a developer clicks it: all of the code is the new one, and a run in progress leaves nothing behind."""

from __future__ import annotations

import sys
import unittest

import slicer
from scene_support import addCT, model, noisyArray, waitUntil

PARTS = ("MedDenoise", "MedDenoiseLib", "meddenoise")


def loaded() -> dict[str, object]:
    return {name: module for name, module in sys.modules.items() if name.split(".")[0] in PARTS}


class Reload(unittest.TestCase):
    def setUp(self) -> None:
        self.before = slicer.util.getModuleWidget("MedDenoise")
        self.modules = loaded()

    def tearDown(self) -> None:
        """Go back to the code that the other tests have imported."""
        slicer.util.getModuleWidget("MedDenoise").cleanup()
        for name in loaded():
            del sys.modules[name]
        sys.modules.update(self.modules)
        slicer.modules.meddenoise.widgetRepresentation().reload()

    def start(self, widget: object, slices: int) -> None:
        widget.enter()  # type: ignore[attr-defined]
        ui = widget.ui  # type: ignore[attr-defined]
        ui.inputSelector.setCurrentNode(addCT(noisyArray((slices, 64, 64))))
        ui.weightsPathLineEdit.currentPath = model() if model().endswith(".safetensors") else ""
        ui.denoiseButton.click()

    def test_reload_in_the_middle_of_a_run(self) -> None:
        self.start(self.before, 200)
        waitUntil(lambda: self.before.ui.progressBar.maximum == 200)
        slicer.util.reloadScriptedModule("MedDenoise")
        after = slicer.util.getModuleWidget("MedDenoise")
        self.assertIsNot(type(after), type(self.before))
        for name in ("MedDenoiseLib.run", "meddenoise.errors"):
            self.assertIsNot(sys.modules.get(name), self.modules[name])
        self.assertEqual(len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")), 1)
        self.start(after, 4)
        waitUntil(lambda: after.ui.denoiseButton.text == "&Denoise")
        self.assertIn("Done in", after.ui.statusLabel.text)


if __name__ == "__main__":
    unittest.main()
