"""What a weights file, a run's checkpoint or a patch of a run says of itself, as a page and as plain values."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from meddenoise.errors import InputError
from meddenoise.weights import read_card, sha256_of
from meddenoise_training.card_page import card_page
from meddenoise_training.checkpoint import CHECKPOINT_NAME, averaged_weights, read_checkpoint_file
from meddenoise_training.config import Config
from meddenoise_training.data_identity import data_identity, first_other_data
from meddenoise_training.logs import FIGURES_NAME, read_log
from meddenoise_training.manifest import read_manifest
from meddenoise_training.samples import Samples
from meddenoise_training.tables import table

_FIGURES = {"rmse_before": ".2f", "rmse": ".2f", "psnr_before": ".2f", "psnr": ".2f", "bias": "+.2f"}


@dataclass(frozen=True)
class Inspection:
    """What there is: ``page`` in Markdown for people, ``values`` for programs."""

    page: str
    values: dict[str, Any]


def inspect(path: Path) -> Inspection:
    """Read what a file says of itself.

    :param path: a ``.safetensors`` file, a checkpoint, or the folder of a run.
    :raises InputError: when a checkpoint is not there or cannot be read; WeightsError likewise for a weights file.
    """
    if (checkpoint := _checkpoint(path)) is not None:
        return _inspect_run(checkpoint)
    card, sha256 = read_card(path), sha256_of(path)
    values = {"kind": "weights", "path": str(path), "sha256": sha256, "card": json.loads(card.to_json())}
    return Inspection(card_page(card, sha256), values)


def inspect_patch(path: Path, step: int, place: int) -> Inspection:
    """Draw a patch of a run again, from seed, step and place, and say of which slice it is and which noise it gets.

    :param path: a checkpoint, or the folder of a run; its prepared folder must lie where it was, as it was.
    :param step: from 0 to below the planned steps: the one that is logged as ``step + 1``.
    :param place: in the step, from 0 to below ``data.batch``.
    :raises InputError: when there is no such patch, or it cannot be drawn again.
    """
    if (checkpoint := _checkpoint(path)) is None:
        raise InputError(f"{path} is no run; patches are of the folder of a run of `fit`.")
    saved = read_checkpoint_file(checkpoint)
    try:
        config = Config.model_validate(saved["config"])
    except ValidationError as error:
        raise InputError(f"The run in {path} was made by another version, which alone can draw its patches.") from error
    for name, value, count in (("step", step, config.fit.steps), ("place", place, config.data.batch)):
        if not 0 <= value < count:
            raise InputError(f"The run in {path} has no {name} {value}; give one from 0 to {count - 1}.")
    prepared = Path(saved["prepared"])
    drawn = Samples(prepared, config).drawn(step, place)
    if other := first_other_data(saved, data_identity(prepared, config), prepared, config):
        raise InputError(f"{other} is not the one that the run in {path} began with; its patches are gone with that.")
    patch, noise = drawn.patch, drawn.noise
    entry = read_manifest(prepared).splits["train"][patch.slice]
    values: dict[str, Any] = {
        "kind": "patch",
        "path": str(checkpoint),
        "step": step,
        "place": place,
        "slice": {"number": patch.slice, "file": entry.file, "index": entry.index, "kind": entry.kind},
        "cut": asdict(patch.place),
        "target_sd": patch.target_sd,
        "base_sd": patch.base_sd,
        "overlap": patch.overlap,
        "noise": {
            "model": noise.model,
            "sd": noise.sd,
            "shape": None if noise.shape is None else noise.shape._asdict(),
            "quantum": noise.quantum,
            "sd_map": noise.sd_map,
            "white": noise.white,
            "realisation": patch.realisation if noise.model == "projection" else None,
        },
    }
    return Inspection(_patch_page(values), values)


def _checkpoint(path: Path) -> Path | None:
    """Return the checkpoint that a path names; None for what is none.

    :raises InputError: for a folder without one.
    """
    if path.is_dir():
        if not (path / CHECKPOINT_NAME).exists():
            raise InputError(f"There is no checkpoint in {path}; name a weights file or the folder of a run of `fit`.")
        return path / CHECKPOINT_NAME
    return path if path.suffix == Path(CHECKPOINT_NAME).suffix else None


def _inspect_run(file: Path) -> Inspection:
    saved = read_checkpoint_file(file)
    config, step = saved["config"], saved["step"]
    validations = _validations(file.parent, step)
    best = min(validations, key=_mean_rmse) if validations else None
    kept = saved.get("best")
    values = {
        "kind": "run",
        "path": str(file),
        "step": step,
        "planned": config["fit"]["steps"],
        "parameters": sum(tensor.numel() for tensor in averaged_weights(saved).values()),
        "prepared": saved.get("prepared"),
        "begun_from": saved.get("begun_from"),
        "distilled_from": saved.get("distilled_from"),
        "exported_step": kept["step"] if kept else step,
        "best": best,
        "last": validations[-1] if validations else None,
        "config": config,
        "this_version": _understood(config),
    }
    return Inspection(_run_page(values), values)


def _understood(config: dict[str, Any]) -> bool:
    try:
        Config.model_validate(config)
    except ValidationError:
        return False
    return True


def _validations(run: Path, step: int) -> list[dict[str, Any]]:
    """Return the validations that a run logged up to a step: step and rows of figures."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row in read_log(run / FIGURES_NAME):
        if None in row.values() or int(row["step"]) > step:  # broken off halfway, or beyond the checkpoint
            continue
        figures = {key: float(row[key]) for key in _FIGURES}
        found.setdefault(int(row["step"]), []).append({"name": row["name"], **figures})
    return [{"step": number, "figures": rows} for number, rows in sorted(found.items())]


