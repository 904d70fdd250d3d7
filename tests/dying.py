"""A process that dies at any step it takes, or whose disk fails there: a fork that counts its steps."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from s3nap import pipeline
from s3nap.storage import Data, Listed, Storage, Stored

DIED = 57
_FAILED = 58
_PATIENCE = 1  # seconds for Ctrl-C to end what hangs in the first thread
_FILES = frozenset({"os.rename", "os.link", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "subprocess.Popen"})
_T = TypeVar("_T")


class _Steps:
    """What happens at the ``at``-th step; the hook of a fork stays, so there is one of these for all."""

    def __init__(self) -> None:
        self.count = 0
        self.at = 0
        self.happens: Callable[[], None] = lambda: None

    def step(self) -> None:
        self.count += 1
        if self.count == self.at:
            self.happens()


_steps: _Steps | None = None  # None: not in a fork


def step() -> None:
    """Take a step that no file shows."""
    if _steps is not None:
        _steps.step()


def dies(at: int, report: Path, call: Callable[[], None]) -> bool:
    """Run ``call`` in a fork; True if it died at its ``at``-th step, False if it ended before.

    A step is whatever changes a file or folder, starts a program, or has seen one end. Nothing of this process
    learns of it, no handler and no ``finally`` runs. What fails in ``call`` fails here, with its traceback.
    """
    child = os.fork()
    if child == 0:
        _live(at, report, call)
    _, status = os.waitpid(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    assert ended in {0, DIED}, report.read_text() if ended == _FAILED else f"ended with {ended}"
    return ended == DIED


def hangs(at: int, report: Path, call: Callable[[], None], *, interrupt: bool) -> bool:
    """Run ``call`` in a fork that hangs at its ``at``-th step, as on a disk that answers no more; False if it ended.

    When it hangs, it gets Ctrl-C, if that is wanted; where that does not end it (another thread hangs), it is killed.
    """
    hung = report.with_name("hung")
    hung.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _live(at, report, lambda: _interruptible(call), lambda: _hang(hung))
    status = _ended(child, hung.exists)
    if status is None and interrupt:
        os.kill(child, signal.SIGINT)
        until = time.monotonic() + _PATIENCE
        status = _ended(child, lambda: time.monotonic() > until)
    if status is None:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    assert ended in {0, DIED, -signal.SIGKILL}, report.read_text() if ended == _FAILED else f"ended with {ended}"
    return hung.exists()


def _ended(child: int, otherwise: Callable[[], bool]) -> int | None:
    """Wait until a child has ended, and return its status; None as soon as something else is the case."""
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        if otherwise():
            return None
        time.sleep(0.01)


def _interruptible(call: Callable[[], None]) -> None:
    try:
        call()
    except KeyboardInterrupt:
        os._exit(DIED)


def _hang(hung: Path) -> None:
    assert _steps is not None
    _steps.at = 0  # what it does after Ctrl-C goes well
    hung.touch()
    while True:
        time.sleep(1)


def steps_of(report: Path, call: Callable[[], None]) -> int:
    """Run ``call`` in a fork and count its steps."""
    counted = report.with_name("steps")

    def counting() -> None:
        call()
        assert _steps is not None
        counted.write_text(str(_steps.count))

    assert not dies(0, report, counting)
    return int(counted.read_text())


def broken(at: int, number: int, call: Callable[[], None]) -> None:
    """In a fork: run ``call`` with a disk that fails with this errno at the ``at``-th step."""
    assert _steps is not None

    def fail() -> None:
        raise OSError(number, os.strerror(number), "a file")

    _steps.count, _steps.at, _steps.happens = 0, at, fail
    call()


def _live(
    at: int, report: Path, call: Callable[[], None], happens: Callable[[], None] = lambda: os._exit(DIED)
) -> None:
    global _steps  # noqa: PLW0603 - of this fork, which ends below
    try:
        _steps = _Steps()
        _steps.at, _steps.happens = at, happens
        wait = pipeline.Running.wait

        def watch(event: str, args: tuple[object, ...]) -> None:
            writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
            if event in _FILES or writes:
                step()

        def waited(program: pipeline.Running, seconds: float | None = None) -> pipeline.Ended:
            ended = wait(program, seconds)
            step()
            return ended

        pipeline.Running.wait = waited  # type: ignore[method-assign]
        sys.addaudithook(watch)
        call()
    except BaseException:  # noqa: BLE001 - a fork must never go on as if it were the tests
        _steps = None
        report.write_text(traceback.format_exc())
        os._exit(_FAILED)
    os._exit(0)


class Stepping:
    """A storage of which each call is a step, before and after."""

    def __init__(self, inner: Storage) -> None:
        self.inner = inner

    @property
    def url(self) -> str:
        return self.inner.url

    def check(self) -> None:
        self._between(self.inner.check)

    def put(self, key: str, data: Data, *, bulk: bool = False) -> Stored:
        return self._between(lambda: self.inner.put(key, data, bulk=bulk))

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        return self._between(lambda: self.inner.get(key, start=start, length=length))

    def list(self, prefix: str) -> Iterator[Listed]:
        return self._between(lambda: self.inner.list(prefix))

    def delete(self, keys: Iterable[str]) -> Sequence[str]:
        return self._between(lambda: self.inner.delete(keys))

    def _between(self, call: Callable[[], _T]) -> _T:
        step()
        result = call()
        step()
        return result
