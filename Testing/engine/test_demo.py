"""`make demo` in small: the whole way in a process of its own, the DICOM series it writes, what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from meddenoise.phantom import Phantom, numerical_abdomen
from meddenoise.volume_files import Volume, read_volume, write_volume

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # tools/ is no installed package

from meddenoise_training.noise.projection import LowDose  # noqa: E402
from tools.demo import __main__ as demo  # noqa: E402
from tools.demo.comparison import fields  # noqa: E402
from tools.demo.figures import Figure, table, taken_away_in_the_body  # noqa: E402
from tools.demo.low_dose_series import placed_volume, write_series  # noqa: E402

# The stand-in for Slicer can be installed once in a process, and other tests install it with Qt.
SMALL_DEMO = """
import sys
from pathlib import Path
from tools.demo import __main__ as demo

folder = Path(sys.argv[1])
demo.remove_earlier_results(folder)
demo.denoise_and_show(demo.phantom_case(folder / "dicom", slices=6, size=96), sys.argv[2], folder)
"""


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> Path:
    """Return the folder in which a small demo left its results."""
    pytest.importorskip("slicer", reason="slicer-core is not installed (it is for Linux, Windows and macOS only)")
    folder = tmp_path_factory.mktemp("demo")
    for name in ("figures.md", "original.png"):
        (folder / name).write_text("of an earlier demo")
    (folder / "mine.txt").write_text("not the demo's")
    done = run_python("-c", SMALL_DEMO, str(folder), str(tiny_weights))
    assert done.returncode == 0, done.stderr
    assert "PSNR, C50/W400" in done.stdout
    assert str(folder / "side-by-side.png") in done.stdout
    return folder


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return numerical_abdomen(slices=6, size=64)


def test_demo_leaves_its_results_and_nothing_else(results: Path) -> None:
    names = {path.name for path in results.iterdir()}
    assert names == {*demo.results("noisy"), "dicom", "mine.txt"}
    assert (results / "mine.txt").read_text(encoding="utf-8") == "not the demo's"


def test_denoised_volume_lies_where_the_dicom_series_lies(results: Path) -> None:
    series, denoised = read_volume(results / "dicom"), read_volume(results / "denoised.nrrd")
    assert denoised.array.dtype == series.array.dtype
    assert denoised.array.shape == series.array.shape
    assert (denoised.array != series.array).any()
    for name in ("spacing", "origin", "direction"):
        assert getattr(denoised, name) == pytest.approx(getattr(series, name), abs=1e-4)


def test_figures_are_those_of_the_volumes(results: Path) -> None:
    figures = json.loads((results / "figures.json").read_text(encoding="utf-8"))
    truth = numerical_abdomen(slices=6, size=96)
    denoised = read_volume(results / "denoised.nrrd").array
    body = truth.hu > -200
    (rmse,) = (row for row in figures["figures"] if row["name"].startswith("RMSE"))
    difference = denoised[body].astype(float) - truth.hu[body]
    assert rmse["denoised"] == pytest.approx(np.sqrt(np.mean(difference**2)))
    (liver,) = (row for row in figures["bias by organ"] if row["name"] == "liver")
    inside = truth.labels == truth.organs["liver"]
    assert liver["denoised"] == pytest.approx((denoised[inside].astype(float) - truth.hu[inside]).mean())
    assert figures["run"]["model"].endswith("tiny.safetensors")
    assert "| liver (HU) |" in (results / "figures.md").read_text(encoding="utf-8")


def test_pictures_are_slice_views_the_right_way_round(results: Path) -> None:
    import matplotlib.image

    noisy, difference, both = (
        matplotlib.image.imread(results / f"{name}.png")[..., :3] for name in ("noisy", "difference", "side-by-side")
    )
    assert noisy.shape[1] == difference.shape[1] == 512
    assert both.shape[1] == 4 * 512 + 3 * 6
    grey = noisy[30:-30]  # between caption and footer
    assert np.ptp(grey, axis=2).max() < 0.01
    height = len(grey)
    # The patient's right, with the liver, is on the left; the back, with the white spine, at the bottom.
    left, right = grey[height // 4 : height // 2, 60:250, 0], grey[height // 4 : height // 2, 262:452, 0]
    assert left.mean() > right.mean() + 0.03
    white = np.nonzero(grey[:, 200:312, 0] > 0.99)[0]
    assert np.median(white) > 0.55 * height
    colours = difference[30:-30]
    red_over_blue = colours[..., 0] - colours[..., 2]
    assert red_over_blue.max() > 0.2
    assert red_over_blue.min() < -0.2


def test_series_is_valid_and_comes_back_as_written(tmp_path: Path, phantom: Phantom) -> None:
    volume = placed_volume(phantom.hu - 60, phantom)  # air below -1024, as noise makes it
    write_series(tmp_path, volume, LowDose())
    assert len(list(tmp_path.glob("slice-*.dcm"))) == 6
    back = read_volume(tmp_path)
    np.testing.assert_array_equal(back.array, volume.array)
    assert back.spacing == pytest.approx(volume.spacing)
    assert back.origin == pytest.approx(volume.origin)
    first, last = dcmread(tmp_path / "slice-001.dcm"), dcmread(tmp_path / "slice-006.dcm")
    assert first.SeriesInstanceUID == last.SeriesInstanceUID
    assert first.SOPInstanceUID != last.SOPInstanceUID
    assert last.ImagePositionPatient[2] - first.ImagePositionPatient[2] == pytest.approx(5 * 24)
    assert first.ImageType[0] == "DERIVED"  # a simulation is no acquisition


def test_series_with_fewer_slices_replaces_one_with_more(tmp_path: Path, phantom: Phantom) -> None:
    (tmp_path / "mine.dcm").write_bytes(b"not the demo's")
    write_series(tmp_path, placed_volume(phantom.hu, phantom), LowDose())
    of_another_patient = dcmread(tmp_path / "slice-001.dcm")
    of_another_patient.PatientID = "1"
    of_another_patient.save_as(tmp_path / "slice-009.dcm")
    few = Phantom(phantom.hu[:2], phantom.labels[:2], phantom.organs, phantom.spacing)
    write_series(tmp_path, placed_volume(few.hu, few), LowDose())
    names = ["mine.dcm", "slice-001.dcm", "slice-002.dcm", "slice-009.dcm"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_earlier_results_are_gone_even_after_a_run_that_fails(
    tmp_path: Path, tiny_weights: Path, capsys: pytest.CaptureFixture[str], phantom: Phantom
) -> None:
    def left_after_a_failed_run() -> set[str]:
        arguments = ("--input", tmp_path / "missing", "--model", tiny_weights, "--output", tmp_path)
        assert demo.main([*map(str, arguments)]) == 1
        assert "no file or folder" in capsys.readouterr().err
        return {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}

    for name in (*demo.results("noisy"), *demo.results("original"), "mine.txt"):
        (tmp_path / name).write_text("of an earlier demo")
    few = Phantom(phantom.hu[:1], phantom.labels[:1], phantom.organs, phantom.spacing)
    write_series(tmp_path / "dicom", placed_volume(few.hu, few), LowDose())
    assert left_after_a_failed_run() == {"mine.txt"}
    write_series(tmp_path / "dicom", placed_volume(few.hu, few), LowDose())
    (tmp_path / "dicom" / "mine.dcm").write_bytes(b"not the demo's")
    assert left_after_a_failed_run() == {"mine.txt", "dicom", "dicom/slice-001.dcm", "dicom/mine.dcm"}


def test_fields_show_the_body_without_the_table(phantom: Phantom) -> None:
    hu = phantom.hu.copy()
    hu[:, -1] = 500  # a table
    axial, coronal = fields(placed_volume(hu, phantom), (32, 32, 3))
    assert 320 < axial.extent[0] < 384
    assert 220 < axial.extent[1] < 265
    assert coronal.extent == pytest.approx((axial.extent[0], 144 + 16))
    assert axial.centre[2] == pytest.approx(-230.5 + 12)  # the middle of slice 3


def test_taken_away_and_table() -> None:
    noisy = np.array([[[0, 10, -1000]]], np.int16)
    denoised = np.array([[[4, 12, 500]]], np.int16)
    assert taken_away_in_the_body(noisy, denoised)["mean"] == -3
    text = table([Figure("noise, estimated", "HU", 20.04, 4.996), Figure("SSIM", "", 0.5, 0.9994)], "original")
    assert [line.split()[-2:] for line in text.splitlines()] == [
        ["original", "denoised"],
        ["20.04", "5.00"],
        ["0.500", "0.999"],
    ]


def test_wrong_inputs_end_with_one_sentence(
    tmp_path: Path, tiny_weights: Path, capsys: pytest.CaptureFixture[str], phantom: Phantom
) -> None:
    def refusal(*arguments: object) -> str:
        assert demo.main([*map(str, arguments), "--output", str(tmp_path)]) == 1
        return capsys.readouterr().err

    model = ("--model", tiny_weights)
    assert "no file or folder" in refusal("--input", tmp_path / "missing", *model)
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in refusal("--input", tmp_path / "empty", *model)
    assert "nothing.safetensors" in refusal("--model", tmp_path / "nothing.safetensors")
    write_volume(tmp_path / "denoised.nrrd", Volume(phantom.hu))
    write_series(tmp_path / "dicom", placed_volume(phantom.hu, phantom), LowDose())
    for path in (tmp_path, *(tmp_path / name for name in ("denoised.nrrd", "dicom", "dicom/slice-001.dcm"))):
        assert "copy it" in refusal("--input", path, *model)
        assert path.exists()
