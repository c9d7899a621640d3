"""A result saved as a DICOM series through the DICOM database: the right slices, the right words, or one clear no."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from DICOMLib import DICOMUtils
from scene_support import addCT

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))
from dicom_files import write_series


class DICOMScene(unittest.TestCase):
    """A volume from an empty DICOM database, and its result."""

    def setUp(self) -> None:
        from MedDenoise import MedDenoiseLogic

        slicer.mrmlScene.Clear()
        self.folder = Path(slicer.app.temporaryPath) / self.id()
        self.logic = MedDenoiseLogic()
        database = DICOMUtils.TemporaryDICOMDatabase()
        database.__enter__()
        self.addCleanup(database.__exit__, None, None, None)

    def tearDown(self) -> None:
        self.logic.close()

    def loaded(self, *, reverse: bool = False) -> Any:
        """Return a volume as the DICOM module loads it, from files in the database."""
        from meddenoise.dicom import find_series, read_series
        from meddenoise.dicom.geometry import ordered_slices

        DICOMUtils.importDicom(str(write_series(self.folder / "in", 4)))
        (series,) = find_series(self.folder / "in")
        step = -1 if reverse else 1
        node = addCT(np.ascontiguousarray(read_series(series).array[::step]))
        node.SetAttribute("DICOM.instanceUIDs", " ".join(item.sop_uid for item in ordered_slices(series)[::step]))
        return node

    def denoised(self, inputVolume: Any) -> Any:
        """Return a result that differs from its input in each slice in another way."""
        from meddenoise.worker_client import WorkerResult
        from MedDenoiseLib import volumes

        array = volumes.voxels(inputVolume).copy()
        array += np.arange(1, len(array) + 1, dtype=array.dtype)[:, None, None]
        result = WorkerResult(array, model_sha256="ab" * 32, device="cpu", seconds=1.0, warnings=(), version="1.2.3")
        return volumes.deliver(inputVolume, None, array, result=result, model="gone.safetensors", strength=0.8)


class Export(DICOMScene):
    def test_each_slice_goes_to_its_own_file(self) -> None:
        import pydicom

        from meddenoise.dicom import find_series, read_series

        for reverse in (False, True):
            with self.subTest(reverse=reverse):
                output = self.denoised(self.loaded(reverse=reverse))
                files = self.logic.saveAsDICOM(output, self.folder / f"out {reverse}", importIntoDatabase=True)
                (series,) = find_series(self.folder / f"out {reverse}")
                expected = slicer.util.arrayFromVolume(output)[:: -1 if reverse else 1]
                np.testing.assert_array_equal(read_series(series).array, expected)
                header = pydicom.dcmread(files[0])
                self.assertEqual(header.SeriesDescription, "Abdomen DENOISED gone 80%")
                for words in ("MedDenoise 1.2.3", "SHA-256 abababababab", "strength 80%"):
                    self.assertIn(words, header.DerivationDescription)
                self.assertEqual(Path(slicer.dicomDatabase.fileForInstance(header.SOPInstanceUID)).name, files[0].name)

    def test_best_quality_is_said(self) -> None:
        import pydicom

        output = self.denoised(self.loaded())
        output.SetAttribute("MedDenoise.quality", "best")
        header = pydicom.dcmread(self.logic.saveAsDICOM(output, self.folder / "out")[0])
        self.assertIn("quality best", header.DerivationDescription)

    def test_precision_is_said_where_it_is_not_the_usual_one(self) -> None:
        import pydicom

        output = self.denoised(self.loaded())
        usual = pydicom.dcmread(self.logic.saveAsDICOM(output, self.folder / "usual")[0])
        self.assertNotIn("float32", usual.DerivationDescription)
        output.SetAttribute("MedDenoise.precision", "bfloat16")
        header = pydicom.dcmread(self.logic.saveAsDICOM(output, self.folder / "out")[0])
        self.assertIn("precision bfloat16", header.DerivationDescription)

    def assertRefused(self, output: Any, words: str) -> None:
        from meddenoise.errors import InputError

        self.assertRegex(self.logic.saveProblem(output), words)
        with self.assertRaisesRegex(InputError, words):
            self.logic.saveAsDICOM(output, self.folder / "refused")
        self.assertFalse((self.folder / "refused").exists())

    def test_what_cannot_be_saved_says_why(self) -> None:
        inputVolume = self.loaded()
        output = self.denoised(inputVolume)
        self.assertEqual(self.logic.saveProblem(output), "")
        self.assertRefused(None, "Denoise a volume first")
        self.assertRefused(inputVolume, "Denoise a volume first")
        uids = inputVolume.GetAttribute("DICOM.instanceUIDs")
        inputVolume.RemoveAttribute("DICOM.instanceUIDs")
        self.assertRefused(output, "was not loaded from DICOM")
        inputVolume.SetAttribute("DICOM.instanceUIDs", uids.split()[0])
        self.assertRefused(output, "one DICOM file for each slice")
        inputVolume.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4 1.2.5 1.2.6")
        self.assertRefused(output, "not in the DICOM database")

    def test_files_that_are_gone(self) -> None:
        from meddenoise.errors import InputError

        inputVolume = self.loaded()
        output = self.denoised(inputVolume)
        Path(slicer.dicomDatabase.fileForInstance(inputVolume.GetAttribute("DICOM.instanceUIDs").split()[2])).unlink()
        with self.assertRaisesRegex(InputError, "missing from the DICOM database"):
            self.logic.saveAsDICOM(output, self.folder / "out")

    def test_a_folder_that_holds_something_is_kept(self) -> None:
        from meddenoise.errors import OutputError

        output = self.denoised(self.loaded())
        self.logic.saveAsDICOM(output, self.folder / "out")
        with self.assertRaisesRegex(OutputError, "not empty"):
            self.logic.saveAsDICOM(output, self.folder / "out")
        self.assertEqual(len(self.logic.saveAsDICOM(output, self.folder / "out", overwrite=True)), 4)

    def test_names_of_folders(self) -> None:
        from MedDenoiseLib import export

        output = self.denoised(self.loaded())
        for name, folder in {"2: CT/B30f denoised": "2_ CT_B30f denoised", "..": "denoised"}.items():
            output.SetName(name)
            self.assertEqual(export.folderFor(output, self.folder), self.folder / folder)
