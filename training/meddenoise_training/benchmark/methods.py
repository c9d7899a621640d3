"""What is compared, behind one face: the input itself, weights files, baseline runs of `fit`, classical peers."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from meddenoise import denoiser as denoiser_code
from meddenoise import devices, intensity, orientations
from meddenoise import network as network_code
from meddenoise import strength as strength_code
from meddenoise.catalogue import find_model
from meddenoise.denoiser import Denoiser, Precision, Quality
from meddenoise.intensity import from_network, to_network
from meddenoise.orientations import ORIENTATIONS
from meddenoise.weights import load_network, tensors_digest
from meddenoise_training.benchmark.cases import Image
from meddenoise_training.benchmark.noisy import Noisy
from meddenoise_training.networks import entrance_of, origin_of, read_network
from meddenoise_training.peers import NoiseKnowledge, Peer, find_peers

Group = Literal["input", "classical", "baseline", "ours"]

#: Strengths at which results of our models are looked at, beside the one asked for.
STRENGTHS = (0.5, 0.6, 0.65, 0.7, 0.8, 0.9, 1.0)
#: A network of more GFLOP a slice of 512 x 512 takes seconds.
_SLOW_GFLOP = 150.0


@dataclass(frozen=True)
class Method:
    """One column of the tables.

    :param name: in tables and file names.
    :param group: ``input`` (nothing done), ``classical``, ``baseline`` (a network of others, trained here), ``ours``.
    :param fingerprint: changes when its results may.
    :param denoise: from a noisy slice and its pixel in mm to (j, i) float32 HU.
    :param strengths: at which blends of input and result are measured; only 1 where there is no such choice.
    :param strength: of them, the one that the tables show.
    :param network: behind it; None for what is none.
    :param weights: :func:`meddenoise.weights.tensors_digest` of the network; a model card finds its figures by it.
    :param origin: of the weights, in words: name and version of their card, or steps of their run, and SHA-256 of the
        file; None for what has none.
    :param precision: in which the network computes; None for what is none.
    :param passes: of a slice through the network: the engine's best quality takes eight.
    :param slow: takes many seconds a slice: the tasks, which take hundreds of slices, leave it out unless told.
    """

    name: str
    group: Group
    fingerprint: str
    denoise: Callable[[Noisy, float], Image]
    strengths: tuple[float, ...] = (1.0,)
    strength: float = 1.0
    network: nn.Module | None = None
    weights: str | None = None
    origin: str | None = None
    precision: str | None = None
    passes: int = 1
    slow: bool = False

    @property
    def slices(self) -> int:
        """Return how many neighbouring slices it looks at."""
        return 1 if self.network is None else entrance_of(self.network)

    @property
    def reported(self) -> set[float]:
        """Return the strengths of which everything is measured: the one asked for, and 1."""
        return {self.strength, 1.0}


def input_itself() -> Method:
    """Return the method that does nothing: what every figure is compared with."""
    return Method("input", "input", "1", lambda noisy, pixel: noisy.image)


def weights_method(
    model: str, *, strength: float | None = None, precision: Precision = "auto", quality: Quality = "standard"
) -> Method:
    """Return a shipped model or a weights file, applied by the engine.

    :param strength: that the tables show; None: the default of its card.
    :param quality: ``best`` is a method of its own, beside which a model card's figures stay those of ``standard``.
    :raises WeightsError: when it cannot be used.
    """
    chosen = find_model(model)
    denoiser = Denoiser(model, device="cpu", precision=precision)
    reach = denoiser.card.architecture.slices // 2
    strength = denoiser.card.strength_or_default(strength)
    loaded = load_network(chosen.path, chosen.sha256)
    network = loaded.network

    def denoise(noisy: Noisy, pixel: float) -> Image:
        volume = noisy.among_neighbours(reach)
        wanted = None
        if reach:  # the neighbours are there to be looked at alone
            wanted = np.zeros(volume.shape, np.uint8)
            wanted[reach] = 1
        result = denoiser.denoise(volume, strength=1.0, mask=wanted, quality=quality)
        return np.asarray(result[reach], np.float32)

    strengths = tuple(sorted({*STRENGTHS, strength}))
    weights = tensors_digest(network)  # not the file's SHA-256: another card changes no result
    fingerprint = f"{weights} {denoiser.precision} {engine_digest()} {strengths} {strength}"
    method = Method(
        chosen.name,
        "ours",
        fingerprint,
        denoise,
        strengths,
        strength,
        network,
        weights,
        origin=origin_of(loaded),
        precision=denoiser.precision,
    )
    if quality == "standard":
        return method
    return dataclasses.replace(
        method,
        name=f"{chosen.name}, best quality",
        fingerprint=f"{fingerprint} {quality}",
        weights=None,
        passes=len(ORIENTATIONS),
    )


def baseline_method(run: Path) -> Method:
    """Return the averaged weights of a run of `fit` as a method, named as the folder.

    :raises InputError: when there is no checkpoint in the folder.
    """
    trained, name = read_network(run), run.resolve().name
    network = trained.network
    slow = network_gflop(network, 512, 512) > _SLOW_GFLOP
    weights = tensors_digest(network)
    return Method(
        name,
        "baseline",
        weights,
        _through(network),
        network=network,
        weights=weights,
        origin=trained.origin,
        precision="float32",
        slow=slow,
    )


def peer_methods(names: Sequence[str] | None, tuned: Path | None, report: Callable[[str], None]) -> list[Method]:
    """Return classical filters as methods; one that cannot be used here is told in one line and left out.

    :param names: None for all.
    :param tuned: JSON file of the tuning on validation slices; None for each filter's defaults.
    """
    return [_peer_method(peer) for peer in find_peers(names, tuned, report)]


def _peer_method(peer: Peer) -> Method:
    def denoise(noisy: Noisy, pixel: float) -> Image:
        return np.asarray(peer.denoise(noisy.image, NoiseKnowledge(noisy.sd, noisy.psd, pixel)), np.float32)

    fingerprint = json.dumps([peer.name, peer.settings], sort_keys=True, default=str)
    return Method(peer.name, "classical", fingerprint, denoise, slow=peer.slow)


def network_gflop(network: nn.Module, height: int, width: int) -> float:
    """Return the GFLOP of one slice, counted by torch: a multiplication and an addition are two."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.zeros(1, entrance_of(network), height, width))
    return float(counter.get_total_flops()) / 1e9


def engine_digest() -> str:
    """Return a digest of the engine's code that turns a slice into a result: what it computes may change with it."""
    digest = hashlib.sha256()
    for module in (denoiser_code, devices, intensity, network_code, orientations, strength_code):
        digest.update(inspect.getsource(module).encode())
    return digest.hexdigest()[:16]


def _through(network: nn.Module) -> Callable[[Noisy, float], Image]:
    reach = entrance_of(network) // 2

    def denoise(noisy: Noisy, pixel: float) -> Image:
        with torch.inference_mode():
            x = torch.from_numpy(to_network(noisy.among_neighbours(reach)))[None]
            return np.asarray(from_network(network(x)[0, 0].float().numpy()), np.float32)

    return denoise
