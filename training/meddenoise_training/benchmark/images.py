"""Every method on every noisy slice: the rows behind the tables of RMSE, PSNR, SSIM, VIF, bias and SD."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from meddenoise.noise_estimate import estimate_noise
from meddenoise_training.benchmark.cases import Case, Image
from meddenoise_training.benchmark.conditions import (
    Condition,
    applies,
    condition_noise,
    in_projections,
    noise_revision,
    same_scan,
)
from meddenoise_training.benchmark.evaluation import blind_figures, figures
from meddenoise_training.benchmark.methods import Method
from meddenoise_training.benchmark.noisy import Noisy, noise_psd, soft_tissue, with_noise
from meddenoise_training.benchmark.store import Store

Rows = list[dict[str, Any]]
Report = Callable[[str], None]


def measure_images(
    source: str,
    cases: Sequence[Case],
    conditions: Sequence[Condition],
    methods: Sequence[Method],
    store: Store,
    report: Report,
    *,
    views: int,
) -> dict[str, dict[str, Rows]]:
    """Return the rows by condition and method; what is finished is read, the rest computed and kept.

    A row: case, patient, ``added_sd`` (of the noise added, soft tissue, HU), ``own_sd`` (of the reference), and the
    figures by strength (as text, ``1`` the full result).

    :param source: of the cases, as in file names.
    """
    found: dict[str, dict[str, Rows]] = {}
    for condition in conditions:
        these = [case for case in cases if applies(condition, case)]
        if not these:
            continue
        inputs = _Inputs(source, these, condition, store, views)
        found[condition.name] = {
            method.name: _part(source, condition, method, these, inputs, store, report) for method in methods
        }
    return found


def measure_noisy_scans(
    cases: Sequence[Case], methods: Sequence[Method], store: Store, report: Report
) -> dict[str, Rows]:
    """Return rows of scans as they are, without a reference: SD and residual, by method and strength."""
    inputs = [as_scanned(case) for case in cases]
    found = {}
    for method in methods:

        def compute(method: Method = method) -> Rows:
            rows = []
            for case, noisy in zip(cases, inputs, strict=True):
                result = method.denoise(noisy, case.pixel)
                by_strength = {
                    strength_name(s): blind_figures(noisy, blended(noisy, result, s)) for s in method.strengths
                }
                rows.append({"case": case.name, "patient": case.patient, "strengths": by_strength})
            report(f"noisy scans: {method.name}")
            return rows

        found[method.name] = store.part("noisy scans", method.name, method.fingerprint, compute)
    return found


def blended(noisy: Noisy, result: Image, strength: float) -> Image:
    """Return the result at a strength."""
    return result if strength == 1 else noisy.image + np.float32(strength) * (result - noisy.image)


def strength_name(strength: float) -> str:
    """Return a strength as the key of figures, ``0.8`` or ``1``."""
    return f"{strength:g}"


def as_scanned(case: Case) -> Noisy:
    """Return a scan as it is; its noise is known only as far as it can be estimated from itself."""
    sd = estimate_noise(case.reference[np.newaxis])
    rough = case.reference - _smoothed(case.reference)
    return Noisy(case.reference, sd, noise_psd(rough, soft_tissue(case.reference)), case.neighbour)


class _Inputs:
    """The noisy slices of a condition, made when the first method asks for them."""

    def __init__(self, source: str, cases: Sequence[Case], condition: Condition, store: Store, views: int) -> None:
        self._make = partial(_noisy_slices, source, cases, condition, store, views)
        self._made: list[Noisy] | None = None

    def __call__(self) -> list[Noisy]:
        if self._made is None:
            self._made = self._make()
        return self._made


def _noisy_slices(source: str, cases: Sequence[Case], condition: Condition, store: Store, views: int) -> list[Noisy]:
    made: dict[str, Noisy] = {}
    for number, scan in enumerate(same_scan(cases)):
        noise = _ScanNoise(f"{source} {condition.name} scan {number}", scan, condition, store, views)
        for place, (case, own) in enumerate(zip(scan, noise.at(), strict=True)):
            made[case.name] = with_noise(case, own, partial(noise.of, place))
    return [made[case.name] for case in cases]


@dataclass(frozen=True)
class _ScanNoise:
    """A condition's noise for the cases of one scan, and for their neighbours; what takes long to make is kept."""

    name: str
    scan: Sequence[Case]
    condition: Condition
    store: Store
    views: int

    def at(self, offset: int = 0) -> Image:
        """Return that of all cases, or of their neighbours so many spacings away, (n, j, i) HU."""
        compute = partial(condition_noise, self.scan, self.condition, offset, views=self.views)
        if not in_projections(self.condition):
            return compute()
        revision = noise_revision(self.scan[0], self.condition)
        return self.store.array(f"{self.name}{neighbour_name(offset)}", compute, revision=revision).astype(np.float32)

    def of(self, place: int, offset: int) -> Image:
        """Return that of the neighbour of one case, (j, i) HU."""
        if not in_projections(self.condition):
            return np.asarray(condition_noise([self.scan[place]], self.condition, offset)[0])
        return np.asarray(self.at(offset)[place])


def neighbour_name(offset: int) -> str:
    """Return what the name of kept noise has at its end for that of neighbours so many spacings away."""
    return f" {'before' if offset < 0 else 'after'} {abs(offset)}" if offset else ""


def _part(
    source: str,
    condition: Condition,
    method: Method,
    cases: Sequence[Case],
    inputs: _Inputs,
    store: Store,
    report: Report,
) -> Rows:
    name = f"{source} {condition.name}"

    def compute() -> Rows:
        rows = [_row(case, noisy, method) for case, noisy in zip(cases, inputs(), strict=True)]
        report(f"{name}: {method.name}, RMSE {np.mean([r['strengths']['1']['rmse_body'] for r in rows]):.2f} HU")
        return rows

    revision = noise_revision(cases[0], condition)
    rows: Rows = store.part(name, method.name, method.fingerprint, compute, revision=revision)
    return rows


def _row(case: Case, noisy: Noisy, method: Method) -> dict[str, Any]:
    result = method.denoise(noisy, case.pixel)
    by_strength = {
        strength_name(s): figures(case, noisy, blended(noisy, result, s), full=s in method.reported)
        for s in method.strengths
    }
    return {
        "case": case.name,
        "patient": case.patient,
        "added_sd": noisy.sd,
        "own_sd": case.own_sd,
        "strengths": by_strength,
    }


def _smoothed(image: Image) -> Image:
    from scipy.ndimage import median_filter

    return np.asarray(median_filter(image, 7), np.float32)
