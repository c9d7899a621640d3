"""``meddenoise-train benchmark``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meddenoise.folder_lock import locked
from meddenoise_training.cli import options
from meddenoise_training.cli.reporting import line


def benchmark(
    prepared: options.Prepared,
    out: Annotated[Path, typer.Argument(help="Folder of the report; the same command goes on where one stopped.")],
    weights: Annotated[
        list[Path] | None, typer.Option(help="A .safetensors file to measure, named by the file; repeatable.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="A shipped model to measure; repeatable.")] = None,
    baseline: Annotated[
        list[Path] | None, typer.Option(help="Folder of a run of `fit`, named by the folder; repeatable.")
    ] = None,
    peers: Annotated[str, typer.Option(help="Classical filters: all, none, or names with commas between.")] = "all",
    tuned: Annotated[Path | None, typer.Option(help="JSON file of `tune-peers`.")] = None,
    split: Annotated[str, typer.Option(help="Of the prepared folder.")] = "test",
    slices: Annotated[int | None, typer.Option(min=1, help="Of each patient, at most; 3 by default.")] = None,
    strength: Annotated[
        float | None, typer.Option(min=0.05, max=1, help="Of our models, in the tables; by default each card's.")
    ] = None,
    best_quality: Annotated[
        bool,
        typer.Option(
            "--best-quality", help="Our models also with the mean of eight flips and rotations, 8 x the time."
        ),
    ] = False,
    slow_tasks: Annotated[bool, typer.Option("--slow-tasks", help="Filters that take seconds a slice, too.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Few slices and conditions: to look, not to report.")] = False,
    threads: options.Threads = None,
) -> None:
    """Measure weights, baselines and classical filters on the same slices; write tables and pictures.

    On one processor core: with --quick about ten minutes for all filters but BM3D and two models, else about an hour;
    BM3D (7 to 15 seconds a slice) takes half an hour to an hour more. A second run measures only what is new.
    """
    import dataclasses

    from meddenoise_training.benchmark.methods import baseline_method, input_itself, peer_methods, weights_method
    from meddenoise_training.benchmark.run import QUICK_PLAN, Plan, run_benchmark
    from meddenoise_training.peers import tuned_at_edge

    options.set_torch_threads(threads)
    left_out: list[str] = []

    def missing(sentence: str) -> None:
        left_out.append(sentence.removeprefix("Left out: "))
        line(sentence)

    names = None if peers == "all" else [name.strip() for name in peers.split(",") if name.strip() not in ("", "none")]
    methods = [
        input_itself(),
        *peer_methods(names, tuned, missing),
        *(baseline_method(run) for run in baseline or []),
        *(
            weights_method(str(name), strength=strength, quality=quality)
            for name in [*(model or []), *(weights or [])]
            for quality in (("standard", "best") if best_quality else ("standard",))
        ),
    ]
    plan = dataclasses.replace(QUICK_PLAN if quick else Plan(), split=split, slow_tasks=slow_tasks)
    if slices is not None:
        plan = dataclasses.replace(plan, slices=slices)
    at_edge = tuned_at_edge(tuned) if tuned else None
    with locked(out):
        run_benchmark(prepared, out, methods, plan, left_out=left_out, at_edge=at_edge, report=line)
    line(f"{out / 'BENCHMARK.md'}")
