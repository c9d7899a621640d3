"""The client and the real child process: results, progress, cancel; and each way in which it can go wrong.

Every test must leave no child and no temporary file behind: a fixture looks.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

import meddenoise
from meddenoise import worker_client
from meddenoise.catalogue import DEFAULT_MODEL, find_model
from meddenoise.denoiser import Denoiser
from meddenoise.errors import (
    Cancelled,
    DeviceError,
    InputError,
    MedDenoiseError,
    MissingPackageError,
    OutOfMemoryError,
    OutputError,
    WeightsError,
    WorkerError,
)
from meddenoise.worker import describe_failure
from meddenoise.worker_client import Done, Event, Failed, Progress, Ready, WorkerClient

resource = pytest.importorskip("resource", reason="these tests limit and kill processes as only Unix can")

SETTINGS = {"device": "cpu", "threads": 1}
#: Seconds of work, so that "in the middle" is never the end.
LONG_VOLUME = np.zeros((3000, 96, 96), dtype=np.int16)


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Point temporary files to a folder of the test's own; at the end it must be empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def client() -> Iterator[WorkerClient]:
    with WorkerClient() as client:
        yield client


@pytest.fixture(scope="module")
def warm_client() -> Iterator[WorkerClient]:
    """Return a client that tests share which leave its child alive; Python's own warnings are off in it."""
    with WorkerClient(environment={**os.environ, "PYTHONWARNINGS": "ignore"}) as client:
        yield client


def volume_of(shape: tuple[int, ...] = (4, 24, 20), dtype: str = "int16") -> np.ndarray:
    return np.random.default_rng(0).normal(60, 25, shape).clip(0, 120).astype(dtype)


def end_of(client: WorkerClient) -> list[Event]:
    """Poll to the end of a job and return all events."""
    events: list[Event] = []
    deadline = time.monotonic() + 60
    while not (events and isinstance(events[-1], (Done, Failed))):
        assert time.monotonic() < deadline, f"no end came after {events[-3:]}"
        events += client.poll(0.05)
    assert sum(isinstance(event, (Done, Failed)) for event in events) == 1
    return events


def failure_of(client: WorkerClient) -> Failed:
    event = end_of(client)[-1]
    assert isinstance(event, Failed)
    sentence = str(event.error)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    return event


def child_of(client: WorkerClient) -> int | None:
    """Give the client a job that ends before torch is imported; return the number of the child if it is a new one."""
    client.start(volume_of(), model="no such model")
    events = end_of(client)
    assert isinstance(events[-1], Failed)
    assert isinstance(events[-1].error, WeightsError)
    return next((event.pid for event in events if isinstance(event, Ready)), None)


def start_and_reach(client: WorkerClient, weights: Path, slices: int) -> int:
    """Start a long job, wait until so many slices are done, and return the child's process number."""
    client.start(LONG_VOLUME, model=weights, **SETTINGS)
    pid = 0
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for event in client.poll(0.05):
            assert not isinstance(event, (Done, Failed)), event
            if isinstance(event, Ready):
                pid = event.pid
            if isinstance(event, Progress) and event.done >= slices:
                return pid
    raise AssertionError("the job does not get going")


def is_gone(pid: int) -> bool:
    """Return whether a process ends soon."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:  # an orphan that nobody reaps
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def as_python(folder: Path, shell: str) -> Path:
    """Return a program to take for the interpreter: a shell script, in which $PYTHON is the real one."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\nPYTHON='{sys.executable}'\n{shell}\n")
    program.chmod(0o755)
    return program


def as_worker(folder: Path, code: str) -> Path:
    """Return a program to take for the interpreter that runs this Python code instead of the worker."""
    script = folder / "fake_worker.py"
    script.write_text(f"import sys, time\nfrom meddenoise.protocol import *\n{code}\n")
    return as_python(folder, f'exec "$PYTHON" -u "{script}"')


SAY_READY = "print(encode(ReadyMessage('0', '3', 1)).decode(), end='')\nsys.stdin.readline()\n"


# What it is for


