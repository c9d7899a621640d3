"""Warnings collected or silenced for one thread alone: Python's own ``catch_warnings`` changes those of all threads.

A batch reads, denoises and writes in three threads. With ``catch_warnings`` in each, a remark on one series would land
in the report of another, and filters would be put back in the wrong order, for good.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from meddenoise.errors import InputWarning

_Handler = Callable[["Warning | str", type[Warning]], None]


class _Capture:
    """What all threads share: while any of them handles warnings, Python's are led through here.

    :ivar users: handlers in force, in all threads.
    :ivar local: ``handlers``, the stack of each thread.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.local = threading.local()
        self.outside: warnings.catch_warnings[None] | None = None
        self.show: Callable[..., Any] = warnings.showwarning

    def handlers(self) -> list[_Handler]:
        handlers: list[_Handler] = self.local.__dict__.setdefault("handlers", [])
        return handlers

    def install(self) -> None:
        with self.lock:
            self.users += 1
            if self.users == 1:
                self.outside = warnings.catch_warnings()
                self.outside.__enter__()
                self.show = warnings.showwarning
                warnings.simplefilter("always")
                warnings.showwarning = self.dispatch

    def remove(self) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0 and self.outside is not None:
                self.outside.__exit__(None, None, None)

    def dispatch(self, message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        handlers = self.handlers()
        if handlers:
            handlers[-1](message, category)
        elif issubclass(category, InputWarning):  # a thread that handles none: as it was before
            self.show(message, category, *where, **more)


_CAPTURE = _Capture()


@contextmanager
def _handled_by(handler: _Handler) -> Iterator[None]:
    _CAPTURE.install()
    _CAPTURE.handlers().append(handler)
    try:
        yield
    finally:
        _CAPTURE.handlers().pop()
        _CAPTURE.remove()


@contextmanager
def collected_remarks() -> Iterator[list[str]]:
    """Collect the sentences of every :class:`~meddenoise.errors.InputWarning` of this thread; others are dropped."""
    sentences: list[str] = []

    def collect(message: Warning | str, category: type[Warning]) -> None:
        if issubclass(category, InputWarning):
            sentences.append(str(message))

    with _handled_by(collect):
        yield sentences


@contextmanager
def silenced() -> Iterator[None]:
    """Drop every warning of this thread: libraries that remark on each value outside the standard."""
    with _handled_by(lambda message, category: None):
        yield
