"""A batch on one machine: one model, and while it denoises a series, the next is read and the last one written."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

from meddenoise.batch.inventory import Entry
from meddenoise.batch.outcome import Outcome, outcome_of, remembering
from meddenoise.batch.run import Work
from meddenoise.batch.saving import save_result
from meddenoise.errors import Cancelled, DiskFullError
from meddenoise.processing import denoise, load, make_denoiser

if TYPE_CHECKING:
    from meddenoise.processing import Denoised, Loaded

#: Series in memory at any time, whatever their size: one being read, one being denoised, one being written.
IN_MEMORY = 3
#: On a CPU. Threads that share a slice all wait while reading or writing has the core of one; threads with slices of
#: their own do not. More cores than these share each slice, which takes some 100 MB of working memory.
SLICES_AT_ONCE = 8


@dataclass
class _Flow:
    """What the three threads share.

    :param room: how many more series may be taken into memory.
    :param fatal: the error that ends the batch: nothing more can be written.
    """

    work: Work
    loaded: SimpleQueue[tuple[Entry, Loaded] | None] = field(default_factory=SimpleQueue)
    denoised: SimpleQueue[tuple[Entry, Denoised] | None] = field(default_factory=SimpleQueue)
    room: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(IN_MEMORY))
    fatal: BaseException | None = None

    def ends_early(self) -> bool:
        return self.work.stop.is_set() or self.fatal is not None

    def give_up(self, error: BaseException) -> None:
        self.fatal = self.fatal or error
        self.room.release()  # the reader may be waiting for room


def run_here(work: Work) -> None:
    """Denoise the series of a batch in this process; the calling thread denoises, two others read and write.

    Memory: at most three series at a time (:data:`IN_MEMORY`), the one being denoised twice, as input and output.
    When it is to stop, the series being written is finished, the others in hand are dropped.

    :raises DiskFullError: when nothing more can be written; what was finished is safe.
    :raises MedDenoiseError: when the model cannot be loaded.
    """
    denoiser = make_denoiser(work.settings, slices_at_once=SLICES_AT_ONCE)
    flow = _Flow(work)
    reader = threading.Thread(target=_read, args=(flow,), name="meddenoise-reader", daemon=True)
    writer = threading.Thread(target=_write, args=(flow,), name="meddenoise-writer")
    reader.start()
    writer.start()
    try:
        while (pair := flow.loaded.get()) is not None:
            entry, loaded = pair
            del pair  # the input goes as soon as its result is there
            try:
                with remembering(loaded):
                    result = denoise(
                        loaded, denoiser, entry.settings(work.settings), partial(work.slices, entry), flow.ends_early
                    )
            except Cancelled:
                break
            except Exception as error:
                _finish(flow, entry, outcome_of(error))
            else:
                flow.denoised.put((entry, result))
                del result
            del loaded
    except BaseException as error:
        flow.give_up(error)
        raise
    finally:
        flow.room.release()  # where a series in hand was dropped, the reader may still be waiting for its room
        flow.denoised.put(None)
        reader.join()
        writer.join()
    if flow.fatal is not None:
        raise flow.fatal


def _read(flow: _Flow) -> None:
    """Read series after series as long as there is room; then say that it was all."""
    try:
        for entry in flow.work.entries:
            flow.room.acquire()
            if flow.ends_early():
                break
            try:
                loaded = load(entry.source, entry.settings(flow.work.settings))
            except Exception as error:
                _finish(flow, entry, outcome_of(error))
            else:
                flow.loaded.put((entry, loaded))
                del loaded
    except BaseException as error:
        flow.give_up(error)
    finally:
        flow.loaded.put(None)


def _write(flow: _Flow) -> None:
    """Write result after result; after a fatal error only take them away."""
    while (pair := flow.denoised.get()) is not None:
        entry, result = pair
        del pair
        if flow.fatal is not None:
            continue
        try:
            _finish(flow, entry, _outcome_of_saving(result, entry, flow.work))
        except BaseException as error:
            flow.give_up(error)
        del result


def _outcome_of_saving(result: Denoised, entry: Entry, work: Work) -> Outcome:
    try:
        return save_result(result, entry, work.folder, work.settings)
    except DiskFullError:
        raise
    except Exception as error:
        return outcome_of(error)


def _finish(flow: _Flow, entry: Entry, outcome: Outcome) -> None:
    flow.work.finish(entry, outcome)
    flow.room.release()
