"""The command line ``meddenoise-train``: parses and prints, nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from meddenoise.errors import MedDenoiseError
from rich.console import Console
from rich.progress import Progress

app = typer.Typer(help="Train MedDenoise weights from your own CT.", no_args_is_help=True, add_completion=True)
console = Console()


@app.command()
def prepare(
    source: Annotated[
        Path, typer.Argument(help="Folder of train/, validation/, test/ with a folder of DICOM files for each series.")
    ],
    target: Annotated[Path, typer.Argument(help="New folder for the prepared slices.")],
    slab_mm: Annotated[
        float, typer.Option(help="Average thin training slices up to this thickness, mm; 0: never.")
    ] = 7.5,
    synthetic: Annotated[int, typer.Option(help="Noise-free synthetic slices to add.")] = 400,
    split: Annotated[
        str | None, typer.Option(help="Where the folders do not say: percent of patients, as 80,10,10.")
    ] = None,
    sources: Annotated[
        Path | None, typer.Option(help="TOML file that says how the collections are to be cited.")
    ] = None,
    seed: Annotated[int, typer.Option(help="For synthetic slices and --split.")] = 0,
) -> None:
    """Read CT from DICOM into memory-mapped HU slices."""
    from meddenoise_training.prepare import prepare, read_shares

    manifest = prepare(
        source,
        target,
        slab_mm=slab_mm,
        synthetic=synthetic,
        split=read_shares(split) if split else None,
        sources=sources,
        seed=seed,
        report=_line,
    )
    for name, entries in manifest.splits.items():
        patients = len({e.patient for e in entries} - {""})
        _line(f"{name}: {len(entries)} slices of {patients} patients")


@app.command()
def fit(
    prepared: Annotated[Path, typer.Argument(help="Folder made by `prepare`.")],
    run: Annotated[
        Path, typer.Argument(help="Folder of this run: checkpoint and logs; the same command goes on from there.")
    ],
    config: Annotated[Path | None, typer.Option(help="TOML file, as configs/fast.toml.")] = None,
    steps: Annotated[int | None, typer.Option(help="Planned number of steps.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after this time; the same command goes on.")] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads.")] = None,
    accelerator: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    option: Annotated[
        list[str] | None, typer.Option("--set", help="Override, as --set data.batch=16; repeat as needed.")
    ] = None,
) -> None:
    """Train, or go on training."""
    import torch

    from meddenoise_training.config import load_config, parse_override
    from meddenoise_training.fit import fit

    overrides: dict[str, Any] = dict(parse_override(text) for text in option or [])
    if steps is not None:
        overrides["fit.steps"] = steps
    if threads is not None:
        torch.set_num_threads(threads)
    settings = load_config(config, overrides)
    if not console.is_terminal:
        fit(settings, prepared, run, accelerator=accelerator, minutes=minutes, report=_line)
        return
    with Progress(console=console) as bar:
        task = bar.add_task("Training", total=settings.fit.steps)
        fit(
            settings,
            prepared,
            run,
            accelerator=accelerator,
            minutes=minutes,
            report=_line,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _line(text: str) -> None:
    if console.is_terminal:
        console.print(text, highlight=False, markup=False)
    else:
        print(text, flush=True)


def main() -> None:
    """Run the command; an error a user can do something about is one line and exit code 1."""
    try:
        app()
    except MedDenoiseError as error:
        Console(stderr=True).print(f"Error: {error}", style="red", highlight=False, markup=False)
        sys.exit(1)
