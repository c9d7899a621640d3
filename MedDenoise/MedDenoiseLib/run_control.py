"""The run that the panel has started: begun with what the user has chosen, looked at from a timer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import qt

from MedDenoiseLib.parameters import MedDenoiseParameterNode, chosenModel

if TYPE_CHECKING:
    from MedDenoiseLib.logic import MedDenoiseLogic
    from MedDenoiseLib.run import Run


class RunControl:
    """At most one run at a time.

    :param progressed: called after each look at the run.
    :param finished: called with the run once it is over and :attr:`run` is None again.
    """

    #: How often the run is looked at, ms.
    POLL_INTERVAL = 50

    def __init__(self, logic: MedDenoiseLogic, progressed: Callable[[], None], finished: Callable[[Run], None]) -> None:
        #: The run that is going on.
        self.run: Run | None = None
        self._logic = logic
        self._progressed = progressed
        self._finished = finished
        self._timer = qt.QTimer()
        self._timer.setInterval(self.POLL_INTERVAL)
        self._timer.connect("timeout()", self._onTimeout)

    def start(self, parameters: MedDenoiseParameterNode) -> None:
        """Start a run.

        :raises meddenoise.errors.MedDenoiseError: when the volumes do not fit.
        """
        self.run = self._logic.startRun(
            parameters.inputVolume,
            parameters.outputVolume,
            model=chosenModel(parameters),
            strength=parameters.strength / 100,
            quality="best" if parameters.bestQuality else "standard",
            uncertaintyVolume=parameters.bestQuality and parameters.makeUncertainty,
            keepOtherModels=True,
            device=parameters.device.value,
        )
        self._timer.start()

    def abandon(self) -> None:
        """End here and now, with the child process; nothing is called any more."""
        self._timer.stop()
        if self.run is not None:
            self.run.abandon()
            self.run = None
        self._logic.close()

    def _onTimeout(self) -> None:
        """Look at the run; an error here must not come again twenty times a second."""
        try:
            self.run.poll()
        except Exception as error:
            self.run.abandon()
            self._logic.close()
            self.run.error = error
        if self.run.isOver:
            self._timer.stop()
            over, self.run = self.run, None
            self._finished(over)
        else:
            self._progressed()
