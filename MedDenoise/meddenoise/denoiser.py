"""``Denoiser``: a model applied slice by slice to a volume in HU. Every way into the product ends here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from meddenoise.arrays import Array, checked_volume, rounded_to
from meddenoise.catalogue import DEFAULT_MODEL, find_model
from meddenoise.devices import choose_device, has_fast_bfloat16, import_torch
from meddenoise.errors import Cancelled, InputError, OutOfMemoryError, is_out_of_memory
from meddenoise.intensity import from_network, kept_as_is, to_network
from meddenoise.metrics import ABDOMEN, psnr
from meddenoise.orientations import ORIENTATIONS, turned, turned_back
from meddenoise.remarks import remark
from meddenoise.strength import blend_slice, check_strength, feathered
from meddenoise.weights import load_network

Progress = Callable[[int, int], None]
Precision = Literal["auto", "float32", "bfloat16"]
Quality = Literal["standard", "best"]
Floats = npt.NDArray[np.float32]

#: How near bfloat16 must come to float32, in the window of centre 50, width 400 HU: an RMSE of 0.4 HU.
BFLOAT16_PSNR_DB = 60.0
#: On a GPU several slices share one pass; on a CPU a second slice only leaves the cache.
GPU_BATCH = 8


@dataclass(frozen=True)
class _Job:
    """One volume to denoise, checked; see :meth:`Denoiser.denoise`."""

    volume: Array
    strength: float
    mask: Array | None
    quality: Quality
    spread: Array | None
    output: Array


class Denoiser:
    """A model on a device, ready to denoise volumes.

    :param model: name in the catalogue, path of a ``.safetensors`` file with a MedDenoise card, or ``auto``: Standard
        on a GPU, Fast on a CPU (:func:`~meddenoise.catalogue.default_model`).
    :param device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    :param threads: CPU threads for torch in this process; None leaves torch's own choice.
    :param precision: of the network's noise estimate: ``float32``, ``bfloat16``, or ``auto``: bfloat16 where the
        device computes it natively and it stays within 60 dB of float32 on a test slice. The subtraction is in float32.
    :param slices_at_once: on a CPU, the most slices denoised at a time, each by a share of the threads. That takes more
        working memory and denoises more slices in all: threads that share a slice wait for each other, the more so
        where something else wants a core.
    :raises WeightsError: when the weights are missing, damaged or foreign.
    :raises DeviceError: when the device is not there.
    :raises MissingPackageError: without torch or safetensors.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        *,
        device: str = "auto",
        threads: int | None = None,
        precision: Precision = "auto",
        slices_at_once: int = 1,
    ) -> None:
        torch = import_torch()
        self.device = choose_device(device)
        chosen = find_model(model, self.device)
        if threads is not None:
            if threads < 1:
                raise InputError(f"{threads} threads were asked for; give 1 or more.")
            torch.set_num_threads(threads)
        loaded = load_network(chosen.path, chosen.sha256)
        self.card = loaded.card
        self.sha256 = loaded.sha256
        self._network = loaded.network.to(device=self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._batch = 1 if self.device == "cpu" else GPU_BATCH
        self._lanes = min(slices_at_once, torch.get_num_threads()) if self.device == "cpu" else 1
        self.precision = precision
        if precision == "auto":
            self.precision = "bfloat16" if has_fast_bfloat16(self.device) and self._bfloat16_is_close() else "float32"

    def denoise(
        self,
        volume: Array,
        *,
        strength: float | None = None,
        mask: Array | None = None,
        quality: Quality = "standard",
        spread: Array | None = None,
        output: Array | None = None,
        progress: Progress | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Array:
        """Denoise a volume; the input is never changed.

        >>> from meddenoise import Denoiser
        >>> from meddenoise.phantom import numerical_abdomen
        >>> ct = numerical_abdomen(slices=2, size=128).hu  # or any array of HU, (slices, rows, columns)
        >>> denoised = Denoiser("fast", device="cpu").denoise(ct, strength=0.8)
        >>> denoised.shape, denoised.dtype
        ((2, 128, 128), dtype('int16'))

        Streams: beside input and output only a few slices are held. Padding outside the scan circle, metal, NaN and
        infinities stay to the bit; NaN and infinities are reported as an :class:`~meddenoise.errors.InputWarning`.

        :param volume: (k, j, i), HU, any integer or float type, any size; k runs over slices.
        :param strength: 0 (as the input, to the bit) to 1 (fully denoised: the network's whole answer); None is the
            model's own default, which its card gives the reason for.
        :param mask: same shape; denoised is where it is not 0, the rest stays to the bit. The result fades in over
            three voxels inside the mask's edge in the plane; the network always sees whole slices.
        :param quality: ``best`` takes the mean of the network's answers to the eight flips and quarter turns of each
            slice, in eight times the time.
        :param spread: with ``best``, float32 array of the same shape to fill with the SD of the eight results, HU:
            where it is high, the network is unsure. 0 where the input stays as it is, proportional to the strength.
        :param output: array of the same shape and type to fill (a memory map, say); a new one otherwise.
        :param progress: called with (slices done, slices in all).
        :param cancel: asked before every batch of slices; True ends the run.
        :returns: the output: shape and type of the input, integers rounded half to even.
        :raises InputError: for what is not a volume, or a mask, output or spread that does not match or overlaps the
            input.
        :raises Cancelled: when ``cancel`` said so; the output is then incomplete.
        :raises OutOfMemoryError: when the device has no room even for a single slice.
        """
        strength = check_strength(self.card.strength_or_default(strength))
        volume = checked_volume(volume)
        mask = _checked_mask(mask, volume)
        output = _checked_output(output, volume, volume.dtype, "output")
        spread = _checked_spread(spread, volume, quality)
        job = _Job(volume, strength, mask, quality, spread, output)
        done = not_finite = 0
        for last in self._batches_done(job, cancel):
            not_finite += sum(_not_finite(volume[k]) for k in range(done, last))
            done = last
            if progress is not None:
                progress(done, len(volume))
        if not_finite:
            remark(f"The volume has {not_finite} voxels that are NaN or infinite; they were left as they are.")
        return output

    def denoise_image(self, image: Any, **options: Any) -> Any:
        """Denoise a SimpleITK image: the result has its type, its geometry and its metadata.

        >>> import SimpleITK as sitk
        >>> from meddenoise import Denoiser
        >>> from meddenoise.phantom import numerical_abdomen
        >>> image = sitk.GetImageFromArray(numerical_abdomen(slices=2, size=128).hu)
        >>> image.SetSpacing((0.7, 0.7, 2.5))
        >>> denoised = Denoiser("fast", device="cpu").denoise_image(image)
        >>> denoised.GetSpacing(), denoised.GetPixelIDTypeAsString()
        ((0.7, 0.7, 2.5), '16-bit signed integer')

        :param image: 3-D, HU, one value a voxel; never changed.
        :param options: those of :meth:`denoise`, but for ``output``; arrays are (k, j, i).
        :raises InputError: when it is not a 3-D image of single values; else as :meth:`denoise`.
        """
        import SimpleITK as sitk  # noqa: N813 - as everybody calls it

        result = sitk.GetImageFromArray(self.denoise(sitk.GetArrayViewFromImage(image), **options))
        result.CopyInformation(image)
        for key in image.GetMetaDataKeys():
            result.SetMetaData(key, image.GetMetaData(key))
        return result

    def _batches_done(self, job: _Job, cancel: Callable[[], bool] | None) -> Iterator[int]:
        """Denoise batch after batch, or several slices at a time; give, each time, how many slices are done."""
        count = len(job.volume)
        if self._lanes > 1:
            with _lanes(self._lanes) as pool:
                for done, future in enumerate([pool.submit(self._denoise_slices, job, k, k + 1) for k in range(count)]):
                    _stop_if(cancel)
                    future.result()
                    yield done + 1
            return
        done = 0
        while done < count:
            _stop_if(cancel)
            last = min(done + self._batch, count)
            if self._denoise_slices(job, done, last):
                yield (done := last)

    def _denoise_slices(self, job: _Job, first: int, last: int) -> bool:
        """Denoise slices ``first`` to ``last`` (exclusive); False after the batch was halved, see below."""
        volume, mask = job.volume, job.mask
        if mask is None or mask[first:last].any():
            found = self._noise_or_smaller_batch(volume, first, last, job.quality)
        else:
            found = (np.zeros((last - first, *volume.shape[1:]), np.float32),) * 2
        if found is None:
            return False
        for k, noise, sd in zip(range(first, last), *found, strict=True):
            weights = None if mask is None else feathered(mask[k] != 0)
            job.output[k] = blend_slice(volume[k], _subtract(volume[k], noise), job.strength, weights)
            if job.spread is not None:
                share = np.float32(job.strength) if weights is None else np.float32(job.strength) * weights
                job.spread[k] = np.where(kept_as_is(volume[k]), 0, sd * share)
        return True

    def _noise_or_smaller_batch(
        self, volume: Array, first: int, last: int, quality: Quality
    ) -> tuple[Floats, Floats] | None:
        """Return noise and spread in HU, or None after the batch was halved because the device's memory is full."""
        try:
            return self._noise_and_spread(volume, first, last, quality)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            reason = error
        if self._batch == 1 or last - first == 1:
            size = " x ".join(str(n) for n in volume.shape[1:])
            raise OutOfMemoryError(
                f"There is not enough memory on '{self.device}' for one slice of {size} voxels; "
                "close other programs, or choose another device or the Fast model."
            ) from reason
        self._batch = max(1, self._batch // 2)
        if self.device.startswith("cuda"):
            import_torch().cuda.empty_cache()
        return None

    def _noise_and_spread(self, volume: Array, first: int, last: int, quality: Quality) -> tuple[Floats, Floats]:
        """Return the noise that is found in slices ``first`` to ``last`` (exclusive), and its SD over the orientations.

        Both (n, j, i), HU; with a single orientation the SD is 0.
        """
        x = self._network_input(volume, first, last)
        if quality == "standard":
            noise = self._noise(x)
            return noise, np.zeros_like(noise)
        eight = np.stack([turned_back(self._noise(turned(x, n)), n) for n in ORIENTATIONS])
        return eight.mean(axis=0), eight.std(axis=0)

    def _network_input(self, volume: Array, first: int, last: int) -> Floats:
        return to_network(self._with_neighbours(volume, first, last), self.card.hu_per_unit)

    def _noise(self, x: Floats, precision: str | None = None) -> Floats:
        """Return the noise that the network finds in its input (n, slices, j, i): (n, j, i), HU."""
        torch = import_torch()
        x = np.ascontiguousarray(x)
        # Not torch.from_numpy, nor .numpy() below: the torch that Slicer for Intel Macs gets does not know NumPy 2.
        tensor = torch.frombuffer(x, dtype=torch.float32).reshape(x.shape).to(self.device)
        use_bfloat16 = (precision or self.precision) == "bfloat16"
        kind = "cuda" if self.device.startswith("cuda") else self.device
        lower = torch.autocast(kind, torch.bfloat16) if use_bfloat16 else contextlib.nullcontext()
        with torch.inference_mode(), lower:
            noise = self._network.noise(tensor.contiguous(memory_format=torch.channels_last))
            found = np.asarray(np.from_dlpack(noise[:, 0].float().cpu()), np.float32)
        return from_network(found, self.card.hu_per_unit)

    def _with_neighbours(self, volume: Array, first: int, last: int) -> Array:
        """Return (n, slices, j, i): each slice among the neighbours that the network looks at, the ends repeated."""
        reach = self.card.architecture.slices // 2
        around = np.arange(first, last)[:, np.newaxis] + np.arange(-reach, reach + 1)
        slices: Array = volume[around.clip(0, len(volume) - 1)]
        return slices

    def _bfloat16_is_close(self) -> bool:
        """Try both precisions on a test slice: air, fat, soft tissue and bone under 25 HU of noise."""
        rows, columns = np.mgrid[-1:1:192j, -1:1:192j]
        radius = np.hypot(rows, 1.3 * columns)
        tissue = np.select([radius < 0.15, radius < 0.7, radius < 0.85], [900.0, 60.0, -100.0], -1000.0)
        volume = (tissue + np.random.default_rng(0).normal(0, 25, tissue.shape))[np.newaxis]
        x = self._network_input(volume, 0, 1)
        exact, near = (volume - self._noise(x, precision) for precision in ("float32", "bfloat16"))
        return psnr(exact, near, ABDOMEN) >= BFLOAT16_PSNR_DB


@contextlib.contextmanager
def _lanes(count: int) -> Iterator[ThreadPoolExecutor]:
    """Give Python threads that share out torch's threads among them; what they have not begun at the end is dropped."""
    torch = import_torch()
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(max(1, threads // count),)) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)  # theirs is also that of threads to come


def _stop_if(cancel: Callable[[], bool] | None) -> None:
    if cancel is not None and cancel():
        raise Cancelled("Denoising was cancelled.")


def _subtract(original: Array, noise: npt.NDArray[np.float32]) -> Array:
    """Return ``original - noise`` in the original's type, rounded half to even, and the original where it is kept."""
    wide: Any = np.float64 if original.dtype.itemsize > 4 else np.float32
    result = original.astype(wide) - noise
    keep = kept_as_is(original)
    result[keep] = 0  # may be NaN or not fit the type; put back below
    denoised = rounded_to(original.dtype, result)
    denoised[keep] = original[keep]
    return denoised


def _not_finite(slice_hu: Array) -> int:
    if np.issubdtype(slice_hu.dtype, np.integer):
        return 0
    return int(slice_hu.size - np.count_nonzero(np.isfinite(slice_hu)))


def _checked_mask(mask: Array | None, volume: Array) -> Array | None:
    if mask is None:
        return None
    mask = np.asarray(mask)
    if mask.shape != volume.shape:
        raise InputError(f"The mask is {mask.shape}, the volume {volume.shape}; they must have the same shape.")
    return mask


def _checked_spread(spread: Array | None, volume: Array, quality: Quality) -> Array | None:
    if quality not in ("standard", "best"):
        raise InputError(f"There is no quality '{quality}'; choose 'standard' or 'best'.")
    if spread is None:
        return None
    if quality != "best":
        raise InputError("The spread is that of the eight orientations; it needs the quality 'best'.")
    return _checked_output(spread, volume, np.dtype(np.float32), "spread")


def _checked_output(output: Array | None, volume: Array, dtype: np.dtype[Any], name: str) -> Array:
    if output is None:
        return np.empty(volume.shape, dtype)
    if output.shape != volume.shape or output.dtype != dtype:
        raise InputError(
            f"The {name} is {output.dtype} {output.shape}, where {dtype} {volume.shape} is needed; they must match."
        )
    if not output.flags.writeable:
        raise InputError(f"The {name} array is read-only.")
    if np.may_share_memory(output, volume):
        raise InputError(f"The {name} and the input share memory; the input would be overwritten. Give another array.")
    return output
