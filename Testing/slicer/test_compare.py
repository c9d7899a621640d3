"""The comparison: what was taken away, and three linked views at one window and level."""

from __future__ import annotations

import unittest
from typing import Any

import numpy as np
import slicer
from scene_support import addCT, noisyArray


def pair(dtype: Any = np.int16) -> tuple[Any, Any]:
    """Return an input and a result of it, 5 HU lower in the middle slices, made without a run."""
    from meddenoise.worker_client import WorkerResult
    from MedDenoiseLib import volumes

    array = noisyArray(dtype=dtype)
    source = addCT(array)
    denoised = array.copy()
    denoised[1:3] -= 5
    result = WorkerResult(denoised, model_sha256="", device="cpu", seconds=1.0, warnings=(), version="0")
    return source, volumes.deliver(source, None, denoised, result=result, model="m", strength=1)


class Difference(unittest.TestCase):
    def test_is_input_minus_result(self) -> None:
        from MedDenoiseLib import compare

        for dtype, expected in ((np.int16, np.int16), (np.uint16, np.int16), (np.float32, np.float32)):
            with self.subTest(dtype):
                source, output = pair(np.int16)
                if dtype != np.int16:
                    source = addCT(np.array([[[3, 8]]], dtype))
                    output = addCT(np.array([[[9, 8]]], dtype))
                volume = compare.updateDifference(source, output)
                values = slicer.util.arrayFromVolume(volume)
                self.assertEqual(values.dtype, expected)
                wide = [slicer.util.arrayFromVolume(node).astype(float) for node in (source, output)]
                np.testing.assert_array_equal(values, wide[0] - wide[1])
                self.assertEqual(volume.GetTransformNodeID(), source.GetTransformNodeID())
                self.assertEqual(output.GetNodeReference(compare.DIFFERENCE).GetID(), volume.GetID())

    def test_values_that_are_not_finite_are_no_difference(self) -> None:
        from MedDenoiseLib import compare

        array = np.array([[[np.nan, np.inf, 4]]], np.float32)
        volume = compare.updateDifference(addCT(array), addCT(array))
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(volume), np.zeros((1, 1, 3), np.float32))

    def test_is_shown_around_zero_in_two_colours(self) -> None:
        from MedDenoiseLib import compare

        display = compare.updateDifference(*pair()).GetDisplayNode()
        self.assertEqual((display.GetWindow(), display.GetLevel()), (20, 0))
        table = display.GetColorNode().GetLookupTable()
        below, zero, above = (table.GetTableValue(index)[:3] for index in (64, 127, 191))
        self.assertGreater(below[2], below[0])
        self.assertGreater(above[0], above[2])
        self.assertLess(max(zero), 0.05)

    def test_is_one_volume_that_follows_the_result(self) -> None:
        from MedDenoiseLib import compare

        source, output = pair()
        first = compare.updateDifference(source, output)
        slicer.util.arrayFromVolume(output)[:] = slicer.util.arrayFromVolume(source) - 3
        slicer.util.arrayFromVolumeModified(output)
        compare.Comparison().refresh(output)
        self.assertEqual(set(np.unique(slicer.util.arrayFromVolume(first))), {3})
        self.assertEqual(len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")), 3)

    def test_all_differences_share_one_colour_table(self) -> None:
        from MedDenoiseLib import compare

        displays = [compare.updateDifference(*pair()).GetDisplayNode() for _ in range(2)]
        self.assertEqual(displays[0].GetColorNodeID(), displays[1].GetColorNodeID())


class Views(unittest.TestCase):
    def setUp(self) -> None:
        from MedDenoiseLib import compare

        self.source, self.output = pair()
        self.comparison = compare.Comparison()

    def tearDown(self) -> None:
        self.comparison.stop()

    def test_three_linked_views(self) -> None:
        from MedDenoiseLib import compare

        layoutManager = slicer.app.layoutManager()
        if layoutManager is None:
            self.skipTest("no main window")
        self.comparison.show(self.source, self.output)
        self.assertEqual(layoutManager.layout, compare.LAYOUT)
        difference = self.output.GetNodeReference(compare.DIFFERENCE)
        for name, volume in zip(compare.VIEWS, (self.source, self.output, difference), strict=True):
            view = layoutManager.sliceWidget(name)
            composite = view.mrmlSliceCompositeNode()
            self.assertEqual(composite.GetBackgroundVolumeID(), volume.GetID())
            self.assertTrue(composite.GetLinkedControl())
            self.assertEqual(view.mrmlSliceNode().GetOrientation(), "Axial")
        offsets = {layoutManager.sliceWidget(name).sliceLogic().GetSliceOffset() for name in compare.VIEWS}
        self.assertEqual(len(offsets), 1)
        groups = {layoutManager.sliceWidget(name).mrmlSliceNode().GetViewGroup() for name in compare.VIEWS}
        red = layoutManager.sliceWidget("Red")
        self.assertEqual(len(groups), 1)
        self.assertNotIn(red.mrmlSliceNode().GetViewGroup(), groups)
        self.assertEqual(red.mrmlSliceNode().GetOrientation(), "Axial")

    def test_window_and_level_stay_equal(self) -> None:
        if slicer.app.layoutManager() is None:
            self.skipTest("no main window")
        self.comparison.show(self.source, self.output)
        first, second = self.source.GetDisplayNode(), self.output.GetDisplayNode()
        first.SetWindowLevel(200, 30)
        self.assertEqual((second.GetWindow(), second.GetLevel()), (200, 30))
        second.SetWindowLevel(500, 60)
        self.assertEqual((first.GetWindow(), first.GetLevel()), (500, 60))
        self.comparison.stop()
        first.SetWindowLevel(100, 10)
        self.assertEqual((second.GetWindow(), second.GetLevel()), (500, 60))

    def backgrounds(self) -> list[str]:
        from MedDenoiseLib import compare

        views = [slicer.app.layoutManager().sliceWidget(name) for name in (*compare.VIEWS, "Red")]
        return [view.mrmlSliceCompositeNode().GetBackgroundVolumeID() for view in views]

    def test_a_volume_shown_later_does_not_come_under_their_labels(self) -> None:
        from MedDenoiseLib import compare

        if slicer.app.layoutManager() is None:
            self.skipTest("no main window")
        self.comparison.show(self.source, self.output)
        before = self.backgrounds()
        self.assertEqual(before[3], self.output.GetID())  # what the usual views show on the way back
        other = addCT(noisyArray(), name="Other")
        compare.makeActive(other)
        self.assertEqual(self.backgrounds(), [*before[:3], other.GetID()])

    def test_there_and_back(self) -> None:
        layoutManager = slicer.app.layoutManager()
        if layoutManager is None:
            self.skipTest("no main window")
        oneUp = slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
        layoutManager.setLayout(oneUp)
        self.comparison.show(self.source, self.output)
        self.assertTrue(self.comparison.isShown())
        self.comparison.show(self.source, self.output)
        self.comparison.hide()
        self.assertFalse(self.comparison.isShown())
        self.assertEqual(layoutManager.layout, oneUp)

    def test_window_and_level_go_their_own_ways_after_the_layout_is_left(self) -> None:
        layoutManager = slicer.app.layoutManager()
        if layoutManager is None:
            self.skipTest("no main window")
        self.comparison.show(self.source, self.output)
        layoutManager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        before = self.output.GetDisplayNode().GetWindow()
        self.source.GetDisplayNode().SetWindowLevel(before + 77, 0)
        self.assertEqual(self.output.GetDisplayNode().GetWindow(), before)

    def test_place_of_the_views_is_the_users(self) -> None:
        from MedDenoiseLib import compare

        layoutManager = slicer.app.layoutManager()
        if layoutManager is None:
            self.skipTest("no main window")
        layoutManager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        compare.makeActive(self.source, fit=True)
        red = layoutManager.sliceWidget("Red").sliceLogic()
        place = red.GetSliceOffset() + 2 * self.source.GetSpacing()[2]
        red.SetSliceOffset(place)
        self.comparison.show(self.source, self.output)
        view = layoutManager.sliceWidget(compare.VIEWS[1]).sliceLogic()
        self.assertAlmostEqual(view.GetSliceOffset(), place)
        view.SetSliceOffset(place - self.source.GetSpacing()[2])
        self.comparison.show(self.source, self.output)
        self.assertAlmostEqual(view.GetSliceOffset(), place - self.source.GetSpacing()[2])

    def test_twice_and_after_a_closed_scene(self) -> None:
        self.comparison.show(self.source, self.output)
        self.comparison.show(self.source, self.output)
        slicer.mrmlScene.Clear()
        self.comparison.show(*pair())


if __name__ == "__main__":
    unittest.main()
