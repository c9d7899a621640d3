"""What the shipped models promise: noise removed, HU kept, clean images left alone."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from meddenoise.catalogue import default_model, shipped_models
from meddenoise.denoiser import BFLOAT16_PSNR_DB, Denoiser
from meddenoise.devices import has_fast_bfloat16
from meddenoise.metrics import ABDOMEN, bias, psnr, rmse
from meddenoise.noise import add_correlated_noise, add_gaussian_noise
from meddenoise.phantom import Phantom, numerical_abdomen
from meddenoise.volume_files import read_volume
from meddenoise.weights import read_card

NAMES = [model.name for model in shipped_models()]


@pytest.fixture(scope="module", params=NAMES)
def denoiser(request: pytest.FixtureRequest) -> Denoiser:
    return Denoiser(request.param, device="cpu")


@pytest.fixture(scope="module")
def abdomen() -> Phantom:
    return numerical_abdomen(slices=3)


@pytest.fixture(scope="module")
def patient(ct_data: Path) -> np.ndarray:
    """Return every fifth slice of a test patient, with noise of its own of about 9 HU."""
    return read_volume(ct_data / "test" / "crlm-ct-1004").array[::5]


def test_the_default_model_is_shipped() -> None:
    assert {default_model("cpu"), default_model("cuda")} <= set(NAMES)


def test_the_panel_begins_at_the_default_strength_of_the_cards() -> None:
    root = Path(__file__).resolve().parents[2] / "MedDenoise"
    parameters = (root / "MedDenoiseLib" / "parameters.py").read_text("utf-8")
    found = re.search(r"^    strength: .* = (\d+)$", parameters, re.MULTILINE)
    assert found
    assert f"<double>{found[1]}</double>" in (root / "Resources" / "UI" / "MedDenoise.ui").read_text("utf-8")
    assert {read_card(model.path).default_strength for model in shipped_models()} == {int(found[1]) / 100}


def test_a_clean_image_is_left_alone(denoiser: Denoiser, abdomen: Phantom) -> None:
    result = denoiser.denoise(abdomen.hu)
    assert rmse(abdomen.hu, result) < 2
    for name, label in abdomen.organs.items():
        assert abs(bias(abdomen.hu, result, abdomen.labels == label)) < 1, name


@pytest.mark.parametrize(("correlated", "gain_db"), [(False, 4.0), (True, 2.5)], ids=["white", "correlated"])
def test_a_patient_gets_better_and_hu_stay(
    denoiser: Denoiser, patient: np.ndarray, correlated: bool, gain_db: float
) -> None:
    add_noise = add_correlated_noise if correlated else add_gaussian_noise
    noisy = add_noise(patient, 25, seed=1)
    result = denoiser.denoise(noisy)
    assert psnr(patient, result, ABDOMEN) >= psnr(patient, noisy, ABDOMEN) + gain_db
    tissue = (patient > -150) & (patient < 250)
    assert abs(bias(patient, result, tissue)) < 2
    assert abs(bias(patient, result, patient > -1200)) < 2


@pytest.mark.skipif(not has_fast_bfloat16("cpu"), reason="this processor has no bfloat16 instructions")
def test_bfloat16_stays_within_60_db_of_float32(abdomen: Phantom) -> None:
    for name in NAMES:
        noisy = add_correlated_noise(abdomen.hu, 25, seed=2)[1:2].astype(np.float32)
        exact = Denoiser(name, device="cpu", precision="float32").denoise(noisy)
        fast = Denoiser(name, device="cpu", precision="bfloat16").denoise(noisy)
        assert rmse(exact, fast) > 0, "bfloat16 was not used"
        assert psnr(exact, fast, ABDOMEN) >= BFLOAT16_PSNR_DB
        assert Denoiser(name, device="cpu").precision == "bfloat16"


@pytest.mark.skipif(not has_fast_bfloat16("cpu"), reason="this processor has no bfloat16 instructions")
@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_as_near_float32_in_air_and_bone_as_in_soft_tissue(abdomen: Phantom, name: str) -> None:
    """There its own step is 4 HU and more, so that what is computed of the input must not be rounded to it."""
    noisy = add_gaussian_noise(abdomen.hu, 25, seed=3)[1:2].astype(np.float32)
    exact, fast = (
        Denoiser(name, device="cpu", precision=precision).denoise(noisy, strength=1)
        for precision in ("float32", "bfloat16")
    )
    truth = abdomen.hu[1:2]
    for low, high in ((-1100, -900), (-150, -50), (0, 150), (300, 3000)):
        tissue = (truth >= low) & (truth <= high)
        difference = fast[tissue] - exact[tissue]
        assert np.sqrt(np.mean(difference**2)) < 0.4, (low, high)
        assert abs(np.mean(difference)) < 0.05, (low, high)


@pytest.mark.parametrize("mean_frequency", [0.12, 0.2])
def test_no_noise_gathers_at_the_frequencies_of_the_folds(denoiser: Denoiser, mean_frequency: float) -> None:
    """The networks fold the image by 2, 4 and 8; where phases answer differently, low frequencies turn into high ones.

    Smooth noise has next to nothing from 0.42 cycles/pixel on, where a fold by 2 would bring it.
    """
    flat = np.full((1, 512, 512), 50, np.float32)
    noisy = add_correlated_noise(flat, 25, mean_frequency=mean_frequency, seed=3)
    result = denoiser.denoise(noisy, strength=1.0)

    def spectrum(image: np.ndarray) -> np.ndarray:
        tiles = image[0, 32:480, 32:480].reshape(7, 64, 7, 64).swapaxes(1, 2).reshape(-1, 64, 64)
        return np.square(np.abs(np.fft.fft2(tiles - tiles.mean(axis=(1, 2), keepdims=True)))).mean(axis=0) / 64**4

    before, after = spectrum(noisy), spectrum(result)
    high = np.abs(np.fft.fftfreq(64)) > 0.42
    bands = high[:, np.newaxis] | high[np.newaxis, :]
    assert np.sqrt(before[bands].sum()) > 1.5
    assert np.sqrt(after[bands].sum()) < 0.6  # HU; with one of four phases 10 % weaker it is 0.7 and more
