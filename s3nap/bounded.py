"""A call to somebody else's server that is given up after a while, however it hangs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


def within(seconds: float, call: Callable[[], str]) -> str:
    """Return what ``call`` returns: what went wrong, or nothing. Its OSErrors, and no end in time, are wrong, too.

    A call that goes on is left alone; it ends with this process at the latest.
    """
    answers: queue.SimpleQueue[str | Exception] = queue.SimpleQueue()

    def make() -> None:
        try:
            answers.put(call())
        except Exception as error:  # noqa: BLE001 - raised again below, in the thread that can act
            answers.put(error)

    threading.Thread(target=make, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        return f"no answer within {seconds:.0f} seconds"
    if isinstance(answer, OSError):
        return str(answer)
    if isinstance(answer, Exception):
        raise answer
    return answer
