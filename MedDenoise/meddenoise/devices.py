"""Devices: what is there to compute on, which one to take, and whether it does bfloat16 well."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddenoise.errors import DeviceError, MissingPackageError


@dataclass(frozen=True)
class Device:
    """Something to compute on: its torch name, what a person calls it, and its free memory where known."""

    name: str
    description: str
    free_bytes: int | None = None


def import_torch() -> Any:
    """Import torch.

    :raises MissingPackageError: when it is not installed or cannot be loaded.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "PyTorch is not installed in this Python; install it "
            "(in Slicer: the PyTorch extension; elsewhere: pip install torch)."
        ) from error
    except (ImportError, OSError) as error:  # a broken or foreign build
        raise MissingPackageError(f"PyTorch is installed but cannot be loaded ({error}); install it again.") from error
    return torch


def available_devices() -> list[Device]:
    """Return every device that torch can use here, the CPU last."""
    torch = import_torch()
    devices = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            try:
                free: int | None = int(torch.cuda.mem_get_info(index)[0])
            except RuntimeError:  # a card that is full or faulty must not keep anybody from the others
                free = None
            devices.append(Device(f"cuda:{index}", torch.cuda.get_device_name(index), free))
    if torch.backends.mps.is_available():
        devices.append(Device("mps", "Apple GPU"))
    devices.append(Device("cpu", f"CPU, {torch.get_num_threads()} threads"))
    return devices


def choose_device(name: str = "auto") -> str:
    """Return the torch name of a device.

    :param name: ``cpu``, ``cuda``, ``cuda:N``, ``mps``, or ``auto``: the GPU with the most free memory, else an Apple
        GPU, else the CPU.
    :raises DeviceError: when it is not there.
    """
    if name == "cpu":
        import_torch()
        return name
    devices = available_devices()
    if name == "auto":
        return max(devices, key=lambda device: (device.free_bytes or 0, device.name == "mps")).name
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise DeviceError(f"'{name}' is not a device; choose auto, cpu, cuda, cuda:N or mps.")
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in [device.name for device in devices]:
        there = ", ".join(f"{device.name} ({device.description})" for device in devices)
        raise DeviceError(f"The device '{name}' is not available here; there is: {there}.")
    return wanted


def has_fast_bfloat16(device: str) -> bool:
    """Return whether a device computes bfloat16 natively; elsewhere it is emulated, many times slower."""
    torch = import_torch()
    if device.startswith("cuda"):
        return bool(torch.cuda.get_device_capability(device) >= (8, 0))
    if device != "cpu":
        return False
    for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):  # torch 2.4 and newer
        if getattr(torch.cpu, probe, lambda: False)():
            return True
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
