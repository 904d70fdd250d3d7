"""Tar headers, and a stream of pieces taken in other sizes: what every reader of a tar stream needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from s3nap.errors import VerificationError
from s3nap.storage import Data

BLOCK = 512
PAX = b"x"
_HEADER_LIMIT = 64 << 20


class PieceReader:
    """A stream of pieces, taken in other sizes."""

    def __init__(self, pieces: Iterator[Data]) -> None:
        """Nothing is taken before it is asked for."""
        self._pieces = pieces
        self._held = memoryview(b"")

    def _some(self) -> memoryview:
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._held = memoryview(piece)
        return self._held

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes; fewer at the end of the stream."""
        parts = [bytes(part) for part in self.copy(size)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def copy(self, size: int) -> Iterator[memoryview]:
        """Yield the next ``size`` bytes without copying them."""
        while size > 0:
            held = self._some()
            if not held:
                return
            part = held[:size]
            self._held = held[len(part) :]
            size -= len(part)
            yield part

    def rest(self) -> Iterator[memoryview]:
        """Yield what is left."""
        while held := self._some():
            self._held = memoryview(b"")
            yield held


def whole(header: bytes) -> bytes:
    """Return a header block; VerificationError if the stream ended within or before it."""
    if len(header) != BLOCK:
        raise VerificationError("ends before tar's end mark: it is cut off")
    return header


def padded(size: int) -> int:
    """Return how many bytes data of that size occupy."""
    return -(-size // BLOCK) * BLOCK


def bounded(size: int) -> int:
    """Return the size of what is to be held in memory; VerificationError if no real archive has it."""
    if size > _HEADER_LIMIT:
        raise VerificationError(f"holds a tar header of {size} bytes")
    return size


def number(text: bytes) -> int:
    """Read a number of a header: octal, or with the first bit set binary. Raises VerificationError."""
    if text[:1] == b"\x80":
        return int.from_bytes(text[1:], "big")
    try:
        return int(text.strip(b" \0") or b"0", 8)
    except ValueError as error:
        raise VerificationError("holds a damaged tar header") from error


def pax_records(body: bytes) -> dict[bytes, bytes]:
    """Parse records of the form ``<length> <key>=<value>`` and a newline."""
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(body):
        space = body.find(b" ", position)
        try:
            length = int(body[position:space])
            key, equals, value = body[space + 1 : position + length - 1].partition(b"=")
        except ValueError as error:
            raise VerificationError("holds a damaged pax header") from error
        if not equals or length <= 0 or body[position + length - 1 : position + length] != b"\n":
            raise VerificationError("holds a damaged pax header")
        records[key] = value
        position += length
    return records


def pax_header(records: Mapping[bytes, bytes]) -> bytes:
    """Return an extended header, which says these things of the member after it; the opposite of ``pax_records``."""
    body = b"".join(_record(key, value) for key, value in records.items())
    header = bytearray(BLOCK)
    header[:8] = b"././@pax"
    header[100:108], header[108:116], header[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    header[124:136], header[136:148] = b"%011o\0" % len(body), b"%011o\0" % 0
    header[156:157] = PAX
    return posix(header) + body.ljust(padded(len(body)), b"\0")


def posix(header: bytes | bytearray) -> bytes:
    """Return a header of GNU's old format (or one just made) as one of the posix format, with its checksum."""
    made = bytearray(header)
    made[257:265] = b"ustar\x0000"
    made[345:500] = bytes(155)  # times in the old format, a prefix of the name in the new one
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


def _record(key: bytes, value: bytes) -> bytes:
    """The length of a record counts its own digits."""
    size = len(key) + len(value) + 3
    length = size + len(str(size))
    length = size + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)
