"""What can be backed up: one class per kind of source, and what every one of them guarantees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from s3nap.job import Job
from s3nap.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a dump came to, once its stream has been read to the end and every program judged.

    ``state``, ``index`` and ``listing`` (what was there; for DiffDir only) are files in the work folder, or None;
    ``files`` counts what the source held (the whole of
    it, for DIFFs too); ``warnings`` are for people; ``incomplete`` counts what could not be read; ``brake`` is set
    where the source looks so empty that this archive must not push out older ones; ``unmatched`` are the Exclude
    patterns that matched nothing; ``proof`` is what shows that a dump is whole (numbers of tables,
    revisions, versions): it stands in the manifest, so it holds no names; ``extras`` are further files in the work
    folder, by role, that loading needs: stored beside the state, compressed and encrypted like it.
    """

    state: Path | None = None
    index: Path | None = None
    listing: Path | None = None
    files: int = 0
    warnings: Sequence[str] = ()
    incomplete: int = 0
    brake: str | None = None
    log: str = ""
    programs: dict[str, str] = field(default_factory=dict)
    unmatched: Sequence[str] = ()
    proof: dict[str, int | str] = field(default_factory=dict)
    extras: dict[str, Path] = field(default_factory=dict)


class Dump(Protocol):
    """A dump under way."""

    @property
    def stdout(self) -> IO[bytes]:
        """The raw stream; the reader reads it to its end."""
        ...

    def finish(self, raw_size: int, tail: bytes) -> Outcome:
        """Judge how every program ended, after the end of the stream.

        ``raw_size`` is its length in bytes, ``tail`` its last 4 KiB.
        Raises SourceError if the dump is not good enough to be kept, RetryFullError if only a FULL will do.
        """
        ...

    def abort(self) -> None:
        """Kill what runs; may be called from another thread, after which the stream ends."""
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


class Loader(Protocol):
    """Puts the archives of one chain back where they belong: into a server, a repository, a file."""

    def check(self) -> None:
        """See that loading can begin; nothing is written.

        Raises UsageError where existing data would be overwritten and that was not asked for, ProgramError where a
        program is missing, S3napError in the server's words where it does not let us in.
        """
        ...

    def level(self, manifest: Manifest, pieces: Iterator[bytes | bytearray]) -> None:
        """Load one archive, FULL first; ``pieces`` are verified as they come. Raises ProgramError."""
        ...

    def finish(self, manifest: Manifest) -> str:
        """Compare what was loaded with the last archive's manifest and say where it is.

        Raises VerificationError if it is not what the manifest says.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What the command line says about where to load; secrets come from the clients' own files only.

    ``side`` fetches an object that was stored with the newest archive of the chain (``Outcome.extras``) by its role,
    verified and opened; None if there is none. ``scratch`` is the folder of a drill: nothing outside of it may be
    touched, and database clients go to the throw-away server on ``socket``, whatever the user's own files say.
    """

    target: str | None = None
    database: str | None = None
    overwrite: bool = False
    host: str | None = None
    port: int | None = None
    socket: str | None = None
    user: str | None = None
    defaults_file: Path | None = None
    side: Callable[[str], bytes | None] = lambda _role: None
    scratch: Path | None = None


class LoaderFactory(Protocol):
    """What the table of sources holds for kinds that load into something."""

    def __call__(self, manifest: Manifest, options: LoadOptions) -> Loader:
        """Make the loader for the newest archive of a chain."""
        ...


class SourceFactory(Protocol):
    """What the table of sources holds for each kind."""

    def __call__(self, job: Job, own_paths: Sequence[Path]) -> Source:
        """Make the source of a job; ``own_paths`` are s3nap's own, never to be backed up."""
        ...
