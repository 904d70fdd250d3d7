r"""tar's own listing of what it stored, as it writes it with ``--block-number -vv --full-time --utc`` (docs/format.md).

::

    block 35: -rw-r--r--+ root/root         3 2026-11-21 12:22:18.85 tmp/a\nb
    block 39: hrw-r--r--  root/root         0 2026-11-21 12:22:18.85 tmp/c link to tmp/a\nb

A name begins where the column of the times ends. That is as wide as the longest time so far, so lines are read in
order; and names may begin with blanks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from s3nap.errors import VerificationError

_LINE = re.compile(
    rb"block (\d+): (.)(.{9})[.+*@ ]? *(.+?) +(\d+|\d+,\d+) (?=-?\d+-\d\d-\d\d \d\d:\d\d:\d\d|-?\d+ )", re.DOTALL
)
_TIME = re.compile(rb"-?\d+-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?|-?\d+")
_TIME_COLUMN = 18  # tar's own, until a longer time comes
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_ARROWS = {b"l": b" -> ", b"h": b" link to "}


class Line(NamedTuple):
    """One member: where its header starts (a 512-byte block of the stream), and what ``ls -l`` would say of it.

    ``kind`` is the letter that ``ls`` shows, ``h`` for a hard link; ``mode`` nine letters, ``owner`` user and group,
    ``time`` the last change in UTC; ``path`` is without ``./`` before it and ``/`` after it; ``link`` is what a link
    points to, else empty.
    """

    block: int
    kind: bytes
    mode: bytes
    owner: bytes
    size: int
    time: bytes
    path: bytes
    link: bytes

    @property
    def mtime(self) -> int:
        """The last change in nanoseconds since 1970; 0 for a year beyond Python's."""
        whole, _, fraction = self.time.decode("ascii", "replace").partition(".")
        try:
            if "-" not in whole[1:]:
                return int(whole) * 10**9  # a time that tar could not write as a date
            moment = datetime.fromisoformat(whole).replace(tzinfo=UTC)
        except ValueError:
            return 0
        seconds, nanoseconds = int(moment.timestamp()), int(fraction.ljust(9, "0"))
        # before 1970 tar writes the fraction away from zero, as it does the seconds
        return seconds * 10**9 + (nanoseconds if seconds >= 0 else -nanoseconds)

    @property
    def is_folder(self) -> bool:
        """Is it a directory?"""
        return self.kind == b"d"


def read(lines: Iterable[bytes], known: Callable[[bytes], bool] = lambda _path: True) -> Iterator[Line]:
    """Parse a listing; VerificationError on a line that is none of tar's.

    ``known`` says whether a path may exist: it is asked only where an arrow is part of a link's name or target.
    """
    column = _TIME_COLUMN
    for line in lines:
        head = _LINE.match(line)
        if head is None:
            if b"**" in line:  # "** Block of NULs **" and its like are no members
                continue
            raise VerificationError(f"holds a line that tar does not write: {line[:200].decode(errors='replace')}")
        time = _TIME.match(line, head.end())
        column = max(column, len(time[0]) if time is not None else 0)
        kind = head[2]
        name, link = _split(kind, line[head.end() + column + 1 :].removesuffix(b"\n"), known)
        yield Line(
            block=int(head[1]),
            kind=kind,
            mode=head[3],
            owner=head[4],
            size=int(head[5]) if b"," not in head[5] else 0,
            time=time[0] if time is not None else b"0",
            path=name,
            link=link,
        )


def _split(kind: bytes, text: bytes, known: Callable[[bytes], bool]) -> tuple[bytes, bytes]:
    arrow = _ARROWS.get(kind)
    if arrow is None:
        return _bare(_unescaped(text)), b""
    parts = text.split(arrow)
    splits = [(arrow.join(parts[:cut]), arrow.join(parts[cut:])) for cut in range(1, len(parts))]
    if not splits:
        raise VerificationError(f"holds a link without a target: {text.decode(errors='replace')}")
    pairs = [(_bare(_unescaped(name)), _unescaped(link)) for name, link in splits]
    return next((pair for pair in pairs if len(pairs) > 1 and known(pair[0])), pairs[0])


def _unescaped(text: bytes) -> bytes:
    if b"\\" not in text:
        return text
    return _ESCAPE.sub(lambda found: _character(found[1]), text)


def _character(code: bytes) -> bytes:
    return bytes([int(code, 8) & 0xFF]) if len(code) == 3 else _LETTERS.get(code, code)


def _bare(name: bytes) -> bytes:
    name = name.rstrip(b"/")
    return name if name == b"." else name.removeprefix(b"./")
