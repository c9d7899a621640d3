"""``meddenoise noise``."""

from __future__ import annotations

from dataclasses import asdict

from meddenoise.cli import options
from meddenoise.cli.reporting import as_json, lines, warn_of
from meddenoise.errors import counted


def noise(input: options.Input, series: options.Series = None, json: options.AsJson = False) -> None:
    """Estimate the noise of the CT volume INPUT: its standard deviation in HU, from the image alone."""
    from meddenoise import estimate_noise, read_volume
    from meddenoise.domain import Facts, findings_of
    from meddenoise.noise_texture import noise_mean_frequency
    from meddenoise.volume_files import check_input

    check_input(input)
    volume = read_volume(input, series_uid=series)
    k, j, i = volume.array.shape
    sd = estimate_noise(volume.array)
    # Of a label map, say, a figure in HU would mean nothing; no model's domain is asked here.
    facts = Facts(pixel_mm=(volume.spacing[1], volume.spacing[0]), spacing_mm=volume.spacing[2])
    findings = findings_of(volume.array, facts, None)
    if json:
        as_json(
            {
                "source": str(input),
                "size": [i, j, k],
                "noise_sd_hu": sd,
                "mean_frequency_per_pixel": noise_mean_frequency(volume.array),
                "findings": [asdict(finding) for finding in findings],
            }
        )
    else:
        warn_of(*(finding.sentence for finding in findings))
        lines(False, f"{sd:.1f} HU estimated noise in {input} ({counted(k, 'slice')} of {j} x {i})")
