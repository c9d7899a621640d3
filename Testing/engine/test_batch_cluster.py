"""A batch through a real Dask scheduler and its worker processes, some of which are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meddenoise import read_volume, write_volume
from meddenoise.batch import Summary, run_batch
from meddenoise.batch.cluster import Cluster, _one_sentence_when_lost, _Order, _room, gpu_of, run_on_cluster
from meddenoise.batch.inventory import Entry
from meddenoise.batch.manifest import MANIFEST_FILE
from meddenoise.batch.outcome import Outcome
from meddenoise.cli.batch_progress import PlainWatcher
from meddenoise.errors import ClusterError
from meddenoise.processing import Settings
from meddenoise.volume_files import Volume

pytest.importorskip("distributed")


class Callback(PlainWatcher):
    """Calls a function at the end of each series."""

    def __init__(self, at_end: Any = lambda: None) -> None:
        super().__init__(quiet=True)
        self._at_end = at_end

    def ends(self, entry: Entry, outcome: Outcome) -> None:
        super().ends(entry, outcome)
        self._at_end()


class RealCluster:
    """A Dask scheduler and two workers, each a process without a nanny that would start it again."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--no-dashboard")
        deadline = time.monotonic() + 60
        while not self.file.exists():
            assert self.scheduler.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.workers = [self._start("worker", "--no-nanny", "--no-dashboard", "--nthreads", "1") for _ in range(2)]

    def _start(self, program: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{program}", "--scheduler-file", str(self.file)]
        # as Dask's nanny, which these workers do without, sets it
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_TRIM_THRESHOLD_": "65536"}
        return subprocess.Popen([*command, *options], env=environment, stderr=subprocess.DEVNULL)

    def wait_for_workers(self) -> None:
        import distributed

        with distributed.Client(scheduler_file=str(self.file)) as client:
            client.wait_for_workers(2, timeout=60)

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    real = RealCluster(tmp_path)
    try:
        real.wait_for_workers()
        yield real
    finally:
        real.close()


@pytest.fixture
def settings(tiny_weights: Path) -> Settings:
    return Settings(model=str(tiny_weights), device="cpu", threads=1)


def batch(source: Path, settings: Settings, cluster: Cluster, watcher: PlainWatcher | None = None) -> Summary:
    execute = partial(run_on_cluster, cluster=cluster, announce=lambda sentence: None)
    watcher = watcher or Callback()
    return run_batch(source, source.parent / "out", settings, execute, watcher=watcher, stop=threading.Event())


def assert_each_once(source: Path, expected: dict[str, np.ndarray]) -> None:
    """Check every result against the denoiser's own, and that each is once in the manifest and nothing is beside."""
    out = source.parent / "out"
    lines = [json.loads(line) for line in (out / MANIFEST_FILE).read_text().splitlines()]
    assert sorted(line["place"] for line in lines if line.get("state") == "done") == sorted(expected)
    for place, array in expected.items():
        np.testing.assert_array_equal(read_volume(out / place).array, array)
    assert not list(out.rglob(".meddenoise-*/"))


def test_a_worker_killed_in_the_middle_costs_nothing(
    small_archive: Path, settings: Settings, denoised_archive: dict[str, np.ndarray], cluster: RealCluster
):
    rng = np.random.default_rng(5)
    array = (np.where(np.indices((40, 64, 64))[2] < 8, -1000, 40) + rng.normal(0, 25, (40, 64, 64))).astype(np.int16)
    from meddenoise import Denoiser

    denoiser = Denoiser(settings.model, device="cpu", threads=1)
    for number in range(6):  # longer ones, so that the worker is at work when it is killed
        place = f"long-{number}.nrrd"
        write_volume(small_archive / place, Volume(array + number))
        denoised_archive[place] = denoiser.denoise(array + number)
    (small_archive / "a" / "broken.nrrd").write_bytes(b"NRRD0004\n")

    def kill_one() -> None:
        cluster.workers[0].send_signal(signal.SIGKILL)

    summary = batch(small_archive, settings, Cluster(scheduler=str(cluster.file)), Callback(kill_one))
    assert cluster.workers[0].wait() == -signal.SIGKILL
    assert (summary.done, set(summary.failed), summary.left) == (12, {"a/broken.nrrd"}, 0)
    assert_each_once(small_archive, denoised_archive)
    again = batch(small_archive, settings, Cluster(scheduler=str(cluster.file)))
    assert (again.done, again.done_before) == (0, 12)


def test_a_lost_scheduler_is_said_and_the_rest_done_here(
    small_archive: Path, settings: Settings, denoised_archive: dict[str, np.ndarray], cluster: RealCluster
):
    with pytest.raises(ClusterError, match="scheduler"):
        batch(small_archive, settings, Cluster(scheduler=str(cluster.file)), Callback(cluster.scheduler.kill))
    summary = batch(small_archive, settings, Cluster(workers=2, at_once=2))
    assert summary.done + summary.done_before == 6
    assert summary.done_before >= 1
    assert_each_once(small_archive, denoised_archive)


def test_a_scheduler_lost_before_it_is_asked_for_its_workers_is_said(settings: Settings, cluster: RealCluster):
    import dask
    import distributed

    order = _Order(Path(), settings, "", "", 1)
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        distributed.Client(scheduler_file=str(cluster.file)) as client,
    ):
        assert _room(client, order) == 4
        cluster.scheduler.kill()
        cluster.scheduler.wait()
        for _ in range(2):
            with (
                pytest.raises(ClusterError, match="connection to the Dask scheduler was lost"),
                _one_sentence_when_lost(),
            ):
                _room(client, order)


def test_a_scheduler_that_is_not_there_is_said(
    small_archive: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("meddenoise.batch.cluster._CONNECT_SECONDS", 1)
    for address in ("tcp://127.0.0.1:9", "nonsense"):
        with pytest.raises(ClusterError, match=f"no Dask scheduler at {address}"):
            batch(small_archive, settings, Cluster(scheduler=address))


@pytest.mark.parametrize(
    ("worker", "count", "gpu"),
    [
        ("0", 2, "cuda:0"),
        ("3", 2, "cuda:1"),
        ("node1-7", 4, "cuda:3"),
        ("alone", 2, "cuda:0"),
        ("SLURM-2-1", 1, "cuda:0"),
    ],
)
def test_workers_share_the_gpus_out(worker: str, count: int, gpu: str):
    assert gpu_of(worker, count) == gpu


@pytest.mark.skipif(sys.platform != "linux", reason="malloc of glibc")
def test_workers_keep_the_memory_they_free(small_archive: Path, settings: Settings, cluster: RealCluster):
    """As Dask starts workers, each new array would fetch its pages from the system again."""
    import distributed

    def page_faults() -> int:
        import resource

        for _ in range(2):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(20):
                np.ones(1 << 17)  # 1 MB, 256 pages
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

    with distributed.Client(scheduler_file=str(cluster.file)) as client:
        assert min(client.run(page_faults).values()) > 20 * 200
        batch(small_archive, settings, Cluster(scheduler=str(cluster.file)))
        assert min(client.run(page_faults).values()) < 256
