"""``meddenoise add-noise``."""

from __future__ import annotations

from typing import Annotated

import typer

from meddenoise import __version__
from meddenoise.cli import options
from meddenoise.cli.reporting import lines, note
from meddenoise.errors import counted

_Sd = Annotated[
    float, typer.Option("--sd", min=0.0, metavar="HU", help="Standard deviation of the noise, HU.", show_default=False)
]
_Correlated = Annotated[
    bool,
    typer.Option(
        "--correlated", help="Noise with the texture of a CT kernel; without it white, each voxel on its own."
    ),
]
_MeanFrequency = Annotated[
    float | None,
    typer.Option(
        metavar="F",
        help="With --correlated: mean frequency of the noise power spectrum, cycles/pixel "
        "(smooth body kernel: 0.2, the default; sharp kernel: 0.32).",
        show_default=False,
    ),
]


def add_noise(
    input: options.Input,
    output: options.Output,
    sd: _Sd,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="The same seed gives the same noise.")] = 0,
    correlated: _Correlated = False,
    mean_frequency: _MeanFrequency = None,
    series: options.Series = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Add Gaussian noise to the CT volume INPUT and write it to OUTPUT: the classical denoising experiment, in HU.

    Values outside the scan circle stay as they are.
    """
    if mean_frequency is not None and not correlated:
        raise typer.BadParameter("it shapes correlated noise; add --correlated.", param_hint="--mean-frequency")
    path = options.checked_file(input, output, overwrite)
    from meddenoise import read_volume, write_volume
    from meddenoise.noise import SMOOTH_KERNEL_MEAN_FREQUENCY, add_correlated_noise, add_gaussian_noise

    note(quiet, f"Reading {input}")
    volume = read_volume(input, series_uid=series)
    facts = {"noise": "white", "sd": f"{sd:g}", "seed": str(seed)}
    if correlated:
        frequency = SMOOTH_KERNEL_MEAN_FREQUENCY if mean_frequency is None else mean_frequency
        facts |= {"noise": "correlated", "mean_frequency": f"{frequency:g}"}
        volume.array = add_correlated_noise(volume.array, sd, seed=seed, mean_frequency=frequency)
    else:
        volume.array = add_gaussian_noise(volume.array, sd, seed=seed)
    note(quiet, f"Writing {path}")
    facts |= {"version": __version__, "source": input.resolve().name}
    remark = f"{facts['noise']} noise of {sd:g} HU added by MedDenoise {__version__}"
    metadata = {f"MedDenoise.{name}": value for name, value in facts.items()}
    write_volume(path, volume, overwrite=overwrite, metadata=metadata, note=remark)
    texture = f", mean frequency {facts['mean_frequency']} cycles/pixel" if correlated else ""
    lines(
        quiet,
        f"{path}: {facts['noise']} Gaussian noise of {sd:g} HU (seed {seed}{texture}) "
        f"added to {counted(len(volume.array), 'slice')}.",
    )
