"""The batch's throughput as ratios in one run: to the engine alone on the same series, and of two workers to one.

``python -m tools.benchmark.batch`` makes an archive of DICOM series in a temporary folder. Absolute times belong to one
machine on one day; take the ratios while nothing else runs.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from meddenoise.batch import run_batch
from meddenoise.batch.cluster import Cluster, run_on_cluster
from meddenoise.batch.pipeline import SLICES_AT_ONCE, run_here
from meddenoise.batch.run import Work
from meddenoise.cli.batch_progress import PlainWatcher
from meddenoise.dicom import find_series, read_series
from meddenoise.noise import add_correlated_noise
from meddenoise.phantom import numerical_abdomen
from meddenoise.processing import Settings, make_denoiser
from meddenoise_training.noise.projection import LowDose
from tools.demo.low_dose_series import placed_volume, write_series


def make_archive(folder: Path, series: int, slices: int, size: int) -> None:
    """Write series of the numerical abdomen, each with noise of its own."""
    phantom = numerical_abdomen(slices=slices, size=size)
    for number in range(series):
        noisy = add_correlated_noise(phantom.hu, 20, seed=number)
        write_series(folder / f"{number:03}", placed_volume(noisy, phantom), LowDose())


def engine_seconds(archive: Path, settings: Settings, slices_at_once: int = 1) -> float:
    """Return how long the denoiser alone takes: every series is in memory before its clock starts."""
    denoiser = make_denoiser(settings, slices_at_once=slices_at_once)
    denoiser.denoise(np.zeros((2, 512, 512), np.int16))
    seconds = 0.0
    for series in find_series(archive):
        array = read_series(series).array
        start = time.perf_counter()
        denoiser.denoise(array)
        seconds += time.perf_counter() - start
    return seconds


def batch_seconds(archive: Path, settings: Settings, cluster: Cluster | None) -> float:
    """Return how long a batch takes: loading the model counts, looking through the archive and starting Dask do not."""
    started: list[float] = []

    class Clock(PlainWatcher):
        def begins(self, series: int) -> None:
            started.append(time.perf_counter())

    def on_cluster(work: Work) -> None:
        assert cluster is not None
        run_on_cluster(work, cluster, lambda sentence: started.append(time.perf_counter()))

    out = Path(tempfile.mkdtemp(dir=archive.parent)) / "out"
    execute = run_here if cluster is None else on_cluster
    summary = run_batch(archive, out, settings, execute, watcher=Clock(True), stop=threading.Event())
    seconds = time.perf_counter() - started[-1]
    assert not summary.failed, summary.failed
    assert not summary.left
    shutil.rmtree(out.parent)
    return seconds


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=20)
    parser.add_argument("--slices", type=int, default=40)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="CPU threads of engine and batch; each worker has one")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    arguments = parser.parse_args()
    settings = Settings(
        arguments.model, device=arguments.device, threads=arguments.threads, precision=arguments.precision
    )
    of_worker = replace(settings, threads=1)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "archive"
        make_archive(archive, arguments.series, arguments.slices, arguments.size)
        measure = partial(batch_seconds, archive)
        engine, batch = engine_seconds(archive, settings), measure(settings, None)
        at_once = engine_seconds(archive, settings, SLICES_AT_ONCE)
        one, two = measure(of_worker, Cluster(workers=1)), measure(of_worker, Cluster(workers=2))
    slices = arguments.series * arguments.slices
    what = f"{arguments.model} in {arguments.precision} precision on {arguments.device}"
    print(f"| {arguments.series} DICOM series of {arguments.slices} slices, {what} | ms a slice | ratio |")
    print("|---|---|---|")
    for name, seconds, ratio in (
        ("engine alone, series in memory", engine, ""),
        (
            "engine alone, slices at once as in a batch: its throughput of the engine's",
            at_once,
            f"{engine / at_once:.2f}",
        ),
        ("batch, one process: its throughput of the engine's", batch, f"{engine / batch:.2f}"),
        ("one worker of one thread", one, ""),
        ("two such workers: their throughput of one's", two, f"{one / two:.2f}"),
    ):
        print(f"| {name} | {1000 * seconds / slices:.1f} | {ratio} |")


if __name__ == "__main__":
    main()
