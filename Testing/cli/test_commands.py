"""The commands beyond files in and out: DICOM series, masks, best quality, JSON, dry run, list, compare, models."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - as everybody calls it
from typer.testing import CliRunner, Result

from meddenoise import Denoiser, read_volume, write_volume
from meddenoise.cli import app
from meddenoise.model_card import ModelCard
from meddenoise.network import seeded_network
from meddenoise.volume_files import Volume
from meddenoise.weights import save_weights, sha256_of

GEOMETRY = {"spacing": (0.7, 0.8, 2.5), "origin": (-120.25, 3.5, 1000.0)}


def a_ct(slices: int = 3) -> Volume:
    return Volume(np.random.default_rng(0).normal(50, 20, (slices, 40, 33)).round().astype("int16"), **GEOMETRY)


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    write_volume(tmp_path / "ct.nrrd", a_ct())
    return tmp_path / "ct.nrrd"


@pytest.fixture
def model(tiny_weights: Path) -> list[str]:
    return ["--model", str(tiny_weights), "--device", "cpu", "--threads", "1"]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return a folder with two CT series, a notes file, and an MR file."""
    folder = tmp_path / "archive"
    write_series(folder / "a", "1", a_ct().array)
    write_series(folder / "b", "2", a_ct(4).array, gap=True)
    write_series(folder / "mr", "3", a_ct(1).array, modality="MR", sop_class="1.2.840.10008.5.1.4.1.1.4")
    (folder / "notes.txt").write_text("nothing")
    return folder


