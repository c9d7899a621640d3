"""A run between two steps: what a step does to it, how it is saved and found again."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import ValidationError
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from meddenoise.errors import InputError
from meddenoise.intensity import HU_PER_UNIT
from meddenoise_training.checkpoint import read_checkpoint, write_checkpoint
from meddenoise_training.config import Config
from meddenoise_training.data_identity import data_identity, first_other_data
from meddenoise_training.losses import make_loss
from meddenoise_training.manifest import neighbours, read_manifest
from meddenoise_training.networks import TrainedNetwork, build, entrance_of, name_of, read_network
from meddenoise_training.noise.bank import BANK_FOLDER, Bank, bank_command
from meddenoise_training.optimisers import make_optimiser
from meddenoise_training.processes import any_process
from meddenoise_training.samples import Batch, Samples
from meddenoise_training.schedules import make_schedule
from meddenoise_training.validation import Figures

#: What may change between two parts of a run: its length, and what only looks at it.
_FREE = {"steps", "log_every", "pictures", "tensorboard", "checkpoint_minutes", "workers"}
#: What only looks at it as well, unless a run that may stop early keeps the weights of its best validation.
_FREE_WITHOUT_PATIENCE = {"validate_every", "validation_slices"}


_ELSEWHERE = ", of other prepared data, whose patients may be among these"


class NotFiniteError(InputError):
    """A step that was not taken, as there is NaN or infinity in it.

    ``data_at_fault``: the run itself is as good as before, once its data are mended; else it has diverged.
    """

    def __init__(self, sentence: str, *, data_at_fault: bool) -> None:
        super().__init__(sentence)
        self.data_at_fault = data_at_fault


class FitState:
    """Network, averaged network (EMA), optimiser, schedule, the number of steps done, and the best validation.

    :ivar unvalidated: a validation of this step was due and did not come to its end.
    """

    def __init__(self, config: Config, prepared: Path, fabric: Fabric) -> None:
        if config.data.batch % fabric.world_size:
            raise InputError(
                f"A batch of {config.data.batch} cannot be divided among {fabric.world_size} processes; "
                "set data.batch to a multiple of them."
            )
        self.config, self.prepared, self.fabric = config, prepared, fabric
        self.samples = Samples(prepared, config)
        self.data = data_identity(prepared, config)
        self.plain = build(config)
        self.plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # in torch's docs, not its stubs
        optimizer = make_optimiser(self.plain.parameters(), config.fit)
        compiled: Any = torch.compile(self.plain) if config.fit.compile else self.plain
        self.network, self.optimizer = fabric.setup(compiled, optimizer)
        self.ema = AveragedModel(self.plain, multi_avg_fn=_moving_average(config.fit.ema_decay)).eval()
        self.schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, make_schedule(config.fit))
        self.teacher = self._teacher()
        self.step = 0
        self.begun_from: str | None = None
        self.best: dict[str, Any] | None = None
        self.waited = 0
        self.unvalidated = False
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
                    f"The weights at {self.config.init} are of another architecture ({name_of(trained.network)}) than "
                    f"this run's ({name_of(self.plain)}); set the architecture they have, or begin without them."
                ) from error
        self.begun_from = self._origin(trained)

    @property
    def from_elsewhere(self) -> bool:
        """Whether weights that it learns from were trained on other prepared data, or on data that nobody knows."""
        teacher = self.teacher.origin if self.teacher is not None else None
        return any(origin is not None and origin.endswith(_ELSEWHERE) for origin in (self.begun_from, teacher))

    def _origin(self, trained: TrainedNetwork) -> str:
        # Patients have other names in each prepared folder: whether theirs are among these cannot be found out.
        return trained.origin if trained.manifest == self.data["manifest"] else trained.origin + _ELSEWHERE

    def resume(self, run: Path) -> bool:
        """Load the checkpoint of a run folder where there is one.

        :returns: whether there was one; one without any step counts as none, since nothing would be lost.
        :raises InputError: when it was made with another configuration or other data; the number of steps and what
            only looks at the run may change on the way.
        """
        saved = read_checkpoint(run)
        if saved is None or saved["step"] == 0:
            return False
        try:
            config = Config.model_validate(saved["config"])
        except ValidationError as error:
            raise InputError(f"The run in {run} was made by another version; take another run folder.") from error
        patience = None not in (config.fit.patience, self.config.fit.patience)
        before, now = (_fixed(one, with_patience=patience) for one in (config, self.config))
        # A section that one of them has and the other has not is there as its fields alone, or as None.
        if changed := [name for name in {**now, **before} if now.get(name) != before.get(name)]:
            raise InputError(
                f"The run in {run} has another configuration ({', '.join(changed)}); use that, or another run folder."
            )
        if other := first_other_data(saved, self.data, self.prepared, self.config):
            raise InputError(
                f"{other} is not the one that the run in {run} began with; put that one back, or take another run "
                "folder."
            )
        try:
            self.plain.load_state_dict(saved["network"])
            self.ema.load_state_dict(saved["ema"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.schedule.load_state_dict(saved["schedule"])
            self.fabric.strategy.precision.load_state_dict(saved["precision"])
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"The checkpoint in {run} is damaged: its parts do not fit its configuration; take another run folder."
            ) from error
        self.step = saved["step"]
        self.begun_from, self.best, self.waited = saved.get("begun_from"), saved.get("best"), saved.get("waited", 0)
        self.unvalidated = saved.get("unvalidated", False)
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
                "unvalidated": self.unvalidated,
                "config": self.config.model_dump(mode="json"),
                "prepared": str(self.prepared.resolve()),
                **self.data,
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
        :raises NotFiniteError: when one of them is not finite, in any process: in all of them then, for the same
            reason; nothing has changed.
        """
        batch = self.fabric.to_device(batch)
        denoised = self.network(batch.noisy) * HU_PER_UNIT
        loss = self._loss(denoised, batch.target, batch.scale)
        if self.teacher is not None and self.config.distil is not None:
            with torch.no_grad(), self.fabric.autocast():
                wanted = self.teacher.network(self._seen_by_teacher(batch.noisy)).float() * HU_PER_UNIT
            share = self.config.distil.share
            loss = (1 - share) * loss + share * self._loss(denoised, wanted, batch.scale)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        norm: Any = self.fabric.clip_gradients(
            self.network, self.optimizer, max_norm=self.config.fit.clip_norm, error_if_nonfinite=False
        )
        values = float(loss.detach()), float(norm)
        self._refuse_what_is_not_finite(*values, batch)
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
        slices, own = entrance_of(teacher.network), entrance_of(self.plain)
        if slices not in (1, own):
            raise InputError(
                f"The teacher at {self.config.distil.teacher} looks at {slices} slices, this network at {own}; take a "
                "teacher of as many slices, or of one."
            )
        teacher.network.requires_grad_(False)
        teacher.network.to(self.fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return replace(teacher, origin=self._origin(teacher))

    def _seen_by_teacher(self, noisy: Tensor) -> Tensor:
        """Return the slices that the teacher looks at, of (n, slices, j, i): all, or the middle one alone."""
        if self.teacher is not None and entrance_of(self.teacher.network) < noisy.shape[1]:
            middle = noisy.shape[1] // 2
            return noisy[:, middle : middle + 1]
        return noisy

    def _refuse_what_is_not_finite(self, loss: float, norm: float, batch: Batch) -> None:
        # Gradients of float16 overflow now and then: its scaler leaves such a step out and tries a smaller scale.
        overflows = self.fabric.strategy.precision.precision == "16-mixed"
        if not any_process(self.fabric, not (math.isfinite(loss) and (math.isfinite(norm) or overflows))):
            return
        # Gradients are averaged over the processes: the patch at fault may be another one's, which alone can tell.
        found = self._wrong_data(batch)
        for process in range(self.fabric.world_size):
            if sentence := self.fabric.broadcast(found, src=process):
                raise NotFiniteError(sentence, data_at_fault=True)
        raise NotFiniteError(
            f"Step {self.step + 1} was not taken, as its loss or gradient is NaN or infinite: the training has "
            f"diverged; begin another run with a lower fit.learning_rate than {self.config.fit.learning_rate:g}.",
            data_at_fault=False,
        )

    def _wrong_data(self, batch: Batch) -> str:
        """Return in a sentence what of this process's patches is not finite; empty when all of them are."""
        for what, values in (("patch", batch.noisy), ("target", batch.target)):
            wrong = ~values.isfinite().flatten(1).all(dim=1)
            if wrong.any():
                return self._wrong_slice(what, int(batch.slices[wrong][0]))
        return ""

    def _wrong_slice(self, what: str, index: int) -> str:
        """Return the sentence for a slice with NaN in its patch: prepared slices are integers, a bank is not."""
        cause = f"the {what} drawn of training slice {index} (manifest.json, counted from 0) holds NaN or infinity"
        todo = "change the settings in [noise]"
        if self.config.noise.projection_share > 0 and (file := self._wrong_noise(index)) is not None:
            cause = f"the noise bank holds NaN or infinity in {file}"
            todo = f"remove that file and make it again with `{bank_command(self.prepared)}`"
        return f"Step {self.step + 1} was not taken, as {cause}; {todo}."

    def _wrong_noise(self, index: int) -> str | None:
        """Return which file of the bank holds what is not finite for a training slice and its neighbours."""
        manifest = read_manifest(self.prepared)
        bank = Bank(self.prepared, manifest)
        reach = self.config.shape.slices // 2 if self.config.shape is not None else 0
        for near in neighbours(manifest.splits["train"], index, reach):
            for realisation in range(bank.realisations):
                noise, sd = bank.slice(near, realisation)
                if not (np.isfinite(noise).all() and math.isfinite(sd)):
                    return str(getattr(noise, "filename", self.prepared / BANK_FOLDER))
        return None


def _moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """Return the update of an exponential moving average (EMA) of weights.

    Of few steps the decay is lower, ``(1 + n) / (10 + n)`` (Abadi et al., TensorFlow's ``num_updates``): after 1000
    steps a decay of 0.999 alone would still be a third untrained weights.
    """

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        done = int(count)
        now = 1 - min(decay, (1 + done) / (10 + done))
        torch._foreach_lerp_(averaged, current, now)

    return update


class _Steps(Dataset[Batch]):
    """The same places of every step."""

    def __init__(self, samples: Samples, places: range) -> None:
        self._samples, self._places = samples, places

    def __getitem__(self, step: int) -> Batch:
        return self._samples.draw(step, self._places)


def _fixed(config: Config, *, with_patience: bool) -> dict[str, Any]:
    """Return what may not change between two parts of a run, by dotted name.

    :param with_patience: the run may stop early; how often it waits belongs to its length, but not whether it does.
    """
    free = _FREE if with_patience else _FREE | _FREE_WITHOUT_PATIENCE
    values = config.model_dump(mode="json", exclude={"fit": free})
    values["fit"]["patience"] = config.fit.patience is not None
    flat = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{key}": part for key, part in value.items()})
        else:
            flat[name] = value
    return flat
