"""slicer.app with Qt: the QApplication, its cursor and settings, and the modules qt and ctk.

Checked against Base/QTGUI/qSlicerApplication.h and Base/QTCore/qSlicerCoreApplication.h; qSlicerApplication is a
QApplication, so that its static functions (processEvents, setOverrideCursor, topLevelWidgets) are slicer.app's too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from . import ctk_widgets, mrml_widgets, pythonqt, ui_files
from .application import Application


class QtSlicerApplication(Application):
    """slicer.app with an event loop that runs only while processEvents is called."""

    def __init__(self, scene: Any, application: Any) -> None:
        super().__init__(scene)
        self._application = application
        # qt.QSettings() must not see what a Slicer on this machine has stored.
        ini = QtCore.QSettings.Format.IniFormat
        QtCore.QSettings.setDefaultFormat(ini)
        QtCore.QSettings.setPath(ini, QtCore.QSettings.Scope.UserScope, self.temporaryPath)
        QtCore.QSettings.setPath(ini, QtCore.QSettings.Scope.SystemScope, self.temporaryPath)
        self._settings = QtCore.QSettings()
        self._main_window: Any = None
        self._layout_manager: Any = None

    def open_window(self, main_window: Any, layout_manager: Any) -> None:
        """Keep the main window and its layout manager."""
        self._main_window = main_window
        self._layout_manager = layout_manager

    def layoutManager(self) -> Any:
        """Return the layout manager, None without a main window."""
        return self._layout_manager

    def processEvents(self, flags: Any = None) -> None:
        """Let Qt deliver what is waiting."""
        if flags is None:
            self._application.processEvents()
        else:
            self._application.processEvents(flags)

    def setOverrideCursor(self, cursor: Any) -> None:
        """Show another cursor (tryWithErrorDisplay with waitCursor)."""
        self._application.setOverrideCursor(QtGui.QCursor(cursor))

    def restoreOverrideCursor(self) -> None:
        """Take the last cursor back; one too many is an error here."""
        if self._application.overrideCursor() is None:
            raise RuntimeError("slicer.app.restoreOverrideCursor() without setOverrideCursor()")
        self._application.restoreOverrideCursor()

    def topLevelWidgets(self) -> tuple[Any, ...]:
        """Return all widgets without a parent (slicer.util.mainWindow looks for the main window there)."""
        known = [widget for widget in self._application.topLevelWidgets() if widget.objectName()]
        return tuple(pythonqt.wrap(widget) for widget in known)

    def settings(self) -> Any:
        """Return the settings, empty at the start and kept in the temporary folder."""
        return pythonqt.wrap(self._settings)

    userSettings = settings
    revisionUserSettings = settings


def _fonts() -> None:
    """Give Qt a font: PySide6 brings none, and a bare machine has none; matplotlib carries DejaVu Sans."""
    if QtGui.QFontDatabase.families():
        return
    import matplotlib

    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    number = QtGui.QFontDatabase.addApplicationFont(str(font))
    QtWidgets.QApplication.setFont(QtGui.QFont(QtGui.QFontDatabase.applicationFontFamilies(number)[0], 9))


def _message(kind: Any, context: Any, text: str) -> None:
    """Pass Qt's messages on, but for one that the offscreen platform repeats at every window."""
    if "propagateSizeHints" not in text:
        print(text, file=sys.stderr)


def create(scene: Any) -> QtSlicerApplication:
    """Start Qt without a screen, put qt and ctk into sys.modules, and return slicer.app."""
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    QtCore.qInstallMessageHandler(_message)
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
    application.setStyle("Fusion")
    _fonts()
    qt = pythonqt.create_module()
    qt.QUiLoader = pythonqt.declare(ui_files.UiLoader, "load", name="QUiLoader")  # type: ignore[attr-defined]
    sys.modules["qt"] = qt
    sys.modules["ctk"] = ctk_widgets.create_module()
    mrml_widgets.declare_widgets()
    QtCore.QCoreApplication.setOrganizationName("NA-MIC")
    QtCore.QCoreApplication.setApplicationName("Slicer")
    return QtSlicerApplication(scene, application)
