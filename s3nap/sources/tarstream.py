"""The gate: reads the headers of a tar stream before tar does, and lets nothing pass that could do harm.

tar extracts what it is told: names with ``..``, members below a symbolic link that an earlier level planted, rename
records that it replays wrongly. A genuine archive of ours holds none of these.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from s3nap.errors import VerificationError
from s3nap.sources.tarheader import BLOCK, PAX, PieceReader, bounded, number, padded, pax_records, whole
from s3nap.storage import Data

_REGULAR, _HARD, _SYMBOLIC, _DIRECTORY = b"0", b"1", b"2", b"5"
_KNOWN = {_REGULAR, _HARD, _SYMBOLIC, _DIRECTORY, b"3", b"4", b"6"}  # and devices, FIFOs


@dataclass(frozen=True, slots=True)
class Member:
    """One member: its name as extracted, type flag, link target, size of its data, and directory listing."""

    name: bytes
    type: bytes
    link: bytes
    size: int
    dumpdir: bytes | None

    @property
    def bare(self) -> bytes:
        """The name without ``./`` before it and ``/`` after it."""
        name = self.name.rstrip(b"/")
        return name if name == b"." else name.removeprefix(b"./")


class Gate:
    """Checks the members of the levels of one chain, oldest first; one gate for the whole chain."""

    def __init__(
        self,
        listed: Callable[[bytes, bytes], None] = lambda _folder, _listing: None,
        wanted: Callable[[Member], bool] | None = None,
    ) -> None:
        """``listed`` is told each directory (without a slash at its end) and its listing (GNU.dumpdir).

        Members that ``wanted`` does not want are left out of the stream.
        """
        self._listed = listed
        self._wanted = wanted
        self._links: set[bytes] = set()
        self._folders: set[bytes] = set()

    def relinked(self, links: set[bytes]) -> None:
        """Take these for all links of the tree: directories in it were renamed."""
        self._links = links

    def level(self, pieces: Iterator[Data]) -> Iterator[bytes | memoryview]:
        """Yield the stream of one level, each member's header only after it has been judged.

        Raises VerificationError on the first member that must not be extracted.
        """
        reader = PieceReader(pieces)
        yield from self._members(reader)
        yield bytes(BLOCK)
        yield from reader.rest()

    def members(self, pieces: Iterator[Data]) -> Iterator[bytes | memoryview]:
        """Yield the members of a stream, as ``level`` does, but neither its end mark nor what follows."""
        yield from self._members(PieceReader(pieces))

    def _members(self, reader: PieceReader) -> Iterator[bytes | memoryview]:
        self._folders = set()
        pax: dict[bytes, bytes] = {}
        before: list[bytes] = []
        while (header := whole(reader.take(BLOCK))).count(0) != BLOCK:
            kind, size = header[156:157], number(header[124:136])
            if kind == PAX:
                body = reader.take(padded(bounded(size)))
                pax = pax_records(body[:size])
                before = [header, body]
                continue
            member = member_of(header, pax, size)
            self._judge(member)
            data = reader.copy(padded(member.size))
            if self._wanted is None or self._wanted(member):
                yield from (*before, header)
                yield from data
            else:
                deque(data, maxlen=0)
            pax, before = {}, []

    def _judge(self, member: Member) -> None:
        name = member.bare
        parts = name.split(b"/")
        shown = name.decode(errors="backslashreplace")
        if not name or b".." in parts or b"" in parts or name.startswith(b"/"):
            raise VerificationError(f"holds a member with a dangerous name: {shown}")
        parent = name.rpartition(b"/")[0]
        if parent and parent not in self._folders and self._under_a_link(parent):
            raise VerificationError(f"holds a member below a symbolic link of its own: {shown}")
        if member.type not in _KNOWN or (member.size and member.type != _REGULAR):
            raise VerificationError(f"holds a member of a kind that s3nap never stores ({member.type!r}): {shown}")
        if member.type != _DIRECTORY and name in self._folders:
            raise VerificationError(f"holds the same name as a directory and as something else: {shown}")
        if member.type == _HARD and self._leads_out(member.link.removeprefix(b"./")):
            raise VerificationError(f"holds a hard link that leads out of the target: {shown}")
        if member.type == _DIRECTORY:
            self._folders.add(name)
            self._links.discard(name)
            self._list(name, member.dumpdir)
        elif member.type in {_HARD, _SYMBOLIC}:
            self._links.add(name)

    def _leads_out(self, link: bytes) -> bool:
        return b".." in link.split(b"/") or link.startswith(b"/") or self._under_a_link(link.rpartition(b"/")[0])

    def _under_a_link(self, folder: bytes) -> bool:
        """Is any part of the path known as a link, in any level so far, and not a directory in this one?"""
        while folder:
            if folder in self._folders:
                return False
            if folder in self._links:
                return True
            folder = folder.rpartition(b"/")[0]
        return False

    def _list(self, name: bytes, dumpdir: bytes | None) -> None:
        if dumpdir is None:
            return
        if any(entry[:1] in {b"R", b"T", b"X"} for entry in dumpdir.split(b"\0")):
            shown = name.decode(errors="backslashreplace")
            raise VerificationError(f"holds a rename record, which s3nap never stores: {shown}")
        self._listed(name, dumpdir)


def member_of(header: bytes, pax: dict[bytes, bytes], size: int) -> Member:
    """Put together what a header and the pax records before it say."""
    prefix, name = (text.partition(b"\0")[0] for text in (header[345:500], header[:100]))
    ustar = prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name
    return Member(
        name=pax.get(b"GNU.sparse.name") or pax.get(b"path") or ustar,
        type=header[156:157].replace(b"\0", _REGULAR),
        link=pax.get(b"linkpath") or header[157:257].partition(b"\0")[0],
        size=_pax_size(pax.get(b"size"), size),
        dumpdir=pax.get(b"GNU.dumpdir"),
    )


def _pax_size(text: bytes | None, size: int) -> int:
    try:
        return size if text is None else int(text)
    except ValueError as error:
        raise VerificationError("holds a damaged pax header") from error
