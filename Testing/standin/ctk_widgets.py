"""The CTK widgets that module panels use, as PySide6 widgets with the same properties, signals and behaviour.

Checked against Libs/Widgets/ of commontk/CTK: ctkCollapsibleButton, ctkSliderWidget, ctkComboBox, ctkPathLineEdit,
ctkMessageBox (.h and .cpp). CTK's classes reach Python through their QMetaObject only, so setters that are neither
slots nor Q_INVOKABLE (slider.setMinimum, say) do not exist in Slicer's Python, and not here: write the property
instead.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from PySide6 import QtCore, QtGui, QtWidgets

from .pythonqt import QtModule, declare
from .refusal import not_known


class CtkCollapsibleButton(QtWidgets.QAbstractButton):
    """A header that hides or shows the widgets below it; `checked` is always the opposite of `collapsed`."""

    source = "Libs/Widgets/ctkCollapsibleButton.h of CTK"
    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, *arguments: Any) -> None:
        text = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        super().__init__(arguments[-1] if arguments and isinstance(arguments[-1], QtWidgets.QWidget) else None)
        self._collapsed = False
        self._hidden_before: set[QtWidgets.QWidget] = set()
        self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Minimum, policy.Preferred)
        self.setContentsMargins(0, self._header_height(), 0, 0)
        self.toggled.connect(lambda checked: self._collapse(not checked))

    def _header_height(self) -> int:
        return max(self.fontMetrics().height(), 16) + 8

    def _content(self) -> list[QtWidgets.QWidget]:
        return [child for child in self.children() if isinstance(child, QtWidgets.QWidget)]

    def _collapse(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        if collapsed:
            self._hidden_before = {child for child in self._content() if child.isHidden()}
        for child in self._content():
            child.setVisible(not collapsed and child not in self._hidden_before)
        self.setMaximumHeight(self._header_height() if collapsed else 16777215)
        self.updateGeometry()
        self.contentsCollapsed.emit(collapsed)

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        # Widgets added while collapsed (by a .ui file, say) are hidden too: ctkCollapsibleButton::childEvent.
        if self._collapsed:
            for child in self._content():
                child.hide()
        super().showEvent(event)

    def sizeHint(self) -> QtCore.QSize:
        header = QtCore.QSize(self.fontMetrics().horizontalAdvance(self.text()) + 40, self._header_height())
        if self._collapsed or self.layout() is None:
            return header
        return self.layout().totalSizeHint().expandedTo(header)

    def minimumSizeHint(self) -> QtCore.QSize:
        if self._collapsed or self.layout() is None:
            return QtCore.QSize(0, self._header_height())
        return self.layout().totalMinimumSize()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width(), self._header_height())
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, (self._header_height() - 10) // 2, 10, 10)
        element = QtWidgets.QStyle.PrimitiveElement
        painter.drawPrimitive(
            element.PE_IndicatorArrowRight if self._collapsed else element.PE_IndicatorArrowDown, arrow
        )
        left = QtCore.Qt.AlignmentFlag.AlignLeft | QtCore.Qt.AlignmentFlag.AlignVCenter
        painter.drawItemText(option.rect.adjusted(22, 0, -4, 0), left, self.palette(), self.isEnabled(), self.text())

    def _set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = QtCore.Property(bool, lambda self: self._collapsed, _set_collapsed, notify=contentsCollapsed)


class CtkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box with one double value, rounded by the spin box to its decimals."""

    source = "Libs/Widgets/ctkSliderWidget.h of CTK"
    valueChanged = QtCore.Signal(float)
    valueIsChanging = QtCore.Signal(float)
    decimalsChanged = QtCore.Signal(int)
    STEPS = 10000

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._tracking = True
        self._changing = False
        self._before = 0.0
        self._page_step = 10.0
        self._tick_interval = 0.0
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._slider.setRange(0, self.STEPS)
        self._spin = QtWidgets.QDoubleSpinBox()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._spin)
        self._spin.valueChanged.connect(self._spin_changed)
        self._slider.valueChanged.connect(self._slider_changed)
        self._slider.sliderPressed.connect(self._start)
        self._slider.sliderReleased.connect(self._stop)

    def _spin_changed(self, value: float) -> None:
        self._place_slider()
        if not self._tracking and self._changing:
            self.valueIsChanging.emit(value)
        else:
            self.valueChanged.emit(value)

    def _place_slider(self) -> None:
        span = self._spin.maximum() - self._spin.minimum()
        position = round((self._spin.value() - self._spin.minimum()) / span * self.STEPS) if span > 0 else 0
        with QtCore.QSignalBlocker(self._slider):
            self._slider.setValue(position)

    def _slider_changed(self, position: int) -> None:
        span = self._spin.maximum() - self._spin.minimum()
        self._spin.setValue(self._spin.minimum() + position / self.STEPS * span)

    def _start(self) -> None:
        self._changing = not self._tracking
        self._before = self._spin.value()

    def _stop(self) -> None:
        if self._changing:
            self._changing = False
            if self._spin.value() != self._before:
                self.valueChanged.emit(self._spin.value())

    def setValue(self, value: float) -> None:
        """Set the value; a slot."""
        self._spin.setValue(value)

    def setDecimals(self, decimals: int) -> None:
        """Set the number of decimals; a slot."""
        self._spin.setDecimals(decimals)
        self.decimalsChanged.emit(decimals)

    def setSpinBoxVisible(self, visible: bool) -> None:
        """Show or hide the spin box; a slot."""
        self._spin.setVisible(visible)

    def _set_minimum(self, minimum: float) -> None:
        self._spin.setMinimum(minimum)
        self._place_slider()

    def _set_maximum(self, maximum: float) -> None:
        self._spin.setMaximum(maximum)
        self._place_slider()

    def _set_tracking(self, tracking: bool) -> None:
        self._tracking = tracking

    def _set_page_step(self, step: float) -> None:
        self._page_step = step

    value = QtCore.Property(float, lambda self: self._spin.value(), setValue)
    minimum = QtCore.Property(float, lambda self: self._spin.minimum(), _set_minimum)
    maximum = QtCore.Property(float, lambda self: self._spin.maximum(), _set_maximum)
    decimals = QtCore.Property(int, lambda self: self._spin.decimals(), setDecimals)
    singleStep = QtCore.Property(
        float, lambda self: self._spin.singleStep(), lambda self, step: self._spin.setSingleStep(step)
    )
    pageStep = QtCore.Property(float, lambda self: self._page_step, _set_page_step)
    prefix = QtCore.Property(str, lambda self: self._spin.prefix(), lambda self, text: self._spin.setPrefix(text))
    suffix = QtCore.Property(str, lambda self: self._spin.suffix(), lambda self, text: self._spin.setSuffix(text))
    tracking = QtCore.Property(bool, lambda self: self._tracking, _set_tracking)
    spinBoxVisible = QtCore.Property(bool, lambda self: not self._spin.isHidden(), setSpinBoxVisible)


