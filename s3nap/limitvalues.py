"""How the values of UploadLimit, DownloadLimit and IoClass are read, as ``values`` says."""

from __future__ import annotations

import re

from s3nap.pace import DAYS, PIECE, Rate
from s3nap.priority import IO_CLASSES, IoClass
from s3nap.values import SIZE, ValueType, Words, integer

_TIMES = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")
_NUMBERS = {name.lower(): number for number, name in enumerate(DAYS)}
_FORM = "write it as 2M, 2M 08:00-19:00, or 2M 08:00-19:00 Mon-Fri"


def _rates(words: Words) -> tuple[Rate]:
    """One line is one rate; the lines of a directive add up."""
    rest = list(words[1:])
    start, end = _times(rest.pop(0)) if rest and _TIMES.fullmatch(rest[0]) else (0, 24 * 60)
    days = _days(rest.pop(0)) if rest else frozenset(range(7))
    if rest:
        raise ValueError(f"{rest[0]!r} is too much; {_FORM}")
    return (Rate(rate=_rate(words[0]), start=start, end=end, days=days, text=" ".join(words)),)


def _rate(word: str) -> int | None:
    if word.lower() == "none":
        return None
    rate = int(str(SIZE.read((word,))))
    if rate < PIECE:
        raise ValueError(f"{word} bytes a second are too few; write at least {PIECE >> 10}K, and K, M or G for units")
    return rate


def _times(word: str) -> tuple[int, int]:
    match = _TIMES.fullmatch(word)
    numbers = [int(number) for number in match.groups()] if match is not None else []
    start, end = (hour * 60 + minute for hour, minute in zip(numbers[::2], numbers[1::2], strict=True))
    if max(numbers[1::2]) > 59 or start >= 24 * 60 or not 0 <= end <= 24 * 60:
        raise ValueError(f"{word!r} holds no time of day; write it as 08:00-19:00, from 00:00 to 24:00")
    if start == end:
        raise ValueError(f"{word!r} is no length of time; take it out for the whole day")
    return start, end


def _days(word: str) -> frozenset[int]:
    days: set[int] = set()
    for part in word.split(","):
        first, _, last = part.lower().partition("-")
        if first not in _NUMBERS or (last or first) not in _NUMBERS:
            raise ValueError(
                f"{part!r} is neither a day nor days; write {', '.join(DAYS)}, Mon-Fri or Sat,Sun; {_FORM}"
            )
        begin, end = _NUMBERS[first], _NUMBERS[last or first]
        days.update(day % 7 for day in range(begin, (end if end >= begin else end + 7) + 1))
    return frozenset(days)


def _io_class(words: Words) -> IoClass:
    name, level = words[0].lower(), words[1:]
    if name not in IO_CLASSES or len(level) > 1:
        raise ValueError(
            f"{' '.join(words)!r} is unknown; write idle, best-effort or realtime, the last two with 0 to 7"
        )
    if not level:
        return IoClass(name)
    if name == "idle":
        raise ValueError("idle has no level; take it out")
    return IoClass(name, int(str(integer(0, 7).read(level))))


RATES = ValueType("bytes a second with K, M, G, or none; [HH:MM-HH:MM] [days]", _rates, several=True)
IO_CLASS = ValueType("idle|best-effort|realtime [level]", _io_class, several=True)
