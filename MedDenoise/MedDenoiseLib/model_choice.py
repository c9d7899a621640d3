"""The choice of the model: the list of those shipped, and the field for weights of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from MedDenoiseLib.parameters import MedDenoiseParameterNode


class ModelChoice:
    """Shows two parameters that have no ready-made binding, ``model`` and ``weightsFile``, and writes what is chosen.

    :param ui: the panel's widgets.
    :param parameterNode: returns the parameter node that the panel shows; None for none.
    """

    def __init__(self, ui: Any, parameterNode: Callable[[], MedDenoiseParameterNode | None]) -> None:
        from meddenoise.catalogue import DEFAULT_MODEL, shipped_models

        self.ui = ui
        self._parameterNode = parameterNode
        self.ui.modelComboBox.addItem(_automaticTitle(), DEFAULT_MODEL)
        self.ui.modelComboBox.setItemData(0, _automaticTitle(), qt.Qt.ToolTipRole)  # a narrow panel cuts it short
        for model in shipped_models():
            self.ui.modelComboBox.addItem(model.title, model.name)
            self.ui.modelComboBox.setItemData(self.ui.modelComboBox.count - 1, model.description, qt.Qt.ToolTipRole)
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self._onModelChosen)
        # Not currentPathChanged: it is silent when a field is emptied.
        self.ui.weightsPathLineEdit.comboBox().connect("editTextChanged(QString)", self._onWeightsFileChosen)

    def show(self, parameters: MedDenoiseParameterNode) -> None:
        """Show what the parameter node holds; a model that is not offered leaves the list as it is."""
        index = self.ui.modelComboBox.findData(parameters.model)
        if index >= 0:
            self.ui.modelComboBox.currentIndex = index
        if self.ui.weightsPathLineEdit.currentPath.strip() != parameters.weightsFile:
            self.ui.weightsPathLineEdit.currentPath = parameters.weightsFile

    def offers(self, name: str) -> bool:
        """Return whether a model is in the list."""
        return bool(self.ui.modelComboBox.findData(name) >= 0)

    def _onModelChosen(self, index: int) -> None:
        parameters = self._parameterNode()
        if parameters is not None and index >= 0:
            parameters.model = self.ui.modelComboBox.itemData(index)

    def _onWeightsFileChosen(self, path: str) -> None:
        parameters = self._parameterNode()
        if parameters is not None:
            parameters.weightsFile = path.strip()


def _automaticTitle() -> str:
    """Return what the panel calls the default model, which differs between GPU and CPU once both are shipped."""
    from meddenoise.catalogue import default_model, find_model

    gpu, cpu = (find_model(default_model(device)).title for device in ("cuda", "cpu"))
    if gpu == cpu:
        return _("Automatic: {model}").format(model=cpu)
    return _("Automatic: {cpu}, on a GPU {gpu}").format(gpu=gpu, cpu=cpu)