class CtkComboBox(QtWidgets.QComboBox):
    """A combo box with a text for "nothing chosen"."""

    source = "Libs/Widgets/ctkComboBox.h of CTK"

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._default_text = ""

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionComboBox()
        self.initStyleOption(option)
        if self.currentIndex() == -1:
            option.currentText = self._default_text
        painter.drawComplexControl(QtWidgets.QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_ComboBoxLabel, option)

    def _set_default_text(self, text: str) -> None:
        self._default_text = text
        self.update()

    defaultText = QtCore.Property(str, lambda self: self._default_text, _set_default_text)


class CtkPathLineEdit(QtWidgets.QWidget):
    """A path that is typed or browsed for; the history of a settingKey is not kept here.

    It tells of a change only when the new text fits the name filters; an empty one never does
    (ctkPathLineEdit::updateHasValidInput). The combo box inside tells of every change.
    """

    source = "Libs/Widgets/ctkPathLineEdit.h of CTK"
    currentPathChanged = QtCore.Signal(str)
    cpp_signals: ClassVar[dict[str, str]] = {"currentPathChanged(QString)": "currentPathChanged"}

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._setting_key = ""
        self._name_filters: list[str] = []
        self._combo_box = QtWidgets.QComboBox()
        self._combo_box.setEditable(True)
        self._combo_box.setInsertPolicy(QtWidgets.QComboBox.InsertPolicy.NoInsert)
        self._edit = self._combo_box.lineEdit()
        self._validator = QtGui.QRegularExpressionValidator(self)
        self._edit.setValidator(self._validator)
        self._set_name_filters([])
        self._button = QtWidgets.QToolButton()
        self._button.setText("...")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo_box)
        layout.addWidget(self._button)
        self._edit.textChanged.connect(self._text_changed)

    def _text_changed(self, text: str) -> None:
        if self._edit.hasAcceptableInput():
            self.currentPathChanged.emit(text)

    def comboBox(self) -> QtWidgets.QComboBox:
        """Return the combo box inside; Q_INVOKABLE."""
        return self._combo_box

    def setCurrentPath(self, path: str) -> None:
        """Set the path; a slot."""
        self._edit.setText(path)

    def addCurrentPathToHistory(self) -> None:
        """Slot: the history is a matter of settings, which tests do not keep."""

    def browse(self) -> None:
        """Slot: opens a file dialog, which waits for a user."""
        raise not_known("ctkPathLineEdit.browse()", "a session with a user")

    def _set_setting_key(self, key: str) -> None:
        self._setting_key = key

    def _set_name_filters(self, filters: list[str]) -> None:
        self._name_filters = list(filters)
        # ctk::nameFiltersToRegularExpression, its question mark included.
        extensions = [rf".*\.{extension}?$" for extension in re.findall(r"\*\.(\w+)", " ".join(filters))]
        pattern = f"({'|'.join(extensions)})" if extensions else ".+"
        self._validator.setRegularExpression(QtCore.QRegularExpression(pattern))

    currentPath = QtCore.Property(str, lambda self: self._edit.text(), setCurrentPath)
    settingKey = QtCore.Property(str, lambda self: self._setting_key, _set_setting_key)
    nameFilters = QtCore.Property("QStringList", lambda self: self._name_filters, _set_name_filters)
    showBrowseButton = QtCore.Property(
        bool, lambda self: not self._button.isHidden(), lambda self, visible: self._button.setVisible(visible)
    )


class CtkMessageBox(QtWidgets.QMessageBox):
    """A message box with "Don't show this message again"; in tests no message box is ever run."""

    source = "Libs/Widgets/ctkMessageBox.h of CTK"


def create_module() -> QtModule:
    """Return the module `ctk`."""
    module = QtModule("ctk", __doc__)
    for native, name, methods in (
        (CtkCollapsibleButton, "ctkCollapsibleButton", ""),
        (CtkSliderWidget, "ctkSliderWidget", "setValue setDecimals setSpinBoxVisible"),
        (CtkComboBox, "ctkComboBox", ""),
        (CtkPathLineEdit, "ctkPathLineEdit", "comboBox setCurrentPath addCurrentPathToHistory browse"),
        (CtkMessageBox, "ctkMessageBox", ""),
    ):
        setattr(module, name, declare(native, methods, name=name))
    return module
