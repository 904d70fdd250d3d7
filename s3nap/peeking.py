"""Files of archives, read from anywhere in them: through one cache of chunks, and with a few of them held open."""

from __future__ import annotations

import io
import os
import tarfile
from threading import Lock
from typing import IO

from s3nap.contents import Node
from s3nap.errors import VerificationError
from s3nap.lately import Lately
from s3nap.manifest import Archive
from s3nap.ranges import Cache, Sealed, Stream
from s3nap.reader import Reader

_ARCHIVES = 4
_FILES = 64
_BUFFER = 1 << 16


class _Held:
    """A file that is opened when it is first read; one thread reads at a time."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.file: IO[bytes] | io.BufferedReader | None = None


class Files:
    """Reads files. Safe to use from several threads."""

    def __init__(self, reader: Reader, limit: int) -> None:
        """Chunks of ``limit`` bytes in all are held, and one at least."""
        self.cache = Cache(reader, limit)
        self._reader = reader
        self._opening = Lock()
        self._looking = Lock()
        self._archives: Lately[str, Sealed] = Lately(_ARCHIVES)
        self._files: Lately[tuple[str, int | None], _Held] = Lately(_FILES)

    def read(self, archive: Archive, node: Node | None, offset: int, size: int) -> bytes:
        """Return a part of a file that ``archive`` itself holds, shorter only at its end.

        Without a ``node`` it is the archive's raw stream. Raises VerificationError naming the chunk that is damaged,
        NoKeyError, StorageError.
        """
        with self._looking:
            held = self._files.get((archive.run, node.start if node is not None else None), _Held)
        with held.lock:
            if held.file is None:
                held.file = self._open(archive, node)
            held.file.seek(offset)
            try:
                return held.file.read(size)
            except tarfile.TarError as error:
                raise _wrong(archive, node) from error

    def _open(self, archive: Archive, node: Node | None) -> IO[bytes] | io.BufferedReader:
        with self._opening:  # one after the other: a smart card asks its question once
            sealed = self._archives.get(archive.run, lambda: self._seal(archive))
        if node is None:
            return io.BufferedReader(Stream(sealed, self.cache), _BUFFER)
        # buffered: tarfile takes less than it asked for as the end
        part = io.BufferedReader(Stream(sealed, self.cache, (node.start, node.end)), _BUFFER)
        try:
            member = (tar := tarfile.open(fileobj=part, mode="r:")).next()  # noqa: SIM115 - lives as long as the file
        except tarfile.TarError as error:
            raise _wrong(archive, node) from error
        if member is None or not member.isreg() or _bare(member) != node.line.path:
            raise _wrong(archive, node)
        data = tar.extractfile(member)
        if data is None:
            raise _wrong(archive, node)
        return data

    def _seal(self, archive: Archive) -> Sealed:
        return Sealed(self._reader, self._reader.open(archive, whole=False))


def _bare(member: tarfile.TarInfo) -> bytes:
    return os.fsencode(member.name).removeprefix(b"./")


def _wrong(archive: Archive, node: Node | None) -> VerificationError:
    name = os.fsdecode(node.line.path) if node is not None else "its stream"
    return VerificationError(f"{archive.manifest.at.data}: does not hold {name} where its index says")
