"""The training loop: fits a network, logs, validates, saves, goes on after a stop as if there had been none."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import torch

from meddenoise.errors import Cancelled, InputError, counted
from meddenoise.folder_lock import locked
from meddenoise_training.checkpoint import read_checkpoint
from meddenoise_training.config import Config
from meddenoise_training.logs import Logs
from meddenoise_training.plots import plot
from meddenoise_training.processes import Processes, any_process, in_the_first
from meddenoise_training.samples import Batch
from meddenoise_training.state import FitState, NotFiniteError
from meddenoise_training.validation import Validation

_PACE_STEPS = 30


def fit(
    config: Config,
    prepared: Path,
    run: Path,
    *,
    processes: Processes | None = None,
    report: Callable[[str], None] = print,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> FitState:
    """Train to the planned number of steps; the same call goes on where an interrupted one stopped.

    :param prepared: folder made by ``prepare``.
    :param run: folder for the checkpoint and the logs; locked meanwhile, so that two never write into one.
    :param processes: what to compute on; none: one process on the CPU. Only the first one writes and reports.
    :param report: called with one line of text now and then.
    :param progress: called with (steps done, steps planned) after each step.
    :param stop: asked before each step and each validation slice; when true in any process, the checkpoint is written
        and the run ends early.
    :raises InputError: when the data or the run's checkpoint do not fit the configuration; when a step is not finite.
    :raises OutputError: when the checkpoint or a log cannot be written, or another ``fit`` of the run is at work.
    :raises DeviceError: when the accelerator is not there.
    """
    fabric = (processes or Processes()).launch(config.fit.precision)
    state = FitState(config, prepared, fabric)
    if not fabric.is_global_zero:
        report, progress = (lambda _: None), None
    entrance = config.shape.slices if config.shape is not None else 1
    validation = Validation(prepared, "validation", config.fit.validation_slices, entrance=entrance)
    if config.fit.patience is not None and not validation:
        raise InputError("There are no validation slices to stop early by; prepare some, or leave fit.patience away.")
    with ExitStack() as held:
        in_the_first(fabric, lambda: held.enter_context(locked(run, otherwise=", or take another folder")))
        _begin(state, run, report)
        loop = _Loop(state, validation, run, report, progress, stop)
        try:
            loop.validate_what_is_due()
            for batch in state.batches():
                if any_process(fabric, state.out_of_patience or stop()):
                    break
                loop.step(batch)
        except NotFiniteError as error:
            raise InputError(f"{error} {_what_is_kept(state, run, error)}") from error
        finally:
            loop.close()
        state.waited, state.unvalidated = fabric.broadcast((state.waited, state.unvalidated))
        if state.out_of_patience and state.best is not None:
            best = f"best at step {state.best['step']}, mean RMSE {state.best['rmse']:.2f} HU"
            report(f"Stopped early: {best}; it is kept.")
        in_the_first(fabric, lambda: _finish(state, run))
        fabric.barrier()  # No process ends while another still reads what the first one said.
    return state


def _begin(state: FitState, run: Path, report: Callable[[str], None]) -> None:
    """Go on with the run in a folder, or begin it there, with a checkpoint: what cannot be written is told now."""
    planned = state.config.fit.steps
    if not state.resume(run):
        state.begin()
        report(_plan(state.config))
        if state.from_elsewhere:
            report(
                "The weights that it learns from were trained on other prepared data: figures on validation and test "
                "patients count only if you know that none of them is among theirs."
            )
    elif state.step < planned or state.unvalidated:
        report(f"Going on from step {state.step} of {planned}.")
    else:
        report(f"The run has {state.step} steps already, of {planned} planned; with more `--steps` it goes on.")
    state.fabric.barrier()  # The first process writes only when all have read.
    if state.step == 0:
        in_the_first(state.fabric, lambda: state.save(run))


def _finish(state: FitState, run: Path) -> None:
    state.save(run)
    if state.step >= state.config.fit.log_every:
        plot(run)


class _Loop:
    """What happens at a step beside the step: logs, validation, checkpoints, in the first process."""

    def __init__(
        self,
        state: FitState,
        validation: Validation,
        run: Path,
        report: Callable[[str], None],
        progress: Callable[[int, int], None] | None,
        stop: Callable[[], bool],
    ) -> None:
        self._state, self._validation, self._run = state, validation, run
        self._report, self._progress, self._stop = report, progress, stop
        self._settings = state.config.fit
        self._logs = None
        if state.fabric.is_global_zero:
            self._logs = Logs(run, state.step, tensorboard=self._settings.tensorboard)
        self._first, self._recent = state.step, list[tuple[float, float]]()
        self._started = self._saved = time.monotonic()

    def step(self, batch: Batch) -> None:
        """Take a step, and do what is due after it."""
        state, settings = self._state, self._settings
        self._recent.append(state.train_step(batch))
        if state.step % settings.log_every == 0:
            self._log()
        if self._logs is None:
            return
        if self._progress is not None:
            self._progress(state.step, settings.steps)
        if state.step % settings.validate_every == 0 or state.step == settings.steps:
            self._validate(self._logs)
        if time.monotonic() - self._saved > 60 * settings.checkpoint_minutes:
            state.save(self._run)
            self._saved = time.monotonic()

    def validate_what_is_due(self) -> None:
        """Make the validation that a stop broke off."""
        if self._logs is not None and self._state.unvalidated:
            self._validate(self._logs)

    def close(self) -> None:
        """Finish the logs."""
        if self._logs is not None:
            self._logs.close()

    def _log(self) -> None:
        state, planned = self._state, self._settings.steps
        pace = (state.step - self._first) / (time.monotonic() - self._started)
        # Of all processes: each has the loss of its own patches.
        loss, norm = (float(v) for v in state.fabric.all_reduce(torch.tensor(self._recent).mean(dim=0)))
        self._recent.clear()
        if self._logs is None:
            return
        rate = float(state.schedule.get_last_lr()[0])
        values = {"loss": loss, "gradient_norm": norm, "learning_rate": rate, "steps_per_second": pace}
        self._logs.training(state.step, values)
        left = (planned - state.step) / pace / 60
        self._report(f"step {state.step} of {planned}: loss {loss:.4f}, {pace:.1f} steps/s, {left:.0f} min left")

    def _validate(self, logs: Logs) -> None:
        state = self._state
        try:
            figures = self._validation.figures(state.ema.module, self._stop)
        except Cancelled:
            state.unvalidated = True
            return
        state.unvalidated = False
        logs.validation(state.step, figures)
        logs.pictures(state.step, self._validation.pictures(state.ema.module, self._settings.pictures))
        state.note(figures)
        for row in figures:
            self._report(f"  {row}")


def _plan(config: Config) -> str:
    """Return what is about to be done, for a line: a run without a configuration file takes hours, and no bank."""
    share = config.noise.projection_share
    bank = f"{share:.0%} of the noise from the bank" if share > 0 else "without a noise bank (projection_share = 0)"
    network = config.architecture or "a network of your own"
    steps = counted(config.fit.steps, "step")
    return f"Training {network}: {steps} with a batch of {config.data.batch}, {bank}."


def steps_within(
    minutes: float,
    config: Config,
    prepared: Path,
    *,
    processes: Processes | None = None,
    report: Callable[[str], None] = print,
) -> int:
    """Measure the pace with a few steps that are thrown away and return how many fit into a time.

    A tenth is set aside for validation. The warm-up of the configuration must fit too: at least twice its steps.

    :param report: called with one line when that takes longer than the time given.
    """
    fabric = (processes or Processes()).launch(config.fit.precision)
    trial = FitState(config, prepared, fabric)
    batches = trial.batches()
    trial.train_step(next(batches))
    started = time.monotonic()
    for batch in islice(batches, _PACE_STEPS):
        trial.train_step(batch)
    taken = max(trial.step - 1, 1)
    # All processes plan what the first one measured.
    seconds_a_step = fabric.broadcast((time.monotonic() - started) / taken)
    fitting, least = int(0.9 * 60 * minutes / seconds_a_step), max(2 * config.fit.warmup_steps, 1)
    if fitting < least and fabric.is_global_zero:
        needed = least * seconds_a_step / (0.9 * 60)
        report(
            f"{minutes:g} min is too short: {least} steps are taken, about {needed:.{0 if needed > 10 else 1}f} min, "
            f"twice the warm-up of {config.fit.warmup_steps} steps, which `--set fit.warmup_steps=N` shortens."
        )
    return max(fitting, least)


def _what_is_kept(state: FitState, run: Path, error: NotFiniteError) -> str:
    """Save a run that is good but for its data, and return what is kept of it, in a sentence.

    One that has diverged is not saved: its last checkpoint is from before, or nearer to that.
    """
    if error.data_at_fault and state.step > 0:
        if state.fabric.is_global_zero:
            state.save(run)
        state.fabric.barrier()  # The first process to end has the others ended, too.
        return f"Step {state.step} is saved; the same command goes on from there."
    saved = read_checkpoint(run)
    if saved is None or saved["step"] == 0:
        return "Nothing was saved yet."
    return f"The checkpoint of step {saved['step']} is kept in {run}."
