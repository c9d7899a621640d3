"""How a command ends that fails or is asked to stop."""

from __future__ import annotations

import functools
import inspect
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console

from meddenoise.errors import MedDenoiseError
from meddenoise_training.cli.reporting import line

P = ParamSpec("P")
R = TypeVar("R")
_GOES_ON = "the same command goes on from there"
_ANEW = "the same command begins anew"
#: What is kept of a command that Ctrl-C stops, and how to go on; in braces its arguments.
_STOPPED = {
    "prepare": "what is done is kept in .{target.name}.part beside {target}, and " + _GOES_ON,
    "bank": "the noise made so far is kept in {prepared}, and " + _GOES_ON,
    "noise": "nothing is kept; " + _ANEW,
    "clean": "the slices cleaned so far are kept in {prepared}, and " + _GOES_ON,
    "fit": "the last checkpoint is kept in {run}, and " + _GOES_ON,
    "plot": "plots that were finished are kept in {run}; the same command draws all of them",
    "benchmark": "what is measured is kept in {out}, and " + _GOES_ON,
    "tune_peers": "what is tuned is kept beside {target}, and " + _GOES_ON,
    "export": "nothing is half-written; " + _ANEW,
    "inspect": "nothing was changed",
}
#: Where that lies: a file, or a folder and the names in it. A command stopped before says that nothing was done.
_KEPT: dict[str, tuple[str, str | None]] = {
    "prepare": ("{target.parent}/.{target.name}.part/records", "*/[!.]*.json"),
    "bank": ("{prepared}/noise-bank", "*.npy"),
    "clean": ("{prepared}/targets/.{name}.part", "*.npy"),
    "fit": ("{run}/checkpoint.pt", None),
    "benchmark": ("{out}", "*/*.json"),
    "tune_peers": ("{target.parent}/.{target.name}.begun", None),
}


@contextmanager
def one_line_for_errors() -> Iterator[None]:
    """Turn what a user can do something about into one line on stderr and exit code 1."""
    try:
        yield
    except MedDenoiseError as error:
        Console(stderr=True).print(f"Error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(1)


def told_when_stopped(command: Callable[P, R]) -> Callable[P, R]:
    """Let a command that Ctrl-C stops say in a line what is kept and how to go on, and end with exit code 130."""
    signature = inspect.signature(command)

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            line(f"Stopped; {_what_is_kept(command.__name__, signature.bind(*args, **kwargs).arguments)}.")
            raise typer.Exit(130) from None

    return run


def _what_is_kept(command: str, arguments: dict[str, Any]) -> str:
    if command in _KEPT:
        text, names = _KEPT[command]
        place = Path(text.format(**arguments))
        if not (place.exists() if names is None else any(place.glob(names))):
            return f"nothing was done yet; {_ANEW}"
    return _STOPPED[command].format(**arguments)


@contextmanager
def asked_to_stop() -> Iterator[list[int]]:
    """Collect Ctrl-C and `kill` in the list returned instead of ending at once, so that the run can be saved."""
    asked: list[int] = []
    before = {
        number: signal.signal(number, lambda received, _: asked.append(received))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
