"""A strict stand-in for the 3D Slicer application, for tests and for the demo.

It runs a scripted module's own, unmodified files outside Slicer: on the real MRML, VTK, logics and slicer.util of the
slicer-core package, and (with Qt) on real Qt widgets of PySide6, shown nowhere. What slicer-core lacks is emulated
here, small and strict: what was never checked against Slicer's, CTK's or PythonQt's sources raises NotKnownError.

    import standin
    standin.install(qt=False)                 # slicer.mrmlScene, slicer.app, slicer.modules, ...
    standin.install(window=True)              # the same, with qt, ctk, module panels and a layout manager
    standin.load_module("MedDenoise/MedDenoise.py")
"""

from __future__ import annotations

import sys
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .refusal import NotKnownError

__all__ = [
    "NotKnownError",
    "dialogs",
    "fresh_scene",
    "install",
    "load_module",
    "missing",
    "missing_qt",
    "screenshot",
    "slot_errors",
]

QT_PACKAGES = "libegl1 libgl1 libxkbcommon0 libfontconfig1 libdbus-1-3 libglib2.0-0"

# What slicer.util's message functions said: (level, text), level as in `logging` ("ERROR", "WARNING", "INFO").
dialogs: list[tuple[str, str]] = []
# Exceptions in Python slots and observers: PythonQt and VTK print them and go on, so a test has to look here.
slot_errors: list[BaseException] = []

_installed: dict[str, bool] = {}


class _NoQt(types.ModuleType):
    """`import qt` works without Qt, as file-scope imports of a module's file need; using it does not."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotKnownError(f"{self.__name__}.{name}: the stand-in was installed without Qt")


def _record_dialogs() -> None:
    import logging

    import slicer.util

    display = slicer.util._messageDisplay

    def recorded(logLevel: int, text: str, *args: Any, **kwargs: Any) -> Any:
        dialogs.append((logging.getLevelName(logLevel), text))
        return display(logLevel, text, *args, **kwargs)

    slicer.util._messageDisplay = recorded


def _record_observer_errors() -> None:
    """Keep what VTK observers raise: VTK prints it by sys.excepthook and goes on (vtkPythonCommand: PyErr_Print)."""
    hook = sys.excepthook

    def recorded(kind: Any, error: BaseException, trace: Any) -> None:
        slot_errors.append(error)
        hook(kind, error, trace)

    sys.excepthook = recorded


def missing() -> str:
    """Return why the stand-in cannot run here; empty where it can."""
    return "" if find_spec("slicer_core") else "slicer-core is not installed"


def missing_qt() -> str:
    """Return why its Qt layer cannot run here; empty where it can.

    PySide6's wheels need libraries of the system, which a bare machine lacks: importing it is the only way to know.
    """
    try:
        from PySide6 import QtUiTools, QtWidgets  # noqa: F401
    except ImportError as error:
        return f"PySide6 cannot be imported ({error}); on Debian and Ubuntu: apt install {QT_PACKAGES}"
    return ""


def _import_slicer_core() -> None:
    """Import the package slicer without Testing/ on the path.

    slicer-core takes every folder named `slicer` on the path for a part of itself (pkgutil.extend_path) and imports
    what lies in it; Testing/slicer holds tests.
    """
    testing = Path(__file__).resolve().parents[1]
    before = list(sys.path)
    sys.path[:] = [entry for entry in before if Path(entry).resolve() != testing]
    try:
        import slicer  # noqa: F401
    finally:
        sys.path[:] = before


def install(*, qt: bool = True, window: bool = False) -> None:
    """Make `slicer` of slicer-core the application: once in a process.

    qt: also the modules qt and ctk, Slicer's widgets and module panels (needs PySide6; nothing is shown on a screen).
    window: also a main window's layout manager with real slice logics; otherwise as `Slicer --no-main-window`.
    """
    wanted = {"qt": qt, "window": window}
    if _installed:
        if _installed != wanted:
            raise RuntimeError(f"the stand-in is already installed with {_installed}, it cannot change to {wanted}")
        return
    if window and not qt:
        raise ValueError("a window needs Qt")
    _installed.update(wanted)
    _import_slicer_core()

    import slicer

    from . import (
        application,
        dicom_database,
        parameter_node_wrapper,
        sample_data,
        scripted_loadable_module,
        translation,
    )

    slicer.mrmlScene = application.create_scene()
    if qt:
        from . import qt_application

        slicer.app = qt_application.create(slicer.mrmlScene)
    else:
        slicer.app = application.Application(slicer.mrmlScene)
        for name in ("qt", "ctk"):
            sys.modules[name] = _NoQt(name)
    slicer.app.applicationLogic().SetMRMLScene(slicer.mrmlScene)
    slicer.modules = application.create_modules(slicer.app)
    slicer.qSlicerScriptedLoadableModule = scripted_loadable_module.ScriptedModule
    for name, module in {
        "i18n": translation,
        "parameterNodeWrapper": parameter_node_wrapper,
        "ScriptedLoadableModule": scripted_loadable_module,
    }.items():
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    sys.modules["SampleData"] = sample_data
    sys.modules.update(dicom_database.modules())
    slicer.dicomDatabase = dicom_database.Database()
    _record_dialogs()
    _record_observer_errors()
    if qt:
        from . import pythonqt

        pythonqt.record_slot_errors(slot_errors)
    if window:
        from . import layouts

        layouts.open_main_window(slicer.app)


def fresh_scene() -> None:
    """Empty the scene and what was recorded, as before a test."""
    import slicer

    slicer.mrmlScene.Clear()
    dialogs.clear()
    slot_errors.clear()


def load_module(path: str | Path) -> Any:
    """Load a scripted module's file as Slicer does at start-up; return slicer.modules.<name in lower case>."""
    from .scripted_loadable_module import load_module as load

    return load(path)


def screenshot(widget: Any, path: str | Path, size: tuple[int, int] | None = None, dark: bool = False) -> Path:
    """Save a picture of a widget as PNG, in Qt's Fusion style, and return the path."""
    from .screenshots import save

    return save(widget, Path(path), size, dark)
