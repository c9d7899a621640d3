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
        Path, typer.Argument(help="Folder with train, validation and test, in each a folder of DICOM files a series.")
    ],
    target: Annotated[Path, typer.Argument(help="New folder for the prepared slices.")],
    split: Annotated[
        str | None, typer.Option(help="Percent of the patients, as 80,10,10, where SOURCE has no such folders.")
    ] = None,
    sources: Annotated[Path | None, typer.Option(help="TOML file: how the collections are cited.")] = None,
    slab_mm: Annotated[float, typer.Option(help="Thin training slices are averaged up to this thickness.")] = 7.5,
    synthetic: Annotated[int, typer.Option(help="Noise-free synthetic slices to add.")] = 400,
    seed: Annotated[int, typer.Option(help="Of the synthetic slices and of --split.")] = 0,
) -> None:
    """Read CT into HU slices on disk, patients kept to one split."""
    from meddenoise_training.prepare import prepare, read_shares

    shares = read_shares(split) if split is not None else None
    manifest = prepare(
        source, target, slab_mm=slab_mm, synthetic=synthetic, split=shares, sources=sources, seed=seed, report=_line
    )
    for name, entries in manifest.splits.items():
        patients = len({e.patient for e in entries if e.kind != "synthetic"})
        made = sum(e.kind == "synthetic" for e in entries)
        _line(f"{name}: {len(entries) - made} slices of {patients} patients, {made} synthetic slices")


@app.command("bank")
def _bank(
    prepared: Prepared,
    realisations: Annotated[int, typer.Option(min=1, help="For each training slice.")] = 2,
    views: Annotated[int, typer.Option(min=2, help="Projections over half a turn.")] = 720,
    seed: Annotated[int, typer.Option(help="Of the scanners and of their noise.")] = 0,
    accelerator: Accelerator = "cpu",
    threads: Annotated[int | None, typer.Option(help="Processor threads.")] = None,
) -> None:
    """Make low-dose noise for every training slice, in its projections; the same command goes on after a stop."""
    import torch

    from meddenoise_training.manifest import read_manifest
    from meddenoise_training.noise.bank import make_bank

    if threads is not None:
        torch.set_num_threads(threads)
    with _bar("Noise") as progress:
        slices = make_bank(
            prepared,
            read_manifest(prepared),
            realisations=realisations,
            views=views,
            seed=seed,
            device=accelerator,
            progress=progress,
        )
    _line(f"{prepared}: {realisations} realisations of low-dose noise for each of {slices} slices")


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


@app.command("export")
def _export(
    run: Annotated[Path, typer.Argument(help="Folder of a run of `fit`.")],
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write; its card goes beside it as .md.")],
    card: Annotated[Path, typer.Option(help="TOML file with the card's text, as your copy of configs/fast-card.toml.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a target that exists.")] = False,
    threads: Annotated[int | None, typer.Option(help="Processor threads.")] = None,
) -> None:
    """Measure a run's averaged weights and write them with their model card."""
    import torch

    from meddenoise_training.export import export

    if threads is not None:
        torch.set_num_threads(threads)
    _line(f"{target}: SHA-256 {export(run, target, card, overwrite=overwrite)}")


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
