"""Progress: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import Progress

from meddenoise_training.cli.reporting import console, line


@contextmanager
def progress_bar(title: str, *, lines: bool = True) -> Iterator[Callable[[int, int], None]]:
    """Give a function ``(done, total)`` that moves a bar on a terminal and else prints a line at each tenth.

    :param lines: False where the command prints lines of its own on the way.
    """
    if not console.is_terminal:
        yield _tenths(title) if lines else lambda done, total: None
        return
    with Progress(console=console) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _tenths(title: str) -> Callable[[int, int], None]:
    last = 0

    def show(done: int, total: int) -> None:
        nonlocal last
        tenth = 10 * done // max(total, 1)
        if last < tenth < 10:  # what a command says at its end stands for the last one
            line(f"{title}: {10 * tenth} %, {done} of {total}")
        last = tenth

    return show
