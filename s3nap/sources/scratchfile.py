"""Loads that a drill makes where nothing can take a stream: into a file that is looked at, or into nothing."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from s3nap.errors import SourceError, VerificationError
from s3nap.manifest import Manifest
from s3nap.sources.rawfile import FileLoader
from s3nap.sources.sqlite import sound

_ENDS = {  # how a dump with comments begins and ends; one without them says nothing
    b"-- MariaDB dump": b"-- Dump completed",
    b"-- MySQL dump": b"-- Dump completed",
    b"-- PostgreSQL database dump": b"PostgreSQL database dump complete",
    b"-- PostgreSQL database cluster dump": b"PostgreSQL database cluster dump complete",
}
_CUSTOM = b"PGDMP"
_LOOK = 4096  # bytes at either end


class DumpFile(FileLoader):
    """The dump of a database in a file, begun and ended as such dumps are."""

    def __init__(self, path: Path) -> None:
        """The file must be new."""
        super().__init__(str(path), overwrite=False)
        self._path = path

    def finish(self, manifest: Manifest) -> str:
        """VerificationError if the end is missing."""
        where = super().finish(manifest)
        with self._path.open("rb") as file:
            head = file.read(_LOOK)
            file.seek(max(0, self._path.stat().st_size - _LOOK))
            tail = file.read()
        if manifest.stream == "pgcustom" and not head.startswith(_CUSTOM):
            raise VerificationError(f"written to a file, but it does not begin as pg_dump's archives do ({_CUSTOM!r})")
        wanted = next((end for begin, end in _ENDS.items() if begin in head), b"")
        if manifest.stream == "sql" and wanted not in tail:
            raise VerificationError(f"written to a file, but it lacks {wanted.decode()!r} at the end")
        return where


class DatabaseFile(FileLoader):
    """A SQLite database, looked at by SQLite."""

    def __init__(self, path: Path) -> None:
        """The file must be new."""
        super().__init__(str(path), overwrite=False)
        self._path = path

    def finish(self, manifest: Manifest) -> str:
        """VerificationError if it is damaged, or holds another number of tables."""
        where = super().finish(manifest)
        try:
            tables = sound(self._path, "the restored database")
        except (SourceError, sqlite3.Error) as error:
            raise VerificationError(f"written to a file, but SQLite finds: {error}") from error
        wanted = manifest.proof.get("tables", tables)
        if wanted != tables:
            raise VerificationError(f"written to a file, but it holds {tables} tables instead of {wanted}")
        return where


class Nowhere:
    """Reads a stream to its end; every byte of it was verified on the way."""

    def check(self) -> None:
        """Nothing can hinder it."""

    def level(self, manifest: Manifest, pieces: Iterator[bytes | bytearray]) -> None:  # noqa: ARG002 - the Protocol's
        """Let it go by."""
        deque(pieces, maxlen=0)

    def finish(self, manifest: Manifest) -> str:  # noqa: ARG002 - the Protocol's signature
        """Name the place."""
        return "nowhere"
