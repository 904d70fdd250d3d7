"""Programs: started without a shell, in a process group of their own, and judged by how each one ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from loguru import logger

from s3nap.errors import ProgramError

PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL

_STDERR_TAIL = 2000
_PIPE_BYTES = 1 << 20  # what an ordinary user may ask for; fewer switches between the two ends
_running: set[Running] = set()
_running_lock = threading.Lock()
_hidden: list[str] = ["AWS_"]  # children never see the storage's credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended: exit status (negative: killed by that signal) and the end of what it said."""

    argv: tuple[str, ...]
    status: int
    said: str

    @property
    def name(self) -> str:
        """The program's name."""
        return Path(self.argv[0]).name

    def describe(self) -> str:
        """Say for people how it ended, in the program's own words."""
        if self.status < 0:
            how = f"was killed by signal {-self.status} ({signal.strsignal(-self.status)})"
        else:
            how = f"ended with status {self.status}"
        said = "; ".join(line.strip() for line in self.said.splitlines() if line.strip())
        return f"{self.name} {how}" + (f": {said}" if said else "")

    def check(self) -> Ended:
        """Return itself; raise ProgramError unless the status is 0."""
        if self.status != 0:
            raise ProgramError(self.describe())
        return self


class Running:
    """A started program. ``stdin`` and ``stdout`` are set where PIPE was asked for."""

    def __init__(self, argv: Sequence[str], process: subprocess.Popen[bytes], stderr: IO[bytes]) -> None:
        """Take over the process; what it says on standard error goes to ``stderr``, a file."""
        self.argv = tuple(argv)
        self.stdin = process.stdin
        self.stdout = process.stdout
        self.stderr = stderr
        self._process = process
        with _running_lock:
            _running.add(self)

    @property
    def alive(self) -> bool:
        """Does it still run?"""
        return self._process.poll() is None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of ``data`` to standard input, unbuffered; BrokenPipeError if the program reads no more."""
        if self.stdin is None:
            raise ProgramError(f"{self.argv[0]} has no input")
        write_all(self.stdin.fileno(), data)

    def close_stdin(self) -> None:
        """Tell the program that there is no more."""
        if self.stdin is not None:
            self.stdin.close()

    @contextlib.contextmanager
    def ending(self) -> Iterator[None]:
        """Kill the program if the block fails, and close its standard error in any case."""
        try:
            yield
        except BaseException:
            self.kill()
            raise
        finally:
            self.stderr.close()

    def wait(self, seconds: float | None = None) -> Ended:
        """Wait for the end; standard error stays readable in ``stderr`` until it is closed.

        What has not ended within ``seconds`` (None: no limit) is stopped, with all that it started; ProgramError.
        """
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            name = Path(self.argv[0]).name
            raise ProgramError(f"{name} did not end within Timeout ({seconds} seconds) and was killed") from None
        with _running_lock:
            _running.discard(self)
        size = self.stderr.seek(0, os.SEEK_END)
        self.stderr.seek(max(0, size - _STDERR_TAIL))
        said = self.stderr.read().decode(errors="backslashreplace")
        self.stderr.seek(0)
        return Ended(argv=self.argv, status=status, said=said)

    def stop(self) -> None:
        """Kill it and what it started, from any thread; whoever reads from it meets the end of the stream."""
        if self._process.poll() is None:
            with _quiet():
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        with _running_lock:
            _running.discard(self)

    def kill(self) -> None:
        """Stop it, and let go of its pipes."""
        for stream in (self.stdin, self.stdout):
            if stream is not None:
                with _quiet():
                    stream.close()
        self.stop()


class _quiet:  # noqa: N801 - reads as a statement
    """Ignore OSError: the process or its pipe is gone already."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, OSError)


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of ``data``, in as many pieces as the system takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def kill_all() -> None:
    """Kill every program that is still running (on the way out)."""
    with _running_lock:
        programs = list(_running)
    for program in programs:
        program.kill()


def stop_all() -> None:
    """Kill every program that is still running, while other threads work with them: those meet ends of streams."""
    with _running_lock:
        programs = list(_running)
    for program in programs:
        program.stop()


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of child programs: messages in English, and no storage credentials."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(tuple(_hidden))}
    return kept | {"LC_ALL": "C"} | dict(extra or {})


@contextlib.contextmanager
def hiding(*prefixes: str) -> Iterator[None]:
    """Let no program started in the block see environment variables that begin so."""
    _hidden.extend(prefixes)
    try:
        yield
    finally:
        del _hidden[-len(prefixes) :]


def start(  # noqa: PLR0913 - what a program needs
    argv: Sequence[str],
    *,
    stdin: int | IO[bytes] = DEVNULL,
    stdout: int | IO[bytes] = DEVNULL,
    stderr: IO[bytes] | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    user: str | None = None,
) -> Running:
    """Start a program; its standard error goes to a temporary file unless one is given.

    ``user``: as whom, with that user's own group alone; only root may say so.
    Raises ProgramError if it is missing or cannot be started.
    """
    logger.debug("run: {}", shlex.join(argv))
    errors = stderr if stderr is not None else tempfile.TemporaryFile(prefix="s3nap-")  # noqa: SIM115 - Running owns it
    try:
        process = subprocess.Popen(
            [find(argv[0]), *argv[1:]],
            stdin=stdin,
            stdout=stdout,
            stderr=errors,
            cwd=cwd,
            env=environment(env),
            pass_fds=tuple(pass_fds),
            process_group=0,
            user=user,
            group=pwd.getpwnam(user).pw_gid if user is not None else None,
            extra_groups=[] if user is not None else None,
        )
    except (OSError, KeyError) as error:
        raise ProgramError(f"{argv[0]} cannot be started: {error}") from error
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with _quiet():
                fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return Running(argv, process, errors)


def command(words: Sequence[str], *, by_shell: bool) -> list[str]:
    """Return what is started for the words of a directive."""
    return ["/bin/sh", "-c", " ".join(words)] if by_shell else list(words)


def run(  # noqa: PLR0913 - as start
    argv: Sequence[str],
    *,
    stdin: int | IO[bytes] = DEVNULL,
    stdout: int | IO[bytes] = DEVNULL,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    user: str | None = None,
) -> Ended:
    """Start a program and wait for its end; the caller judges it."""
    program = start(argv, stdin=stdin, stdout=stdout, cwd=cwd, env=env, pass_fds=pass_fds, user=user)
    with program.ending():
        return program.wait()


def output(argv: Sequence[str], *, env: Mapping[str, str] | None = None, seconds: float | None = None) -> str:
    """Return what a short program prints; ProgramError unless it ends with 0, and within ``seconds`` (None: any)."""
    with tempfile.TemporaryFile(prefix="s3nap-") as printed:
        program = start(argv, stdout=printed, env=env)
        with program.ending():
            program.wait(seconds).check()
        printed.seek(0)
        return printed.read().decode(errors="backslashreplace")


def find(program: str) -> str:
    """Return the path of a program; ProgramError, saying what to do, if it is not installed."""
    path = _which(program, os.environ.get("PATH", ""))
    if path is None:
        raise ProgramError(f"{program} is not installed or not on PATH ({os.environ.get('PATH', '')}): install it")
    return path


@cache
def _which(program: str, path: str) -> str | None:
    return shutil.which(program, path=path)


def version(program: str) -> str:
    """Return the version number a program prints for ``--version``, ``?`` if it prints none."""
    return _version(find(program))


@cache
def _version(path: str) -> str:
    match = re.search(r"\d+(\.\d+)+", output([path, "--version"]))
    return match.group() if match else "?"
