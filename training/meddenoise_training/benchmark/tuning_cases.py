"""On what the classical peers are tuned: validation slices under the kinds of noise that the benchmark has."""

from __future__ import annotations

from pathlib import Path

from meddenoise_training.benchmark.cases import patient_cases
from meddenoise_training.benchmark.conditions import CONDITIONS, condition_noise, same_scan, with_noise
from meddenoise_training.peers import NoiseKnowledge, TuningCase

#: Every kind of noise at two strengths, since a peer's strength follows the SD; what is unseen stays so.
_CONDITIONS = ("white 25", "white 50", "dose 50 % smooth", "dose 10 % smooth", "dose 50 % sharp", "dose 10 % sharp")


def tuning_cases(prepared: Path, slices: int, *, views: int = 360) -> list[TuningCase]:
    """Return validation slices with noise, grouped by its kind.

    :param slices: of each patient, at most.
    :raises InputError: when the folder has no scanned validation slices.
    """
    cases = []
    for scan in same_scan(patient_cases(prepared, "validation", slices)):
        for condition in (c for c in CONDITIONS if c.name in _CONDITIONS):
            for case, noise in zip(scan, condition_noise(scan, condition, views=views), strict=True):
                noisy = with_noise(case, noise)
                known = NoiseKnowledge(noisy.sd, noisy.psd, case.pixel)
                cases.append(TuningCase(condition.group, case.reference, noisy.image, known))
    return cases
