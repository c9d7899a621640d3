"""Peers: HU stay HU, noise goes, Slicer's defaults are Slicer's, tuning finds the best and is read back."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy import ndimage

from meddenoise.errors import InputError, OutputError
from meddenoise.metrics import rmse
from meddenoise.noise import kernel_nps
from meddenoise_training.peers import (
    NoiseKnowledge,
    TuningCase,
    all_peers,
    find_peers,
    read_tuned,
    tune,
    tuned_at_edge,
    write_tuned,
)
from meddenoise_training.peers.bm3d import bm3d_peers, is_installed, psd_of_size

PEERS = {peer.name: peer for peer in all_peers() if is_installed() or peer not in bm3d_peers()}
PIXEL = 0.75
SD = 25.0
QUIET = NoiseKnowledge(0.0, None, PIXEL)


def nps(mean_frequency: float | None, size: int = 32) -> np.ndarray:
    """Return a spectrum for noise of 25 HU as the benchmark gives it; None for white."""
    if mean_frequency is None:
        return np.full((size, size), SD**2)
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))
    shape = kernel_nps(f, mean_frequency)
    return shape * SD**2 / shape.mean()


def field(spectrum: np.ndarray, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Return noise of a spectrum, HU."""
    white = np.random.default_rng(seed).standard_normal(shape)
    filtered = np.fft.ifft2(np.fft.fft2(white) * np.sqrt(psd_of_size(NoiseKnowledge(SD, spectrum, PIXEL), shape)))
    return filtered.real / np.sqrt(white.size)


def disc(size: int = 48) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size / 2
    return np.where(np.hypot(x, y) < size / 3, 150.0, 50.0).astype(np.float32)


def noisy_case(group: str, mean_frequency: float | None, seed: int = 0, size: int = 48) -> TuningCase:
    spectrum = nps(mean_frequency)
    noise = NoiseKnowledge(SD, spectrum, PIXEL)
    image = disc(size) + field(spectrum, (size, size), seed)
    return TuningCase(group, disc(size), image.astype(np.float32), noise)


@pytest.fixture(params=PEERS)
def peer(request):
    return PEERS[request.param]


@pytest.mark.parametrize(("shape", "mean_frequency"), [((48, 48), None), ((67, 41), 0.2)])
def test_every_peer_keeps_shape_type_and_input(peer, shape, mean_frequency):
    image = (field(nps(mean_frequency), shape) - 900).astype(np.float32)
    image[5:20, 5:20] += 3500  # metal: nothing is clipped
    before = image.copy()
    result = peer.denoise(image, NoiseKnowledge(SD, nps(mean_frequency), PIXEL))
    assert result.shape == shape
    assert result.dtype == np.float32
    assert np.isfinite(result).all()
    np.testing.assert_array_equal(image, before)
    # Not in the middle, and not at the very edge, where some repeat values and others do not.
    assert result[8:17, 8:17].mean() == pytest.approx(image[8:17, 8:17].mean(), abs=40)
    assert result[30:-5, 5:-5].mean() == pytest.approx(image[30:-5, 5:-5].mean(), abs=3)


@pytest.mark.parametrize("hu", [50.0, -1000.0, 3000.0])
def test_a_constant_slice_stays(peer, hu):
    result = peer.denoise(np.full((32, 40), hu, np.float32), NoiseKnowledge(SD, nps(0.2), PIXEL))
    # BM3D computes in single precision, on HU lifted by 2048.
    np.testing.assert_allclose(result, hu, rtol=0, atol=0.1 if peer.name.startswith("BM3D") else 0.01)


def test_hardly_any_noise_leaves_the_slice_alone(peer):
    if not peer.knows_noise:
        assert peer.name.endswith("(Slicer)")
        return
    image = noisy_case("white", None).image
    np.testing.assert_array_equal(peer.denoise(image, QUIET), image)
    little = NoiseKnowledge(1e-3, nps(None) * (1e-3 / SD) ** 2, PIXEL)
    np.testing.assert_allclose(peer.denoise(image, little), image, rtol=0, atol=2.0)


@pytest.mark.parametrize("mean_frequency", [None, 0.2])
def test_a_noisy_disc_comes_nearer_to_the_truth(peer, mean_frequency):
    case = noisy_case("", mean_frequency)
    result = peer.denoise(case.image, case.noise)
    assert rmse(case.reference, result) < 0.98 * rmse(case.reference, case.image)
    assert abs(float((result - case.image).mean())) < 0.5


def test_hu_are_linear(peer):
    """Water as zero, or air: a shift of the slice is a shift of the result, so no value has a meaning of its own."""
    case = noisy_case("", None)
    plain, shifted = (peer.denoise(case.image + s, case.noise) - s for s in (np.float32(0), np.float32(-1024)))
    np.testing.assert_allclose(shifted, plain, rtol=0, atol=0.3)


