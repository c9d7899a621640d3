"""The command line: end to end in a process of its own; its many refusals inside this one, which is faster."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as everybody calls it
from typer.testing import CliRunner, Result

import meddenoise
from meddenoise.cli import app
from meddenoise.volume_files import Volume, read_volume, write_volume

COMMAND = [sys.executable, "-m", "meddenoise.cli"]
GEOMETRY = {
    "spacing": (0.7, 0.8, 2.5),
    "origin": (-120.25, 3.5, 1000.0),
    "direction": (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0),
}


def a_ct(slices: int = 3, rows: int = 40, columns: int = 33) -> Volume:
    """Return soft tissue with noise of 20 HU and padding outside the scan circle."""
    array = np.random.default_rng(0).normal(50, 20, (slices, rows, columns)).round().astype("int16")
    array[:, :, :4] = -3024
    return Volume(array, **GEOMETRY)


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    path = tmp_path / "ct.nrrd"
    write_volume(path, a_ct())
    return path


@pytest.fixture
def model(tiny_weights: Path) -> list[str]:
    return ["--model", str(tiny_weights), "--device", "cpu", "--threads", "1"]


def run_here(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def assert_refused(result: Result, *words: str, code: int = 1) -> None:
    """Check for one line on stderr, ``error: ...``, that contains the words, and nothing on stdout."""
    assert result.exit_code == code, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    for word in words:
        assert word in errors[0]


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- in a process of its own


def test_denoise_from_end_to_end(ct: Path, tmp_path: Path, model: list[str], tiny_weights: Path):
    output = tmp_path / "out.nrrd"
    result = run("denoise", ct, output, *model)
    assert result.returncode == 0, result.stderr
    import hashlib

    sha256 = hashlib.sha256(tiny_weights.read_bytes()).hexdigest()
    report = (
        r"out\.nrrd: 3 slices denoised in \d+\.\d s with tiny 0 "
        rf"\(SHA-256 {sha256[:12]}\), strength 1, on cpu \((float32|bfloat16)\)\.\n"
        r"Estimated noise: (\d+\.\d) HU before, \d+\.\d HU after\.\n"
        r"Research use only, not for diagnosis\.\n$"
    )
    match = re.search(report, result.stdout)
    assert match, result.stdout
    assert 15 < float(match[2]) < 25
    assert "\x1b" not in result.stderr + result.stdout  # no terminal, so no bar and no colours
    assert "Denoising 3 slices" in result.stderr

    from meddenoise import Denoiser

    before, after = a_ct(), read_volume(output)
    expected = Denoiser(tiny_weights, device="cpu", threads=1).denoise(before.array)
    np.testing.assert_array_equal(after.array, expected)
    assert after.array.dtype == before.array.dtype
    assert not np.array_equal(after.array, before.array)
    for name, value in GEOMETRY.items():
        np.testing.assert_allclose(getattr(after, name), value, rtol=0, atol=1e-12)
    image = sitk.ReadImage(str(output))
    stored = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.startswith("MedDenoise.")}
    assert stored == {
        "MedDenoise.model": "tiny",
        "MedDenoise.sha256": sha256,
        "MedDenoise.strength": "1",
        "MedDenoise.device": "cpu",
        "MedDenoise.version": meddenoise.__version__,
        "MedDenoise.source": "ct.nrrd",
        **({} if match[1] == "float32" else {"MedDenoise.precision": match[1]}),
    }


def test_errors_from_end_to_end(tmp_path: Path):
    result = run("denoise", tmp_path / "missing.nrrd", tmp_path / "out.nrrd")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"error: There is no file or folder {tmp_path / 'missing.nrrd'}.\n"


def test_version_from_end_to_end():
    result = run("--version")
    assert (result.returncode, result.stdout) == (0, f"meddenoise {meddenoise.__version__}\n")


def test_nothing_heavy_is_loaded_to_show_help_or_to_refuse(tmp_path: Path):
    for arguments in (["denoise", "--help"], ["models"], ["denoise", "missing.nrrd", str(tmp_path / "out.nrrd")]):
        script = (
            "import sys\nfrom meddenoise.cli import app\n"
            f"app({arguments!r}, standalone_mode=False)\n"
            "loaded = {'torch', 'SimpleITK', 'pydicom'} & sys.modules.keys()\n"
            "print(loaded or 'none loaded')"
        )
        result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
        assert result.stdout.endswith("none loaded\n"), result.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_an_interruption_leaves_nothing_half_written(tmp_path: Path, model: list[str]):
    write_volume(tmp_path / "ct.nrrd", Volume(np.zeros((2000, 128, 128), "int16")))
    command = [*COMMAND, "denoise", str(tmp_path / "ct.nrrd"), str(tmp_path / "out.nrrd"), *model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("Denoising"):
                break
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert stderr == "error: Interrupted; nothing was left half-written.\n"
    assert left_in(tmp_path) == ["ct.nrrd"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
def test_a_terminal_gets_a_progress_bar_on_stderr_alone(ct: Path, tmp_path: Path, model: list[str]):
    import pty

    ours, theirs = pty.openpty()
    command = [*COMMAND, "denoise", str(ct), str(tmp_path / "out.nrrd"), *model]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment, text=True) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                block = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not block:
                break
            shown += block
        stdout, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0, shown
    assert "3/3" in shown.decode()
    assert "━" in shown.decode()
    assert "\x1b" not in stdout


# --- in this process: formats and options


@pytest.mark.parametrize("extension", [".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd"])
def test_strength_0_gives_the_stored_values_and_geometry(tmp_path: Path, model: list[str], extension: str):
    for dtype in ("int16", "float32"):
        volume = a_ct()
        volume.array = volume.array.astype(dtype)
        write_volume(tmp_path / f"ct{extension}", volume, overwrite=True)
        arguments = ["denoise", tmp_path / f"ct{extension}", tmp_path / f"out{extension}", "--overwrite"]
        result = run_here(*arguments, *model, "--strength", "0")
        assert result.exit_code == 0, result.output
        before, after = read_volume(tmp_path / f"ct{extension}"), read_volume(tmp_path / f"out{extension}")
        assert after.array.dtype == dtype
        assert after.array.tobytes() == volume.array.tobytes()
        assert (after.spacing, after.origin, after.direction) == (before.spacing, before.origin, before.direction)


def test_half_strength_is_half_way(ct: Path, tmp_path: Path, model: list[str]):
    for strength in ("0.5", "1"):
        assert run_here("denoise", ct, tmp_path / f"{strength}.nrrd", *model, "--strength", strength).exit_code == 0
    before, half, full = (read_volume(tmp_path / name).array for name in ("ct.nrrd", "0.5.nrrd", "1.nrrd"))
    np.testing.assert_array_equal(half, np.rint((before.astype(float) + full) / 2))
    assert sitk.ReadImage(str(tmp_path / "0.5.nrrd")).GetMetaData("MedDenoise.strength") == "0.5"


def test_overwrite_refused_then_allowed(ct: Path, tmp_path: Path, model: list[str]):
    output = tmp_path / "out.nrrd"
    output.write_bytes(b"precious")
    assert_refused(run_here("denoise", ct, output, *model), "exists already", "--overwrite")
    assert_refused(run_here("add-noise", ct, output, "--sd", 5), "exists already", "--overwrite")
    assert output.read_bytes() == b"precious"
    assert run_here("denoise", ct, output, *model, "--overwrite").exit_code == 0
    assert read_volume(output).array.shape == (3, 40, 33)


def test_the_input_is_never_overwritten(ct: Path, tmp_path: Path, model: list[str]):
    (tmp_path / "link.nrrd").symlink_to(ct)
    before = ct.read_bytes()
    for output in (ct, tmp_path / "link.nrrd"):
        assert_refused(run_here("denoise", ct, output, *model, "--overwrite"), "is an input itself")
    assert ct.read_bytes() == before


def test_quiet_prints_nothing(ct: Path, tmp_path: Path, model: list[str]):
    for arguments in (
        ["denoise", ct, tmp_path / "a.nrrd", *model],
        ["add-noise", ct, tmp_path / "b.nrrd", "--sd", "10"],
    ):
        assert run_here(*arguments, "--quiet").output == ""
    assert left_in(tmp_path) == ["a.nrrd", "b.nrrd", "ct.nrrd"]


def test_warnings_are_one_line_and_do_not_stop(tmp_path: Path, model: list[str]):
    volume = a_ct()
    volume.array = volume.array.astype("float32")
    volume.array[1, 20, 20] = np.nan
    write_volume(tmp_path / "ct.nrrd", volume)
    result = run_here("denoise", tmp_path / "ct.nrrd", tmp_path / "out.nrrd", *model, "--quiet")
    assert result.exit_code == 0
    assert re.fullmatch(r"warning: The volume has 1 voxels that are NaN.*\n", result.output)
    assert np.isnan(read_volume(tmp_path / "out.nrrd").array[1, 20, 20])


def test_a_volume_too_small_to_estimate_its_noise(tmp_path: Path, model: list[str]):
    write_volume(tmp_path / "ct.nrrd", Volume(np.zeros((1, 1, 1), "int16")))
    result = run_here("denoise", tmp_path / "ct.nrrd", tmp_path / "out.nrrd", *model)
    assert result.exit_code == 0
    assert "Estimated noise: unknown before, unknown after." in result.stdout


# --- in this process: DICOM


def write_dicom(folder: Path, series: str, slices: int = 2) -> None:
    """Write a small DICOM CT series with ITK."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, image_slice in enumerate(a_ct(slices).array):
        image = sitk.GetImageFromArray(np.maximum(image_slice, -1024)[np.newaxis])
        for tag, value in {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0060": "CT",
            "0008|103e": f"Series {series}",
            "0020|000e": f"1.2.3.{series}",
            "0020|0032": f"0\\0\\{5 * k}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0028|1052": "-1024",
            "0028|1053": "1",
        }.items():
            image.SetMetaData(tag, value)
        image.SetSpacing((0.7, 0.8, 5.0))
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{series}-{k}.dcm"))
        writer.Execute(image)


