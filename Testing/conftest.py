"""Fixtures that all tests share: weights made on the spot, and the real CT beside the project where it is present."""

from __future__ import annotations

from pathlib import Path

import pytest

from meddenoise.model_card import Architecture, ModelCard

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def ct_data() -> Path:
    """Return the folder of real CT beside the project; skip where it is absent."""
    folder = ROOT.parent / "shared" / "data" / "ct"
    if not folder.is_dir():
        pytest.skip("the real CT is not beside the project (../shared/data/ct)")
    return folder


@pytest.fixture(scope="session")
def tiny_card() -> ModelCard:
    """Return the card of a tiny untrained network."""
    return ModelCard(
        name="tiny",
        title="Tiny",
        version="0",
        architecture=Architecture("residual-autoencoder", widths=(4, 8), blocks=1),
        hu_per_unit=1000.0,
        summary="Untrained, for tests.",
        licence="Apache-2.0",
        created="2026-01-01",
    )


@pytest.fixture(scope="session")
def tiny_weights(tiny_card: ModelCard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a weights file of a tiny untrained network: real in every respect but its figures."""
    from meddenoise.network import seeded_network
    from meddenoise.weights import save_weights

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, seeded_network(tiny_card.architecture, seed=1), tiny_card)
    return path
