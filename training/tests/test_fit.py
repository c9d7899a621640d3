"""Training: it denoises, resumes bit for bit, refuses what does not fit, keeps the last good checkpoint."""

from __future__ import annotations

import csv
import locale
import re
import shutil

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from meddenoise.errors import InputError
from meddenoise_training.checkpoint import read_checkpoint
from meddenoise_training.config import load_config
from meddenoise_training.fit import fit, steps_within
from meddenoise_training.logs import FIGURES_NAME, LOG_NAME
from meddenoise_training.losses import charbonnier
from meddenoise_training.processes import Processes
from meddenoise_training.state import FitState, _moving_average
from meddenoise_training.validation import Validation

TINY = {
    "data.patch": 32,
    "data.batch": 2,
    "fit.warmup_steps": 2,
    "fit.precision": "32-true",
    "fit.log_every": 5,
    "fit.validate_every": 1000,
    "fit.validation_slices": 1,
    "fit.ema_decay": 0.9,
    "fit.tensorboard": False,
}


def tiny(**changes):
    return load_config(None, {**TINY, **{k.replace("__", "."): v for k, v in changes.items()}})


def quiet(_):
    pass


def untrained(config, prepared) -> FitState:
    return FitState(config, prepared, Processes().launch("32-true"))


def tensors_of(state: FitState):
    for name, part in (("network", state.plain), ("ema", state.ema)):
        yield from ((f"{name} {k}", v) for k, v in part.state_dict().items())
    for number, values in state.optimizer.state_dict()["state"].items():
        yield from ((f"optimizer {number} {k}", v) for k, v in values.items())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_interrupted_and_resumed_is_bit_for_bit_uninterrupted(prepared, tmp_path, precision):
    config = tiny(fit__steps=10, fit__precision=precision)
    whole = fit(config, prepared, tmp_path / "whole", report=quiet)
    asked = iter([False] * 4 + [True])
    part = fit(config, prepared, tmp_path / "parts", report=quiet, stop=lambda: next(asked))
    assert part.step == 4
    lines: list[str] = []
    resumed = fit(config, prepared, tmp_path / "parts", report=lines.append)
    assert lines[0] == "Going on from step 4 of 10."
    assert resumed.step == whole.step == 10
    for (name, a), (_, b) in zip(tensors_of(whole), tensors_of(resumed), strict=True):
        assert torch.equal(a, b), name
    assert whole.schedule.get_last_lr() == resumed.schedule.get_last_lr()


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler, and there is none")
def test_compiled_network_learns_what_the_plain_one_learns(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    # Inductor reads its templates in the locale's encoding, and other libraries leave the locale at "C".
    locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    changes = {"network__widths": [8, 16], "network__blocks": 1, "fit__steps": 4, "fit__precision": "bf16-mixed"}
    plain = fit(tiny(**changes), prepared, tmp_path / "plain", report=quiet)
    compiled = fit(tiny(**changes, fit__compile=True), prepared, tmp_path / "compiled", report=quiet)
    assert any("_orig_mod" in name for name, _ in compiled.network.named_modules()), "it was not compiled"
    for (name, a), (_, b) in zip(compiled.plain.state_dict().items(), plain.plain.state_dict().items(), strict=True):
        assert torch.allclose(a, b, atol=2e-2), name
    assert read_checkpoint(tmp_path / "compiled")["network"].keys() == plain.plain.state_dict().keys()


def test_training_denoises_validation_slices(prepared, tmp_path):
    """After 300 small steps, white noise of 25 HU on a patient never trained on has clearly fallen; the loss too."""
    noise = {"noise__sd_low": 20.0, "noise__sd_high": 30.0, "noise__white_share": 1.0, "noise__clean_share": 0.0}
    length = {"fit__steps": 300, "fit__warmup_steps": 20, "fit__validate_every": 300}
    config = tiny(data__batch=4, fit__learning_rate=4e-3, **noise, **length)
    state = fit(config, prepared, tmp_path / "run", report=quiet)
    with (tmp_path / "run" / FIGURES_NAME).open() as file:
        figures = {row["name"]: row for row in csv.DictReader(file)}
    assert float(figures["ct, white"]["rmse_before"]) == pytest.approx(25, rel=0.05)
    assert float(figures["ct, white"]["rmse"]) < 21.5
    assert abs(float(figures["ct, white"]["bias"])) < 3
    with (tmp_path / "run" / LOG_NAME).open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 60
    assert sum(losses[-10:]) < 0.85 * sum(losses[:10])
    (figures_now, *_) = Validation(prepared, "validation", 1).figures(state.ema.module)
    assert f"{figures_now.rmse:.3f}" == f"{float(figures['ct, white']['rmse']):.3f}", "noise of fixed seeds"


def test_training_starts_from_the_identity(prepared):
    state = untrained(tiny(), prepared)
    x = torch.randn(1, 1, 32, 32)
    assert torch.equal(state.plain(x), x)


def test_learning_rate_warms_up_and_falls_to_a_hundredth(prepared):
    state = untrained(tiny(fit__steps=20, fit__warmup_steps=5, fit__learning_rate=1.0), prepared)
    rates = []
    for _ in range(20):
        rates.append(state.schedule.get_last_lr()[0])
        state.optimizer.step()
        state.schedule.step()
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert state.schedule.get_last_lr()[0] == pytest.approx(0.01)


def test_loss_is_quadratic_within_the_noise_and_linear_beyond():
    assert charbonnier(torch.tensor([0.0])) == 0
    assert float(charbonnier(torch.tensor([0.01]))) == pytest.approx(0.01**2 / 2, rel=0.01)
    assert float(charbonnier(torch.tensor([100.0]))) == pytest.approx(99, rel=0.01)


def test_another_configuration_does_not_resume_but_another_length_does(prepared, tmp_path):
    fit(tiny(fit__steps=3), prepared, tmp_path, report=quiet)
    with pytest.raises(InputError, match="another configuration"):
        fit(tiny(fit__steps=3, noise__sd_high=70.0), prepared, tmp_path, report=quiet)
    assert fit(tiny(fit__steps=5), prepared, tmp_path, report=quiet).step == 5


def test_planned_steps_fit_into_the_time(prepared):
    few, many = (steps_within(minutes, tiny(), prepared) for minutes in (0.05, 0.5))
    assert many > 3 * few


def test_time_too_short_for_the_warmup_is_told(prepared):
    lines: list[str] = []
    assert steps_within(1e-9, tiny(fit__warmup_steps=7), prepared, report=lines.append) == 14
    (line,) = lines
    assert re.search(r"too short: 14 steps are taken, about [\d.]+ min, twice the warm-up of 7 steps", line)
    assert "fit.warmup_steps=N" in line
    lines.clear()
    assert steps_within(0.5, tiny(), prepared, report=lines.append) > 4
    assert lines == []


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"architecture": "huge"}, "architecture must be one of fast, standard"),
        ({"noise.sd_low": 90.0}, "sd_low must be below sd_high"),
        ({"noise.mean_frequency": [0.3, 0.2]}, "rising pair"),
        ({"noise.order": [0, 2]}, "rising pair"),
        ({"fit.steps": 100, "fit.warmup_steps": 100}, "must be below steps.*--set fit.warmup_steps=N"),
        ({"fit.sed": 1}, "fit.sed is unknown"),
        ({"data.batch": 0}, "data.batch"),
        ({"fit.precision": "16"}, "fit.precision"),
        ({"data.batch.x": 1}, "data.batch"),
    ],
)
def test_wrong_configurations_are_refused_in_a_sentence(override, words):
    with pytest.raises(InputError, match=words) as caught:
        load_config(None, override)
    assert "\n" not in str(caught.value)


