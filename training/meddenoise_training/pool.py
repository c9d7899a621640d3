"""Work done in several processes that end with this one, each on one thread."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import TypeVar

from meddenoise.errors import OutOfMemoryError

T = TypeVar("T")
R = TypeVar("R")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """Processes to work in; with one worker the work is done in this process."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._executor: ProcessPoolExecutor | None = None
        self._others: set[BaseProcess] = set()

    def __enter__(self) -> Pool:
        """Begin; processes start with the work."""
        self._others = set(multiprocessing.active_children())
        if self._workers > 1:
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(self._workers, mp_context=context, initializer=_end_with_parent)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the work that was begun; what was not is dropped.

        Ctrl-C ends it at once: files are written whole or not at all.
        """
        if self._executor is not None:
            if kind is not None and issubclass(kind, KeyboardInterrupt):
                for process in set(multiprocessing.active_children()) - self._others:
                    process.kill()
            self._executor.shutdown(cancel_futures=True)

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Yield (place of an item, result) as they are ready; the first error ends it.

        :raises OutOfMemoryError: when a process was ended from outside, which is what systems short of memory do.
        """
        if self._executor is None:
            yield from ((place, work(item)) for place, item in enumerate(items))
            return
        with _one_thread_each():
            futures = {self._executor.submit(work, item): place for place, item in enumerate(items)}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            except BrokenProcessPool as error:
                raise OutOfMemoryError(
                    "A process was ended from outside, probably for lack of memory; the same command goes on where "
                    "this one stopped: give it fewer --workers."
                ) from error


def _end_with_parent() -> None:
    """Leave Ctrl-C to the parent, and end when it ends in whatever way: files are written whole or not at all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def watch() -> None:
            wait([sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes started here compute on one thread each: as many as processors are enough."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
