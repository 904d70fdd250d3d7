"""The last messages of a run, for those who are told of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message

LIMIT = 10_000
"""Bytes that are kept."""


class Tail:
    """Whole lines, at most ``LIMIT`` bytes of them; the oldest go first. Secrets are masked as in the log."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._size = 0

    def add(self, message: Message) -> None:
        """Keep a message."""
        line = str(message).encode(errors="backslashreplace")
        if len(line) > LIMIT:
            line = line[: LIMIT - 1].decode(errors="ignore").encode() + b"\n"
        self._lines.append(line)
        self._size += len(line)
        while self._size > LIMIT:
            self._size -= len(self._lines.popleft())

    def text(self) -> str:
        """Return what is kept."""
        return b"".join(self._lines).decode()


@contextmanager
def tail() -> Iterator[Tail]:
    """Keep what is logged in the block, from INFO on."""
    kept = Tail()
    sink = logger.add(
        kept.add, level="INFO", format="{time:HH:mm:ss} {level: <8} {message}", colorize=False, backtrace=False
    )
    try:
        yield kept
    finally:
        logger.remove(sink)
