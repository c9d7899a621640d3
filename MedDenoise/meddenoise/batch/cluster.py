"""A batch on several processes or machines through Dask.distributed: each worker denoises a series at a time."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import re
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddenoise import __version__
from meddenoise.batch.inventory import Entry
from meddenoise.batch.outcome import Outcome, outcome_of, remembering
from meddenoise.batch.run import Work
from meddenoise.batch.saving import save_result
from meddenoise.catalogue import find_model
from meddenoise.devices import import_torch
from meddenoise.errors import ClusterError, DiskFullError, MedDenoiseError, MissingPackageError
from meddenoise.processing import Settings, denoise, load, make_denoiser
from meddenoise.weights import sha256_of

if TYPE_CHECKING:
    from distributed import Client, Future

    from meddenoise.denoiser import Denoiser

#: How often a series is tried again after an error that nobody expected.
RETRIES = 2
#: How many workers may die in the middle of one series before it is given up (for a scheduler of our own).
ALLOWED_DEATHS = 3
#: Series handed out beyond those being denoised, so that no worker waits; few are held back when a worker dies.
_HANDED_OUT = 2
#: Of glibc's ``malloc.h``; and what its own thresholds grow to, the larger arrays a program frees.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 64 << 20
_POLL_SECONDS = 0.5
_CONNECT_SECONDS = 30


@dataclass(frozen=True)
class Cluster:
    """Where to compute.

    :param workers: so many processes on this machine; None with a scheduler.
    :param scheduler: address of a running Dask scheduler, ``tcp://node1:8786``, or path of its scheduler file.
    :param at_once: series that a worker has in hand at a time; while one is denoised, others are read and written.
    """

    workers: int | None = None
    scheduler: str | None = None
    at_once: int = 1


@dataclass(frozen=True)
class _Order:
    """What a worker is told about every series."""

    folder: Path
    settings: Settings
    sha256: str
    version: str
    at_once: int


def run_on_cluster(work: Work, cluster: Cluster, announce: Callable[[str], None]) -> None:
    """Denoise the series of a batch on Dask workers that share the file system; the manifest is written here alone.

    A series whose worker dies is computed again on another. What is half-written is in a hidden folder, so that each
    result appears once and complete. When the run is to stop, nothing more is handed out and the rest is dropped.

    :param announce: to be told, in sentences, where the dashboard is and what is being waited for.
    :raises ClusterError: when the scheduler cannot be reached or is lost, or workers run another version or model.
    :raises DiskFullError: when nothing more can be written.
    :raises MissingPackageError: without Dask.distributed.
    """
    model = find_model(work.settings.model)
    order = _Order(work.folder.resolve(), work.settings, sha256_of(model.path), __version__, cluster.at_once)
    with _quiet_dask(), _client(cluster, order) as (client, order), _one_sentence_when_lost():
        announce(f"Dask dashboard: {client.dashboard_link}")
        if not client.nthreads():
            announce("There are no workers yet; waiting for them.")
        suspects = _distribute(work, client, order, work.entries, alone=False)
        for entry in _distribute(work, client, order, suspects, alone=True):
            reason = "The workers died while they worked on this series; it may need more memory than they have."
            work.finish(entry, Outcome("failed", reason))


@contextmanager
def _quiet_dask() -> Iterator[None]:
    """Keep Dask's log, with its tracebacks, to itself; what matters is said in our own words."""
    _import_distributed()
    from distributed.utils import silence_logging_cmgr

    with silence_logging_cmgr(logging.CRITICAL):
        yield


@contextmanager
def _one_sentence_when_lost() -> Iterator[None]:
    from distributed.client import CancelledError
    from distributed.comm import CommClosedError

    try:
        yield
    except (CommClosedError, CancelledError) as error:
        raise ClusterError(
            "The connection to the Dask scheduler was lost; what was finished is safe: start the batch again."
        ) from error


def _distribute(work: Work, client: Client, order: _Order, entries: list[Entry], *, alone: bool) -> list[Entry]:
    """Hand out series and take in outcomes until all are there; return those whose workers died again and again.

    Dask blames every series that a dying worker had in hand, so the innocent among them are tried again ``alone``.
    """
    import distributed

    waiting = list(reversed(entries))
    suspects: list[Entry] = []
    running: dict[Future[Any], Entry] = {}
    try:
        while (waiting or running) and not work.stop.is_set():
            while waiting and len(running) < (1 if alone else _room(client, order)):
                entry = waiting.pop()
                key = f"{'again' if alone else 'denoise'}-{entry.place}-{uuid.uuid4().hex[:8]}"
                running[client.submit(process, entry, order, key=key, retries=RETRIES, pure=False)] = entry
            with contextlib.suppress(TimeoutError, distributed.TimeoutError):
                distributed.wait(list(running), timeout=_POLL_SECONDS, return_when="FIRST_COMPLETED")
            for future in [future for future in running if future.done()]:
                entry = running.pop(future)
                outcome = _outcome_of_future(future)
                if outcome is None:
                    suspects.append(entry)
                else:
                    work.finish(entry, outcome)
    finally:
        with contextlib.suppress(Exception):  # the scheduler may be gone
            client.cancel(list(running))
    return suspects


def _outcome_of_future(future: Future[Any]) -> Outcome | None:
    """Return the outcome that a worker sent; None when the workers died."""
    import distributed
    from distributed.client import CancelledError
    from distributed.comm import CommClosedError

    try:
        outcome: Outcome = future.result()
    except distributed.KilledWorker:
        return None
    except (ClusterError, DiskFullError, CancelledError, CommClosedError):
        raise
    except Exception as error:
        return outcome_of(error)
    return outcome


