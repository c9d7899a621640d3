"""MedDenoiseLogic without a window: the same numbers as the engine's, to the bit, and one clear error each."""

from __future__ import annotations

import pickle
import unittest
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import slicer
from scene_support import addCT, denoisedByEngine, model, noisyArray


class Process(unittest.TestCase):
    logic: ClassVar[Any]

    @classmethod
    def setUpClass(cls) -> None:
        from MedDenoise import MedDenoiseLogic

        cls.model = model()
        cls.logic = MedDenoiseLogic()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.logic.close()

    def process(self, source: Any, output: Any = None, **options: Any) -> Any:
        options = {"model": self.model, "device": "cpu", "threads": 1, **options}
        return self.logic.process(source, output, **options)

    def test_equals_the_engine(self) -> None:
        arrays = [noisyArray(), *(np.abs(noisyArray()).astype(dtype) for dtype in ("uint16", "int64", "float32"))]
        arrays[0][:, :3, :3] = -2000  # outside the scan circle
        for array, expected in zip(arrays, denoisedByEngine(arrays, self.model, strength=0.6), strict=True):
            with self.subTest(array.dtype):
                output = slicer.util.arrayFromVolume(self.process(addCT(array), strength=0.6))
                self.assertEqual(output.dtype, array.dtype)
                self.assertFalse(np.array_equal(expected, array))
                np.testing.assert_array_equal(output, expected)

    def test_output_volume_is_used_and_input_kept(self) -> None:
        array = noisyArray()
        source = addCT(array)
        mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Mine")
        self.assertEqual(self.process(source, mine).GetID(), mine.GetID())
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(source), array)

    def test_the_default_model_is_that_of_the_device(self) -> None:
        array = noisyArray()
        output = self.logic.process(addCT(array), device="cpu", threads=1)
        self.assertEqual(output.GetAttribute("MedDenoise.model"), self.model)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(output), denoisedByEngine([array], self.model)[0])

    def test_best_quality_and_its_uncertainty(self) -> None:
        from meddenoise.strength import blend

        array = noisyArray()
        output = self.process(addCT(array), strength=0.4, quality="best", uncertaintyVolume=True)
        full = denoisedByEngine([array], self.model, strength=1, quality="best")[0]
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(output), blend(array, full, 0.4))
        self.assertEqual(output.GetAttribute("MedDenoise.quality"), "best")
        plain = self.process(output.GetNodeReference("MedDenoise.source"), strength=1, quality="best")
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(plain), full)
        self.assertIsNone(self.logic.uncertaintyVolumeOf(plain))
        uncertainty = self.logic.uncertaintyVolumeOf(output)
        spread = slicer.util.arrayFromVolume(uncertainty).copy()
        self.assertEqual(spread.dtype, np.float32)
        self.logic.setStrength(output, 1)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(output), full)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(uncertainty), spread)
        self.assertEqual(uncertainty.GetAttribute("MedDenoise.strength"), "1")

    def test_uncertainty_is_the_spread_of_the_eight_orientations_at_full_strength(self) -> None:
        square = noisyArray((1, 64, 64))
        turned = [np.rot90(image, turn, (1, 2)) for image in (square, square[:, :, ::-1]) for turn in range(4)]
        images = [np.ascontiguousarray(each).astype(np.float32) for each in turned]
        eight = denoisedByEngine(images, self.model, strength=1)
        back = [np.rot90(each, -turn, (1, 2)) for each, turn in zip(eight, (0, 1, 2, 3) * 2, strict=True)]
        back[4:] = [each[:, :, ::-1] for each in back[4:]]
        expected = np.std(back, axis=0)
        self.assertGreater(expected.max(), 0.1)
        output = self.process(addCT(square), strength=0.4, quality="best", uncertaintyVolume=True)
        spread = slicer.util.arrayFromVolume(self.logic.uncertaintyVolumeOf(output))
        np.testing.assert_allclose(spread, expected, atol=0.02)

    def test_uncertainty_needs_best_quality(self) -> None:
        from meddenoise.errors import InputError

        with self.assertRaisesRegex(InputError, "needs best quality"):
            self.process(addCT(noisyArray()), uncertaintyVolume=True)
        with self.assertRaisesRegex(InputError, "no quality 'better'"):
            self.process(addCT(noisyArray()), quality="better")

    def test_result_of_another_model_is_kept_when_the_model_is_found_out_later(self) -> None:
        source = addCT(noisyArray())
        first = self.process(source)
        again = self.logic.startRun(source, first, model="auto", device="cpu", threads=1, keepOtherModels=True)
        again.wait()
        self.assertEqual(again.outputID, first.GetID())
        first.SetAttribute("MedDenoise.model", "another")
        other = self.logic.startRun(source, first, model="auto", device="cpu", threads=1, keepOtherModels=True)
        other.wait()
        self.assertNotEqual(other.outputID, first.GetID())
        self.assertEqual(first.GetAttribute("MedDenoise.model"), "another")

    def test_strength_afterwards_equals_strength_before(self) -> None:
        source = addCT(noisyArray())
        output = self.process(source)
        for strength in (0.3, 0.0, 1.0, 0.55):
            self.logic.setStrength(output, strength)
            before = slicer.util.arrayFromVolume(self.process(source, strength=strength))
            np.testing.assert_array_equal(slicer.util.arrayFromVolume(output), before)
            self.assertEqual(output.GetAttribute("MedDenoise.strength"), f"{strength:g}")

    def test_strength_of_a_changed_input_stays(self) -> None:
        from meddenoise.errors import InputError

        source = addCT(noisyArray())
        output = self.process(source)
        slicer.util.arrayFromVolume(source)[0, 0, 0] = 7
        slicer.util.arrayFromVolumeModified(source)
        with self.assertRaisesRegex(InputError, "'CT' has changed since"):
            self.logic.setStrength(output, 0.5)
        slicer.mrmlScene.RemoveNode(source)
        with self.assertRaisesRegex(InputError, "input of this result is gone"):
            self.logic.setStrength(output, 0.5)

    def test_strength_of_an_edited_result_stays(self) -> None:
        from meddenoise.errors import InputError

        output = self.process(addCT(noisyArray()))
        slicer.util.arrayFromVolume(output)[0, 0, 0] = 7
        slicer.util.arrayFromVolumeModified(output)
        with self.assertRaisesRegex(InputError, "has been edited"):
            self.logic.setStrength(output, 0.5)

    def test_progress(self) -> None:
        told: list[tuple[int, int]] = []
        self.process(addCT(noisyArray((7, 32, 32))), progress=lambda done, total: told.append((done, total)))
        self.assertEqual(told[-1], (7, 7))
        self.assertEqual(told, sorted(set(told)))

    def test_cancel(self) -> None:
        from meddenoise.errors import Cancelled

        with self.assertRaises(Cancelled):
            self.process(addCT(noisyArray((200, 64, 64))), cancel=lambda: True)
        self.assertEqual(len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")), 1)

    def test_an_error_in_a_callback_ends_the_child(self) -> None:
        def interrupt(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            self.process(addCT(noisyArray()), progress=interrupt)
        self.assertIsNotNone(self.process(addCT(noisyArray())))  # and the next run works

    def test_scene_closed_meanwhile(self) -> None:
        from meddenoise.errors import Cancelled

        with self.assertRaises(Cancelled):
            self.process(addCT(noisyArray((200, 64, 64))), progress=lambda done, total: slicer.mrmlScene.Clear())
        self.assertEqual(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"), [])

    def test_input_deleted_meanwhile(self) -> None:
        source = addCT(noisyArray())
        output = self.process(source, progress=lambda done, total: slicer.mrmlScene.RemoveNode(source))
        self.assertIsNone(output)
        self.assertEqual(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"), [])

    def test_output_deleted_meanwhile(self) -> None:
        source = addCT(noisyArray())
        mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Mine")
        output = self.process(source, mine, progress=lambda done, total: slicer.mrmlScene.RemoveNode(mine))
        self.assertEqual(output.GetName(), "CT denoised")

    def test_input_changed_meanwhile(self) -> None:
        from meddenoise.errors import InputError

        source = addCT(noisyArray())
        with self.assertRaisesRegex(InputError, "was changed while"):
            self.process(source, progress=lambda done, total: slicer.util.arrayFromVolumeModified(source))

    def test_not_finite_values_are_kept_and_named(self) -> None:
        array = noisyArray(dtype=np.float32)
        array[0, 5, 5], array[1, 6, 6] = np.nan, np.inf
        started = self.logic.startRun(addCT(array), model=self.model, device="cpu")
        started.wait()
        self.assertTrue(any("finite" in warning for warning in started.result.warnings), started.result.warnings)
        output = slicer.util.arrayFromVolume(slicer.mrmlScene.GetNodeByID(started.outputID))
        np.testing.assert_array_equal(np.isnan(output), np.isnan(array))
        self.assertEqual(output[1, 6, 6], np.inf)

    def test_foreign_weights(self) -> None:
        from meddenoise.errors import WeightsError

        path = Path(slicer.app.temporaryPath) / "pickle.safetensors"
        path.write_bytes(pickle.dumps({"weights": [1.0] * 1000}))
        with self.assertRaises(WeightsError):
            self.process(addCT(noisyArray()), model=str(path))

    def test_wrong_strength(self) -> None:
        from meddenoise.errors import InputError

        with self.assertRaisesRegex(InputError, "strength is 80"):
            self.process(addCT(noisyArray()), strength=80)

    def test_wrong_interpreter(self) -> None:
        from meddenoise.errors import WorkerError
        from MedDenoiseLib import torch_installation

        torch_installation.setOtherPython("/no/such/python")
        try:
            with self.assertRaisesRegex(WorkerError, "/no/such/python"):
                self.process(addCT(noisyArray()))
        finally:
            torch_installation.setOtherPython("")
        self.assertIsNotNone(self.process(addCT(noisyArray())))


if __name__ == "__main__":
    unittest.main()
