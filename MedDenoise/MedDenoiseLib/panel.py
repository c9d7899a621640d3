"""The panel: shows the parameter node, starts and cancels runs, says what is going on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from MedDenoiseLib import compare, export, messages, readiness, torch_installation, volumes
from MedDenoiseLib.logic import MedDenoiseLogic
from MedDenoiseLib.model_choice import ModelChoice
from MedDenoiseLib.parameters import MedDenoiseParameterNode
from MedDenoiseLib.run_control import RunControl

if TYPE_CHECKING:
    from MedDenoiseLib.run import Run


class MedDenoiseWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: shows the parameter node, starts and cancels runs, says what is going on."""

    #: How long the strength slider must rest before it takes effect, ms.
    STRENGTH_REST = 60

    def __init__(self, parent: Any = None) -> None:
        VTKObservationMixin.__init__(self)
        self.logic: MedDenoiseLogic | None = None
        self._parameterNode: MedDenoiseParameterNode | None = None
        self._guiTag: int | None = None
        self._parameterTag: int | None = None
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
        self._runControl = RunControl(self.logic, progressed=self._showProgress, finished=self._onRunFinished)
        self._modelChoice = ModelChoice(self.ui, parameterNode=lambda: self._parameterNode)

        self.ui.pythonPathLineEdit.currentPath = torch_installation.otherPython()
        self.ui.progressBar.visible = False

        self._strengthTimer = qt.QTimer()
        self._strengthTimer.setSingleShot(True)
        self._strengthTimer.setInterval(self.STRENGTH_REST)
        self._strengthTimer.connect("timeout()", self._onStrengthRested)

        # Not currentPathChanged: it is silent when a field is emptied.
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
        self._strengthTimer.stop()
        self._runControl.abandon()
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
        inputID = inputVolume.GetID() if inputVolume is not None else None
        if self._runControl.run is None and sourceID not in (None, inputID):
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
        self._modelChoice.show(parameters)
        self._showState()

    def _followStrength(self, result: Any) -> None:
        """Let the slider show the strength that a result has."""
        strength = result.GetAttribute(volumes.STRENGTH)
        if strength is not None:
            self._parameterNode.strength = 100 * float(strength)

    def _onStrengthMoved(self, value: float) -> None:
        if self._runControl.run is None and self._parameterNode is not None:
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
        if self._runControl.run is not None:
            self.ui.denoiseButton.enabled = False
            self.ui.statusLabel.text = _("Cancelling...")
            self._runControl.run.cancel()
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
        self._note = ""
        self._runControl.start(self._parameterNode)
        return ""

    def _onRunFinished(self, finished: Run) -> None:
        from meddenoise.errors import Cancelled

        output = slicer.mrmlScene.GetNodeByID(finished.outputID) if finished.outputID else None
        if output is not None and self._parameterNode is not None:
            self._outputID = finished.outputID  # known already: the slider keeps what the user has chosen meanwhile
            self._parameterNode.outputVolume = output
            self._onStrengthRested()
            self._note = messages.result(finished.result)
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
        running = self._runControl.run is not None
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
        hint = readiness.hint(parameters)
        self.ui.denoiseButton.toolTip = problem or hint or _("Denoise the input volume into the output volume.")
        isResult = parameters is not None and volumes.isResultOf(output, parameters.inputVolume)
        self.ui.compareButton.enabled = isResult
        self.ui.compareButton.text = _("Go &back") if self._comparison.isShowing(output) else _("Com&pare")
        strengthProblem = self.logic.strengthControl.problem(output) if isResult else ""
        # A result that was not made in this session (a scene that was opened): the slider is for the next run.
        self.ui.strengthSlider.enabled = not (strengthProblem and self.logic.strengthControl.holds(output))
        self.ui.statusLabel.text = problem or hint or strengthProblem or self._note

    def _problem(self) -> str:
        return readiness.problem(self._parameterNode, self.logic.strengthControl, self._modelChoice.offers)

    def _saveProblem(self) -> str:
        parameters = self._parameterNode
        return self.logic.saveProblem(parameters.outputVolume if parameters is not None else None)

    def _showProgress(self) -> None:
        run = self._runControl.run
        self.ui.progressBar.maximum = run.total  # 0: busy, without a percentage
        self.ui.progressBar.value = run.done
        if self.ui.denoiseButton.enabled:  # else it is being cancelled
            self.ui.statusLabel.text = messages.progress(run)

    def _showError(self, error: Exception) -> None:
        self.ui.statusLabel.text = str(error)
        messages.showError(error)
