"""The child process that denoises for Slicer, ``python -m meddenoise.worker``; ``worker_client.py`` starts it.

Nothing but the standard library is imported before the worker has said that it is there: a missing package is then one
clear error instead of a process that dies. The protocol is described in ``docs/worker-protocol.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import platform
import queue
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn, cast

import meddenoise
from meddenoise.errors import (
    InputWarning,
    MedDenoiseError,
    MissingPackageError,
    OutOfMemoryError,
    WorkerError,
    is_out_of_memory,
)
from meddenoise.protocol import (
    MAX_LINE_BYTES,
    SPREAD_TYPE,
    CancelMessage,
    DoneMessage,
    ErrorMessage,
    IdleMessage,
    JobMessage,
    Message,
    ProgressMessage,
    ReadyMessage,
    decode,
    encode,
)

if TYPE_CHECKING:
    from meddenoise.denoiser import Denoiser, Quality

#: More progress messages than a window can show are only work for it.
SECONDS_BETWEEN_PROGRESS = 0.05


class Worker:
    """Takes jobs one after the other and keeps the model of the last one warm.

    The main thread denoises; another listens, so that a cancel is heard and the client's end noticed at any time.
    """

    def __init__(self, requests: BinaryIO, answers: BinaryIO, idle_seconds: float) -> None:
        self._requests = requests
        self._answers = answers
        self._idle_seconds = idle_seconds
        self._jobs: queue.SimpleQueue[JobMessage] = queue.SimpleQueue()
        self._latest: JobMessage | None = None
        self._cancelled: set[str] = set()
        self._speaking = threading.Lock()
        self._denoiser: Denoiser | None = None
        self._denoiser_key: object = None
        self._own_threads: int | None = None

    def run(self) -> NoReturn:
        """Work until the client ends or nothing was asked for ``idle_seconds``."""
        self._say(ReadyMessage(meddenoise.__version__, platform.python_version(), os.getpid()))
        threading.Thread(target=self._listen, daemon=True).start()
        while True:
            try:
                job = self._jobs.get(timeout=self._idle_seconds)
            except queue.Empty:
                self._say(IdleMessage())
                _leave(0)
            answer = self._answer(job)
            # The client deletes the files as soon as it has the answer, which Windows allows only once no map is open;
            # tracebacks in reference cycles may still hold one.
            gc.collect()
            self._say(answer)

    def _listen(self) -> NoReturn:
        """Hand on what the client says; leave at once when it has ended, whatever the main thread is doing."""
        for line in iter(lambda: self._requests.readline(MAX_LINE_BYTES), b""):
            try:
                message = decode(line)
                if isinstance(message, JobMessage):
                    self._latest = message
                    self._jobs.put(message)
                elif isinstance(message, CancelMessage):
                    self._cancelled.add(message.job)
                else:
                    raise WorkerError(f"A worker does not take a {type(message).__name__}.")
            except WorkerError as error:
                self._say(ErrorMessage(None, error.code, str(error), ""))
                _leave(1)
        self._remove_files_of_dead_client()
        _leave(0)

    def _remove_files_of_dead_client(self) -> None:
        """Leave no patient's volume behind when the client was killed; a client that lives does this itself."""
        if self._latest is not None:
            with contextlib.suppress(OSError):
                Path(self._latest.input).unlink(missing_ok=True)
                Path(self._latest.output).unlink(missing_ok=True)
                if self._latest.spread is not None:
                    Path(self._latest.spread).unlink(missing_ok=True)
                Path(self._latest.input).parent.rmdir()

    def _answer(self, job: JobMessage) -> DoneMessage | ErrorMessage:
        try:
            return self._denoise(job)
        except Exception as error:
            return describe_failure(job.job, error)

    def _denoise(self, job: JobMessage) -> DoneMessage:
        from meddenoise.catalogue import DEFAULT_MODEL
        from meddenoise.exchange_files import map_volume_file, reserve_volume_file

        volume = map_volume_file(Path(job.input), job.shape, job.dtype)
        output = reserve_volume_file(Path(job.output), job.shape, job.dtype)
        spread = None if job.spread is None else reserve_volume_file(Path(job.spread), job.shape, SPREAD_TYPE)
        denoiser = self._warm_denoiser(job)
        progress = _Progress(job.job, self._say)
        progress(0, job.shape[0])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", InputWarning)
            denoiser.denoise(
                volume,
                strength=job.strength,
                quality=cast("Quality", job.quality),  # the denoiser refuses any other word
                spread=spread,
                output=output,
                progress=progress,
                cancel=lambda: job.job in self._cancelled,
            )
        if sys.platform == "win32":  # there, what is mapped and what is read from a file may differ until flushed
            output.flush()
            if spread is not None:
                spread.flush()
        for warning in caught:
            if not issubclass(warning.category, InputWarning):
                warnings.showwarning(warning.message, warning.category, warning.filename, warning.lineno)
        return DoneMessage(
            job=job.job,
            model_sha256=denoiser.sha256,
            device=denoiser.device,
            seconds=progress.seconds(),
            warnings=[str(w.message) for w in caught if issubclass(w.category, InputWarning)],
            version=meddenoise.__version__,
            model=denoiser.card.name if job.model == DEFAULT_MODEL else "",
            default_strength=denoiser.card.default_strength,
            precision=denoiser.precision,
        )

    def _warm_denoiser(self, job: JobMessage) -> Denoiser:
        """Return the model of the job, loading it only when it is not the last one."""
        from meddenoise.catalogue import find_model
        from meddenoise.denoiser import Denoiser
        from meddenoise.devices import import_torch

        path = find_model(job.model, job.device).path  # before torch, which takes seconds to import
        if self._own_threads is None:
            self._own_threads = import_torch().get_num_threads()
        changed = path.stat().st_mtime_ns if path.exists() else None  # a file of the user's own may be trained anew
        key = (path, changed, job.device, job.threads)
        if self._denoiser is None or key != self._denoiser_key:
            self._denoiser = None  # first, so that two models never share the device's memory
            # torch keeps a number of threads for the whole process: None must undo what an earlier job set.
            threads = self._own_threads if job.threads is None else job.threads
            self._denoiser = Denoiser(job.model, device=job.device, threads=threads)
            self._denoiser_key = key
        return self._denoiser

    def _say(self, message: Message) -> None:
        try:
            with self._speaking:
                self._answers.write(encode(message))
                self._answers.flush()
        except OSError:  # nobody listens any more
            _leave(1)


