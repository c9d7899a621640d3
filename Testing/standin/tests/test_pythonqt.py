"""The conventions of PythonQt: properties, methods, signals, and everything that must be refused."""

from __future__ import annotations

import re
import time

import ctk
import pytest
import qt
import slicer

import standin
from standin.pythonqt import ModalDialogError


def process_events_until(condition, rounds=400):
    for _ in range(rounds):
        if condition():
            return
        slicer.app.processEvents(qt.QEventLoop.AllEvents)
        time.sleep(0.002)
    raise AssertionError("it did not happen")


def test_a_property_is_an_attribute_and_cannot_be_called():
    button = qt.QPushButton("Denoise")
    assert button.text == "Denoise"
    button.text = "Cancel"
    assert button.text == "Cancel"
    with pytest.raises(TypeError):
        button.text()
    button.setText("by the setter")
    assert button.text == "by the setter"


def test_name_is_objectname():
    button = qt.QPushButton()
    button.name = "apply"
    assert button.objectName == "apply"


def test_values_are_converted_as_pythonqt_does():
    button, bar = qt.QPushButton(), qt.QProgressBar()
    button.enabled = None
    assert button.enabled is False
    bar.value = 3.9
    assert bar.value == 3
    with pytest.raises(AttributeError):
        button.text = None


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda: qt.QPushButton().caption, "QPushButton.caption is not known"),
        (lambda: setattr(qt.QPushButton(), "caption", "x"), "no new attributes"),
        (lambda: qt.QCheckBox().checkStateChanged, "checkStateChanged"),
        (lambda: qt.QWebEngineView, "qt.QWebEngineView is not known"),
        (lambda: qt.Qt.AlignSideways, "qt.Qt.AlignSideways"),
        (lambda: ctk.ctkFancyWidget, "ctk.ctkFancyWidget"),
        (lambda: ctk.ctkSliderWidget().setMinimum(0), "ctkSliderWidget.setMinimum"),
        (lambda: slicer.qMRMLNodeComboBox().setNodeTypes(["vtkMRMLNode"]), "qMRMLNodeComboBox.setNodeTypes"),
        (lambda: slicer.app.fancy, "slicer.app.fancy"),
        (lambda: slicer.modules.fancy, "slicer.modules.fancy"),
        (lambda: slicer.app.layoutManager().fancy, "layoutManager().fancy"),
        (lambda: qt.QPushButton().connect("pressed_hard()", print), "the signal pressed_hard()"),
        (lambda: qt.QPushButton().connect("clicked(int)", print), "there is clicked(bool)"),
        (lambda: type("Mine", (qt.QWidget,), {}), "a Python class derived from QWidget"),
    ],
)
def test_what_is_not_known_raises_and_names_the_source(action, words):
    with pytest.raises(standin.NotKnownError, match=re.escape(words)):
        action()


@pytest.mark.parametrize(
    "action",
    [
        lambda: qt.QMessageBox.question(None, "title", "text"),
        lambda: qt.QFileDialog.getOpenFileName(),
        lambda: qt.QMessageBox().exec_(),
        lambda: ctk.ctkMessageBox().exec_(),
    ],
)
def test_nothing_may_wait_for_a_user(action):
    with pytest.raises(ModalDialogError):
        action()


def test_a_slot_gets_no_more_arguments_than_it_takes():
    heard = []
    button = qt.QPushButton()
    button.connect("clicked(bool)", lambda: heard.append("none"))
    button.clicked.connect(lambda checked: heard.append(checked))
    button.connect("clicked()", lambda *values: heard.append(values))
    button.click()
    assert heard == ["none", False, ()]


def test_disconnect():
    heard = []
    button = qt.QPushButton()

    def slot():
        heard.append(1)

    button.connect("clicked(bool)", slot)
    assert button.disconnect("clicked(bool)", slot)
    assert not button.disconnect("clicked(bool)", slot)
    button.clicked.connect(slot)
    button.clicked.disconnect(slot)
    button.click()
    assert heard == []


