"""MedDenoise in 3D Slicer: what Slicer asks of a scripted module - description, panel, logic, self-test.

The work is done in MedDenoiseLib (the Slicer side, in pieces) and in meddenoise (the engine, in a child process).
"""

from __future__ import annotations

import sys
import unittest
from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

# Reload runs this file anew, but not what it imports: drop the old parts, so that all of the code is the new one.
if "MedDenoiseLib" in sys.modules:
    for _name in [name for name in sys.modules if name.split(".")[0] in ("MedDenoiseLib", "meddenoise")]:
        del sys.modules[_name]

from MedDenoiseLib import compare, sample_data, torch_installation
from MedDenoiseLib.logic import MedDenoiseLogic
from MedDenoiseLib.panel import MedDenoiseWidget

#: Slicer looks for the widget and the logic by these names in this file.
__all__ = ["MedDenoise", "MedDenoiseLogic", "MedDenoiseTest", "MedDenoiseWidget"]


class MedDenoise(ScriptedLoadableModule):
    """The module's description."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("MedDenoise")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Filtering.Denoising")]
        parent.dependencies = []
        parent.contributors = ["The MedDenoise contributors"]
        parent.helpText = _("""
<p>Removes noise from CT volumes with a convolutional denoising autoencoder, slice by slice, in Hounsfield units.</p>
<p>Choose a CT volume and click <i>Denoise</i>. The original is kept; the result is a new volume beside it. The strength
can be changed afterwards without a new run.</p>
<p><b>For research use, not for diagnosis.</b> A denoised image can lose small or faint structures: always look at the
difference.</p>
<p>More in the <a href="https://github.com/MedDenoise/SlicerMedDenoise">documentation</a>.</p>
""")
        parent.acknowledgementText = _("""
<p>Developed by the MedDenoise contributors. The model cards name the CT collections that the models were trained on,
with their licences.</p>
""")
        slicer.app.connect("startupCompleted()", onStartupCompleted)


def onStartupCompleted() -> None:
    """Make known what must be known before the panel is opened: sample volumes, and the layout that scenes may name."""
    compare.registerLayout()
    sample_data.register(Path(__file__).absolute().parent / "Resources" / "Icons")


class MedDenoiseTest(ScriptedLoadableModuleTest):
    """The self-test: the shipped model on a small numerical abdomen, from scene to scene."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run the tests; called by "Reload and Test", which knows failures but no skipped tests."""
        try:
            super().runTest()
        except unittest.SkipTest as reason:
            self.delayDisplay(f"Test skipped: {reason}")

    def test_denoise_numerical_abdomen(self) -> None:
        """Denoise a volume whose truth is known; it must come nearer to the truth and keep its place."""
        import numpy as np

        from meddenoise.catalogue import shipped_models
        from meddenoise.metrics import rmse
        from meddenoise.noise import add_correlated_noise
        from meddenoise.phantom import numerical_abdomen

        missing = [] if torch_installation.otherPython() else torch_installation.missingPackages()
        if missing:
            self.skipTest(f"{', '.join(missing)} not installed in Slicer")
        if not shipped_models():
            self.skipTest("no model is shipped")
        truth = numerical_abdomen(slices=4, size=128).hu
        noisy = add_correlated_noise(truth, 25.0, seed=1)
        inputVolume = slicer.util.addVolumeFromArray(noisy, ijkToRAS=np.diag([-3.0, -3.0, 5.0, 1.0]), name="CT")

        logic = MedDenoiseLogic()
        try:
            outputVolume = logic.process(inputVolume, progress=lambda done, total: self.delayDisplay(f"{done}/{total}"))
            denoised = slicer.util.arrayFromVolume(outputVolume).copy()
            logic.setStrength(outputVolume, 0)
            np.testing.assert_array_equal(slicer.util.arrayFromVolume(outputVolume), noisy)
        finally:
            logic.close()

        self.assertEqual(denoised.dtype, noisy.dtype)
        self.assertLess(rmse(truth, denoised), 0.8 * rmse(truth, noisy))
        matrices = [vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()]
        inputVolume.GetIJKToRASMatrix(matrices[0])
        outputVolume.GetIJKToRASMatrix(matrices[1])
        np.testing.assert_array_equal(*(slicer.util.arrayFromVTKMatrix(matrix) for matrix in matrices))
        self.delayDisplay("Test passed")