class _Progress:
    """Passes progress on, not too often, with the time that is left; counts from the moment the model is loaded."""

    def __init__(self, job: str, say: Callable[[Message], None]) -> None:
        self._job = job
        self._say = say
        self._start = time.monotonic()
        self._last = float("-inf")

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self._last < SECONDS_BETWEEN_PROGRESS:
            return
        self._last = now
        left = (now - self._start) / done * (total - done) if done else None
        self._say(ProgressMessage(self._job, done, total, left))

    def seconds(self) -> float:
        return time.monotonic() - self._start


def describe_failure(job: str, error: Exception) -> ErrorMessage:
    """Return the one message that an exception becomes; what nobody expected carries its traceback."""
    if isinstance(error, MedDenoiseError):
        return ErrorMessage(job, error.code, str(error), "")
    details = "".join(traceback.format_exception(error))[-100_000:]
    if isinstance(error, ModuleNotFoundError):
        text = f"The Python package '{error.name}' is not installed in {sys.executable}; install it there."
        return ErrorMessage(job, MissingPackageError.code, text, details)
    first_line = (str(error).strip().splitlines() or ["no reason given"])[0][:300]
    if is_out_of_memory(error):
        text = (
            "There is not enough memory for this volume; close other programs or volumes, "
            f"or choose another device or the Fast model ({first_line})."
        )
        return ErrorMessage(job, OutOfMemoryError.code, text, details)
    text = (
        f"Denoising failed in a way nobody expected ({type(error).__name__}: {first_line}); "
        "please report it with the details."
    )
    return ErrorMessage(job, MedDenoiseError.code, text, details)


def _leave(code: int) -> NoReturn:
    """End the process at once: an ordinary exit waits for torch's threads and stumbles over the one that listens."""
    os._exit(code)


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep stdin and stdout for the protocol alone.

    What any library reads or prints from now on, in Python or in C, goes to the null device and to stderr.
    """
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return requests, answers


def main() -> NoReturn:
    """Read the command line and work."""
    parser = argparse.ArgumentParser(prog="python -m meddenoise.worker", description=__doc__)
    parser.add_argument("--idle-seconds", type=float, default=600.0, help="end after so long without a job")
    options = parser.parse_args()
    Worker(*_take_pipes(), options.idle_seconds).run()


if __name__ == "__main__":
    main()