def test_training_subtracts_the_noise_from_the_exact_image(prepared):
    """In bfloat16 an image of 50.5 HU near air would be rounded by up to 2 HU before the noise is subtracted."""
    settings = tiny(fit__precision="bf16-mixed")
    state = FitState(settings, prepared, Processes().launch("bf16-mixed"))
    x = torch.full((1, 1, 16, 16), -0.8003)
    assert state.network(x).dtype == torch.float32
    assert state.network(x).equal(x), "an untrained network is the identity, to the bit"


def test_a_network_that_looks_at_three_slices_is_trained_and_validated(prepared, tmp_path):
    settings = {**TINY, "fit.steps": 4, "network.widths": [4, 8], "network.slices": 3, "data.synthetic_share": 0}
    state = fit(load_config(None, settings), prepared, tmp_path / "run", report=quiet)
    assert state.plain.get_parameter("entrance.weight").shape[1] == 12
    with (tmp_path / "run" / FIGURES_NAME).open() as file:
        assert {row["name"] for row in csv.DictReader(file)} >= {"ct, white", "synthetic, none"}


def test_the_average_follows_in_the_first_steps_and_has_its_decay_later():
    """Of weights that rise by 1 a step an average of decay d lies d / (1 - d) behind; at first a tenth of the steps."""
    network = torch.nn.Linear(1, 1, bias=False)
    averaged = AveragedModel(network, multi_avg_fn=_moving_average(0.999))
    behind = []
    for step in range(20_001):
        network.weight.data.fill_(float(step))
        averaged.update_parameters(network)
        behind.append(step - averaged.module.weight.item())
    assert behind[1000] == pytest.approx(100, rel=0.05)
    assert behind[20_000] == pytest.approx(999, rel=0.01)
