"""How a parameter is bound to a widget: which pairs of type and widget there are, and what each reads and writes.

Our own code with the contract of Base/Python/slicer/parameterNodeWrapper/guiConnectors.py (canRepresent decides by
the exact type of the widget; ranges, decimals and choices go from the annotations into the widget when they are
connected).
"""

from __future__ import annotations

import enum
import pathlib
import typing
from collections.abc import Callable
from typing import Annotated, Any

import slicer

from .parameter_node_wrapper import Choice, Decimals, Maximum, Minimum, SingleStep, WithinRange


class Connector:
    """One widget as a value: read, write, and a call at each change."""

    def __init__(self, widget: Any, signal: str | None, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self._signal = getattr(widget, signal) if signal else None
        self.read = read
        self.write = write
        self._callback: Callable[[], None] | None = None

    def connect(self, callback: Callable[[], None]) -> None:
        """Call `callback` at each change of the widget."""
        self._callback = callback
        if self._signal is not None:
            self._signal.connect(callback)

    def disconnect(self) -> None:
        """Stop calling."""
        if self._signal is not None and self._callback is not None:
            self._signal.disconnect(self._callback)
        self._callback = None


def _property(widget: Any, name: str, signal: str) -> Connector:
    return Connector(widget, signal, lambda: getattr(widget, name), lambda value: setattr(widget, name, value))


def _note(annotations: list[Any], kind: type) -> Any:
    return next((note for note in annotations if isinstance(note, kind)), None)


def _apply_range(widget: Any, annotations: list[Any], *, required: bool) -> None:
    within, low, high = (_note(annotations, kind) for kind in (WithinRange, Minimum, Maximum))
    if required and within is None and (low is None or high is None):
        raise RuntimeError(f"Cannot have a connection to {type(widget).__name__} where the number is unbounded.")
    if within is not None:
        widget.minimum, widget.maximum = within.minimum, within.maximum
    else:
        unbounded = 2.0**31 - 1
        widget.minimum = low.minimum if low is not None else -unbounded
        widget.maximum = high.maximum if high is not None else unbounded


def _int_connector(widget: Any, annotations: list[Any], slider: bool) -> Connector:
    step = _note(annotations, SingleStep)
    if step is not None:
        widget.singleStep = step.value
    _apply_range(widget, annotations, required=slider)
    return _property(widget, "value", "valueChanged")


def _double_connector(widget: Any, annotations: list[Any], is_int: bool, slider: bool) -> Connector:
    decimals, step = _note(annotations, Decimals), _note(annotations, SingleStep)
    if is_int:
        widget.decimals = 0
    elif decimals is not None:
        widget.decimals = decimals.value
    if step is not None:
        widget.singleStep = step.value
    _apply_range(widget, annotations, required=slider)
    cast = int if is_int else (lambda value: value)
    return Connector(
        widget, "valueChanged", lambda: cast(widget.value), lambda value: setattr(widget, "value", cast(value))
    )


def _choices_connector(widget: Any, labels: list[tuple[str, Any]]) -> Connector:
    widget.clear()
    for label, _ in labels:
        widget.addItem(label)

    def write(value: Any) -> None:
        for index, (_, choice) in enumerate(labels):
            if choice == value:
                widget.currentIndex = index
                return
        raise ValueError(f"Unable to find value {value} in choices {labels}")

    return Connector(widget, "currentIndexChanged", lambda: labels[widget.currentIndex][1], write)


def _text_edit_connector(widget: Any) -> Connector:
    def write(value: str) -> None:
        if value != widget.text:
            widget.text = value

    return Connector(widget, "textChanged", lambda: widget.text, write)


def _path_connector(widget: Any) -> Connector:
    return Connector(
        widget,
        "currentPathChanged",
        lambda: pathlib.Path(widget.currentPath),
        lambda value: setattr(widget, "currentPath", str(value)),
    )


def _node_connector(widget: Any, node_class: Any) -> Connector:
    widget.nodeTypes = (node_class().GetClassName(),)  # util.py: getNodeTypes
    return Connector(widget, "currentNodeChanged", widget.currentNode, widget.setCurrentNode)


def create_connector(widget: Any, hint: Any) -> Connector:
    """Return the connector for a widget and an annotated type; RuntimeError where guiConnectors.py has none."""
    import ctk
    import qt

    kind, *annotations = typing.get_args(Annotated[hint, "end"])[:-1]
    cls = type(widget)
    if kind is bool and cls is qt.QCheckBox:
        return _property(widget, "checked", "stateChanged")
    if kind is bool and cls is qt.QPushButton:
        widget.checkable = True
        return _property(widget, "checked", "toggled")
    if kind is int and cls in (qt.QSlider, qt.QSpinBox):
        return _int_connector(widget, annotations, cls is qt.QSlider)
    if kind in (float, int) and cls in (qt.QDoubleSpinBox, ctk.ctkSliderWidget):
        return _double_connector(widget, annotations, kind is int, cls is ctk.ctkSliderWidget)
    if cls in (qt.QComboBox, ctk.ctkComboBox) and kind in (int, float, str, bool):
        choice = _note(annotations, Choice)
        if choice is None:
            raise RuntimeError("ComboBoxToStringableConnector requires the Choice annotation to be used.")
        return _choices_connector(widget, [(str(item), item) for item in choice.choices])
    if cls in (qt.QComboBox, ctk.ctkComboBox) and isinstance(kind, type) and issubclass(kind, enum.Enum):
        label = getattr(kind, "label", lambda item: item.name)
        return _choices_connector(widget, [(label(item), item) for item in kind])
    if kind is str and cls is qt.QLineEdit:
        return _text_edit_connector(widget)
    if kind is str and cls is qt.QLabel:
        return Connector(widget, None, lambda: widget.text, lambda value: setattr(widget, "text", value))
    if kind is pathlib.Path and cls is ctk.ctkPathLineEdit:
        return _path_connector(widget)
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode) and cls is slicer.qMRMLNodeComboBox:
        return _node_connector(widget, kind)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{hint}' to widget type '{cls}'.")
