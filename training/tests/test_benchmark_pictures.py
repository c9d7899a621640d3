"""Pictures of the benchmark: every slice at a whole scale, nothing empty, nothing that compares one method alone."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from meddenoise_training.benchmark import grid
from meddenoise_training.benchmark.cases import truth_cases
from meddenoise_training.benchmark.methods import Method, input_itself
from meddenoise_training.benchmark.plots import write_plots


@pytest.fixture(scope="module")
def abdomen():
    return truth_cases(size=128, seeds=(9001,))[0]


def runs(line):
    """Return the lengths of the stretches of one value."""
    edges = np.flatnonzero(np.any(np.diff(line, axis=0) != 0, axis=1))
    return np.diff(edges)


@pytest.mark.parametrize("methods", [1, 7])
def test_each_pixel_of_a_slice_is_equally_wide(abdomen, tmp_path, methods):
    noisy = abdomen.reference + np.random.default_rng(0).normal(0, 25, abdomen.reference.shape).astype(np.float32)
    shown = [("input", noisy)] + [("a method, strength 0.6", noisy * 0.9)] * methods
    grid._draw(tmp_path / "grid.png", abdomen, noisy, shown)
    picture = (imread(tmp_path / "grid.png")[..., :3] * 255).round().astype(int)
    side = noisy[grid._region(abdomen)].shape[1]
    scale = -(-grid._LEAST_PANEL // side)
    columns = picture[2 * grid._TITLE + 5, -(grid._GAP + side * scale) : -grid._GAP]
    assert len(columns) == side * scale
    assert len(runs(columns)) > side / 2
    assert np.all(runs(columns) % scale == 0)


@pytest.mark.parametrize("methods", [1, 5, 7])
def test_grid_has_no_empty_column_and_names_columns_alike(abdomen, tmp_path, methods, monkeypatch):
    kept = []
    monkeypatch.setattr("matplotlib.pyplot.close", kept.append)
    shown = [("input", abdomen.reference + 1)] + [(f"method {k}", abdomen.reference + 2) for k in range(methods)]
    grid._draw(tmp_path / "grid.png", abdomen, shown[0][1], shown)
    figure = kept[0]
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 2 * (methods + 2) - 1  # all but what is taken away from the input
    assert max(axes.get_position().x1 for axes in figure.axes) > 0.98
    titles = [axes.get_title() for axes in panels]
    assert "truth" in titles
    assert "input - truth" in titles
    assert [t.get_text() for t in figure.axes[1].texts] == ["slices: C50/W400 HU"]


def images(method_names, patients=("p", "q")):
    row = {"1": {"rmse_body": 20.0, "psnr": 30.0, "bias": {}}}
    better = {"1": {"rmse_body": 10.0, "psnr": 35.0, "bias": {}}}
    worse = {"1": {"rmse_body": 14.0, "psnr": 33.0, "bias": {}}}
    return {
        "white 25": {
            name: [
                {"patient": patients[0], "strengths": row if name == "input" else better},
                {"patient": patients[1], "strengths": row if name == "input" else worse},
            ]
            for name in method_names
        }
    }


def drawn(tmp_path, monkeypatch, names, gains=None):
    """Return the files drawn of some methods, and the figures; the gains in PSNR of some are given, dB."""
    methods = [input_itself(), *(Method(n, "ours", n, lambda noisy, _: noisy.image, (1.0,)) for n in names)]
    found = images([m.name for m in methods])
    for name, gain in (gains or {}).items():
        for row in found["white 25"][name]:
            row["strengths"] = {"1": {**row["strengths"]["1"], "psnr": 30.0 + gain}}
    costs = [{"name": m.name, "milliseconds": 10.0 * (k + 1)} for k, m in enumerate(methods)]
    tasks = {"uniform": {}, "discs": {}, "patient": {}}
    kept = []
    monkeypatch.setattr("matplotlib.pyplot.close", kept.append)
    result = {"images": {"patients": found, "truth": found}, "tasks": tasks, "methods": costs}
    return write_plots(tmp_path, result, methods), kept


def test_one_method_has_no_chart_of_quality_against_time(tmp_path, monkeypatch):
    assert "quality-time.png" not in drawn(tmp_path, monkeypatch, ["one"])[0]
    assert "quality-time.png" in drawn(tmp_path, monkeypatch, ["one", "two"])[0]


def test_quality_against_time_names_methods_from_best_to_worst(tmp_path, monkeypatch):
    names, figures = drawn(tmp_path, monkeypatch, ["worse", "better"], {"worse": 1.0, "better": 2.0})
    axes = figures[names.index("quality-time.png")].axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["better", "worse"]
    heights = [float(points.get_offsets()[0, 1]) for points in axes.collections]
    assert heights == pytest.approx([2.0, 1.0])


def test_rmse_has_its_interval_over_patients(tmp_path, monkeypatch):
    names, figures = drawn(tmp_path, monkeypatch, ["one"])
    axes = figures[names.index("rmse-truth.png")].axes[0]
    bars = [segment for lines in axes.collections for segment in getattr(lines, "get_segments", list)()]
    heights = sorted((float(np.ptp(s[:, 1])), float(s[:, 1].min())) for s in bars)
    assert heights[-1] == pytest.approx((4, 10))  # of 10 and 14 HU; the bootstrap of two patients reaches both
    assert "95 % interval" in axes.get_ylabel()
