"""The Denoiser: any type, any size, streamed, rounded, nothing touched that must stay."""

from __future__ import annotations

import dataclasses
import errno
import subprocess
import sys
import threading
import tracemalloc
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as everybody calls it

from meddenoise.denoiser import BFLOAT16_PSNR_DB, Denoiser
from meddenoise.devices import available_devices, has_fast_bfloat16
from meddenoise.errors import Cancelled, DeviceError, InputError, InputWarning, OutOfMemoryError, is_out_of_memory
from meddenoise.metrics import ABDOMEN, psnr
from meddenoise.model_card import Architecture, ModelCard
from meddenoise.network import seeded_network
from meddenoise.orientations import ORIENTATIONS, turned, turned_back
from meddenoise.strength import blend
from meddenoise.weights import save_weights

DTYPES = [
    "int8",
    "uint8",
    "int16",
    "uint16",
    ">i2",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
]


@pytest.fixture(scope="module")
def denoiser(tiny_weights: Path) -> Denoiser:
    return Denoiser(tiny_weights, device="cpu", precision="float32")


def volume_of(dtype: str = "int16", shape: tuple[int, int, int] = (3, 24, 20)) -> np.ndarray:
    return np.random.default_rng(0).normal(60, 25, shape).clip(0, 120).astype(dtype)


def direct_result(weights: Path, volume: np.ndarray) -> np.ndarray:
    """Return what the network alone says, in float64 HU, written without the Denoiser's own steps."""
    import torch

    from meddenoise.weights import load_network

    x = torch.from_numpy(volume.astype(np.float32) / 1000)[:, None]
    with torch.inference_mode():
        return load_network(weights).network(x)[:, 0].double().numpy() * 1000


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_comes_back_as_itself_rounded(denoiser: Denoiser, tiny_weights: Path, dtype: str) -> None:
    volume = volume_of(dtype)
    before = volume.copy()
    result = denoiser.denoise(volume)
    assert result.dtype == volume.dtype
    assert result.shape == volume.shape
    np.testing.assert_array_equal(volume, before)
    limits = np.iinfo(volume.dtype) if volume.dtype.kind in "iu" else None
    expected = direct_result(tiny_weights, volume)
    assert np.abs(expected - volume).max() > 1, "the tiny network must do something, or this test proves nothing"
    if limits:
        expected = expected.clip(limits.min, limits.max)
    tolerance = 0.501 if limits else {2: 0.07, 4: 1e-3, 8: 1e-3}[volume.dtype.itemsize]
    assert np.abs(result.astype(np.float64) - expected).max() <= tolerance
    if limits and volume.dtype.itemsize > 1:
        inside = (expected > 0) & (expected < 120)  # truncation would shift the mean by half a unit
        assert abs((result.astype(np.float64) - expected)[inside].mean()) < 0.05


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 7), (2, 3, 5), (1, 33, 63), (2000, 4, 4), (1, 64, 64)])
def test_every_size(denoiser: Denoiser, shape: tuple[int, int, int]) -> None:
    result = denoiser.denoise(volume_of(shape=shape))
    assert result.shape == shape
    assert np.isfinite(result).all()


def test_a_slice_does_not_depend_on_its_neighbours(denoiser: Denoiser) -> None:
    volume = volume_of()
    np.testing.assert_array_equal(denoiser.denoise(volume)[1:2], denoiser.denoise(volume[1:2]))


def test_a_network_of_three_slices_sees_its_neighbours_and_the_ends_repeated(
    tiny_card: ModelCard, tmp_path: Path
) -> None:
    import torch

    architecture = Architecture("residual-autoencoder", widths=(4,), blocks=1, slices=3)
    network = seeded_network(architecture, seed=2)
    save_weights(tmp_path / "three.safetensors", network, dataclasses.replace(tiny_card, architecture=architecture))
    volume = volume_of("float32", (4, 8, 8))
    padded = torch.from_numpy(np.concatenate([volume[:1], volume, volume[-1:]]) / 1000)
    with torch.inference_mode():
        expected = torch.cat([network(padded[None, k : k + 3])[:, 0] for k in range(4)]).numpy() * 1000
    result = Denoiser(tmp_path / "three.safetensors", device="cpu", precision="float32").denoise(volume)
    np.testing.assert_allclose(result, expected, atol=1e-3)


