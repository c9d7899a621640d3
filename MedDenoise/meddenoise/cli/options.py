"""Arguments and options that several commands share, and what all that write check first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

INPUT_HELP = (
    "CT volume in HU: a DICOM folder (searched with its subfolders), one DICOM file, "
    "or an NRRD, NIfTI (.nii, .nii.gz) or MetaImage (.mha, .mhd) file."
)
Input = Annotated[Path, typer.Argument(metavar="INPUT", help=INPUT_HELP, show_default=False)]
Output = Annotated[
    str,  # not a Path, which would drop a slash at the end
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
        help="SeriesInstanceUID to read, where a DICOM folder holds several CT series (see `meddenoise list`).",
        show_default=False,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        help="A model of `meddenoise models`, the path of a .safetensors file of your own, or auto: the default of the "
        "device, which `meddenoise models` tells."
    ),
]
Strength = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="How much of the noise found is taken away: 0 none, 1 all of it; as the model's card has it by default.",
        show_default=False,
    ),
]
Quality = Annotated[
    str,
    typer.Option(help="standard, or best: the mean over the eight flips and quarter turns, in eight times the time."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Threads = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="CPU threads; as many as PyTorch chooses by default.")
]
Precision = Annotated[str, typer.Option(help="auto, float32 or bfloat16 (auto takes it only where it is as good).")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace OUTPUT where it exists.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def one_of(value: str, choices: tuple[str, ...], option: str) -> str:
    """Return an option's value, or refuse it as wrong usage."""
    if value not in choices:
        raise typer.BadParameter(f"'{value}' is not one of {', '.join(choices)}.", param_hint=option)
    return value


def checked_file(input: Path, output: str, overwrite: bool) -> Path:
    """Check input and output file before anything is read; return where to write."""
    from meddenoise.volume_files import check_input, check_output

    check_input(input)
    return check_output(output, overwrite=overwrite, inputs=[input])
