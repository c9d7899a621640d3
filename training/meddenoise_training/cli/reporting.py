"""What commands print, on stdout."""

from __future__ import annotations

from rich.console import Console

console = Console()


def line(text: str) -> None:
    """Print a line at once; on a terminal it stands above the progress bar."""
    if console.is_terminal:
        console.print(text, highlight=False, markup=False)
    else:
        print(text, flush=True)
