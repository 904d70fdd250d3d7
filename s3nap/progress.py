"""Progress for a person at a terminal: bytes, rate, time left and files. What moves the data adds to a number only."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from s3nap.amounts import size

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_A_SECOND = 4  # how often what is shown is brought up to date
_FOLDER = re.compile(rb"(?m)^block \d+: d")

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What is to come: bytes and files, ``about`` so many or just so many; None where nobody knows.

    ``count`` tells how many files there were so far.
    """

    size: int | None = None
    about: bool = False
    files: int | None = None
    count: Callable[[], int] | None = None


Show = Callable[[str, int | Expected | None], AbstractContextManager[Advance]]


@contextmanager
def silent(_title: str, _total: int | Expected | None = None) -> Iterator[Advance]:
    """Show nothing."""
    yield lambda _size: None


class NamesIn:
    """Counts the files that tar has named in its index so far; directories are none."""

    def __init__(self, index: Path) -> None:
        """The index need not be there yet."""
        self._index = index
        self._read = 0
        self._files = 0

    def __call__(self) -> int:
        """Read what is new, up to the last whole line."""
        try:
            with self._index.open("rb") as file:
                file.seek(self._read)
                new = file.read()
        except OSError:  # not yet, or no more
            return self._files
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        self._files += whole.count(b"\n") - len(_FOLDER.findall(whole))
        return self._files


class Tally:
    """A number of files that what writes them adds to, and who watches reads."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> int:
        """Return how many there were so far."""
        return self.number


class _Line:
    """One that is under way."""

    def __init__(self, expected: Expected) -> None:
        self.expected = expected
        self.done = 0

    def advance(self, count: int) -> None:
        self.done += count

    @property
    def total(self) -> int | None:
        """What is expected, as long as that may be right."""
        wish = self.expected.size
        return None if wish is not None and self.expected.about and self.done > wish else wish

    @property
    def amounts(self) -> str:
        """Bytes and files as people read them."""
        about = "~" if self.expected.about else ""
        of = f" of {about}{size(self.total)}" if self.total is not None else ""
        text = size(self.done) + of
        if self.expected.count is not None:
            files = self.expected.files
            text += f", {self.expected.count():,}" + (f" of {about}{files:,}" if files is not None else "") + " files"
        return text


class _Bars:
    """One display for all that is under way at once: several would write over each other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: Progress | None = None
        self._lines: dict[TaskID, _Line] = {}

    @contextmanager
    def bar(self, title: str, total: int | Expected | None = None) -> Iterator[Advance]:
        """Show a line for what is under way, as far as ``total`` (bytes) tells with the time that is left."""
        line = _Line(total if isinstance(total, Expected) else Expected(size=total))
        with self._lock:
            if self._shown is None:
                self._shown = _display(self._lines)
                self._shown.start()
            shown = self._shown
            task = shown.add_task(title, total=line.total, amounts=line.amounts, rate="")
            self._lines[task] = line
        try:
            yield line.advance
        finally:
            with self._lock:
                shown.refresh()  # what is short is seen, too
                del self._lines[task]
                shown.remove_task(task)
                if not self._lines:
                    shown.stop()
                    self._shown = None


def _display(lines: dict[TaskID, _Line]) -> Progress:
    from rich.console import Console, RenderableType  # noqa: PLC0415 - slow to import
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - slow to import

    class Shown(Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            with self._lock:  # a line may end meanwhile
                for task in self.tasks:
                    line = lines.get(task.id)
                    if line is not None:
                        self.update(task.id, completed=line.done, total=line.total, amounts=line.amounts)
                        self.update(task.id, rate=f"{size(int(task.speed))}/s" if task.speed else "")
            yield from super().get_renderables()

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[amounts]}", markup=False),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
    )
    return Shown(*columns, console=Console(stderr=True), transient=True, refresh_per_second=_A_SECOND)


bar = _Bars().bar


def on_terminal(*, quiet: bool) -> Show:
    """Return ``bar`` where somebody watches, ``silent`` elsewhere."""
    return bar if sys.stderr.isatty() and not quiet else silent