@pytest.mark.skipif(not is_installed(), reason="bm3d is not installed")
def test_the_spectrum_helps_bm3d_where_noise_is_correlated():
    case = noisy_case("", 0.2, size=64)
    white, spectral = (
        rmse(case.reference, PEERS[n].denoise(case.image, case.noise)) for n in ("BM3D", "BM3D (spectrum)")
    )
    assert spectral < 0.8 * white


def test_spectrum_of_another_size_keeps_variance_and_shape():
    noise = NoiseKnowledge(SD, nps(0.2), PIXEL)
    fine = psd_of_size(noise, (96, 67))
    assert fine.shape == (96, 67)
    assert fine.mean() / fine.size == pytest.approx(SD**2)
    coarse = psd_of_size(noise, (32, 32)) / 32**2
    np.testing.assert_allclose(coarse, nps(0.2), rtol=1e-6, atol=1e-9)


def test_bm3d_takes_spectra_by_that_convention():
    """White noise as a spectrum must be what bm3d makes of its SD."""
    if not is_installed():
        assert not any(p in PEERS for p in ("BM3D", "BM3D (spectrum)"))
        return
    case = noisy_case("", None)
    white, spectral = (PEERS[n].denoise(case.image, case.noise) for n in ("BM3D", "BM3D (spectrum)"))
    np.testing.assert_allclose(spectral, white, rtol=0, atol=1.0)


@pytest.mark.skipif(not is_installed(), reason="bm3d is not installed")
def test_bm3d_does_not_pull_tissue_towards_water():
    image = np.full((32, 64), 5.0, np.float32)
    image[:, 32:] = 1000
    result = PEERS["BM3D"].denoise(image, NoiseKnowledge(SD, None, PIXEL))
    assert result[:, :20].mean() == pytest.approx(5, abs=0.1)


def test_gaussian_of_slicer_is_one_of_a_millimetre():
    image = np.zeros((65, 65), np.float32)
    image[32, 32] = 1000
    result = PEERS["Gaussian (Slicer)"].denoise(image, QUIET)
    np.testing.assert_allclose(result, ndimage.gaussian_filter(image, 1 / PIXEL), rtol=0, atol=2.0)


def test_median_of_slicer_is_three_by_three():
    image = noisy_case("", None).image
    result = PEERS["median (Slicer)"].denoise(image, QUIET)
    np.testing.assert_array_equal(result[1:-1, 1:-1], ndimage.median_filter(image, 3)[1:-1, 1:-1])


@pytest.fixture(scope="module")
def cheap():
    names = ("Gaussian (tuned)", "median (tuned)", "median (Slicer)")
    return [PEERS[name] for name in names]


@pytest.fixture(scope="module")
def tuned(cheap):
    cases = [noisy_case(group, f, seed) for group, f in (("white", None), ("smooth", 0.2)) for seed in (1, 2)]
    return tune(cheap, cases), cases


def test_tuning_keeps_the_best_of_the_grid(cheap, tuned):
    result, cases = tuned
    gaussian = cheap[0]
    smooth = [c for c in cases if c.group == "smooth"]
    found = result["peers"]["Gaussian (tuned)"]["smooth"]

    def error(parameters):
        return np.mean([rmse(c.reference, gaussian.apply(c.image, c.noise, parameters)) for c in smooth])

    assert found["rmse"] == pytest.approx(error(found["parameters"]))
    assert all(found["rmse"] <= error({"k": k, "p": p}) + 1e-9 for k in gaussian.grid["k"] for p in gaussian.grid["p"])
    assert "median (Slicer)" not in result["peers"], "a user's defaults are not tuned"
    assert result["groups"]["white"]["sd"] == [SD]


