r"""tar's snapshot (``--listed-incremental``, format 2), read and rewritten as a stream.

``GNU tar-<version>-2\n``, ``sec\0nsec\0``, then for each directory
``nfs\0sec\0nsec\0dev\0ino\0name\0`` and its entries, each a letter and a name, ``\0``, ended by two more ``\0``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from s3nap.errors import SourceError

_BLOCK = 1 << 20
_HEADER_END = b"-2\n"


@dataclass(frozen=True, slots=True)
class Directory:
    """The record of one directory: nfs, sec, nsec, dev, inode, name (relative to tar's ``-C``), entries."""

    facts: tuple[bytes, bytes, bytes, bytes]
    inode: int
    name: bytes
    entries: tuple[bytes, ...]

    def encoded(self) -> bytes:
        """Return the record as tar reads it."""
        return b"\0".join([*self.facts, b"%d" % self.inode, self.name, *self.entries, b"", b"", b""])


class Snapshot:
    """A snapshot file: its time in nanoseconds, and its directories, each read when iterated over."""

    def __init__(self, path: Path) -> None:
        """Read the header; SourceError if this is no snapshot of a tar that we know."""
        self._path = path
        with path.open("rb") as file:
            self._header = file.readline(100)
            tokens = _tokens(file)
            try:
                seconds, nanoseconds = next(tokens), next(tokens)
                self.time = int(seconds) * 10**9 + int(nanoseconds)
            except (ValueError, StopIteration) as error:
                raise SourceError(f"{path}: is not a snapshot of GNU tar: {error}") from error
        if not self._header.startswith(b"GNU tar-") or not self._header.endswith(_HEADER_END):
            raise SourceError(f"{path}: is not a snapshot in tar's format 2")
        self._start = len(self._header) + len(seconds) + len(nanoseconds) + 2

    def __iter__(self) -> Iterator[Directory]:
        with self._path.open("rb") as file:
            file.seek(self._start)
            tokens = _tokens(file)
            try:
                for nfs in tokens:
                    yield _directory(nfs, tokens)
            except (ValueError, StopIteration, RuntimeError) as error:
                raise SourceError(f"{self._path}: tar's snapshot is damaged: {error}") from error

    def rewrite(self, target: Path, keep: Callable[[Directory], Directory | None], time: int | None = None) -> None:
        """Write the snapshot to ``target`` with each record as ``keep`` returns it (None: without it)."""
        seconds, nanoseconds = divmod(self.time if time is None else time, 10**9)
        with target.open("wb") as file:
            file.write(self._header + b"%d\0%d\0" % (seconds, nanoseconds))
            for record in self:
                kept = keep(record)
                if kept is not None:
                    file.write(kept.encoded())


def _directory(nfs: bytes, tokens: Iterator[bytes]) -> Directory:
    seconds, nanoseconds, device, inode, name = (next(tokens) for _ in range(5))
    entries = []
    while entry := next(tokens):
        entries.append(entry)
    if next(tokens):
        raise ValueError(name)
    return Directory((nfs, seconds, nanoseconds, device), int(inode), name, tuple(entries))


def _tokens(file: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while block := file.read(_BLOCK):
        *whole, rest = (rest + block).split(b"\0")
        yield from whole
    if rest:
        raise ValueError("it is cut off")
