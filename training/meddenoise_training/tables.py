"""Tables in Markdown whose columns are aligned, so that they read well as plain text too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; a ``|`` in a cell becomes ``/``, which would end it."""
    cells = [[cell.replace("|", "/") for cell in line] for line in (head, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"

    return [line(cells[0]), line(["-" * width for width in widths]), *map(line, cells[1:])]
