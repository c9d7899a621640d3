"""The numerical abdomen: true HU, honest labels, soft edges, the same body at every size."""

from __future__ import annotations

import numpy as np
import pytest

from meddenoise import phantom
from meddenoise.errors import InputError
from meddenoise.phantom import ORGANS, Phantom, numerical_abdomen

# (HU, tolerance of the organ's mean): the texture averages out over an organ, not wholly over a small one.
EXPECTED_HU = {
    "air": (-1000, 0),
    "fat": (-100, 0.5),
    "muscle": (55, 0.5),
    "liver": (110, 0.5),
    "spleen": (120, 0.5),
    "pancreas": (95, 1),
    "kidney cortex": (170, 0.5),
    "kidney medulla": (130, 0.5),
    "aorta": (160, 0),
    "trabecular bone": (200, 2),
    "gas": (-950, 0),
    "gallbladder": (8, 0),
    "pancreas lesion": (65, 1.5),
    "lung": (-850, 2),
}


@pytest.fixture(scope="module")
def abdomen() -> Phantom:
    return numerical_abdomen(slices=12, size=256)


def test_shape_types_and_spacing(abdomen: Phantom) -> None:
    assert abdomen.hu.shape == abdomen.labels.shape == (12, 256, 256)
    assert abdomen.hu.dtype == np.int16
    assert abdomen.labels.dtype == np.uint8
    assert abdomen.spacing == pytest.approx((12.0, 1.5, 1.5))
    assert abdomen.organs == ORGANS
    assert set(np.unique(abdomen.labels)) == {0, *ORGANS.values()}


@pytest.mark.parametrize("organ", EXPECTED_HU)
def test_each_organ_has_its_hu(abdomen: Phantom, organ: str) -> None:
    expected, tolerance = EXPECTED_HU[organ]
    values = abdomen.hu[abdomen.labels == ORGANS[organ]]
    assert values.mean() == pytest.approx(expected, abs=tolerance)
    # A label marks pure voxels only: nothing of a neighbour of other HU is mixed in.
    assert values.std() < 26
    assert abs(values - expected).max() < 130


def test_lesions_have_the_contrast_that_is_declared() -> None:
    fine = numerical_abdomen(slices=48, size=256)
    pixel, step = fine.spacing[1], fine.spacing[0]
    for (x, y, z), diameter, contrast in phantom.LIVER_LESIONS:
        # The body is bent by a few mm: look for the lesion's own label about its place.
        k, j, i = round((z + 72) / step - 0.5), round((y + 192) / pixel), round((x + 192) / pixel)
        reach = round((diameter / 2 + 5) / pixel)
        window = (slice(k - 1, k + 2), slice(j - reach, j + reach), slice(i - reach, i + reach))
        lesion = fine.hu[window][fine.labels[window] == ORGANS["liver lesion"]]
        if diameter >= 8:  # smaller ones have no pure voxel at this size
            assert lesion.size > 0
            assert np.median(lesion) == pytest.approx(110 + contrast, abs=5)


def test_edges_are_soft(abdomen: Phantom) -> None:
    """From air to skin (45 HU) each row passes a value in between: no edge goes from one to the other in one step."""
    soft, rows = 0, 0
    for row in abdomen.hu[6]:
        body = np.flatnonzero(row > -999)
        if len(body) > 100:
            rows += 1
            soft += bool(((row[body[:2]] > -980) & (row[body[:2]] < -120)).any())
    assert rows > 80
    assert soft > 0.97 * rows


def test_texture_is_mild_and_band_limited(abdomen: Phantom) -> None:
    liver = np.where(abdomen.labels[8] == ORGANS["liver"], abdomen.hu[8], np.nan)
    assert 2 < np.nanstd(liver) < 4
    # Wavelengths of 4 mm and more on pixels of 1.5 mm: neighbours resemble each other, as noise would not.
    pairs = ~np.isnan(liver[:, 1:]) & ~np.isnan(liver[:, :-1])
    assert np.corrcoef(liver[:, 1:][pairs], liver[:, :-1][pairs])[0, 1] > 0.6


def test_organs_appear_and_end_along_z(abdomen: Phantom) -> None:
    def present(organ: str) -> np.ndarray:
        return (abdomen.labels == ORGANS[organ]).any(axis=(1, 2))

    for organ in ("spleen", "pancreas", "kidney cortex", "gallbladder", "lung", "pancreas lesion"):
        assert present(organ).any()
        assert not present(organ).all()
    assert present("aorta").all()
    assert present("lung")[-1]  # k runs to the head
    assert not present("lung")[0]


def test_left_and_right_front_and_back(abdomen: Phantom) -> None:
    """Index i runs to the left (spleen), j to the back (spine), as in an axial CT of identity direction."""
    _, _, i_liver = np.nonzero(abdomen.labels == ORGANS["liver"])
    _, _, i_spleen = np.nonzero(abdomen.labels == ORGANS["spleen"])
    assert i_liver.mean() < 128 < i_spleen.mean()
    _, j_aorta, _ = np.nonzero(abdomen.labels == ORGANS["aorta"])
    _, j_pancreas, _ = np.nonzero(abdomen.labels == ORGANS["pancreas"])
    assert j_pancreas.mean() < j_aorta.mean()


def test_seed_decides_everything() -> None:
    first, again, other = (numerical_abdomen(slices=2, size=64, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.hu, again.hu)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.hu != other.hu).mean() > 0.2


@pytest.mark.parametrize(("slices", "size"), [(1, 64), (3, 65), (2, 100)])
def test_every_size_shows_the_same_body(slices: int, size: int) -> None:
    small = numerical_abdomen(slices=slices, size=size)
    assert small.hu.shape == (slices, size, size)
    assert small.spacing == pytest.approx((144 / slices, 384 / size, 384 / size))
    body = (small.hu > -300).mean()
    assert body == pytest.approx(0.39, abs=0.04)


def test_a_shorter_volume_is_the_middle_of_the_body() -> None:
    whole, short = numerical_abdomen(slices=48, size=64, seed=3), numerical_abdomen(slices=2, size=64, seed=3, length=6)
    assert short.spacing == whole.spacing
    np.testing.assert_array_equal(short.hu, whole.hu[23:25])
    with pytest.raises(InputError, match="0 mm long was asked for; give more"):
        numerical_abdomen(slices=2, size=64, length=0)


@pytest.mark.parametrize(("slices", "size"), [(0, 128), (4, 63)])
def test_too_small_is_refused(slices: int, size: int) -> None:
    with pytest.raises(InputError, match="at least 1 slice of 64 x 64"):
        numerical_abdomen(slices=slices, size=size)
