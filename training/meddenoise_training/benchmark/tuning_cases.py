"""On what the classical peers are tuned: validation slices under the kinds of noise that the benchmark has."""

from __future__ import annotations

from pathlib import Path

from meddenoise_training.benchmark.cases import body_of, patient_cases, square_around
from meddenoise_training.benchmark.conditions import CONDITIONS, condition_noise
from meddenoise_training.benchmark.noisy import with_noise
from meddenoise_training.peers import NoiseKnowledge, TuningCase

#: Every kind of noise at two strengths, since a peer's strength follows the SD; what is unseen stays so.
_CONDITIONS = ("white 25", "white 50", "dose 50 % smooth", "dose 10 % smooth", "dose 50 % sharp", "dose 10 % sharp")
#: Side of the part of a slice that is looked at, pixels: hundreds of settings are tried on it.
_SIDE = 256


def tuning_cases(prepared: Path, patients: int, *, views: int = 180) -> list[TuningCase]:
    """Return the middle of validation slices with noise, grouped by its kind.

    :param patients: at most; the cleanest are taken, one slice of each: a reference's own noise asks for weak filters.
    :raises InputError: when the folder has no scanned validation slices.
    """
    cases = []
    for case in sorted(patient_cases(prepared, "validation", 1), key=lambda c: c.own_sd)[:patients]:
        part = square_around(body_of(case.reference), _SIDE)
        for condition in (c for c in CONDITIONS if c.name in _CONDITIONS):
            noisy = with_noise(case, condition_noise([case], condition, views=views)[0])
            known = NoiseKnowledge(noisy.sd, noisy.psd, case.pixel)
            cases.append(TuningCase(condition.group, case.reference[part], noisy.image[part], known))
    return cases