def test_a_slot_s_exception_is_kept_and_the_rest_goes_on(capsys):
    heard = []
    button = qt.QPushButton()
    button.clicked.connect(lambda: 1 / 0)
    button.clicked.connect(lambda: heard.append(1))
    button.click()
    assert heard == [1]
    assert [type(error) for error in standin.slot_errors] == [ZeroDivisionError]
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_an_observer_s_exception_is_kept(capsys):
    tag = slicer.mrmlScene.AddObserver("ModifiedEvent", lambda caller, event: 1 / 0)
    slicer.mrmlScene.Modified()
    slicer.mrmlScene.RemoveObserver(tag)
    assert [type(error) for error in standin.slot_errors] == [ZeroDivisionError]


def test_timers_fire_when_events_are_processed():
    heard = []
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.setInterval(1)
    timer.connect("timeout()", lambda: heard.append("timer"))
    timer.start()
    assert timer.active
    qt.QTimer.singleShot(1, lambda: heard.append("shot"))
    assert heard == []
    process_events_until(lambda: len(heard) == 2)
    assert sorted(heard) == ["shot", "timer"]
    assert not timer.active


def test_the_same_object_comes_back_the_same():
    parent, button = qt.QWidget(), qt.QPushButton()
    layout = qt.QVBoxLayout(parent)
    layout.addWidget(button)
    assert button.parent() is parent
    assert parent.layout() is layout
    assert parent.findChildren(qt.QPushButton) == (button,)
    assert type(button) is qt.QPushButton
    assert isinstance(button, qt.QWidget)


def test_a_destroyed_object_says_so():
    button = qt.QPushButton()
    button.delete()
    with pytest.raises(ValueError, match="destroyed"):
        _ = button.text


def test_a_collapsible_button_hides_its_contents():
    box = ctk.ctkCollapsibleButton()
    layout = qt.QVBoxLayout(box)
    inside, hidden = qt.QLabel("inside"), qt.QLabel("hidden")
    layout.addWidget(inside)
    layout.addWidget(hidden)
    hidden.hide()
    heard = []
    box.connect("contentsCollapsed(bool)", heard.append)
    box.show()
    assert inside.visible
    box.collapsed = True
    assert (box.checked, inside.visible) == (False, False)
    box.collapsed = False
    assert (box.checked, inside.visible, hidden.visible) == (True, True, False)
    assert heard == [True, False]
    box.hide()


def test_a_slider_widget_rounds_to_its_decimals_and_tells():
    slider = ctk.ctkSliderWidget()
    slider.minimum, slider.maximum, slider.decimals = 0, 1, 1
    heard = []
    slider.connect("valueChanged(double)", lambda value: heard.append(value))
    slider.value = 0.52
    slider.value = 7
    assert heard == [0.5, 1.0]
    assert slider.value == 1.0


def test_settings_start_empty_and_keep_values():
    settings = slicer.app.settings()
    assert not settings.contains("MedDenoise/anything")
    qt.QSettings().setValue("MedDenoise/anything", "kept")
    qt.QSettings().sync()
    assert slicer.util.settingsValue("MedDenoise/anything", None) == "kept"
    qt.QSettings().remove("MedDenoise/anything")


def test_messages_are_recorded_and_wait_for_nobody():
    slicer.util.errorDisplay("Something is wrong.")
    # slicer.util compares the True of testing mode with QMessageBox.Ok, which is 1024: `Slicer --testing` says no too.
    assert slicer.util.confirmOkCancelDisplay("Install?") is False
    assert standin.dialogs == [("ERROR", "Something is wrong."), ("INFO", "Install?")]


def test_a_screenshot_shows_text(tmp_path):
    from PySide6.QtGui import QImage

    label = qt.QLabel("Strength")
    light = QImage(str(standin.screenshot(label, tmp_path / "light.png", size=(120, 30))))
    dark = QImage(str(standin.screenshot(label, tmp_path / "dark.png", size=(120, 30), dark=True)))
    background = (light.pixelColor(118, 2).lightness(), dark.pixelColor(118, 2).lightness())
    assert background[0] > 200 > 80 > background[1]
    for image, ground in ((light, background[0]), (dark, background[1])):
        inked = sum(
            abs(image.pixelColor(x, y).lightness() - ground) > 100
            for x in range(image.width())
            for y in range(image.height())
        )
        assert inked > 50
    label.hide()