def write_series(
    folder: Path,
    number: str,
    array: np.ndarray,
    *,
    gap: bool = False,
    modality: str = "CT",
    sop_class: str = "1.2.840.10008.5.1.4.1.1.2",
) -> None:
    folder.mkdir(parents=True)
    for k, values in enumerate(array):
        image = sitk.GetImageFromArray(values[np.newaxis])
        tags = {
            "0008|0016": sop_class,
            "0008|0060": modality,
            "0008|103e": f"Series {number}",
            "0018|0050": "2.5",
            "0018|0060": "120",
            "0018|1210": "B30f",
            "0020|000d": "1.2.3",
            "0020|000e": f"1.2.3.{number}",
            "0020|0052": "1.2.3.9",
            "0020|0032": f"0\\0\\{2.5 * (k + (gap and k > 1))}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0028|1052": "-1024",
            "0028|1053": "1",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        image.SetSpacing((0.7, 0.8, 2.5))
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{k}.dcm"))
        writer.Execute(image)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def succeed(*arguments: object) -> Result:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def assert_refused(result: Result, words: str, code: int = 1) -> None:
    assert result.exit_code == code, result.output
    assert words in " ".join(result.stderr.split())
    assert result.stdout == ""


# --- denoise


def test_dicom_in_and_out(archive: Path, tmp_path: Path, model: list[str], tiny_weights: Path):
    output = tmp_path / "out"
    succeed("denoise", archive / "a", output, *model)
    before, after = read_volume(archive / "a"), read_volume(output)
    np.testing.assert_array_equal(after.array, Denoiser(tiny_weights, device="cpu").denoise(before.array))
    assert not np.array_equal(after.array, before.array)
    assert after.is_on_grid_of(before)
    header = pydicom.dcmread(next(output.iterdir()))
    assert header.StudyInstanceUID == "1.2.3"
    assert header.SeriesInstanceUID != "1.2.3.1"
    assert list(header.ImageType)[:2] == ["DERIVED", "SECONDARY"]
    assert_refused(run("denoise", archive / "a", output, *model, "--quiet"), "overwrite")
    succeed("denoise", archive / "a", tmp_path / "zero", *model, "--strength", "0")
    np.testing.assert_array_equal(read_volume(tmp_path / "zero").array, before.array)


def test_a_slice_that_was_copied_in_part_is_told(archive: Path, tmp_path: Path, model: list[str]):
    empty, cut = archive / "a" / "1.dcm", archive / "a" / "9.dcm"
    cut.write_bytes(empty.read_bytes()[:500])  # inside the header
    empty.write_bytes(b"")
    result = succeed("denoise", archive / "a", tmp_path / "out", *model, "--json")
    (warning,) = json.loads(result.stdout)["warnings"]
    assert warning == f"2 DICOM files left out, because damaged; the first: {empty}."
    assert result.stderr.count("left out") == 1
    assert f"warning: {warning}" in result.stderr
    listed = run("list", archive / "a", "--json")
    assert json.loads(listed.stdout)["damaged"] == [str(empty), str(cut)]
    assert f"warning: {warning}" in listed.stderr
    assert "beside them 2 damaged DICOM files." in succeed("list", archive / "a").stdout
    assert_refused(run("denoise", archive, tmp_path / "more", *model, "--quiet"), "left out")


def test_a_wrong_sign_is_told_before_the_run_and_instead_of_other_advice(tmp_path: Path, model: list[str]):
    hu = np.random.default_rng(0).normal(-100, 300, (3, 40, 33)).round().astype("int16")
    write_series(tmp_path / "in", "1", hu)
    for path in (tmp_path / "in").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 0, 16, 15
        dataset.PixelData = hu[int(path.stem)].astype("<i2").tobytes()
        dataset.save_as(path)
    result = run("denoise", tmp_path / "in", tmp_path / "out", *model)
    said = result.stderr.splitlines()
    assert result.exit_code == 1
    (warning,) = [k for k, line in enumerate(said) if line.startswith("warning: ") and "wrong sign or rescale?" in line]
    assert warning < next(k for k, line in enumerate(said) if "Denoising" in line)
    assert "wrong sign or rescale?" in said[-1]
    assert "NRRD" not in result.stderr


def test_a_series_goes_into_a_folder_apart_from_the_input(archive: Path, tmp_path: Path, model: list[str]):
    within = run("denoise", archive / "a", archive / "a" / "out", *model, "--quiet")
    assert_refused(within, "choose a folder apart from the input")
    named = run("denoise", archive, archive / "out", *model, "--quiet", "--series", "1.2.3.1")
    assert_refused(named, "choose a folder apart from the input")
    assert_refused(run("denoise", archive / "a", tmp_path / "out.dcm", *model, "--quiet"), "a name without an ending")
    succeed("denoise", archive / "a", archive / "a" / "out.nrrd", *model)
    succeed("denoise", archive / "a", archive / "out", *model)


def test_a_series_with_a_gap_goes_to_dicom_but_not_to_a_file(archive: Path, tmp_path: Path, model: list[str]):
    refused = run("denoise", archive / "b", tmp_path / "out.nrrd", *model, "--quiet")
    assert_refused(refused, "The CT series misses slices: ")
    assert_refused(refused, "; save the result as DICOM, where each slice keeps its own place, or ")
    result = succeed("denoise", archive / "b", tmp_path / "out", *model, "--quiet")
    assert "warning: The CT series misses slices: " in result.stderr
    assert "; each slice is denoised by itself and keeps its place." in result.stderr
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_a_name_with_an_ending_of_no_volume_file_is_no_folder_by_mistake(
    archive: Path, tmp_path: Path, model: list[str]
):
    assert_refused(run("denoise", archive / "a", tmp_path / "out.nrdd", *model, "--quiet"), "out.nrdd")
    assert not (tmp_path / "out.nrdd").exists()
    succeed("denoise", archive / "a", f"{tmp_path / 'out.nrdd'}/", *model)
    assert len(list((tmp_path / "out.nrdd").iterdir())) == 3


@pytest.mark.parametrize("outside", [[], ["--outside"]])
def test_a_mask(ct: Path, tmp_path: Path, model: list[str], outside: list[str]):
    mask = np.zeros((3, 40, 33), np.uint8)
    mask[:, 10:30, 8:25] = 2
    write_volume(tmp_path / "mask.nii.gz", Volume(mask, **GEOMETRY))
    succeed("denoise", ct, tmp_path / "out.nrrd", *model, "--mask", tmp_path / "mask.nii.gz", *outside)
    succeed("denoise", ct, tmp_path / "full.nrrd", *model)
    before, after, full = (read_volume(tmp_path / f"{name}.nrrd").array for name in ("ct", "out", "full"))
    untouched = (mask == 0) != bool(outside)
    np.testing.assert_array_equal(after[untouched], before[untouched])
    deep = (slice(None), slice(0, 4), slice(0, 4)) if outside else (slice(None), slice(15, 25), slice(13, 20))
    np.testing.assert_array_equal(after[deep], full[deep])
    assert not np.array_equal(after[deep], before[deep])
    image = sitk.ReadImage(str(tmp_path / "out.nrrd"))
    assert image.GetMetaData("MedDenoise.mask").startswith("mask.nii.gz (SHA-256 ")


def test_the_name_of_a_mask_is_not_in_dicom(archive: Path, tmp_path: Path, model: list[str]):
    mask = Volume(np.pad(np.ones((3, 20, 20), np.uint8), ((0, 0), (10, 10), (6, 7))), spacing=(0.7, 0.8, 2.5))
    headers = []
    for name in ("Doe_Jane", "renamed"):
        write_volume(tmp_path / f"{name}.nrrd", mask)
        succeed("denoise", archive / "a", tmp_path / name, *model, "--mask", tmp_path / f"{name}.nrrd")
        assert b"Doe_Jane" not in b"".join(path.read_bytes() for path in (tmp_path / name).iterdir())
        headers.append(pydicom.dcmread(min((tmp_path / name).iterdir())))
    assert ", inside a mask; its weights: SHA-256 " in headers[0].DerivationDescription
    assert headers[0].SOPInstanceUID == headers[1].SOPInstanceUID


def test_a_mask_on_another_grid_is_refused(ct: Path, tmp_path: Path, model: list[str]):
    write_volume(tmp_path / "mask.nrrd", Volume(np.ones((3, 40, 33), np.uint8)))
    result = run("denoise", ct, tmp_path / "out.nrrd", *model, "--quiet", "--mask", tmp_path / "mask.nrrd")
    assert_refused(result, "not on the input's grid")
    assert "voxels" not in result.stderr  # their number is the same; it is the place that differs
    write_volume(tmp_path / "wide.nrrd", Volume(np.ones((3, 40, 34), np.uint8), **GEOMETRY))
    result = run("denoise", ct, tmp_path / "out.nrrd", *model, "--quiet", "--mask", tmp_path / "wide.nrrd")
    assert_refused(result, "34 x 40 x 3 and 33 x 40 x 3 voxels")
    assert_refused(run("denoise", ct, tmp_path / "out.nrrd", *model, "--outside"), "it needs --mask", code=2)


@pytest.mark.parametrize("values", [a_ct().array, np.full((3, 40, 33), 0.5, np.float32)], ids=["ct", "probability"])
def test_a_mask_that_is_no_label_map_is_refused(ct: Path, tmp_path: Path, model: list[str], values: np.ndarray):
    write_volume(tmp_path / "mask.nrrd", Volume(values, **GEOMETRY))
    result = run("denoise", ct, tmp_path / "out.nrrd", *model, "--quiet", "--mask", tmp_path / "mask.nrrd")
    assert_refused(result, "mask.nrrd is no label map")
    assert not (tmp_path / "out.nrrd").exists()


def test_a_mask_that_leaves_nothing_to_denoise_is_remarked_on(ct: Path, tmp_path: Path, model: list[str]):
    write_volume(tmp_path / "mask.nrrd", Volume(np.zeros((3, 40, 33), np.uint8), **GEOMETRY))
    options = [*model, "--quiet", "--mask", tmp_path / "mask.nrrd"]
    assert "warning: With the mask mask.nrrd no voxel" in succeed("denoise", ct, tmp_path / "out.nrrd", *options).stderr
    assert succeed("denoise", ct, tmp_path / "all.nrrd", *options, "--outside").stderr == ""


def test_no_input_is_lost_to_a_mistaken_output(ct: Path, archive: Path, tmp_path: Path, model: list[str]):
    mask, sd = tmp_path / "mask.nrrd", tmp_path / "sd.nrrd"
    write_volume(mask, Volume(np.ones((3, 40, 33), np.uint8), **GEOMETRY))
    before = {path: path.read_bytes() for path in (ct, mask)}
    best = [*model, "--quality", "best", "--mask", mask, "--overwrite", "--quiet"]
    for output, spread in ((mask, sd), (tmp_path / "out.nrrd", ct), (tmp_path / "out.nrrd", mask)):
        assert_refused(run("denoise", ct, output, *best, "--uncertainty", spread), "is an input itself")
    assert {path: path.read_bytes() for path in (ct, mask)} == before
    for output, spread in (("same.nrrd", "same.nrrd"), ("derived", "derived/sd.nrrd")):
        (tmp_path / "derived").mkdir(exist_ok=True)
        refused = run("denoise", archive / "a", tmp_path / output, *best, "--uncertainty", tmp_path / spread)
        assert_refused(refused, "The uncertainty would be lost")


def test_best_quality_and_its_uncertainty(ct: Path, tmp_path: Path, model: list[str], tiny_weights: Path):
    options = ["--quality", "best", "--uncertainty", tmp_path / "sd.nrrd", "--precision", "float32"]
    result = succeed("denoise", ct, tmp_path / "out.nrrd", *model, *options)
    assert "quality best" in result.stdout
    spread = np.empty((3, 40, 33), np.float32)
    denoiser = Denoiser(tiny_weights, device="cpu", precision="float32")
    best = denoiser.denoise(a_ct().array, quality="best", spread=spread)
    np.testing.assert_array_equal(read_volume(tmp_path / "out.nrrd").array, best)
    sd = read_volume(tmp_path / "sd.nrrd")
    np.testing.assert_array_equal(sd.array, spread)
    assert sd.is_on_grid_of(a_ct())
    refused = run("denoise", ct, tmp_path / "new.nrrd", *model, "--uncertainty", tmp_path / "new_sd.nrrd")
    assert_refused(refused, "it needs --quality best", code=2)
    assert_refused(run("denoise", ct, tmp_path / "new.nrrd", "--quality", "highest"), "not one of", code=2)


def test_the_default_strength_is_the_cards(ct: Path, tmp_path: Path, mild_weights: Path):
    model = ["--model", mild_weights, "--device", "cpu", "--threads", "1"]
    result = succeed("denoise", ct, tmp_path / "out.nrrd", *model)
    assert "strength 0.35, on cpu" in result.stdout
    expected = Denoiser(mild_weights, device="cpu").denoise(a_ct().array, strength=0.35)
    np.testing.assert_array_equal(read_volume(tmp_path / "out.nrrd").array, expected)
    result = succeed("denoise", ct, tmp_path / "plan.nrrd", *model, "--dry-run")
    assert "strength 0.35" in result.stdout


def test_the_report_as_json(ct: Path, tmp_path: Path, model: list[str]):
    result = succeed("denoise", ct, tmp_path / "out.nrrd", *model, "--json", "--strength", "0.5")
    report = json.loads(result.stdout)
    assert report["source"] == str(ct)
    assert report["target"] == str(tmp_path / "out.nrrd")
    assert (report["model"], report["strength"], report["slices"]) == ("tiny", 0.5, 3)
    assert 15 < report["noise_before"] < 25
    assert report["seconds"].keys() == {"load", "denoise", "save"}
    assert (report["warnings"], report["findings"]) == ([], [])


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(ct: Path, tmp_path: Path, model: list[str]):
    result = succeed("denoise", ct, tmp_path / "out.nrrd", *model, "--dry-run")
    assert "Would denoise 3 slices" in result.stdout
    assert "out.nrrd" in result.stdout
    assert (
        json.loads(succeed("denoise", ct, tmp_path / "o.nrrd", *model, "--dry-run", "--json").stdout)["target"] is None
    )
    assert [path.name for path in tmp_path.iterdir()] == ["ct.nrrd"]
    assert_refused(run("denoise", ct, tmp_path / "no" / "out.nrrd", *model, "--dry-run"), "does not exist")


def test_a_label_map_is_refused_unless_forced_and_doubts_are_warnings(tmp_path: Path, model: list[str]):
    labels = np.zeros((3, 40, 33), np.uint8)
    labels[:, 10:30, 10:30] = 7
    write_volume(tmp_path / "labels.nrrd", Volume(labels))
    arguments = ["denoise", tmp_path / "labels.nrrd", tmp_path / "out.nrrd", *model, "--quiet"]
    assert_refused(run(*arguments), "label map")
    assert not (tmp_path / "out.nrrd").exists()
    assert "warning: It looks like a label map" in succeed(*arguments, "--force").stderr
    write_volume(tmp_path / "mr.nrrd", Volume((a_ct().array + 200).astype(np.uint16)))
    result = succeed("denoise", tmp_path / "mr.nrrd", tmp_path / "mr_out.nrrd", *model, "--json")
    assert [finding["code"] for finding in json.loads(result.stdout)["findings"]] == ["no_negative"]
    assert "warning: None of its values is below 0" in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
def test_sigterm_while_it_writes_leaves_nothing_half_written(tmp_path: Path, model: list[str]):
    write_volume(tmp_path / "ct.nrrd", Volume(np.random.default_rng(0).normal(0, 9, (90, 256, 256)).astype("int16")))
    command = [sys.executable, "-m", "meddenoise.cli", "denoise", tmp_path / "ct.nrrd", tmp_path / "out.nrrd", *model]
    with subprocess.Popen([*command, "--strength", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".meddenoise-*/out.nrrd")) and time.monotonic() < deadline:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143
    assert stderr.decode().endswith("error: Terminated; nothing was left half-written.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["ct.nrrd"]


# --- list, noise, compare, models


@pytest.mark.skipif(os.name == "nt", reason="its pipes break in another way")
def test_a_reader_who_has_seen_enough_is_no_error(archive: Path):
    command = f'set -o pipefail; "{sys.executable}" -u -m meddenoise.cli list "{archive}" | true'
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "")


def test_list(archive: Path):
    text = succeed("list", archive).stdout
    assert "1.2.3.1: 'Series 1', 3 slices, voxels 0.7 x 0.8 x 2.5 mm, thickness 2.5 mm, kernel B30f, 120 kV" in text
    assert "not one volume: The CT series misses slices: " in text
    assert "it can be denoised into DICOM alone" in text
    assert f"2 CT series in {archive}; beside them 1 MR file, 1 non-DICOM file." in text
    values = json.loads(succeed("list", archive, "--json").stdout)
    assert [(row["uid"], row["readable"]) for row in values["series"]] == [("1.2.3.1", True), ("1.2.3.2", False)]
    assert values["others"] == {"MR file": 1, "non-DICOM file": 1}


def test_noise_as_json(ct: Path):
    values = json.loads(succeed("noise", ct, "--json").stdout)
    assert values["size"] == [33, 40, 3]
    assert 17 < values["noise_sd_hu"] < 23


def test_noise_of_a_series_with_a_gap_is_measured_slice_by_slice(archive: Path):
    result = succeed("noise", archive / "b")
    assert re.fullmatch(r"[12]\d\.\d HU estimated noise in .* \(4 slices of 40 x 33\)\n", result.stdout)
    (line,) = result.stderr.splitlines()
    assert line.startswith("warning: The CT series misses slices: ")
    assert line.endswith("; each slice is measured by itself.")


def test_compare(ct: Path, tmp_path: Path):
    volume = a_ct()
    volume.array = volume.array + np.int16(3)
    write_volume(tmp_path / "b.nrrd", volume)
    text = succeed("compare", ct, tmp_path / "b.nrrd").stdout
    assert "RMSE 3.00 HU, bias +3.00 HU" in text
    assert "window 50/400 HU: PSNR 42.50 dB" in text  # 20 log10(400 / 3)
    values = json.loads(succeed("compare", ct, ct, "--json").stdout)
    assert (values["rmse"], values["psnr"], values["ssim"]) == (0.0, None, 1.0)
    mask = np.zeros((3, 40, 33), np.uint8)
    mask[0, 0, 0] = 1
    write_volume(tmp_path / "mask.nrrd", Volume(mask, **GEOMETRY))
    volume.array[0, 0, 0] += 4
    write_volume(tmp_path / "b.nrrd", volume, overwrite=True)
    assert "bias +7.00 HU" in succeed("compare", ct, tmp_path / "b.nrrd", "--mask", tmp_path / "mask.nrrd").stdout
    write_volume(tmp_path / "moved.nrrd", Volume(volume.array))
    assert_refused(run("compare", ct, tmp_path / "moved.nrrd"), "not on the grid of A")


def test_compare_of_several_series_says_which_to_give(archive: Path):
    refused = run("compare", archive, archive / "a")
    assert_refused(refused, "2 CT series")
    assert "give the folder of one" in refused.stderr
    assert "--series" not in refused.stderr  # which compare does not have
    assert "RMSE 0.00 HU" in succeed("compare", archive / "a", archive / "a").stdout


def test_what_is_no_number_is_left_out_of_the_comparison_and_told(ct: Path, tmp_path: Path):
    volume = a_ct()
    volume.array = volume.array.astype(np.float32) + 3
    volume.array[0, :5, :6] = np.nan
    volume.array[1, 7, 7] = np.inf
    write_volume(tmp_path / "b.nrrd", volume)
    text = succeed("compare", ct, tmp_path / "b.nrrd").stdout
    assert "RMSE 3.00 HU, bias +3.00 HU" in text
    assert "31 voxels left out" in text
    assert "nan" not in text
    values = json.loads(succeed("compare", ct, tmp_path / "b.nrrd", "--json").stdout)
    assert values["left_out"] == 31
    assert values["ssim"] > 0.9
    write_volume(tmp_path / "mask.nrrd", Volume(np.isnan(volume.array).astype(np.uint8), **GEOMETRY))
    assert run("compare", ct, tmp_path / "b.nrrd", "--mask", tmp_path / "mask.nrrd").exit_code == 1, "nothing is left"


def test_noise_of_what_is_no_ct_is_told_with_a_warning(ct: Path, tmp_path: Path):
    labels = (a_ct().array > 0).astype(np.uint8)
    write_volume(tmp_path / "labels.nrrd", Volume(labels, **GEOMETRY))
    assert "warning: It looks like a label map" in succeed("noise", tmp_path / "labels.nrrd").stderr
    values = json.loads(succeed("noise", tmp_path / "labels.nrrd", "--json").stdout)
    assert [finding["code"] for finding in values["findings"]] == ["label_map"]
    assert succeed("noise", ct).stderr == ""


def test_a_picture_of_the_comparison(ct: Path, tmp_path: Path):
    matplotlib = pytest.importorskip("matplotlib.image")
    picture = tmp_path / "difference.png"
    succeed("compare", ct, ct, "--picture", picture, "--slice", "1")
    pixels = matplotlib.imread(picture)
    assert pixels.shape[1] > 1.5 * pixels.shape[0]  # three side by side
    assert pixels[..., :3].std() > 0.05
    assert_refused(run("compare", ct, ct, "--picture", picture), "exists already")
    assert_refused(run("compare", ct, ct, "--picture", tmp_path / "d.jpg"), "ends in .png")
    assert_refused(run("compare", ct, ct, "--picture", tmp_path / "e.png", "--slice", "3"), "no slice 3")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ct.nrrd", "difference.png"]
    volume = a_ct()
    volume.array = volume.array + np.int16(3)
    write_volume(tmp_path / "b.nrrd", volume)
    succeed("compare", ct, tmp_path / "b.nrrd", "--picture", picture, "--overwrite")
    height, width = (n // 2 for n in matplotlib.imread(picture).shape[:2])
    red, _, blue = matplotlib.imread(picture)[height, width + width * 2 // 3, :3]
    assert red - blue > 0.3, "little differences are shown as clearly as great ones"


def test_the_card_of_a_model(tiny_weights: Path):
    text = succeed("models", "fast").stdout
    for words in ("SHA-256", "kernels", "RMSE", "limit: Research use only"):
        assert words in text
    assert "PSNR None" not in text
    assert " 1 patients" not in text
    (values,) = json.loads(succeed("models", tiny_weights, "--json").stdout)
    assert values["card"]["name"] == "tiny"
    assert "limit: " not in succeed("models").stdout
    assert_refused(run("models", "unheard-of"), "unheard-of")


def test_own_weights_are_known_by_their_card(tiny_weights: Path, tiny_card: ModelCard, tmp_path: Path):
    """Whatever the file is called: a copy called fast is not the shipped Fast, and no default."""
    copy = tmp_path / "fast.safetensors"
    copy.write_bytes(tiny_weights.read_bytes())
    sha256 = sha256_of(copy)
    (values,) = json.loads(succeed("models", copy, "--json").stdout)
    assert (values["name"], values["sha256"], values["default_on"]) == ("tiny", sha256, [])
    text = succeed("models", copy).stdout
    assert text.startswith(f"tiny: {tiny_card.title}. Own weights: {copy}\n")
    assert f"SHA-256 {sha256[:12]}" in text


def test_data_without_a_doi_stand_in_the_card_without_one(tiny_card: ModelCard, tmp_path: Path):
    data = ({"name": "Our archive", "licence": "own", "patients": 1, "slices": 2},)
    card = dataclasses.replace(tiny_card, data=data)
    save_weights(tmp_path / "own.safetensors", seeded_network(card.architecture, seed=1), card)
    assert "    data: Our archive, 1 patient, own\n" in succeed("models", tmp_path / "own.safetensors").stdout
