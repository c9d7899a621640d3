"""`make benchmark`: speed and memory of the engine and the worker, as ratios within one run.

Absolute times belong to one machine on one day; the ratios to non-local means (the classical filter most people would
pick) and to the engine itself carry over.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

SLICES, SIZE = 24, 512
REPEATS = 3
MEMORY_SHAPE = (300, 512, 512)

#: Runs in a process of its own, so that the peak is this run's alone; getrusage would pass on the parent's.
MEMORY_SCRIPT = f"""
import json, re, pathlib, numpy as np
from meddenoise import Denoiser
def peak(): return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text()).group(1))
import torch
torch_alone = peak()
volume = np.full({MEMORY_SHAPE}, 40, np.int16)
output = np.zeros_like(volume)
output[:] = 1  # touched: counted as the output it will be
Denoiser("fast", device="cpu").denoise(volume, output=output)
print(json.dumps([torch_alone, volume.nbytes + output.nbytes, peak()]))
"""


def median_seconds(run: Callable[[], object]) -> float:
    """Return the median of a few runs after a first one that does not count."""
    run()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def speed() -> list[tuple[str, float]]:
    """Return (what, milliseconds a slice) for the engine, the worker and the classical filters."""
    import SimpleITK as sitk  # noqa: N813 - its own convention
    from skimage.restoration import denoise_nl_means

    from meddenoise import Denoiser
    from meddenoise.catalogue import shipped_models
    from meddenoise.devices import has_fast_bfloat16
    from meddenoise.noise import add_gaussian_noise
    from meddenoise.phantom import numerical_abdomen
    from meddenoise.worker_client import WorkerClient

    noisy = add_gaussian_noise(numerical_abdomen(slices=SLICES, size=SIZE).hu, 25, seed=0)
    rows = []
    for model in shipped_models():
        for precision in ("float32", "bfloat16"):
            if precision == "bfloat16" and not has_fast_bfloat16("cpu"):
                continue
            denoiser = Denoiser(model.name, device="cpu", precision=precision)
            seconds = median_seconds(partial(denoiser.denoise, noisy))
            rows.append((f"{model.title}, {precision}", 1000 * seconds / SLICES))
        with WorkerClient() as client:
            seconds = median_seconds(partial(client.denoise, noisy, model=model.name, device="cpu"))
        rows.append((f"{model.title}, through the warm worker", 1000 * seconds / SLICES))
    one = noisy[SLICES // 2].astype(np.float32)
    image = sitk.GetImageFromArray(one)
    rows += [
        (
            "non-local means (scikit-image, fast, 5/6)",
            1000 * median_seconds(lambda: denoise_nl_means(one, 5, 6, h=20.0, sigma=25.0, fast_mode=True)),
        ),
        (
            "curvature anisotropic diffusion (SimpleITK, 5 iterations)",
            1000 * median_seconds(lambda: sitk.CurvatureAnisotropicDiffusion(image, 0.0625, 3.0, 1, 5)),
        ),
        ("median 3 x 3 (SimpleITK)", 1000 * median_seconds(lambda: sitk.Median(image, [1, 1]))),
    ]
    return rows


def main() -> None:
    """Print two tables in Markdown."""
    rows = speed()
    reference = dict(rows)["non-local means (scikit-image, fast, 5/6)"]
    print(f"| {SIZE} x {SIZE} slices, CPU | ms a slice | of non-local means |\n|---|---|---|")
    for name, milliseconds in rows:
        print(f"| {name} | {milliseconds:.0f} | {milliseconds / reference:.2f} |")
    run = subprocess.run([sys.executable, "-c", MEMORY_SCRIPT], capture_output=True, text=True, check=True)
    torch_alone, volumes, peak = json.loads(run.stdout)
    shape = " x ".join(str(n) for n in reversed(MEMORY_SHAPE))
    print(f"\n| peak memory, {shape} int16, CPU | MB |\n|---|---|")
    for name, size in (
        ("Python with torch", torch_alone),
        ("input and output", volumes),
        ("beyond both", peak - torch_alone - volumes),
    ):
        print(f"| {name} | {size / 1e6:.0f} |")


if __name__ == "__main__":
    main()
