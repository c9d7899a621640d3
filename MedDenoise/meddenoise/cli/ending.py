"""How a command ends that does not end well: one line on stderr, an exit code, nothing left half-written."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

from meddenoise.errors import InputWarning, MedDenoiseError


class Terminated(BaseException):
    """SIGTERM, as an exception: what is being written is removed on the way out, as it is for Ctrl-C."""


@contextmanager
def one_line_for_errors() -> Iterator[None]:
    """Turn what goes wrong into one line on stderr and an exit code."""
    try:
        yield
    except MedDenoiseError as error:
        _fail(str(error))
    except MemoryError:
        _fail("There is not enough memory for this volume; close other programs or use a machine with more.")
    except BrokenPipeError:  # the reader of the output has seen enough (`| head`): typer ends in silence
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}")
    except KeyboardInterrupt:
        _fail("Interrupted; nothing was left half-written.", code=130)
    except Terminated:
        _fail("Terminated; nothing was left half-written.", code=143)


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM unwind the program, once; without this it would end on the spot and leave its scratch folder."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def unwind(number: int, frame: Any) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not stop the clearing up
        raise Terminated

    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print what the user should know as one line; keep the libraries' own warnings to ourselves."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        typer.echo(f"warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = show
        yield


def _fail(sentence: str, code: int = 1) -> NoReturn:
    typer.echo(f"error: {sentence}", err=True)
    raise typer.Exit(code)
