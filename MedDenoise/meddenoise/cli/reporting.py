"""What commands print: results on stdout, as text or as JSON; notes and warnings on stderr."""

from __future__ import annotations

import json
import math
from typing import Any

import typer

DISCLAIMER = "Research use only, not for diagnosis."
SHA256_PREFIX = 12


def note(quiet: bool, line: str) -> None:
    """Say on stderr what is being done."""
    if not quiet:
        typer.echo(line, err=True)


def lines(quiet: bool, *texts: str) -> None:
    """Print results."""
    if not quiet:
        for text in texts:
            typer.echo(text)


def as_json(values: Any) -> None:
    """Print a result as JSON; what is not finite, which JSON does not know, as null."""
    typer.echo(json.dumps(_finite(values), ensure_ascii=False, indent=2))


def warn_of(*sentences: str) -> None:
    """Print warnings, one line each."""
    for sentence in sentences:
        typer.echo(f"warning: {sentence}", err=True)


def in_hu(value: float | None) -> str:
    """Return an estimated noise in words; of a volume too small there is none."""
    return "unknown" if value is None else f"{value:.1f} HU"


def _finite(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values
