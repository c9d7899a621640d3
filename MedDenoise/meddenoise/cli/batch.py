"""``meddenoise batch``: every series below a folder, resumable, on one machine or a cluster."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meddenoise.catalogue import DEFAULT_MODEL
from meddenoise.cli import options
from meddenoise.cli.batch_progress import watcher
from meddenoise.cli.reporting import DISCLAIMER, as_json, lines, note
from meddenoise.errors import counted

if TYPE_CHECKING:
    from meddenoise.batch import Summary
    from meddenoise.batch.run import Work

_Input = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT", help="Folder with CT series (DICOM) and volume files, with its subfolders.", show_default=False
    ),
]
_Output = Annotated[
    Path,
    typer.Argument(
        metavar="OUTPUT",
        help="Folder for the results, in subfolders like the input's, and for the manifest; apart from INPUT.",
        show_default=False,
    ),
]
_Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Compute in N processes on this machine, through Dask; CPU threads and GPUs are shared out among them.",
        show_default=False,
    ),
]
_Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Compute on the workers of a running Dask scheduler: tcp://node1:8786, or the path of its scheduler file. "
        "INPUT and OUTPUT must lie on a file system that all share.",
        show_default=False,
    ),
]
_SeriesPerWorker = Annotated[
    int,
    typer.Option(min=1, metavar="N", help="Series in a worker's hands; with 2, one is read while one is denoised."),
]


def batch(
    input: _Input,
    output: _Output,
    model: options.Model = DEFAULT_MODEL,
    strength: options.Strength = None,
    quality: options.Quality = "standard",
    device: options.Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="CPU threads, of each worker.")] = None,
    precision: options.Precision = "auto",
    compression: Annotated[str, typer.Option(help="Of DICOM output, without loss: none, jpeg-ls or rle.")] = "none",
    force: Annotated[bool, typer.Option("--force", help="Denoise also what is certainly no CT in HU.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what has failed before.")] = False,
    workers: _Workers = None,
    scheduler: _Scheduler = None,
    series_per_worker: _SeriesPerWorker = 1,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Denoise every CT series and volume file below the folder INPUT into the folder OUTPUT.

    A DICOM series becomes a derived DICOM series in a folder of its own; a volume file stays of its kind. What was
    done, has failed or was skipped is kept in OUTPUT/meddenoise-batch.jsonl: the same command again, after whatever
    interrupted it, does only what is missing. Exit code 1 says that some have failed, or that DICOM files are damaged;
    what is no CT in HU (label maps) is skipped, which is no failure.
    """
    if workers is not None and scheduler is not None:
        raise typer.BadParameter(
            "a running scheduler has its own workers; leave one of the two out.", param_hint="--workers"
        )
    packing = options.one_of(compression, ("none", "jpeg-ls", "rle"), "--compression")
    choices: dict[str, Any] = {
        "quality": options.one_of(quality, ("standard", "best"), "--quality"),
        "precision": options.one_of(precision, ("auto", "float32", "bfloat16"), "--precision"),
        "compression": None if packing == "none" else packing,
    }
    from meddenoise.batch import run_batch
    from meddenoise.processing import Settings

    settings = Settings(model=model, strength=strength, device=device, threads=threads, force=force, **choices)
    quiet_or_json = quiet or json
    execute = _executor(workers, scheduler, series_per_worker, partial(note, quiet_or_json))
    note(quiet_or_json, f"Looking through {input}")
    started = time.monotonic()
    with _stop_on_signals(quiet_or_json) as (stop, received), watcher(quiet_or_json) as watching:
        summary = run_batch(
            input.expanduser(),
            output.expanduser(),
            settings,
            execute,
            watcher=watching,
            stop=stop,
            retry_failed=retry_failed,
            devices_here=scheduler is None,
        )
    if json:
        as_json({**summary.to_dict(), "seconds": time.monotonic() - started})
    else:
        lines(quiet, _result(summary, output, time.monotonic() - started), DISCLAIMER)
        for place, sentence in ((place, said) for place, all_said in summary.warned.items() for said in all_said):
            typer.echo(f"warning: {place}: {sentence}", err=True)
        for place, reason in summary.skipped.items():
            note(quiet, f"skipped: {place}: {reason}")
        for place, reason in summary.failed.items():
            typer.echo(f"failed: {place}: {reason}", err=True)
    if summary.left:
        # By convention 128 and the signal's number: 130 for Ctrl-C, 143 for SIGTERM.
        raise typer.Exit(128 + received[0])
    if summary.failed:
        raise typer.Exit(1)


def _executor(
    workers: int | None, scheduler: str | None, series_per_worker: int, announce: Callable[[str], None]
) -> Callable[[Work], None]:
    if workers is None and scheduler is None:
        from meddenoise.batch.pipeline import run_here

        return run_here
    from meddenoise.batch.cluster import Cluster, run_on_cluster

    return partial(run_on_cluster, cluster=Cluster(workers, scheduler, series_per_worker), announce=announce)


@contextmanager
def _stop_on_signals(quiet: bool) -> Iterator[tuple[threading.Event, list[int]]]:
    """Give an event that Ctrl-C and SIGTERM set, and the signals received; a second Ctrl-C ends on the spot."""
    stop = threading.Event()
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield stop, received
        return

    def handle(number: int, frame: Any) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        stop.set()
        note(quiet, "Stopping: what is being written is finished, the rest can be resumed.")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop, received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _result(summary: Summary, output: Path, seconds: float) -> str:
    parts = [f"{summary.done} series ({counted(summary.slices, 'slice')}) done in {seconds:.1f} s"]
    for count, words in (
        (len(summary.warned.keys() - summary.failed.keys()), "of them with warnings"),
        (summary.done_before, "done before"),
        (len(summary.skipped), "skipped"),
        (len(summary.failed), "failed"),
        (summary.left, "left to do: the same command resumes"),
    ):
        if count:
            parts.append(f"{count} {words}")
    others = ", ".join(counted(count, kind) for kind, count in sorted(summary.others.items()))
    return f"{output}: {', '.join(parts)}." + (f" Not looked at: {others}." if others else "")
