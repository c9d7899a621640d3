"""The README is true: its commands, options, settings, defaults, links and pictures exist."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path

import pytest
import typer.main

from meddenoise_training.cli import app
from meddenoise_training.config import Config, load_config, parse_override
from meddenoise_training.losses import make_loss
from meddenoise_training.manifest import read_collections
from meddenoise_training.networks import NAMES
from meddenoise_training.toml_files import parse_toml

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")
OPTIONS = {
    name: {option for parameter in command.params for option in parameter.opts}
    for name, command in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
}


def commands() -> list[list[str]]:
    """Return the words after each ``meddenoise-train`` of the README, of blocks and of running text."""
    fenced = re.findall(r"^ *```\w*\n(.*?)^ *```", TEXT, re.S | re.M)
    lines = [line for block in fenced for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`([^`\n]*)`", re.sub(r"^ *```.*?^ *```", "", TEXT, flags=re.S | re.M))
    found = [line.split("meddenoise-train ", 1)[1] for line in lines if "meddenoise-train " in line]
    return [shlex.split(re.sub(r"[][]", "", text), comments=True) for text in found]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_has_the_options_that_the_readme_gives_it(words):
    name, *rest = words
    if name == "--help":
        return
    assert name in OPTIONS
    assert {word for word in rest if word.startswith("-")} <= OPTIONS[name]
    settings = [value for word, value in itertools.pairwise(rest) if word == "--set"]
    load_config(None, dict(parse_override(setting) for setting in settings))


def test_every_command_is_shown():
    assert {words[0] for words in commands()} - {"--help"} == set(OPTIONS)


def test_options_in_running_text_are_those_of_a_command():
    text = re.sub(r"^ *```.*?^ *```", "", TEXT, flags=re.S | re.M)
    named = set(re.findall(r"`(--[a-z][a-z-]*)", text)) - {"--help", "--strength", "--extra-index-url"}
    assert len(named) > 10
    assert named <= set().union(*OPTIONS.values())


def test_the_reference_gives_all_defaults():
    """None is TOML's nothing: what has no default is named below the block."""
    block, optional = (b.strip("\n") for b in re.findall(r"```toml\n(.*?)```", TEXT, re.S))
    given = parse_toml(block)
    expected = Config().model_dump(mode="json", exclude_none=True)
    assert given == expected
    assert Config.model_validate(parse_toml(optional)).distil is not None
    absent = {f"{section}.{key}" for section in ("data", "fit") for key, v in getattr(Config(), section) if v is None}
    assert absent == {"data.targets", "fit.workers", "fit.patience"}
    assert all(f"`{name}" in TEXT for name in absent)


def test_the_tables_name_every_loss_and_architecture():
    for name in NAMES:
        assert f"| `{name}` |" in TEXT
    kinds = re.findall(r"`([a-z0-9-]+)`", TEXT.split("| loss | what |")[1].split("\n\n")[0])
    for kind in kinds:
        make_loss(load_config(None, {"loss.kind": kind}).loss)
    assert len(kinds) == 7


def test_links_and_pictures_are_there():
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", TEXT) if not t.startswith("https://")]
    assert sum(t.startswith("pictures/") for t in targets) >= 4
    for target in targets:
        assert (README.parent / target).exists(), target
    assert sum(p.stat().st_size for p in (README.parent / "pictures").iterdir()) < 400_000


def test_sections_that_configurations_name_are_there():
    named = {
        name
        for config in (README.parent / "configs").glob("*.toml")
        for name in re.findall(r'"([^"\n]+)" in the README', config.read_text(encoding="utf-8"))
    }
    assert named
    assert named <= set(re.findall(r"^#+ (.+)$", TEXT, re.M))


def test_each_page_gives_collections_the_licences_of_their_list():
    """A name, then in brackets its licence and its DOI: as configs/data-sources.toml has them."""
    found = 0
    for page in README.parent.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for one in read_collections(README.parent / "configs" / "data-sources.toml"):
            for licence, doi in re.findall(rf"{one.name} ?\((CC BY [\d.]+),\s+doi:([\w./-]+)\)", text):
                assert (licence, doi) == (one.licence, one.doi), f"{one.name} in {page.name}"
                found += 1
    assert found >= 5


def test_the_tutorial_was_timed_as_it_is_typed():
    typed = re.search(r"fit PREPARED RUN .*--minutes (\d+)", TEXT)
    timed = re.search(r"\| `fit`, planned for (\d+) minutes", TEXT)
    assert typed
    assert timed
    assert typed[1] == timed[1]