@pytest.mark.parametrize("dtype", ["int16", "uint8", ">i2", "int64", "uint64", "float16", "float32", "float64"])
def test_the_result_is_the_denoisers_own_to_the_bit(warm_client: WorkerClient, tiny_weights: Path, dtype: str) -> None:
    volume = volume_of(dtype=dtype)[::2, :, ::-1]
    volume.flags.writeable = False
    result = warm_client.denoise(volume, model=tiny_weights, strength=0.75, **SETTINGS)
    denoiser = Denoiser(tiny_weights, device="cpu", threads=1)
    expected = denoiser.denoise(volume, strength=0.75)
    assert result.array.dtype == volume.dtype
    np.testing.assert_array_equal(result.array, expected)
    assert not np.array_equal(result.array, volume)
    assert (result.model_sha256, result.device, result.version) == (denoiser.sha256, "cpu", meddenoise.__version__)
    assert result.precision == denoiser.precision
    assert result.seconds > 0
    assert result.warnings == ()


def test_the_best_quality_and_its_spread_come_through_the_pipe(warm_client: WorkerClient, tiny_weights: Path) -> None:
    volume = volume_of()
    result = warm_client.denoise(volume, model=tiny_weights, device="cpu", quality="best", spread=True)
    spread = np.empty(volume.shape, np.float32)
    best = Denoiser(tiny_weights, device="cpu").denoise(volume, quality="best", spread=spread)
    np.testing.assert_array_equal(result.array, best)
    np.testing.assert_array_equal(result.spread, spread)
    assert spread.max() > 0.1
    with pytest.raises(InputError, match="needs the quality 'best'"):
        warm_client.denoise(volume, model=tiny_weights, device="cpu", spread=True)
    with pytest.raises(InputError, match="no quality 'highest'"):
        warm_client.denoise(volume, model=tiny_weights, device="cpu", quality="highest")
    assert warm_client.denoise(volume, model=tiny_weights, device="cpu").spread is None


def test_the_default_strength_is_the_cards(warm_client: WorkerClient, mild_weights: Path) -> None:
    volume = volume_of()
    result = warm_client.denoise(volume, model=mild_weights, device="cpu")
    assert result.default_strength == 0.35
    np.testing.assert_array_equal(result.array, Denoiser(mild_weights, device="cpu").denoise(volume, strength=0.35))


def test_the_worker_takes_the_default_model_and_names_it(warm_client: WorkerClient) -> None:
    volume = volume_of()
    result = warm_client.denoise(volume, device="cpu")
    assert result.model == find_model(DEFAULT_MODEL, "cpu").name
    assert result.model_sha256 == find_model(DEFAULT_MODEL, "cpu").sha256
    np.testing.assert_array_equal(result.array, Denoiser("fast", device="cpu").denoise(volume))
    assert warm_client.denoise(volume, model="fast", device="cpu").model == "fast"


def test_the_result_is_ordinary_memory_that_outlives_client_and_file(
    warm_client: WorkerClient, tiny_weights: Path
) -> None:
    result = warm_client.denoise(volume_of(), model=tiny_weights, **SETTINGS)
    assert type(result.array) is np.ndarray
    assert result.array.flags.writeable
    base = result.array
    while base is not None:
        assert not isinstance(base, np.memmap)
        base = getattr(base, "base", None)


def test_progress_counts_up_to_the_end(warm_client: WorkerClient, tiny_weights: Path) -> None:
    warm_client.start(volume_of((400, 64, 64)), model=tiny_weights, **SETTINGS)
    progress = [event for event in end_of(warm_client) if isinstance(event, Progress)]
    done = [event.done for event in progress]
    assert (done[0], done[-1]) == (0, 400)
    assert done == sorted(set(done))
    assert {event.total for event in progress} == {400}
    assert progress[0].seconds_left is None
    assert progress[-1].seconds_left == 0
    assert all(event.seconds_left > 0 for event in progress[1:-1])


def test_a_child_stays_warm_and_loads_a_changed_model_anew(
    client: WorkerClient, tiny_weights: Path, tmp_path: Path
) -> None:
    from meddenoise.network import seeded_network
    from meddenoise.weights import read_card, save_weights

    weights = tmp_path / "own.safetensors"
    card = read_card(tiny_weights)
    hashes, pids = [], []
    for seed, time_of_file in ((3, 1000), (4, 1000), (4, 2000)):  # by its time the second file is the first one
        save_weights(weights, seeded_network(card.architecture, seed), card)
        os.utime(weights, (time_of_file, time_of_file))
        client.start(volume_of(), model=weights, **SETTINGS)
        events = end_of(client)
        assert isinstance(events[-1], Done)
        hashes.append(events[-1].result.model_sha256)
        pids += [event.pid for event in events if isinstance(event, Ready)]
    assert len(pids) == 1
    assert hashes[0] == hashes[1] != hashes[2]
    client.close()
    assert is_gone(pids[0])