def test_what_does_well_on_a_few_cases_is_tried_on_all(cheap):
    """Every setting on two of six cases, a quarter of the settings on six; the RMSE told is that of all."""
    gaussian = cheap[0]
    cases = [noisy_case("white", None, seed) for seed in range(6)]
    tried = []

    def watched(image, noise, parameters):
        tried.append(tuple(parameters.values()))
        return gaussian.filter(image, noise, parameters)

    found = tune([dataclasses.replace(gaussian, filter=watched)], cases)["peers"]["Gaussian (tuned)"]["white"]
    combinations = len(gaussian.grid["k"]) * len(gaussian.grid["p"])
    assert len(tried) == 2 * combinations + 6 * (combinations // 4)
    errors = [rmse(c.reference, gaussian.apply(c.image, c.noise, found["parameters"])) for c in cases]
    assert found["rmse"] == pytest.approx(np.mean(errors))


def test_tuning_goes_on_where_it_stopped(cheap, tuned, tmp_path):
    result, cases = tuned
    kept, lines, tried = tmp_path / "kept.json", [], []

    def interrupt(line: str) -> None:
        lines.append(line)
        if len(lines) == 2:
            raise KeyboardInterrupt

    def watched(peer):
        def denoise(image, noise, parameters):
            tried.append(peer.name)
            return peer.filter(image, noise, parameters)

        return dataclasses.replace(peer, filter=denoise)

    with pytest.raises(KeyboardInterrupt):
        tune(cheap, cases, interrupt, kept=kept)
    assert all(line.startswith("Gaussian (tuned), ") for line in lines)
    assert tune([watched(peer) for peer in cheap], cases, kept=kept) == result
    assert set(tried) == {"median (tuned)"}, "what was found is not sought again"
    tried.clear()
    others = [noisy_case("white", None, 9)] + [c for c in cases if c.group == "smooth"]
    assert (
        tune([watched(cheap[0])], others, kept=kept)["peers"]["Gaussian (tuned)"]["smooth"]
        == (result["peers"]["Gaussian (tuned)"]["smooth"])
    )
    combinations = len(cheap[0].grid["k"]) * len(cheap[0].grid["p"])
    assert len(tried) == combinations, "other slices are tuned on anew, and they alone"
    kept.write_text("{")
    assert tune(cheap, cases, kept=kept) == result, "a damaged file keeps nothing"


def test_tuned_parameters_go_to_the_noise_that_is_most_alike(tuned, tmp_path):
    result, _ = tuned
    result = json.loads(json.dumps(result))
    result["peers"]["Gaussian (tuned)"]["white"]["parameters"] = {"k": 0.5, "p": 0.25}
    result["peers"]["Gaussian (tuned)"]["smooth"]["parameters"] = {"k": 1.5, "p": 0.25}
    write_tuned(tmp_path / "peers.json", result)
    (gaussian,) = find_peers(["Gaussian (tuned)"], tmp_path / "peers.json", print)
    for mean_frequency, k in ((None, 0.5), (0.2, 1.5), (0.21, 1.5), (0.18, 1.5)):
        for sd in (5.0, 75.0):
            noise = NoiseKnowledge(sd, nps(mean_frequency) * (sd / SD) ** 2, PIXEL)
            assert gaussian.parameters_for(noise)["k"] == k, (mean_frequency, sd)
    assert gaussian.parameters_for(NoiseKnowledge(10, None, PIXEL))["k"] == 0.5, "no spectrum: white"
    assert gaussian.settings["tuned"]["smooth"]["k"] == 1.5
    assert json.loads(json.dumps(gaussian.settings)) == gaussian.settings


def test_winners_at_the_edge_of_their_grid_are_named(cheap, tuned, tmp_path):
    """More than the narrow grid holds is better; of two values neither counts as an edge."""
    gaussian, (_, cases) = cheap[0], tuned
    narrow = dataclasses.replace(gaussian, grid={"k": (0.01, 0.02, 0.03), "p": (0.5, 0.75)})
    wide = dataclasses.replace(gaussian, name="wide", grid={"k": (0.01, 1.0, 3.0), "p": (0.5,)})
    write_tuned(tmp_path / "peers.json", tune([narrow, wide], cases))
    assert tuned_at_edge(tmp_path / "peers.json") == {"Gaussian (tuned)": ["white: k 0.03", "smooth: k 0.03"]}
    write_tuned(tmp_path / "peers.json", tune([wide], cases))
    assert tuned_at_edge(tmp_path / "peers.json") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "holds no tuned parameters"),
        ('{"format": 1}', "groups is missing"),
        (
            '{"format": 1, "groups": {}, "peers": {"a": {"b": {"parameters": {}, "rmse": 1, "at_edge": []}}}}',
            "nothing of the noise of 'b'",
        ),
    ],
)
def test_a_file_that_is_not_tuned_parameters_is_refused(tmp_path, text, message):
    (tmp_path / "peers.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_tuned(tmp_path / "peers.json")


def test_nothing_to_tune_on_and_nowhere_to_write(tmp_path):
    with pytest.raises(InputError, match="no slices"):
        tune(list(PEERS.values()), [])
    with pytest.raises(OutputError, match="cannot be written"):
        write_tuned(tmp_path / "missing" / "peers.json", {})


def test_peers_are_found_by_name():
    assert [p.name for p in find_peers(["total variation", "total variation"], None, print)] == ["total variation"]
    with pytest.raises(InputError, match="no peer 'gauss'; there are: Gaussian"):
        find_peers(["gauss"], None, print)
    for one in all_peers():
        assert one.source, one.name
        assert one.licence, one.name
        assert set(one.grid) <= set(one.parameters)
    assert len({p.name for p in all_peers()}) == len(all_peers())


def test_what_is_not_installed_is_left_out_in_one_line(monkeypatch):
    monkeypatch.setattr("meddenoise_training.peers.catalogue.is_installed", lambda: False)
    lines: list[str] = []
    found = find_peers(None, None, lines.append)
    assert not {"BM3D", "BM3D (spectrum)"} & {p.name for p in found}
    assert len(found) == len(all_peers()) - 2
    assert len(lines) == 1
    assert '`pip install -e "./training[bm3d]"` in the source tree' in lines[0]
    find_peers(["total variation"], None, lines.append)
    assert len(lines) == 1, "nobody asked for it"


def test_peers_are_records(peer):
    with pytest.raises(dataclasses.FrozenInstanceError):
        peer.name = "x"
