"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Prepared = Annotated[Path, typer.Argument(help="Folder made by `prepare`.")]
Accelerator = Annotated[str, typer.Option(help="cpu, cuda or mps.")]
Threads = Annotated[int | None, typer.Option(help="Processor threads.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; one for each processor by default.")]


def set_torch_threads(threads: int | None) -> None:
    """Let PyTorch compute with so many processor threads; None: as many as it chooses."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
