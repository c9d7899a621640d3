"""How a command ends that fails or is asked to stop."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from meddenoise.errors import MedDenoiseError


@contextmanager
def one_line_for_errors() -> Iterator[None]:
    """Turn what a user can do something about into one line on stderr and exit code 1."""
    try:
        yield
    except MedDenoiseError as error:
        Console(stderr=True).print(f"Error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(1)


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
