"""Progress bars, for a person at a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

Advance = Callable[[int], None]
Show = Callable[[str, int | None], AbstractContextManager[Advance]]


@contextmanager
def silent(_title: str, _total: int | None = None) -> Iterator[Advance]:
    """Show nothing."""
    yield lambda _size: None


class _Bars:
    """One display for all that is under way at once: several would write over each other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: Progress | None = None
        self._lines = 0

    @contextmanager
    def bar(self, title: str, total: int | None = None) -> Iterator[Advance]:
        """Show bytes, rate and, with a ``total`` in bytes, the time left; a line for each that is under way."""
        with self._lock:
            if self._shown is None:
                self._shown = _display()
                self._shown.start()
            shown = self._shown
            line = shown.add_task(title, total=total)
            self._lines += 1
        try:
            yield lambda size: shown.advance(line, size)
        finally:
            with self._lock:
                self._lines -= 1
                shown.remove_task(line)
                if not self._lines:
                    shown.stop()
                    self._shown = None


def _display() -> Progress:
    from rich.console import Console  # noqa: PLC0415 - slow to import
    from rich.progress import (  # noqa: PLC0415 - slow to import
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)


bar = _Bars().bar


def on_terminal(*, quiet: bool) -> Show:
    """Return ``bar`` where somebody watches, ``silent`` elsewhere."""
    return bar if sys.stderr.isatty() and not quiet else silent
