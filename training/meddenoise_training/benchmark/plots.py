"""The benchmark's plots: RMSE by condition, NPS, transfer functions, detectability, quality against time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddenoise_training.benchmark.conditions import CONDITIONS
from meddenoise_training.benchmark.images import strength_name
from meddenoise_training.benchmark.methods import Method
from meddenoise_training.benchmark.store import write_beside
from meddenoise_training.benchmark.summary import Source

_DPI = 100
_NOTE = "MedDenoise benchmark; research use only, not for diagnosis"


def write_plots(out: Path, result: dict[str, Any], methods: Sequence[Method]) -> list[str]:
    """Draw what there is to draw; return the names of the files, beside each other in the folder."""
    looks = _Looks(methods)
    drawn = [
        *(_rmse(out, source, Source(result["images"][source], methods), looks) for source in ("patients", "truth")),
        _texture(out, result["tasks"]["uniform"], methods, looks),
        _transfer(out, result["tasks"]["discs"], methods, looks),
        *(_detectability(out, b, result["tasks"][b], methods, looks) for b in ("uniform", "patient")),
        _pareto(out, result, methods, looks),
    ]
    return [name for name in drawn if name is not None]


class _Looks:
    """Colour and marker of each method: ours warm and thick, the others cool and thin, the input black."""

    def __init__(self, methods: Sequence[Method]) -> None:
        import matplotlib

        matplotlib.use("Agg")
        cool = [matplotlib.colormaps["tab20"](k) for k in range(20) if k // 2 not in (1, 3)]  # no orange, no red
        markers = "os^vDPX<>*hp"
        warm = ["#d62728", "#ff7f0e", "#6a0f49", "#f4a582"]
        self._by_name: dict[str, dict[str, Any]] = {}
        counts = {"ours": 0, "others": 0}
        for m in methods:
            if m.group == "input":
                look: dict[str, Any] = {"color": "black", "marker": "_", "linestyle": ":"}
            elif m.group == "ours":
                look = {"color": warm[counts["ours"] % len(warm)], "marker": "o", "linewidth": 2.4, "zorder": 5}
                counts["ours"] += 1
            else:
                k = counts["others"]
                look = {"color": cool[k % len(cool)], "marker": markers[k % len(markers)], "linewidth": 1.2}
                look["linestyle"] = "--" if m.group == "baseline" else "-"
                counts["others"] += 1
            self._by_name[m.name] = look

    def line(self, name: str) -> dict[str, Any]:
        """Return how a curve is drawn, without markers."""
        return {k: v for k, v in self._by_name[name].items() if k != "marker"}

    def point(self, name: str) -> dict[str, Any]:
        """Return how a point is drawn."""
        look = self._by_name[name]
        return {"color": look["color"], "marker": look["marker"], "zorder": look.get("zorder", 3)}


def _rmse(out: Path, name: str, source: Source, looks: _Looks) -> str | None:
    conditions = [c.name for c in CONDITIONS if c.name in source.table and c.group != "none"]
    if not conditions:
        return None
    # No wider than the points need: a few of them far apart cannot be compared.
    figure, axes = _figure(min(11.0, 4.5 + 0.16 * len(conditions) * (len(source.methods) + 2)), 4.8)
    places = np.arange(len(conditions))
    width = 0.8 / max(1, len(source.methods))
    for number, m in enumerate(source.methods):
        found = [source.group_mean([c], m.name, "rmse_body") for c in conditions]
        mean, low, high = np.array([[np.nan] * 3 if i is None else [i.value, i.low, i.high] for i in found]).T
        shift = (number - (len(source.methods) - 1) / 2) * width
        _interval(axes, places + shift, mean, low, high, looks.point(m.name)["color"])
        size = 60 if m.group == "ours" else 30
        axes.scatter(places + shift, mean, s=size, label=m.name, **looks.point(m.name))
    for edge in places[:-1] + 0.5:
        axes.axvline(edge, color="0.9", linewidth=0.8)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_xticks(places, [c.replace(" ", "\n", 3).replace("\n%", " %") for c in conditions], fontsize=8)
    axes.set_ylabel("RMSE in the body, HU (log scale), 95 % interval")
    titles = {
        "patients": "test patients; reference with noise of its own",
        "truth": "numerical abdomens; reference = truth",
    }
    axes.set_title(f"RMSE by condition: {titles[name]}")
    return _save(figure, axes, out, f"rmse-{name}.png", legend="right")


def _texture(out: Path, parts: dict[str, Any], methods: Sequence[Method], looks: _Looks) -> str | None:
    shown = [m for m in methods if m.name in parts]
    if not shown or "input" not in parts:
        return None
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    base = parts["input"]["1"]["texture"]
    for m in shown:
        found = parts[m.name][strength_name(m.strength)]["texture"]
        f, nps = np.array(found["frequency"]), np.array(found["nps"])
        seen = f > 0
        left.plot(f[seen], nps[seen], label=m.name, **looks.line(m.name))
        if m.group != "input":
            right.plot(f[seen], np.array(found["reduction"], float)[seen], **looks.line(m.name))
    left.set(xlabel="cycles/pixel", ylabel="NPS, HU² mm²", title="NPS of uniform tissue, quarter dose")
    left.set_yscale("log")
    top = max(base["nps"])
    left.set_ylim(top * 1e-4, top * 2)
    right.set(
        xlabel="cycles/pixel",
        ylabel="log10(NPS before / NPS after)",
        title="Noise-reduction profile: flat = texture kept",
        ylim=(-0.3, 4),
    )
    return _save(figure, left, out, "nps.png", legend="outside")


def _transfer(out: Path, parts: dict[str, Any], methods: Sequence[Method], looks: _Looks) -> str | None:
    shown = [m for m in methods if m.name in parts]
    if not shown:
        return None
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(11, 4.4), sharey=True, layout="constrained")
    for contrast, axes in zip(("30", "100", "900"), panels, strict=True):
        for m in shown:
            found = parts[m.name][strength_name(m.strength)].get(contrast)
            if found is not None and found.get("ttf"):
                axes.plot(found["frequency"], found["ttf"], label=m.name, **looks.line(m.name))
        axes.axhline(0.5, color="0.8", linewidth=0.8)
        axes.set(title=f"contrast {contrast} HU", xlabel="cycles/mm", xlim=(0, 0.8), ylim=(0, 1.15))
    panels[0].set_ylabel("task transfer function, quarter dose")
    return _save(figure, panels[0], out, "ttf.png", legend="outside")


def _detectability(
    out: Path, background: str, parts: dict[str, Any], methods: Sequence[Method], looks: _Looks
) -> str | None:
    shown = [m for m in methods if m.name in parts]
    measured = [f["cho"] for m in shown for f in parts[m.name][strength_name(m.strength)]["lesions"].values()]
    if not any(measured):
        return None
    figure, axes = _figure(11, 4.6)
    lesions = list(parts[shown[0].name][strength_name(shown[0].strength)]["lesions"])
    width = 0.75 / len(shown)
    for number, m in enumerate(shown):
        found = [parts[m.name][strength_name(m.strength)]["lesions"][lesion]["cho"] for lesion in lesions]
        auc, low, high = np.array([[np.nan] * 3 if f is None else f["auc"] for f in found]).T
        x = np.arange(len(lesions)) + (number - (len(shown) - 1) / 2) * width
        _interval(axes, x, auc, low, high, looks.point(m.name)["color"])
        axes.scatter(x, auc, s=55 if m.group == "ours" else 28, label=m.name, **looks.point(m.name))
    for edge in np.arange(len(lesions) - 1) + 0.5:
        axes.axvline(edge, color="0.9", linewidth=0.8)
    axes.axhline(0.5, color="0.7", linewidth=0.8)
    axes.set_xticks(range(len(lesions)), lesions)
    axes.set_ylabel("AUC of the Laguerre-Gauss CHO, 95 % interval")
    where = {"uniform": "uniform background", "patient": "patients' soft tissue"}[background]
    axes.set_title(f"Detectability of inserted lesions, {where}, quarter dose")
    return _save(figure, axes, out, f"detectability-{background}.png", legend="right")


def _pareto(out: Path, result: dict[str, Any], methods: Sequence[Method], looks: _Looks) -> str | None:
    """Draw quality against time: the mean gain in PSNR over the input, all conditions, truth; of two or more."""
    source = Source(result["images"]["truth"], methods)
    conditions = [c.name for c in CONDITIONS if c.name in source.table and c.group != "none"]
    gains = {m.name: source.above(conditions, m.name, "input") for m in methods if m.group != "input"}
    if sum(gain is not None for gain in gains.values()) < 2 or not any(m.group == "input" for m in methods):
        return None
    milliseconds = {m["name"]: m["milliseconds"] for m in result["methods"]}
    figure, axes = _figure(9, 5)
    # A legend from best to worst, as the points lie: names beside points cover each other where filters are alike.
    shown = [(m, gain) for m in methods if (gain := gains.get(m.name)) is not None]
    for m, gain in sorted(shown, key=lambda pair: -pair[1].value):
        size = 90 if m.group == "ours" else 40
        axes.scatter(milliseconds[m.name], gain.value, s=size, label=m.name, **looks.point(m.name))
    axes.set_xscale("log")
    axes.margins(x=0.15, y=0.1)
    axes.set(xlabel="milliseconds a slice, processor (log scale)", ylabel="PSNR gain over the input, dB")
    axes.set_title("Quality against time: numerical abdomens, mean of all conditions")
    axes.grid(alpha=0.3)
    return _save(figure, axes, out, "quality-time.png", legend="right")


def _figure(width: float, height: float) -> tuple[Any, Any]:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _interval(axes: Any, x: Any, value: Any, low: Any, high: Any, colour: Any) -> None:
    """Draw 95 % intervals as thin bars; rounding may put a bound on the wrong side of its value."""
    bars = np.clip([value - low, high - value], 0, None)
    axes.errorbar(x, value, yerr=bars, fmt="none", ecolor=colour, elinewidth=1, capsize=2, alpha=0.7)


def _save(figure: Any, axes: Any, out: Path, name: str, *, legend: str) -> str:
    import matplotlib.pyplot as plt

    if legend == "right":
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    elif legend == "outside":
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, fontsize=8, loc="outside right center", frameon=False)
    figure.supxlabel(_NOTE, fontsize=7, color="0.4", x=0.01, ha="left")
    write_beside(out / name, lambda path: figure.savefig(path, dpi=_DPI, format="png"))
    plt.close(figure)
    return name
