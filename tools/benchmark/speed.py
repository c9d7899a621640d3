"""The engine's time a slice beside the bare network's, the processor's best, classical filters, RED-CNN, the worker."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from meddenoise import Denoiser
from meddenoise.catalogue import shipped_models
from meddenoise.denoiser import Precision
from meddenoise.devices import has_fast_bfloat16
from meddenoise.intensity import to_network
from meddenoise.noise import add_gaussian_noise
from meddenoise.phantom import numerical_abdomen
from meddenoise.weights import load_network
from meddenoise.worker_client import WorkerClient
from meddenoise_training.baselines.redcnn import REDCNN
from meddenoise_training.benchmark.methods import network_gflop
from tools.benchmark.timing import Run, median_seconds

Volume = npt.NDArray[np.int16]

SIZE = 512
NON_LOCAL_MEANS = "non-local means (scikit-image, fast, patch 5, distance 6)"
RED_CNN = "RED-CNN, float32"
#: Channels and sides of the convolutions among which the processor's best rate is sought.
_CHANNELS = (32, 64, 128, 256)
_SIDES = (32, 64, 128, 256)


@dataclass(frozen=True)
class Row:
    """Of the table: milliseconds a slice, and what they are compared with, in words."""

    name: str
    milliseconds: float
    ratios: str = ""


def speed_table(slices: int, repeats: int) -> str:
    """Return all rows in Markdown.

    :param slices: of the volume that engine, bare network and worker denoise.
    """
    volume = add_gaussian_noise(numerical_abdomen(slices=slices, size=SIZE).hu, 25, seed=0)
    others = [
        Row(name, 1000 * seconds) for name, seconds in median_seconds(_others(volume[slices // 2]), repeats).items()
    ]
    milliseconds = {row.name: row.milliseconds for row in others}
    rows = [
        row
        for precision in _precisions()
        for model in shipped_models()
        for row in _model_rows(model.name, model.title, precision, volume, repeats, milliseconds)
    ]
    head = f"| {slices} slices of {SIZE} x {SIZE}, {torch.get_num_threads()} CPU threads | ms a slice | ratios |"
    lines = [f"| {row.name} | {row.milliseconds:.1f} | {row.ratios} |" for row in (*rows, *others)]
    return "\n".join([head, "|---|---|---|", *lines])


def _precisions() -> list[Precision]:
    return ["float32", "bfloat16"] if has_fast_bfloat16("cpu") else ["float32"]


def _others(one: Volume) -> dict[str, Run]:
    import SimpleITK as sitk  # noqa: N813 - its own convention
    from skimage.restoration import denoise_nl_means

    floats = one.astype(np.float32)
    image = sitk.GetImageFromArray(floats)
    redcnn, ready = REDCNN().eval(), torch.from_numpy(to_network(floats))[None, None]
    return {
        NON_LOCAL_MEANS: lambda: denoise_nl_means(floats, 5, 6, h=20.0, sigma=25.0, fast_mode=True),
        RED_CNN: lambda: _forward(redcnn, [ready], "float32"),
        "curvature anisotropic diffusion (SimpleITK, 5 iterations)": lambda: sitk.CurvatureAnisotropicDiffusion(
            image, 0.0625, 3.0, 1, 5
        ),
        "median 3 x 3 (SimpleITK)": lambda: sitk.Median(image, [1, 1]),
    }


def _model_rows(
    name: str, title: str, precision: Precision, volume: Volume, repeats: int, others: Mapping[str, float]
) -> Iterator[Row]:
    """Yield the rows of a model: engine, bare network and, in the precision that it would choose, the worker."""
    denoiser = Denoiser(name, device="cpu", precision=precision)
    network = load_network(next(m for m in shipped_models() if m.name == name).path).network
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # Ready as the engine hands them to the network, before any clock runs.
    ready = [
        torch.from_numpy(to_network(one))[None, None].contiguous(memory_format=torch.channels_last) for one in volume
    ]
    runs: dict[str, Run] = {
        "engine": partial(denoiser.denoise, volume),
        "bare": partial(_forward, network.noise, ready, precision),
    }
    with contextlib.ExitStack() as stack:
        if precision == _precisions()[-1]:
            client = stack.enter_context(WorkerClient())
            runs["worker"] = partial(client.denoise, volume, model=name, device="cpu")
        seconds = median_seconds(runs, repeats)
        best = _best_rate(precision)
    per_slice = {part: 1000 * total / len(volume) for part, total in seconds.items()}
    engine, bare = per_slice["engine"], per_slice["bare"]
    rate = 1000 * network_gflop(network, SIZE, SIZE) / bare
    yield Row(
        f"{title}, {precision}: engine",
        engine,
        f"{engine / bare:.2f} of the bare network's time, {engine / others[NON_LOCAL_MEANS]:.3f} of non-local means', "
        f"{others[RED_CNN] / engine:.0f} times as fast as RED-CNN",
    )
    yield Row(
        f"{title}, {precision}: bare network",
        bare,
        f"{rate:.0f} GFLOP/s, {rate / best:.0%} of the processor's best 3 x 3 convolution ({best:.0f})",
    )
    if "worker" in per_slice:
        worker = per_slice["worker"]
        yield Row(
            f"{title}, {precision}: through Slicer's warm worker", worker, f"{worker / engine:.2f} of the engine's"
        )


def _forward(run: Callable[[Tensor], Tensor], slices: Iterable[Tensor], precision: Precision) -> None:
    lower = torch.autocast("cpu", torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()
    with torch.inference_mode(), lower:
        for one in slices:
            run(one)


def _best_rate(precision: Precision) -> float:
    """Return the GFLOP/s of the fastest of many 3 x 3 convolutions, one slice at a time."""
    best = 0.0
    for channels, side in product(_CHANNELS, _SIDES):
        convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        convolution = convolution.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = torch.randn(1, channels, side, side).contiguous(memory_format=torch.channels_last)
        if precision == "bfloat16":
            convolution, x = convolution.bfloat16(), x.bfloat16()
        gflop = 2e-9 * 9 * (channels * side) ** 2
        times = max(1, round(2.0 / gflop))  # some tens of milliseconds each
        run = partial(_forward, convolution, [x] * times, "float32")
        best = max(best, times * gflop / median_seconds({"": run}, 3)[""])
    return best
