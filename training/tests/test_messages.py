"""What a user reads: of wrong settings, of what is left out, of data without a DOI, and on the way."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from meddenoise.errors import InputError
from meddenoise.model_card import ModelCard
from meddenoise.weights import read_card
from meddenoise_training.card_page import card_page
from meddenoise_training.cli import main
from meddenoise_training.cli.progress import progress_bar
from meddenoise_training.config import load_config
from meddenoise_training.export import export
from meddenoise_training.fit import fit
from meddenoise_training.manifest import read_collections
from meddenoise_training.prepare import prepare, read_shares

TRAINING = Path(__file__).parent.parent
SMALL = {"data.patch": 32, "data.batch": 1, "fit.steps": 1, "fit.warmup_steps": 0, "fit.pictures": 0}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"fit.warmup_step": 5}, r"fit\.warmup_step is unknown \(did you mean fit\.warmup_steps\?\)\.$"),
        ({"fit.batch": 5}, r"fit\.batch is unknown \(did you mean data\.batch\?\)\.$"),
        ({"fit.colour": 5}, r"fit\.colour is unknown\.$"),
        ({"data.batch": "many"}, r"data\.batch must be a valid integer\.$"),
        ({"data.batch": 0}, r"data\.batch must be greater than or equal to 1\.$"),
        ({"architecture": "fats"}, r"is not valid: architecture must be one of fast, standard"),
        ({"fit.warmup_steps": 9, "fit.steps": 9}, r"is not valid: fit: warmup_steps \(9\) must be below steps"),
    ],
)
def test_a_wrong_setting_is_told_in_plain_words(overrides, words):
    with pytest.raises(InputError, match=words):
        load_config(None, overrides)


def test_a_run_says_what_it_is_about_to_do(prepared, tmp_path):
    lines: list[str] = []
    fit(load_config(None, SMALL), prepared, tmp_path / "run", report=lines.append)
    assert lines[0] == "Training fast: 1 step with a batch of 1, without a noise bank (projection_share = 0)."


def test_weights_to_begin_from_that_are_none_or_of_another_network_are_named(prepared, tmp_path):
    text = tmp_path / "card.toml"
    text.write_text("name = 'x'")
    for init, words in (
        (text, rf"{text} holds no weights that can be read; name a \.safetensors file or the folder of a run"),
        ("RUN", r"are of another architecture \(fast\) than this run's \(dncnn\)"),
    ):
        if init == "RUN":
            init = tmp_path / "fast"
            fit(load_config(None, SMALL), prepared, init, report=lambda _: None)
        config = load_config(None, {**SMALL, "init": str(init), "architecture": "dncnn"})
        with pytest.raises(InputError, match=words) as caught:
            fit(config, prepared, tmp_path / "run", report=lambda _: None)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("split", ["80,10,20", "8,1,1", "80,10,0"])
def test_shares_that_do_not_make_100_are_refused(split):
    with pytest.raises(InputError, match=rf"The split '{split}' makes .* percent; give three that make 100"):
        read_shares(split)
    assert read_shares("33.3,33.3,33.3") == (33.3, 33.3, 33.3)


@pytest.mark.parametrize(("patients", "is_told"), [(3, True), (10, False)])
def test_a_split_that_comes_out_empty_is_told(write_slice, tissue, tmp_path, patients, is_told):
    for k in range(patients):
        write_slice(tmp_path / f"in/p{k}/1.dcm", tissue(k, 10), f"p{k}", f"1.{k}", 0.0)
    lines: list[str] = []
    prepare(tmp_path / "in", tmp_path / "out", synthetic=0, split=read_shares("80,10,10"), report=lines.append)
    said = [line for line in lines if "nothing is in" in line]
    assert said == (["Warning: nothing is in test: 3 patients are too few for these shares."] if is_told else [])


def test_files_left_out_are_named(write_slice, tissue, tmp_path):
    folder = tmp_path / "in"
    write_slice(folder / "a/1.dcm", tissue(1, 10), "a", "1.1", 0.0)
    (folder / "a/noise.dcm").write_bytes(bytes(range(256)) * 4)
    (folder / "notes.txt").write_text("nothing")
    with pytest.raises(
        InputError,
        match=r"holds CT of 1 patient \(left out: 1 damaged DICOM file, 1 non-DICOM file\); train and validation need",
    ):
        prepare(folder, tmp_path / "out", split=(80, 10, 10), report=lambda _: None)
    write_slice(folder / "b/1.dcm", tissue(2, 10), "b", "1.2", 0.0)
    lines: list[str] = []
    prepare(folder, tmp_path / "out", split=(50, 50, 0), synthetic=0, report=lines.append)
    left = [line for line in lines if line.startswith("Left out")]
    assert left == [
        f"Left out: 1 damaged DICOM file, {folder}/a/noise.dcm",
        f"Left out: 1 non-DICOM file, {folder}/notes.txt",
    ]


def test_an_archive_of_ones_own_needs_no_doi(archive, tmp_path):
    """As the commented example in data-sources.toml says it."""
    text = (TRAINING / "configs/data-sources.toml").read_text(encoding="utf-8")
    example = text.rpartition("# [[collection]]")
    sources = tmp_path / "sources.toml"
    sources.write_text("".join(example[1:]).replace("# ", ""), encoding="utf-8")
    (own,) = read_collections(sources)
    assert (own.doi, own.folders) == ("", ["*"])
    prepare(archive, tmp_path / "out", synthetic=0, sources=sources, report=lambda _: None)
    fit(
        load_config(None, {**SMALL, "data.synthetic_share": 0}),
        tmp_path / "out",
        tmp_path / "run",
        report=lambda _: None,
    )
    export(tmp_path / "run", tmp_path / "own.safetensors", TRAINING / "configs/own-card.toml")
    card: ModelCard = read_card(tmp_path / "own.safetensors")
    assert [(row["name"], "doi" in row) for row in card.data] == [(own.name, False)]
    page = card_page(card, "0")
    assert own.name in page
    assert "doi" not in page
    assert "to be cited" not in page


def test_output_that_is_no_terminal_gets_a_line_now_and_then(capsys):
    with progress_bar("Noise") as progress:
        for done in range(1, 41):
            progress(done, 40)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert (lines[0], lines[-1]) == ("Noise: 10 %, 4 of 40", "Noise: 90 %, 36 of 40")


def test_prepare_tells_of_slabs_and_counts_in_words(archive, tmp_path, monkeypatch, capsys):
    arguments = [str(archive), str(tmp_path / "out"), "--slab-mm", "5", "--synthetic", "10", "--workers", "1"]
    monkeypatch.setattr(sys, "argv", ["meddenoise-train", "prepare", *arguments])
    with pytest.raises(SystemExit):
        main()
    out = capsys.readouterr().out
    assert (
        "train: 12 slices of 2 patients, 10 synthetic slices; 9 of the 12 are means of 5 thin neighbouring slices, for "
        "less noise (none at the ends of a series, where neighbours are too few)\n"
    ) in out
    assert "validation: 3 slices of 1 patient, 1 synthetic slice\n" in out
    assert "Preparing: " in out
