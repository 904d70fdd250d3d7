"""Bodies of requests."""

from __future__ import annotations

import io
from typing import IO, Any, cast

from s3nap.pace import PIECE, Pace
from s3nap.storage import Data


class Body(io.RawIOBase):
    """Data as the seekable file that botocore wants, given out piece by piece: a copy would double the memory.

    With ``whole`` all of it is one piece, whatever size is asked for, and no copy: hashes and connections take what
    they get, in one call and without Python's lock.

    Close it after the request: the exception of a failed one keeps the request, which would keep the data; and a
    mapped file cannot be closed before its views are.
    """

    def __init__(self, data: Data, *, whole: bool = False) -> None:
        super().__init__()
        self._view = memoryview(data)
        self._whole = whole
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

    def read(self, size: int | None = -1) -> Any:  # noqa: ANN401 - bytes, or all of the view
        """Return the next ``size`` bytes, or all the rest."""
        end = self._view.nbytes if size is None or size < 0 or self._whole else self._at + size
        piece = self._view[self._at : end]
        self._at += len(piece)
        return piece if self._whole else bytes(piece)


class PacedBody(io.RawIOBase):
    """A body that is given out no faster than a pace allows, for the one time that it goes over the network."""

    def __init__(self, body: bytes | bytearray | IO[bytes], pace: Pace) -> None:
        super().__init__()
        self._body = cast("IO[bytes]", Body(body)) if isinstance(body, bytes | bytearray) else body
        self._pace = pace

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes: a request that is redirected starts again."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._body.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position and return it."""
        return self._body.seek(offset, whence)

    def read(self, size: int | None = -1) -> bytes:
        """Return some of the next ``size`` bytes, once they may flow; nothing only at the end."""
        piece = self._body.read(PIECE if size is None or size < 0 else min(size, PIECE))
        self._pace.take(len(piece))
        return piece


def paced_read(source: IO[bytes], pace: Pace, size: int = -1) -> bytes:
    """Read all of a source, or ``size`` bytes of it, no faster than a pace allows."""
    whole = io.BytesIO()
    while size < 0 or whole.tell() < size:
        piece = source.read(PIECE if size < 0 else min(PIECE, size - whole.tell()))
        if not piece:
            break
        pace.take(len(piece))
        whole.write(piece)
    return whole.getvalue()
