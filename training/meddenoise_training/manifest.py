"""What a prepared folder holds: ``manifest.json`` beside one ``slices.npy`` a split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from meddenoise.errors import InputError
from meddenoise_training.toml_files import read_toml, wrong_fields

MANIFEST_NAME = "manifest.json"
SPLITS = ("train", "validation", "test")


class Collection(BaseModel):
    """Where slices come from and how to cite it; ``folders`` are patterns for the names of its folders."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    licence: str
    doi: str
    folders: list[str]


class _Sources(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    collection: list[Collection]


class Slice(BaseModel):
    """One slice of ``slices.npy``, in its order.

    :param kind: ``ct`` a slice as scanned, ``slab`` the mean of neighbours, ``synthetic`` a noise-free one.
    :param patient: salted hash; ``series`` likewise; empty for synthetic slices.
    :param noise_sd: of this target, after averaging, HU; 0 for synthetic slices.
    :param slab: slices averaged.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["ct", "slab", "synthetic"]
    noise_sd: float
    patient: str = ""
    series: str = ""
    collection: str | None = None
    pixel_mm: float | None = None
    spacing_mm: float | None = None
    thickness_mm: float | None = None
    kernel: str | None = None
    kvp: float | None = None
    slab: int = 1


class Manifest(BaseModel):
    """All that is known of a prepared folder; slices by split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    created: str
    size: tuple[int, int]
    slab_mm: float
    seed: int
    collections: list[Collection]
    splits: dict[str, list[Slice]]
    left_out: list[str]


def read_collections(path: Path | None) -> list[Collection]:
    """Read how collections are cited: a TOML file of ``[[collection]]`` tables.

    :raises InputError: when the file is not that.
    """
    if path is None:
        return []
    try:
        return _Sources.model_validate(read_toml(path)).collection
    except ValidationError as error:
        raise InputError(
            f"{path} does not say where data are from, in [[collection]] tables with name, licence, doi and folders: "
            f"{wrong_fields(error)}."
        ) from error


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a prepared folder.

    :raises InputError: when there is none, or it is not one of this version.
    """
    path = folder / MANIFEST_NAME
    try:
        return Manifest.model_validate(json.loads(path.read_text("utf-8")))
    except (OSError, json.JSONDecodeError, ValidationError) as error:
        raise InputError(
            f"{folder} is not a prepared folder of this version; make one with `meddenoise-train prepare`."
        ) from error


def slices_path(folder: Path, split: str) -> Path:
    """Return where the slices of a split lie."""
    return folder / split / "slices.npy"


def open_slices(folder: Path, split: str, manifest: Manifest) -> npt.NDArray[np.int16]:
    """Map the slices of a split, (n, j, i) int16 HU.

    :raises InputError: when the file is not what the manifest says.
    """
    path = slices_path(folder, split)
    try:
        slices = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}. Prepare the data again.") from error
    expected = (len(manifest.splits[split]), *manifest.size)
    if slices.shape != expected or slices.dtype != np.int16:
        raise InputError(
            f"{path} holds {slices.shape} {slices.dtype}, the manifest says {expected} int16; prepare again."
        )
    return np.asarray(slices)
