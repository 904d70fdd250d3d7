"""Dumps made by one program that writes to standard output, and loads by one that reads standard input."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from s3nap import pipeline
from s3nap.errors import SourceError
from s3nap.sources import Outcome
from s3nap.storage import Data

_SMALL = 1 << 16  # bytes


class ProgramDump:
    """A dump program at work: kept only if it ends with 0 and ``judge`` accepts what it wrote."""

    def __init__(
        self,
        argv: Sequence[str],
        judge: Callable[[int, bytes, str], Outcome],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Start it. ``judge`` gets the stream's length in bytes, its last 4 KiB, and what was said on standard error.

        It raises SourceError if the dump is not whole.
        """
        self._judge = judge
        self._program = pipeline.start(argv, stdout=pipeline.PIPE, env=env, cwd=cwd)
        if self._program.stdout is None:
            raise SourceError(f"{argv[0]} has no output")
        self.stdout: IO[bytes] = self._program.stdout

    def finish(self, raw_size: int, tail: bytes) -> Outcome:
        """Judge status, length and end of the stream."""
        ended = self._program.wait()
        self._program.stderr.close()
        if ended.status != 0:
            raise SourceError(ended.describe())
        return self._judge(raw_size, tail, ended.said)

    def abort(self) -> None:
        """Kill it."""
        self._program.stop()


def feed(
    argv: Sequence[str],
    pieces: Iterator[Data],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a program with ``pieces`` as its standard input; ProgramError, in its words, unless it ends with 0.

    A program that stops reading before the end (tar, at its end mark) is taken at its status; what follows is
    verified all the same.
    """
    program = pipeline.start(argv, stdin=pipeline.PIPE, env=env, cwd=cwd)
    with program.ending():
        gathered = _gathered(pieces)
        for piece in gathered:
            try:
                program.write(piece)
            except BrokenPipeError:
                program.wait().check()
                deque(gathered, maxlen=0)
        program.close_stdin()
        program.wait().check()


def _gathered(pieces: Iterator[Data]) -> Iterator[Data]:
    """Join pieces that are small: a header at a time would wake up the other end for each."""
    held: list[Data] = []
    size = 0
    for piece in pieces:
        large = len(piece) >= _SMALL
        if not large:
            held.append(piece)
            size += len(piece)
        if held and (large or size >= _SMALL):
            yield b"".join(held)
            held, size = [], 0
        if large:
            yield piece
    if held:
        yield b"".join(held)
