"""The command line ``meddenoise``: parses and prints, nothing else."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from meddenoise import __version__
from meddenoise.catalogue import DEFAULT_MODEL
from meddenoise.errors import InputError, InputWarning, MedDenoiseError, OutputError, counted

if TYPE_CHECKING:
    from meddenoise.volume_files import Volume

DISCLAIMER = "Research use only, not for diagnosis."
SHA256_PREFIX = 12


class _Commands(TyperGroup):
    """The commands; whatever goes wrong in one of them becomes one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        with _one_line_for_errors(), _warnings_as_lines():
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
        "Exit codes: 0 done, 1 it could not be done (one line on stderr says why), 2 wrong usage, 130 interrupted. "
        "Results go to stdout; progress, warnings and errors to stderr."
    ),
)


Input = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT",
        help="CT volume in HU: a DICOM folder (searched with its subfolders), one DICOM file, "
        "or an NRRD, NIfTI (.nii, .nii.gz) or MetaImage (.mha, .mhd) file.",
        show_default=False,
    ),
]
Output = Annotated[
    Path,
    typer.Argument(
        metavar="OUTPUT",
        help="File to write; its ending says the format: .nrrd, .nii.gz, .nii, .mha, .nhdr or .mhd. "
        "Type and geometry are those of the input.",
        show_default=False,
    ),
]
Series = Annotated[
    str | None,
    typer.Option(
        metavar="UID",
        help="SeriesInstanceUID to read, where a DICOM folder holds several CT series (else up to 8 are listed).",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace OUTPUT where it exists.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")]


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


@app.command()
def denoise(
    input: Input,
    output: Output,
    model: Annotated[
        str,
        typer.Option(help="A model of `meddenoise models`, or the path of a .safetensors file of your own."),
    ] = DEFAULT_MODEL,
    strength: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="How much of the noise found is taken away: 0 none, 1 all of it."),
    ] = 1.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="CPU threads; as many as PyTorch chooses by default.")
    ] = None,
    series: Series = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Denoise the CT volume INPUT and write it to OUTPUT.

    Values outside the scan circle and metal stay as they are. The noise in HU is estimated before and after.
    """
    output = _checked_paths(input, output, overwrite)
    from meddenoise import Denoiser, read_volume, write_volume

    denoiser = Denoiser(model, device=device, threads=threads)
    _note(quiet, f"Reading {input}")
    volume = read_volume(input, series_uid=series)
    before = _noise_level(volume)
    started = time.monotonic()
    with _progress(quiet, f"Denoising {counted(len(volume.array), 'slice')}") as progress:
        volume.array = denoiser.denoise(volume.array, strength=strength, progress=progress)
    seconds = time.monotonic() - started
    after = _noise_level(volume)
    _note(quiet, f"Writing {output}")
    facts = {
        "model": denoiser.card.name,
        "sha256": denoiser.sha256,
        "strength": f"{strength:g}",
        "device": denoiser.device,
        "version": __version__,
        "source": input.resolve().name,
    }
    note = f"Denoised by MedDenoise {__version__}, {100 * strength:g}%, research use only: {denoiser.card.name}"
    write_volume(output, volume, overwrite=overwrite, metadata=_attributes(facts), note=note)
    _report(
        quiet,
        f"{output}: {counted(len(volume.array), 'slice')} denoised in {seconds:.1f} s with {denoiser.card.name} "
        f"{denoiser.card.version} (SHA-256 {denoiser.sha256[:SHA256_PREFIX]}), strength {strength:g}, "
        f"on {denoiser.device} ({denoiser.precision}).",
        f"Estimated noise: {before} before, {after} after.",
        DISCLAIMER,
    )


@app.command()
def noise(input: Input, series: Series = None) -> None:
    """Estimate the noise of the CT volume INPUT: its standard deviation in HU, from the image alone."""
    from meddenoise import estimate_noise, read_volume
    from meddenoise.volume_files import check_input

    check_input(input)
    volume = read_volume(input, series_uid=series)
    k, j, i = volume.array.shape
    typer.echo(f"{estimate_noise(volume.array):.1f} HU estimated noise in {input} ({counted(k, 'slice')} of {j} x {i})")


@app.command("add-noise")
def add_noise(
    input: Input,
    output: Output,
    sd: Annotated[
        float,
        typer.Option("--sd", min=0.0, metavar="HU", help="Standard deviation of the noise, HU.", show_default=False),
    ],
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="The same seed gives the same noise.")] = 0,
    correlated: Annotated[
        bool,
        typer.Option(
            "--correlated", help="Noise with the texture of a CT kernel; without it white, each voxel on its own."
        ),
    ] = False,
    mean_frequency: Annotated[
        float | None,
        typer.Option(
            metavar="F",
            help="With --correlated: mean frequency of the noise power spectrum, cycles/pixel "
            "(smooth body kernel: 0.2, the default; sharp kernel: 0.32).",
            show_default=False,
        ),
    ] = None,
    series: Series = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Add Gaussian noise to the CT volume INPUT and write it to OUTPUT: the classical denoising experiment, in HU.

    Values outside the scan circle stay as they are.
    """
    if mean_frequency is not None and not correlated:
        raise typer.BadParameter("it shapes correlated noise; add --correlated.", param_hint="--mean-frequency")
    output = _checked_paths(input, output, overwrite)
    from meddenoise import read_volume, write_volume
    from meddenoise.noise import SMOOTH_KERNEL_MEAN_FREQUENCY, add_correlated_noise, add_gaussian_noise

    _note(quiet, f"Reading {input}")
    volume = read_volume(input, series_uid=series)
    facts = {"noise": "white", "sd": f"{sd:g}", "seed": str(seed)}
    if correlated:
        frequency = SMOOTH_KERNEL_MEAN_FREQUENCY if mean_frequency is None else mean_frequency
        facts |= {"noise": "correlated", "mean_frequency": f"{frequency:g}"}
        volume.array = add_correlated_noise(volume.array, sd, seed=seed, mean_frequency=frequency)
    else:
        volume.array = add_gaussian_noise(volume.array, sd, seed=seed)
    _note(quiet, f"Writing {output}")
    facts |= {"version": __version__, "source": input.resolve().name}
    note = f"{facts['noise']} noise of {sd:g} HU added by MedDenoise {__version__}"
    write_volume(output, volume, overwrite=overwrite, metadata=_attributes(facts), note=note)
    texture = f", mean frequency {facts['mean_frequency']} cycles/pixel" if correlated else ""
    _report(
        quiet,
        f"{output}: {facts['noise']} Gaussian noise of {sd:g} HU (seed {seed}{texture}) "
        f"added to {counted(len(volume.array), 'slice')}.",
    )


