"""The best parameters of each peer for each kind of noise, found on validation slices and kept in a JSON file."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from meddenoise.errors import InputError, OutputError
from meddenoise.metrics import rmse
from meddenoise_training.peers.peer import Image, NoiseKnowledge, Parameters, Peer, TunedFor
from meddenoise_training.toml_files import wrong_fields
from meddenoise_training.whole_file import whole_file


@dataclass(frozen=True)
class TuningCase:
    """A validation slice under noise.

    :param group: the kind of noise, of which each gets parameters of its own: white, a smooth kernel, ...
    :param reference: (j, i) HU; ``image``: the same with noise.
    """

    group: str
    reference: Image
    image: Image
    noise: NoiseKnowledge


def tune(
    peers: Sequence[Peer],
    cases: Sequence[TuningCase],
    report: Callable[[str], None] = lambda _: None,
    *,
    kept: Path | None = None,
) -> dict[str, Any]:
    """Find the combination of each peer's grid with the smallest mean RMSE, group by group.

    All are tried on the first third of a group's cases (two at least), the best quarter of them on all.

    :param kept: file that keeps what is found as it comes, for a call that goes on; found with another grid or on other
        cases, it does not count. None keeps nothing.
    :returns: for :func:`write_tuned`: of each group the texture, cases and SDs; of each peer that has a grid, by group,
        the parameters, their mean RMSE in HU, and ``at_edge``: those (of three values or more) for which more, or less,
        than the grid holds might be better.
    :raises InputError: when there are no cases.
    """
    if not cases:
        raise InputError("There are no slices to tune the peers on.")
    groups = {group: [c for c in cases if c.group == group] for group in dict.fromkeys(c.group for c in cases)}
    best: dict[str, Any] = {}
    found_before = _read_kept(kept)
    for peer in peers:
        for group, members in groups.items() if peer.grid else ():
            key = _key(peer, members)
            if key not in found_before:
                found_before[key] = _best(peer, members)
                if kept is not None:
                    _write_json(kept, found_before)
            found = found_before[key]
            best.setdefault(peer.name, {})[group] = found
            report(f"{peer.name}, {group}: {found['parameters']}, RMSE {found['rmse']:.2f} HU")
    return {"format": 1, "groups": {group: _described(members) for group, members in groups.items()}, "peers": best}


def write_tuned(path: Path, tuned: dict[str, Any]) -> None:
    """Write what :func:`tune` found; beside first, then renamed.

    :raises OutputError: when it cannot be written.
    """
    _write_json(path, tuned)


def read_tuned(path: Path) -> dict[str, tuple[TunedFor, ...]]:
    """Read what :func:`write_tuned` wrote, by peer.

    :raises InputError: when the file is not that.
    """
    tuned = _read(path)
    strangers = {g for groups in tuned.peers.values() for g in groups} - set(tuned.groups)
    if strangers:
        raise InputError(f"{path} says nothing of the noise of '{min(strangers)}'; tune the peers again.")
    return {
        name: tuple(TunedFor(g, tuned.groups[g].texture, found.parameters) for g, found in groups.items())
        for name, groups in tuned.peers.items()
    }


def tuned_at_edge(path: Path) -> dict[str, list[str]]:
    """Return what :func:`tune` found best at the edge of its grid, ``white: k 0.8``, by peer; those without left out.

    :raises InputError: when the file is not what :func:`write_tuned` wrote.
    """
    edges = {
        name: [
            f"{group}: {', '.join(f'{p} {found.parameters[p]:g}' for p in found.at_edge)}"
            for group, found in groups.items()
            if found.at_edge
        ]
        for name, groups in _read(path).peers.items()
    }
    return {name: where for name, where in edges.items() if where}


def _read(path: Path) -> _File:
    try:
        return _File.model_validate(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        why = wrong_fields(error) if isinstance(error, ValidationError) else str(error)
        raise InputError(f"{path} holds no tuned parameters of peers: {why}.") from error


def _key(peer: Peer, cases: Sequence[TuningCase]) -> str:
    """Return what changes when the peer's grid does, or the cases it is tuned on."""
    digest = hashlib.sha256(repr((peer.name, dict(peer.grid), dict(peer.parameters))).encode())
    for case in cases:
        spectrum = b"" if case.noise.psd is None else case.noise.psd.tobytes()
        facts = repr((case.group, case.image.shape, case.noise.sd, case.noise.pixel)).encode()
        digest.update(b"".join((facts, case.reference.tobytes(), case.image.tobytes(), spectrum)))
    return digest.hexdigest()


def _read_kept(path: Path | None) -> dict[str, Any]:
    """Return what a file keeps; nothing where there is none, or it is damaged."""
    try:
        kept = {} if path is None else json.loads(path.read_text("utf-8"))
        return {key: _Found.model_validate(found).model_dump() for key, found in kept.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _write_json(path: Path, values: dict[str, Any]) -> None:
    try:
        with whole_file(path) as beside:
            beside.write_text(json.dumps(values, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error


def _best(peer: Peer, cases: Sequence[TuningCase]) -> dict[str, Any]:
    candidates = [dict(zip(peer.grid, values, strict=True)) for values in itertools.product(*peer.grid.values())]
    few = cases[: max(2, len(cases) // 3)]
    if len(few) < len(cases):
        candidates.sort(key=lambda parameters: _mean_rmse(peer, parameters, few))
        candidates = candidates[: max(1, len(candidates) // 4)]
    errors = [_mean_rmse(peer, parameters, cases) for parameters in candidates]
    parameters = candidates[int(np.argmin(errors))]
    ends = {name: (min(values), max(values)) for name, values in peer.grid.items() if len(values) > 2}
    at_edge = [name for name, two in ends.items() if parameters[name] in two]
    return {"parameters": parameters, "rmse": min(errors), "at_edge": at_edge}


def _mean_rmse(peer: Peer, parameters: Parameters, cases: Sequence[TuningCase]) -> float:
    return float(np.mean([rmse(c.reference, peer.apply(c.image, c.noise, parameters)) for c in cases]))


def _described(cases: Sequence[TuningCase]) -> dict[str, Any]:
    texture = np.mean([c.noise.texture for c in cases], axis=0)
    return {
        "texture": [float(value) for value in texture],
        "cases": len(cases),
        "sd": sorted({round(c.noise.sd, 1) for c in cases}),
    }


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Group(_Part):
    texture: tuple[float, ...]
    cases: int
    sd: list[float]


class _Found(_Part):
    parameters: dict[str, float]
    rmse: float
    at_edge: list[str]


class _File(_Part):
    format: Literal[1]
    groups: dict[str, _Group]
    peers: dict[str, dict[str, _Found]]
