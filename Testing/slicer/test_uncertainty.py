"""The uncertainty volume in the scene: where it lies, what it says of itself, what it replaces and what it leaves."""

from __future__ import annotations

import shutil
import unittest
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from scene_support import addCT, noisyArray


class Uncertainty(unittest.TestCase):
    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        self.source = addCT(noisyArray())

    def deliver(self, output: Any = None, sd: float | None = 3.0) -> Any:
        """Deliver a result as a run does, without one; sd is the uncertainty everywhere, None for none."""
        from meddenoise.worker_client import WorkerResult
        from MedDenoiseLib import uncertainty, volumes

        array = slicer.util.arrayFromVolume(self.source) // 2
        result = WorkerResult(
            array, model_sha256="ab" * 32, device="cpu", seconds=1.0, warnings=(), version="1.2.3", precision="bfloat16"
        )
        quality = "standard" if sd is None else "best"
        output = volumes.deliver(self.source, output, array, result=result, model="fast", strength=0.6, quality=quality)
        uncertainty.deliver(self.source, output, None if sd is None else np.full(array.shape, sd, np.float32))
        return output

    def of(self, output: Any) -> Any:
        from MedDenoiseLib import uncertainty

        return uncertainty.volumeOf(output)

    def volumes(self) -> list[str]:
        return [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]

    def test_lies_where_its_result_lies(self) -> None:
        volume = self.of(self.deliver())
        self.assertEqual(volume.GetName(), "CT denoised uncertainty")
        values = slicer.util.arrayFromVolume(volume)
        self.assertEqual((values.dtype, values.shape, values.max()), (np.float32, (4, 64, 64), 3))
        matrices = [vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()]
        self.source.GetIJKToRASMatrix(matrices[0])
        volume.GetIJKToRASMatrix(matrices[1])
        np.testing.assert_array_equal(*map(slicer.util.arrayFromVTKMatrix, matrices))
        self.assertEqual(volume.GetTransformNodeID(), self.source.GetTransformNodeID())
        self.assertEqual(volume.GetVoxelValueUnits().GetCodeValue(), "[hnsf'U]")
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        parent = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(volume))
        self.assertEqual(hierarchy.GetItemName(parent), "Study")

    def test_says_what_it_is(self) -> None:
        output = self.deliver()
        wanted = {
            "content": "SD over eight orientations, HU",
            "result": "CT denoised",
            "source": "CT",
            "model": "fast",
            "sha256": "ab" * 32,
            "quality": "best",
            "strength": "1",
            "precision": "bfloat16",
            "device": "cpu",
            "version": "1.2.3",
        }
        volume = self.of(output)
        self.assertEqual({key: volume.GetAttribute(f"MedDenoise.{key}") for key in wanted}, wanted)
        self.assertEqual(output.GetAttribute("MedDenoise.strength"), "0.6")
        self.assertIsNone(output.GetAttribute("MedDenoise.content"))

    def test_is_black_at_zero_and_bright_at_ten_hu(self) -> None:
        display = self.of(self.deliver()).GetDisplayNode()
        self.assertEqual((display.GetWindow(), display.GetLevel()), (10, 5))
        self.assertFalse(display.GetAutoWindowLevel())
        colours = display.GetColorNode().GetScalarsToColors()
        low, high = colours.GetRange()
        sums = []
        for part in (0, 0.25, 0.5, 0.75, 1):
            rgb = [0.0, 0.0, 0.0]
            colours.GetColor(low + part * (high - low), rgb)
            sums.append(sum(rgb))
        self.assertLess(sums[0], 0.05)
        self.assertEqual(sums, sorted(sums))
        self.assertGreater(sums[-1], 2)

    def test_is_no_ct_and_no_result(self) -> None:
        from meddenoise.errors import InputError
        from MedDenoiseLib import volumes

        volume = self.of(self.deliver())
        with self.assertRaisesRegex(InputError, "'CT denoised uncertainty' is an uncertainty volume"):
            volumes.checkInput(volume)
        self.assertFalse(volumes.isResultOf(volume, self.source))
        self.assertFalse(volumes.mayBeOverwritten(volume, self.source))

    def test_a_second_run_replaces_it_and_keeps_its_colours(self) -> None:
        output = self.deliver()
        first = self.of(output)
        first.GetDisplayNode().SetWindowLevel(40, 20)
        self.deliver(output, sd=7)
        self.assertEqual(self.of(output).GetID(), first.GetID())
        self.assertEqual(slicer.util.arrayFromVolume(first).min(), 7)
        self.assertEqual(first.GetDisplayNode().GetWindow(), 40)
        self.assertEqual(self.volumes(), ["CT", "CT denoised", "CT denoised uncertainty"])

    def test_another_result_has_its_own(self) -> None:
        first, second = self.deliver(), self.deliver(sd=7)
        self.assertNotEqual(self.of(first).GetID(), self.of(second).GetID())
        self.assertEqual(slicer.util.arrayFromVolume(self.of(first)).max(), 3)

    def test_a_clone_is_left_alone(self) -> None:
        output = self.deliver()
        logic = slicer.modules.volumes.logic()
        kept = logic.CloneVolume(slicer.mrmlScene, self.of(output), "Kept")
        twin = logic.CloneVolume(slicer.mrmlScene, output, "Twin")
        self.deliver(output, sd=7)
        self.assertEqual(slicer.util.arrayFromVolume(kept).max(), 3)
        self.assertIsNone(self.of(twin))
        self.deliver(twin, sd=9)
        self.assertEqual(slicer.util.arrayFromVolume(self.of(output)).max(), 7)

    def test_comes_back_with_its_scene(self) -> None:
        self.deliver()
        folder = Path(slicer.app.temporaryPath) / "UncertaintyScene"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.assertTrue(slicer.mrmlScene.SaveSceneToSlicerDataBundleDirectory(str(folder)))
        del self.source
        slicer.mrmlScene.Clear()
        slicer.mrmlScene.SetURL(str(next(folder.glob("*.mrml"))))
        self.assertTrue(slicer.mrmlScene.Connect())
        self.source = slicer.util.getNode("CT")
        output = slicer.util.getNode("CT denoised")
        volume = self.of(output)
        self.assertEqual(slicer.util.arrayFromVolume(volume).max(), 3)
        self.assertEqual(volume.GetDisplayNode().GetWindow(), 10)
        self.assertEqual(volume.GetDisplayNode().GetColorNode().GetName(), "PET-Heat")
        self.deliver(output, sd=7)
        self.assertEqual(slicer.util.arrayFromVolume(volume).max(), 7)

    def test_a_run_without_uncertainty_lets_go_of_it(self) -> None:
        output = self.deliver()
        volume = self.of(output)
        self.deliver(output, sd=None)
        self.assertEqual(output.GetAttribute("MedDenoise.quality"), "standard")
        self.assertIsNone(self.of(output))
        self.assertEqual(slicer.util.arrayFromVolume(volume).max(), 3)
        self.assertEqual(volume.GetAttribute("MedDenoise.result"), "CT denoised, denoised anew since")
        self.assertIsNone(volume.GetNodeReferenceID("MedDenoise.result"))
        self.assertIsNone(output.GetNodeReferenceID("MedDenoise.uncertainty"))
        self.deliver(output, sd=7)
        self.assertNotEqual(self.of(output).GetID(), volume.GetID())
        self.assertEqual(slicer.util.arrayFromVolume(volume).max(), 3)


if __name__ == "__main__":
    unittest.main()
