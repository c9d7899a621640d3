"""Models of ours a second time at full strength, which peers are compared with; their default may keep noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from meddenoise_training.benchmark.methods import Method

_ENDING = " at full strength"


def is_double(name: str) -> bool:
    """Return whether a name is of a model that stands at its default strength, too."""
    return name.endswith(_ENDING)


def with_full_strength(methods: Sequence[Method], result: dict[str, Any]) -> tuple[list[Method], dict[str, Any]]:
    """Return methods and result, as ``benchmark.json`` has it, with each model of another strength at strength 1, too.

    Its figures are there already, under its name and another strength; here they get a name of their own.
    """
    names = {m.name: m.name + _ENDING for m in methods if m.strength != 1.0}

    def doubled(by_method: dict[str, Any]) -> dict[str, Any]:
        return {**by_method, **{name: by_method[old] for old, name in names.items() if old in by_method}}

    columns = []
    for m in methods:
        columns += [m, replace(m, name=names[m.name], strength=1.0)] if m.name in names else [m]
    return columns, {
        **result,
        "methods": [
            *result["methods"],
            *({**m, "name": names[m["name"]], "strength": 1.0} for m in result["methods"] if m["name"] in names),
        ],
        "images": {s: {c: doubled(by) for c, by in table.items()} for s, table in result["images"].items()},
        "noisy_scans": doubled(result["noisy_scans"]),
        "flicker": doubled(result["flicker"]),
        "tasks": {task: doubled(by) for task, by in result["tasks"].items()},
    }
