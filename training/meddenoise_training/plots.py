"""Plots of a run: loss and learning rate by step, validation figures by step."""

from __future__ import annotations

from pathlib import Path

from meddenoise.errors import InputError, OutputError
from meddenoise_training.logs import FIGURES_NAME, LOG_NAME, read_log

LOSS_PLOT = "loss.png"
FIGURES_PLOT = "validation.png"


def plot(run: Path) -> list[Path]:
    """Plot what a run has logged so far, into its folder.

    :returns: the pictures written; none of what was not logged yet.
    :raises InputError: when there are no logs.
    :raises OutputError: when a picture cannot be written.
    """
    training, figures = read_log(run / LOG_NAME), read_log(run / FIGURES_NAME)
    if not training and not figures:
        raise InputError(f"There are no logs in {run}; name the folder of a run of `fit`.")
    written = []
    if training:
        written.append(_plot_training(training, run / LOSS_PLOT))
    if figures:
        written.append(_plot_figures(figures, run / FIGURES_PLOT))
    return written


def _plot_training(rows: list[dict[str, str]], path: Path) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    steps = [int(row["step"]) for row in rows]
    for ax, name in zip(axes, ("loss", "gradient_norm", "learning_rate"), strict=True):
        ax.semilogy(steps, [float(row[name]) for row in rows], linewidth=1)
        ax.set_ylabel(name.replace("_", " "))
        ax.grid(alpha=0.3)
    axes[-1].set_xlabel("step")
    return _save(figure, path)


def _plot_figures(rows: list[dict[str, str]], path: Path) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True)
    for ax, column, label in zip(axes, ("rmse", "bias"), ("RMSE, HU", "bias, HU"), strict=True):
        for name in dict.fromkeys(row["name"] for row in rows):
            own = [row for row in rows if row["name"] == name]
            ax.plot([int(r["step"]) for r in own], [float(r[column]) for r in own], marker=".", linewidth=1, label=name)
        ax.set_ylabel(label)
        ax.grid(alpha=0.3)
    axes[0].set_yscale("log")
    axes[0].legend(fontsize="small", ncols=2, title="averaged weights on validation slices")
    axes[1].set_xlabel("step")
    return _save(figure, path)


def _save(figure: object, path: Path) -> Path:
    try:
        figure.savefig(path, dpi=120)  # type: ignore[attr-defined]
    except OSError as error:
        raise OutputError(f"The plot cannot be written to {path}: {error.strerror or error}.") from error
    return path
