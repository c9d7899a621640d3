"""The harness that ctest runs in Slicer fails closed: nothing found or run, broken files and failures are errors."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

TESTING = Path(__file__).resolve().parents[2]
HARNESS = TESTING / "slicer" / "run_in_slicer.py"

HEAD = "import unittest\nclass Tests(unittest.TestCase):\n"
PASSING = HEAD + "    def test_a(self):\n        import slicer\n        self.assertEqual(slicer.app.majorVersion, 5)\n"
FAILING = HEAD + "    def test_a(self):\n        self.fail('as it should')\n"
SKIPPED = HEAD + "    @unittest.skip('no window')\n    def test_a(self):\n        pass\n"
ADDING = HEAD + "".join(
    f"    def test_{name}(self):\n"
    "        import slicer\n"
    "        self.assertIsNone(slicer.mrmlScene.GetFirstNodeByClass('vtkMRMLTextNode'))\n"
    "        slicer.mrmlScene.AddNewNodeByClass('vtkMRMLTextNode')\n"
    for name in "ab"
)


@pytest.fixture
def harness():
    """Return the harness as a module; forget the test files that it imports."""
    spec = importlib.util.spec_from_file_location("run_in_slicer", HARNESS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    modules, path = set(sys.modules), list(sys.path)
    yield module
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("test_"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("files", "patterns", "status", "words"),
    [
        ({"test_a.py": PASSING}, [], 0, "1 tests ran"),
        ({"test_a.py": PASSING, "test_b.py": SKIPPED}, [], 0, "1 were skipped"),
        ({"test_a.py": PASSING, "test_b.py": FAILING}, [], 1, "as it should"),
        ({"test_a.py": PASSING, "test_b.py": FAILING}, ["test_a*.py"], 0, "1 tests ran"),
        ({"test_a.py": ADDING}, [], 0, "2 tests ran"),
        ({}, [], 1, "no test was found"),
        ({"test_a.py": PASSING}, ["test_x*.py"], 1, "no test was found"),
        ({"test_a.py": "import unittest\n"}, [], 1, "no test was found"),
        ({"test_a.py": SKIPPED}, [], 1, "all 1 tests were skipped"),
        ({"test_a.py": "import nothing_of_this_name\n"}, [], 1, "nothing_of_this_name"),
    ],
)
def test_the_status(harness, tmp_path, capsys, files, patterns, status, words):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert harness.run(tmp_path, patterns) == status
    assert words in capsys.readouterr().out


# What `Slicer --testing --python-script` does with the script: CTK's ctkAbstractPythonManager::executeFile runs it in
# __main__ with __file__ set, and slicer.util.exit sets the status.
SLICER = """
import sys, types
sys.path.insert(0, {testing!r})
import standin
standin.install(qt=False)
import slicer
slicer.app.commandOptions = lambda: types.SimpleNamespace(runPythonAndExit=True)
slicer.app.exit = lambda status: sys.exit(status)
if {loaded}:
    slicer.modules.meddenoise = object()
sys.argv = [{script!r}]
exec(open({script!r}).read(), dict(__name__="__main__", __file__={script!r}))
"""


@pytest.mark.parametrize(
    ("text", "loaded", "status", "words"),
    [
        (PASSING, True, 0, "1 tests ran"),
        ("raise SystemExit(0)\n", True, 1, "SystemExit"),
        (PASSING, False, 1, "MedDenoise is not loaded"),
    ],
)
def test_the_exit_status_of_slicer(tmp_path, text, loaded, status, words):
    script = tmp_path / "run_in_slicer.py"
    script.write_bytes(HARNESS.read_bytes())
    (tmp_path / "test_a.py").write_text(text)
    code = SLICER.format(testing=str(TESTING), script=str(script), loaded=loaded)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert words in done.stdout + done.stderr
