"""The image grid: input, peers, ours and reference around the pancreas at C50/W400, and what each took away."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from meddenoise.metrics import ABDOMEN, rmse
from meddenoise_training.benchmark.cases import Case, Image, body_of, square_around
from meddenoise_training.benchmark.conditions import CONDITIONS, condition_noise, noise_revision, with_noise
from meddenoise_training.benchmark.images import blended
from meddenoise_training.benchmark.methods import Method
from meddenoise_training.benchmark.store import Store, write_beside

_CONDITION = next(c for c in CONDITIONS if c.name == "dose 25 % smooth")
#: Side of what is shown, mm.
_SHOWN_MM = 150.0
_COLUMNS = 5
_DIFFERENCE_HU = 60.0


def write_grids(out: Path, cases: Sequence[Case], methods: Sequence[Method], store: Store, *, views: int) -> list[str]:
    """Draw a grid a case, at a quarter of the dose; return the names of the files."""
    names = []
    for case in cases:
        revision = noise_revision(case, _CONDITION)
        noise = store.array(f"grid {case.name}", partial(_noise, case, views), revision=revision)
        noisy = with_noise(case, noise)
        shown: list[tuple[str, Image]] = []
        for m in methods:
            key = f"grid {case.name} {m.name} {zlib.crc32(m.fingerprint.encode()):x}"
            if m.group == "input":
                result = noisy.image
            else:
                denoise = partial(m.denoise, noisy, case.pixel)
                result = store.array(key, denoise, revision=revision).astype(np.float32)
            title = m.name if m.strength == 1 else f"{m.name}, strength {m.strength:g}"
            shown.append((title, blended(noisy, result, m.strength)))
        name = f"grid-{'abdomen' if case.truth else 'patient'}.png"
        _draw(out / name, case, noisy.image, shown)
        names.append(name)
    return names


def _noise(case: Case, views: int) -> Image:
    return np.asarray(condition_noise([case], _CONDITION, views=views)[0])


def _draw(path: Path, case: Case, noisy: Image, shown: Sequence[tuple[str, Image]]) -> None:
    """Draw pictures and, below each, what was taken away (input less result)."""
    import matplotlib.pyplot as plt

    where, body = _region(case), body_of(case.reference)
    reference = "truth" if case.truth else "reference (full dose)"
    pictures = [*shown, (reference, case.reference)]
    rows = -(-len(pictures) // _COLUMNS)
    figure, panels = plt.subplots(
        2 * rows, _COLUMNS, figsize=(2.3 * _COLUMNS, 2 * rows * 2.45 + 0.7), layout="constrained", squeeze=False
    )
    for axes in panels.flat:
        axes.set_axis_off()
    low, high = ABDOMEN.centre - ABDOMEN.width / 2, ABDOMEN.centre + ABDOMEN.width / 2
    for number, (title, image) in enumerate(pictures):
        row, column = 2 * (number // _COLUMNS), number % _COLUMNS
        text = title if image is case.reference else f"{title}\nRMSE {rmse(case.reference, image, body):.1f} HU"
        _picture(panels[row, column], image[where], text, cmap="gray", vmin=low, vmax=high)
        if image is noisy:
            continue  # nothing was taken away
        change = noisy - image
        label = "input - " + ("reference" if image is case.reference else title.split(",")[0])
        limits = {"vmin": -_DIFFERENCE_HU, "vmax": _DIFFERENCE_HU}
        _picture(panels[row + 1, column], change[where], label, cmap="RdBu_r", **limits)
    source = "numerical abdomen, around the pancreas" if case.truth else "test patient"
    figure.suptitle(f"Quarter dose, smooth kernel: {source}", fontsize=11)
    figure.supxlabel(
        f"C50/W400; differences from -{_DIFFERENCE_HU:g} (blue) to {_DIFFERENCE_HU:g} HU (red). "
        "MedDenoise benchmark; research use only, not for diagnosis",
        fontsize=8,
    )
    write_beside(path, lambda beside: figure.savefig(beside, dpi=110, format="png"))
    plt.close(figure)


def _picture(axes: Any, image: Image, title: str, **look: Any) -> None:
    axes.imshow(image, interpolation="nearest", **look)
    axes.set_title(title, fontsize=8)


def _region(case: Case) -> tuple[slice, slice]:
    """Return what is shown: around the pancreas where it is labelled, else around the middle of the body."""
    mask = case.tissues.get("pancreas", body_of(case.reference))
    return square_around(mask, int(_SHOWN_MM / case.pixel))
