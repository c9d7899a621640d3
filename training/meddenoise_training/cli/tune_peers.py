"""``meddenoise-train tune-peers``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meddenoise.folder_lock import locked
from meddenoise_training.cli import options
from meddenoise_training.cli.reporting import line


def tune_peers(
    prepared: options.Prepared,
    target: Annotated[Path, typer.Argument(help="JSON file for `benchmark --tuned`.")],
    peers: Annotated[str, typer.Option(help="Classical filters: all, or names with commas between.")] = "all",
    patients: Annotated[
        int, typer.Option(min=1, help="Validation patients, at most: the cleanest, a slice of each.")
    ] = 6,
    threads: options.Threads = None,
) -> None:
    """Find the best parameters of each classical filter on validation slices, for each kind of noise.

    About ten minutes on one processor core; BM3D has nothing to tune. The same command goes on after a stop.
    """
    import torch

    from meddenoise_training.benchmark.tuning_cases import tuning_cases
    from meddenoise_training.peers import find_peers, tune, tuned_at_edge, use_threads, write_tuned

    options.set_torch_threads(threads)
    use_threads(torch.get_num_threads())
    names = None if peers == "all" else [name.strip() for name in peers.split(",")]
    chosen = find_peers(names, None, line)
    kept = target.with_name(f".{target.name}.begun")
    with locked(target, lock=target.with_name(f".{target.name}.lock"), otherwise=", or name another file"):
        write_tuned(target, tune(chosen, tuning_cases(prepared, patients), line, kept=kept))
        kept.unlink(missing_ok=True)
    if at_edge := tuned_at_edge(target):
        found = ", ".join(f"{name} ({'; '.join(where)})" for name, where in at_edge.items())
        line(f"Best at the edge of what was tried, so that more or less might be better still: {found}.")
    line(f"{target}")
