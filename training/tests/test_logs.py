"""Logs, pictures and plots of a run: complete, without what a broken-off run wrote too much; for TensorBoard too."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest

from meddenoise.errors import InputError, OutputError
from meddenoise_training import plots
from meddenoise_training.config import load_config
from meddenoise_training.fit import fit
from meddenoise_training.logs import FIGURES_NAME, HEADER, LOG_NAME, PICTURES_FOLDER, Logs, read_log
from meddenoise_training.manifest import open_slices, read_manifest
from meddenoise_training.plots import FIGURES_PLOT, LOSS_PLOT, plot
from meddenoise_training.validation import Figures

SETTINGS = {
    **{"network.widths": [4, 8], "network.blocks": 1, "data.patch": 32, "data.batch": 2, "fit.warmup_steps": 1},
    **{"fit.precision": "32-true", "fit.validation_slices": 2, "fit.log_every": 1, "fit.validate_every": 2},
}


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    fit(load_config(None, {**SETTINGS, "fit.steps": 4}), prepared, folder, report=lambda _: None)
    return folder


def test_pictures_show_noisy_denoised_and_reference_at_the_abdomen_window(run, prepared):
    assert [p.name for p in sorted((run / PICTURES_FOLDER).iterdir())] == ["step-0000002.png", "step-0000004.png"]
    picture = matplotlib.image.imread(run / PICTURES_FOLDER / "step-0000004.png")[..., 0]
    header, picture = picture[:HEADER], picture[HEADER:]
    assert all(np.ptp(part) > 0.5 for part in np.array_split(header, 3, axis=1)), "each column has its name above"
    assert picture.shape == (2 * 64, 3 * 64), "two slices, three pictures of each"
    hu = np.asarray(open_slices(prepared, "validation", read_manifest(prepared)), dtype=float)
    grey = np.clip((hu + 150) / 400, 0, 1)
    reference = picture[:64, 128:]
    assert min(float(np.abs(reference - g).max()) for g in grey) < 0.003
    noisy, denoised = picture[:64, :64], picture[:64, 64:128]
    assert np.abs(noisy - reference).mean() > 0.01
    assert np.abs(denoised - noisy).mean() < 0.5 * np.abs(noisy - reference).mean(), "after four steps still much alike"


def test_tensorboard_reads_the_figures_of_the_csv(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    logged = [(e.step, e.value) for e in board.Scalars("training/loss")]
    rows = read_log(run / LOG_NAME)
    assert logged == [(int(r["step"]), pytest.approx(float(r["loss"]), rel=1e-4)) for r in rows]
    figures = [r for r in read_log(run / FIGURES_NAME) if r["name"] == "ct, white"]
    assert [e.value for e in board.Scalars("rmse/ct, white")] == pytest.approx([float(r["rmse"]) for r in figures])
    assert len(board.Images("noisy, denoised, reference")) == 2


def test_plots_are_written_at_the_end_and_again_when_asked(run):
    for name in (LOSS_PLOT, FIGURES_PLOT):
        assert matplotlib.image.imread(run / name).std() > 0.05
        (run / name).unlink()
    assert plot(run) == [run / LOSS_PLOT, run / FIGURES_PLOT]
    assert (run / LOSS_PLOT).exists()


def test_curves_without_added_noise_do_not_press_the_others_together(tmp_path, monkeypatch):
    logs = Logs(tmp_path, 0, tensorboard=False)
    for step in (10, 20):
        logs.training(step, {"loss": 2.5 / step, "gradient_norm": 1.0, "learning_rate": {10: 1e-3, 20: 2e-5}[step]})
        names = (("ct, white", 12.0), ("synthetic, white", 10.0), ("synthetic, none", 0.5))
        logs.validation(step, [Figures(name, 25, rmse, 20, 30, 0.1) for name, rmse in names])
    figures = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: figures.append(figure))
    plot(tmp_path)
    training, validation = figures
    assert "25 HU" in validation.get_suptitle()
    assert "learning rate" in training.get_suptitle()
    assert [len(ax.lines) for ax in validation.axes] == [2, 1, 3]
    assert validation.axes[0].get_ylim()[0] > 5
    for figure in (training, validation):
        figure.draw_without_rendering()
        assert np.ptp([ax.yaxis.label.get_window_extent().x1 for ax in figure.axes]) < 1.5, "labels are aligned"
        assert not any("10^" in t.get_text() for ax in figure.axes for t in ax.get_yticklabels(which="both"))
    ticks = {t.get_text() for t in training.axes[-1].get_yticklabels()}
    assert {"1e-3", "1e-4", "5e-5"} < ticks, "not 0.0001 beside 5e-05"


def test_lines_beyond_the_last_checkpoint_are_taken_out_when_a_run_goes_on(tmp_path):
    logs = Logs(tmp_path, 0, tensorboard=False)
    for step in (1, 2, 3):
        logs.training(step, {"loss": step / 10, "gradient_norm": 1.0})
    with (tmp_path / LOG_NAME).open("a") as file:
        file.write("4,0.")
    Logs(tmp_path, 2, tensorboard=False).training(3, {"loss": 0.7, "gradient_norm": 1.0})
    assert [(r["step"], r["loss"]) for r in read_log(tmp_path / LOG_NAME)] == [("1", "0.1"), ("2", "0.2"), ("3", "0.7")]


def test_what_cannot_be_plotted_or_logged_is_said_in_a_sentence(tmp_path):
    with pytest.raises(InputError, match="no logs in"):
        plot(tmp_path)
    logs = Logs(tmp_path, 0, tensorboard=False)
    (tmp_path / LOG_NAME).mkdir()
    with pytest.raises(OutputError, match="cannot be written: Is a directory; the last checkpoint is kept"):
        logs.training(1, {"loss": 1.0})
