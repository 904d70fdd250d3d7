"""A call that is given up after a while, however it hangs: to somebody else's server, or to a dead network mount."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


class LateError(OSError):
    """A call has not ended in time."""


def within(seconds: float | None, call: Callable[[], _T]) -> _T:
    """Return what ``call`` returns, or raise what it raises; LateError if it has not ended within ``seconds``.

    A call that goes on is left alone; it ends with this process at the latest. None: no limit, and no thread.
    """
    if seconds is None:
        return call()
    answers: queue.SimpleQueue[tuple[_T] | BaseException] = queue.SimpleQueue()

    def make() -> None:
        try:
            answers.put((call(),))
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that can act
            answers.put(error)

    threading.Thread(target=contextvars.copy_context().run, args=(make,), daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise LateError(f"no answer within {seconds:g} seconds") from None
    if isinstance(answer, BaseException):
        raise answer
    return answer[0]


def asked(seconds: float, call: Callable[[], str]) -> str:
    """Return what ``call`` returns, which is what went wrong; OSErrors and no answer in time are wrong, too."""
    try:
        return within(seconds, call)
    except OSError as error:
        return str(error)
