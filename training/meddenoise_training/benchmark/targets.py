"""The figures that the shipped models are to reach, each beside what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from meddenoise.metrics import Interval
from meddenoise.network import parameter_count
from meddenoise_training.benchmark.evaluation import Figures
from meddenoise_training.benchmark.images import strength_name
from meddenoise_training.benchmark.methods import Method
from meddenoise_training.benchmark.observers import auc_difference, shown
from meddenoise_training.benchmark.summary import Source

Size = Literal["standard", "fast"]
#: A network of ours with more parameters is held to the figures of Standard.
_STANDARD_FROM = 600_000
_ALL_GROUPS = ("white", "unseen white", "smooth", "sharp", "unseen kernel")
QUARTER = "dose 25 % smooth"
#: How the bias of a tissue is limited: Standard, Fast.
_BIAS_LIMITS = {"bone": (2.0, 3.0)}
_BIAS_LIMIT = (0.5, 1.0)
#: An AUC counts as no lower when it is not lower by more than this, with 95 % certainty: none can be shown to be equal.
_AUC_MARGIN = 0.02
_NOTHING = "not measured"
#: The target of a figure of which nothing is asked.
REPORTED = "reported"


@dataclass(frozen=True)
class Row:
    """A figure: what is asked, what was measured on patients and on truth, and whether all that was measured will do.

    :param reached: None where nothing was asked or measured, or too little to decide.
    """

    figure: str
    target: str
    patients: str
    truth: str
    reached: bool | None

    @property
    def measured(self) -> bool:
        """Return whether there is a figure at all."""
        return not {self.patients, self.truth} <= {_NOTHING, "-"}


@dataclass(frozen=True)
class Measured:
    """All that the rows are taken from."""

    patients: Source
    truth: Source
    tasks: Mapping[str, Mapping[str, Any]]
    flicker: Mapping[str, Mapping[str, Mapping[str, float]]]
    methods: list[Method]

    def names(self, *groups: str) -> list[str]:
        """Return the methods of some groups."""
        return [m.name for m in self.methods if m.group in groups]

    @property
    def best_peer(self) -> str:
        """Return what the best classical peer is called: without BM3D, the strongest of them, it is not the best."""
        known = any(name.startswith("BM3D") for name in self.names("classical"))
        return "the best classical peer" if known else "the best classical peer but BM3D, which was not measured"


def figures_to_reach(method: Method, measured: Measured, *, at_default: bool = True) -> list[Row]:
    """Return the table for one of our models.

    :param at_default: its strength is the one meant for use, at which noise is to keep its texture.
    """
    size: Size = (
        "standard" if method.network is not None and parameter_count(method.network) > _STANDARD_FROM else "fast"
    )
    fast = size == "fast"
    p, t = measured.patients, measured.truth

    def gain(text: str, groups: tuple[str, ...], rivals: str, least: float) -> Row:
        found = [s.above_best(s.conditions(*groups), method.name, rivals) for s in (p, t)]
        return _row(text, f">= {least:+.1f} dB", found, lambda i: i.value >= least, "{:+.2f} dB")

    return [
        gain(f"dose 50/25/10 %: PSNR above {measured.best_peer}", ("smooth",), "classical", 1.6 if fast else 2.0),
        gain("the same with sharp-kernel noise", ("sharp",), "classical", 1.2 if fast else 1.5),
        gain(f"white 10/25/50 HU: PSNR above {measured.best_peer}", ("white",), "classical", 0.0 if fast else 0.3),
        _above_baselines(method, measured, 0.2 if fast else 0.5, bound=not fast),
        _row(
            "PSNR gain over the noisy input, white 25 HU",
            f">= {7.1 if fast else 7.5} dB",
            [s.above(s.conditions_named("white 25"), method.name, "input") for s in (p, t)],
            lambda i: i.value >= (7.1 if fast else 7.5),
            "{:+.2f} dB",
        ),
        *(_rank(method, measured, figure, 2 if fast else 1) for figure in ("ssim", "rmse")),
        _bias(method, measured, int(fast)),
        _row(
            "SD reduction at quarter dose",
            ">= 45 %",
            [s.sd_reduction(s.conditions_named(QUARTER), method.name) for s in (p, t)],
            lambda i: i.value >= 0.45,
            "{:.0%}",
        ),
        _transfer(method, measured),
        _texture(method, measured, at_default=at_default),
        _detectability(method, measured, with_peers=not fast),
        _left_alone(method, measured),
        _pattern(method, measured),
        _flicker(method, measured),
    ]


def _row(figure: str, target: str, found: list[Interval | None], enough: Callable[[Interval], bool], shape: str) -> Row:
    known = [i for i in found if i is not None]
    patients, truth = (shown(i, shape) if i is not None else _NOTHING for i in found)
    return Row(figure, target, patients, truth, all(map(enough, known)) if known else None)


def _above_baselines(method: Method, measured: Measured, least: float, *, bound: bool) -> Row:
    found = [
        s.above_best(s.conditions(*_ALL_GROUPS), method.name, "baseline") for s in (measured.patients, measured.truth)
    ]
    return _row(
        "PSNR above the best baseline network, mean of all conditions",
        f">= {least:+.1f} dB" + (", lower 95 % bound > 0" if bound else ""),
        found,
        lambda i: i.value >= least and (not bound or i.low > 0),
        "{:+.2f} dB",
    )


def _rank(method: Method, measured: Measured, figure: str, place: int) -> Row:
    """Return the place of a method among the peers, by the mean of all conditions, leaving out our other models."""
    title, key = {"ssim": ("SSIM", "ssim"), "rmse": ("RMSE in the body", "rmse_body")}[figure]
    texts, fine = [], []
    for source in (measured.patients, measured.truth):
        conditions = source.conditions(*_ALL_GROUPS)
        means = {}
        for name in [method.name, *measured.names("classical", "baseline")]:
            interval = source.group_mean(conditions, name, key)
            if interval is not None:
                means[name] = interval.value
        if method.name not in means or len(means) < 2:
            texts.append(_NOTHING)
            continue
        sign = -1 if figure == "ssim" else 1
        order = sorted(means, key=lambda name: sign * means[name])
        rank = order.index(method.name) + 1
        value = f"{means[method.name]:.4f}" if figure == "ssim" else f"{means[method.name]:.2f} HU"
        first = next(name for name in order if name != method.name)
        texts.append(f"place {rank} of {len(means)} ({value}; {first}: {means[first]:.4g})")
        fine.append(rank <= place)
    return Row(
        f"{title}, mean of all conditions",
        "best of all" if place == 1 else "second best",
        texts[0],
        texts[1],
        all(fine) if fine else None,
    )


def _bias(method: Method, measured: Measured, column: int) -> Row:
    limit, bone = _BIAS_LIMIT[column], _BIAS_LIMITS["bone"][column]
    texts, fine = [], []
    for source in (measured.patients, measured.truth):
        # Over all conditions: within one slice and condition the noise itself moves the mean of a small organ by 1 HU.
        conditions = source.conditions(*_ALL_GROUPS)
        found = {tissue: mean.value for tissue, mean in source.biases(conditions, method.name).items()}
        furthest = source.tissues(conditions, method.name)
        texts.append(
            ", ".join(f"{t} {value:+.2f} ({furthest[t].value:+.2f})" for t, value in found.items()) or _NOTHING
        )
        if source is measured.truth:  # against a noisy reference a class chosen by it has a bias of its own
            fine += [abs(value) <= _BIAS_LIMITS.get(tissue, _BIAS_LIMIT)[column] for tissue, value in found.items()]
    target = f"within {limit:g} HU (bone {bone:g} HU)"
    return Row(
        "HU bias by tissue, mean of all conditions (furthest from 0 under one of them)",
        target,
        texts[0],
        texts[1],
        all(fine) if fine else None,
    )


def _transfer(method: Method, measured: Measured) -> Row:
    found: Figures = measured.tasks["discs"].get(method.name, {}).get(strength_name(method.strength), {})
    texts, fine = [], []
    for contrast, least in (("30", 0.95), ("100", 0.98), ("900", 0.99)):
        if contrast in found and found[contrast]["ratio"] is not None:
            texts.append(f"{contrast} HU: {shown(Interval(*found[contrast]['ratio']), '{:.3f}')}")
            fine.append(found[contrast]["ratio"][0] >= least)
    return Row(
        "50 % task transfer function of the input's, 30 / 100 / 900 HU",
        ">= 0.95 / 0.98 / 0.99",
        "-",
        "; ".join(texts) or _NOTHING,
        all(fine) if fine else None,
    )


def _texture(method: Method, measured: Measured, *, at_default: bool) -> Row:
    found = measured.tasks["uniform"].get(method.name, {}).get(strength_name(method.strength), {}).get("texture")
    shift = None if found is None or found["shift"] is None else Interval(*found["shift"])
    return Row(
        f"NPS mean-frequency shift at strength {method.strength:g}",
        "within 16 %" if at_default else REPORTED,
        "-",
        _NOTHING if shift is None else shown(shift, "{:+.1%}"),
        None if shift is None or not at_default else abs(shift.value) <= 0.16,
    )


def _detectability(method: Method, measured: Measured, *, with_peers: bool) -> Row:
    """Return every lesion's gain in AUC, over the input and over the best peer.

    Reached is what the 95 % interval of the paired gain places above -:data:`_AUC_MARGIN`; missed, of the rest, what it
    places below 0; a gain that neither can be said of is not decided, and nor is the row then.
    """
    texts, gains = {"uniform": _NOTHING, "patient": _NOTHING}, []
    for background in texts:
        parts = measured.tasks[background]
        own = parts.get(method.name, {}).get(strength_name(method.strength))
        if own is None or "input" not in parts:
            continue
        lines = []
        for lesion, found in own["lesions"].items():
            base = parts["input"]["1"]["lesions"][lesion]["cho"]
            if found["cho"] is None or base is None:
                continue
            against_input = auc_difference(found["cho"], base)
            line = f"{lesion}: {shown(against_input, '{:+.3f}')}"
            gains.append(against_input)
            rivals = {
                name: parts[name]["1"]["lesions"][lesion]["cho"]
                for name in measured.names("classical", "baseline")
                if name in parts
            }
            if with_peers and rivals:
                best = max(rivals, key=lambda name: rivals[name]["auc"][0])
                against_best = auc_difference(found["cho"], rivals[best])
                line += f" (to {best} {shown(against_best, '{:+.3f}')})"
                gains.append(against_best)
            lines.append(line)
        texts[background] = "; ".join(lines) or _NOTHING
    target = ">= the input's" + (" and >= the best peer's" if with_peers else "")
    unsure = [gain for gain in gains if gain.low < -_AUC_MARGIN]
    missed = any(gain.high < 0 for gain in unsure)
    return Row(
        "detectability of each lesion: CHO AUC less the input's (patient | uniform background)",
        f"{target}, at least within {_AUC_MARGIN:g}",
        texts["patient"],
        texts["uniform"],
        None if not gains or (unsure and not missed) else not unsure,
    )


def _left_alone(method: Method, measured: Measured) -> Row:
    source = measured.truth
    values = source.by_patient("none", method.name, "psnr") if "none" in source.table else {}
    lowest = min(values.values()) if values else None
    return Row(
        "noise-free input left alone: PSNR to itself",
        ">= 45 dB",
        "-",
        _NOTHING if lowest is None else f"{np.mean(list(values.values())):.1f} dB (lowest {lowest:.1f})",
        None if lowest is None else lowest >= 45,
    )


def _pattern(method: Method, measured: Measured) -> Row:
    """Return the strongest periodic pattern: 0.1 HU is a hundredth of the noise and cannot be seen.

    Of each condition the median over patients: a network's strides leave their pattern in every slice, but among
    hundreds of slices chance shows one in some.
    """
    texts, fine = [], []
    for source in (measured.patients, measured.truth):
        by_condition = [
            list(source.by_patient(c, method.name, "pattern").values()) for c in source.conditions(*_ALL_GROUPS, "none")
        ]
        medians = [float(np.median(values)) for values in by_condition if values]
        texts.append(f"{max(medians):.3f} HU" if medians else _NOTHING)
        fine += [median <= 0.1 for median in medians]
    return Row(
        "seam or checkerboard: period of 2, 4 or 8 pixels, median over patients",
        "none (<= 0.1 HU)",
        texts[0],
        texts[1],
        all(fine) if fine else None,
    )


def _flicker(method: Method, measured: Measured) -> Row:
    """Return by how much a method moves slices against their neighbours; 1 HU is one step of grey in 400 HU."""
    found = measured.flicker.get(method.name, {}).get(strength_name(method.strength))
    return Row(
        "slice-to-slice flicker: SD of what is added to the step between neighbours' means",
        "none (<= 0.1 HU)",
        _NOTHING if found is None else f"{found['added']:.3f} HU (input {found['before']:.2f})",
        "-",
        None if found is None else found["added"] <= 0.1,
    )
