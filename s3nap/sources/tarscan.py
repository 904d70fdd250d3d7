"""Finds the members of a tar stream that has holes, where its index is lost: by their headers, one after the other.

After a hole the next header is looked for. What then follows may be data of a file that is itself a tar archive; so
nothing counts that comes to an end mark before the stream does, and nothing whose name may have been in the hole.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import IO, NamedTuple

from s3nap.errors import VerificationError
from s3nap.sources.tarheader import BLOCK, number, padded, pax_records
from s3nap.sources.tarindex import Line
from s3nap.sources.tarstream import member_of

Span = tuple[int, int]

_MAGIC, _MAGIC_AT = b"ustar\00000", 257
_PAX = b"x"
_KINDS = {b"0": b"-", b"1": b"h", b"2": b"l", b"3": b"c", b"4": b"b", b"5": b"d", b"6": b"p"}
_WINDOW = 1 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Found(NamedTuple):
    """A member, and its first byte and the one after its last in the stream."""

    line: Line
    start: int
    end: int


class _Chain(NamedTuple):
    """Members that follow each other, where they stop, and whether that is an end mark."""

    members: list[Found]
    stopped: int
    ended: bool


class Scan:
    """The members of one stream of ``size`` bytes. ``holes``, sorted, are never read."""

    def __init__(
        self, stream: IO[bytes], size: int, holes: Sequence[Span], known: Callable[[bytes], bool] = lambda _path: True
    ) -> None:
        """``known`` says whether a path was there when the archive was made, where that can be told."""
        self._stream = stream
        self._size = size
        self._holes = holes
        self._known = known

    def __iter__(self) -> Iterator[Found]:
        """Yield what is certain, in order. The data of a member may lie in a hole, its header does not."""
        chain = self._follow(0)
        yield from chain.members
        while not chain.ended:
            position = self._candidate(chain.stopped)
            while position < self._size and not self._fits(chain := self._follow(position)):
                position = self._candidate(position + BLOCK)
            if position >= self._size:
                return
            yield from (found for found in chain.members if self._known(found.line.path))

    def _fits(self, chain: _Chain) -> bool:
        """Does a chain go on to the end, or to the next hole? Data of a file that looks like members does not."""
        if chain.ended:
            return self._nothing_after(chain.stopped)
        stopped = chain.stopped
        return stopped >= self._size or self._hole(stopped, stopped + BLOCK) is not None or bool(self._header(stopped))

    def member(self, start: int) -> Found | None:
        """Return the member whose header is at ``start``; None if there is none, or it lies in a hole."""
        try:
            return self._member(start)
        except VerificationError:
            return None

    def _follow(self, position: int) -> _Chain:
        members: list[Found] = []
        while position < self._size and self._hole(position, position + BLOCK) is None:
            if not self._read(position, BLOCK).strip(b"\0"):
                return _Chain(members, position, ended=True)
            found = self.member(position)
            if found is None:
                break
            members.append(found)
            position = found.end
        return _Chain(members, position, ended=False)

    def _member(self, start: int) -> Found | None:
        pax: dict[bytes, bytes] = {}
        position = start
        header = self._header(position)
        if header is not None and header[156:157] == _PAX:
            length = number(header[124:136])
            if not 0 <= length <= self._size or self._hole(position, position + BLOCK + padded(length)) is not None:
                return None
            pax = pax_records(self._read(position + BLOCK, length))
            position += BLOCK + padded(length)
            header = self._header(position)
        if header is None or header[156:157] not in _KINDS:
            return None
        member = member_of(header, pax, number(header[124:136]))
        end = position + BLOCK + padded(member.size)
        if end > self._size:
            return None
        name = Line(
            block=start // BLOCK,
            kind=_KINDS[member.type],
            mode=stat.filemode(number(header[100:108]))[1:].encode(),
            owner=_owner(header, pax),
            size=int(pax.get(b"GNU.sparse.realsize") or pax.get(b"GNU.sparse.size") or member.size),
            time=_time(pax.get(b"mtime") or b"%d" % number(header[136:148])),
            path=member.bare,
            link=member.link if member.type in {b"1", b"2"} else b"",
        )
        return Found(name, start, end)

    def _header(self, position: int) -> bytes | None:
        """Return a header whose checksum is right, None if there is none."""
        if position + BLOCK > self._size or self._hole(position, position + BLOCK) is not None:
            return None
        header = self._read(position, BLOCK)
        if header[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] != _MAGIC:
            return None
        return header if sum(header) - sum(header[148:156]) + 8 * 32 == number(header[148:156]) else None

    def _candidate(self, position: int) -> int:
        """Return the next block that is a pax header: every name that is not short and plain stands in one.

        A plain header is not taken: the name that goes before it may have been in the hole.
        """
        position = padded(position)
        while position < self._size:
            if (hole := self._hole(position, position + BLOCK)) is not None:
                position = padded(hole[1])
                continue
            end = min([self._size, position + _WINDOW, *(start for start, _ in self._holes if start > position)])
            data = self._read(position, end - position)
            at = -1
            while (at := data.find(_MAGIC, at + 1)) >= 0:
                block = position + at - _MAGIC_AT
                if not block % BLOCK and data[at - 101 : at - 100] == _PAX and self.member(block) is not None:
                    return block
            position = padded(end)
        return self._size

    def _nothing_after(self, position: int) -> bool:
        """Are there only zeros to the end, as far as can be seen?"""
        while position < self._size:
            if (hole := self._hole(position, position + 1)) is not None:
                position = hole[1]
                continue
            end = min([self._size, position + _WINDOW, *(start for start, _ in self._holes if start > position)])
            if self._read(position, end - position).strip(b"\0"):
                return False
            position = end
        return True

    def _hole(self, start: int, end: int) -> Span | None:
        return next((hole for hole in self._holes if hole[0] < end and start < hole[1]), None)

    def _read(self, position: int, size: int) -> bytes:
        self._stream.seek(position)
        parts = bytearray()
        while len(parts) < size and (part := self._stream.read(size - len(parts))):
            parts += part
        return bytes(parts)


def _owner(header: bytes, pax: dict[bytes, bytes]) -> bytes:
    names = [pax.get(key) or header[at : at + 32].partition(b"\0")[0] for key, at in ((b"uname", 265), (b"gname", 297))]
    numbers = [pax.get(key) or header[at : at + 8] for key, at in ((b"uid", 108), (b"gid", 116))]
    return b"/".join(name or b"%d" % number(plain) for name, plain in zip(names, numbers, strict=True))


def _time(seconds: bytes) -> bytes:
    """Write a time as tar's listing does."""
    whole, _, fraction = seconds.partition(b".")
    try:
        moment = _EPOCH + timedelta(seconds=int(whole))
    except (ValueError, OverflowError):
        return b"0"
    return f"{moment:%Y-%m-%d %H:%M:%S}".encode() + (b"." + fraction if fraction else b"")
