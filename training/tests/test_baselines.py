"""Baseline networks: the sizes that were published, shapes, and HU that survive the scaling inside."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from meddenoise.errors import InputError
from meddenoise.network import parameter_count
from meddenoise_training.baselines import BASELINES

WATER, AIR, METAL = 0.0, -1.0, 3.0


def seeded(name: str) -> nn.Module:
    torch.manual_seed(0)
    return BASELINES[name]().eval()


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    return {name: seeded(name) for name in BASELINES}


@pytest.mark.parametrize(
    ("name", "parameters"), [("cnn10", 24_513), ("redcnn", 1_848_865), ("dncnn", 556_096), ("ancestor", 85_667_017)]
)
def test_parameters_are_those_published(networks, name, parameters):
    assert parameter_count(networks[name]) == parameters


@pytest.mark.parametrize(("name", "gmac"), [("cnn10", 6.4), ("redcnn", 458), ("dncnn", 145)])
def test_operations_of_a_slice_are_those_published(name, gmac):
    with torch.device("meta"):
        network, x = BASELINES[name](), torch.zeros(1, 1, 512, 512)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(x)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, rel=0.01)


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("shape", [(2, 1, 64, 64), (1, 1, 67, 41)])
def test_shape_and_type_are_kept(networks, name, shape):
    x = 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        mixed = networks[name](x)
    with torch.no_grad():
        plain = networks[name](x)
    for result in (plain, mixed):
        assert result.shape == x.shape
        assert result.dtype == torch.float32
        assert torch.isfinite(result).all()


@pytest.mark.parametrize("name", ["redcnn", "dncnn"])
def test_residual_networks_begin_as_the_identity(networks, name):
    x = torch.tensor([AIR, -0.1, WATER, 0.05, 0.2, METAL]).repeat(24, 4)[None, None]
    with torch.no_grad():
        torch.testing.assert_close(networks[name](x), x, rtol=0, atol=1e-6)


def test_redcnn_cuts_below_its_scale_alone(networks):
    x = torch.tensor([-1.1, -1.03, -1.02, -1.0]).repeat(24, 6)[None, None]
    with torch.no_grad():
        result = networks["redcnn"](x)
    torch.testing.assert_close(result, x.clamp(min=-1.024), rtol=0, atol=1e-6)


def test_redcnn_says_what_it_needs(networks):
    with pytest.raises(InputError, match="21 x 21 pixels or more"):
        networks["redcnn"](torch.zeros(1, 1, 20, 64))


def unchanged(tile: torch.Tensor) -> torch.Tensor:
    assert tile.shape[1:] == (1, 128, 128)
    return tile


@pytest.fixture
def tiled(networks, monkeypatch):
    """Return the ancestor with the identity for its autoencoder: what is left are window and tiles."""
    network = networks["ancestor"]
    monkeypatch.setattr(network, "_tile", unchanged)
    return network


@pytest.mark.parametrize("shape", [(128, 128), (256, 384), (67, 41), (130, 300)])
def test_ancestor_puts_its_tiles_and_what_the_window_cuts_off_back(tiled, shape):
    x = torch.empty(2, 1, *shape).uniform_(AIR, METAL, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(tiled(x), x, rtol=0, atol=1e-6)


def test_ancestor_sees_the_abdomen_window(networks, monkeypatch):
    seen = []
    monkeypatch.setattr(networks["ancestor"], "_tile", lambda tile: seen.append(tile) or tile)
    networks["ancestor"](torch.tensor([AIR, -0.150, 0.050, 0.250, METAL]).repeat(128, 26)[None, None, :, :128])
    torch.testing.assert_close(seen[0][0, 0, 0, :5], torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["cnn10", "dncnn"])
def test_training_reduces_noise(name):
    torch.manual_seed(0)
    network = BASELINES[name]()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    clean = torch.full((4, 1, 16, 16), 0.05)
    losses = []
    for _ in range(30):
        loss = (network(clean + 0.05 * torch.randn_like(clean)) - clean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.85 * 0.05**2
