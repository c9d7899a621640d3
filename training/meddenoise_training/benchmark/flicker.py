"""Flicker: whether a method moves the mean of one slice against that of the next, which shows when scrolling."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from meddenoise_training.benchmark.cases import Case, body_of
from meddenoise_training.benchmark.images import Report, as_scanned, strength_name
from meddenoise_training.benchmark.methods import Method
from meddenoise_training.benchmark.store import Store

Flicker = dict[str, dict[str, float]]


def measure_flicker(
    cases: Sequence[Case], methods: Sequence[Method], store: Store, report: Report
) -> dict[str, Flicker]:
    """Denoise neighbouring slices of a scan as they are; return what their means do, by method and strength.

    ``before`` and ``after``: SD of the difference between the means of neighbours, over the pairs, HU; of input and
    result. ``added``: SD of what the method adds to that difference. Means are taken where both slices show the body.

    :param cases: slices in order; fewer than three give nothing.
    """
    if len(cases) < 3:
        report("No series of three slices or more: flicker is not measured.")
        return {}
    inputs = [as_scanned(case) for case in cases]
    bodies = [body_of(case.reference) for case in cases]
    shared = [one & other for one, other in itertools.pairwise(bodies)]

    def steps(images: Sequence[Any]) -> Any:
        pairs = zip(itertools.pairwise(images), shared, strict=True)
        return np.array([(b[m].mean(dtype=np.float64) - a[m].mean(dtype=np.float64)) for (a, b), m in pairs])

    def compute(method: Method) -> Flicker:
        results = [method.denoise(noisy, case.pixel) for noisy, case in zip(inputs, cases, strict=True)]
        before = steps([noisy.image for noisy in inputs])
        change = steps(results) - before
        report(f"flicker: {method.name}, {change.std():.3f} HU")
        return {
            strength_name(s): {
                "before": float(before.std()),
                "after": float((before + s * change).std()),
                "added": float(s * change.std()),
            }
            for s in method.strengths
        }

    def part(method: Method) -> Flicker:
        found: Flicker = store.part("flicker", method.name, method.fingerprint, lambda: compute(method))
        return found

    return {method.name: part(method) for method in methods}
