"""The training loop: fits the autoencoder, keeps checkpoints, and goes on after an interruption as if there had been none.

Patches and noise of a step depend on the seed and the step's number alone, so a resumed run sees exactly what an uninterrupted one sees.
"""

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
from meddenoise.errors import InputError
from meddenoise.intensity import HU_PER_UNIT, METAL_ABOVE_HU, PADDING_BELOW_HU
from meddenoise.network import ResidualAutoencoder, seeded_network
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from meddenoise_training.config import ARCHITECTURES, Config
from meddenoise_training.dataset import Patches
from meddenoise_training.noise.mixture import draw_noise
from meddenoise_training.validation import Figures, Validation

CHECKPOINT_NAME = "checkpoint.pt"
LOG_NAME = "log.csv"
FIGURES_NAME = "validation.csv"


class Fit:
    """A run in a folder: network, EMA, optimiser, schedule and the number of steps done."""

    def __init__(self, config: Config, prepared: Path, run: Path, *, accelerator: str = "cpu") -> None:
        self.config, self.run = config, run
        self.fabric = Fabric(
            accelerator=accelerator, devices=1, precision=_precision(config.fit.precision, accelerator)
        )
        network = seeded_network(ARCHITECTURES[config.architecture], config.fit.seed)
        # From the identity: a random noise branch first has to unlearn that it shifts air by hundreds of HU.
        torch.nn.init.zeros_(network.exit.weight)
        network = network.to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.fit.learning_rate, weight_decay=config.fit.weight_decay
        )
        self.network, self.optimizer = self.fabric.setup(network, optimizer)
        self.ema = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.fit.ema_decay))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warmup_then_cosine(config))
        self.patches = Patches(prepared, config.data)
        self.validation = Validation(prepared, config.fit.validation_slices)
        self.prepared = prepared
        self.step = 0

    def resume(self) -> bool:
        """Load the run's checkpoint when there is one.

        :returns: whether there was one.
        :raises InputError: when it was made with another configuration (but for the number of steps).
        """
        path = self.run / CHECKPOINT_NAME
        if not path.exists():
            return False
        saved = torch.load(path, weights_only=True)
        if _comparable(Config.model_validate(saved["config"])) != _comparable(self.config):
            raise InputError(
                f"The run in {self.run} was started with another configuration; use the same one or another run folder."
            )
        _plain(self.network).load_state_dict(saved["network"])
        self.ema.load_state_dict(saved["ema"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.step = saved["step"]
        return True

    def save(self) -> None:
        """Write the checkpoint beside the old one, then replace that."""
        state = {
            "network": _plain(self.network).state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "step": self.step,
            "config": self.config.model_dump(mode="json"),
            "prepared": str(self.prepared.resolve()),
        }
        self.run.mkdir(parents=True, exist_ok=True)
        beside = self.run / f".{CHECKPOINT_NAME}.part"
        torch.save(state, beside)
        beside.replace(self.run / CHECKPOINT_NAME)

    def train_step(self) -> tuple[float, float]:
        """Take one step.

        :returns: loss in HU, and the gradient's norm before clipping.
        """
        seed = np.random.SeedSequence([self.config.fit.seed, self.step])
        batch = self.patches.draw(np.random.default_rng(seed))
        generator = torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        size = self.config.data.patch
        drawn = draw_noise(batch.target_sd, size, size, self.config.noise, generator)
        noisy = (batch.target + drawn.noise).clamp(PADDING_BELOW_HU, METAL_ABOVE_HU) / HU_PER_UNIT
        noisy, target = self.fabric.to_device((noisy.contiguous(memory_format=torch.channels_last), batch.target))
        loss = charbonnier(self.network(noisy) * HU_PER_UNIT - target, self.config.fit.charbonnier_hu)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(self.network, self.optimizer, max_norm=self.config.fit.clip_norm)
        self.optimizer.step()
        self.schedule.step()
        self.ema.update_parameters(_plain(self.network))
        self.step += 1
        return float(loss.detach()), float(norm)

    def validate(self) -> list[Figures]:
        """Measure the averaged weights on validation slices, in float32."""
        return self.validation.figures(self.ema.module)


def fit(
    config: Config,
    prepared: Path,
    run: Path,
    *,
    accelerator: str = "cpu",
    minutes: float | None = None,
    report: Callable[[str], None] = print,
    progress: Callable[[int, int], None] | None = None,
) -> Fit:
    """Train to the planned number of steps; the same call goes on where an interrupted one stopped.

    :param prepared: folder made by ``prepare``.
    :param run: folder for checkpoint and logs.
    :param minutes: stop after this time, wherever the run stands; the same call goes on from there.
    :param report: called with one line of text now and then.
    :param progress: called with (steps done, steps planned).
    """
    state = Fit(config, prepared, run, accelerator=accelerator)
    if state.resume():
        report(f"Going on at step {state.step} of {config.fit.steps}.")
    started = saved = time.monotonic()
    first, losses, norms = state.step, 0.0, 0.0
    count = 0
    while state.step < config.fit.steps:
        loss, norm = state.train_step()
        losses, norms, count = losses + loss, norms + norm, count + 1
        now = time.monotonic()
        if progress is not None:
            progress(state.step, config.fit.steps)
        if state.step % config.fit.log_every == 0:
            pace = (state.step - first) / (now - started)
            left = (config.fit.steps - state.step) / pace / 60
            row = {
                "step": state.step,
                "loss_hu": round(losses / count, 4),
                "gradient_norm": round(norms / count, 4),
                "learning_rate": f"{state.schedule.get_last_lr()[0]:.3e}",
                "steps_per_second": round(pace, 3),
            }
            _append(run / LOG_NAME, row)
            report(", ".join(f"{k} {v}" for k, v in row.items()) + f", {left:.0f} min left")
            losses, norms, count = 0.0, 0.0, 0
        if state.step % config.fit.validate_every == 0 or state.step == config.fit.steps:
            for figures in state.validate():
                _append(run / FIGURES_NAME, {"step": state.step, **_rounded(asdict(figures))})
                report(_sentence(figures))
        if now - saved > 60 * config.fit.checkpoint_minutes:
            state.save()
            saved = now
        if minutes is not None and now - started > 60 * minutes:
            report(f"Time is up at step {state.step} of {config.fit.steps}; the same command goes on from there.")
            break
    state.save()
    return state


def charbonnier(difference: Tensor, eps: float) -> Tensor:
    """Return the mean of ``sqrt(d^2 + eps^2) - eps``, HU: quadratic below eps, linear beyond (Charbonnier et al., ICIP 1994)."""
    return (torch.sqrt(difference.square() + eps**2) - eps).mean()


def _warmup_then_cosine(config: Config) -> Callable[[int], float]:
    steps, warmup = config.fit.steps, config.fit.warmup_steps

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (steps - warmup))))

    return factor


def _precision(wanted: str, accelerator: str) -> Any:
    """Choose bfloat16 for the residual branch where the processor multiplies it in hardware, float32 elsewhere."""
    if wanted != "auto":
        return wanted
    if accelerator == "cpu":
        capable = "avx512_bf16" in _cpu_flags() or "amx_bf16" in _cpu_flags()
    else:
        capable = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if capable else "32-true"


def _cpu_flags() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def _plain(network: Any) -> ResidualAutoencoder:
    module: ResidualAutoencoder = network.module
    return module


def _comparable(config: Config) -> dict[str, Any]:
    """Return a configuration without what may change on the way: how long, and how often to tell and to save."""
    free = {"steps", "log_every", "validate_every", "validation_slices", "checkpoint_minutes"}
    return config.model_dump(mode="json", exclude={"fit": free})


def _append(path: Path, row: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}


def _sentence(f: Figures) -> str:
    return (
        f"  {f.name}: RMSE {f.rmse_before:.2f} -> {f.rmse:.2f} HU, PSNR(C50/W400) {f.psnr_before:.2f} -> {f.psnr:.2f} dB "
        f"({f.psnr - f.psnr_before:+.2f}), bias {f.bias:+.2f} HU"
    )