def test_threads_of_an_earlier_job_do_not_stay(tiny_weights: Path, tmp_path: Path) -> None:
    """Torch keeps its number of threads for the whole process; a worker that writes it down shows it."""
    code = (
        "from meddenoise import devices, worker\nfrom pathlib import Path\n"
        "class Spy(worker.Worker):\n"
        "    def _denoise(self, job):\n"
        "        done = super()._denoise(job)\n"
        f"        with Path({str(tmp_path / 'threads')!r}).open('a') as file:\n"
        "            print(devices.import_torch().get_num_threads(), file=file)\n"
        "        return done\n"
        "worker.Worker = Spy\nworker.main()"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with WorkerClient(python=as_worker(tmp_path, code), environment=environment) as client:
        for threads in (None, 2, None):
            client.denoise(volume_of(), model=tiny_weights, device="cpu", threads=threads)
    assert (tmp_path / "threads").read_text(encoding="utf-8").split() == ["1", "2", "1"]


def test_warnings_on_the_input_come_with_the_result(warm_client: WorkerClient, tiny_weights: Path) -> None:
    volume = volume_of(dtype="float32")
    volume[1, 2, 3] = np.nan
    result = warm_client.denoise(volume, model=tiny_weights, **SETTINGS)
    assert len(result.warnings) == 1
    assert "1 voxel" in result.warnings[0]
    assert np.isnan(result.array[1, 2, 3])


def test_a_weights_file_is_found_from_whatever_folder(
    warm_client: WorkerClient, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm_client.denoise(volume_of(), model=tiny_weights, **SETTINGS)  # the child keeps the folder it was started in
    monkeypatch.chdir(tiny_weights.parent)
    assert warm_client.denoise(volume_of(), model=tiny_weights.name, **SETTINGS).model_sha256


def test_files_are_for_this_user_alone(client: WorkerClient, tiny_weights: Path, temporary_folder: Path) -> None:
    client.start(volume_of(), model=tiny_weights, **SETTINGS)
    (folder,) = temporary_folder.iterdir()
    assert folder.stat().st_mode & 0o077 == 0


# Cancel and close


def test_cancel_in_the_middle_keeps_the_child(client: WorkerClient, tiny_weights: Path) -> None:
    pid = start_and_reach(client, tiny_weights, slices=5)
    client.cancel()
    client.cancel()
    events = end_of(client)
    assert isinstance(events[-1], Failed)
    assert isinstance(events[-1].error, Cancelled)
    assert all(event.done < len(LONG_VOLUME) for event in events if isinstance(event, Progress))
    client.start(volume_of(), model=tiny_weights, **SETTINGS)
    events = end_of(client)
    assert isinstance(events[-1], Done)
    assert not [event for event in events if isinstance(event, Ready)]  # the same child
    assert psutil.pid_exists(pid)


def test_cancel_that_comes_too_late_is_a_cancel_all_the_same(warm_client: WorkerClient, tiny_weights: Path) -> None:
    warm_client.denoise(volume_of(), model=tiny_weights, **SETTINGS)
    warm_client.start(volume_of(), model=tiny_weights, **SETTINGS)
    time.sleep(0.5)  # done by now, most likely; the outcome must not depend on it
    warm_client.cancel()
    assert isinstance(failure_of(warm_client).error, Cancelled)


def test_the_synchronous_call_can_be_cancelled(warm_client: WorkerClient, tiny_weights: Path) -> None:
    seen: list[int] = []
    with pytest.raises(Cancelled):
        warm_client.denoise(
            LONG_VOLUME,
            model=tiny_weights,
            progress=lambda done, total: seen.append(done),
            cancel=lambda: bool(seen and seen[-1] > 3),
            **SETTINGS,
        )
    assert 3 < seen[-1] < len(LONG_VOLUME)


def test_a_hanging_child_is_killed_on_cancel(
    client: WorkerClient, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = start_and_reach(client, tiny_weights, slices=1)
    monkeypatch.setattr(worker_client, "CANCEL_PATIENCE", 0.3)
    os.kill(pid, signal.SIGSTOP)  # deaf to the message and to SIGTERM
    client.cancel()
    assert isinstance(failure_of(client).error, Cancelled)
    assert is_gone(pid)


def test_a_child_that_ignores_the_cancel_is_terminated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_client, "CANCEL_PATIENCE", 0.5)
    deaf = (
        "import signal\n"
        "def last_words(*_):\n"
        f"    open({str(tmp_path / 'terminated')!r}, 'w').close()\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, last_words)\n"
    )
    with WorkerClient(python=as_worker(tmp_path, deaf + SAY_READY + "time.sleep(60)")) as client:
        client.start(volume_of())
        client.poll(10)
        client.cancel()
        assert isinstance(failure_of(client).error, Cancelled)
    assert (tmp_path / "terminated").exists()


def test_close_in_the_middle_ends_the_child_and_can_be_repeated(client: WorkerClient, tiny_weights: Path) -> None:
    pid = start_and_reach(client, tiny_weights, slices=1)
    client.close()
    assert is_gone(pid)
    client.close()
    assert client.poll(1) == []
    with pytest.raises(WorkerError, match="closed"):
        client.start(volume_of())


def test_a_callback_that_raises_ends_the_job(client: WorkerClient, tiny_weights: Path, temporary_folder: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.denoise(LONG_VOLUME, model=tiny_weights, progress=interrupt, **SETTINGS)
    assert list(temporary_folder.iterdir()) == []
    assert child_of(client) is not None  # another one


def test_one_job_at_a_time(warm_client: WorkerClient, tiny_weights: Path) -> None:
    warm_client.start(volume_of(), model=tiny_weights, **SETTINGS)
    with pytest.raises(WorkerError, match="already"):
        warm_client.start(volume_of(), model=tiny_weights, **SETTINGS)
    assert isinstance(end_of(warm_client)[-1], Done)


@pytest.mark.timeout(30)
def test_poll_does_not_wait_for_a_child_that_never_stops_talking(tmp_path: Path) -> None:
    talk = (
        "for i in range(10**9):\n"
        "    print(encode(ProgressMessage('1', i, 10**9, None)).decode(), end='')\n"
        "    time.sleep(0.002)"
    )
    with WorkerClient(python=as_worker(tmp_path, SAY_READY + talk)) as client:
        client.start(volume_of())
        events = [event for _ in range(20) for event in client.poll(0.2)]
    assert [event for event in events if isinstance(event, Progress)]


# What the user gets wrong


@pytest.mark.parametrize(
    "volume",
    [
        np.zeros((3, 4)),
        np.zeros((0, 4, 4)),
        np.zeros((2, 2, 2), dtype=complex),
        np.full((2, 2, 2), None),
        [[1, 2], [3]],
    ],
    ids=["flat", "empty", "complex", "objects", "ragged"],
)
def test_what_is_no_volume_is_refused_without_a_child(volume: object) -> None:
    with WorkerClient(python="/nowhere/python") as client:
        client.start(volume)
        assert isinstance(failure_of(client).error, InputError)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"strength": 1.5}, InputError),
        ({"strength": float("nan")}, InputError),
        ({"strength": "strong"}, InputError),
        ({"threads": 0}, InputError),
        ({"device": "abacus"}, DeviceError),
        ({"device": "cuda:99"}, DeviceError),
        ({"model": "no such model"}, WeightsError),
        ({"model": Path("/nowhere/x.safetensors")}, WeightsError),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else value.__name__,
)
def test_errors_of_the_denoiser_come_as_they_are(
    warm_client: WorkerClient, tiny_weights: Path, settings: dict, kind: type[MedDenoiseError]
) -> None:
    warm_client.start(volume_of(), **{"model": tiny_weights, **SETTINGS, **settings})
    failure = failure_of(warm_client)
    assert type(failure.error) is kind
    assert failure.details == ""


