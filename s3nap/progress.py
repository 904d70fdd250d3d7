"""Progress bars, for a person at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[[int], None]
Show = Callable[[str, int | None], AbstractContextManager[Advance]]


@contextmanager
def silent(_title: str, _total: int | None = None) -> Iterator[Advance]:
    """Show nothing."""
    yield lambda _size: None


@contextmanager
def bar(title: str, total: int | None = None) -> Iterator[Advance]:
    """Show bytes, rate and, with a ``total`` in bytes, the time left."""
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
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        line = shown.add_task(title, total=total)
        yield lambda size: shown.advance(line, size)


def on_terminal(*, quiet: bool) -> Show:
    """Return ``bar`` where somebody watches, ``silent`` elsewhere."""
    return bar if sys.stderr.isatty() and not quiet else silent
