"""Runs the tests of this folder outside Slicer, under pytest, on the stand-in. Slicer itself uses run_in_slicer.py.

The files here are plain unittest, import slicer and qt as in Slicer, and know nothing of the stand-in; it therefore has
to be there before they are imported. Where slicer-core or PySide6 is missing, the folder is left out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MISSING = [name for name in ("slicer_core", "PySide6") if find_spec(name) is None]
collect_ignore_glob = ["test_*.py"] if MISSING else []

if not MISSING:
    sys.path.insert(0, str(ROOT / "Testing"))
    sys.path.insert(0, str(ROOT / "Testing" / "slicer"))  # where unittest's discovery looks, too
    import standin

    standin.install(window=True)
    standin.load_module(ROOT / "MedDenoise" / "MedDenoise.py")
    import slicer

    slicer.app.startupCompleted.emit()


def pytest_report_header() -> str:
    """Say which Slicer the tests run on."""
    if MISSING:
        return f"Testing/slicer: left out, {' and '.join(MISSING)} not installed"
    return "Testing/slicer: on slicer-core and the stand-in (Testing/standin)"


@pytest.fixture(autouse=True)
def fresh_scene() -> Iterator[None]:
    """Give each test an empty scene; fail it for what its slots and observers raised, which Slicer would only print."""
    slicer.mrmlScene.Clear()
    standin.dialogs.clear()
    standin.slot_errors.clear()
    yield
    errors = list(standin.slot_errors)
    standin.slot_errors.clear()
    assert not errors, f"exceptions in slots or observers: {errors}"
