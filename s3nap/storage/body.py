"""Bodies of requests."""

from __future__ import annotations

import io

from s3nap.storage import Data


class Body(io.RawIOBase):
    """Data as the seekable file that botocore wants, given out piece by piece: a copy would double the memory.

    Close it after the request: the exception of a failed one keeps the request, which would keep the data; and a
    mapped file cannot be closed before its views are.
    """

    def __init__(self, data: Data) -> None:
        super().__init__()
        self._view = memoryview(data)
        self._at = 0

    def close(self) -> None:
        """Let go of the data."""
        self._view.release()
        super().close()

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes: a retry starts again."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._view.nbytes}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return the next ``size`` bytes, or all the rest."""
        end = self._view.nbytes if size is None or size < 0 else self._at + size
        piece = bytes(self._view[self._at : end])
        self._at += len(piece)
        return piece
