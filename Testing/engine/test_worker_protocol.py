"""The messages between worker and client, and the real worker spoken to line by line (docs/worker-protocol.md)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import meddenoise
from meddenoise import errors, protocol
from meddenoise.errors import MedDenoiseError, WorkerError
from meddenoise.protocol import (
    PROTOCOL_VERSION,
    CancelMessage,
    DoneMessage,
    ErrorMessage,
    IdleMessage,
    JobMessage,
    ProgressMessage,
    ReadyMessage,
    decode,
    encode,
    error_from,
)

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "worker-protocol.md"
MESSAGES = [
    JobMessage("1", "/tmp/Größe \udcff/in", "/tmp/out", [2, 3, 4], "<i2", "fast", 0.5, "auto", None),
    JobMessage("1", "/in", "/out", [2, 3, 4], "<i2", "fast", 0.5, "auto", 2, "best", "/spread"),
    JobMessage("1", "/in", "/out", [2, 3, 4], "<i2", "fast", None, "auto", 2),
    CancelMessage("1"),
    ReadyMessage("0.1.0", "3.12.10", 17),
    ProgressMessage("1", 0, 40, None),
    ProgressMessage("1", 3, 40, 12),
    DoneMessage("1", "ab12", "cuda:0", 3.5, ["NaN\nthere"], "0.1.0"),
    DoneMessage("1", "ab12", "cpu", 3.5, [], "0.1.0", "fast"),
    DoneMessage("1", "ab12", "cpu", 3.5, [], "0.1.0", default_strength=0.6),
    ErrorMessage(None, "worker", "What?", ""),
    IdleMessage(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_every_message_is_one_line_and_comes_back_as_it_was(message: protocol.Message) -> None:
    line = encode(message)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode(line) == message


def test_a_job_from_before_the_optional_fields_is_still_a_job_and_a_usual_one_is_still_written_so() -> None:
    line = (
        b'{"protocol": 1, "type": "job", "job": "1", "input": "/in", "output": "/out", "shape": [2, 3, 4], '
        b'"dtype": "<i2", "model": "fast", "strength": 0.5, "device": "auto", "threads": null}\n'
    )
    message = decode(line)
    assert isinstance(message, JobMessage)
    assert (message.quality, message.spread) == ("standard", None)
    assert encode(message) == line
    answer = (
        b'{"protocol": 1, "type": "done", "job": "1", "model_sha256": "ab", "device": "cpu", "seconds": 1.5, '
        b'"warnings": [], "version": "0.1.0"}\n'
    )
    assert encode(decode(answer)) == answer


@pytest.mark.parametrize(
    "line",
    [
        b"Warning: something was printed\n",
        b"\xff\xfe\x00\n",
        b"[]\n",
        b"3\n",
        b"{}\n",
        b"[" * 100_000,
        b'{"protocol": 1, "type": "unheard of"}\n',
        b'{"protocol": 1, "type": ["progress"]}\n',
        b'{"protocol": 1, "type": "cancel"}\n',
        b'{"protocol": 1, "type": "cancel", "job": 1}\n',
        b'{"protocol": 1, "type": "cancel", "job": "1", "more": 1}\n',
        b'{"protocol": 1, "type": "progress", "job": "1", "done": true, "total": 2, "seconds_left": null}\n',
        b'{"protocol": 1, "type": "progress", "job": "1", "done": 1.5, "total": 2, "seconds_left": null}\n',
        b'{"protocol": 1, "type": "done", "job": "1", "model_sha256": "", "device": "", "seconds": 1, '
        b'"warnings": [1], "version": ""}\n',
    ],
    ids=lambda line: line[:60].decode("latin-1"),
)
def test_what_is_no_message_is_refused_in_one_sentence(line: bytes) -> None:
    with pytest.raises(WorkerError, match="message") as caught:
        decode(line)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_another_version_is_refused_and_named() -> None:
    with pytest.raises(WorkerError, match=f"protocol 99 against {PROTOCOL_VERSION}"):
        decode(b'{"protocol": 99, "type": "novelty"}\n')


def test_errors_cross_the_pipe_as_their_class() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, MedDenoiseError) and "code" in vars(kind)
    ]
    assert len({kind.code for kind in kinds}) == len(kinds) >= 9
    for kind in kinds:
        error = error_from(kind.code, "A sentence.")
        assert type(error) is kind
        assert str(error) == "A sentence."
    assert type(error_from("from the future", "A sentence.")) is MedDenoiseError


def test_the_example_session_of_the_document_is_this_protocol() -> None:
    lines = re.findall(r'^(?:client|worker): (\{"protocol".*\})$', DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    kinds = {type(decode(line.encode())) for line in lines}
    assert kinds == {type(message) for message in MESSAGES}


# The real worker


def worker(*options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "meddenoise.worker", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def converse(lines: bytes, *options: str) -> tuple[list[protocol.Message], int]:
    """Say something to a worker, close its stdin, and return all it answered with its exit code."""
    with worker(*options) as process:
        answers, _ = process.communicate(lines, timeout=30)
    return [decode(line) for line in answers.splitlines()], process.returncode


def test_a_worker_greets_and_ends_when_its_stdin_is_closed() -> None:
    (greeting,), code = converse(b"")
    assert isinstance(greeting, ReadyMessage)
    assert greeting.version == meddenoise.__version__
    assert greeting.pid > 0
    assert code == 0


def test_a_worker_says_so_when_it_ends_for_having_nothing_to_do() -> None:
    with worker("--idle-seconds", "0.2") as process:
        assert process.stdout is not None
        answers = [decode(line) for line in process.stdout]  # its stdin stays open
        assert process.wait(10) == 0
    assert [type(answer) for answer in answers] == [ReadyMessage, IdleMessage]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (json.dumps({"protocol": 99, "type": "job"}), "different versions"),
        ("stray text", "not a MedDenoise message"),
        (encode(IdleMessage()).decode().strip(), "does not take"),
    ],
)
def test_a_worker_refuses_what_is_not_its_protocol_and_ends(line: str, sentence: str) -> None:
    (_, answer), code = converse(line.encode() + b"\n")
    assert isinstance(answer, ErrorMessage)
    assert (answer.job, answer.code) == (None, "worker")
    assert sentence in answer.message
    assert code == 1
