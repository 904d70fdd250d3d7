"""Loading into a file, or to standard output: the raw stream of any kind, as the dump program wrote it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from s3nap.errors import UsageError
from s3nap.manifest import Manifest
from s3nap.storage import Data


class FileLoader:
    """Writes the streams of a chain, one after the other, to a new file (0600), or for ``-`` to standard output."""

    def __init__(self, target: str, *, overwrite: bool) -> None:
        """The file is replaced only with ``overwrite``, and only when the new contents are whole."""
        self._target = None if target == "-" else Path(target)
        self._overwrite = overwrite
        self._out: IO[bytes] | None = None

    @property
    def _partial(self) -> Path:
        path = self._target or Path()
        return path.with_name(path.name + ".partial")

    def check(self) -> None:
        """UsageError if the file is there already."""
        if self._target is not None and self._target.is_dir():
            raise UsageError(f"{self._target} is a folder: give the name of a new file, or -")
        if self._target is not None and self._target.exists() and not self._overwrite:
            raise UsageError(f"{self._target} exists already: give another name, or --overwrite")

    def level(self, _manifest: Manifest, pieces: Iterator[bytes | bytearray]) -> None:
        """Append one stream."""
        self.append(pieces)

    def append(self, pieces: Iterator[Data]) -> None:
        """Write what comes, after what came before."""
        if self._out is None:
            self._out = self._open()
        for piece in pieces:
            self._out.write(piece)

    def _open(self) -> IO[bytes]:
        if self._target is None:
            return sys.stdout.buffer
        descriptor = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        return os.fdopen(descriptor, "wb")

    def finish(self, _manifest: Manifest) -> str:
        """Give the file its name."""
        return self.close()

    def close(self) -> str:
        """Give the file its name, and say where it is."""
        if self._out is not None:
            self._out.flush()
        if self._target is None:
            return "standard output"
        if self._out is not None:
            os.fsync(self._out.fileno())
            self._out.close()
        self._partial.replace(self._target)
        return str(self._target)
