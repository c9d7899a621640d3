"""``meddenoise-train fit``."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meddenoise.errors import InputError, counted
from meddenoise_training.cli import options
from meddenoise_training.cli.ending import asked_to_stop
from meddenoise_training.cli.progress import progress_bar
from meddenoise_training.cli.reporting import line

if TYPE_CHECKING:
    from meddenoise_training.state import FitState


def fit(
    prepared: options.Prepared,
    run: Annotated[Path, typer.Argument(help="Folder of the run; the same command goes on where one stopped.")],
    config: Annotated[Path | None, typer.Option(help="TOML file, as configs/fast.toml.")] = None,
    init: Annotated[
        Path | None, typer.Option(help="Begin from these weights: a .safetensors file or the folder of another run.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Planned steps; may change on the way.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Plan as many steps as fit into this time, at the pace of the first ones.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads, of each process.")] = None,
    accelerator: options.Accelerator = "cpu",
    devices: Annotated[
        int | None, typer.Option(min=1, help="GPUs (on a CPU: processes) on each machine; torchrun and SLURM tell it.")
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Machines; torchrun and SLURM tell it.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", help="Override the file, as --set data.batch=16; repeatable.")
    ] = None,
) -> None:
    """Train; Ctrl-C saves, and the same command goes on."""
    from meddenoise_training.checkpoint import read_checkpoint
    from meddenoise_training.config import load_config, parse_override
    from meddenoise_training.fit import fit as train
    from meddenoise_training.fit import steps_within
    from meddenoise_training.processes import Processes

    if steps is not None and minutes is not None:
        raise InputError("Both --steps and --minutes plan the run; give one of them.")
    options.set_torch_threads(threads)
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
            if begun is not None and begun["step"] > 0
            else steps_within(minutes, load_config(config, overrides), prepared, processes=processes, report=line)
        )
    settings = load_config(config, overrides)
    with progress_bar("Training", lines=False) as progress, asked_to_stop() as asked:
        state = train(
            settings,
            prepared,
            run,
            processes=processes,
            report=line,
            progress=progress,
            stop=lambda: bool(asked),
        )
    planned = settings.fit.steps
    stopped = state.unvalidated or (state.step < planned and not state.out_of_patience)
    if state.fabric.is_global_zero:
        saved = f"Stopped and saved at step {state.step} of {planned}; the same command goes on from there."
        line(saved if stopped else _done(state, prepared, run))
    if stopped:
        raise typer.Exit(130)


def _done(state: FitState, prepared: Path, run: Path) -> str:
    """Return how to go on after a run, in a sentence; a network for comparison is not exported."""
    todo = f"export {quote(str(run))} my.safetensors --card card.toml"
    if state.config.shape is None:
        todo = f"benchmark {quote(str(prepared))} OUT --baseline {quote(str(run))}"
    return f"Done: {counted(state.step, 'step')} in {run}; next: meddenoise-train {todo}"