def test_a_dicom_folder(tmp_path: Path, model: list[str]):
    write_dicom(tmp_path / "dicom", "1")
    result = run_here("denoise", tmp_path / "dicom", tmp_path / "out.nii.gz", *model, "--strength", "0")
    assert result.exit_code == 0, result.output
    volume = read_volume(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(volume.array, np.maximum(a_ct(2).array, -1024))
    np.testing.assert_allclose(volume.spacing, (0.7, 0.8, 5), rtol=1e-6)
    descrip = sitk.ReadImage(str(tmp_path / "out.nii.gz")).GetMetaData("descrip")
    assert descrip == f"Denoised by MedDenoise {meddenoise.__version__}, 0%, research use only: tiny"


def test_two_series(tmp_path: Path, model: list[str]):
    write_dicom(tmp_path / "dicom", "1", slices=2)
    write_dicom(tmp_path / "dicom", "2", slices=3)
    output = tmp_path / "out.nrrd"
    refused = run_here("denoise", tmp_path / "dicom", output, *model, "--quiet")
    assert_refused(refused, "--series", "1.2.3.1", "'Series 1', 2 slices", "1.2.3.2", "'Series 2', 3 slices")
    assert run_here("denoise", tmp_path / "dicom", output, *model, "--series", "1.2.3.2").exit_code == 0
    assert read_volume(output).array.shape[0] == 3
    assert "3 slices" in run_here("noise", tmp_path / "dicom", "--series", "1.2.3.2").stdout
    assert_refused(run_here("noise", tmp_path / "dicom", "--series", "1.2.3.9"), "no CT series 1.2.3.9")


def test_a_folder_without_dicom(tmp_path: Path, model: list[str]):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("nothing")
    result = run_here("denoise", tmp_path / "folder", tmp_path / "out.nrrd", *model, "--quiet")
    assert_refused(result, "no CT series", "1 non-DICOM file.")


def test_dicom_cannot_be_derived_from_a_volume_file(ct: Path, tmp_path: Path, model: list[str]):
    result = run_here("denoise", ct, tmp_path / "out.dcm", *model)
    assert_refused(result, "only from DICOM input", ".nrrd", ".nii.gz", ".mha")
    result = run_here("denoise", ct, f"{tmp_path / 'out'}/", *model)
    assert_refused(result, "only from DICOM input")
    result = run_here("denoise", ct, tmp_path / "out", *model)
    assert_refused(result, "out has no ending that names a format; use .nrrd, .nii.gz or .mha")


# --- in this process: refusals


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("missing/out.nrrd", "does not exist"),
        ("ct.nrrd/out.nrrd", "does not exist"),
        ("out.png", "cannot be written as out.png"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_anything_is_read(tmp_path: Path, output: str, words: str):
    (tmp_path / "ct.nrrd").write_bytes(b"not readable: to read it would give another error")
    assert_refused(run_here("denoise", tmp_path / "ct.nrrd", tmp_path / output, "--model", "none"), words)
    assert_refused(run_here("add-noise", tmp_path / "ct.nrrd", tmp_path / output, "--sd", "5"), words)
    assert left_in(tmp_path) == ["ct.nrrd"]


def test_a_model_is_refused_before_the_volume_is_read(tmp_path: Path):
    (tmp_path / "ct.nrrd").write_bytes(b"not readable: to read it would give another error")
    result = run_here("denoise", tmp_path / "ct.nrrd", tmp_path / "out.nrrd", "--model", "no-such-model")
    assert_refused(result, "no-such-model")


def test_a_pickle_under_another_name_is_refused_and_never_run(ct: Path, tmp_path: Path):
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(pickle.dumps({"layer": Trap()}))
    assert_refused(run_here("denoise", ct, tmp_path / "out.nrrd", "--model", weights), "weights.safetensors")
    assert left_in(tmp_path) == ["ct.nrrd", "weights.safetensors"]


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "cpu0"])
def test_a_device_that_is_not_there(ct: Path, tmp_path: Path, tiny_weights: Path, device: str):
    result = run_here("denoise", ct, tmp_path / "out.nrrd", "--model", tiny_weights, "--device", device)
    assert_refused(result, device)
    assert left_in(tmp_path) == ["ct.nrrd"]


