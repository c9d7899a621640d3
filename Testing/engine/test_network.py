"""The autoencoder and the intensity scale in front of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from meddenoise.errors import WeightsError
from meddenoise.intensity import from_network, kept_as_is, to_network
from meddenoise.model_card import FAST, STANDARD, Architecture
from meddenoise.network import build_network, parameter_count, seeded_network

SMALL = Architecture("residual-autoencoder", widths=(4, 8), blocks=1)


@pytest.mark.parametrize(("architecture", "millions", "gflop"), [(FAST, 0.26, 6.5), (STANDARD, 1.04, 25.5)])
def test_shipped_sizes(architecture: Architecture, millions: float, gflop: float) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    network = build_network(architecture)
    assert parameter_count(network) / 1e6 == pytest.approx(millions, rel=0.03)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 1, 512, 512))
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflop, rel=0.03)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 5), (64, 64), (33, 2)])
@pytest.mark.parametrize("slices", [1, 3])
def test_any_size_comes_back(size: tuple[int, int], slices: int) -> None:
    architecture = Architecture("residual-autoencoder", widths=(4, 8, 8), blocks=1, slices=slices)
    result = seeded_network(architecture, 0)(torch.randn(2, slices, *size))
    assert result.shape == (2, 1, *size)
    assert result.dtype == torch.float32


@pytest.mark.parametrize("size", [(9, 20), (3, 13)])  # 3 of 16 lacks more than it has
def test_what_a_size_lacks_is_its_mirror_image(size: tuple[int, int]) -> None:
    network = seeded_network(Architecture("residual-autoencoder", widths=(4, 8, 8, 8), blocks=1), 0)
    x = torch.randn(1, 1, *size)
    lacking = [(0, -length % 16) for length in size]
    mirrored = torch.from_numpy(np.pad(x.numpy(), [(0, 0), (0, 0), *lacking], mode="symmetric"))
    torch.testing.assert_close(network(x), network(mirrored)[..., : size[0], : size[1]])


def test_the_middle_slice_is_the_one_denoised() -> None:
    network = build_network(Architecture("residual-autoencoder", widths=(4,), blocks=1, slices=3))
    torch.nn.init.zeros_(network.exit.weight)  # no noise found: what is left is the slice itself
    x = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(network(x), x[:, 1:2])


def test_no_additive_constants() -> None:
    network = seeded_network(SMALL, 0)
    x = torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(network(3 * x), 3 * network(x), rtol=1e-4, atol=1e-5)
    assert not network(torch.zeros(1, 1, 16, 16)).any()
    assert not [name for name, _ in network.named_parameters() if name.endswith("bias")]


def test_seed_decides_alone() -> None:
    state = torch.get_rng_state()
    first, again, other = (seeded_network(SMALL, seed).entrance.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_scale_and_back_is_the_identity(dtype: type) -> None:
    hu = np.arange(-1500, 3001).astype(dtype)
    assert np.abs(from_network(to_network(hu)) - hu).max() < 1e-3


def test_padding_metal_and_what_is_not_finite() -> None:
    hu = np.array([-3024, -2000, -1000, 0, 3000, 3071, np.nan, np.inf, -np.inf], np.float32)
    np.testing.assert_allclose(to_network(hu), [-1, -1, -1, 0, 3, 3, -1, -1, -1])
    np.testing.assert_array_equal(kept_as_is(hu), [1, 1, 0, 0, 0, 1, 1, 1, 1])


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "unet", "widths": (4,), "blocks": 1},
        {"kind": "residual-autoencoder", "widths": (), "blocks": 1},
        {"kind": "residual-autoencoder", "widths": (10**6,), "blocks": 1},
        {"kind": "residual-autoencoder", "widths": (4,), "blocks": 0},
        {"kind": "residual-autoencoder", "widths": (4,), "blocks": 1, "slices": 2},
    ],
)
def test_impossible_architectures_are_refused(fields: dict) -> None:
    with pytest.raises(WeightsError, match=r"unknown architecture|impossible size"):
        Architecture(**fields)
