"""A run between two steps: what a step does to it, how it is saved and found again."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from pydantic import ValidationError
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from meddenoise.errors import InputError
from meddenoise.intensity import HU_PER_UNIT
from meddenoise.weights import sha256_of
from meddenoise_training.checkpoint import read_checkpoint, write_checkpoint
from meddenoise_training.config import Config
from meddenoise_training.losses import make_loss
from meddenoise_training.manifest import MANIFEST_NAME
from meddenoise_training.networks import TrainedNetwork, build, read_network
from meddenoise_training.optimisers import make_optimiser
from meddenoise_training.samples import Batch, Samples
from meddenoise_training.schedules import make_schedule
from meddenoise_training.validation import Figures

#: What may change between two parts of a run: its length, and what only looks at it.
_FREE = {
    *("steps", "log_every", "validate_every", "validation_slices", "patience", "pictures", "tensorboard"),
    *("checkpoint_minutes", "workers"),
}


class FitState:
    """Network, averaged network (EMA), optimiser, schedule, the number of steps done, and the best validation."""

    def __init__(self, config: Config, prepared: Path, fabric: Fabric) -> None:
        if config.data.batch % fabric.world_size:
            raise InputError(
                f"A batch of {config.data.batch} cannot be divided among {fabric.world_size} processes; "
                "set data.batch to a multiple of them."
            )
        self.config, self.prepared, self.fabric = config, prepared, fabric
        self.samples = Samples(prepared, config)
        self.plain = build(config)
        self.plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # in torch's docs, not its stubs
        optimizer = make_optimiser(self.plain.parameters(), config.fit)
        compiled: Any = torch.compile(self.plain) if config.fit.compile else self.plain
        self.network, self.optimizer = fabric.setup(compiled, optimizer)
        average = get_ema_multi_avg_fn(config.fit.ema_decay)  # type: ignore[no-untyped-call]
        self.ema = AveragedModel(self.plain, multi_avg_fn=average).eval()
        self.schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, make_schedule(config.fit))
        self.teacher = self._teacher()
        self.step = 0
        self.begun_from: str | None = None
        self.best: dict[str, Any] | None = None
        self.waited = 0
        self._loss = make_loss(config.loss)

    def begin(self) -> None:
        """Take the weights that the configuration begins from, where it names some.

        :raises InputError: when they cannot be read or are of another architecture; WeightsError likewise.
        """
        if self.config.init is None:
            return
        trained = read_network(Path(self.config.init))
        for network in (self.plain, self.ema.module):
            try:
                network.load_state_dict(trained.network.state_dict())
            except RuntimeError as error:
                raise InputError(
                    f"The weights at {self.config.init} are of another architecture than this run's; set the "
                    "architecture they have, or begin without them."
                ) from error
        self.begun_from = trained.origin

    def resume(self, run: Path) -> bool:
        """Load the checkpoint of a run folder where there is one.

        :returns: whether there was one.
        :raises InputError: when it was made with another configuration or other data; the number of steps and what
            only looks at the run may change on the way.
        """
        saved = read_checkpoint(run)
        if saved is None:
            return False
        try:
            before = _fixed(Config.model_validate(saved["config"]))
        except (ValidationError, KeyError) as error:
            raise InputError(f"The run in {run} was made by another version; take another run folder.") from error
        now = _fixed(self.config)
        if changed := [name for name in now if now[name] != before[name]]:
            raise InputError(
                f"The run in {run} has another configuration ({', '.join(changed)}); use that, or another run folder."
            )
        # Runs of the first version did not write down their data.
        if saved.get("manifest", self._manifest()) != self._manifest():
            raise InputError(
                f"The prepared folder {self.prepared} is not the one that the run in {run} began with; give that one, "
                "or take another run folder."
            )
        self.plain.load_state_dict(saved["network"])
        self.ema.load_state_dict(saved["ema"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.fabric.strategy.precision.load_state_dict(saved.get("precision", {}))
        self.step = saved["step"]
        self.begun_from, self.best, self.waited = saved.get("begun_from"), saved.get("best"), saved.get("waited", 0)
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
                "precision": self.fabric.strategy.precision.state_dict(),
                "step": self.step,
                "begun_from": self.begun_from,
                "distilled_from": self.teacher.origin if self.teacher else None,
                "best": self.best,
                "waited": self.waited,
                "config": self.config.model_dump(mode="json"),
                "prepared": str(self.prepared.resolve()),
                "manifest": self._manifest(),
            },
        )

    def batches(self) -> Iterator[Batch]:
        """Return this process's part of every batch from the next step to the last."""
        fabric, size = self.fabric, self.config.data.batch // self.fabric.world_size
        places = range(fabric.global_rank * size, (fabric.global_rank + 1) * size)
        on_cuda = fabric.device.type == "cuda"
        workers = self.config.fit.workers
        if workers is None:
            workers = min(8, os.cpu_count() or 1) if on_cuda else 0
        return iter(
            DataLoader(
                _Steps(self.samples, places),
                batch_size=None,
                sampler=range(self.step, self.config.fit.steps),
                num_workers=workers,
                pin_memory=on_cuda,
            )
        )

    def train_step(self, batch: Batch) -> tuple[float, float]:
        """Take one step with a batch.

        :returns: the loss, and the gradient's norm before clipping.
        :raises InputError: when one of them is not finite; nothing has changed then.
        """
        batch = self.fabric.to_device(batch)
        denoised = self.network(batch.noisy) * HU_PER_UNIT
        loss = self._loss(denoised, batch.target, batch.scale)
        if self.teacher is not None and self.config.distil is not None:
            with torch.no_grad(), self.fabric.autocast():
                wanted = self.teacher.network(batch.noisy).float() * HU_PER_UNIT
            share = self.config.distil.share
            loss = (1 - share) * loss + share * self._loss(denoised, wanted, batch.scale)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        norm: Any = self.fabric.clip_gradients(
            self.network, self.optimizer, max_norm=self.config.fit.clip_norm, error_if_nonfinite=False
        )
        values = float(loss.detach()), float(norm)
        self._refuse_what_is_not_finite(*values, batch, denoised)
        self.optimizer.step()
        self.schedule.step()
        self.ema.update_parameters(self.plain)
        self.step += 1
        return values

    def note(self, figures: Sequence[Figures]) -> None:
        """Remember the averaged weights of the best validation so far, where the run may stop early."""
        if self.config.fit.patience is None:
            return
        rmse = sum(f.rmse for f in figures) / len(figures)
        if self.best is None or rmse < self.best["rmse"]:
            weights = {name: tensor.clone() for name, tensor in self.ema.state_dict().items()}
            self.best, self.waited = {"step": self.step, "rmse": rmse, "ema": weights}, 0
        else:
            self.waited += 1

    @property
    def out_of_patience(self) -> bool:
        """Whether the last validations, as many as told, brought nothing better."""
        return self.config.fit.patience is not None and self.waited >= self.config.fit.patience

    def _teacher(self) -> TrainedNetwork | None:
        if self.config.distil is None:
            return None
        teacher = read_network(Path(self.config.distil.teacher))
        teacher.network.requires_grad_(False)
        teacher.network.to(self.fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return teacher

    def _refuse_what_is_not_finite(self, loss: float, norm: float, batch: Batch, denoised: Tensor) -> None:
        # Gradients of float16 overflow now and then: its scaler leaves such a step out and tries a smaller scale.
        if math.isfinite(loss) and (math.isfinite(norm) or self.fabric.strategy.precision.precision == "16-mixed"):
            return
        for what, values in (("a patch", batch.noisy), ("the target", batch.target), ("the result", denoised)):
            wrong = ~values.isfinite().flatten(1).all(dim=1)
            if wrong.any():
                slices = ", ".join(str(index) for index in sorted({int(i) for i in batch.slices[wrong]}))
                cause = f"{what} of training slice {slices} (manifest.json, counted from 0) holds NaN or infinity"
                break
        else:
            cause = "its gradient holds NaN or infinity"
        raise InputError(
            f"Step {self.step + 1} was not taken: {cause}; the last checkpoint is kept. Mend the data, or train anew "
            "with a lower fit.learning_rate."
        )

    def _manifest(self) -> str:
        return sha256_of(self.prepared / MANIFEST_NAME)


class _Steps(Dataset[Batch]):
    """The same places of every step."""

    def __init__(self, samples: Samples, places: range) -> None:
        self._samples, self._places = samples, places

    def __getitem__(self, step: int) -> Batch:
        return self._samples.draw(step, self._places)


def _fixed(config: Config) -> dict[str, Any]:
    """Return what may not change between two parts of a run, by dotted name."""
    values = config.model_dump(mode="json", exclude={"fit": _FREE})
    flat = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{key}": part for key, part in value.items()})
        else:
            flat[name] = value
    return flat
