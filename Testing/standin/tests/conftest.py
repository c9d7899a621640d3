"""The stand-in's own tests run in the same process as Testing/slicer, on the same installation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

MISSING = [name for name in ("slicer_core", "PySide6") if find_spec(name) is None]
collect_ignore_glob = ["test_*.py"] if MISSING else []

if not MISSING:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    import standin

    standin.install(window=True)


@pytest.fixture(autouse=True)
def fresh_scene() -> Iterator[None]:
    """Give each test an empty scene and empty records."""
    import slicer

    slicer.mrmlScene.Clear()
    standin.dialogs.clear()
    standin.slot_errors.clear()
    yield
    standin.slot_errors.clear()
