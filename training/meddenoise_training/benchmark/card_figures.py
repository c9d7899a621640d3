"""The figures of one weights file, out of ``benchmark.json``, as a model card keeps them."""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from meddenoise.errors import InputError
from meddenoise.metrics import Interval, patient_mean
from meddenoise_training.benchmark.conditions import CONDITIONS
from meddenoise_training.benchmark.images import strength_name
from meddenoise_training.benchmark.observers import auc_difference
from meddenoise_training.benchmark.run import RESULT_FORMAT
from meddenoise_training.benchmark.summary import Figure, Source, removed_share
from meddenoise_training.benchmark.targets import QUARTER

Ends = list[float]
_SLICES = {"patients": "patients", "truth": "numerical abdomens"}
_DIGITS = {"rmse_body": 2, "psnr": 2, "ssim": 4}


@dataclass(frozen=True)
class _Measured:
    """A method as ``benchmark.json`` has it."""

    name: str
    group: str
    strength: float
    weights: str | None


class Benchmarked:
    """The measurements of some weights, found in a ``benchmark.json`` by the digest of their tensors.

    :raises InputError: when the file is no such thing, or does not know these weights.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self._result = _read(path)
        methods = [_Measured(m["name"], m["group"], m["strength"], m["weights"]) for m in self._result["methods"]]
        own = next((m for m in methods if m.group == "ours" and m.weights == digest), None)
        if own is None:
            known = ", ".join(m.name for m in methods if m.group == "ours") or "no weights of MedDenoise"
            raise InputError(
                f"{path} holds figures of {known}, but not of the weights of this run: measure these weights first "
                "(export them without --benchmark, then `meddenoise-train benchmark --weights FILE`)."
            )
        self._name, self.strength = own.name, own.strength
        self._sources = {name: Source(self._result["images"][name], methods) for name in _SLICES}
        self._input = next((m.name for m in methods if m.group == "input"), None)
        self.split: str = self._result["plan"]["split"]
        self.patients = {case["patient"] for case in self._result["cases"]["patients"]}
        #: :func:`~meddenoise_training.data_identity.prepared_identity` of what it measured; None where it is not told.
        self.manifest: str | None = self._result.get("manifest")

    def figures(self) -> dict[str, Any]:
        """Return the figures for a card, plain JSON values; every interval is [value, low, high] of 95 %.

        ``conditions`` says of what and how in words; ``images`` has a row for each kind of slices and noise: RMSE, PSNR
        and SSIM before and after, the share of SD removed, bias by tissue; ``texture``, ``resolution`` and
        ``detectability`` are those of a quarter of the dose; ``strengths`` what each strength trades;
        ``noisy_scans`` what is removed from scans without reference; None where something was not measured.
        """
        return {
            "conditions": self._conditions(),
            "measured": self._result["created"],
            "strength": self.strength,
            "images": [row for name in _SLICES for row in self._images(name)],
            "noisy_scans": self._noisy_scans(),
            "texture": self._texture(),
            "resolution": self._resolution(self.strength),
            "detectability": self._detectability(),
            "strengths": [self._trade(float(s)) for s in self._strengths()],
        }

    def _conditions(self) -> str:
        cases, plan = self._result["cases"], self._result["plan"]
        missing = [group for group in dict.fromkeys(c.group for c in CONDITIONS) if not self._sources_have(group)]
        return (
            f"Measured by `meddenoise-train benchmark` at strength {self.strength:g} on {len(cases['patients'])} "
            f"slices of {len(self.patients)} patients of the split `{plan['split']}`, on {len(cases['truth'])} "
            f"numerical abdomens, whose truth is known, and, as they are, on {len(cases['noisy scans'])} slices of "
            f"very noisy scans. White noise, or low dose made in the projections of each slice ({plan['views']} "
            "views). RMSE in HU within the body, PSNR and SSIM in the window C50/W400 over the slice, bias in HU by "
            "tissue (result less reference); means over patients of their slices' means. In brackets 95 % intervals: "
            "bootstrap over patients or abdomens (of three they hold the true mean in 75 % of cases, of one they have "
            "no width and tell nothing), for texture, "
            "resolution and detectability a jackknife over images or, of lesions in patients, over places, without "
            "scatter between patients. A patient's reference carries noise of its own; an abdomen's does not. Texture, "
            "resolution and detectability are those of a quarter of the dose with a smooth kernel, in uniform tissue "
            "and, for lesions, in patients' too." + (f" Not measured: {', '.join(missing)}." if missing else "")
        )

    def _sources_have(self, group: str) -> bool:
        return any(source.conditions(group) for source in self._sources.values())

    def _images(self, name: str) -> list[dict[str, Any]]:
        source, rows = self._sources[name], []
        for group in dict.fromkeys(c.group for c in CONDITIONS):
            conditions = source.conditions(group)
            if not conditions:
                continue
            row: dict[str, Any] = {"slices": _SLICES[name], "noise": group, "conditions": conditions}
            for figure, digits in _DIGITS.items():
                for suffix, method in (("_before", self._input), ("", self._name)):
                    found = None if method is None else source.group_mean(conditions, method, figure)
                    row[figure + suffix] = _ends(found, digits)
            row["sd_removed"] = _ends(source.sd_reduction(conditions, self._name), 3)
            row["bias"] = {t: _ends(found, 2) for t, found in source.biases(conditions, self._name).items()}
            rows.append(row)
        return rows

    def _noisy_scans(self) -> dict[str, Any]:
        rows = self._result["noisy_scans"].get(self._name, [])

        def mean(take: Figure) -> Ends | None:
            pairs = [(take(row["strengths"][strength_name(self.strength)]), row["patient"]) for row in rows]
            known = [(value, patient) for value, patient in pairs if value is not None]
            return _ends(patient_mean(*map(list, zip(*known, strict=True))), 3) if known else None

        return {
            "sd_before": mean(lambda found: found["sd_before"]),
            "sd_removed": mean(removed_share),
            "structure": mean(lambda found: found["structure"]),
        }

    def _texture(self) -> dict[str, Any] | None:
        own = self._task("uniform", self._name, self.strength)
        base = None if self._input is None else self._task("uniform", self._input, 1.0)
        if own is None or base is None:
            return None
        return {
            "mean_frequency_before": round(base["texture"]["mean_frequency"], 3),
            "mean_frequency": round(own["texture"]["mean_frequency"], 3),
            "shift": own["texture"]["shift"],
            "sd_before": round(base["texture"]["sd"], 1),
            "sd": round(own["texture"]["sd"], 1),
        }

    def _resolution(self, strength: float) -> dict[str, Ends | None]:
        """Return by contrast in HU the frequency of 50 % task transfer, as a ratio to the input's."""
        discs = self._task("discs", self._name, strength) or {}
        return {contrast: found["ratio"] for contrast, found in discs.items()}

    def _detectability(self) -> list[dict[str, Any]]:
        """Return by background and lesion the AUC of both observers, before and after, and what they gain, paired."""
        rows = []
        for background in ("uniform", "patient"):
            own = self._task(background, self._name, self.strength)
            base = None if self._input is None else self._task(background, self._input, 1.0)
            for lesion, found in (own or {"lesions": {}})["lesions"].items():
                row: dict[str, Any] = {"background": background, "lesion": lesion}
                for observer, seen in found.items():
                    before = None if base is None else base["lesions"][lesion][observer]
                    row[f"{observer}_before"] = None if before is None else before["auc"]
                    row[observer] = None if seen is None else seen["auc"]
                    gain = None if seen is None or before is None else auc_difference(seen, before)
                    row[f"{observer}_gain"] = _ends(gain, 3)
                rows.append(row)
        return rows

    def _strengths(self) -> list[str]:
        return list(self._result["tasks"]["uniform"].get(self._name, {}))

    def _trade(self, strength: float) -> dict[str, Any]:
        """Return what a strength gives and takes, at a quarter of the dose."""
        uniform = self._task("uniform", self._name, strength)
        row: dict[str, Any] = {"strength": strength}
        for name, source in self._sources.items():
            conditions = source.conditions_named(QUARTER)
            row[f"rmse_{name}"] = _ends(source.group_mean(conditions, self._name, "rmse_body", strength), 2)
            row[f"sd_removed_{name}"] = _ends(source.sd_reduction(conditions, self._name, strength), 3)
        row["shift"] = None if uniform is None else uniform["texture"]["shift"]
        row["transfer_30"] = self._resolution(strength).get("30")
        return row

    def _task(self, task: str, method: str, strength: float) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._result["tasks"][task].get(method, {}).get(strength_name(strength))
        return found


def _read(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text("utf-8"))
        number = result["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no benchmark.json of `meddenoise-train benchmark`.") from error
    if number != RESULT_FORMAT:
        raise InputError(f"{path} is of another version; run `meddenoise-train benchmark` again.")
    found: dict[str, Any] = result
    return found


def _ends(interval: Interval | None, digits: int) -> Ends | None:
    return None if interval is None else [round(value, digits) for value in astuple(interval)]
