"""The panel: shows the parameter node, starts and cancels runs, says what is going on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from MedDenoiseLib import compare, export, run, torch_installation, volumes
from MedDenoiseLib.logic import MedDenoiseLogic
from MedDenoiseLib.parameters import Device, MedDenoiseParameterNode


class MedDenoiseWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: shows the parameter node, starts and cancels runs, says what is going on."""

    #: How often a run is looked at, and how long the strength slider must rest before it takes effect; ms.
    POLL_INTERVAL, STRENGTH_REST = 50, 60

    def __init__(self, parent: Any = None) -> None:
        VTKObservationMixin.__init__(self)
        self.logic: MedDenoiseLogic | None = None
        self._parameterNode: MedDenoiseParameterNode | None = None
        self._guiTag: int | None = None
        self._parameterTag: int | None = None
        self._run: run.Run | None = None
        self._observedInput: Any = None
        self._inputTag: int | None = None
        #: ID of the output that was shown last, and what there is to say about it when nothing else is to be said.
        self._outputID: str | None = None
        self._note = ""
        self._comparison = compare.Comparison(left=self._showState)
        ScriptedLoadableModuleWidget.__init__(self, parent)  # last: without a parent it calls setup

    # Life of the panel

    def setup(self) -> None:
        """Build the panel; called when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedDenoise.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = MedDenoiseLogic()

        from meddenoise.catalogue import DEFAULT_MODEL, shipped_models

        self.ui.modelComboBox.addItem(_automaticTitle(), DEFAULT_MODEL)
        self.ui.modelComboBox.setItemData(0, _automaticTitle(), qt.Qt.ToolTipRole)  # a narrow panel cuts it short
        for model in shipped_models():
            self.ui.modelComboBox.addItem(model.title, model.name)
            self.ui.modelComboBox.setItemData(self.ui.modelComboBox.count - 1, model.description, qt.Qt.ToolTipRole)
        self.ui.pythonPathLineEdit.currentPath = torch_installation.otherPython()
        self.ui.progressBar.visible = False

        self._pollTimer = qt.QTimer()
        self._pollTimer.setInterval(self.POLL_INTERVAL)
        self._pollTimer.connect("timeout()", self._onPoll)
        self._strengthTimer = qt.QTimer()
        self._strengthTimer.setSingleShot(True)
        self._strengthTimer.setInterval(self.STRENGTH_REST)
        self._strengthTimer.connect("timeout()", self._onStrengthRested)

        self.ui.modelComboBox.connect("currentIndexChanged(int)", self._onModelChosen)
        # Not currentPathChanged: it is silent when a field is emptied.
        self.ui.weightsPathLineEdit.comboBox().connect("editTextChanged(QString)", self._onWeightsFileChosen)
        self.ui.pythonPathLineEdit.comboBox().connect("editTextChanged(QString)", torch_installation.setOtherPython)
        self.ui.strengthSlider.connect("valueChanged(double)", self._onStrengthMoved)
        self.ui.compareButton.connect("clicked(bool)", self.onCompareButton)
        self.ui.denoiseButton.connect("clicked(bool)", self.onDenoiseButton)
        self.ui.saveButton.connect("clicked(bool)", self.onSaveButton)

        scene = slicer.mrmlScene
        self.addObserver(scene, slicer.vtkMRMLScene.StartCloseEvent, self._onSceneStartClose)
        self.addObserver(scene, slicer.vtkMRMLScene.EndCloseEvent, self._onSceneReady)
        # Node references are not valid before the end of an import: what the selectors show meanwhile must not count.
        self.addObserver(scene, slicer.vtkMRMLScene.StartImportEvent, self._onSceneStartImport)
        self.addObserver(scene, slicer.vtkMRMLScene.EndImportEvent, self._onSceneReady)
        self.addObserver(scene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Stop everything; called at exit and before a reload."""
        self._pollTimer.stop()
        self._strengthTimer.stop()
        if self._run is not None:
            self._run.abandon()
            self._run = None
        self.logic.close()
        self._comparison.stop()
        self.setParameterNode(None)
        self._observeInput(None)
        self.removeObservers()

    def enter(self) -> None:
        """Show the parameter node; called whenever the module is opened."""
        self.initializeParameterNode()

    def exit(self) -> None:
        """Leave the parameter node alone until the module is opened again; a run goes on."""
        self._disconnectParameterNode()

    def initializeParameterNode(self) -> None:
        """Take the scene's parameter node; the first volume is chosen when none is."""
        parameterNode = self.logic.getParameterNode()
        current = self._parameterNode  # one for each node: in Slicer 5.10, each that was connected stays in memory
        if current is not None and current.parameterNode is parameterNode.parameterNode:
            self._disconnectParameterNode()
            current.Modified()  # it has kept its values over an import, which says nothing
            parameterNode = current
        self.setParameterNode(parameterNode)
        if self._parameterNode.inputVolume is None:
            for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
                if node.GetClassName() == "vtkMRMLScalarVolumeNode":  # no label maps
                    self._parameterNode.inputVolume = node
                    break

    def setParameterNode(self, parameterNode: MedDenoiseParameterNode | None) -> None:
        """Show another parameter node and follow it; None for none."""
        self._disconnectParameterNode()
        self._parameterNode = parameterNode
        if parameterNode is not None:
            self._guiTag = parameterNode.connectGui(self.ui)
            self._parameterTag = parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onParameterNodeModified)
            self._onParameterNodeModified()

    def _disconnectParameterNode(self) -> None:
        if self._parameterNode is not None and self._guiTag is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self._parameterNode.RemoveObserver(self._parameterTag)
            self._guiTag = self._parameterTag = None

    def _onSceneStartClose(self, caller: Any, event: Any) -> None:
        self._disconnectParameterNode()
        self._observeInput(None)
        self._strengthTimer.stop()
        self._comparison.stop()
        self.logic.strengthControl.clear()

    def _onSceneStartImport(self, caller: Any, event: Any) -> None:
        self._disconnectParameterNode()

    def _onSceneReady(self, caller: Any, event: Any) -> None:
        if self._isOpen():
            self.initializeParameterNode()

    def _isOpen(self) -> bool:
        """Return whether the user has this module open; a panel without Slicer's module panel around it always is."""
        return getattr(self.parent, "isEntered", True)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAboutToBeRemoved(self, caller: Any, event: Any, node: Any) -> None:
        self.logic.strengthControl.forget(node.GetID())
        if self._observedInput is not None and self._observedInput.GetID() == node.GetID():
            self._observeInput(None)  # or the volume would stay in memory for this reference alone
        # The selector would go on to the volume listed before, most likely the input.
        parameters = self._parameterNode
        output = parameters.outputVolume if parameters is not None else None
        if output is not None and output.GetID() == node.GetID():
            parameters.outputVolume = None

    # What the user changes

    def _observeInput(self, node: Any) -> None:
        """Follow the voxels of the input: they may come after it was chosen, and change after it was denoised."""
        # Not by VTKObservationMixin, which keeps what it ever observed, here with its voxels.
        if self._observedInput is not None:
            self._observedInput.RemoveObserver(self._inputTag)
        self._observedInput = node
        if node is not None:
            # Not ImageDataModifiedEvent: slicer.util.arrayFromVolumeModified invokes this one alone.
            self._inputTag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onInputModified)

    def _onInputModified(self, caller: Any, event: Any) -> None:
        self._showState()

    def _onParameterNodeModified(self, caller: Any = None, event: Any = None) -> None:
        """Show the parameters that have no ready-made binding, and whether denoising is possible."""
        parameters = self._parameterNode
        if parameters is None:
            return
        inputVolume, output = parameters.inputVolume, parameters.outputVolume
        if inputVolume is not self._observedInput:
            self._observeInput(inputVolume)
            self._note = ""
        sourceID = output.GetNodeReferenceID(volumes.SOURCE) if output is not None else None
        if self._run is None and sourceID not in (None, inputVolume.GetID() if inputVolume is not None else None):
            parameters.outputVolume = None  # by which this method is called once more
            self._note = _("'{name}' belongs to another input and is kept; a new volume is made.").format(
                name=output.GetName()
            )
            self._showState()
            return
        if output is not None and output.GetID() != self._outputID and volumes.isResultOf(output, inputVolume):
            self._followStrength(output)
        if (output.GetID() if output is not None else None) != self._outputID:
            self._outputID = output.GetID() if output is not None else None
            self._note = ""
        index = self.ui.modelComboBox.findData(parameters.model)
        if index >= 0:
            self.ui.modelComboBox.currentIndex = index
        if self.ui.weightsPathLineEdit.currentPath.strip() != parameters.weightsFile:
            self.ui.weightsPathLineEdit.currentPath = parameters.weightsFile
        self._showState()

    def _onModelChosen(self, index: int) -> None:
        if self._parameterNode is not None and index >= 0:
            self._parameterNode.model = self.ui.modelComboBox.itemData(index)

    def _onWeightsFileChosen(self, path: str) -> None:
        if self._parameterNode is not None:
            self._parameterNode.weightsFile = path.strip()

    def _followStrength(self, result: Any) -> None:
        """Let the slider show the strength that a result has."""
        strength = result.GetAttribute(volumes.STRENGTH)
        if strength is not None:
            self._parameterNode.strength = 100 * float(strength)

    def _onStrengthMoved(self, value: float) -> None:
        if self._run is None and self._parameterNode is not None:
            self._strengthTimer.start()

    def _onStrengthRested(self) -> None:
        """Blend the result anew, once for all the moves of the slider since the last time."""
        parameters = self._parameterNode
        if parameters is None or not self.logic.strengthControl.holds(parameters.outputVolume):
            return
        output, strength = parameters.outputVolume, parameters.strength / 100
        isDone = output.GetAttribute(volumes.STRENGTH) == f"{strength:g}"
        if not isDone and not self.logic.strengthControl.problem(output):
            self.logic.setStrength(output, strength)
            self._comparison.refresh(output)
        self._showState()

    def onCompareButton(self) -> None:
        """Show input, result and difference side by side; from there, go back to the layout before."""
        if self._comparison.isShowing(self._parameterNode.outputVolume):
            self._comparison.hide()
            self._showState()
        else:
            self._showComparison()

    def _showComparison(self) -> None:
        from meddenoise.errors import InputError

        parameters = self._parameterNode
        output = parameters.outputVolume
        try:
            if not volumes.isResultOf(output, parameters.inputVolume):
                raise InputError(
                    _("'{name}' does not fit its input any more and cannot be compared.").format(name=output.GetName())
                )
            self._comparison.show(parameters.inputVolume, output)
            self._showState()
        except Exception as error:
            self._showState()
            self._showError(error)

    def onSaveButton(self) -> None:
        """Save the result as a DICOM series in a folder that the user chooses."""
        output = self._parameterNode.outputVolume
        parent = self._askFolder()
        if not parent:
            return
        folder = export.folderFor(output, parent)
        try:
            files = self.logic.saveAsDICOM(output, folder)
            question = _("{count} files are in {folder}. Add them to the DICOM database, too?")
            if slicer.util.confirmYesNoDisplay(question.format(count=len(files), folder=folder)):
                export.importFolder(folder)
            self.ui.statusLabel.text = _("Saved in {folder}.").format(folder=folder)
        except Exception as error:
            self._showState()
            self._showError(error)

    def _askFolder(self) -> str:
        """Return the folder that the user chooses, empty for none."""
        title = _("Folder in which the DICOM series gets a folder of its own")
        return str(qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title) or "")

    # Running

    def onDenoiseButton(self) -> None:
        """Start a run; while one is going on, cancel it."""
        if self._run is not None:
            self.ui.denoiseButton.enabled = False
            self.ui.statusLabel.text = _("Cancelling...")
            self._run.cancel()
            return
        self.ui.denoiseButton.enabled = False  # the questions below let events through: no second click
        try:
            refusal = self._start()
        except Exception as error:
            self._showState()
            self._showError(error)
        else:
            self._showState()
            if refusal:
                self.ui.statusLabel.text = refusal

    def _start(self) -> str:
        """Start a run; return one sentence on why it was not started, empty when it was."""
        problem = self._problem()
        if problem:
            return problem
        if not torch_installation.ensureInstalled():
            return _("Not denoised: PyTorch is needed for it and is not installed yet.")
        parameters = self._parameterNode
        self._note = ""
        self._run = self.logic.startRun(
            parameters.inputVolume,
            parameters.outputVolume,
            model=self._model(),
            strength=parameters.strength / 100,
            quality="best" if parameters.bestQuality else "standard",
            uncertaintyVolume=parameters.bestQuality and parameters.makeUncertainty,
            keepOtherModels=True,
            device=parameters.device.value,
        )
        self._pollTimer.start()
        return ""

    def _model(self) -> str:
        """Return the name of the chosen model, auto, or the path of the user's own weights."""
        return self._parameterNode.weightsFile or self._parameterNode.model

    def _isOfAnotherModel(self) -> bool:
        """Return whether the output is a result of another model: it is kept, so that the two can be compared."""
        from meddenoise.catalogue import DEFAULT_MODEL, default_model

        parameters = self._parameterNode
        models = {self._model()}
        if models == {DEFAULT_MODEL}:  # which model it is, the child finds out with the device
            devices = ("cpu", "cuda") if parameters.device is Device.AUTO else (parameters.device.value,)
            models = {default_model(device) for device in devices}
        return volumes.isResultOfOtherModel(parameters.outputVolume, parameters.inputVolume, models)

    def _problem(self) -> str:
        """Return one sentence on why denoising is not possible; empty when it is."""
        from meddenoise.errors import MedDenoiseError

        parameters = self._parameterNode
        try:
            volumes.checkInput(parameters.inputVolume if parameters is not None else None)
            output = parameters.outputVolume
            volumes.checkOutput(output, parameters.inputVolume)
        except MedDenoiseError as error:
            return str(error)
        if self.logic.strengthControl.isEdited(output) and not self._isOfAnotherModel():
            return _("'{name}' has been edited; choose \"Create new volume\" as output.").format(name=output.GetName())
        if not volumes.mayBeOverwritten(output, parameters.inputVolume):
            return _(
                "'{name}' holds something else, which would be overwritten; choose \"Create new volume\" as output."
            ).format(name=output.GetName())
        if not parameters.weightsFile and self.ui.modelComboBox.findData(parameters.model) < 0:
            return _("The model '{name}' is not installed; choose a model, or a weights file under Advanced.").format(
                name=parameters.model
            )
        return ""

    def _onPoll(self) -> None:
        """Look at the run; an error here must not come again twenty times a second."""
        try:
            self._run.poll()
        except Exception as error:
            self._run.abandon()
            self.logic.close()
            self._run.error = error
        if self._run.isOver:
            self._finish()
        else:
            self._showProgress()

    def _finish(self) -> None:
        from meddenoise.errors import Cancelled

        self._pollTimer.stop()
        finished, self._run = self._run, None
        output = slicer.mrmlScene.GetNodeByID(finished.outputID) if finished.outputID else None
        if output is not None and self._parameterNode is not None:
            self._outputID = finished.outputID  # known already: the slider keeps what the user has chosen meanwhile
            self._parameterNode.outputVolume = output
            self._onStrengthRested()
            self._note = _resultText(finished.result)
        elif isinstance(finished.error, Cancelled):
            self._note = _("Cancelled.")
        self._showState()
        if finished.error is not None and not isinstance(finished.error, Cancelled):
            self._showError(finished.error)
        elif output is not None:
            self._showResult(output)

    def _showResult(self, output: Any) -> None:
        if self._isOpen():  # whoever works in another module keeps the views as they are
            if self._parameterNode.showComparison:
                self._showComparison()
            else:
                self._comparison.refresh(output)
                compare.makeActive(output)

    # What the panel says

    def _showState(self) -> None:
        """Enable what is possible and say why the rest is not."""
        running = self._run is not None
        self.ui.denoiseButton.text = _("&Cancel") if running else _("&Denoise")
        self.ui.progressBar.visible = running
        for widget in (
            self.ui.inputSelector,
            self.ui.outputSelector,
            self.ui.bestQualityCheckBox,
            self.ui.deviceComboBox,
            self.ui.weightsPathLineEdit,
            self.ui.pythonPathLineEdit,
        ):
            widget.enabled = not running
        parameters = self._parameterNode
        self.ui.modelComboBox.enabled = not running and not (parameters is not None and parameters.weightsFile)
        self.ui.uncertaintyCheckBox.enabled = not running and parameters is not None and parameters.bestQuality
        saveProblem = _("Wait until denoising is done.") if running else self._saveProblem()
        self.ui.saveButton.enabled = not saveProblem
        self.ui.saveButton.toolTip = saveProblem or _(
            "Save the result as a new DICOM series of the same study; the original files are not changed."
        )
        if running:
            self.ui.denoiseButton.enabled = True
            self.ui.denoiseButton.toolTip = _("Stop denoising; nothing is changed.")
            self._showProgress()
            return
        problem = self._problem()
        self.ui.denoiseButton.enabled = not problem
        output = parameters.outputVolume if parameters is not None else None
        hint = ""
        if output is not None and self._isOfAnotherModel():
            hint = _("'{name}' was made with another model and is kept; a new volume is made.").format(
                name=output.GetName()
            )
        self.ui.denoiseButton.toolTip = problem or hint or _("Denoise the input volume into the output volume.")
        isResult = parameters is not None and volumes.isResultOf(output, parameters.inputVolume)
        self.ui.compareButton.enabled = isResult
        self.ui.compareButton.text = _("Go &back") if self._comparison.isShowing(output) else _("Com&pare")
        strengthProblem = self.logic.strengthControl.problem(output) if isResult else ""
        # A result that was not made in this session (a scene that was opened): the slider is for the next run.
        self.ui.strengthSlider.enabled = not (strengthProblem and self.logic.strengthControl.holds(output))
        self.ui.statusLabel.text = problem or hint or strengthProblem or self._note

    def _saveProblem(self) -> str:
        parameters = self._parameterNode
        return self.logic.saveProblem(parameters.outputVolume if parameters is not None else None)

    def _showProgress(self) -> None:
        started = self._run.total > 0
        self.ui.progressBar.maximum = self._run.total if started else 0  # 0: busy, without a percentage
        self.ui.progressBar.value = self._run.done
        if not self.ui.denoiseButton.enabled:
            return  # being cancelled
        if not started:
            self.ui.statusLabel.text = _("Starting...")
            return
        percent = 100 * self._run.done // self._run.total
        if self._run.secondsLeft is None:
            self.ui.statusLabel.text = _("Denoising: {percent} %").format(percent=percent)
        else:
            self.ui.statusLabel.text = _("Denoising: {percent} %, {time} left").format(
                percent=percent, time=_duration(self._run.secondsLeft)
            )

    def _showError(self, error: Exception) -> None:
        import traceback

        from meddenoise.errors import MedDenoiseError

        self.ui.statusLabel.text = str(error)
        details = {}
        if error.__cause__ is not None or not isinstance(error, MedDenoiseError):  # for a report, not for the user
            details["detailedText"] = "".join(traceback.format_exception(error))
        slicer.util.errorDisplay(str(error), windowTitle=_("MedDenoise"), **details)


def _automaticTitle() -> str:
    """Return what the panel calls the default model, which differs between GPU and CPU once both are shipped."""
    from meddenoise.catalogue import default_model, find_model

    gpu, cpu = (find_model(default_model(device)).title for device in ("cuda", "cpu"))
    if gpu == cpu:
        return _("Automatic: {model}").format(model=cpu)
    return _("Automatic: {cpu}, on a GPU {gpu}").format(gpu=gpu, cpu=cpu)


def _resultText(result: Any) -> str:
    """Return what there is to say about a finished run."""
    done = _("Done in {seconds} s ({model} on {device}).").format(
        seconds=max(1, round(result.seconds)), model=Path(result.model).stem, device=result.device
    )
    return " ".join([done, *result.warnings])


def _duration(seconds: float) -> str:
    """Return a time for people: 40 s, 2 min 10 s."""
    whole = max(1, round(seconds))
    if whole < 60:
        return _("{seconds} s").format(seconds=whole)
    return _("{minutes} min {seconds} s").format(minutes=whole // 60, seconds=whole % 60)