def test_idle_seconds_that_leave_no_time_for_a_job_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        WorkerClient(idle_seconds=0)


# What goes wrong by itself


def test_a_killed_child_is_one_clear_error_and_the_next_job_gets_another(
    client: WorkerClient, tiny_weights: Path
) -> None:
    pid = start_and_reach(client, tiny_weights, slices=1)
    os.kill(pid, signal.SIGKILL)
    failure = failure_of(client)
    assert isinstance(failure.error, WorkerError)
    assert "SIGKILL" in str(failure.error)
    assert child_of(client) not in (pid, None)


def test_a_child_killed_between_jobs_is_replaced_unnoticed(client: WorkerClient) -> None:
    pid = child_of(client)
    assert pid is not None
    assert child_of(client) is None  # the same
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # until all its threads are gone; reaped by the client
    assert child_of(client) not in (pid, None)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("print('Hello, I am a library.'); time.sleep(60)", "not a MedDenoise message"),
        ("sys.stdout.buffer.write(bytes(range(256)) * 9000); sys.stdout.flush(); time.sleep(60)", "not a MedDenoise"),
        ('print(\'{"protocol": 99, "type": "ready"}\'); time.sleep(60)', "different versions"),
        (SAY_READY + 'print(\'{"protocol": 1, "type": "progress"}\'); time.sleep(60)', "not as it should be"),
        (SAY_READY + "print(encode(CancelMessage('1')).decode()); time.sleep(60)", "out of turn"),
        (SAY_READY + "print(encode(ProgressMessage('8', 1, 2, 1)).decode()); time.sleep(60)", "out of turn"),
        (SAY_READY + "print(encode(DoneMessage('1', '', '', 1, [], '')).decode()); time.sleep(60)", "cannot be read"),
        (SAY_READY + "sys.exit(0)", "exit code 0"),
        ("sys.exit('no numpy here')", "exit code 1: no numpy here"),
        ("import os; os.close(1); time.sleep(60)", "could not run"),
    ],
    ids=["text", "binary", "version", "fields", "direction", "job", "no output", "exit", "no start", "closed pipe"],
)
def test_nonsense_on_the_pipe_is_one_clear_error(tmp_path: Path, code: str, sentence: str) -> None:
    code = f"import os; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n" + code
    with WorkerClient(python=as_worker(tmp_path, code)) as client:
        client.start(volume_of())
        failure = failure_of(client)
        assert isinstance(failure.error, WorkerError)
        assert sentence in str(failure.error)
        assert is_gone(int((tmp_path / "pid").read_text(encoding="utf-8")))  # already now, not only after close


