"""A process that dies at any step it takes: a fork that counts its steps and ends like ``kill -9`` at the k-th."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from s3nap import pipeline

DIED = 57
_FAILED = 58
_FILES = frozenset({"os.rename", "os.link", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "subprocess.Popen"})


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


def _live(at: int, report: Path, call: Callable[[], None]) -> None:
    try:
        steps = 0

        def step() -> None:
            nonlocal steps
            steps += 1
            if steps == at:
                os._exit(DIED)

        def watch(event: str, args: tuple[object, ...]) -> None:
            writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
            if event in _FILES or writes:
                step()

        wait = pipeline.Running.wait

        def waited(program: pipeline.Running) -> pipeline.Ended:
            ended = wait(program)
            step()
            return ended

        pipeline.Running.wait = waited  # type: ignore[method-assign]
        sys.addaudithook(watch)
        call()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - a fork must never go on as if it were the tests
        report.write_text(traceback.format_exc())
        os._exit(_FAILED)
    os._exit(0)
