"""Runs the tests of this folder outside Slicer, under pytest, on the stand-in. Slicer itself uses run_in_slicer.py.

The files here are plain unittest, import slicer and qt as in Slicer, and know nothing of the stand-in; it therefore has
to be there before they are imported. What needs widgets is named test_panel*.py: where Qt cannot run, as on a machine
without its system libraries, these files are left out and the rest runs; the end of the report says so.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Testing"))
sys.path.insert(0, str(ROOT / "Testing" / "slicer"))  # where unittest's discovery looks, too

import standin  # noqa: E402

LEFT_OUT: dict[str, str] = {}  # file pattern -> reason
if standin.missing():
    LEFT_OUT["test_*.py"] = standin.missing()
else:
    if standin.missing_qt():
        LEFT_OUT["test_panel*.py"] = standin.missing_qt()
    standin.install(qt=not LEFT_OUT, window=not LEFT_OUT)
    standin.load_module(ROOT / "MedDenoise" / "MedDenoise.py")
    import slicer

    slicer.app.startupCompleted.emit()
collect_ignore_glob = list(LEFT_OUT)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what was left out, and why."""
    for pattern, reason in LEFT_OUT.items():
        terminalreporter.write_line(f"LEFT OUT: Testing/slicer/{pattern}: {reason}", yellow=True)


@pytest.fixture(autouse=True)
def fresh_scene() -> Iterator[None]:
    """Give each test an empty scene; fail it for what its slots and observers raised, which Slicer would only print."""
    standin.fresh_scene()
    yield
    errors = list(standin.slot_errors)
    standin.slot_errors.clear()
    assert not errors, f"exceptions in slots or observers: {errors}"