@app.command()
def models() -> None:
    """List the models that come with MedDenoise."""
    from meddenoise import shipped_models

    for model in shipped_models():
        default = " (default)" if model.name == DEFAULT_MODEL else ""
        typer.echo(f"{model.name}{default}: {model.title}. {model.description}")
        typer.echo(f"    {model.path}, SHA-256 {(model.sha256 or 'unknown')[:SHA256_PREFIX]}")


def main() -> None:
    """Run the command line: the entry point of the program ``meddenoise``."""
    app()


def _checked_paths(input: Path, output: Path, overwrite: bool) -> Path:
    """Check what is cheap before what is expensive; return where to write."""
    from meddenoise.volume_files import check_input, check_output

    check_input(input)
    output = check_output(output, overwrite=overwrite)
    if output.exists() and output.samefile(input.expanduser()):
        raise OutputError(f"{output} is the input itself, which would be lost; choose another output.")
    return output


def _noise_level(volume: Volume) -> str:
    """Return the estimated noise in words; a volume too small to estimate it can still be denoised."""
    from meddenoise import estimate_noise

    try:
        return f"{estimate_noise(volume.array):.1f} HU"
    except InputError:
        return "unknown"


def _attributes(facts: dict[str, str]) -> dict[str, str]:
    return {f"MedDenoise.{name}": value for name, value in facts.items()}


def _report(quiet: bool, *lines: str) -> None:
    if not quiet:
        for line in lines:
            typer.echo(line)


def _note(quiet: bool, line: str) -> None:
    """Say on stderr what is being done."""
    if not quiet:
        typer.echo(line, err=True)


@contextmanager
def _progress(quiet: bool, title: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function ``(done, total)`` that moves a bar on stderr; where that is no terminal, print a plain line."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        _note(quiet, title)
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _one_line_for_errors() -> Iterator[None]:
    try:
        yield
    except MedDenoiseError as error:
        _fail(str(error))
    except MemoryError:
        _fail("There is not enough memory for this volume; close other programs or use a machine with more.")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}")
    except KeyboardInterrupt:
        _fail("Interrupted; nothing was written.", code=130)


def _fail(sentence: str, code: int = 1) -> None:
    typer.echo(f"error: {sentence}", err=True)
    raise typer.Exit(code)


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print what the user should know as one line; keep the libraries' own warnings to ourselves."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        typer.echo(f"warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = show
        yield


if __name__ == "__main__":
    main()
