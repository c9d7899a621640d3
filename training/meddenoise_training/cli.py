"""The command line ``meddenoise-train``: parses and prints, nothing else."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress

from meddenoise.errors import InputError, MedDenoiseError

app = typer.Typer(
    name="meddenoise-train",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Train MedDenoise weights from your own CT: prepare, fit, export. Research use only, not for diagnosis.",
)
console = Console()

Prepared = Annotated[Path, typer.Argument(help="Folder made by `prepare`.")]
Accelerator = Annotated[str, typer.Option(help="cpu, cuda or mps.")]


@app.command("prepare")
def _prepare(
    source: Annotated[
        Path,
        typer.Argument(help="Folder with train, validation and test, in each CT: DICOM, or NRRD, NIfTI, MetaImage."),
    ],
    target: Annotated[Path, typer.Argument(help="New folder for the prepared slices.")],
    split: Annotated[
        str | None, typer.Option(help="Percent of the patients, as 80,10,10, where SOURCE has no such folders.")
    ] = None,
    sources: Annotated[Path | None, typer.Option(help="TOML file: how the collections are cited.")] = None,
    slab_mm: Annotated[float, typer.Option(help="Thin training slices are averaged up to this thickness.")] = 7.5,
    synthetic: Annotated[int, typer.Option(min=0, help="Noise-free synthetic slices to add.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Of the synthetic slices and of --split.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one for each processor by default.")] = None,
    png: Annotated[Path | None, typer.Option(help="New folder for pictures of all slices, to look at.")] = None,
    window: Annotated[str, typer.Option(help="Of the pictures: centre/width, HU.")] = "50/400",
) -> None:
    """Read CT into HU slices on disk, patients kept to one split; the same command goes on after a stop."""
    from meddenoise_training.pictures import read_window
    from meddenoise_training.pool import processors
    from meddenoise_training.prepare import part_folder, prepare, read_shares

    shares, grey = read_shares(split) if split is not None else None, read_window(window)
    try:
        with _bar("Preparing") as progress:
            manifest = prepare(
                *(source, target),
                slab_mm=slab_mm,
                synthetic=synthetic,
                split=shares,
                sources=sources,
                seed=seed,
                workers=workers or processors(),
                png=png,
                window=grey,
                report=_line,
                progress=progress,
            )
    except KeyboardInterrupt:
        _line(f"Stopped; what is done is kept in {part_folder(target)}, and the same command goes on from there.")
        raise typer.Exit(130) from None
    for name, entries in manifest.splits.items():
        patients = len({e.patient for e in entries if e.kind != "synthetic"})
        made = sum(e.kind == "synthetic" for e in entries)
        _line(f"{name}: {len(entries) - made} slices of {patients} patients, {made} synthetic slices")


@app.command("bank")
def _bank(
    prepared: Prepared,
    realisations: Annotated[int, typer.Option(min=1, help="For each training slice.")] = 2,
    views: Annotated[int, typer.Option(min=2, help="Projections over half a turn.")] = 720,
    seed: Annotated[int, typer.Option(min=0, help="Of the scanners and of their noise.")] = 0,
    accelerator: Accelerator = "cpu",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one for each processor by default.")] = None,
) -> None:
    """Make low-dose noise for every training slice, in its projections; the same command goes on after a stop."""
    from meddenoise_training.manifest import read_manifest
    from meddenoise_training.noise.bank import make_bank
    from meddenoise_training.pool import processors

    try:
        with _bar("Noise") as progress:
            slices = make_bank(
                prepared,
                read_manifest(prepared),
                realisations=realisations,
                views=views,
                seed=seed,
                device=accelerator,
                workers=(workers or processors()) if accelerator == "cpu" else 1,
                progress=progress,
            )
    except KeyboardInterrupt:
        _line("Stopped; what is done is kept, and the same command goes on from there.")
        raise typer.Exit(130) from None
    _line(f"{prepared}: {realisations} realisations of low-dose noise for each of {slices} slices")


@app.command("noise")
def _noise(
    scan: Annotated[Path, typer.Argument(help="A real CT: DICOM folder or volume file.")],
    target: Annotated[Path, typer.Argument(help="New folder for the report: a picture, a table, JSON.")],
    reference: Annotated[
        Path | None, typer.Option(help="The same CT at a higher dose; the difference is its noise alone.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
) -> None:
    """Show which noise model resembles the noise of a scan."""
    from meddenoise_training.noise_report import noise_report

    report = noise_report(scan, target, reference=reference, seed=seed)
    measured = next(iter(report["rows"].values()))
    _line(
        f"{target}: {measured['sd']:.1f} HU, mean frequency {measured['mean_frequency']:.3f} cycles/pixel; "
        f"nearest model: {report['nearest']}"
    )


@app.command("clean")
def _clean(
    prepared: Prepared,
    name: Annotated[str, typer.Argument(help="Of the cleaned targets, for `fit --set data.targets=NAME`.")],
    model: Annotated[str, typer.Option(help="A shipped model, or the path of a .safetensors file.")],
    strength: Annotated[float, typer.Option(min=0, max=1, help="Share of the model's correction that is made.")] = 0.6,
    threads: Annotated[int | None, typer.Option(help="Processor threads.")] = None,
) -> None:
    """Denoise the training slices with weights that exist, for a second stage of training on cleaner targets."""
    from meddenoise_training.cleaned_targets import clean_targets
    from meddenoise_training.manifest import read_manifest

    with _bar("Cleaning") as progress:
        left = clean_targets(
            prepared,
            read_manifest(prepared),
            name,
            model=model,
            strength=strength,
            threads=threads,
            progress=progress,
        )
    _line(f"{prepared}: targets '{name}', {left:.1f} HU of noise left on average")


@app.command("fit")
def _fit(
    prepared: Prepared,
    run: Annotated[Path, typer.Argument(help="Folder of the run; the same command goes on where one stopped.")],
    config: Annotated[Path | None, typer.Option(help="TOML file, as configs/fast.toml.")] = None,
    init: Annotated[
        Path | None, typer.Option(help="Begin from these weights: a .safetensors file or the folder of another run.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Planned steps; may change on the way.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Plan as many steps as fit into this time.")] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads, of each process.")] = None,
    accelerator: Accelerator = "cpu",
    devices: Annotated[
        int | None, typer.Option(min=1, help="GPUs (on a CPU: processes) on each machine; torchrun and SLURM tell it.")
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Machines; torchrun and SLURM tell it.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", help="Override the file, as --set data.batch=16; repeatable.")
    ] = None,
) -> None:
    """Train; Ctrl-C saves, and the same command goes on."""
    import torch

    from meddenoise_training.checkpoint import read_checkpoint
    from meddenoise_training.config import load_config, parse_override
    from meddenoise_training.fit import fit, steps_within
    from meddenoise_training.processes import Processes

    if steps is not None and minutes is not None:
        raise InputError("Both --steps and --minutes plan the run; give one of them.")
    if threads is not None:
        torch.set_num_threads(threads)
    overrides: dict[str, Any] = dict(parse_override(text) for text in option or [])
    if init is not None:
        overrides["init"] = str(init)
    if steps is not None:
        overrides["fit.steps"] = steps
    processes = Processes(accelerator, devices, nodes)
    if minutes is not None:
        begun = read_checkpoint(run)
        overrides["fit.steps"] = (
            begun["config"]["fit"]["steps"]
            if begun is not None
            else steps_within(minutes, load_config(config, overrides), prepared, processes=processes, report=_line)
        )
    settings = load_config(config, overrides)
    with _bar("Training") as progress, _asked_to_stop() as asked:
        state = fit(
            settings,
            prepared,
            run,
            processes=processes,
            report=_line,
            progress=progress,
            stop=lambda: bool(asked),
        )
    planned = settings.fit.steps
    if state.step < planned and not state.out_of_patience:
        if state.fabric.is_global_zero:
            _line(f"Stopped and saved at step {state.step} of {planned}; the same command goes on from there.")
        raise typer.Exit(130)


@app.command("plot")
def _plot(run: Annotated[Path, typer.Argument(help="Folder of a run of `fit`, finished or not.")]) -> None:
    """Plot loss and validation figures of a run; `fit` does so at its end."""
    from meddenoise_training.plots import plot

    for path in plot(run):
        _line(str(path))


@app.command("benchmark")
def _benchmark(
    prepared: Prepared,
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
    slow_tasks: Annotated[bool, typer.Option("--slow-tasks", help="Filters that take seconds a slice, too.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Few slices and conditions: to look, not to report.")] = False,
    threads: Annotated[int | None, typer.Option(help="Processor threads.")] = None,
) -> None:
    """Measure weights, baselines and classical filters on the same slices; write tables and pictures.

    On one processor core: with --quick about ten minutes for all filters but BM3D and two models, else about an hour;
    BM3D (15 seconds a slice) takes one to two hours more. A second run measures only what is new.
    """
    import dataclasses

    import torch

    from meddenoise_training.benchmark.methods import baseline_method, input_itself, peer_methods, weights_method
    from meddenoise_training.benchmark.run import QUICK_PLAN, Plan, run_benchmark

    if threads is not None:
        torch.set_num_threads(threads)
    left_out: list[str] = []

    def missing(line: str) -> None:
        left_out.append(line.removeprefix("Left out: "))
        _line(line)

    names = None if peers == "all" else [name.strip() for name in peers.split(",") if name.strip() not in ("", "none")]
    methods = [
        input_itself(),
        *peer_methods(names, tuned, missing),
        *(baseline_method(run) for run in baseline or []),
        *(weights_method(str(name), strength=strength) for name in [*(model or []), *(weights or [])]),
    ]
    plan = dataclasses.replace(QUICK_PLAN if quick else Plan(), split=split, slow_tasks=slow_tasks)
    if slices is not None:
        plan = dataclasses.replace(plan, slices=slices)
    run_benchmark(prepared, out, methods, plan, left_out=left_out, report=_line)
    _line(f"{out / 'BENCHMARK.md'}")


@app.command("tune-peers")
def _tune_peers(
    prepared: Prepared,
    target: Annotated[Path, typer.Argument(help="JSON file for `benchmark --tuned`.")],
    peers: Annotated[str, typer.Option(help="Classical filters: all, or names with commas between.")] = "all",
    patients: Annotated[
        int, typer.Option(min=1, help="Validation patients, at most: the cleanest, a slice of each.")
    ] = 6,
    threads: Annotated[int | None, typer.Option(help="Processor threads.")] = None,
) -> None:
    """Find the best parameters of each classical filter on validation slices, for each kind of noise.

    About ten minutes on one processor core; BM3D has nothing to tune.
    """
    import torch

    from meddenoise_training.benchmark.tuning_cases import tuning_cases
    from meddenoise_training.peers import find_peers, tune, use_threads, write_tuned

    if threads is not None:
        torch.set_num_threads(threads)
    use_threads(torch.get_num_threads())
    names = None if peers == "all" else [name.strip() for name in peers.split(",")]
    chosen = find_peers(names, None, _line)
    write_tuned(target, tune(chosen, tuning_cases(prepared, patients), _line))
    _line(f"{target}")


@app.command("export")
def _export(
    run: Annotated[Path, typer.Argument(help="Folder of a run of `fit`.")],
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write; its card goes beside it as .md.")],
    card: Annotated[Path, typer.Option(help="TOML file with the card's text, as your copy of configs/fast-card.toml.")],
    benchmark: Annotated[
        Path | None, typer.Option(help="benchmark.json that measured these very weights: its figures go into the card.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a target that exists.")] = False,
    threads: Annotated[int | None, typer.Option(help="Processor threads.")] = None,
) -> None:
    """Measure a run's averaged weights and write them with their model card."""
    import torch

    from meddenoise_training.export import export

    if threads is not None:
        torch.set_num_threads(threads)
    _line(f"{target}: SHA-256 {export(run, target, card, benchmark=benchmark, overwrite=overwrite)}")


@app.command("inspect")
def _inspect(
    path: Annotated[Path, typer.Argument(help="A .safetensors file, or the folder of a run of `fit`.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> None:
    """Show the card of a weights file; of a run its step, best figures and configuration."""
    from meddenoise.cli.reporting import as_json as print_json
    from meddenoise_training.inspection import inspect

    found = inspect(path)
    if as_json:
        print_json(found.values)
    elif console.is_terminal:
        console.print(Markdown(found.page))
    else:
        _line(found.page)


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function ``(done, total)`` that moves a bar, where the output is a terminal."""
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """Collect Ctrl-C and `kill` in the list returned instead of ending at once, so that the run can be saved."""
    asked: list[int] = []
    before = {
        number: signal.signal(number, lambda received, _: asked.append(received))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _line(text: str) -> None:
    if console.is_terminal:
        console.print(text, highlight=False, markup=False)
    else:
        print(text, flush=True)


def main() -> None:
    """Run a command; what a user can do something about is one line and exit code 1."""
    try:
        app()
    except MedDenoiseError as error:
        Console(stderr=True).print(f"Error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(1)