def test_inputs_that_are_no_ct_volume(tmp_path: Path, model: list[str]):
    colour = sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), "uint8"), isVector=True)
    sitk.WriteImage(colour, str(tmp_path / "colour.nrrd"))
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5), "int16")), str(tmp_path / "flat.mha"))
    (tmp_path / "damaged.nii.gz").write_bytes(b"\x1f\x8b damaged")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    for name, words in {
        "colour.nrrd": "3 values in each voxel",
        "flat.mha": "2 dimensions",
        "damaged.nii.gz": "cannot be read",
        "photo.jpg": "no known kind",
        "nothing.nrrd": "no file or folder",
    }.items():
        assert_refused(run_here("denoise", tmp_path / name, tmp_path / "out.nrrd", *model, "--quiet"), words)
        assert_refused(run_here("noise", tmp_path / name), words)
        assert_refused(run_here("add-noise", tmp_path / name, tmp_path / "out.nrrd", "--sd", 5, "--quiet"), words)
    assert not (tmp_path / "out.nrrd").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["denoise", "ct.nrrd"],
        ["denoise", "ct.nrrd", "out.nrrd", "--strength", "1.5"],
        ["denoise", "ct.nrrd", "out.nrrd", "--strength", "-0.1"],
        ["denoise", "ct.nrrd", "out.nrrd", "--strength", "nan"],
        ["denoise", "ct.nrrd", "out.nrrd", "--strength", "half"],
        ["denoise", "ct.nrrd", "out.nrrd", "--threads", "0"],
        ["denoise", "ct.nrrd", "out.nrrd", "--colour", "red"],
        ["add-noise", "ct.nrrd", "out.nrrd"],
        ["add-noise", "ct.nrrd", "out.nrrd", "--sd", "-5"],
        ["add-noise", "ct.nrrd", "out.nrrd", "--sd", "5", "--seed", "-1"],
        ["add-noise", "ct.nrrd", "out.nrrd", "--sd", "5", "--mean-frequency", "0.3"],
        ["sharpen", "ct.nrrd", "out.nrrd"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]):
    result = run_here(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Usage" in result.stderr


# --- in this process: noise


def test_noise_is_estimated_in_hu(ct: Path):
    result = run_here("noise", ct)
    match = re.fullmatch(r"(\d+\.\d) HU estimated noise in .*ct\.nrrd \(3 slices of 40 x 33\)\n", result.stdout)
    assert match, result.output
    assert 18 < float(match[1]) < 22
    assert result.stderr == ""


@pytest.mark.parametrize("texture", [[], ["--correlated"], ["--correlated", "--mean-frequency", "0.32"]])
def test_added_noise_is_reproducible_by_its_seed(tmp_path: Path, texture: list[str]):
    flat = Volume(np.full((4, 64, 64), 50, "int16"), **GEOMETRY)
    write_volume(tmp_path / "ct.nrrd", flat)
    for name, seed in {"a": 7, "b": 7, "c": 8}.items():
        output = tmp_path / f"{name}.nrrd"
        result = run_here("add-noise", tmp_path / "ct.nrrd", output, "--sd", 25, "--seed", seed, *texture)
        assert result.exit_code == 0, result.output
        assert f"Gaussian noise of 25 HU (seed {seed}" in result.stdout
    a, b, c = (read_volume(tmp_path / f"{name}.nrrd") for name in "abc")
    np.testing.assert_array_equal(a.array, b.array)
    assert not np.array_equal(a.array, c.array)
    assert a.array.std() == pytest.approx(25, rel=0.05)
    assert a.array.dtype == np.int16
    assert a.spacing == GEOMETRY["spacing"]


def test_textures_of_noise_differ_and_are_recorded(tmp_path: Path):
    from meddenoise.noise import add_correlated_noise, add_gaussian_noise

    flat = np.full((2, 64, 64), 50, "int16")
    write_volume(tmp_path / "ct.nrrd", Volume(flat))
    cases = {
        "white": ([], add_gaussian_noise(flat, 20, seed=3), None),
        "smooth": (["--correlated"], add_correlated_noise(flat, 20, seed=3, mean_frequency=0.2), "0.2"),
        "sharp": (
            ["--correlated", "--mean-frequency", "0.32"],
            add_correlated_noise(flat, 20, seed=3, mean_frequency=0.32),
            "0.32",
        ),
    }
    for name, (options, expected, frequency) in cases.items():
        output = tmp_path / f"{name}.mha"
        assert run_here("add-noise", tmp_path / "ct.nrrd", output, "--sd", 20, "--seed", 3, *options).exit_code == 0
        np.testing.assert_array_equal(read_volume(output).array, expected)
        image = sitk.ReadImage(str(output))
        stored = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.startswith("MedDenoise.")}
        assert stored.pop("MedDenoise.mean_frequency", None) == frequency
        assert stored == {
            "MedDenoise.noise": "white" if frequency is None else "correlated",
            "MedDenoise.sd": "20",
            "MedDenoise.seed": "3",
            "MedDenoise.version": meddenoise.__version__,
            "MedDenoise.source": "ct.nrrd",
        }
    assert_refused(
        run_here(
            "add-noise",
            tmp_path / "ct.nrrd",
            tmp_path / "x.mha",
            "--sd",
            20,
            "--correlated",
            "--mean-frequency",
            2,
            "-q",
        ),
        "mean frequency",
    )


def test_models_are_those_of_the_catalogue():
    result = run_here("models")
    assert result.exit_code == 0
    for model in meddenoise.shipped_models():
        assert re.search(rf"^{model.name}[^:]*: {re.escape(model.title)}", result.stdout, re.MULTILINE)
        assert (model.sha256 or "")[:12] in result.stdout
    assert re.search(r"^fast \(default on a CPU", result.stdout, re.MULTILINE)
    devices = [device for model in json.loads(run_here("models", "--json").stdout) for device in model["default_on"]]
    assert sorted(devices) == ["cpu", "gpu"]


def test_without_a_model_the_report_names_that_of_the_device(ct: Path, tmp_path: Path):
    result = run_here("denoise", ct, tmp_path / "out.nrrd", "--device", "cpu", "--json")
    assert json.loads(result.stdout)["model"] == "fast"
