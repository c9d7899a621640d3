"""What a configuration may choose: networks, optimisers, schedules, distillation, early stopping."""

from __future__ import annotations

import pytest
import torch

from meddenoise.errors import InputError, WeightsError
from meddenoise.network import parameter_count
from meddenoise.weights import load_network
from meddenoise_training.baselines import BASELINES
from meddenoise_training.checkpoint import averaged_weights, read_checkpoint, write_checkpoint
from meddenoise_training.config import FitConfig, load_config
from meddenoise_training.export import export
from meddenoise_training.fit import fit
from meddenoise_training.logs import FIGURES_NAME, read_log
from meddenoise_training.optimisers import make_optimiser
from meddenoise_training.processes import Processes
from meddenoise_training.schedules import make_schedule
from meddenoise_training.state import FitState

COMMON = {
    **{"data.patch": 32, "data.batch": 2, "fit.steps": 3, "fit.warmup_steps": 1, "fit.precision": "32-true"},
    **{"fit.ema_decay": 0.5, "fit.validation_slices": 1, "fit.tensorboard": False, "fit.pictures": 0},
}
NETWORK = {"network.widths": [4, 8], "network.blocks": 1}
CARD = 'name="mine"\ntitle="Mine"\nversion="1"\nlicence="CC BY 4.0"\nsummary="For the test."\nlimits=["None."]'


def tiny(**changes):
    return load_config(None, {**COMMON, **NETWORK, **{k.replace("__", "."): v for k, v in changes.items()}})


def train(config, prepared, run, **told):
    return fit(config, prepared, run, report=lambda _: None, **told)


def untrained(config, prepared) -> FitState:
    return FitState(config, prepared, Processes().launch("32-true"))


def test_a_network_of_ones_own_is_trained_resumed_and_exported(prepared, tmp_path):
    train(tiny(), prepared, tmp_path / "run")
    state = train(tiny(fit__steps=4), prepared, tmp_path / "run")
    assert parameter_count(state.plain) < 5000
    (tmp_path / "card.toml").write_text(CARD)
    export(tmp_path / "run", tmp_path / "mine.safetensors", tmp_path / "card.toml")
    loaded = load_network(tmp_path / "mine.safetensors")
    assert (loaded.card.architecture.widths, loaded.card.architecture.blocks) == ((4, 8), 1)


def test_a_baseline_is_trained_by_name_and_not_exported(prepared, tmp_path):
    config = load_config(None, {**COMMON, "architecture": "cnn10"})
    before = untrained(config, prepared).plain.state_dict()
    state = train(config, prepared, tmp_path / "run")
    assert isinstance(state.plain, BASELINES["cnn10"])
    assert any(not torch.equal(tensor, before[name]) for name, tensor in state.plain.state_dict().items())
    with pytest.raises(InputError, match="'cnn10' is a network for comparison"):
        export(tmp_path / "run", tmp_path / "mine.safetensors", tmp_path / "card.toml")


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "lion"])
def test_every_optimiser_finds_the_least_of_a_bowl_and_decays_weights(name):
    config = FitConfig(optimiser=name, learning_rate=0.02, weight_decay=0.5)
    weights = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    optimiser = make_optimiser([weights], config)
    assert type(optimiser).__name__.lower() == name
    for _ in range(600):
        optimiser.zero_grad()
        (weights - 2).square().sum().backward()
        optimiser.step()
    # Adam and SGD add the decay to the gradient, 2 (w - 2) + 0.5 w, whose zero is 1.6; the others take it beside it.
    if name in ("adam", "sgd"):
        assert torch.allclose(weights, torch.full((2,), 1.6), atol=1e-3)
    else:
        assert 1.2 < float(weights.detach().min()) < 1.995, "near 2, drawn towards 0"


@pytest.mark.parametrize("name", ["sgd", "lion"])
def test_other_optimisers_resume_bit_for_bit(prepared, tmp_path, name):
    config = tiny(fit__optimiser=name, fit__learning_rate=1e-3, fit__steps=4)
    whole = train(config, prepared, tmp_path / "whole")
    asked = iter([False, False, True])
    train(config, prepared, tmp_path / "parts", stop=lambda: next(asked))
    resumed = train(config, prepared, tmp_path / "parts")
    for key, tensor in whole.plain.state_dict().items():
        assert torch.equal(tensor, resumed.plain.state_dict()[key]), key


def test_schedules_rise_and_then_hold_or_drop():
    told = {"steps": 100, "warmup_steps": 4, "drop_every": 10, "drop_factor": 0.5}
    constant, step = (make_schedule(FitConfig(schedule=name, **told)) for name in ("constant", "step"))
    assert [constant(k) for k in (0, 3, 4, 99)] == [0.25, 1, 1, 1]
    assert [step(k) for k in (0, 3, 4, 13, 14, 24)] == [0.25, 1, 1, 1, 0.5, 0.25]


