"""TOML files read on every Python from 3.10 up, with one clear sentence for what cannot be read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from meddenoise.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

parse_toml = tomllib.loads


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    :raises InputError: when it is not there or is no TOML.
    """
    try:
        return parse_toml(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"The file {path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise InputError(f"The file {path} is no TOML: {error}.") from error


def wrong_fields(error: ValidationError) -> str:
    """Return what is wrong with which fields, for a sentence: ``title is missing; tilte is unknown``."""
    return "; ".join(f"{_dotted(e['loc'])}{_WRONG.get(e['type'], ': ' + e['msg'])}" for e in error.errors())


_WRONG = {"missing": " is missing", "extra_forbidden": " is unknown"}


def _dotted(location: tuple[int | str, ...]) -> str:
    """Return the name of a field, as ``collection 2.licence``: people count tables from 1."""
    return "".join(f" {part + 1}" if isinstance(part, int) else f".{part}" for part in location).strip(".")
