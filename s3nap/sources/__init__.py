"""What can be backed up: one class per kind of source, and what every one of them guarantees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from s3nap.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a dump came to, once its stream has been read to the end and every program judged.

    ``state`` and ``index`` are files in the work folder, or None; ``files`` counts what the source held (the whole of
    it, for DIFFs too); ``warnings`` are for people; ``incomplete`` counts what could not be read; ``brake`` is set
    where the source looks so empty that this archive must not push out older ones; ``unmatched`` are the Exclude
    patterns that matched nothing.
    """

    state: Path | None = None
    index: Path | None = None
    files: int = 0
    warnings: Sequence[str] = ()
    incomplete: int = 0
    brake: str | None = None
    log: str = ""
    programs: dict[str, str] = field(default_factory=dict)
    unmatched: Sequence[str] = ()


class Dump(Protocol):
    """A dump under way."""

    @property
    def stdout(self) -> IO[bytes]:
        """The raw stream; the reader reads it to its end."""
        ...

    def finish(self, raw_size: int) -> Outcome:
        """Judge how every program ended, after the end of the stream; ``raw_size`` is its length in bytes.

        Raises SourceError if the dump is not good enough to be kept, RetryFullError if only a FULL will do.
        """
        ...

    def abort(self) -> None:
        """Kill what runs."""
        ...


class Source(Protocol):
    """One job's source."""

    @property
    def stream(self) -> str:
        """What the stream is: tar, sql, pgcustom, svndump or raw."""
        ...

    @property
    def options(self) -> str:
        """Digest of everything that shapes the archive: DIFFs are made between equal ones only."""
        ...

    def start(self, work: Path, base: Path | None, previous_files: int | None) -> Dump:
        """Begin a dump: a DIFF to the state in file ``base``, which is never changed, or a FULL without one.

        ``work`` is an empty private folder. ``previous_files`` is how many files the newest unsuspicious archive
        had. Raises SourceError if the source is not there or cannot be read.
        """
        ...


class SourceFactory(Protocol):
    """What the table of sources holds for each kind."""

    def __call__(self, job: Job, own_paths: Sequence[Path]) -> Source:
        """Make the source of a job; ``own_paths`` are s3nap's own, never to be backed up."""
        ...
