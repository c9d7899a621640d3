"""The extension's files agree with each other: CMake lists, panel, parameters, translations, index entry, icon."""

from __future__ import annotations

import ast
import json
import re
import struct
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "MedDenoise"
PANEL = MODULE / "Resources" / "UI" / "MedDenoise.ui"
SLICER_SIDE = [MODULE / "MedDenoise.py", *sorted((MODULE / "MedDenoiseLib").glob("*.py"))]
RAW = "https://raw.githubusercontent.com/MedDenoise/SlicerMedDenoise/main/"


def cmake_list(text: str, name: str) -> list[str]:
    match = re.search(rf"set\({name}\s+(.*?)\)", text, re.DOTALL)
    assert match, f"no set({name} ...)"
    return match.group(1).split()


def extension_value(name: str) -> str:
    match = re.search(rf'set\({name} "(.*?)"', (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))
    assert match, f"no set({name} ...)"
    return match.group(1)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def file_scope_imports(tree: ast.Module) -> Iterator[str]:
    """Yield the top-level names that are imported when the file is: outside functions, not under TYPE_CHECKING."""

    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        ):
            return
        else:
            for child in ast.iter_child_nodes(node):
                yield from visit(child)

    yield from visit(tree)


@pytest.fixture(scope="module")
def panel() -> ET.Element:
    return ET.parse(PANEL).getroot()


def test_cmake_lists_every_file_and_no_other() -> None:
    text = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8").replace("${MODULE_NAME}", "MedDenoise")
    scripts, resources = (cmake_list(text, f"MODULE_PYTHON_{kind}") for kind in ("SCRIPTS", "RESOURCES"))
    listed = scripts + resources
    assert len(listed) == len(set(listed))
    there = {
        path.relative_to(MODULE).as_posix()
        for path in MODULE.rglob("*")
        if path.is_file()
        and path.name != "CMakeLists.txt"
        and not any(part == "__pycache__" or part.endswith(".egg-info") for part in path.parts)
    }
    assert set(listed) == there
    assert all(name.endswith(".py") for name in scripts)
    assert not any(name.endswith(".py") for name in resources)


def test_index_entry() -> None:
    entry = json.loads((ROOT / "MedDenoise.json").read_text(encoding="utf-8"))
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert entry["dicom_support_rule"] == "Modality == 'CT'"
    assert entry["scm_url"].removesuffix(".git") == extension_value("EXTENSION_HOMEPAGE")
    assert entry["build_dependencies"] == [extension_value("EXTENSION_DEPENDS")]
    # All that schema 1.0.2 knows; it allows nothing else.
    assert set(entry) <= {
        "$schema",
        "category",
        "scm_url",
        "scm_revision",
        "scm_type",
        "build_dependencies",
        "dicom_support_rule",
        "build_subdirectory",
        "enabled",
        "tier",
    }


def test_extension_description() -> None:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert "project(MedDenoise)" in text
    assert "not for diagnosis" in extension_value("EXTENSION_DESCRIPTION")
    for name in ("EXTENSION_CONTRIBUTORS", "EXTENSION_RECOMMENDS", "EXTENSION_KEYWORDS"):
        assert extension_value(name)
    icon = ROOT / extension_value("EXTENSION_ICONURL").removeprefix(RAW)
    header = icon.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:24]) == (128, 128)
    assert icon.stat().st_size < 30_000
    for url in extension_value("EXTENSION_SCREENSHOTURLS").split():
        assert url.startswith(RAW)


@pytest.mark.parametrize("path", SLICER_SIDE, ids=lambda path: path.name)
def test_nothing_but_slicer_at_file_scope(path: Path) -> None:
    allowed = {"slicer", "vtk", "qt", "MedDenoiseLib", *sys.stdlib_module_names}
    assert set(file_scope_imports(tree_of(path))) <= allowed


@pytest.mark.parametrize("path", SLICER_SIDE, ids=lambda path: path.name)
def test_arrows_of_the_slicer_side(path: Path) -> None:
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree_of(path))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not {"torch", "safetensors", "imp", "standin", "meddenoise_training"} & imported
    assert path.name == "MedDenoise.py" or "MedDenoise" not in imported


@pytest.mark.parametrize("path", SLICER_SIDE, ids=lambda path: path.name)
def test_translated_texts_are_literals(path: Path) -> None:
    calls = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    for call in calls:
        if call.func.id == "_":  # type: ignore[attr-defined]
            assert len(call.args) == 1, f"line {call.lineno}"
            assert isinstance(call.args[0], ast.Constant), f"line {call.lineno}: only a literal can be translated"


def test_every_parameter_of_the_panel_is_a_field(panel: ET.Element) -> None:
    tree = tree_of(MODULE / "MedDenoiseLib" / "parameters.py")
    node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "MedDenoiseParameterNode")
    fields = {item.target.id for item in node.body if isinstance(item, ast.AnnAssign)}  # type: ignore[union-attr]
    bound = [p.findtext("string") for p in panel.iter("property") if p.get("name") == "SlicerParameterName"]
    assert set(bound) <= fields
    assert len(bound) == len(set(bound)) > 0
    # These two have no ready-made binding; the panel's code shows them.
    assert fields - set(bound) == {"model", "weightsFile"}


def test_every_widget_the_code_uses_is_in_the_panel(panel: ET.Element) -> None:
    used = {
        node.attr
        for path in SLICER_SIDE
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "ui"
    }
    assert used
    assert used <= {widget.get("name") for widget in panel.iter("widget")}


def test_panel_follows_slicers_conventions(panel: ET.Element) -> None:
    widgets = {widget.get("name"): widget for widget in panel.iter("widget")}
    root = panel.find("widget")
    assert root is not None
    assert root.get("class") == "qMRMLWidget"
    sections = [
        widget.findtext("property[@name='text']/string")
        for widget in root.iter("widget")
        if widget.get("class") == "ctkCollapsibleButton"
    ]
    assert sections == ["Inputs", "Outputs", "Advanced"]
    selectors = {name for name, widget in widgets.items() if widget.get("class") == "qMRMLNodeComboBox"}
    connected = {c.findtext("receiver") for c in panel.iter("connection") if c.findtext("sender") == root.get("name")}
    assert selectors == connected
    assert not [p for p in panel.iter("property") if p.get("name") == "styleSheet"]
    for label in panel.iter("widget"):
        buddy = label.findtext("property[@name='buddy']/cstring")
        assert buddy is None or buddy in widgets
    # The Denoise button's tool tip changes with what is possible: the code sets it.
    for name, widget in widgets.items():
        if widget.get("class") not in ("QLabel", "ctkCollapsibleButton", "qMRMLWidget") and name != "denoiseButton":
            assert widget.findtext("property[@name='toolTip']/string"), f"{name} has no tool tip"


def test_keyboard_shortcuts_of_the_panel_are_unique(panel: ET.Element) -> None:
    texts = [p.findtext("string") or "" for p in panel.iter("property") if p.get("name") == "text"]
    keys = [text[text.index("&") + 1].lower() for text in texts if "&" in text]
    assert len(keys) == len(set(keys)) >= 10


def test_line_ends_are_unix() -> None:
    text_files = [
        *SLICER_SIDE,
        PANEL,
        ROOT / "MedDenoise.json",
        ROOT / "CMakeLists.txt",
        MODULE / "CMakeLists.txt",
        ROOT / "Testing" / "CMakeLists.txt",
    ]
    for path in text_files:
        assert b"\r" not in path.read_bytes(), path
