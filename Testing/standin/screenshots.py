"""Pictures of panels, drawn off screen in Qt's Fusion style, light or dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6 import QtGui, QtWidgets

from .pythonqt import unwrap


def _palette(dark: bool) -> QtGui.QPalette:
    window, base, text = ("#323232", "#232323", "#f0f0f0") if dark else ("#efefef", "#ffffff", "#000000")
    role = QtGui.QPalette.ColorRole
    palette = QtGui.QPalette(QtGui.QColor(window))
    for item, colour in (
        (role.Window, window),
        (role.Button, window),
        (role.Base, base),
        (role.AlternateBase, window),
        (role.WindowText, text),
        (role.Text, text),
        (role.ButtonText, text),
        (role.Highlight, "#308cc6"),
        (role.HighlightedText, "#ffffff"),
    ):
        palette.setColor(item, QtGui.QColor(colour))
    for item in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QtGui.QPalette.ColorGroup.Disabled, item, QtGui.QColor("#808080"))
    return palette


def save(widget: Any, path: Path, size: tuple[int, int] | None, dark: bool) -> Path:
    """Draw a widget into a PNG; size in pixels, the widget's own hint when none is given."""
    native = unwrap(widget)
    application = QtWidgets.QApplication.instance()
    before = application.palette()
    application.setPalette(_palette(dark))
    try:
        native.resize(*size) if size else native.adjustSize()
        native.show()
        application.processEvents()
        path.parent.mkdir(parents=True, exist_ok=True)
        if not native.grab().save(str(path), "PNG"):
            raise OSError(f"could not write {path}")
    finally:
        application.setPalette(before)
    return path
