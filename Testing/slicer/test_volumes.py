"""Which volumes are refused, and how a result lies in the scene."""

from __future__ import annotations

import unittest
from typing import Any

import numpy as np
import slicer
import vtk
from scene_support import addCT, noisyArray


def result(array: np.ndarray) -> Any:
    from meddenoise.worker_client import WorkerResult

    return WorkerResult(
        array, model_sha256="ab" * 32, device="cpu", seconds=1.0, warnings=(), version="1.2.3", precision="bfloat16"
    )


class WrongVolumes(unittest.TestCase):
    def assertRefused(self, node: Any, part: str) -> None:
        from meddenoise.errors import InputError
        from MedDenoiseLib import volumes

        with self.assertRaisesRegex(InputError, part):
            volumes.checkInput(node)

    def test_none(self) -> None:
        self.assertRefused(None, "Choose the CT volume")

    def test_empty(self) -> None:
        self.assertRefused(
            slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty"), "'Empty' has no voxels"
        )

    def test_label_map(self) -> None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
        self.assertRefused(node, "'Labels' is a label map")

    def test_colours(self) -> None:
        array = np.zeros((2, 4, 4, 3), np.uint8)
        node = slicer.util.addVolumeFromArray(array, name="Photo", nodeClassName="vtkMRMLVectorVolumeNode")
        self.assertRefused(node, "'Photo' has colours")

    def test_not_a_volume(self) -> None:
        self.assertRefused(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "Liver"), "'Liver' is not a volume")

    def test_scalar_volume_is_accepted(self) -> None:
        from MedDenoiseLib import volumes

        volumes.checkInput(addCT(noisyArray()))

    def test_output_is_input(self) -> None:
        from meddenoise.errors import InputError
        from MedDenoiseLib import volumes

        node = addCT(noisyArray())
        with self.assertRaisesRegex(InputError, "'CT' is the input"):
            volumes.checkOutput(node, node)

    def test_foreign_output_is_not_overwritten(self) -> None:
        from MedDenoiseLib import volumes

        source, other = addCT(noisyArray()), addCT(noisyArray(), "Other")
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        self.assertFalse(volumes.mayBeOverwritten(other, source))
        self.assertTrue(volumes.mayBeOverwritten(empty, source))
        array = noisyArray()
        ours = volumes.deliver(source, None, array, result=result(array), model="m", strength=1)
        self.assertTrue(volumes.mayBeOverwritten(ours, source))
        self.assertFalse(volumes.mayBeOverwritten(ours, other))


class Delivery(unittest.TestCase):
    def deliver(self, source: Any, output: Any = None, strength: float = 1.0) -> Any:
        from MedDenoiseLib import volumes

        array = slicer.util.arrayFromVolume(source) // 2
        return volumes.deliver(source, output, array, result=result(array), model="fast", strength=strength)

    def assertInPlaceOf(self, output: Any, source: Any) -> None:
        matrices = [vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()]
        source.GetIJKToRASMatrix(matrices[0])
        output.GetIJKToRASMatrix(matrices[1])
        np.testing.assert_array_equal(*map(slicer.util.arrayFromVTKMatrix, matrices))
        self.assertEqual(output.GetImageData().GetDimensions(), source.GetImageData().GetDimensions())
        self.assertEqual(output.GetImageData().GetScalarType(), source.GetImageData().GetScalarType())
        self.assertEqual(output.GetTransformNodeID(), source.GetTransformNodeID())
        self.assertEqual(output.GetVoxelValueUnits().GetCodeValue(), "[hnsf'U]")
        self.assertEqual(output.GetVoxelValueQuantity().GetCodeValue(), "112031")
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        parents = [hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in (source, output)]
        self.assertEqual(hierarchy.GetItemName(parents[0]), "Study")
        self.assertEqual(*parents)

    def test_new_volume(self) -> None:
        source = addCT(noisyArray())
        output = self.deliver(source, strength=0.75)
        self.assertEqual(output.GetName(), "CT denoised")
        self.assertInPlaceOf(output, source)
        display = output.GetDisplayNode()
        self.assertNotEqual(display.GetID(), source.GetDisplayNode().GetID())
        self.assertFalse(display.GetAutoWindowLevel())
        self.assertEqual((display.GetWindow(), display.GetLevel()), (350, 45))
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(output), slicer.util.arrayFromVolume(source) // 2)

    def test_automatic_window_is_fixed_at_the_present_one(self) -> None:
        source = addCT(noisyArray())
        source.GetDisplayNode().SetAutoWindowLevel(True)
        wanted = (source.GetDisplayNode().GetWindow(), source.GetDisplayNode().GetLevel())
        display = self.deliver(source).GetDisplayNode()
        self.assertEqual((display.GetWindow(), display.GetLevel()), wanted)

    def test_existing_volume(self) -> None:
        source = addCT(noisyArray())
        output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Mine")
        self.assertEqual(self.deliver(source, output).GetID(), output.GetID())
        self.assertEqual(output.GetName(), "Mine")
        self.assertInPlaceOf(output, source)
        self.assertEqual(output.GetDisplayNode().GetWindow(), 350)

    def test_says_what_it_is(self) -> None:
        source = addCT(noisyArray())
        output = self.deliver(source, strength=0.75)
        self.assertEqual(output.GetNodeReference("MedDenoise.source").GetID(), source.GetID())
        wanted = {
            "source": "CT",
            "model": "fast",
            "sha256": "ab" * 32,
            "strength": "0.75",
            "precision": "bfloat16",
            "device": "cpu",
            "version": "1.2.3",
        }
        self.assertEqual({key: output.GetAttribute(f"MedDenoise.{key}") for key in wanted}, wanted)
        self.assertIsNone(output.GetAttribute("DICOM.instanceUIDs"))
        self.assertEqual(source.GetAttribute("DICOM.instanceUIDs"), "1.2.3 1.2.4")

    def test_every_voxel_type_is_kept(self) -> None:
        for dtype in ("int16", "uint16", "int32", "int64", "float32", "float64"):
            with self.subTest(dtype):
                array = np.abs(noisyArray(dtype=np.int16)).astype(dtype)
                source = addCT(array, dtype)
                output = self.deliver(source)
                self.assertEqual(slicer.util.arrayFromVolume(output).dtype, np.dtype(dtype))
                np.testing.assert_array_equal(slicer.util.arrayFromVolume(output), array // 2)


if __name__ == "__main__":
    unittest.main()
