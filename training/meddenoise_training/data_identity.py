"""What tells the data of a run from others: hashes of their records, kept in its checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meddenoise.weights import sha256_of
from meddenoise_training.cleaned_targets import RECORD_NAME, TARGETS_FOLDER
from meddenoise_training.config import Config
from meddenoise_training.manifest import MANIFEST_NAME
from meddenoise_training.noise.bank import BANK_FOLDER


def prepared_identity(prepared: Path) -> str:
    """Return the hash of a prepared folder's manifest: of the same CT prepared twice it differs, as its salts do."""
    return sha256_of(prepared / MANIFEST_NAME)


def data_identity(prepared: Path, config: Config) -> dict[str, str | None]:
    """Return hashes by key of a checkpoint: of the manifest, and of the records of bank and targets.

    A bank's records hold its settings, its seeds, its scanners and the SD of each slice's noise; the noise itself takes
    gigabytes. None for a bank or targets that the configuration does not use.
    """
    targets = config.data.targets
    return {
        "manifest": prepared_identity(prepared),
        "bank": _bank(prepared / BANK_FOLDER) if config.noise.projection_share > 0 else None,
        "targets": sha256_of(prepared / TARGETS_FOLDER / targets / RECORD_NAME) if targets is not None else None,
    }


def first_other_data(saved: Mapping[str, Any], now: Mapping[str, str | None], prepared: Path, config: Config) -> str:
    """Return in words which data are not those that a checkpoint was trained with; empty when all are.

    Not all checkpoints say which bank and targets they were trained with: what they do not say is taken for the same.
    """
    words = {
        "manifest": f"The prepared folder {prepared}",
        "bank": f"The noise bank in {prepared / BANK_FOLDER}",
        "targets": f"What lies in {prepared / TARGETS_FOLDER / (config.data.targets or '')}",
    }
    return next((words[name] for name, identity in now.items() if saved.get(name, identity) != identity), "")


def _bank(folder: Path) -> str:
    records = [(path.name, sha256_of(path)) for path in sorted(folder.glob("*.json"))]
    return hashlib.sha256(repr(records).encode()).hexdigest()
