"""Runs the tests of this folder inside 3D Slicer; ctest calls it.

    Slicer --testing --no-splash --no-main-window --additional-module-path MedDenoise --python-script run_in_slicer.py

Arguments after the script name are unittest patterns ("test_panel*.py"); without any, every test_*.py runs. It fails
closed: a failing test, a file that cannot be imported, a folder without tests, tests that are all skipped, and a Slicer
in which the module is not loaded each give exit status 1. pytest is not needed.
"""

from __future__ import annotations

import sys
import traceback
import unittest
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def collect(folder: Path, patterns: list[str]) -> unittest.TestSuite:
    """Return the tests of the files that match; a file that cannot be imported becomes a failing test."""
    loader = unittest.TestLoader()
    return unittest.TestSuite(loader.discover(str(folder), pattern=pattern) for pattern in patterns)


class SceneResult(unittest.TextTestResult):
    """Starts every test with an empty scene, as conftest.py does outside Slicer."""

    def startTest(self, test: unittest.TestCase) -> None:
        import slicer

        slicer.mrmlScene.Clear()
        super().startTest(test)


def run(folder: Path = FOLDER, patterns: list[str] | None = None) -> int:
    """Run the tests and return the exit status: 0 only when some ran and all that ran passed."""
    suite = collect(folder, patterns or ["test_*.py"])
    if suite.countTestCases() == 0:
        print(f"FAILED: no test was found in {folder}")
        return 1
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=SceneResult).run(suite)
    ran = result.testsRun - len(result.skipped)
    if ran == 0:
        print(f"FAILED: all {result.testsRun} tests were skipped")
        return 1
    print(f"{ran} tests ran, {len(result.skipped)} were skipped")
    return 0 if result.wasSuccessful() else 1


def main(arguments: list[str]) -> int:
    """Run in Slicer; whatever goes wrong is a failure."""
    try:
        import slicer

        if not hasattr(slicer.modules, "meddenoise"):
            print("FAILED: MedDenoise is not loaded: start Slicer with --additional-module-path <its folder>")
            return 1
        return run(patterns=arguments)
    except BaseException:
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    status = main(sys.argv[1:])
    import slicer.util

    slicer.util.exit(status)
