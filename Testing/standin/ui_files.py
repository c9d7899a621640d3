"""qt.QUiLoader: .ui files become widgets; what would be silently ignored in Slicer is an error here.

Checked against Qt's QUiLoader (unknown property -> a dynamic property nobody reads; a connection with an unknown
signal or slot -> a warning on the console) and slicer.util.loadUI, which calls QUiLoader.load(QFile). A property of
the class has to exist; anything else has to say stdset="0", as Qt Designer writes for dynamic properties such as
SlicerParameterName.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import pythonqt
from .pythonqt import QtObject, wrap
from .refusal import not_known

# Written by Qt Designer, read by QUiLoader itself.
NOT_PROPERTIES = {"QWidget": {"buttonGroup"}, "Line": {"orientation"}, "QLabel": {"buddy"}}


class _Loader(QtUiTools.QUiLoader):
    def __init__(self, classes: dict[str, type]) -> None:
        super().__init__()
        self._classes = classes

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> QtWidgets.QWidget:
        if class_name not in self._classes:
            return super().createWidget(class_name, parent, name)
        widget = self._classes[class_name](parent)
        widget.setObjectName(name)
        return widget


class UiLoader(QtCore.QObject):
    """What qt.QUiLoader() is here."""

    source = "QtUiTools"

    def load(self, device: Any, parent: Any = None) -> Any:
        """Return the widget that the opened file describes."""
        root = ET.fromstring(bytes(device.readAll().data()))
        custom = {cls.__name__: native for native, cls in pythonqt._classes.items() if cls.__name__[0].islower()}
        for element in root.iter("widget"):
            _check_class(element.get("class", ""), custom)
        connections = root.find("connections")
        if connections is not None:
            root.remove(connections)
        # The classes are registered here, not by their headers.
        customwidgets = root.find("customwidgets")
        if customwidgets is not None:
            root.remove(customwidgets)
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = _Loader(custom).load(buffer, parent)
        if widget is None:
            raise RuntimeError("QUiLoader could not read the file")
        _check_properties(root, widget)
        for connection in connections if connections is not None else ():
            _connect(wrap(widget), connection)
        return widget


def _check_class(name: str, custom: dict[str, type]) -> None:
    known = {cls.__name__ for cls in pythonqt._classes.values()}
    if name not in custom and name not in known and name != "Line":
        raise not_known(f"the widget class {name} in a .ui file", "Qt 5.15, CTK's or Slicer's Designer plugins")


def _check_properties(root: ET.Element, widget: Any) -> None:
    for element in root.iter("widget"):
        name = element.get("name", "")
        native = widget if widget.objectName() == name else widget.findChild(QtCore.QObject, name)
        if native is None:
            raise RuntimeError(f"the widget {name} of the .ui file was not made")
        meta = native.metaObject()
        for item in element.findall("property"):
            property_name = item.get("name", "")
            if item.get("stdset") == "0" or property_name in NOT_PROPERTIES.get(element.get("class", ""), ()):
                continue
            if meta.indexOfProperty(property_name) < 0:
                source = getattr(native, "source", "the class's documentation")
                raise not_known(f"the property {property_name} of {element.get('class')} {name} in a .ui file", source)


def _named(root: QtObject, name: str) -> Any:
    found = root if root.objectName == name else root.findChild(QtObject, name)
    if found is None:
        raise RuntimeError(f"a connection of the .ui file names {name}, which it does not have")
    return found


def _connect(root: QtObject, element: ET.Element) -> None:
    sender, signal, receiver, slot = (element.findtext(tag, "") for tag in ("sender", "signal", "receiver", "slot"))
    if signal.count(",") < slot.count(",") or (signal.endswith("()") and not slot.endswith("()")):
        raise ValueError(f"the slot {slot} takes more than the signal {signal} gives")
    target = getattr(_named(root, receiver), slot.split("(")[0])
    if slot.endswith("()"):
        method = target
        _named(root, sender).connect(signal, lambda: method())
    else:
        _named(root, sender).connect(signal, target)
