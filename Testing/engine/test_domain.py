"""The domain guard: real CT and phantoms pass; what is no CT in HU, or leaves the training, is said by its code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from meddenoise.domain import Facts, findings_of
from meddenoise.errors import WeightsError
from meddenoise.model_card import ModelCard, TrainingDomain
from meddenoise.noise import add_correlated_noise, add_gaussian_noise
from meddenoise.noise_estimate import estimate_noise
from meddenoise.noise_texture import noise_mean_frequency
from meddenoise.phantom import Phantom, numerical_abdomen

FACTS = Facts(pixel_mm=(0.7, 0.7), spacing_mm=2.5)
DOMAIN = TrainingDomain(
    kernels=("STANDARD", "B30f"),
    pixel_mm=(0.5, 1.0),
    thickness_mm=(1.0, 5.0),
    spacing_mm=(1.0, 5.0),
    kvp=(100.0, 140.0),
    noise_sd_hu=(3.0, 80.0),
    noise_mean_frequency=(0.12, 0.3),
    hu=(-1500.0, 3000.0),
)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return numerical_abdomen(slices=4, size=192)


@pytest.fixture(scope="module")
def ct(phantom: Phantom) -> np.ndarray:
    return add_gaussian_noise(phantom.hu, 20, seed=0)


def codes(volume: np.ndarray, facts: Facts = FACTS, domain: TrainingDomain | None = None) -> list[str]:
    return [finding.code for finding in findings_of(volume, facts, domain)]


def test_a_ct_with_and_without_noise_and_a_part_of_it_pass(phantom: Phantom, ct: np.ndarray) -> None:
    padded = ct.copy()
    padded[:, :20] = -3024
    nothing_but_padding = np.where(padded[..., :60] == -3024, -3024, -2000).astype(np.int16)
    assert codes(nothing_but_padding, domain=DOMAIN) == []
    for volume in (phantom.hu, ct, padded, ct.astype(np.float32), ct[:, 80:110, 80:110], np.zeros((2, 9, 9), np.int16)):
        assert codes(volume, domain=DOMAIN) == []


def wrong(ct: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    bone = ct.astype(np.int16)
    bone[ct > 300] = -17000 - np.arange(np.count_nonzero(ct > 300)) % 200
    return {
        "label_map": labels,
        "scaled": ((ct.clip(-1000, 1000) + 1000) / 2000).astype(np.float32),
        "picture": ((ct.clip(-150, 250) + 150) / 400 * 255).astype(np.uint8),
        "hu_offset": (ct.clip(-1024) + 1024).astype(np.uint16),
        "hu_scale": bone,
        "no_air": (ct * 0.5).astype(np.int16),
        "no_negative": np.abs(np.random.default_rng(0).normal(300, 80, ct.shape)).astype(np.uint16),
    }


@pytest.mark.parametrize("code", ["label_map", "scaled", "picture", "hu_offset", "hu_scale", "no_air", "no_negative"])
def test_values_that_are_no_hu(ct: np.ndarray, phantom: Phantom, code: str) -> None:
    found = findings_of(wrong(ct, phantom.labels)[code], FACTS, None)
    assert [finding.code for finding in found] == [code]
    assert found[0].refused == (code in ("label_map", "scaled"))
    assert found[0].sentence[0].isupper()
    assert found[0].sentence[-1] in ".?"


def test_another_modality_is_refused(ct: np.ndarray) -> None:
    found = findings_of(ct, Facts((0.7, 0.7), 2.5, modality="MR"), None)
    assert [(finding.code, finding.refused) for finding in found] == [("modality", True)]
    assert codes(ct, Facts((0.7, 0.7), 2.5, modality="CT")) == []


@pytest.mark.parametrize(
    ("code", "fact"),
    [
        ("kernel", {"kernel": "B70f"}),
        ("kernel", {"kernel": "B70f", "mean_frequency": 0.25}),
        ("texture", {"mean_frequency": 0.36}),
        ("texture", {"mean_frequency": 0.1}),
        ("thickness", {"thickness_mm": 0.6}),
        ("spacing", {"spacing_mm": 0.5}),
        ("pixel", {"pixel_mm": (0.2, 0.2)}),
        ("kvp", {"kvp": 70.0}),
        ("noise", {"noise_sd": 120.0}),
    ],
)
def test_what_leaves_the_training_domain(ct: np.ndarray, code: str, fact: dict[str, float]) -> None:
    facts = Facts(**{"pixel_mm": (0.7, 0.7), "spacing_mm": 2.5, **fact})  # type: ignore[arg-type]
    found = findings_of(ct, facts, DOMAIN)
    assert [finding.code for finding in found] == [code]
    assert not found[0].refused
    assert codes(ct, facts) == []  # a card without a domain says nothing of it


def test_what_stays_inside_it_says_nothing(ct: np.ndarray) -> None:
    inside = Facts((0.7, 0.7), 2.5, "CT", "standard", 120.0, 2.5, 20.0, 0.2)
    assert codes(ct, inside, DOMAIN) == []
    assert codes(ct, Facts((0.7, 0.7), 2.5, kernel="Br36", mean_frequency=0.15), DOMAIN) == []  # smooth, if unknown
    assert codes(ct, Facts((0.7, 0.7), 0.5, thickness_mm=2.0), DOMAIN) == []  # thickness counts, not the spacing
    assert codes(ct, Facts((0.7, 0.7), 2.5, mean_frequency=0.111), DOMAIN) == []  # within what the estimate may err


def test_noise_coarser_than_in_training_is_told_but_not_the_texture_of_organs_without_noise() -> None:
    clean = numerical_abdomen(slices=2, size=192, seed=4).hu
    white = np.random.default_rng(0).normal(size=clean.shape)
    coarse = gaussian_filter(white, (0, 2, 2))
    told = {
        name: findings_of(
            volume,
            Facts(
                pixel_mm=(0.7, 0.7),
                spacing_mm=2.5,
                noise_sd=estimate_noise(volume),
                mean_frequency=noise_mean_frequency(volume),
            ),
            replace(DOMAIN, noise_mean_frequency=(0.12, 0.4), noise_sd_hu=(0.0, 90.0)),
        )
        for name, volume in {
            "clean": clean,
            "smooth kernel": add_correlated_noise(clean, 25, seed=1, mean_frequency=0.12),
            "coarse": clean + 40 * coarse / coarse.std(),
        }.items()
    }
    assert told["clean"] == ()
    assert told["smooth kernel"] == ()
    (finding,) = told["coarse"]
    assert finding.code == "texture"
    assert finding.sentence == (
        "Its noise is coarser than any in training (mean frequency 0.10, at least 0.12 cycles/pixel); it may be left "
        "in."
    )


def test_more_metal_than_ever_seen(ct: np.ndarray) -> None:
    metal = ct.copy()
    metal[:, 90:91, :40] = 3500
    assert 0.001 < np.mean(metal > 3000) < 0.005
    assert codes(metal, domain=DOMAIN) == ["hu_range"]


@pytest.mark.parametrize("frequency", [0.15, 0.2, 0.25, 0.32])
def test_the_texture_of_noise_is_measured(frequency: float) -> None:
    flat = np.full((6, 160, 160), 50.0)
    measured = noise_mean_frequency(add_correlated_noise(flat, 20, seed=1, mean_frequency=frequency))
    assert measured == pytest.approx(frequency, rel=0.1)
    # A little high: of white noise more lies below 0.07 cycles/pixel than a reconstruction leaves there.
    assert noise_mean_frequency(add_gaussian_noise(flat, 20, seed=1)) == pytest.approx(0.265, abs=0.01)
    assert noise_mean_frequency(np.full((2, 20, 20), 50.0)) is None


@pytest.mark.parametrize(("frequency", "error"), [(0.2, 0.015), (0.32, 0.04)])
def test_the_texture_of_noise_is_measured_among_anatomy(frequency: float, error: float) -> None:
    """With what stands below 0.07 cycles/pixel it would read 0.17 and 0.25, of windows not the flattest much less."""
    abdomen = numerical_abdomen(slices=2, size=512, seed=4).hu
    noisy = add_correlated_noise(abdomen, 20, seed=1, mean_frequency=frequency)
    assert noise_mean_frequency(noisy) == pytest.approx(frequency, abs=error)


def test_real_scans_pass_and_a_sharp_kernel_is_told(ct_data: Path) -> None:
    from meddenoise.processing import Settings, find_source, load

    for name in ("kits-00072", "stage2-crc-005"):
        assert load(find_source(ct_data / "test" / name), Settings()).findings == ()
    sharp = load(find_source(ct_data / "validation" / "lungdx-0002-b70f"), Settings())
    frequency = noise_mean_frequency(sharp.volume.array)
    smooth = load(find_source(ct_data / "validation" / "lungdx-0002-b40f"), Settings())
    assert 0.15 < noise_mean_frequency(smooth.volume.array) < 0.2 < 0.24 < frequency < 0.3  # kernels of one raw scan
    assert codes(sharp.volume.array, Facts((0.65, 0.65), 8.0, kernel="B70f", mean_frequency=frequency), DOMAIN) == [
        "kernel"
    ]


def test_a_card_keeps_its_domain_and_an_older_one_has_none(tiny_card: ModelCard) -> None:
    import dataclasses
    import json

    with_domain = dataclasses.replace(tiny_card, domain=DOMAIN)
    assert ModelCard.from_json(with_domain.to_json()) == with_domain
    older = json.loads(tiny_card.to_json())
    del older["domain"]
    assert ModelCard.from_json(json.dumps(older)).domain is None
    for damage in ({"kvp": [140, 100]}, {"kvp": "high"}, {"kernels": [3]}, {"colour": [0, 1]}):
        values = json.loads(with_domain.to_json())
        values["domain"] |= damage
        with pytest.raises(WeightsError, match="training domain"):
            ModelCard.from_json(json.dumps(values))
