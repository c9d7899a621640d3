"""The stand-in's own tests run in the same process as Testing/slicer, on the same installation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import standin

if standin.missing():
    collect_ignore_glob = ["test_*.py"]
elif standin.missing_qt():
    standin.install(qt=False)
    collect_ignore_glob = ["test_pythonqt.py", "test_parameters.py", "test_node_combo_box.py", "test_module.py"]
else:
    standin.install(window=True)


@pytest.fixture(autouse=True)
def fresh_scene() -> Iterator[None]:
    """Give each test an empty scene and empty records."""
    standin.fresh_scene()
    yield
    standin.slot_errors.clear()
