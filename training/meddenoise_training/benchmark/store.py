"""What is finished, kept on disk: one file a (condition, method), so that a run that stopped goes on."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.errors import OutputError
from meddenoise_training.whole_file import save_array, whole_file

#: Of what a part holds; one more when that changes, so that parts of an earlier version are measured anew.
_PART_FORMAT = 4
#: Of the noise kept: likewise one more when other noise is made for the same settings.
_NOISE_FORMAT = 2


class Store:
    """Results under ``parts`` and noise under ``noise`` of a folder; written beside, then renamed.

    :param folder: of the benchmark.
    :param settings: of the cases (slices, split, prepared data): results of other settings do not count.
    :raises OutputError: when the folder cannot be made.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self._settings = settings
        self.computed = 0
        try:
            for name in ("parts", "noise"):
                (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"The folder {folder} cannot be made: {error.strerror or error}.") from error

    def part(
        self, condition: str, method: str, fingerprint: str, compute: Callable[[], Any], *, revision: int = 0
    ) -> Any:
        """Return the result of a method under a condition: the kept one, or the one computed and kept now.

        :param revision: of the condition's noise or of what is measured; a kept result of another does not count.
        """
        kept = self.kept(condition, method, fingerprint, revision=revision)
        if kept is not None:
            return kept
        result = compute()
        self.computed += 1
        whole = {"condition": condition, "method": method, "key": self._key(fingerprint, revision), "result": result}
        text = json.dumps(whole, allow_nan=False)
        write_beside(self._path(condition, method), lambda path: path.write_text(text, "utf-8"))
        return result

    def kept(self, condition: str, method: str, fingerprint: str, *, revision: int = 0) -> Any:
        """Return the kept result; None where there is none, or it is damaged, or of other settings or weights."""
        try:
            saved = json.loads(self._path(condition, method).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        # As JSON has them: tuples became lists.
        key = json.loads(json.dumps(self._key(fingerprint, revision)))
        return saved.get("result") if saved.get("key") == key else None

    def array(
        self, name: str, compute: Callable[[], npt.NDArray[Any]], *, revision: int = 0
    ) -> npt.NDArray[np.float16]:
        """Return a kept array of noise, or compute and keep it, as float16; ``revision`` as for :meth:`part`."""
        path = self.folder / "noise" / f"{_file_name(name)}.npy"
        key = path.with_suffix(".json")
        settings = json.dumps({"format": _NOISE_FORMAT, **self._settings, **_revision(revision)}, sort_keys=True)
        with contextlib.suppress(OSError, ValueError):
            if key.read_text("utf-8") == settings:
                kept: npt.NDArray[np.float16] = np.load(path)
                return kept
        array = compute().astype(np.float16)
        key.unlink(missing_ok=True)  # first the array, then what vouches for it
        write_beside(path, lambda beside: save_array(beside, array))
        write_beside(key, lambda beside: beside.write_text(settings, "utf-8"))
        return array

    def _key(self, fingerprint: str, revision: int) -> dict[str, Any]:
        return {"format": _PART_FORMAT, "settings": self._settings, "fingerprint": fingerprint, **_revision(revision)}

    def _path(self, condition: str, method: str) -> Path:
        return self.folder / "parts" / f"{_file_name(condition)}--{_file_name(method)}.json"


def _revision(number: int) -> dict[str, int]:
    """Return it as keys have it: the first, 0, is not written, so that what was kept without one still counts."""
    return {"revision": number} if number else {}


def write_beside(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place, then rename it: it is whole or not there.

    :raises OutputError: when it cannot be written.
    """
    try:
        with whole_file(path) as beside:
            write(beside)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}. What is done is kept; the same command goes on."
        ) from error


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-").lower()
