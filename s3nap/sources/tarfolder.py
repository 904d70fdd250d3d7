"""A directory's tar header, made of its line in the index: so that nobody fetches a chunk for a parent's mode."""

from __future__ import annotations

from s3nap.sources.tarheader import BLOCK
from s3nap.sources.tarindex import Line

_LETTERS = b"rwxrwxrwx"
_SPECIAL = ((2, 0o4000, b"sS"), (5, 0o2000, b"sS"), (8, 0o1000, b"tT"))


def mode_bits(letters: bytes) -> int:
    """Return the mode that ``ls`` writes as these nine letters."""
    mode = 0
    for place, letter in enumerate(letters[:9]):
        if letter == _LETTERS[place] or letter in b"st":
            mode |= 0o400 >> place
    for place, bit, marks in _SPECIAL:
        if letters[place : place + 1] in (marks[:1], marks[1:]):
            mode |= bit
    return mode


def header(line: Line) -> bytes:
    """Return the header of a directory: name, mode, owner and time; attributes and ACLs stay behind."""
    user, _, group = line.owner.partition(b"/")
    seconds, nanoseconds = divmod(line.mtime, 10**9)
    fields = {b"path": line.path, b"mtime": b"%d.%09d" % (seconds, nanoseconds), b"uname": user, b"gname": group}
    records = b"".join(_record(key, value) for key, value in fields.items())
    padding = bytes(-len(records) % BLOCK)
    pax = _block(b"PaxHeader", b"x", 0o644, len(records)) + records + padding
    return pax + _block(line.path[:99], b"5", mode_bits(line.mode), 0, line.owner)


def _record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while len(b"%d" % length) + len(body) != length:
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


def _block(name: bytes, kind: bytes, mode: int, size: int, owner: bytes = b"/") -> bytes:
    user, _, group = owner.partition(b"/")
    numbers = b"%07o\0%s\0%s\0%011o\0%011o\0" % (mode, _number(user), _number(group), size, 0)
    names = user[:31].ljust(32, b"\0") + group[:31].ljust(32, b"\0")
    body = name.ljust(100, b"\0") + numbers + b" " * 8 + kind + bytes(100) + b"ustar\x0000" + names
    body = body.ljust(BLOCK, b"\0")
    return body[:148] + b"%06o\0 " % sum(body) + body[156:]


def _number(owner: bytes) -> bytes:
    """Return an owner's number where that is all that is known; else nobody's, for names go first."""
    number = int(owner) if owner.isdigit() else 65534
    return b"%07o" % min(number, 0o7777777)