def test_a_result_that_is_too_short_is_refused(tmp_path: Path) -> None:
    code = (
        "print(encode(ReadyMessage('0', '3', 1)).decode(), end='')\n"
        "job = decode(sys.stdin.readline().encode())\n"
        "open(job.output, 'wb').write(b'12345')\n"
        "print(encode(DoneMessage(job.job, '', '', 1, [], '')).decode(), end='')\n"
        "time.sleep(60)"
    )
    with WorkerClient(python=as_worker(tmp_path, code)) as client:
        client.start(volume_of())
        assert "not complete" in str(failure_of(client).error)


@pytest.mark.parametrize("python", ["/nowhere/python", __file__, "a\0b"], ids=["absent", "no program", "no name"])
def test_an_interpreter_that_cannot_be_started_is_named(python: str) -> None:
    with WorkerClient(python=python) as client:
        client.start(volume_of())
        failure = failure_of(client)
    assert isinstance(failure.error, WorkerError)
    assert "cannot be started" in str(failure.error)


def test_without_torch_the_child_is_there_and_says_what_is_missing(tiny_weights: Path, tmp_path: Path) -> None:
    """The stand-in for torch prints as well, in Python and below it: neither may get into the protocol."""
    blocker = tmp_path / "without_torch"
    blocker.mkdir()
    (blocker / "torch.py").write_text(
        "import os\nprint('from Python')\nos.write(1, b'from C')\nassert os.read(0, 9) == b''\n"
        "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"
    )
    with WorkerClient(environment={**os.environ, "PYTHONPATH": str(blocker)}) as client:
        client.start(volume_of(), model=tiny_weights)
        events = end_of(client)
    assert isinstance(events[0], Ready)
    assert isinstance(events[-1], Failed)
    assert isinstance(events[-1].error, MissingPackageError)
    assert "PyTorch" in str(events[-1].error)


def test_an_interpreter_with_no_package_at_all_finds_this_one_and_names_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with WorkerClient(python=as_python(tmp_path, 'exec "$PYTHON" -S "$@"')) as client:
        client.start(volume_of())
        events = end_of(client)
    assert isinstance(events[0], Ready)
    assert isinstance(events[-1], Failed)
    assert isinstance(events[-1].error, MissingPackageError)
    assert "'numpy'" in str(events[-1].error)


