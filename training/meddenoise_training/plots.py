"""Plots of a run: loss and learning rate by step, validation figures by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from meddenoise.errors import InputError, OutputError
from meddenoise_training.logs import FIGURES_NAME, LOG_NAME, read_log
from meddenoise_training.validation import NOISE_SD_HU

LOSS_PLOT = "loss.png"
FIGURES_PLOT = "validation.png"
#: Values further apart than this are drawn on a logarithmic axis.
_WIDE_RANGE = 3.0
#: An axis that comes near what "g" writes with an exponent, 0.0001, has exponents at all of its ticks.
_EXPONENTS_BELOW = 2e-4


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
        values = [float(row[name]) for row in rows]
        ax.plot(steps, values, linewidth=1)
        _scale(ax, values)
        ax.set_ylabel(name.replace("_", " "))
        ax.grid(alpha=0.3)
    axes[-1].set_xlabel("step")
    figure.align_ylabels()
    figure.suptitle("Loss on training patches, norm of its gradient, and learning rate", fontsize=11)
    return _save(figure, path)


def _plot_figures(rows: list[dict[str, str]], path: Path) -> Path:
    """Plot RMSE and bias; slices without added noise, whose RMSE is far smaller, have a panel of their own."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["name"] for row in rows))
    clean = [name for name in names if name.endswith(", none")]
    noisy = [name for name in names if name not in clean]
    panels = [
        (chosen, column, label)
        for chosen, column, label in (
            (noisy, "rmse", "RMSE, HU"),
            (clean, "rmse", "RMSE without\nadded noise, HU"),
            (names, "bias", "bias, HU"),
        )
        if chosen
    ]
    figure = Figure(figsize=(10, 1 + 2.6 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True)
    for ax, (chosen, column, label) in zip(axes, panels, strict=True):
        values = [_curve(ax, rows, name, column, names) for name in chosen]
        if column == "rmse":
            _scale(ax, [v for curve in values for v in curve])
        ax.set_ylabel(label)
        ax.grid(alpha=0.3)
    axes[-1].set_xlabel("step")
    figure.align_ylabels()
    figure.suptitle(f"Averaged weights on validation slices with noise of {NOISE_SD_HU:g} HU", fontsize=11)
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside right upper", fontsize="small", frameon=False)
    return _save(figure, path)


def _curve(ax: Any, rows: Sequence[dict[str, str]], name: str, column: str, names: Sequence[str]) -> list[float]:
    """Draw a curve, scanned slices solid, synthetic dashed, each kind of noise in its colour; return its values."""
    noises = list(dict.fromkeys(n.split(", ")[-1] for n in names))
    own = [row for row in rows if row["name"] == name]
    values = [float(row[column]) for row in own]
    ax.plot(
        [int(row["step"]) for row in own],
        values,
        label=name,
        color=f"C{noises.index(name.split(', ')[-1])}",
        linestyle="--" if name.startswith("synthetic") else "-",
        marker=".",
        linewidth=1,
    )
    return values


def _scale(ax: Any, values: Sequence[float]) -> None:
    """Make the axis logarithmic where values are far apart: ticks at 1, 2 and 5 of each decade, written alike."""
    from matplotlib.ticker import LogLocator, NullFormatter

    positive = [value for value in values if 0 < value < float("inf")]
    if positive and max(positive) > _WIDE_RANGE * min(positive):
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.yaxis.set_major_formatter(_exponent if min(positive) < _EXPONENTS_BELOW else "{x:g}")


def _exponent(value: float, _: int | None = None) -> str:
    """Return a tick as 5e-5."""
    digit, exponent = f"{value:.0e}".split("e")
    return f"{digit}e{int(exponent)}"


def _save(figure: object, path: Path) -> Path:
    try:
        figure.savefig(path, dpi=120)  # type: ignore[attr-defined]
    except OSError as error:
        raise OutputError(f"The plot cannot be written to {path}: {error.strerror or error}.") from error
    return path
