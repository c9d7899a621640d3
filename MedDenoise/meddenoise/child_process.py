"""A child process in a group of its own: its lines in a queue, its last words kept, and it ends with all it started."""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO

#: Lines of stderr that are kept for the report when the child dies.
LAST_WORDS = 50


class ChildProcess:
    """A started child.

    Two daemon threads empty its stdout and stderr, or it would stand still once a pipe is full.

    :param command: program and arguments.
    :param environment: all of the child's environment.
    :param max_line_bytes: longer lines come in pieces.
    :raises OSError: when it cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], max_line_bytes: int) -> None:
        # On Windows no console window may flash up. Elsewhere a session of its own keeps a terminal's Ctrl+C away and
        # makes the whole tree one group that can be signalled (PythonSlicer is a launcher: Python is its child).
        if sys.platform == "win32":
            options = {"creationflags": subprocess.CREATE_NO_WINDOW}
        else:
            options = {"start_new_session": True}
        self._process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            **options,
        )
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin and stdout and stderr  # noqa: PT018 - for the type checker: all are pipes
        self._stdin = stdin
        #: What the child writes to stdout, line by line; None once it is closed.
        self.lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._max_line_bytes = max_line_bytes
        self._last_words: collections.deque[str] = collections.deque(maxlen=LAST_WORDS)
        threading.Thread(target=self._read_lines, args=(stdout,), daemon=True).start()
        self._stderr_reader = threading.Thread(target=self._read_last_words, args=(stderr,), daemon=True)
        self._stderr_reader.start()

    def has_ended(self) -> bool:
        """Return whether the process is no more."""
        return self._process.poll() is not None

    def send(self, line: bytes) -> None:
        """Write to the child's stdin; a child that has ended is noticed by the end of its lines."""
        with contextlib.suppress(OSError):
            self._stdin.write(line)
            self._stdin.flush()

    def ask_to_end(self) -> None:
        """Close its stdin and, where there are signals, send SIGTERM; returns at once.

        Windows' ``terminate`` kills the launcher alone and would leave its child.
        """
        with contextlib.suppress(OSError):
            self._stdin.close()
        if sys.platform != "win32":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGTERM)

    def end(self, patience: float) -> None:
        """End the child and what it started: asks, waits for at most ``patience`` seconds, then kills."""
        if patience > 0:
            self.ask_to_end()
            self._wait(patience)
        self._kill_tree()
        self._wait(1.0)  # a killed process is gone in milliseconds, unless a driver holds it
        with contextlib.suppress(OSError):
            self._stdin.close()

    def how_it_ended(self) -> str:
        """Return a few words on the end of a child that closed its output; waits at most a moment for its end."""
        self._wait(1.0)
        code = self._process.returncode
        if code is None:
            return "it closed its output"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"stopped by signal {signal.Signals(-code).name}"
        return f"exit code {code}"

    def last_words(self) -> list[str]:
        """Return the last lines that it wrote to stderr; waits for the end of it at most a moment."""
        self._stderr_reader.join(0.5)
        return list(self._last_words)

    def _wait(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def _kill_tree(self) -> None:
        if sys.platform == "win32":
            if not self.has_ended():
                with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                    subprocess.run(
                        ["taskkill", "/F", "/T", "/PID", str(self._process.pid)],
                        capture_output=True,
                        timeout=5,
                        creationflags=subprocess.CREATE_NO_WINDOW,
                        check=False,
                    )
                self._process.kill()
        else:
            # The group outlives its leader, and its number is not given away while anyone is in it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _read_lines(self, stdout: IO[bytes]) -> None:
        with stdout as stream:
            for line in iter(lambda: stream.readline(self._max_line_bytes), b""):
                self.lines.put(line)
        self.lines.put(None)

    def _read_last_words(self, stderr: IO[bytes]) -> None:
        with stderr as stream:
            for line in iter(lambda: stream.readline(self._max_line_bytes), b""):
                self._last_words.append(line.decode("utf-8", errors="replace").rstrip())
