"""Remarks on an input: warnings, unless the thread that makes them is collecting; and other libraries' silenced.

Python's own ``catch_warnings`` changes the filters of all threads, and a batch reads, denoises and writes in three: a
remark on one series would be lost or land in the report of another, and filters be put back in the wrong order.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from meddenoise.errors import InputWarning

_HERE = threading.local()
_SILENCING = threading.Lock()
_silencers = 0
_before: warnings.catch_warnings[None] | None = None


def remark(sentence: str) -> None:
    """Tell the user something about the input that does not stop the run.

    It is an :class:`~meddenoise.errors.InputWarning` of the caller's caller, or collected, where this thread collects.
    """
    collected = _collections()
    if collected:
        collected[-1].append(sentence)
    else:
        warnings.warn(sentence, InputWarning, stacklevel=3)


@contextmanager
def collected_remarks() -> Iterator[list[str]]:
    """Collect the remarks of this thread instead of warning."""
    sentences: list[str] = []
    _collections().append(sentences)
    try:
        yield sentences
    finally:
        _collections().pop()


@contextmanager
def silenced() -> Iterator[None]:
    """Ignore Python's warnings, in all threads as long as any is in here: of libraries that remark on every value."""
    global _silencers, _before
    with _SILENCING:
        _silencers += 1
        if _silencers == 1:
            _before = warnings.catch_warnings()
            _before.__enter__()
            warnings.simplefilter("ignore")
    try:
        yield
    finally:
        with _SILENCING:
            _silencers -= 1
            if _silencers == 0 and _before is not None:
                _before.__exit__(None, None, None)


def _collections() -> list[list[str]]:
    collections: list[list[str]] = _HERE.__dict__.setdefault("collections", [])
    return collections