def _room(client: Client, order: _Order) -> int:
    """Return how many series may be handed out: workers come and go, and where there is none yet, one calls for it."""
    from distributed.comm import CommClosedError

    try:
        workers = len(client.nthreads())
    except (OSError, AttributeError) as error:  # of a client whose scheduler is gone, and of one that has given up
        raise CommClosedError("The scheduler does not answer.") from error
    return max(1, workers * order.at_once * _HANDED_OUT)


@contextmanager
def _client(cluster: Cluster, order: _Order) -> Iterator[tuple[Client, _Order]]:
    """Give a client of the scheduler asked for, or of one of our own with its workers."""
    dask, distributed = _import_distributed()
    if cluster.scheduler is not None:
        with _connected(distributed, cluster.scheduler) as client:
            yield client, order
        return
    count = cluster.workers or 1
    cores = dask.system.CPU_COUNT
    threads = order.settings.threads or max(1, cores // count)
    order = replace(order, settings=replace(order.settings, threads=threads))
    # Without saturation of 1 a worker has more in hand than it works on, and dies for all of it.
    ours = {
        "distributed.scheduler.allowed-failures": ALLOWED_DEATHS - 1,
        "distributed.scheduler.worker-saturation": 1.0,
    }
    with (
        dask.config.set(ours),
        distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=cluster.at_once,
            memory_limit=distributed.system.MEMORY_LIMIT // count,
            dashboard_address="127.0.0.1:8787",
            silence_logs=logging.CRITICAL,
        ) as local,
        distributed.Client(local) as client,
    ):
        client.register_plugin(_ignore_interrupts(distributed))
        yield client, order


def _ignore_interrupts(distributed: Any) -> Any:
    """Return a plugin for our own workers: a terminal sends Ctrl-C to them, too, but this process is to end them."""

    class IgnoreInterrupts(distributed.WorkerPlugin):  # type: ignore[misc]
        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    return IgnoreInterrupts()


def _connected(distributed: Any, scheduler: str) -> Client:
    """Return a client of a running scheduler."""
    where = {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
    try:
        client: Client = distributed.Client(**where, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError, TimeoutError) as error:
        raise ClusterError(
            f"There is no Dask scheduler at {scheduler}; start one (dask scheduler), or give the address it prints."
        ) from error
    return client


def _import_distributed() -> tuple[Any, Any]:
    try:
        import dask.system
        import distributed
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "The Python package 'distributed' is missing; install meddenoise[cluster] to use several workers."
        ) from error
    return dask, distributed


# --- in a worker


def process(entry: Entry, order: _Order) -> Outcome:
    """Denoise one series, in a worker: read, denoised with the model that stays loaded, written.

    :returns: its outcome; errors that nobody expected are raised, so that Dask tries again, elsewhere perhaps.
    :raises ClusterError: when the worker is not the same MedDenoise with the same model.
    :raises DiskFullError: when nothing more can be written.
    """
    if order.version != __version__:
        raise ClusterError(
            f"A worker runs MedDenoise {__version__}, this is {order.version}; install the same on all of them."
        )
    with _SEATS.one_of(order.at_once):
        try:
            return _denoise_and_save(entry, order)
        except (ClusterError, DiskFullError):
            raise
        except (MedDenoiseError, MemoryError) as error:
            return outcome_of(error)


def _denoise_and_save(entry: Entry, order: _Order) -> Outcome:
    settings = entry.settings(order.settings)
    loaded = load(entry.source, settings)
    with _MODEL_IN_USE:
        denoiser = _denoiser(order)
        if denoiser.sha256 != order.sha256:
            raise ClusterError("A worker has other weights under the model's name; install the same on all of them.")
        with remembering(loaded):
            result = denoise(loaded, denoiser, settings)
    del loaded
    return save_result(result, entry, order.folder, order.settings)


class _Seats:
    """How many series this process has in hand, though Dask may hand it as many as it has threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = 0

    @contextmanager
    def one_of(self, count: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._taken < count)
            self._taken += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken -= 1
                self._changed.notify()


_SEATS = _Seats()
_MODEL_IN_USE = threading.Lock()


@lru_cache(maxsize=1)
def _denoiser(order: _Order) -> Denoiser:
    """Return the model of this process, loaded once, on the worker's own GPU and CPU threads."""
    from distributed import get_worker

    _keep_freed_memory()
    worker = get_worker()
    threads = order.settings.threads or max(1, worker.state.nthreads)
    device = order.settings.device
    if device in ("auto", "cuda"):
        gpus = import_torch().cuda.device_count()
        own_visible = "dask_cuda" in sys.modules  # it has put each worker's own GPU first
        device = gpu_of(str(worker.name), 1 if own_visible else gpus) if gpus else device
    return make_denoiser(replace(order.settings, device=device, threads=threads))


def _keep_freed_memory() -> None:
    """Have glibc keep freed memory of up to 64 MB for what comes next, as it does by itself, but not in Dask's workers.

    Dask starts them with a trim threshold of 64 kB: the arrays of every layer and slice would go back to the system and
    be fetched again, which nearly doubles the time of a slice.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES // 2)
            mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def gpu_of(worker: str, count: int) -> str:
    """Return the GPU of a worker by the number at the end of its name, so that the workers of a machine share them out.

    ``LocalCluster`` names them 0, 1, 2 ...; ``dask worker --name a --nworkers 2``, Slurm and others a-0, a-1.

    :param count: GPUs that the process sees.
    """
    number = re.search(r"(\d+)$", worker)
    return f"cuda:{int(number[1]) % count if number else 0}"