def test_a_full_gpu_keeps_nobody_from_the_cpu(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def full(index: int) -> tuple[int, int]:
        raise torch.OutOfMemoryError(f"CUDA out of memory on {index}")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "a card")
    monkeypatch.setattr(torch.cuda, "mem_get_info", full)
    assert [device.name for device in available_devices()] == ["cuda:0", "cpu"]
    assert Denoiser(tiny_weights, device="cpu").device == "cpu"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_peak_memory_beyond_torch_input_and_output(tiny_weights: Path) -> None:
    script = (
        "import re, sys, torch, numpy as np; from pathlib import Path; from meddenoise import Denoiser\n"
        # Not getrusage: its peak begins with that of the process which started this one.
        "peak = lambda: 1024 * int(re.search('VmHWM:\\\\s+(\\\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "volume = np.full((100, 512, 512), 40, np.int16); output = np.ones_like(volume)\n"
        "before = peak(); Denoiser(sys.argv[1], device='cpu').denoise(volume, output=output); print(peak() - before)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tiny_weights)], capture_output=True, text=True, check=True, timeout=200
    )
    # 40 to 60 MB are the network and its working memory; a float32 copy of this volume would be 105 MB more.
    assert int(run.stdout) < 120e6


def test_read_only_and_non_contiguous_input(denoiser: Denoiser) -> None:
    volume = volume_of(shape=(20, 24, 3)).transpose(2, 1, 0)[:, ::-1]
    volume.flags.writeable = False
    np.testing.assert_array_equal(denoiser.denoise(volume), denoiser.denoise(np.ascontiguousarray(volume)))


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64", "int64"])
def test_padding_and_metal_stay_to_the_bit(denoiser: Denoiser, dtype: str) -> None:
    volume = volume_of(dtype)
    volume[0, 0, :4] = [-3024, -2000, 3071, 20000]
    result = denoiser.denoise(volume)
    np.testing.assert_array_equal(result[0, 0, :4], volume[0, 0, :4])
    as_air = volume.copy()
    as_air[0, 0, :2] = -1000  # what the network is to see in place of padding
    as_air[0, 0, 2:4] = 3000
    np.testing.assert_array_equal(result[0, 1:], denoiser.denoise(as_air)[0, 1:])


def test_integers_beyond_any_float_stay(denoiser: Denoiser) -> None:
    volume = volume_of("int64")
    volume[1, 2, 3] = 2**63 - 1
    assert denoiser.denoise(volume, strength=0.5)[1, 2, 3] == 2**63 - 1


def test_nan_and_infinity_are_named_and_do_not_spread(denoiser: Denoiser) -> None:
    volume = volume_of("float32")
    volume[1, 5, 5:8] = [np.nan, np.inf, -np.inf]
    with pytest.warns(InputWarning, match="3 voxels that are NaN or infinite"):
        result = denoiser.denoise(volume, strength=0.5)
    np.testing.assert_array_equal(result[1, 5, 5:8], volume[1, 5, 5:8])
    assert np.isfinite(result).sum() == volume.size - 3


def test_a_clean_volume_warns_of_nothing(denoiser: Denoiser) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        denoiser.denoise(volume_of("float32"))


def test_strength_is_a_blend(denoiser: Denoiser) -> None:
    volume = volume_of()
    full = denoiser.denoise(volume)
    np.testing.assert_array_equal(denoiser.denoise(volume, strength=0), volume)
    np.testing.assert_array_equal(denoiser.denoise(volume, strength=0.3), blend(volume, full, 0.3))


def test_the_default_strength_is_the_cards(denoiser: Denoiser, mild_weights: Path) -> None:
    volume = volume_of()
    full = denoiser.denoise(volume)
    np.testing.assert_array_equal(denoiser.denoise(volume, strength=1), full)
    mild = Denoiser(mild_weights, device="cpu", precision="float32")
    np.testing.assert_array_equal(mild.denoise(volume), blend(volume, full, 0.35))
    np.testing.assert_array_equal(mild.denoise(volume, strength=1), full)


