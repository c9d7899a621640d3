"""The arrows between the parts, and what may be imported where (docs/architecture.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "MedDenoise" / "meddenoise"
TRAINING = ROOT / "training" / "meddenoise_training"
SLICER_SIDE = {"slicer", "qt", "ctk", "vtk", "mrml", "MedDenoise", "MedDenoiseLib", "PythonQt"}
#: Beside the standard library, numpy and the engine itself; the command line is never loaded by Slicer.
ALLOWED_AT_FILE_SCOPE = {"network.py": {"torch"}}


def imported_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


def file_scope(tree: ast.Module) -> ast.Module:
    """Return the statements that run at import: no function bodies, nothing under TYPE_CHECKING."""

    class Prune(ast.NodeTransformer):
        def visit_FunctionDef(self, _: ast.FunctionDef) -> None:
            return None

        visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef  # noqa: N815

        def visit_If(self, node: ast.If) -> ast.AST | None:
            if "TYPE_CHECKING" in ast.dump(node.test):
                return None
            return self.generic_visit(node)

    return Prune().visit(tree)


def sources(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert found, f"no Python files under {folder}"
    return found


@pytest.mark.parametrize("path", sources(ENGINE), ids=lambda p: p.relative_to(ENGINE).as_posix())
def test_engine_knows_neither_slicer_nor_training(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    forbidden = SLICER_SIDE | {"meddenoise_training", "tools", "standin", "typing_extensions"}
    assert not forbidden & set(imported_names(tree))
    third_party = set(imported_names(file_scope(tree))) - set(sys.stdlib_module_names) - {"meddenoise", "numpy"}
    allowed = {"typer", "rich"} if path.parent == ENGINE / "cli" else ALLOWED_AT_FILE_SCOPE.get(path.name, set())
    assert third_party <= allowed


@pytest.mark.parametrize("path", sources(TRAINING), ids=lambda p: p.relative_to(TRAINING).as_posix())
def test_training_knows_no_slicer(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not (SLICER_SIDE | {"tools", "standin"}) & set(imported_names(tree))


def test_nothing_that_ships_knows_tools_or_tests() -> None:
    for path in sources(ROOT / "MedDenoise"):
        assert not {"tools", "standin"} & set(imported_names(ast.parse(path.read_text(encoding="utf-8")))), path


def test_engine_imports_without_torch_and_slicer() -> None:
    modules = [
        ".".join(("meddenoise", *path.relative_to(ENGINE).with_suffix("").parts)).removesuffix(".__init__")
        for path in sources(ENGINE)
        if path.name not in ("network.py", "__main__.py")
    ]
    script = (
        f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
        "from meddenoise import shipped_models; shipped_models()\n"
        "heavy = {'torch', 'slicer', 'qt', 'ctk', 'vtk', 'SimpleITK', 'pydicom', 'scipy', 'skimage', 'safetensors'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
