"""SQLite databases: a consistent copy by SQLite's own online backup, made while others write."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import IO
from urllib.parse import quote

from s3nap.errors import SourceError
from s3nap.job import Job
from s3nap.sources import Outcome, servers

_BUSY_SECONDS = 300  # how long another program may keep the database locked
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_TABLES = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"


class SQLiteSource:
    """One ``SQLite``: a database file, stored as it is."""

    stream = "raw"

    def __init__(self, job: Job, own_paths: Sequence[Path]) -> None:
        """Nothing is read before ``start``."""
        del own_paths
        self._path = Path(job.source)
        self._patience: int = job["Timeout"] or _BUSY_SECONDS

    @property
    def options(self) -> str:
        """Digest of the source."""
        return servers.digest(str(self._path))

    def start(self, work: Path, base: Path | None, previous_files: int | None) -> SQLiteDump:
        """Copy, and see that the copy is sound."""
        del base
        try:
            if not stat.S_ISREG(self._path.stat().st_mode):
                raise SourceError(f"{self._path} is no file")
            self._copy(work / "copy")
            tables = sound(work / "copy", str(self._path))
        except (OSError, sqlite3.Error) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise SourceError(f"{self._path} cannot be backed up: {why}") from error
        return SQLiteDump(work / "copy", tables, servers.brake(f"SQLite {self._path}", tables, previous_files))

    def _copy(self, target: Path) -> None:
        limit = time.monotonic() + self._patience

        def watch(status: int, _remaining: int, _total: int) -> None:
            if status in _BUSY and time.monotonic() > limit:
                raise SourceError(f"{self._path} was locked by another program for {self._patience} seconds")

        target.touch(mode=0o600)
        with (
            closing(sqlite3.connect(_uri(self._path, "mode=ro"), uri=True, timeout=1)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            # in one step: in several, every write of another program would start it again
            source.backup(copy, pages=-1, progress=watch)


def sound(copy: Path, name: str) -> int:
    """Return how many tables a database holds; SourceError, or sqlite3.Error, if SQLite finds it damaged."""
    with closing(sqlite3.connect(_uri(copy, "immutable=1"), uri=True)) as database:
        said = [str(row[0]) for row in database.execute("PRAGMA quick_check(3)")]
        if said != ["ok"]:
            raise SourceError(f"{name} is damaged: {'; '.join(said)}")
        return int(database.execute(_TABLES).fetchone()[0])


def _uri(path: Path, how: str) -> str:
    return f"file:{quote(os.fsencode(path))}?{how}"


class SQLiteDump:
    """The copy being read."""

    def __init__(self, copy: Path, tables: int, brake: str | None) -> None:
        """Open the copy; it goes with its folder."""
        self.stdout: IO[bytes] = copy.open("rb")
        self._tables = tables
        self._brake = brake

    def finish(self, raw_size: int, tail: bytes) -> Outcome:
        """SourceError if the copy was not read whole."""
        del tail
        size = os.fstat(self.stdout.fileno()).st_size
        self.stdout.close()
        if raw_size != size:
            raise SourceError(f"the copy of the database has {size} bytes, but {raw_size} were read")
        return Outcome(
            files=self._tables,
            brake=self._brake,
            programs={"sqlite": sqlite3.sqlite_version},
            proof={"tables": self._tables},
        )

    def abort(self) -> None:
        """Nothing runs."""
