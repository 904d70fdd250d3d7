"""Has this process been asked to end? Known to all its threads, of which only the first one gets the signal."""

from __future__ import annotations

import threading

_asked = threading.Event()


def ask() -> None:
    """Ask all threads to end."""
    _asked.set()


def withdraw() -> None:
    """All have ended: whoever goes on in this process is not meant."""
    _asked.clear()


def check() -> None:
    """Raise KeyboardInterrupt if the process is to end."""
    if _asked.is_set():
        raise KeyboardInterrupt


def sleep(seconds: float) -> None:
    """Sleep; raises KeyboardInterrupt as soon as the process is to end."""
    if _asked.wait(seconds):
        raise KeyboardInterrupt
