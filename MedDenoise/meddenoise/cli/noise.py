"""``meddenoise noise``."""

from __future__ import annotations

from meddenoise.cli import options
from meddenoise.cli.reporting import as_json, lines
from meddenoise.errors import counted


def noise(input: options.Input, series: options.Series = None, json: options.AsJson = False) -> None:
    """Estimate the noise of the CT volume INPUT: its standard deviation in HU, from the image alone."""
    from meddenoise import estimate_noise, read_volume
    from meddenoise.noise_texture import noise_mean_frequency
    from meddenoise.volume_files import check_input

    check_input(input)
    volume = read_volume(input, series_uid=series)
    k, j, i = volume.array.shape
    sd = estimate_noise(volume.array)
    if json:
        frequency = noise_mean_frequency(volume.array)
        as_json({"source": str(input), "size": [i, j, k], "noise_sd_hu": sd, "mean_frequency_per_pixel": frequency})
    else:
        lines(False, f"{sd:.1f} HU estimated noise in {input} ({counted(k, 'slice')} of {j} x {i})")
