"""Nothing is installed by surprise, and another interpreter needs nothing in Slicer."""

from __future__ import annotations

import sys
import unittest
from unittest import mock

import slicer


class Installation(unittest.TestCase):
    def test_nothing_is_installed_during_tests(self) -> None:
        from meddenoise.errors import MissingPackageError
        from MedDenoiseLib import torch_installation

        if not slicer.app.testingEnabled():
            self.skipTest("Slicer was not started with --testing")
        with mock.patch("importlib.util.find_spec", return_value=None):  # as in a Slicer without any package
            self.assertEqual(torch_installation.missingPackages(), ["torch", "safetensors"])
            with self.assertRaisesRegex(MissingPackageError, "torch, safetensors not installed"):
                torch_installation.ensureInstalled()

    def test_another_interpreter_needs_nothing_in_slicer(self) -> None:
        from MedDenoiseLib import torch_installation

        torch_installation.setOtherPython(sys.executable)
        try:
            with mock.patch("importlib.util.find_spec", return_value=None):
                self.assertTrue(torch_installation.ensureInstalled())
        finally:
            torch_installation.setOtherPython("")

    def test_another_interpreter_gets_the_environment_from_before_slicer(self) -> None:
        from MedDenoiseLib import run, torch_installation

        torch_installation.setOtherPython(sys.executable)
        try:
            client = run.newClient()
            self.assertEqual(client._environment, slicer.util.startupEnvironment())
            client.close()
        finally:
            torch_installation.setOtherPython("")


if __name__ == "__main__":
    unittest.main()
