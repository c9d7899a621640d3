"""The samples in the module Sample Data: there from the start, made without a network, with a truth to compare with."""

from __future__ import annotations

import unittest
from pathlib import Path

import numpy as np
import slicer
import vtk


class Samples(unittest.TestCase):
    def test_registered_at_start(self) -> None:
        samples = {source.sampleName: source for source in slicer.modules.sampleDataSources["MedDenoise"]}
        self.assertEqual(set(samples), {"NoisyAbdomen", "NoiseFreeAbdomen"})
        for sample in samples.values():
            self.assertTrue(Path(sample.thumbnailFileName).is_file(), sample.thumbnailFileName)

    def test_both_are_the_same_body(self) -> None:
        sources = slicer.modules.sampleDataSources["MedDenoise"]
        noisy, clean = (source.customDownloader(source) for source in sources)
        arrays = [slicer.util.arrayFromVolume(node).astype(float) for node in (noisy, clean)]
        noise = arrays[0] - arrays[1]
        self.assertAlmostEqual(float(noise.std()), 25, delta=1)
        self.assertAlmostEqual(float(noise.mean()), 0, delta=0.5)
        np.testing.assert_allclose(noisy.GetSpacing(), (1.5, 1.5, 6.0))
        bounds = [0.0] * 6
        noisy.GetRASBounds(bounds)
        np.testing.assert_allclose(bounds, (-192, 192, -192, 192, -72, 72))
        # i to the patient's left, j to the back, k to the head; R, A and S are the other way round for the first two.
        matrix = vtk.vtkMatrix4x4()
        noisy.GetIJKToRASMatrix(matrix)
        np.testing.assert_allclose(np.sign(np.diag(slicer.util.arrayFromVTKMatrix(matrix))), (-1, -1, 1, 1))


if __name__ == "__main__":
    unittest.main()
