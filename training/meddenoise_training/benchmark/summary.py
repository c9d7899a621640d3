"""From rows to tables: means by patient, differences to the best peer, with bootstrap intervals over patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from meddenoise.metrics import Interval, patient_mean
from meddenoise_training.benchmark.conditions import CONDITIONS
from meddenoise_training.benchmark.images import Rows, strength_name

#: Rows by condition and method, of one source.
Table = Mapping[str, Mapping[str, Rows]]
ByPatient = dict[str, float]
Figure = Callable[[Mapping[str, Any]], float | None]


class Column(Protocol):
    """What of a method decides where its figures are found: a ``Method``, or one read from ``benchmark.json``."""

    @property
    def name(self) -> str:
        """Return it as in tables."""

    @property
    def group(self) -> str:
        """Return ``input``, ``classical``, ``baseline`` or ``ours``."""

    @property
    def strength(self) -> float:
        """Return the strength that tables show."""


@dataclass(frozen=True)
class Source:
    """The measurements on one kind of slices, and the methods that were measured."""

    table: Table
    methods: Sequence[Column]

    def conditions(self, *groups: str) -> list[str]:
        """Return the conditions measured of some groups."""
        return [c.name for c in CONDITIONS if c.group in groups and c.name in self.table]

    def conditions_named(self, name: str) -> list[str]:
        """Return a condition as a list; an empty one where it was not measured."""
        return [name] if name in self.table else []

    def by_patient(self, condition: str, method: str, figure: str | Figure, strength: float | None = None) -> ByPatient:
        """Return each patient's mean of a figure over their slices; slices that lack it are left out."""
        take: Figure = figure if callable(figure) else partial(_named, figure)
        values: dict[str, list[float]] = {}
        for row in self.table.get(condition, {}).get(method, []):
            value = take(row["strengths"][strength_name(self._strength(method, strength))])
            if value is not None:
                values.setdefault(row["patient"], []).append(value)
        return {patient: float(np.mean(v)) for patient, v in values.items()}

    def mean(self, condition: str, method: str, figure: str | Figure, strength: float | None = None) -> float | None:
        """Return the mean over patients; None where there is nothing."""
        values = self.by_patient(condition, method, figure, strength)
        return float(np.mean(list(values.values()))) if values else None

    def group_mean(
        self, conditions: Sequence[str], method: str, figure: str | Figure, strength: float | None = None
    ) -> Interval | None:
        """Return the mean over conditions and patients, with its interval."""
        return _interval([self.by_patient(c, method, figure, strength) for c in conditions])

    def biases(self, conditions: Sequence[str], method: str) -> dict[str, Interval]:
        """Return the bias of each tissue, mean over conditions and patients with its interval, HU."""
        means = {
            t: self.group_mean(conditions, method, partial(_bias_of, t)) for t in self._tissues(conditions, method)
        }
        return {tissue: mean for tissue, mean in means.items() if mean is not None}

    def best(self, condition: str, group: str, figure: str = "psnr", *, largest: bool = True) -> str | None:
        """Return the method of a group with the best mean; None where the group has none."""
        means = {m.name: self.mean(condition, m.name, figure) for m in self.methods if m.group == group}
        known = {name: value for name, value in means.items() if value is not None}
        if not known:
            return None
        return max(known, key=lambda name: known[name] if largest else -known[name])

    def above_best(
        self, conditions: Sequence[str], method: str, group: str, figure: str = "psnr", strength: float | None = None
    ) -> Interval | None:
        """Return by how much a method's figure exceeds that of the best of a group: best under each condition, mean."""
        differences = []
        for condition in conditions:
            rival = self.best(condition, group, figure)
            if rival is not None:
                differences.append(self._difference(condition, method, rival, figure, strength))
        return _interval(differences)

    def above(self, conditions: Sequence[str], method: str, rival: str, figure: str = "psnr") -> Interval | None:
        """Return by how much a method's figure exceeds a rival's, paired by patient, in the mean."""
        return _interval([self._difference(c, method, rival, figure, None) for c in conditions])

    def tissues(self, conditions: Sequence[str], method: str) -> dict[str, Interval]:
        """Return the bias of each tissue with its interval: of the conditions' means the one furthest from 0, HU."""
        worst: dict[str, Interval] = {}
        for condition in conditions:
            for tissue, mean in self.biases([condition], method).items():
                if tissue not in worst or abs(mean.value) >= abs(worst[tissue].value):
                    worst[tissue] = mean
        return worst

    def sd_reduction(self, conditions: Sequence[str], method: str, strength: float | None = None) -> Interval | None:
        """Return the share of the noise's SD that is removed."""
        return _interval([self.by_patient(c, method, removed_share, strength) for c in conditions])

    def _tissues(self, conditions: Sequence[str], method: str) -> list[str]:
        rows = [row for c in conditions for row in self.table.get(c, {}).get(method, [])]
        return list(dict.fromkeys(tissue for row in rows for tissue in row["strengths"]["1"]["bias"]))

    def _difference(self, condition: str, method: str, rival: str, figure: str, strength: float | None) -> ByPatient:
        own, other = self.by_patient(condition, method, figure, strength), self.by_patient(condition, rival, figure)
        return {patient: own[patient] - other[patient] for patient in own.keys() & other.keys()}

    def _strength(self, method: str, strength: float | None) -> float:
        return next(m.strength for m in self.methods if m.name == method) if strength is None else strength


def _named(name: str, found: Mapping[str, Any]) -> float | None:
    value: float | None = found.get(name)
    return value


def _bias_of(tissue: str, found: Mapping[str, Any]) -> float | None:
    return _named(tissue, found["bias"])


def removed_share(found: Mapping[str, Any]) -> float | None:
    """Return which share of the noise's SD was removed; None where it is not known or there was none."""
    before, after = found["sd_before"], found["sd_after"]
    return 1 - after / before if before and after is not None else None


def _interval(by_condition: Sequence[ByPatient]) -> Interval | None:
    """Return mean and interval of a figure: of each patient the mean over conditions, then over patients."""
    filled = [b for b in by_condition if b]
    if not filled:
        return None
    patients = sorted(set.intersection(*(set(b) for b in filled)))
    if not patients:
        return None
    return patient_mean([float(np.mean([b[p] for b in filled])) for p in patients], patients)