def test_a_numpy_in_the_folder_of_the_caller_is_not_imported(
    client: WorkerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("Python 3.10 always looks into the current folder")
    (tmp_path / "numpy.py").write_text("raise RuntimeError('not me')")
    monkeypatch.chdir(tmp_path)
    assert child_of(client) is not None


def test_what_nobody_expected_comes_with_its_traceback(tiny_weights: Path, tmp_path: Path) -> None:
    blocker = tmp_path / "broken"
    blocker.mkdir()
    (blocker / "torch.py").write_text("def get_num_threads():\n    return 1 / 0\n")
    with WorkerClient(environment={**os.environ, "PYTHONPATH": str(blocker)}) as client:
        client.start(volume_of(), model=tiny_weights)
        failure = failure_of(client)
        with pytest.raises(MedDenoiseError, match="ZeroDivisionError") as caught:
            client.denoise(volume_of(), model=tiny_weights)
    assert type(failure.error) is MedDenoiseError
    assert "ZeroDivisionError" in str(failure.error)
    assert "in get_num_threads" in failure.details
    assert "in get_num_threads" in str(caught.value.__cause__)


def test_a_disk_that_is_full_for_the_input(client: WorkerClient, temporary_folder: Path) -> None:
    """The largest file allowed stands for the size of the disk: a write beyond it fails as on a full one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        client.start(volume_of((8, 128, 128)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    failure = failure_of(client)
    assert isinstance(failure.error, OutputError)
    assert f"free at least 1 MB in {temporary_folder}" in str(failure.error)


def test_a_disk_that_is_full_for_the_output(tmp_path: Path, temporary_folder: Path) -> None:
    limited = as_python(tmp_path, 'ulimit -f 100\nexec "$PYTHON" "$@"')
    with WorkerClient(python=limited, environment={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}) as client:
        client.start(volume_of((8, 128, 128)))
        failure = failure_of(client)
    assert isinstance(failure.error, OutputError)
    assert f"free at least 1 MB in {temporary_folder}" in str(failure.error)


def test_no_room_is_left_to_chance_once_the_output_is_reserved(tmp_path: Path) -> None:
    """A hole in a mapped file would kill the process when the disk is full: every block is there before."""
    from meddenoise.exchange_files import reserve_volume_file

    output = reserve_volume_file(tmp_path / "output.raw", (3, 700, 701), "<i2")
    assert not output.any()
    status = (tmp_path / "output.raw").stat()
    assert status.st_size == 3 * 700 * 701 * 2
    assert status.st_blocks * 512 >= status.st_size


def test_without_a_folder_for_temporary_files(client: WorkerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    client.start(volume_of())
    assert isinstance(failure_of(client).error, OutputError)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process can be set on Linux only")
def test_out_of_memory_in_the_child_leaves_it_usable(client: WorkerClient, tiny_weights: Path) -> None:
    client.start(volume_of(), model=tiny_weights, **SETTINGS)
    (pid,) = [event.pid for event in end_of(client) if isinstance(event, Ready)]
    for room in (40_000_000, 1_000_000):  # not enough for the network; not even for the memory maps
        size = psutil.Process(pid).memory_info().vms
        resource.prlimit(pid, resource.RLIMIT_AS, (size + room, resource.RLIM_INFINITY))
        client.start(volume_of((1, 3000, 3000)), model=tiny_weights, **SETTINGS)
        failure = failure_of(client)
        assert isinstance(failure.error, OutOfMemoryError)
        assert "close other programs" in str(failure.error)
        resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    client.start(volume_of(), model=tiny_weights, **SETTINGS)
    events = end_of(client)
    assert isinstance(events[-1], Done)
    assert not [event for event in events if isinstance(event, Ready)]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out_of_memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out_of_memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the manual."), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), "out_of_memory"),
        (ModuleNotFoundError("No module named 'safetensors'", name="safetensors"), "missing_package"),
        (RuntimeError("shape mismatch"), "error"),
        (OSError(errno.EIO, "Input/output error"), "error"),
        (KeyError(), "error"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_exception_becomes_one_sentence(error: Exception, code: str) -> None:
    message = describe_failure("1", error)
    assert message.code == code
    assert message.message.endswith(".")
    assert "\n" not in message.message
    assert type(error).__name__ in message.details


# Nobody stays behind


def test_a_child_ends_with_its_client_and_removes_the_volume(
    tiny_weights: Path, tmp_path: Path, temporary_folder: Path
) -> None:
    script = tmp_path / "client.py"
    script.write_text(
        "import sys, numpy as np\nfrom meddenoise.worker_client import *\n"
        "client = WorkerClient()\n"
        f"client.start(np.zeros({LONG_VOLUME.shape}, 'int16'), model={str(tiny_weights)!r}, device='cpu', threads=1)\n"
        "while True:\n"
        "    for event in client.poll(0.05):\n"
        "        print(getattr(event, 'pid', ''), getattr(event, 'done', 0), flush=True)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline().split()[0])
        while int(parent.stdout.readline().split()[-1]) < 1:
            pass
        assert len(list(temporary_folder.rglob("*.raw"))) == 2
        parent.kill()
    assert is_gone(pid)


def test_a_client_that_nobody_closed_is_closed_when_python_ends(tiny_weights: Path, tmp_path: Path) -> None:
    script = tmp_path / "client.py"
    script.write_text(
        "import os, signal, numpy as np\nfrom meddenoise import worker_client\n"
        "worker_client.CANCEL_PATIENCE = 0.3\n"
        "client = worker_client.WorkerClient()\n"
        f"client.start(np.zeros({LONG_VOLUME.shape}, 'int16'), model={str(tiny_weights)!r}, device='cpu', threads=1)\n"
        "event, = client.poll(20)\nprint(event.pid)\n"
        "os.kill(event.pid, signal.SIGSTOP)\n"  # it does not notice by itself
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True)
    assert is_gone(int(run.stdout))
    assert run.stderr == ""


def test_an_idle_child_ends_and_the_next_job_starts_another() -> None:
    with WorkerClient(idle_seconds=1) as client:
        first = child_of(client)
        assert first is not None
        assert is_gone(first)
        assert child_of(client) not in (first, None)


def test_a_job_that_crosses_the_farewell_of_an_idle_child_goes_to_another(tiny_weights: Path, tmp_path: Path) -> None:
    farewell = as_worker(tmp_path, SAY_READY + "print(encode(IdleMessage()).decode(), end='')").read_text(
        encoding="utf-8"
    )
    once = tmp_path / "once"
    script = farewell.replace("exec", f'[ -e "{once}" ] && exec "$PYTHON" "$@"\ntouch "{once}"\nexec')
    with WorkerClient(python=as_python(tmp_path, script)) as client:
        client.start(volume_of(), model=tiny_weights, **SETTINGS)
        events = end_of(client)
    assert once.exists()
    assert isinstance(events[-1], Done)
    assert len([event for event in events if isinstance(event, Ready)]) == 2


def test_a_child_that_is_always_idle_is_an_error_not_a_loop(tmp_path: Path) -> None:
    farewell = as_worker(tmp_path, SAY_READY + "print(encode(IdleMessage()).decode(), end='')")
    with WorkerClient(python=farewell) as client:
        client.start(volume_of())
        assert isinstance(failure_of(client).error, WorkerError)


@pytest.mark.parametrize("way", ["cancel", "close"])
def test_the_whole_tree_ends_even_behind_a_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """PythonSlicer is a launcher that waits for the Python it started; this one is deaf to all that is not a kill."""
    monkeypatch.setattr(worker_client, "CANCEL_PATIENCE", 0.3)
    deaf = (
        "import os, signal\n"
        "for number in (signal.SIGTERM, signal.SIGHUP):\n    signal.signal(number, signal.SIG_IGN)\n"
        "print(encode(ReadyMessage('0', '3', os.getpid())).decode(), end='')\ntime.sleep(60)"
    )
    as_worker(tmp_path, deaf)
    launcher = as_python(tmp_path, f'"$PYTHON" -u "{tmp_path / "fake_worker.py"}"\nexit $?')
    with WorkerClient(python=launcher) as client:
        client.start(volume_of())
        (ready,) = client.poll(10)
        assert isinstance(ready, Ready)
        if way == "cancel":
            client.cancel()
            assert isinstance(failure_of(client).error, Cancelled)
        else:
            client.close()
        assert is_gone(ready.pid)
