"""``Denoiser``: a model applied slice by slice to a volume in HU. Every way into the product ends here."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from meddenoise.arrays import Array, checked_volume, rounded_to
from meddenoise.catalogue import DEFAULT_MODEL, find_model
from meddenoise.devices import choose_device, has_fast_bfloat16, import_torch
from meddenoise.errors import Cancelled, InputError, InputWarning, OutOfMemoryError, is_out_of_memory
from meddenoise.intensity import from_network, kept_as_is, to_network
from meddenoise.metrics import ABDOMEN, psnr
from meddenoise.strength import blend_slice, check_strength
from meddenoise.weights import load_network

Progress = Callable[[int, int], None]
Precision = Literal["auto", "float32", "bfloat16"]

#: How near bfloat16 must come to float32, in the window of centre 50, width 400 HU: an RMSE of 0.4 HU.
BFLOAT16_PSNR_DB = 60.0
#: On a GPU several slices share one pass; on a CPU a second slice only leaves the cache.
GPU_BATCH = 8


class Denoiser:
    """A model on a device, ready to denoise volumes.

    :param model: name in the catalogue, or path of a ``.safetensors`` file with a MedDenoise card.
    :param device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    :param threads: CPU threads for torch in this process; None leaves torch's own choice.
    :param precision: of the network's noise estimate: ``float32``, ``bfloat16``, or ``auto``: bfloat16 where the
        device computes it natively and it stays within 60 dB of float32 on a test slice. The subtraction is in float32.
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
    ) -> None:
        torch = import_torch()
        chosen = find_model(model)
        self.device = choose_device(device)
        if threads is not None:
            if threads < 1:
                raise InputError(f"{threads} threads were asked for; give 1 or more.")
            torch.set_num_threads(threads)
        loaded = load_network(chosen.path, chosen.sha256)
        self.card = loaded.card
        self.sha256 = loaded.sha256
        self._network = loaded.network.to(device=self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._batch = 1 if self.device == "cpu" else GPU_BATCH
        self.precision = precision
        if precision == "auto":
            self.precision = "bfloat16" if has_fast_bfloat16(self.device) and self._bfloat16_is_close() else "float32"

    def denoise(
        self,
        volume: Array,
        *,
        strength: float = 1.0,
        output: Array | None = None,
        progress: Progress | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Array:
        """Denoise a volume; the input is never changed.

        Streams: beside input and output only a few slices are held. Padding outside the scan circle, metal, NaN and
        infinities stay to the bit; NaN and infinities are reported as an :class:`~meddenoise.errors.InputWarning`.

        :param volume: (k, j, i), HU, any integer or float type, any size; k runs over slices.
        :param strength: 0 (as the input, to the bit) to 1 (fully denoised).
        :param output: array of the same shape and type to fill (a memory map, say); a new one otherwise.
        :param progress: called with (slices done, slices in all).
        :param cancel: asked before every batch of slices; True ends the run.
        :returns: the output: shape and type of the input, integers rounded half to even.
        :raises InputError: for what is not a volume, or an output that does not match or overlaps the input.
        :raises Cancelled: when ``cancel`` said so; the output is then incomplete.
        :raises OutOfMemoryError: when the device has no room even for a single slice.
        """
        strength = check_strength(strength)
        volume = checked_volume(volume)
        output = _checked_output(output, volume)
        not_finite = 0
        first = 0
        while first < len(volume):
            if cancel is not None and cancel():
                raise Cancelled("Denoising was cancelled.")
            last = min(first + self._batch, len(volume))
            noise = self._noise_or_smaller_batch(volume, first, last)
            if noise is None:
                continue
            for k in range(first, last):
                output[k] = blend_slice(volume[k], _subtract(volume[k], noise[k - first]), strength)
                not_finite += _not_finite(volume[k])
            first = last
            if progress is not None:
                progress(last, len(volume))
        if not_finite:
            warnings.warn(
                f"The volume has {not_finite} voxels that are NaN or infinite; they were left as they are.",
                InputWarning,
                stacklevel=2,
            )
        return output

    def _noise_or_smaller_batch(self, volume: Array, first: int, last: int) -> npt.NDArray[np.float32] | None:
        """Return the noise in HU, or None after the batch was halved because the device's memory is full."""
        try:
            return self._noise(volume, first, last)
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

    def _noise(self, volume: Array, first: int, last: int, precision: str | None = None) -> npt.NDArray[np.float32]:
        """Return the noise that the network finds in slices ``first`` to ``last`` (exclusive), (n, j, i), HU."""
        torch = import_torch()
        scale = self.card.hu_per_unit
        x = to_network(self._with_neighbours(volume, first, last), scale)
        # Not torch.from_numpy, nor .numpy() below: the torch that Slicer for Intel Macs gets does not know NumPy 2.
        tensor = torch.frombuffer(x, dtype=torch.float32).reshape(x.shape).to(self.device)
        use_bfloat16 = (precision or self.precision) == "bfloat16"
        kind = "cuda" if self.device.startswith("cuda") else self.device
        lower = torch.autocast(kind, torch.bfloat16) if use_bfloat16 else contextlib.nullcontext()
        with torch.inference_mode(), lower:
            noise = self._network.noise(tensor.contiguous(memory_format=torch.channels_last))
            found = np.asarray(np.from_dlpack(noise[:, 0].float().cpu()), np.float32)
        return from_network(found, scale)

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
        exact, near = (volume - self._noise(volume, 0, 1, precision) for precision in ("float32", "bfloat16"))
        return psnr(exact, near, ABDOMEN) >= BFLOAT16_PSNR_DB


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


def _checked_output(output: Array | None, volume: Array) -> Array:
    if output is None:
        return np.empty(volume.shape, volume.dtype)
    if output.shape != volume.shape or output.dtype != volume.dtype:
        raise InputError(
            f"The output is {output.dtype} {output.shape}, the volume {volume.dtype} {volume.shape}; they must match."
        )
    if not output.flags.writeable:
        raise InputError("The output array is read-only.")
    if np.may_share_memory(output, volume):
        raise InputError("Output and input share memory; the input would be overwritten. Give another array.")
    return output
