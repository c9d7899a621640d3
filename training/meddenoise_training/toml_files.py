"""TOML files read on every Python from 3.10 up, with one clear sentence for what cannot be read."""

from __future__ import annotations

import re
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from meddenoise.errors import InputError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

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


def wrong_fields(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """Return what is wrong with which fields, for a sentence: ``title is missing; tilte is unknown``.

    :param model: whose fields they should be; of an unknown one the nearest of these is told.
    """
    known = _names(model) if model is not None else []
    return "; ".join(_wrong(one, known) for one in error.errors())


def _wrong(one: ErrorDetails, known: list[str]) -> str:
    name = _dotted(one["loc"])
    if one["type"] == "missing":
        return f"{name} is missing"
    if one["type"] == "extra_forbidden":
        nearest = _nearest(one["loc"], known)
        return f"{name} is unknown" + (f" (did you mean {nearest}?)" if nearest else "")
    words = re.sub(", unable to parse .*", "", one["msg"].removeprefix("Value error, "))
    if words.startswith("Input should be "):
        return f"{name or 'it'} must be {words.removeprefix('Input should be ')}"
    return f"{name}: {words}" if name else words


def _nearest(location: tuple[int | str, ...], known: list[str]) -> str | None:
    """Return the field that was meant: one of that name in another section, else one whose name looks like it."""
    parts = [part for part in location if isinstance(part, str)]
    elsewhere = [name for name in known if name.rpartition(".")[2] == parts[-1]]
    return next(iter(elsewhere or get_close_matches(".".join(parts), known, 1, 0.75)), None)


def _names(model: type[BaseModel], above: str = "") -> list[str]:
    """Return the dotted names of the fields of a model and of those in it."""
    names = []
    for name, field in model.model_fields.items():
        names.append(above + name)
        for part in (field.annotation, *get_args(field.annotation)):
            if get_origin(part) is None and isinstance(part, type) and issubclass(part, BaseModel):
                names += _names(part, f"{above}{name}.")
    return names


def _dotted(location: tuple[int | str, ...]) -> str:
    """Return the name of a field, as ``collection 2.licence``: people count tables from 1."""
    return "".join(f" {part + 1}" if isinstance(part, int) else f".{part}" for part in location).strip(".")
