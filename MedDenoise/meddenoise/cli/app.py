"""The program ``meddenoise``: its commands, its help, its version."""

from __future__ import annotations

import io
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from meddenoise import __version__
from meddenoise.cli.add_noise import add_noise
from meddenoise.cli.batch import batch
from meddenoise.cli.compare import compare
from meddenoise.cli.denoise import denoise
from meddenoise.cli.ending import one_line_for_errors, terminable, warnings_as_lines
from meddenoise.cli.list_series import list_series
from meddenoise.cli.models import models
from meddenoise.cli.noise import noise
from meddenoise.cli.reporting import DISCLAIMER


class _Commands(TyperGroup):
    """The commands; whatever goes wrong in one of them becomes one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        with one_line_for_errors(), terminable(), warnings_as_lines():
            return super().invoke(ctx)


app = typer.Typer(
    name="meddenoise",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help=(
        "Denoise CT volumes with a convolutional denoising autoencoder: Hounsfield units in, Hounsfield units out. "
        f"{DISCLAIMER}"
    ),
    epilog=(
        "Exit codes: 0 done, 1 it could not be done (one line on stderr says why), 2 wrong usage, 130 interrupted, "
        "143 terminated. Results go to stdout; progress, warnings and errors to stderr."
    ),
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"meddenoise {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


app.command()(denoise)
app.command()(batch)
app.command("list")(list_series)
app.command()(noise)
app.command("add-noise")(add_noise)
app.command()(compare)
app.command()(models)


def main() -> None:
    """Run the command line: the entry point of the program ``meddenoise``."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a strange file name is no reason to fail
    app()
