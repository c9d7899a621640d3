"""The client of the denoising process: starts it, hands it volumes, reports, cancels, and never leaves it behind.

Synchronously::

    with WorkerClient() as client:
        result = client.denoise(volume, model="fast", progress=print)

In a window: :meth:`WorkerClient.start`, then :meth:`WorkerClient.poll` from a timer every 50 ms or so, until a
:class:`Done` or a :class:`Failed` comes. No Qt here; use one client from one thread.
"""

from __future__ import annotations

import atexit
import itertools
import os
import queue
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import numpy.typing as npt

from meddenoise.catalogue import DEFAULT_MODEL
from meddenoise.child_process import ChildProcess
from meddenoise.errors import Cancelled, MedDenoiseError, WorkerError
from meddenoise.protocol import (
    MAX_LINE_BYTES,
    CancelMessage,
    DoneMessage,
    ErrorMessage,
    IdleMessage,
    Message,
    ProgressMessage,
    ReadyMessage,
    decode,
    encode,
    error_from,
)
from meddenoise.worker_events import Done, Event, Failed, Progress, Ready, WorkerResult
from meddenoise.worker_job import Job, prepare_job

__all__ = ["Done", "Event", "Failed", "Progress", "Ready", "WorkerClient", "WorkerResult"]

#: How long a cancelled child has to answer before it is asked to end, and then again before it is killed; seconds.
CANCEL_PATIENCE = 2.0
#: How often the synchronous call looks whether it is to be cancelled; seconds.
POLL_INTERVAL = 0.05


