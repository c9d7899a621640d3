"""What a run computes on: one process or several, on one machine or several, and in which precision."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.plugins.precision.amp import MixedPrecision

from meddenoise.devices import choose_device, has_fast_bfloat16
from meddenoise.errors import InputError, OutputError


class ExactInput(MixedPrecision):
    """Mixed precision that leaves the network's input in float32.

    Fabric's own rounds the input to bfloat16, steps of 0.24 HU near water and 4 HU near air, so that training would
    subtract the noise from a rounded image; the network itself sees to it that only the noise estimate is rounded.
    """

    def convert_input(self, data: Any) -> Any:
        """Return the input as it is; autocast does the rest."""
        return data


@dataclass(frozen=True)
class Processes:
    """One process for each device.

    :param accelerator: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    :param devices: on each machine; by default as many processes as torchrun or SLURM started there, else one. On a
        CPU, processes.
    :param nodes: machines; likewise.
    """

    accelerator: str = "cpu"
    devices: int | None = None
    nodes: int | None = None

    def launch(self, precision: str = "auto") -> Fabric:
        """Start what is still to be started, and let the processes find each other.

        :param precision: ``auto`` takes bfloat16 for the convolutions where the processor multiplies it in hardware,
            float16 on other NVIDIA GPUs, float32 elsewhere.
        :raises DeviceError: when the accelerator is not there.
        :raises InputError: when devices, nodes or the precision do not fit.
        """
        device = choose_device(self.accelerator)
        kind, _, number = device.partition(":")
        devices, nodes = self._counts()
        if devices * nodes > 1 and ":" in self.accelerator:
            raise InputError(f"'{self.accelerator}' is one device; name '{kind}' for several.")
        if precision == "auto":
            precision = "bf16-mixed" if has_fast_bfloat16(device) else "16-mixed" if kind == "cuda" else "32-true"
        if precision == "16-mixed" and kind != "cuda":
            raise InputError("The precision 16-mixed needs an NVIDIA GPU; choose auto, bf16-mixed or 32-true.")
        one = [int(number)] if number and devices == nodes == 1 else devices
        if precision == "32-true":
            fabric = Fabric(accelerator=kind, devices=one, num_nodes=nodes, precision="32-true")
        else:
            plugin = ExactInput(precision=_told(precision), device=kind)
            fabric = Fabric(accelerator=kind, devices=one, num_nodes=nodes, plugins=[plugin])
        fabric.launch()
        return fabric

    def _counts(self) -> tuple[int, int]:
        """Return devices and nodes.

        :raises InputError: when torchrun or SLURM started other numbers than told.
        """
        started = _started()
        if started is None:
            return self.devices or 1, self.nodes or 1
        told = (self.devices or started[0], self.nodes or started[1])
        if told != started:
            raise InputError(
                f"{started[0]} processes on each of {started[1]} machines were started, not {told[0]} on {told[1]}; "
                "leave --devices and --nodes away."
            )
        return started


def any_process(fabric: Fabric, asked: bool) -> bool:
    """Return whether any process asks for something: all end at the same step, or they would wait for each other."""
    if fabric.world_size == 1:
        return asked
    return bool(fabric.all_reduce(torch.tensor(float(asked)), reduce_op="sum"))


def in_the_first(fabric: Fabric, write: Callable[[], object]) -> None:
    """Let the first process write something, while the others wait; what it fails for, all of them say and end.

    :raises OutputError: when it cannot be written.
    """
    failure: OutputError | None = None
    if fabric.is_global_zero:
        try:
            write()
        except OutputError as error:
            failure = error
    failure = fabric.broadcast(failure)
    if failure is not None:
        raise failure


def _started() -> tuple[int, int] | None:
    """Return how many processes a machine, on how many, torchrun or SLURM started; None without them."""
    if TorchElasticEnvironment.detect():
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return local, int(os.environ["WORLD_SIZE"]) // local
    if SLURMEnvironment.detect():
        nodes = int(os.environ.get("SLURM_NNODES", "1"))
        return int(os.environ["SLURM_NTASKS"]) // nodes, nodes
    return None


def _told(precision: str) -> Any:
    return precision
