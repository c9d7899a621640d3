"""The benchmark from end to end: cases, conditions, tasks, costs, then the report."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from meddenoise.errors import InputError
from meddenoise_training.benchmark.cases import (
    TRUTH_SEEDS,
    Case,
    Image,
    neighbours,
    noisiest_cases,
    patient_cases,
    truth_cases,
)
from meddenoise_training.benchmark.conditions import CONDITIONS, QUICK, condition_noise
from meddenoise_training.benchmark.cost import measure_costs
from meddenoise_training.benchmark.flicker import measure_flicker
from meddenoise_training.benchmark.full_strength import with_full_strength
from meddenoise_training.benchmark.grid import write_grids
from meddenoise_training.benchmark.images import measure_images, measure_noisy_scans
from meddenoise_training.benchmark.methods import Method
from meddenoise_training.benchmark.noisy import with_noise
from meddenoise_training.benchmark.plots import write_plots
from meddenoise_training.benchmark.report import write_report
from meddenoise_training.benchmark.store import Store, write_beside
from meddenoise_training.benchmark.tasks import Effort, measure_tasks
from meddenoise_training.data_identity import prepared_identity
from meddenoise_training.manifest import read_manifest
from meddenoise_training.peers import use_threads

RESULT_NAME = "benchmark.json"
RESULT_FORMAT = 4


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    :param split: of the prepared folder.
    :param slices: of each patient, at most.
    :param bodies: numerical abdomens, by seed.
    :param size: of their slices, pixels.
    :param conditions: names, of :data:`CONDITIONS`.
    :param noisy_scans: scans without reference.
    :param neighbours: slices of one series, through which flicker is sought.
    :param effort: of the tasks.
    :param slow_tasks: slow methods do the tasks, too.
    :param views: of the noise's projections.
    """

    split: str = "test"
    slices: int = 3
    bodies: tuple[int, ...] = TRUTH_SEEDS
    size: int = 512
    conditions: tuple[str, ...] = tuple(c.name for c in CONDITIONS)
    noisy_scans: int = 4
    neighbours: int = 12
    effort: Effort = field(default_factory=Effort)
    slow_tasks: bool = False
    views: int = 360  # more changes nothing: an image's own noise hardly reaches as far as its views' sampling


#: Minutes instead of hours: to see that everything works, not to be reported.
QUICK_PLAN = Plan(
    slices=1,
    bodies=TRUTH_SEEDS[:2],
    conditions=QUICK,
    noisy_scans=2,
    neighbours=6,
    effort=Effort(discs=10, uniform=10, patient=4),
    views=180,
)


def run_benchmark(
    prepared: Path,
    out: Path,
    methods: Sequence[Method],
    plan: Plan,
    *,
    left_out: Sequence[str] = (),
    at_edge: Mapping[str, Sequence[str]] | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure all methods and write ``benchmark.json``, ``BENCHMARK.md`` and pictures into a folder.

    What an earlier run into the same folder finished is kept, as long as plan, data, weights and settings are the same.

    :param left_out: one line for each method that was asked for and cannot be used here; they go into the report.
    :param at_edge: of tuned peers, what is best at the edge of its grid:
        :func:`~meddenoise_training.peers.tuned_at_edge`; the report names those that are measured.
    :returns: what is in ``benchmark.json``.
    :raises InputError: when the prepared folder has no such split, or methods share a name.
    :raises OutputError: when something cannot be written.
    """
    _refuse_doubles(methods)
    use_threads(torch.get_num_threads())
    manifest = read_manifest(prepared)
    store = Store(out, {"prepared": manifest.created, "size": plan.size, "plan": _measuring(plan)})
    patients, truths = (
        patient_cases(prepared, plan.split, plan.slices),
        truth_cases(size=plan.size, seeds=plan.bodies),
    )
    scans = noisiest_cases(prepared, [s for s in ("validation", "test") if manifest.splits.get(s)], plan.noisy_scans)
    conditions = [c for c in CONDITIONS if c.name in plan.conditions]
    images = {
        source: measure_images(source, cases, conditions, methods, store, report, views=plan.views)
        for source, cases in (("patients", patients), ("truth", truths))
    }
    noisy = measure_noisy_scans(scans, methods, store, report)
    flicker = measure_flicker(neighbours(prepared, plan.split, plan.neighbours), methods, store, report)
    quick_enough = [m for m in methods if plan.slow_tasks or not m.slow]
    tasks = measure_tasks(patients, quick_enough, store, report, effort=plan.effort, views=plan.views)
    edges = at_edge or {}
    result = {
        "format": RESULT_FORMAT,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "manifest": prepared_identity(prepared),
        "plan": asdict(plan),
        "software": _software(),
        "cases": {
            name: [_described(c) for c in cases]
            for name, cases in (("patients", patients), ("truth", truths), ("noisy scans", scans))
        },
        "methods": _costs(methods, truths[0], report),
        "left_out": [*left_out, *(f"{m.name}: no tasks, too slow for them." for m in methods if m not in quick_enough)],
        "tuned_at_edge": {m.name: list(edges[m.name]) for m in methods if m.name in edges},
        "images": images,
        "noisy_scans": noisy,
        "flicker": flicker,
        "tasks": tasks,
    }
    shown, doubled = with_full_strength(methods, result)
    drawn = [m for m in shown if m.passes == 1]  # with the best quality as well no plot could be read
    pictures = write_plots(out, doubled, drawn)
    pictures += write_grids(out, [truths[0], patients[0]], drawn, store, views=plan.views)
    result["figures_to_reach"] = write_report(out, doubled, shown, pictures)
    text = json.dumps(result, indent=1, allow_nan=False)
    write_beside(out / RESULT_NAME, lambda path: path.write_text(text, "utf-8"))
    return result


def _refuse_doubles(methods: Sequence[Method]) -> None:
    names = [m.name for m in methods]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"Two methods are called {', '.join(twice)}; rename one of the weights files or run folders.")


def _measuring(plan: Plan) -> dict[str, Any]:
    """Return what of the plan decides a part's figures: not which conditions or methods there are beside it."""
    values = asdict(plan)
    return {
        name: values[name] for name in ("split", "slices", "bodies", "noisy_scans", "neighbours", "effort", "views")
    }


def _costs(methods: Sequence[Method], case: Case, report: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return the methods with their costs, timed one after the other on the same slice, in this run."""
    condition = next(c for c in CONDITIONS if c.name == "white 25")

    def noise(offset: int) -> Image:
        return np.asarray(condition_noise([case], condition, offset)[0])

    # Neighbours are made before a method is timed that looks at them.
    noisy = with_noise(case, noise(0), noise).with_neighbours(max(m.slices for m in methods) // 2)
    costs = measure_costs(methods, case, noisy)
    report(f"timed on one slice of {case.reference.shape}, {torch.get_num_threads()} threads")
    return [
        {
            "name": m.name,
            "group": m.group,
            "strength": m.strength,
            "fingerprint": m.fingerprint,
            "weights": m.weights,
            "origin": m.origin,
            "slices": m.slices,
            "precision": m.precision,
            **asdict(costs[m.name]),
        }
        for m in methods
    ]


def _described(case: Case) -> dict[str, Any]:
    return {"name": case.name, "patient": case.patient, "pixel": case.pixel, "own_sd": case.own_sd}


def _software() -> dict[str, Any]:
    packages = ("meddenoise", "meddenoise-training", "torch", "numpy", "scikit-image", "SimpleITK", "torchmetrics")
    return {
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        **{package: version(package) for package in packages},
    }
