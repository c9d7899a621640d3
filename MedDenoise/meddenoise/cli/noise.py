"""``meddenoise noise``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from meddenoise.cli import options
from meddenoise.cli.reporting import as_json, lines, warn_of
from meddenoise.errors import counted

if TYPE_CHECKING:
    from meddenoise.volume_files import Volume


def noise(input: options.Input, series: options.Series = None, json: options.AsJson = False) -> None:
    """Estimate the noise of the CT volume INPUT: its standard deviation in HU, from the image alone."""
    from meddenoise import estimate_noise
    from meddenoise.domain import Facts, findings_of
    from meddenoise.noise_texture import noise_mean_frequency

    volume = _read(input, series)
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


def _read(input: Path, series_uid: str | None) -> Volume:
    """Read a volume; slices are measured one by one, so that a DICOM series need be no regular grid."""
    from meddenoise.processing import find_source
    from meddenoise.volume_files import read_volume

    source = find_source(input, series_uid)
    if isinstance(source, Path):
        return read_volume(source)
    from meddenoise.dicom import read_series

    return read_series(source, regular=False, then="each slice is measured by itself")