def test_distillation_with_a_share_of_all_learns_the_teacher_and_not_the_target(prepared, tmp_path):
    """The teacher is an untrained network, the identity: who learns it alone has no loss and stays as he is."""
    train(tiny(), prepared, tmp_path / "teacher", stop=lambda: True)
    saved = read_checkpoint(tmp_path / "teacher")
    write_checkpoint(tmp_path / "teacher", {**saved, "step": 1})  # a run without a step is no teacher
    teacher = {"distil__teacher": str(tmp_path / "teacher")}
    state = untrained(tiny(**teacher, distil__share=1.0), prepared)
    batch = next(state.batches())
    assert state.train_step(batch)[0] == pytest.approx(0, abs=1e-9)
    alone = untrained(tiny(), prepared).train_step(batch)[0]
    half = untrained(tiny(**teacher, distil__share=0.5), prepared).train_step(batch)[0]
    assert half == pytest.approx(alone / 2, rel=1e-5)
    assert all(p.grad is None for p in state.teacher.network.parameters())


def test_a_teacher_of_one_slice_looks_at_the_middle_and_one_of_others_is_refused(prepared, tmp_path):
    """The teacher is the identity again: of three slices it gives the middle one, as the untrained student does."""
    of_three = {"network__widths": [4, 8], "network__slices": 3, "data__synthetic_share": 0}
    for name, changes in (("one", {}), ("three", of_three)):
        train(tiny(**changes), prepared, tmp_path / name, stop=lambda: True)
        write_checkpoint(tmp_path / name, {**read_checkpoint(tmp_path / name), "step": 1})
    taught = {"distil__teacher": str(tmp_path / "one"), "distil__share": 1.0}
    state = untrained(tiny(**of_three, **taught), prepared)
    assert state.train_step(next(state.batches()))[0] == pytest.approx(0, abs=1e-9)
    with pytest.raises(InputError, match="looks at 3 slices, this network at 1; take a teacher of as many"):
        untrained(tiny(distil__teacher=str(tmp_path / "three")), prepared)


def test_the_card_of_a_distilled_network_names_its_teacher_without_a_path(prepared, tmp_path):
    train(tiny(), prepared, tmp_path / "teacher")
    config = tiny(distil__teacher=str(tmp_path / "teacher"), loss__kind="edge", fit__optimiser="adam")
    train(config, prepared, tmp_path / "run")
    (tmp_path / "card.toml").write_text(CARD)
    export(tmp_path / "run", tmp_path / "mine.safetensors", tmp_path / "card.toml")
    card = load_network(tmp_path / "mine.safetensors").card
    assert card.training["distilled from"].startswith("a run of 3 steps, SHA-256 ")
    assert "differences; 50% of it against the teacher" in card.training["loss"]
    assert card.training["optimiser"].startswith("Adam,")
    assert str(tmp_path) not in card.to_json()


def test_a_run_without_progress_stops_early_and_keeps_its_best_weights(prepared, tmp_path):
    """A learning rate that is far too high makes the first validation the best."""
    config = tiny(
        fit__steps=50, fit__learning_rate=0.3, fit__validate_every=2, fit__patience=2, fit__schedule="constant"
    )
    lines: list[str] = []
    state = fit(config, prepared, tmp_path / "run", report=lines.append)
    rows = read_log(tmp_path / "run" / FIGURES_NAME)
    means: dict[int, list[float]] = {}
    for row in rows:
        means.setdefault(int(row["step"]), []).append(float(row["rmse"]))
    rmse = {step: sum(values) / len(values) for step, values in means.items()}
    best = min(rmse, key=lambda step: rmse[step])
    assert state.step == best + 4 < 50
    assert f"Stopped early: best at step {best}" in lines[-1]
    saved = read_checkpoint(tmp_path / "run")
    assert saved["best"]["step"] == best
    kept = averaged_weights(saved)
    assert all(torch.equal(kept[k.removeprefix("module.")], v) for k, v in saved["best"]["ema"].items() if "." in k)
    assert any(not torch.equal(kept[k], v) for k, v in state.ema.module.state_dict().items()), "not the last ones"
    assert train(config, prepared, tmp_path / "run").step == state.step, "the same command does not go on"
    more = config.model_copy(update={"fit": config.fit.model_copy(update={"patience": 9})})
    assert train(more, prepared, tmp_path / "run", stop=iter([False, True]).__next__).step == state.step + 1


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"architecture": "standard"}, r"architecture and \[network\] each name a network"),
        ({"network.widths": [0]}, "1 to 6 widths of 1 to 1024"),
        ({"network.width": [8]}, "network.width is unknown"),
        ({"loss.kind": "l3"}, "loss.kind"),
        ({"loss.window": [50, 0]}, "loss.window"),
        ({"fit.optimiser": "adagrad"}, "fit.optimiser"),
        ({"fit.schedule": "linear"}, "fit.schedule"),
        ({"distil.share": 0.5}, "distil.teacher is missing"),
    ],
)
def test_wrong_choices_are_refused_in_a_sentence(override, words):
    with pytest.raises(InputError, match=words) as caught:
        load_config(None, {**NETWORK, **override})
    assert "\n" not in str(caught.value)


def test_a_teacher_that_cannot_be_read_is_refused(prepared, tmp_path):
    with pytest.raises(WeightsError, match="cannot be read"):
        untrained(tiny(distil__teacher=str(tmp_path / "no.safetensors")), prepared)
