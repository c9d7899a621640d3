"""What a method costs: parameters, GFLOP of a slice, milliseconds a slice."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from meddenoise.network import parameter_count
from meddenoise_training.benchmark.cases import Case
from meddenoise_training.benchmark.methods import Method, network_gflop
from meddenoise_training.benchmark.noisy import Noisy

#: A method that takes longer than this is timed once instead of three times.
_LONG_SECONDS = 3.0


@dataclass(frozen=True)
class Cost:
    """Of one method.

    :param parameters: None for what is no network.
    :param gflop: of a slice of the size timed, multiplications and additions counted apart; None likewise.
    :param milliseconds: a slice, median of three after one that does not count (slow ones: of one).
    """

    parameters: int | None
    gflop: float | None
    milliseconds: float


def measure_costs(methods: Sequence[Method], case: Case, noisy: Noisy) -> dict[str, Cost]:
    """Time the methods one after the other on the same slice, threads as torch is set."""
    result = {}
    for method in methods:
        result[method.name] = Cost(*_size(method, noisy), _milliseconds(method, case, noisy))
    return result


def _size(method: Method, noisy: Noisy) -> tuple[int | None, float | None]:
    if method.network is None:
        return None, None
    return parameter_count(method.network), method.passes * network_gflop(method.network, *noisy.image.shape)


def _milliseconds(method: Method, case: Case, noisy: Noisy) -> float:
    def once() -> float:
        start = time.perf_counter()
        method.denoise(noisy, case.pixel)
        return time.perf_counter() - start

    first = once()
    return 1000 * (first if first > _LONG_SECONDS else statistics.median(once() for _ in range(3)))
