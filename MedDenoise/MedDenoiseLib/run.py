"""One run: a volume on its way through the child process and back into the scene.

The window starts a :class:`Run` and polls it from a timer; a script lets :meth:`Run.wait` do the same. Meanwhile the
user may delete nodes or close the scene, so a run holds IDs, never nodes, and looks them up when the result is there:

- the scene is closed: the run is cancelled;
- the input is gone: the run ends quietly, its result would belong to nothing;
- only the output is gone: the result becomes a new volume.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from MedDenoiseLib import torch_installation, uncertainty, volumes

if TYPE_CHECKING:
    import numpy as np

    from meddenoise.errors import MedDenoiseError
    from meddenoise.worker_client import WorkerClient, WorkerResult

#: How long one look at the child may wait, in seconds: in the window a few milliseconds, so that Python's reader thread
#: gets its turn (PythonQt keeps the interpreter lock while it waits for events) and nobody notices; in scripts longer.
WINDOW_WAIT, SCRIPT_WAIT = 0.005, 0.05


class Run:
    """A run that has been started.

    :param client: idle; one client serves one run after the other.
    :param outputVolume: takes the result; None for a new volume.
    :param model: name of a shipped model, the path of a weights file, or ``auto``: the one that suits the device.
    :param strength: 0 to 1; None: the default of the model.
    :param quality: ``standard`` or ``best``.
    :param uncertaintyVolume: with ``best``: also make the uncertainty volume, or replace the one that the output has.
    :param keepOtherModels: leave an output that is a result of another model alone; the result becomes a new volume.
    :param delivered: called with the output volume and the full-strength result once both are there.
    :raises meddenoise.errors.MedDenoiseError: when the volumes do not fit or the client is busy.
    """

    def __init__(
        self,
        client: WorkerClient,
        inputVolume: Any,
        outputVolume: Any = None,
        *,
        model: str,
        strength: float | None = None,
        quality: str = "standard",
        uncertaintyVolume: bool = False,
        keepOtherModels: bool = False,
        device: str = "auto",
        threads: int | None = None,
        delivered: Callable[[Any, np.ndarray], None] | None = None,
    ) -> None:
        from meddenoise.errors import InputError
        from meddenoise.strength import check_strength

        if uncertaintyVolume and quality != "best":
            raise InputError(_("An uncertainty volume needs best quality; choose the quality 'best'."))
        volumes.checkInput(inputVolume)
        volumes.checkOutput(outputVolume, inputVolume)
        self._client = client
        self._inputID = inputVolume.GetID()
        self._inputTime = volumes.voxelsTime(inputVolume)
        self._outputID = outputVolume.GetID() if outputVolume is not None else None
        self._model = model
        self._strength = None if strength is None else check_strength(strength)
        self._quality = quality
        self._keepOtherModels = keepOtherModels
        self._delivered = delivered
        self._dropped = False

        #: Slices done and in all; 0 in all until the model is loaded.
        self.done = 0
        self.total = 0
        self.secondsLeft: float | None = None
        self.isOver = False
        #: Why there is no result; ``Cancelled`` when it was wanted so.
        self.error: MedDenoiseError | None = None
        #: ID of the volume that holds the result.
        self.outputID: str | None = None
        #: What the child reported; its array is the volume at full strength.
        self.result: WorkerResult | None = None

        # Always at full strength: whatever the strength, a result is blend(input, full result) and can be blended anew.
        client.start(
            volumes.voxels(inputVolume),
            model=model,
            strength=1.0,
            device=device,
            threads=threads,
            quality=quality,
            spread=uncertaintyVolume,
        )
        self._scene = slicer.mrmlScene
        self._sceneTag = self._scene.AddObserver(slicer.vtkMRMLScene.StartCloseEvent, self._onSceneStartClose)

    def poll(self, timeout: float = WINDOW_WAIT) -> None:
        """See what the child says and update the attributes; once the run is over, the result is in the scene."""
        from meddenoise.worker_client import Done, Failed, Progress

        for event in self._client.poll(timeout):
            if isinstance(event, Progress):
                self.done, self.total, self.secondsLeft = event.done, event.total, event.seconds_left
            elif isinstance(event, Done):
                self._finish(event.result)
            elif isinstance(event, Failed):
                self.error = event.error
                if event.details:
                    self.error.__cause__ = RuntimeError(event.details)
                self._end()

    def wait(
        self, progress: Callable[[int, int], None] | None = None, cancel: Callable[[], bool] | None = None
    ) -> None:
        """Poll until the run is over, without Qt.

        :param progress: called with (slices done, slices in all).
        :param cancel: asked again and again; the run is cancelled once it says True.
        """
        told = -1
        while not self.isOver:
            self.poll(SCRIPT_WAIT)
            if progress is not None and self.total and self.done != told:
                told = self.done
                progress(self.done, self.total)
            if cancel is not None and not self.isOver and cancel():
                self.cancel()

    def cancel(self) -> None:
        """Ask the child to stop; the run is over when :meth:`poll` says so, a few seconds later at most."""
        if not self.isOver:
            self._client.cancel()

    def abandon(self) -> None:
        """End the run here and now; whoever calls this closes the client, too."""
        if not self.isOver:
            self._end()

    def _onSceneStartClose(self, caller: Any, event: Any) -> None:
        self._dropped = True
        self.cancel()

    def _finish(self, result: WorkerResult) -> None:
        """Put the result into the scene, unless what it belongs to is gone or has changed."""
        from meddenoise.catalogue import DEFAULT_MODEL
        from meddenoise.errors import InputError

        inputVolume = self._scene.GetNodeByID(self._inputID)
        try:
            if self._dropped or inputVolume is None or inputVolume.GetImageData() is None:
                return
            if volumes.voxelsTime(inputVolume) != self._inputTime:
                self.error = InputError(
                    _("'{name}' was changed while it was being denoised; denoise it again.").format(
                        name=inputVolume.GetName()
                    )
                )
                return
            outputVolume = self._scene.GetNodeByID(self._outputID) if self._outputID else None
            model = result.model if self._model == DEFAULT_MODEL else self._model
            if self._keepOtherModels and volumes.isResultOfOtherModel(outputVolume, inputVolume, {model}):
                outputVolume = None
            strength = result.default_strength if self._strength is None else self._strength
            values = blended(volumes.voxels(inputVolume), result.array, strength)
            outputVolume = volumes.deliver(
                inputVolume,
                outputVolume,
                values,
                result=result,
                model=model,
                strength=strength,
                quality=self._quality,
            )
            uncertainty.deliver(inputVolume, outputVolume, result.spread)
            self.result = result
            self.outputID = outputVolume.GetID()
            if self._delivered is not None:
                self._delivered(outputVolume, result.array)
        finally:
            self._end()

    def _end(self) -> None:
        self.isOver = True
        self._scene.RemoveObserver(self._sceneTag)


def blended(original: np.ndarray, denoised: np.ndarray, strength: float) -> np.ndarray:
    """Return the result at a strength; at full strength the very array, not a copy of hundreds of megabytes."""
    from meddenoise.strength import blend

    return denoised if strength == 1 else blend(original, denoised, strength)


def newClient() -> WorkerClient:
    """Return a client of the interpreter that is to denoise: Slicer's own, or the one from the settings."""
    from meddenoise.worker_client import WorkerClient

    python = torch_installation.otherPython()
    if python:
        # Slicer's own libraries, which its environment points to, would break another interpreter.
        return WorkerClient(python=python, environment=slicer.util.startupEnvironment())
    return WorkerClient(python=torch_installation.slicerPython())
