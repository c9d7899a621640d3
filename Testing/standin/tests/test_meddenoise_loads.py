"""MedDenoise loads, and shows its panel, in a Slicer without a main window and without torch in its process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import standin

ROOT = Path(__file__).resolve().parents[3]

SCRIPT = """
import sys
sys.path.insert(0, {testing!r})
import standin
standin.install(qt={qt})
module = standin.load_module({module!r})
import slicer
slicer.app.startupCompleted.emit()
assert slicer.app.layoutManager() is None
assert module.categories == ["Filtering.Denoising"], module.categories
for text in (module.title, module.helpText, module.acknowledgementText, *module.contributors):
    assert text
if {qt}:
    widget = slicer.util.getModuleWidget(module.name)
    widget.enter()
    widget.exit()
    widget.cleanup()
from MedDenoise import MedDenoiseLogic
MedDenoiseLogic().getParameterNode()
assert standin.slot_errors == [], standin.slot_errors
print(sorted({{"torch", "SimpleITK", "pydicom", "safetensors"}} & set(sys.modules)))
"""


@pytest.mark.parametrize("qt", [False, True])
def test_it_loads_without_a_main_window(qt):
    if qt and standin.missing_qt():
        pytest.skip(standin.missing_qt())
    script = SCRIPT.format(testing=str(ROOT / "Testing"), module=str(ROOT / "MedDenoise" / "MedDenoise.py"), qt=qt)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stdout + done.stderr
