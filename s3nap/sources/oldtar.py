"""Archives in tar's old GNU format, as s3napback made them, rewritten to what the gate and tar of today take.

Long names and links (``L``, ``K``) and directory listings (``D``) become posix headers. Rename records are taken out
and handed over: tar replays them below the absolute path that they were made under, and loses directories that were
swapped, rotated or turned inside out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from s3nap.errors import VerificationError
from s3nap.sources.renames import Pairs
from s3nap.sources.tarheader import (
    BLOCK,
    PAX,
    PieceReader,
    bounded,
    number,
    padded,
    pax_header,
    pax_records,
    posix,
    whole,
)
from s3nap.storage import Data

_LISTING = b"GNU.dumpdir"
_LONG = {b"L": b"path", b"K": b"linkpath"}
_FOLDER, _OLD_FOLDER, _OLD_SPARSE = b"5", b"D", b"S"


def modernized(pieces: Iterator[Data], renamed: Callable[[Pairs, Mapping[bytes, bytes]], None]) -> Iterator[Data]:
    """Yield the stream in the posix format, without rename records.

    ``renamed`` gets the pairs of an old and a new name, and the listings of all directories, before any byte of the
    stream is yielded, so that nobody else works on the tree meanwhile. Raises VerificationError for what s3napback
    never wrote.
    """
    reader = PieceReader(pieces)
    pairs: Pairs = []
    listings: dict[bytes, bytes] = {}
    held: list[bytes] = []  # with renames: the directories, which all stand at the beginning
    begun = False
    while True:
        header, said, before = _next(reader)
        listing = said.get(_LISTING)
        if listing is not None:
            more, kept = split(listing)
            if more and begun:
                raise VerificationError("holds a rename record that is not at its beginning")
            if more:
                pairs = more
                before = pax_header(said | {_LISTING: kept})
            name = said.get(b"path") or header[:100].partition(b"\0")[0]
            listings |= {name.rstrip(b"/"): kept} if pairs else {}
        begun = True
        if pairs and listing is not None:
            held += [before, header]
            continue
        if pairs:
            renamed(pairs, listings)
            yield from held
            pairs, listings, held = [], {}, []
        yield from (before, header)
        if header.count(0) == BLOCK:
            break
        yield from reader.copy(padded(number(said[b"size"]) if b"size" in said else number(header[124:136])))
    yield from reader.rest()


def _next(reader: PieceReader) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Return a member's header, what extended headers say of it, and these; of the end mark its first block."""
    said: dict[bytes, bytes] = {}
    before = b""
    old = False
    while True:
        header = whole(reader.take(BLOCK))
        kind = header[156:157]
        if header.count(0) == BLOCK or not (kind == PAX or kind in _LONG):
            break
        size = number(header[124:136])
        body = reader.take(padded(bounded(size)))
        said |= pax_records(body[:size]) if kind == PAX else {_LONG[kind]: body[:size].rstrip(b"\0")}
        before += header + body
        old |= kind in _LONG
    if kind == _OLD_SPARSE:
        raise VerificationError("holds a sparse file in tar's old format, which s3napback never stored: use tar")
    if kind == _OLD_FOLDER:
        size = number(header[124:136])
        said[_LISTING] = reader.take(padded(bounded(size)))[:size]
        header = header[:124] + b"%011o\0" % 0 + header[136:156] + _FOLDER + header[157:]
    if old or kind == _OLD_FOLDER:
        return posix(header), said, pax_header(said)
    return header, said, before


def split(listing: bytes) -> tuple[Pairs, bytes]:
    """Take the rename records out of a directory's listing, which keeps its length.

    A record is ``R`` and the old name, then ``T`` and the new one. An empty name stands for a temporary one (made in
    the directory that ``X`` names); the way over it is made short. tar may repeat a record.
    """
    kept: list[bytes] = []
    pairs: dict[bytes, bytes] = {}
    aside: bytes | None = None
    entries = iter(listing.split(b"\0"))
    for entry in entries:
        if entry[:1] == b"R":
            source, target = _relative(entry[1:]) or aside, next(entries, b"")
            if target[:1] != b"T" or source is None:
                raise VerificationError("holds a damaged rename record")
            if target[1:]:
                pairs[source] = _relative(target[1:])
            else:
                aside = source
        elif entry and entry[:1] not in {b"T", b"X"}:
            kept.append(entry + b"\0")
    if len(set(pairs.values())) != len(pairs):
        raise VerificationError("holds rename records that contradict each other")
    return list(pairs.items()), b"".join(kept).ljust(len(listing), b"\0")


def _relative(name: bytes) -> bytes:
    """Name a directory as its member is named."""
    return name.lstrip(b"/").removeprefix(b"./")