class WorkerClient:
    """Drives one child process, started when it is first needed and kept warm until it has been idle for long.

    Every job ends with exactly one :class:`Done` or :class:`Failed`; by then its temporary files are gone.

    :param python: the interpreter; None takes this one (``sys.executable``, which in Slicer is PythonSlicer).
    :param environment: the child's whole environment; None takes this process's. An interpreter that is not Slicer's
        own needs ``slicer.util.startupEnvironment()``, or Slicer's libraries break it.
    :param idle_seconds: the child ends after so long without a job; the next :meth:`start` starts another. At least 1.
    """

    def __init__(
        self,
        *,
        python: str | Path | None = None,
        environment: Mapping[str, str] | None = None,
        idle_seconds: float = 600,
    ) -> None:
        if idle_seconds < 1:
            raise ValueError("idle_seconds must be at least 1: a child that ends at once never takes a job.")
        self._python = str(python or sys.executable)
        self._environment = environment
        self._idle_seconds = idle_seconds
        self._child: ChildProcess | None = None
        self._child_is_ready = False
        self._job: Job | None = None
        self._events: list[Event] = []
        self._undeleted: list[Job] = []
        self._numbers = itertools.count(1)
        self._closed = False
        atexit.register(self.close)

    def start(
        self,
        volume: npt.ArrayLike,
        *,
        model: str | Path = DEFAULT_MODEL,
        strength: float | None = None,
        device: str = "auto",
        threads: int | None = None,
        quality: str = "standard",
        spread: bool = False,
    ) -> str:
        """Start denoising; the parameters are those of :class:`~meddenoise.denoiser.Denoiser`.

        Returns once the volume is copied to a temporary file, so that it may change or go. What is wrong with the
        volume, the disk or the interpreter is no exception but the next event of :meth:`poll`.

        :param spread: with the quality ``best``: give the SD over the eight orientations, too.
        :returns: the job's name.
        :raises WorkerError: while a job is running, and after :meth:`close`.
        """
        if self._closed:
            raise WorkerError("This client is closed; make a new one.")
        if self._job is not None:
            raise WorkerError("A volume is being denoised already; wait for it or cancel it.")
        self._events.clear()
        name = str(next(self._numbers))
        try:
            self._job = prepare_job(
                name,
                volume,
                model=model,
                strength=strength,
                device=device,
                threads=threads,
                quality=quality,
                spread=spread,
            )
        except MedDenoiseError as error:
            self._events.append(Failed(error))
            return name
        self._submit()
        return name

    def poll(self, timeout: float = 0.0) -> list[Event]:
        """Return what has happened since the last call; call it until a :class:`Done` or a :class:`Failed` comes.

        :param timeout: wait at most so many seconds for the first event; in Slicer a few milliseconds, but not 0 (the
            thread that reads the pipe runs meanwhile).
        """
        self._receive(0.0 if self._events else timeout)
        self._press_cancel()
        self._undeleted = [job for job in self._undeleted if not job.delete_files()]
        events, self._events = self._events, []
        return events

    def cancel(self) -> None:
        """Cancel the job: asks, then terminates, then kills, as :meth:`poll` finds that the last did not help."""
        if self._job is not None and self._job.cancelled_at is None:
            self._job.cancelled_at = time.monotonic()
            self._send(CancelMessage(self._job.message.job))

    def denoise(
        self,
        volume: npt.ArrayLike,
        *,
        model: str | Path = DEFAULT_MODEL,
        strength: float | None = None,
        device: str = "auto",
        threads: int | None = None,
        quality: str = "standard",
        spread: bool = False,
        progress: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> WorkerResult:
        """Denoise and wait for the result; parameters are those of :meth:`start`, errors those of the Denoiser.

        :raises WorkerError: when the child could not be started, died, or spoke nonsense; and as :meth:`start`.
        """
        self.start(
            volume,
            model=model,
            strength=strength,
            device=device,
            threads=threads,
            quality=quality,
            spread=spread,
        )
        try:
            while True:
                for event in self.poll(POLL_INTERVAL):
                    if isinstance(event, Progress) and progress is not None:
                        progress(event.done, event.total)
                    elif isinstance(event, Done):
                        return event.result
                    elif isinstance(event, Failed):
                        raise event.error from (RuntimeError(event.details) if event.details else None)
                if cancel is not None and cancel():
                    self.cancel()
        finally:
            if self._job is not None:  # a callback raised, or Ctrl+C
                self._end_child(patience=0)
                self._drop_job()

    def close(self) -> None:
        """End the child, in the middle of a job too, and delete what is left; no event follows. May be called again."""
        self._closed = True
        atexit.unregister(self.close)
        self._end_child(patience=CANCEL_PATIENCE)
        self._drop_job()
        self._events.clear()
        for job in self._undeleted:
            job.delete_files()

    def __enter__(self) -> WorkerClient:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    # Sending

    def _submit(self) -> None:
        """Give the job to the child, to a new one if there is none."""
        if self._child is not None and self._child.has_ended():  # idle for too long, or killed while it was
            self._end_child(patience=0)
        if self._child is None:
            command = [self._python, "-m", "meddenoise.worker", "--idle-seconds", str(self._idle_seconds)]
            try:
                self._child = ChildProcess(command, _child_environment(self._environment), MAX_LINE_BYTES)
            except (OSError, ValueError) as error:
                sentence = f"The Python interpreter '{self._python}' cannot be started ({error}); choose another one."
                self._finish(Failed(WorkerError(sentence)))
                return
            self._child_is_ready = False
        assert self._job is not None
        self._send(self._job.message)

    def _send(self, message: Message) -> None:
        if self._child is not None:
            self._child.send(encode(message))

    # Receiving

    def _receive(self, timeout: float) -> None:
        """Turn the child's lines into events."""
        child = self._child
        if child is None:
            return
        # Waits once, then takes what is there. In Slicer, PythonQt's main thread keeps the interpreter lock while it
        # waits for events, so the thread that reads the pipe runs only while somebody waits here; but to wait again
        # after every line would hold the window for as long as lines keep coming.
        wait = min(timeout, self._seconds_to_next_press()) if self._job is not None else 0.0
        try:
            line = child.lines.get(timeout=wait) if wait > 0 else child.lines.get_nowait()
            while True:
                self._handle(line)
                if self._child is not child:
                    return
                line = child.lines.get_nowait()
        except queue.Empty:
            pass

    def _handle(self, line: bytes | None) -> None:
        if line is None:
            self._handle_death()
            return
        try:
            message = decode(line)
            self._check_is_answer(message)
        except WorkerError as error:
            self._end_child(patience=0)
            self._finish(Failed(error))
            return
        if isinstance(message, ReadyMessage):
            self._child_is_ready = True
            self._events.append(Ready(message.version, message.python, message.pid))
        elif isinstance(message, ProgressMessage):
            self._events.append(Progress(message.done, message.total, message.seconds_left))
        elif isinstance(message, DoneMessage):
            self._handle_done(message)
        elif isinstance(message, ErrorMessage):
            self._finish(Failed(error_from(message.code, message.message), message.details))
        elif isinstance(message, IdleMessage):
            self._handle_idle()

    def _check_is_answer(self, message: Message) -> None:
        """Check that a message is a worker's, and to the present job (an error without a job is to whatever there is).

        :raises WorkerError: when it is not.
        """
        present = self._job.message.job if self._job is not None else None
        if isinstance(message, (ProgressMessage, DoneMessage)):
            expected = message.job == present
        elif isinstance(message, ErrorMessage):
            expected = message.job in (present, None)
        else:
            expected = isinstance(message, (ReadyMessage, IdleMessage))
        if not expected:
            raise WorkerError(f"The denoising process sent a message out of turn ({type(message).__name__}).")

    def _handle_done(self, message: DoneMessage) -> None:
        assert self._job is not None
        try:
            array, spread = self._job.read_result(), self._job.read_spread()
        except MedDenoiseError as error:
            self._finish(Failed(error))
            return
        self._finish(
            Done(
                WorkerResult(
                    array=array,
                    model_sha256=message.model_sha256,
                    device=message.device,
                    seconds=message.seconds,
                    warnings=tuple(message.warnings),
                    version=message.version,
                    spread=spread,
                    model=message.model or self._job.message.model,
                    default_strength=message.default_strength,
                    precision=message.precision,
                )
            )
        )

    def _handle_idle(self) -> None:
        """Let an idle child go; a job that crossed its farewell goes to another one, once."""
        self._end_child(patience=0)
        if self._job is None or self._job.cancelled_at is not None or self._job.sent_again:
            self._finish(Failed(WorkerError("The denoising process ended before it took the volume; try again.")))
            return
        self._job.sent_again = True
        self._submit()

    def _handle_death(self) -> None:
        child = self._child
        assert child is not None
        how = child.how_it_ended()
        self._end_child(patience=0)
        words = child.last_words()
        if self._child_is_ready:
            sentence = (
                f"The denoising process ended unexpectedly ({how}); it may have run out of memory: "
                "close other programs, then try again."
            )
        else:
            reason = f"{how}: {words[-1]}" if words else how
            sentence = f"The Python interpreter '{self._python}' could not run the denoising process ({reason})."
        self._finish(Failed(WorkerError(sentence), "\n".join(words)))

    # Ending

    def _finish(self, event: Done | Failed) -> None:
        """End the present job, if any; whatever a cancelled one still brought, it was cancelled."""
        job = self._job
        if job is None:
            return
        if job.asked_to_end:  # its stdin is closed, it is of no more use
            self._end_child(patience=0)
        self._drop_job()
        cancelled = job.cancelled_at is not None
        self._events.append(Failed(Cancelled("Denoising was cancelled.")) if cancelled else event)

    def _press_cancel(self) -> None:
        """Go one step further with a cancelled job when the last step did not help in time."""
        job = self._job
        if job is None or self._child is None or self._seconds_to_next_press() > 0:
            return
        if not job.asked_to_end:
            job.asked_to_end = True
            self._child.ask_to_end()
        else:
            self._finish(Failed(Cancelled("Denoising was cancelled.")))  # kills the child

    def _seconds_to_next_press(self) -> float:
        if self._job is None or self._job.cancelled_at is None:
            return float("inf")
        steps = 2 if self._job.asked_to_end else 1
        return max(0.0, self._job.cancelled_at + steps * CANCEL_PATIENCE - time.monotonic())

    def _end_child(self, patience: float) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end(patience)

    def _drop_job(self) -> None:
        job, self._job = self._job, None
        if job is not None and not job.delete_files():
            self._undeleted.append(job)  # poll tries again


def _child_environment(environment: Mapping[str, str] | None) -> dict[str, str]:
    """Return the child's environment: as given, and the child finds this very package."""
    result = dict(os.environ if environment is None else environment)
    # In Slicer the package lies in the module's folder, where no interpreter looks. A folder of installed packages must
    # not be shown to another interpreter: it has its own, of its own versions.
    folder = Path(__file__).absolute().parent.parent
    if folder.name not in ("site-packages", "dist-packages"):
        theirs = result.get("PYTHONPATH")
        result["PYTHONPATH"] = os.pathsep.join([str(folder), theirs] if theirs else [str(folder)])
    # A torch.py in whatever folder Slicer was started from is not torch (Python 3.11 and newer).
    result["PYTHONSAFEPATH"] = "1"
    return result
