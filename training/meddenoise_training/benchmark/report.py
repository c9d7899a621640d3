"""``BENCHMARK.md``: what was measured on what, in tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from meddenoise.metrics import Interval
from meddenoise_training.benchmark.cases import TRUTH_SPACING_MM
from meddenoise_training.benchmark.conditions import CONDITIONS
from meddenoise_training.benchmark.evaluation import ceiling_db
from meddenoise_training.benchmark.full_strength import is_double
from meddenoise_training.benchmark.images import strength_name
from meddenoise_training.benchmark.methods import Method
from meddenoise_training.benchmark.observers import shown
from meddenoise_training.benchmark.store import write_beside
from meddenoise_training.benchmark.summary import Source, removed_share
from meddenoise_training.benchmark.targets import QUARTER, REPORTED, Measured, Row, figures_to_reach
from meddenoise_training.tables import table

REPORT_NAME = "BENCHMARK.md"
#: At which the noise-reduction profile is told, cycles/pixel: from the coarse to the fine.
_FREQUENCIES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
_GROUP_TITLES = {"input": "input", "classical": "classical", "baseline": "network", "ours": "**ours**"}
_SOURCES = {
    "patients": "Test patients (the reference is a scan with noise of its own)",
    "truth": "Numerical abdomens (the reference is the truth)",
}


def write_report(
    out: Path, result: dict[str, Any], methods: Sequence[Method], pictures: Sequence[str]
) -> dict[str, Any]:
    """Write the page.

    :param result: as ``benchmark.json`` has it, with models at full strength as methods of their own
        (:func:`~meddenoise_training.benchmark.full_strength.with_full_strength`); ``methods`` likewise.
    :param pictures: file names beside the page, in order.
    :returns: the tables of the figures to reach, by model.
    """
    measured = Measured(
        Source(result["images"]["patients"], methods),
        Source(result["images"]["truth"], methods),
        result["tasks"],
        result["flicker"],
        list(methods),
    )
    reached = {
        m.name: figures_to_reach(m, measured, at_default=not is_double(m.name))
        for m in methods
        if m.group == "ours" and m.passes == 1
    }
    lines = [
        *_head(result),
        *_reached(reached),
        *_images("patients", measured.patients),
        *_images("truth", measured.truth),
        *_bias(measured, methods),
        *_noisy_scans(result["noisy_scans"], methods),
        *_flicker(result["flicker"], methods),
        *_tasks(result["tasks"], methods),
        *_strengths(measured, result["tasks"], [m for m in methods if not is_double(m.name)]),
        *_costs([m for m in result["methods"] if not is_double(m["name"])]),
        *_pictures(pictures),
    ]
    write_beside(out / REPORT_NAME, lambda path: path.write_text("\n".join(lines) + "\n", "utf-8"))
    return {name: [asdict(row) for row in rows] for name, rows in reached.items()}


def _head(result: dict[str, Any]) -> list[str]:
    plan, cases = result["plan"], result["cases"]
    patients = len({c["patient"] for c in cases["patients"]})
    own = [c["own_sd"] for c in cases["patients"]]
    pixels = [c["pixel"] for c in cases["patients"]]
    effort, at_edge = plan["effort"], result.get("tuned_at_edge")
    return [
        "# Benchmark",
        "",
        "Research use only, not for diagnosis. Made by `meddenoise-train benchmark`; every figure by slice is in "
        "`benchmark.json`.",
        "",
        f"- **Slices**: {len(cases['patients'])} of {patients} patients of the split `{plan['split']}` (up to "
        f"{plan['slices']} of each, from the cleaner half; noise of their own {min(own):.0f} to {max(own):.0f} HU), "
        f"{len(cases['truth'])} of as many numerical abdomens, "
        f"{len(cases['noisy scans'])} very noisy scans as they are.",
        "- **Noise**: white; or made in the projections of each slice (parallel beam, from the reconstructed slice, "
        f"{plan['views']} views) with a smooth kernel (mean frequency 0.20 cycles/pixel), a sharp one (0.32) at "
        "the same photons, and one that no training draws (Ram-Lak, cut off). Patients get what the dose lacks beyond "
        "their own noise, abdomens all the noise of that dose (12 HU at full dose).",
        "- **Known to the peers**: the SD of the noise added to each slice (soft tissue) and, where they use it, its "
        "power spectrum. Ours is told nothing.",
        "- **Tuned peers** have the parameters of the smallest RMSE against validation patients, whose references are "
        "noisy themselves. In the abdomens, judged by the truth, that is a handicap under smooth noise: non-local "
        "means tuned on an abdomen gain about 1 dB there."
        + (
            f" Best at the edge of what was tried, so that more or less might be better still: {_edges(at_edge)}."
            if at_edge
            else ""
        ),
        "- **Figures**: RMSE in HU within the body; PSNR and SSIM in the window C50/W400 over the slice; VIF as "
        "ldct-benchmark has it. Each is the mean over patients of their slices' mean; intervals are 95 %, bootstrap "
        f"over patients ({patients} of them): too narrow where they are few, of three patients such an interval holds "
        "the true mean in 75 % of cases, of ten in 90 %; of one it has no width and tells nothing.",
        "- **Ceiling**: against a patient's own full-dose slice even a perfectly clean image gains only "
        "10 log10(1/a - 1) dB in PSNR at dose fraction a: 0 dB at 50 %, 4.8 at 25 %, 9.5 at 10 % "
        "(and 10 log10(1/a) if it kept exactly the reference's noise). Truth has no ceiling.",
        "- **Tasks** at a quarter of the dose, smooth kernel: "
        f"transfer function from {effort['discs']} images of discs, "
        f"lesions in {effort['uniform']} images of a cylinder and {effort['patient']} of each patient slice. "
        "Intervals are a jackknife over batches: of places for detectability (in the cylinder, of images), of regions "
        "for the NPS shift, of images for the transfer function; they contain no scatter between patients."
        + (
            f" Patients' pixels are {min(pixels):.2f} to {max(pixels):.2f} mm, and their lesions are all seen through "
            "one template, that of the mean pixel."
            if max(pixels) > min(pixels)
            else ""
        ),
        *_several_slices([m for m in result["methods"] if m["slices"] > 1 and not is_double(m["name"])]),
        f"- **Software**: {', '.join(f'{k} {v}' for k, v in result['software'].items())}.",
        # at best quality, without a digest of its own, the weights are the same
        *(f"- **{m['name']}**: {m['origin']}." for m in result["methods"] if m["weights"] and not is_double(m["name"])),
        *(f"- Left out: {line}" for line in result["left_out"]),
        "",
    ]


def _several_slices(methods: Sequence[dict[str, Any]]) -> list[str]:
    if not methods:
        return []
    names = ", ".join(f"{m['name']} ({m['slices']})" for m in methods)
    return [
        f"- **Several slices at the entrance**: {names}. Their neighbours are those of the series, or of the abdomen "
        f"{TRUTH_SPACING_MM:g} mm away, under the same kind of noise, which slices share as far as they overlap; where "
        "a series ends, the last slice under other noise. Discs and lesions stand in all of them, as rods."
    ]


def _edges(at_edge: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{peer} ({'; '.join(where)})" for peer, where in at_edge.items())


def _reached(reached: dict[str, list[Row]]) -> list[str]:
    lines = []
    for name, rows in reached.items():
        lines += [
            f"## Figures to reach: {name}",
            "",
            *table(
                ["figure", "target", "test patients", "truth, phantom", "reached"],
                [[r.figure, r.target, r.patients, r.truth, _verdict(r)] for r in rows],
            ),
            "",
        ]
    return lines


def _verdict(row: Row) -> str:
    if row.reached is None:
        return "not decided" if row.measured and row.target != REPORTED else "-"
    return "yes" if row.reached else "**no**"


def _images(name: str, source: Source) -> list[str]:
    if not source.table:
        return []
    lines = [f"## {_SOURCES[name]}", ""]
    conditions = [c for c in CONDITIONS if c.name in source.table]

    for title, figure, shape in (
        ("RMSE in the body, HU", "rmse_body", "{:.2f}"),
        ("PSNR, dB, C50/W400", "psnr", "{:.2f}"),
        ("SSIM, C50/W400", "ssim", "{:.4f}"),
        ("VIF", "vif", "{:.3f}"),
        ("SD removed", removed_share, "{:.0%}"),
    ):
        rows = [
            [m.name, *(_shown(source.group_mean([c.name], m.name, figure), shape) for c in conditions)]
            for m in source.methods
        ]
        lines += [f"### {title}", "", *table(["method", *(c.name for c in conditions)], rows), ""]
    if name == "patients":
        gains = [(c.name, ceiling_db(c.dose)) for c in conditions if c.dose < 1]
        lines += [
            "A perfectly clean image would gain over the input, dB: "
            + ", ".join(f"{condition} {gain:+.1f}" for condition, gain in gains if gain is not None)
            + ".",
            "",
        ]
    return lines


def _bias(measured: Measured, methods: Sequence[Method]) -> list[str]:
    lines = []
    for title, source in (
        ("numerical abdomens", measured.truth),
        ("test patients, by HU of the smoothed slice", measured.patients),
    ):
        conditions = [c.name for c in CONDITIONS if c.name in source.table]
        found = {m.name: source.tissues(conditions, m.name) for m in methods}
        tissues = list(dict.fromkeys(t for by in found.values() for t in by))
        rows = [[name, *(_shown(by.get(t), "{:+.2f}") for t in tissues)] for name, by in found.items()]
        lines += [
            f"## HU bias by tissue, {title}",
            "",
            "Mean of result less reference, HU; of all conditions the one furthest from 0, with the 95 % interval "
            "under that one alone, which knows nothing of its being chosen.",
            "",
            *table(["method", *tissues], rows),
            "",
        ]
    return lines


def _noisy_scans(noisy: dict[str, Any], methods: Sequence[Method]) -> list[str]:
    rows = []
    for m in methods:
        found = [row["strengths"][strength_name(m.strength)] for row in noisy.get(m.name, [])]
        shares = [s for s in map(removed_share, found) if s is not None]
        before = [f["sd_before"] for f in found if f["sd_before"] is not None]
        structure = [f["structure"] for f in found if f["structure"] is not None]
        rows.append(
            [
                m.name,
                _mean(before, "{:.1f}"),
                _mean(shares, "{:.0%}"),
                _mean(structure, "{:.3f}"),
                _mean([f["pattern"] for f in found], "{:.3f}"),
            ]
        )
    return [
        "## Really noisy scans, as they are",
        "",
        "No reference: the blind noise estimate before and after, and whether what was removed shows anatomy "
        "(its correlation with the edges of the image; 0: nothing but noise was removed).",
        "",
        *table(["method", "SD before, HU", "SD removed", "residual structure", "periodic pattern, HU"], rows),
        "",
    ]


def _flicker(flicker: dict[str, Any], methods: Sequence[Method]) -> list[str]:
    if not flicker:
        return []
    found = [(m.name, flicker[m.name][strength_name(m.strength)]) for m in methods]
    return [
        "## Slice to slice",
        "",
        "Neighbouring slices of a scan as they are: SD of the difference between their means within the body, and SD "
        "of what the method adds to it (flicker: 0 if it moves no slice against the next).",
        "",
        *table(
            ["method", "input, HU", "result, HU", "added, HU"],
            [[name, *(f"{f[key]:.3f}" for key in ("before", "after", "added"))] for name, f in found],
        ),
        "",
    ]


def _tasks(tasks: dict[str, Any], methods: Sequence[Method]) -> list[str]:
    done = [m for m in methods if m.name in tasks["discs"]]
    if not done:
        return []
    base = tasks["uniform"]["input"]["1"]["texture"] if "input" in tasks["uniform"] else None
    texture_rows, reduction_rows = [], []
    for m in done:
        own = tasks["uniform"][m.name][strength_name(m.strength)]["texture"]
        discs = tasks["discs"][m.name][strength_name(m.strength)]
        texture_rows.append(
            [
                m.name,
                f"{own['sd']:.1f}",
                "-" if base is None else f"{1 - own['sd'] / base['sd']:.0%}",
                f"{own['mean_frequency']:.3f}",
                _with_interval(own["shift"], "{:+.1%}"),
                *(_ratio(discs.get(c)) for c in ("30", "100", "900")),
            ]
        )
        reduction_rows.append([m.name, *(_at(own["frequency"], own["reduction"], f) for f in _FREQUENCIES)])
    lines = [
        "## Texture and resolution, quarter dose, smooth kernel",
        "",
        "NPS (AAPM TG-233) in uniform tissue, its 1-D mean frequency in cycles/pixel; the frequency where the transfer "
        "function of discs falls to 50 %, as a ratio to the input's measured on the same images (95 % interval).",
        "",
        *table(
            ["method", "SD, HU", "removed", "mean frequency", "shift", "TTF50, 30 HU", "100 HU", "900 HU"], texture_rows
        ),
        "",
        "### Noise-reduction profile",
        "",
        "log10 of the NPS before over the NPS after, by frequency in cycles/pixel: 1 where the noise power fell to a "
        "tenth; the same at all frequencies where the texture is kept.",
        "",
        *table(["method", *(f"{f:g}" for f in _FREQUENCIES)], reduction_rows),
        "",
    ]
    for background, title in (("uniform", "uniform background"), ("patient", "patients' soft tissue")):
        parts = tasks[background]
        present = [m for m in methods if m.name in parts]
        if not present:
            continue
        lesions = list(parts[present[0].name][strength_name(present[0].strength)]["lesions"])
        for observer, name in (("cho", "Laguerre-Gauss CHO"), ("npw", "NPW")):
            rows = [
                [m.name, *(_auc(parts[m.name][strength_name(m.strength)]["lesions"][le][observer]) for le in lesions)]
                for m in present
            ]
            measured = any(cell != "-" for row in rows for cell in row[1:])
            shown_rows = (
                table(["method", *lesions], rows) if measured else ["Too few regions to train the observer on."]
            )
            lines += [f"## Detectability, {title}: AUC of the {name}", "", *shown_rows, ""]
    return lines


def _strengths(measured: Measured, tasks: dict[str, Any], methods: Sequence[Method]) -> list[str]:
    """Return for each model of ours what its strength trades: by this the default is chosen."""
    lines = []
    for m in methods:
        if m.group != "ours" or m.passes > 1:
            continue
        rows = []
        for s in m.strengths:
            key = strength_name(s)
            row = [key]
            for source in (measured.patients, measured.truth):
                row += [
                    _shown(source.mean(QUARTER, m.name, "rmse_body", s), "{:.2f}"),
                    _shown(source.mean(QUARTER, m.name, "psnr", s), "{:.2f}"),
                ]
            reduction = measured.truth.sd_reduction(measured.truth.conditions_named(QUARTER), m.name, s)
            row.append("-" if reduction is None else f"{reduction.value:.0%}")
            uniform = tasks["uniform"].get(m.name, {}).get(key)
            if uniform is not None:
                shift = uniform["texture"]["shift"]
                row += [_with_interval(shift, "{:+.1%}"), _ratio(tasks["discs"][m.name][key].get("30"))]
            else:
                row += ["-", "-"]
            for background in ("uniform", "patient"):
                part = tasks[background].get(m.name, {}).get(key)
                seen = [v["cho"]["auc"][0] for v in part["lesions"].values() if v["cho"] is not None] if part else []
                row.append(_mean(seen, "{:.3f}"))
            rows.append(row)
        lines += [
            f"## Strength: {m.name}, quarter dose, smooth kernel",
            "",
            *table(
                [
                    "strength",
                    "RMSE patients",
                    "PSNR patients",
                    "RMSE truth",
                    "PSNR truth",
                    "SD removed (truth)",
                    "NPS shift",
                    "TTF50, 30 HU",
                    "CHO AUC uniform",
                    "CHO AUC patients",
                ],
                rows,
            ),
            "",
        ]
    return lines


def _costs(methods: list[dict[str, Any]]) -> list[str]:
    nlm = next((m["milliseconds"] for m in methods if m["name"] == "non-local means"), None)
    rows = [
        [
            m["name"],
            _GROUP_TITLES[m["group"]],
            "-" if m["parameters"] is None else f"{m['parameters'] / 1e6:.3f} M",
            _shown(m["gflop"], "{:.1f}"),
            m["precision"] or "-",
            f"{m['milliseconds']:.0f}",
            "-" if nlm is None else f"{m['milliseconds'] / nlm:.2f}",
        ]
        for m in methods
    ]
    return [
        "## Cost of a slice",
        "",
        "Timed one after the other in one run on the same slice, on the processor; only the ratios carry over.",
        "",
        *table(["method", "kind", "parameters", "GFLOP", "precision", "ms", "of non-local means"], rows),
        "",
    ]


def _pictures(pictures: Iterable[str]) -> list[str]:
    return ["## Pictures", "", *(f"![{name}]({name})\n" for name in pictures)]


def _shown(value: float | Interval | None, shape: str) -> str:
    if isinstance(value, Interval):
        return shown(value, shape)
    return "-" if value is None else shape.format(value)


def _mean(values: Sequence[float], shape: str) -> str:
    return _shown(float(np.mean(values)) if len(values) else None, shape)


def _ratio(found: dict[str, Any] | None) -> str:
    return _with_interval(None if found is None else found["ratio"], "{:.3f}")


def _at(frequency: Sequence[float], values: Sequence[float | None], where: float) -> str:
    """Return the value at the frequency nearest to one asked for."""
    return _shown(values[int(np.argmin(np.abs(np.subtract(frequency, where))))], "{:.2f}")


def _auc(found: dict[str, Any] | None) -> str:
    return _with_interval(None if found is None else found["auc"], "{:.3f}")


def _with_interval(found: list[float] | None, shape: str) -> str:
    return "-" if found is None else shown(Interval(*found), shape)