def _mean_rmse(validation: dict[str, Any]) -> float:
    rows = validation["figures"]
    return float(sum(row["rmse"] for row in rows)) / len(rows)


def _run_page(found: dict[str, Any]) -> str:
    config = found["config"]
    facts = {
        "step": f"{found['step']} of {found['planned']} planned",
        "exported are": f"the averaged weights (EMA) of step {found['exported_step']}",
        "network": f"{config.get('architecture') or config.get('network')}, {found['parameters']} parameters",
        "prepared data": found["prepared"],
        "begun from": found["begun_from"],
        "distilled from": found["distilled_from"],
    }
    lines = [
        f"# Run {Path(found['path']).resolve().parent.name}",
        "",
        *(f"- {name}: {value}" for name, value in facts.items() if value),
    ]
    if not found["this_version"]:
        lines += ["- made by another version: it can be looked at and begun from, but not resumed or exported"]
    for title, key in (("Best validation (lowest mean RMSE)", "best"), ("Last validation", "last")):
        if found[key] is not None and not (key == "last" and found["last"] == found["best"]):
            lines += ["", f"## {title}: step {found[key]['step']}", "", *_figures(found[key]["figures"])]
    return "\n".join([*lines, "", "## Configuration", "", *_configuration(config), ""])


def _patch_page(found: dict[str, Any]) -> str:
    of, cut, noise = found["slice"], found["cut"], found["noise"]
    if (shape := noise["shape"]) is not None:
        texture = (
            f"mean frequency {shape['mean_frequency']:.3f} cycles/pixel, order {shape['order']:.2f}, ramp "
            f"{shape['ramp']:.2f}, streaks {shape['anisotropy']:.2f} across {shape['direction']:.2f} rad"
        )
    elif noise["model"] == "projection":
        texture = f"realisation {noise['realisation']} of the noise bank"
    else:
        texture = "none, every pixel on its own"
    if noise["white"]:
        texture += f"; {noise['white']:.0%} of the variance is white noise upon it"
    facts = {
        "slice": f"{of['number']} of train ({of['kind']}), number {of['index']} in train/{of['file']}",
        "cut": f"{cut['size']} x {cut['size']} pixels from row {cut['top']}, column {cut['left']}, "
        f"{90 * cut['turns']} degrees turned{', then flipped' if cut['flipped'] else ''}",
        "noise that its target carries": f"{found['target_sd']:.1f} HU",
        "noise that its input carried before": f"{found['base_sd']:.1f} HU",
        "noise added": f"{noise['model']}, SD {noise['sd']:.1f} HU",
        "texture": texture,
        "strength": "follows the attenuation (quantum)" if noise["quantum"] else f"SD map of {noise['sd_map']:.0%}",
    }
    if noise["model"] == "projection":
        del facts["strength"]  # is the bank's own
    title = f"# Step {found['step']}, place {found['place']} of run {Path(found['path']).resolve().parent.name}"
    return "\n".join([title, "", *(f"- {name}: {value}" for name, value in facts.items())])


def _figures(rows: list[dict[str, Any]]) -> list[str]:
    def shown(row: dict[str, Any], key: str) -> str:
        return format(row[key], _FIGURES[key])

    head = ["slices, noise", "RMSE, HU", "PSNR C50/W400, dB", "bias, HU"]
    cells = [
        [
            row["name"],
            f"{shown(row, 'rmse_before')} → {shown(row, 'rmse')}",
            # Slices without added noise are what they are compared with: infinite, and blank as on a card.
            f"{shown(row, 'psnr_before')} → {shown(row, 'psnr')}" if math.isfinite(row["psnr_before"]) else "",
            shown(row, "bias"),
        ]
        for row in rows
    ]
    return table(head, cells)


def _configuration(config: dict[str, Any]) -> list[str]:
    plain = [f"{key} = {json.dumps(v)}" for key, v in config.items() if v is not None and not isinstance(v, dict)]
    sections = [
        line
        for section, values in config.items()
        if isinstance(values, dict)
        for line in ("", f"[{section}]", *(f"{key} = {json.dumps(v)}" for key, v in values.items() if v is not None))
    ]
    return ["```toml", *plain, *sections, "```"]
