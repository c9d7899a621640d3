"""The training loop: fits the autoencoder, keeps checkpoints, goes on after an interruption as if there had been none."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from meddenoise.devices import choose_device, has_fast_bfloat16
from meddenoise.errors import InputError
from meddenoise.intensity import HU_PER_UNIT
from meddenoise.network import seeded_network
from meddenoise_training.checkpoint import read_checkpoint, write_checkpoint
from meddenoise_training.config import ARCHITECTURES, Config
from meddenoise_training.initial_weights import begin_from, read_initial_weights
from meddenoise_training.samples import Samples
from meddenoise_training.validation import Validation

LOG_NAME = "log.csv"
FIGURES_NAME = "validation.csv"
_PACE_STEPS = 30


class Fit:
    """A run: network, averaged network (EMA), optimiser, schedule and the number of steps done."""

    def __init__(self, config: Config, prepared: Path, *, accelerator: str = "cpu") -> None:
        self.config, self.prepared = config, prepared
        device = choose_device(accelerator)
        precision: Any = _precision(config.fit.precision, device)
        kind, _, number = device.partition(":")
        self.fabric = Fabric(accelerator=kind, devices=[int(number)] if number else 1, precision=precision)
        self.plain: nn.Module = seeded_network(ARCHITECTURES[config.architecture], config.fit.seed)
        # From the identity: a random noise branch first has to unlearn that it shifts air by hundreds of HU.
        torch.nn.init.zeros_(self.plain.get_parameter("exit.weight"))
        self.plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # in torch's docs, not its stubs
        optimizer = torch.optim.AdamW(
            self.plain.parameters(), lr=config.fit.learning_rate, weight_decay=config.fit.weight_decay
        )
        self.network, self.optimizer = self.fabric.setup(self.plain, optimizer)
        average = get_ema_multi_avg_fn(config.fit.ema_decay)  # type: ignore[no-untyped-call]
        self.ema = AveragedModel(self.plain, multi_avg_fn=average)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warmup_then_cosine(config))
        self.samples = Samples(prepared, config)
        self.step = 0
        self.begun_from: str | None = None

    def begin(self) -> None:
        """Take the weights that the configuration begins from, where it names some.

        :raises InputError: when they cannot be read or are of another architecture; WeightsError likewise.
        """
        if self.config.init is not None:
            weights = read_initial_weights(Path(self.config.init))
            for network in (self.plain, self.ema.module):
                begin_from(network, weights, self.config.init)
            self.begun_from = weights.origin

    def resume(self, run: Path) -> bool:
        """Load the checkpoint of a run folder where there is one.

        :returns: whether there was one.
        :raises InputError: when it was made with another configuration; the number of steps and how often to log, to
            validate and to save may change on the way.
        """
        saved = read_checkpoint(run)
        if saved is None:
            return False
        if _comparable(Config.model_validate(saved["config"])) != _comparable(self.config):
            raise InputError(f"The run in {run} has another configuration; use that, or another run folder.")
        self.plain.load_state_dict(saved["network"])
        self.ema.load_state_dict(saved["ema"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.step = saved["step"]
        self.begun_from = saved.get("begun_from")
        return True

    def save(self, run: Path) -> None:
        """Write the checkpoint of a run folder, replacing the last one when the new one is complete."""
        write_checkpoint(
            run,
            {
                "network": self.plain.state_dict(),
                "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "step": self.step,
                "begun_from": self.begun_from,
                "config": self.config.model_dump(mode="json"),
                "prepared": str(self.prepared.resolve()),
            },
        )

    def train_step(self) -> tuple[float, float]:
        """Take one step.

        The residual of each patch is measured in units of its noise: levels count alike, from next to none (which is to
        be left alone) to the highest, and within the noise the loss is quadratic, its optimum the mean: no HU bias.
        (An absolute loss takes the median, which reads low where structures are bright and sparse, as in lung.)

        :returns: the loss, and the gradient's norm before clipping.
        """
        settings = self.config
        batch = self.samples.draw(self.step, range(settings.data.batch))
        noisy, target, scale = self.fabric.to_device((batch.noisy, batch.target, batch.scale))
        loss = charbonnier((self.network(noisy) * HU_PER_UNIT - target) / scale)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        norm: Any = self.fabric.clip_gradients(self.network, self.optimizer, max_norm=settings.fit.clip_norm)
        self.optimizer.step()
        self.schedule.step()
        self.ema.update_parameters(self.plain)
        self.step += 1
        return float(loss.detach()), float(norm)


def fit(
    config: Config,
    prepared: Path,
    run: Path,
    *,
    accelerator: str = "cpu",
    report: Callable[[str], None] = print,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Fit:
    """Train to the planned number of steps; the same call goes on where an interrupted one stopped.

    :param prepared: folder made by ``prepare``.
    :param run: folder for the checkpoint and the logs.
    :param report: called with one line of text now and then.
    :param progress: called with (steps done, steps planned) after each step.
    :param stop: asked after each step; when true the checkpoint is written and the run ends early.
    :raises InputError: when the data or the run's checkpoint do not fit the configuration.
    :raises DeviceError: when the accelerator is not there.
    """
    state = Fit(config, prepared, accelerator=accelerator)
    validation = Validation(prepared, "validation", config.fit.validation_slices)
    if state.resume(run):
        report(f"Going on from step {state.step} of {config.fit.steps}.")
    else:
        state.begin()
    started = saved = time.monotonic()
    first, recent = state.step, list[tuple[float, float]]()
    while state.step < config.fit.steps and not stop():
        recent.append(state.train_step())
        now = time.monotonic()
        if progress is not None:
            progress(state.step, config.fit.steps)
        if state.step % config.fit.log_every == 0:
            pace = (state.step - first) / (now - started)
            loss, norm = np.mean(recent, axis=0)
            _log(state, loss, norm, pace, run, report)
            recent.clear()
        if state.step % config.fit.validate_every == 0 or state.step == config.fit.steps:
            for figures in validation.figures(state.ema.module):
                _append(run / FIGURES_NAME, {"step": state.step, **asdict(figures)})
                report(f"  {figures}")
        if now - saved > 60 * config.fit.checkpoint_minutes:
            state.save(run)
            saved = now
    state.save(run)
    return state


def steps_within(
    minutes: float,
    config: Config,
    prepared: Path,
    *,
    accelerator: str = "cpu",
    report: Callable[[str], None] = print,
) -> int:
    """Measure the pace with a few steps that are thrown away and return how many fit into a time.

    A tenth is set aside for validation. The warm-up of the configuration must fit too: at least twice its steps.

    :param report: called with one line when that takes longer than the time given.
    """
    trial = Fit(config, prepared, accelerator=accelerator)
    trial.train_step()
    started = time.monotonic()
    for _ in range(_PACE_STEPS):
        trial.train_step()
    seconds_a_step = (time.monotonic() - started) / _PACE_STEPS
    fitting, least = int(0.9 * 60 * minutes / seconds_a_step), max(2 * config.fit.warmup_steps, 1)
    if fitting < least:
        needed = least * seconds_a_step / (0.9 * 60)
        report(
            f"{minutes:g} min is too short; {least} steps, about {needed:.2g} min, are the least: twice the warm-up of "
            f"{config.fit.warmup_steps} steps, which `--set fit.warmup_steps=N` changes."
        )
    return max(fitting, least)


def charbonnier(difference: Tensor) -> Tensor:
    """Return the mean of ``sqrt(d^2 + 1) - 1``: quadratic below 1, linear beyond (Charbonnier et al., ICIP 1994)."""
    return (torch.sqrt(difference.square() + 1) - 1).mean()


def _warmup_then_cosine(config: Config) -> Callable[[int], float]:
    """Return the factor of the learning rate: a straight rise, then half a cosine down to 1 %."""
    steps, warmup = config.fit.steps, config.fit.warmup_steps

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (steps - warmup))))

    return factor


def _precision(wanted: str, accelerator: str) -> str:
    """Choose bfloat16 for the convolutions where the processor multiplies it in hardware, float32 elsewhere."""
    if wanted != "auto":
        return wanted
    return "bf16-mixed" if has_fast_bfloat16(accelerator) else "32-true"


def _comparable(config: Config) -> dict[str, Any]:
    free = {"steps", "log_every", "validate_every", "validation_slices", "checkpoint_minutes"}
    return config.model_dump(mode="json", exclude={"fit": free})


def _log(state: Fit, loss: float, norm: float, pace: float, run: Path, report: Callable[[str], None]) -> None:
    planned = state.config.fit.steps
    row = {
        "step": state.step,
        "loss": f"{loss:.5f}",
        "gradient_norm": f"{norm:.4f}",
        "learning_rate": f"{state.schedule.get_last_lr()[0]:.3e}",
        "steps_per_second": f"{pace:.2f}",
    }
    _append(run / LOG_NAME, row)
    left = (planned - state.step) / pace / 60
    report(f"step {state.step} of {planned}: loss {loss:.4f}, {pace:.1f} steps/s, {left:.0f} min left")


def _append(path: Path, row: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)
