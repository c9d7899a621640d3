"""The blend of input and result."""

from __future__ import annotations

import numpy as np
import pytest

from meddenoise.errors import InputError
from meddenoise.strength import blend, blend_slice, feathered


def test_ends_are_exact_and_the_middle_is_rounded_half_to_even() -> None:
    original = np.array([[[10, 11, -7, 3]]], np.int16)
    denoised = np.array([[[11, 12, -8, 13]]], np.int16)
    np.testing.assert_array_equal(blend(original, denoised, 0), original)
    np.testing.assert_array_equal(blend(original, denoised, 1), denoised)
    np.testing.assert_array_equal(blend(original, denoised, 0.5), [[[10, 12, -8, 8]]])


def test_half_strength_adds_no_bias() -> None:
    random = np.random.default_rng(0)
    original = random.integers(-1000, 1000, (4, 100, 100)).astype(np.int16)
    denoised = (original + random.integers(-50, 51, original.shape)).astype(np.int16)
    exact = (original.astype(float) + denoised) / 2
    assert abs((blend(original, denoised, 0.5) - exact).mean()) < 0.01


def test_fills_the_denoised_volume_in_place() -> None:
    original = np.zeros((2, 3, 3), np.float32)
    denoised = np.full((2, 3, 3), 8, np.float32)
    assert blend(original, denoised, 0.25, out=denoised) is denoised
    np.testing.assert_array_equal(denoised, 2)


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 2**53 + 1])
def test_values_beyond_floats_stay_where_both_agree(value: int) -> None:
    volume = np.array([[[value, 5]]], np.int64)
    denoised = np.array([[[value, 7]]], np.int64)
    np.testing.assert_array_equal(blend(volume, denoised, 0.5), [[[value, 6]]])


def test_nan_and_infinities_stay() -> None:
    volume = np.array([[[np.nan, np.inf, -np.inf, 1]]], np.float32)
    np.testing.assert_array_equal(blend(volume, volume.copy(), 0.5), volume)


def test_mismatch_and_strength_out_of_range_are_refused() -> None:
    volume = np.zeros((1, 2, 2), np.int16)
    with pytest.raises(InputError, match="must match"):
        blend(volume, volume.astype(np.float32), 0.5)
    with pytest.raises(InputError, match="from 0"):
        blend(volume, volume, 2)


def test_weight_1_is_the_denoised_value_and_weight_0_the_original_to_the_bit() -> None:
    original = np.array([[1.0, 1.0, 1.0]])
    denoised = np.array([[1e-17, 1e-17, 0.5]])  # 1 + (1e-17 - 1) is 0
    weights = np.array([[1.0, 0.0, 0.5]], np.float32)
    np.testing.assert_array_equal(blend_slice(original, denoised, 1.0, weights), [[1e-17, 1.0, 0.75]])


def test_weights_rise_over_three_voxels_inside_and_know_no_edge_at_the_border() -> None:
    inside = np.zeros((9, 12), bool)
    inside[:, 3:] = True
    np.testing.assert_array_equal(feathered(inside), np.tile([0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1], (9, 1)))
    assert not feathered(np.zeros((4, 4), bool)).any()
