"""TOML files read on every Python from 3.10 up, with one clear sentence for what cannot be read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

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
    except (OSError, ValueError) as error:
        raise InputError(f"The file {path} cannot be read: {error}.") from error
