"""The logic: denoising for the panel and for scripts, with or without a window; keeps child process and strengths."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from MedDenoiseLib import export, run, strength_control, torch_installation, uncertainty
from MedDenoiseLib.parameters import MedDenoiseParameterNode


class MedDenoiseLogic(ScriptedLoadableModuleLogic):
    """Denoising without a window.

    In Slicer's Python console, or in ``Slicer --no-main-window --python-script``::

        from MedDenoise import MedDenoiseLogic

        denoised = MedDenoiseLogic().process(slicer.util.getNode("CT"), strength=0.8)
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.strengthControl = strength_control.StrengthControl()
        self._client: Any = None
        self._clientPython: str | None = None

    def getParameterNode(self) -> MedDenoiseParameterNode:
        """Return the scene's parameter node of this module."""
        return MedDenoiseParameterNode(super().getParameterNode())

    def process(
        self,
        inputVolume: Any,
        outputVolume: Any = None,
        *,
        model: str = "auto",
        strength: float | None = None,
        quality: str = "standard",
        uncertaintyVolume: bool = False,
        device: str = "auto",
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Any:
        """Denoise a CT volume and wait for it; needs no window and runs no event loop.

        The process that denoises stays ready for the next call, until this object goes or :meth:`close` is called.

        :param inputVolume: a scalar volume in HU; never changed.
        :param outputVolume: takes the result, whatever it holds; None makes a new volume.
        :param model: name of a shipped model, the path of a ``.safetensors`` file, or ``auto``: Standard on a GPU, Fast
            on a CPU.
        :param strength: 0 (as the input) to 1 (fully denoised); None: as the card of the model has it.
        :param quality: ``standard``, or ``best``: the mean over the eight flips and quarter turns of each slice, in
            eight times the time.
        :param uncertaintyVolume: with ``best``, also make a volume of the SD of the eight answers in HU, at full
            strength; :meth:`uncertaintyVolumeOf` returns it. One that the output has already is replaced.
        :param device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        :param threads: of the processor; None for all.
        :param progress: called with (slices done, slices in all).
        :param cancel: asked again and again; once it says True, ``Cancelled`` is raised.
        :returns: the output volume; None when the input was deleted meanwhile.
        :raises meddenoise.errors.MedDenoiseError: one sentence: what is wrong, what to do; ``Cancelled`` also when the
            scene was closed meanwhile.
        """
        started = self.startRun(
            inputVolume,
            outputVolume,
            model=model,
            strength=strength,
            quality=quality,
            uncertaintyVolume=uncertaintyVolume,
            device=device,
            threads=threads,
        )
        try:
            started.wait(progress, cancel)
        except BaseException:  # a callback's, or Ctrl+C: the child must not go on alone
            started.abandon()
            self.close()
            raise
        if started.error is not None:
            raise started.error
        return slicer.mrmlScene.GetNodeByID(started.outputID) if started.outputID else None

    def startRun(self, inputVolume: Any, outputVolume: Any = None, **options: Any) -> run.Run:
        """Start a run and return it, to be polled; parameters as for :class:`MedDenoiseLib.run.Run`."""
        return run.Run(self._idleClient(), inputVolume, outputVolume, delivered=self.strengthControl.keep, **options)

    def uncertaintyVolumeOf(self, outputVolume: Any) -> Any:
        """Return the uncertainty volume that was made with a result; None when there is none."""
        return uncertainty.volumeOf(outputVolume)

    def setStrength(self, outputVolume: Any, strength: float) -> None:
        """Change the strength of a result of this object without a second run.

        :param strength: 0 to 1.
        :raises meddenoise.errors.InputError: when input or result have changed since.
        """
        self.strengthControl.apply(outputVolume, strength)

    def saveProblem(self, outputVolume: Any) -> str:
        """Return one sentence on why a volume cannot be saved as DICOM; empty when it can."""
        if self.strengthControl.isEdited(outputVolume):
            return _("'{name}' has been edited since it was denoised, so it cannot be saved as a DICOM result.").format(
                name=outputVolume.GetName()
            )
        return export.problem(outputVolume)

    def saveAsDICOM(
        self, outputVolume: Any, folder: str | Path, *, overwrite: bool = False, importIntoDatabase: bool = False
    ) -> list[Path]:
        """Save a result as a DICOM series derived from its input's, with the same patient, study and geometry.

        :param outputVolume: a result of this module, whose input was loaded from the DICOM database.
        :param folder: where to; it is made, and must not hold anything.
        :param overwrite: replace a derived series that is there; nothing else is ever replaced.
        :param importIntoDatabase: add the new series to the DICOM database.
        :returns: the files, in the order of the slices.
        :raises meddenoise.errors.MedDenoiseError: one sentence: what is wrong, what to do.
        """
        from meddenoise.errors import InputError

        problem = self.saveProblem(outputVolume)
        if problem:
            raise InputError(problem)
        files = export.saveAsDICOM(outputVolume, folder, overwrite=overwrite)
        if importIntoDatabase:
            export.importFolder(folder)
        return files

    def close(self) -> None:
        """End the child process, if any, and forget the full-strength results."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
        self.strengthControl.clear()

    def _idleClient(self) -> Any:
        """Return the client, a new one when the interpreter in the settings is another now."""
        python = torch_installation.otherPython()
        if self._client is None or self._clientPython != python:
            if self._client is not None:
                self._client.close()
            self._client, self._clientPython = run.newClient(), python
            weakref.finalize(self, self._client.close)
        return self._client
