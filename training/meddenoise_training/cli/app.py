"""The program ``meddenoise-train``: its commands, its help."""

from __future__ import annotations

import typer

from meddenoise_training.cli.bank import bank
from meddenoise_training.cli.benchmark import benchmark
from meddenoise_training.cli.clean import clean
from meddenoise_training.cli.ending import one_line_for_errors, told_when_stopped
from meddenoise_training.cli.export import export
from meddenoise_training.cli.fit import fit
from meddenoise_training.cli.inspect import inspect
from meddenoise_training.cli.noise import noise
from meddenoise_training.cli.plot import plot
from meddenoise_training.cli.prepare import prepare
from meddenoise_training.cli.tune_peers import tune_peers

app = typer.Typer(
    name="meddenoise-train",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Train MedDenoise weights from your own CT: prepare, fit, export. Research use only, not for diagnosis.",
)

for _command in (prepare, bank, noise, clean, fit, plot, benchmark, tune_peers, export, inspect):
    app.command(_command.__name__.replace("_", "-"))(told_when_stopped(_command))


def main() -> None:
    """Run the command line: the entry point of the program ``meddenoise-train``."""
    with one_line_for_errors():
        app()