def test_progress_counts_every_slice(denoiser: Denoiser) -> None:
    seen: list[tuple[int, int]] = []
    denoiser.denoise(volume_of(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_cancel_ends_the_run(denoiser: Denoiser) -> None:
    done: list[int] = []
    with pytest.raises(Cancelled):
        denoiser.denoise(volume_of(), progress=lambda k, _: done.append(k), cancel=lambda: len(done) == 2)
    assert done == [1, 2]


@pytest.fixture
def at_once(tiny_weights: Path) -> Iterator[Denoiser]:
    """Give a denoiser of two slices at a time."""
    import torch

    threads = torch.get_num_threads()
    yield Denoiser(tiny_weights, device="cpu", precision="float32", threads=2, slices_at_once=8)
    torch.set_num_threads(threads)


def test_two_slices_at_once_share_out_the_threads(at_once: Denoiser) -> None:
    import torch

    both = threading.Barrier(2, timeout=30)
    threads: list[int] = []

    def meet(module: torch.nn.Module, inputs: object) -> None:
        threads.append(torch.get_num_threads())
        both.wait()  # breaks when a second slice does not come

    with at_once._network.entrance.register_forward_pre_hook(meet):
        at_once.denoise(volume_of(shape=(4, 24, 20)))
    assert threads == [1] * 4
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == torch.get_num_threads() == 2


def test_slices_at_once_change_nothing(at_once: Denoiser, denoiser: Denoiser) -> None:
    volume = volume_of("float32", (7, 24, 20))
    volume[2, 3, 4] = np.nan
    mask = np.zeros(volume.shape, bool)
    mask[3:, 4:12] = True
    seen: list[tuple[int, int]] = []
    with pytest.warns(InputWarning, match="1 voxels"):
        together = at_once.denoise(volume, mask=mask, progress=lambda done, total: seen.append((done, total)))
    with pytest.warns(InputWarning, match="1 voxels"):
        np.testing.assert_array_equal(together, denoiser.denoise(volume, mask=mask))
    assert seen == [(done, 7) for done in range(1, 8)]


def test_slices_at_once_are_cancelled_and_fail_as_one(at_once: Denoiser) -> None:
    done: list[int] = []
    volume = volume_of(shape=(200, 24, 20))
    output = np.zeros_like(volume)
    with pytest.raises(Cancelled):
        at_once.denoise(volume, output=output, progress=lambda k, _: done.append(k), cancel=lambda: len(done) == 2)
    assert done == [1, 2]
    assert not output[-1].any()

    def fail(module: object, inputs: object) -> None:
        raise MemoryError

    with at_once._network.entrance.register_forward_pre_hook(fail), pytest.raises(OutOfMemoryError):
        at_once.denoise(volume)


def test_output_given_is_filled(denoiser: Denoiser) -> None:
    volume = volume_of()
    output = np.zeros_like(volume)
    assert denoiser.denoise(volume, output=output) is output
    np.testing.assert_array_equal(output, denoiser.denoise(volume))


def test_streams_without_a_float_copy(denoiser: Denoiser) -> None:
    volume = volume_of(shape=(400, 64, 64))
    output = np.empty_like(volume)
    denoiser.denoise(volume[:1])
    tracemalloc.start()
    denoiser.denoise(volume, output=output)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < volume[:10].size * 4, "more than ten slices in float32 were held at once"


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (np.zeros((4, 4)), "2 dimensions"),
        (np.zeros((2, 4, 4, 3)), "4 dimensions"),
        (np.zeros((0, 4, 4)), "empty"),
        (np.zeros((2, 4, 4), bool), "type bool"),
        (np.zeros((2, 4, 4), complex), "type complex128"),
    ],
)
def test_what_is_not_a_volume_is_refused(denoiser: Denoiser, volume: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        denoiser.denoise(volume)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_strength_out_of_range_is_refused(denoiser: Denoiser, strength: float) -> None:
    with pytest.raises(InputError, match="strength"):
        denoiser.denoise(volume_of(), strength=strength)


def test_output_that_does_not_fit_is_refused(denoiser: Denoiser) -> None:
    volume = volume_of()
    with pytest.raises(InputError, match="must match"):
        denoiser.denoise(volume, output=np.empty(volume.shape, np.float32))
    with pytest.raises(InputError, match="share memory"):
        denoiser.denoise(volume, output=volume)


def test_device_that_is_not_there_is_refused(tiny_weights: Path) -> None:
    with pytest.raises(DeviceError, match=r"not available here; there is: .*cpu"):
        Denoiser(tiny_weights, device="cuda:99")
    with pytest.raises(DeviceError, match="not a device"):
        Denoiser(tiny_weights, device="tpu")


def test_threads_below_one_are_refused(tiny_weights: Path) -> None:
    with pytest.raises(InputError, match="threads"):
        Denoiser(tiny_weights, device="cpu", threads=0)


@pytest.mark.skipif(not has_fast_bfloat16("cpu"), reason="this processor has no bfloat16 instructions")
def test_bfloat16_stays_within_60_db_of_float32(tiny_weights: Path) -> None:
    volume = volume_of("float32", (2, 64, 64))
    exact = Denoiser(tiny_weights, device="cpu", precision="float32").denoise(volume)
    fast = Denoiser(tiny_weights, device="cpu", precision="bfloat16").denoise(volume)
    assert not np.array_equal(fast, exact), "bfloat16 was not used"
    assert psnr(exact, fast, ABDOMEN) >= BFLOAT16_PSNR_DB


# --- masks


def a_mask(shape: tuple[int, int, int] = (3, 24, 20)) -> np.ndarray:
    """Return a block in the first two slices; the last one has no mask at all."""
    mask = np.zeros(shape, np.uint8)
    mask[:2, 4:20, 5:18] = 3
    return mask


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64", "int64"])
def test_outside_a_mask_nothing_changes_and_deep_inside_all_is_denoised(denoiser: Denoiser, dtype: str) -> None:
    volume, mask = volume_of(dtype), a_mask()
    full = denoiser.denoise(volume)
    masked = denoiser.denoise(volume, mask=mask)
    assert masked[mask == 0].tobytes() == volume[mask == 0].tobytes()
    deep = np.zeros(mask.shape, bool)
    deep[:2, 7:17, 8:15] = True  # four voxels from the edge
    assert masked[deep].tobytes() == full[deep].tobytes()
    assert not np.array_equal(full[deep], volume[deep])


def test_the_first_voxels_inside_a_mask_are_a_quarter_denoised(denoiser: Denoiser) -> None:
    volume, mask = volume_of("float64"), a_mask()
    full, masked = denoiser.denoise(volume), denoiser.denoise(volume, mask=mask, strength=0.5)
    for depth, weight in enumerate((0.25, 0.5, 0.75, 1.0)):
        column = volume[0, 10:14, 5 + depth]
        expected = column + 0.5 * weight * (full[0, 10:14, 5 + depth] - column)
        np.testing.assert_allclose(masked[0, 10:14, 5 + depth], expected, rtol=0, atol=1e-9)


def test_a_mask_up_to_the_border_of_the_slice_fades_in_from_no_edge_there(denoiser: Denoiser) -> None:
    volume = volume_of()
    masked = denoiser.denoise(volume, mask=np.ones(volume.shape, bool))
    full = denoiser.denoise(volume)
    np.testing.assert_array_equal(masked, full)
    mask = np.zeros(volume.shape, bool)
    mask[:, :12] = True  # the slice's own border is no edge
    np.testing.assert_array_equal(denoiser.denoise(volume, mask=mask)[:, :9], full[:, :9])


def test_nan_outside_and_inside_a_mask_stays_and_is_reported(denoiser: Denoiser) -> None:
    volume = volume_of("float32")
    volume[0, 10, 10] = volume[2, 3, 3] = np.nan
    with pytest.warns(InputWarning, match="2 voxels"):
        masked = denoiser.denoise(volume, mask=a_mask())
    np.testing.assert_array_equal(np.isnan(masked), np.isnan(volume))


def test_a_mask_of_another_shape_is_refused(denoiser: Denoiser) -> None:
    with pytest.raises(InputError, match="same shape"):
        denoiser.denoise(volume_of(), mask=np.ones((3, 24, 21)))


# --- best quality


@pytest.mark.parametrize("orientation", range(8))
def test_turned_back_is_the_exact_inverse(orientation: int) -> None:
    slices = np.arange(2 * 5 * 7).reshape(2, 5, 7)
    there = turned(slices, orientation)
    np.testing.assert_array_equal(turned_back(there, orientation), slices)
    others = [turned(slices, n) for n in ORIENTATIONS if n != orientation]
    assert not any(other.shape == there.shape and np.array_equal(other, there) for other in others)


def test_the_best_of_a_turned_slice_is_the_turned_best(denoiser: Denoiser) -> None:
    volume = volume_of("float64", (1, 24, 24))
    straight_spread, turned_spread = np.empty((2, 1, 24, 24), np.float32)
    straight = denoiser.denoise(volume, quality="best", spread=straight_spread)
    for orientation in ORIENTATIONS:
        again = denoiser.denoise(turned(volume, orientation), quality="best", spread=turned_spread)
        np.testing.assert_allclose(again, turned(straight, orientation), rtol=0, atol=1e-4)
        np.testing.assert_allclose(turned_spread, turned(straight_spread, orientation), rtol=0, atol=1e-4)
    plain = denoiser.denoise(volume)  # the standard quality is not equivariant: the test above proves something
    assert np.abs(denoiser.denoise(turned(volume, 1)) - turned(plain, 1)).max() > 0.1


def test_the_spread_is_the_sd_of_the_eight_results(denoiser: Denoiser) -> None:
    volume = volume_of("float64")
    volume[1, 5:8, 5:8] = -2000
    spread = np.empty(volume.shape, np.float32)
    best = denoiser.denoise(volume, quality="best", spread=spread)
    eight = np.stack([turned_back(denoiser.denoise(turned(volume, n)), n) for n in ORIENTATIONS])
    np.testing.assert_allclose(best, eight.mean(axis=0), rtol=0, atol=1e-3)
    np.testing.assert_allclose(spread, eight.std(axis=0), rtol=0, atol=1e-3)
    assert spread.max() > 0.1
    assert not spread[1, 5:8, 5:8].any()  # padding is left alone
    half, mask = np.empty_like(spread), a_mask()
    denoiser.denoise(volume, quality="best", spread=half, strength=0.5, mask=mask)
    np.testing.assert_allclose(half[0, 10, 10], spread[0, 10, 10] / 2, rtol=1e-5)
    assert not half[mask == 0].any()


def test_what_no_spread_can_be_given_for_is_refused(denoiser: Denoiser) -> None:
    volume = volume_of()
    with pytest.raises(InputError, match="needs the quality 'best'"):
        denoiser.denoise(volume, spread=np.empty(volume.shape, np.float32))
    with pytest.raises(InputError, match="spread is int16"):
        denoiser.denoise(volume, quality="best", spread=np.empty(volume.shape, np.int16))
    with pytest.raises(InputError, match="no quality 'highest'"):
        denoiser.denoise(volume, quality="highest")  # type: ignore[arg-type]


# --- SimpleITK


def test_an_image_keeps_type_geometry_and_metadata(denoiser: Denoiser) -> None:
    volume = volume_of()
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-120.25, 3.5, 1000.0))
    image.SetDirection((0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
    image.SetMetaData("key", "value")
    result = denoiser.denoise_image(image, strength=0.5)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(result), denoiser.denoise(volume, strength=0.5))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), volume)
    for name in ("GetPixelID", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(result, name)() == getattr(image, name)()
    assert result.GetMetaData("key") == "value"
    with pytest.raises(InputError, match="2 dimensions"):
        denoiser.denoise_image(image[:, :, 0])
