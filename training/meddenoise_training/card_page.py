"""A model card as a page for people, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from meddenoise.errors import counted
from meddenoise.model_card import Architecture, ModelCard, TrainingDomain
from meddenoise_training.tables import table

Ends = Sequence[float]


def card_page(card: ModelCard, sha256: str) -> str:
    """Return the page of a card.

    :param sha256: of the weights file that carries it.
    """
    measured = card.figures.get("benchmark")
    strength = card.training.get("default strength")
    lines = [
        f"# {card.title} (`{card.name}`, version {card.version})",
        "",
        *_section("Intended use", [card.summary]),
        *_section("Limits", _bullets(card.limits)),
        *_section("Default strength", [strength] if strength is not None else []),
        *(_benchmark(measured) if measured is not None else []),
        *_validation(card.figures, "At export" if measured is not None else "Figures"),
        *_section("Training domain", _domain(card.domain) if card.domain is not None else []),
        *_section("Training data", _data(card.data)),
        *_section(
            "Training",
            _bullets(f"{k}: {v}" for k, v in card.training.items() if k not in ("config", "default strength")),
        ),
        f"Architecture: {_architecture(card.architecture)}. Weights: {card.licence}, created {card.created}, "
        f"SHA-256 `{sha256}`.",
        "",
    ]
    return "\n".join(lines)


def _architecture(of: Architecture) -> str:
    *others, last = of.widths
    widths = f"widths {', '.join(map(str, others))} and {last}" if others else f"width {last}"
    return (
        f"{of.kind.replace('-', ' ')}, {widths}, {counted(of.blocks, 'block')} a level, {counted(of.slices, 'slice')}"
    )


def _section(title: str, lines: Sequence[str], level: int = 2) -> list[str]:
    return [f"{'#' * level} {title}", "", *lines, ""] if lines else []


def _bullets(lines: Iterable[str]) -> list[str]:
    return [f"- {line}" for line in lines]


def _benchmark(found: dict[str, Any]) -> list[str]:
    return [
        *_section("Figures", [found["conditions"]]),
        *_images(found["images"]),
        *_section("HU bias by tissue, HU", _biases(found["images"]), 3),
        *_section("Scans as they are, without reference", _noisy_scans(found["noisy_scans"]), 3),
        *_section("Texture and resolution", _texture(found["texture"], found["resolution"])),
        *_section("Detectability of lesions, area under the ROC curve", _detectability(found["detectability"]), 3),
        *_section("What each strength trades, quarter dose, smooth kernel", _strengths(found["strengths"]), 3),
    ]


def _images(rows: Sequence[dict[str, Any]]) -> list[str]:
    head = ["slices", "noise", "RMSE, HU", "PSNR C50/W400, dB", "SSIM C50/W400", "SD removed"]
    cells = [
        [
            row["slices"],
            _noise(row),
            _both(row, "rmse_body", "{:.2f}"),
            _both(row, "psnr", "{:.2f}"),
            _both(row, "ssim", "{:.4f}"),
            _ends(row["sd_removed"], "{:.0%}"),
        ]
        for row in rows
    ]
    return [*table(head, cells), ""]


def _noise(row: dict[str, Any]) -> str:
    """Return a group of conditions in words: the ones it holds, what they share said once."""
    names = row["conditions"]
    return f"{row['noise']} ({', '.join(names)})" if names != [row["noise"]] else row["noise"]


def _biases(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = []
    for slices in dict.fromkeys(row["slices"] for row in rows):
        own = [row for row in rows if row["slices"] == slices]
        tissues = list(dict.fromkeys(t for row in own for t in row["bias"]))
        cells = [[t, *(_ends(row["bias"].get(t), "{:+.2f}") for row in own)] for t in tissues]
        lines += [*table([slices, *(row["noise"] for row in own)], cells), ""]
    return lines[:-1]


def _noisy_scans(found: dict[str, Any]) -> list[str]:
    if found["sd_removed"] is None:
        return []
    return [
        f"Blind estimate of the noise {_ends(found['sd_before'], '{:.1f}')} HU, of which "
        f"{_ends(found['sd_removed'], '{:.0%}')} is removed; correlation of what is removed with the edges of the "
        f"image {_ends(found['structure'], '{:.3f}')} (0: nothing but noise is removed)."
    ]


def _texture(texture: dict[str, Any] | None, resolution: dict[str, Any]) -> list[str]:
    lines = []
    if texture is not None:
        lines += [
            f"The noise left ({texture['sd']} of {texture['sd_before']} HU) has its mean frequency at "
            f"{texture['mean_frequency']} instead of {texture['mean_frequency_before']} cycles/pixel: "
            f"{_ends(texture['shift'], '{:+.1%}')}; {_grain(texture['shift'])}",
            "",
        ]
    if resolution:
        lines += table(
            ["contrast of an edge, HU", "frequency of 50 % task transfer, of the input's"],
            [[contrast, _ends(ratio, "{:.3f}")] for contrast, ratio in resolution.items()],
        )
    return lines


def _grain(shift: Ends | None) -> str:
    """Return in words what a shift of the mean frequency does to the grain, when its interval leaves no doubt."""
    if shift is None or shift[1] <= 0 <= shift[2]:
        return "no change of texture can be told from chance."
    return "its grain is coarser than before." if shift[0] < 0 else "its grain is finer than before."


def _detectability(rows: Sequence[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    return table(
        ["background", "lesion", "Laguerre-Gauss CHO", "gained", "NPW", "gained"],
        [
            [
                r["background"],
                r["lesion"],
                *(
                    cell
                    for o in ("cho", "npw")
                    for cell in (_both(r, o, "{:.3f}"), _ends(r.get(f"{o}_gain"), "{:+.3f}"))
                ),
            ]
            for r in rows
        ],
    )


def _strengths(rows: Sequence[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    head = [
        "strength",
        "RMSE patients, HU",
        "RMSE abdomens, HU",
        "SD removed, abdomens",
        "NPS shift",
        "transfer, 30 HU",
    ]
    shapes = {
        "rmse_patients": "{:.2f}",
        "rmse_truth": "{:.2f}",
        "sd_removed_truth": "{:.0%}",
        "shift": "{:+.1%}",
        "transfer_30": "{:.3f}",
    }
    return table(head, [[f"{r['strength']:g}", *(_ends(r[k], shape) for k, shape in shapes.items())] for r in rows])


def _validation(figures: dict[str, Any], title: str) -> list[str]:
    rows = [
        [
            split,
            f["name"],
            f"{f['rmse_before']} → {f['rmse']}",
            "" if f["psnr_before"] is None else f"{f['psnr_before']} → {f['psnr']}",
            f"{f['bias']:+}",
        ]
        for split in ("validation", "test")
        for f in figures.get(split, [])
    ]
    if not rows:
        return []
    head = ["split", "slices, noise", "RMSE, HU", "PSNR C50/W400, dB", "bias, HU"]
    return _section(title, [figures["conditions"], "", *table(head, rows)])


def _domain(domain: TrainingDomain) -> list[str]:
    ranges = {
        "pixels": (domain.pixel_mm, "mm"),
        "slice thickness": (domain.thickness_mm, "mm"),
        "slice spacing": (domain.spacing_mm, "mm"),
        "tube voltage": (domain.kvp, "kV"),
        "noise added in training": (domain.noise_sd_hu, "HU"),
        "its mean frequency": (domain.noise_mean_frequency, "cycles/pixel"),
        "values": (domain.hu, "HU"),
    }
    return table(
        [domain.modality, "seen in training"],
        [
            *(
                [name, "not known" if r is None else f"{r[0]:.4g} to {r[1]:.4g} {unit}"]
                for name, (r, unit) in ranges.items()
            ),
            ["kernels", ", ".join(domain.kernels) or "not known"],
        ],
    )


def _data(rows: Sequence[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    cells = [[d["name"], str(d["patients"]), str(d["slices"]), d["licence"]] for d in rows]
    head = ["collection", "patients", "slices", "licence"]
    if any(d.get("doi") for d in rows):  # an archive of one's own has none
        head.append("to be cited as")
        cells = [[*cell, f"doi:{d['doi']}" if d.get("doi") else ""] for cell, d in zip(cells, rows, strict=True)]
    return table(head, cells)


def _both(row: dict[str, Any], figure: str, shape: str) -> str:
    """Return a figure before and after; the interval is that of the result."""
    before, after = row.get(f"{figure}_before"), row.get(figure)
    first = "" if before is None else f"{shape.format(before[0])} → "
    return first + _ends(after, shape)


def _ends(found: Ends | None, shape: str) -> str:
    if found is None:
        return "-"
    value, low, high = (shape.format(v) for v in found)
    return f"{value} [{low}, {high}]"
