"""The strip of ``list``: what there is of each job day by day, from today backwards, so that gaps show at a glance."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from s3nap.colours import RED, YELLOW, painted
from s3nap.cycle import Cycle, day_number
from s3nap.logs import one_line
from s3nap.tables import folded

FULL, DIFF, BAD, NONE, NOT_DUE = "F", "d", "!", ".", " "
_WORST_LAST = (NOT_DUE, NONE, DIFF, FULL, BAD)  # what one character for several days shows
_PERIODS = (1, 2, 3, 7, 14, 28, 91, 182, 364, 3640)
_MARK_EVERY = 7  # characters from one number of the scale to the next
_ROOM = 100  # columns where nobody is looking
_LEAST = 14
_AGO = "Days ago"
_COLOURS = {BAD: RED, NONE: YELLOW}
_MOST_TURNS = 4000  # of a cycle that looked further back would never be asked


@dataclass(frozen=True, slots=True)
class Strip:
    """A job and what its days show, today first; a day older than its oldest archive is not in it."""

    title: str
    days: Sequence[str]


def strip(
    title: str, records: Iterable[Mapping[str, Any]], today: date, awaited: Collection[int] | None = None
) -> Strip:
    """Make the strip of a job of its records, which are as ``list --json`` has them.

    ``awaited`` are the days (numbers) on which its cycle wants an archive; without it every day counts.
    """
    by_age: dict[int, list[Mapping[str, Any]]] = {}
    for record in records:
        age = max(day_number(today) - day_number(date.fromisoformat(record["day"])), 0)
        by_age.setdefault(age, []).append(record)
    ages = range(max(by_age, default=-1) + 1)
    empty = (_empty(day_number(today) - age, awaited) for age in ages)
    return Strip(
        title, [_of_day(by_age[age]) if age in by_age else none for age, none in zip(ages, empty, strict=True)]
    )


def awaited(cycle: Cycle, today: date) -> frozenset[int]:
    """Return the days whose archives the cycle keeps today: of the newest turn of each slot, and of its window."""
    turn = cycle.turn(day_number(today))
    days: set[int] = set()
    slots: set[int] = set()
    for back in range(_MOST_TURNS):
        slot = cycle.slot(turn - back)
        if slot not in slots or back < cycle.window:
            days.add(cycle.due_day(turn - back))
        slots.add(slot)
        if cycle.slots is not None and len(slots) >= cycle.slots and back >= cycle.window:
            break
    return frozenset(days)


def strips_text(strips: Sequence[Strip], room: int | None, *, colours: bool) -> str:
    """Draw strips below a scale that counts days, in ``room`` columns (None: a pipe), and say what the letters mean."""
    titles = [one_line(each.title) for each in strips]
    indent = max(len(_AGO), *map(len, titles)) + 3
    apart = room is not None and indent > room // 2  # each title on a line of its own
    indent = len(_AGO) + 3 if apart else indent
    most = max(len(each.days) for each in strips)
    width = max((room if room is not None else indent + _ROOM) - indent, _LEAST)
    period = next((period for period in _PERIODS if -(-most // period) <= width), _PERIODS[-1])
    lines = [f" {_AGO:{indent}}{_scale(-(-most // period), period, width)}"]
    for title, each in zip(titles, strips, strict=True):
        drawn = "".join(_painted(char, colours=colours) for char in _joined(each.days, period))
        lines += [f" {line}" for line in folded(title, room)] if apart else []
        lines.append(f" {'' if apart else title:{indent}}{drawn}".rstrip())
    one = "day" if period == 1 else f"span of {period} days"
    legend = f"F FULL, d DIFF, {NONE} none, {BAD} not restorable, or waits for release; each stands for a {one}"
    lines += [f" {line}" for line in folded(legend, room)]
    return "\n".join([*lines, "", ""])


def _of_day(records: Sequence[Mapping[str, Any]]) -> str:
    """Return what a day shows: its newest good archive, unless another one waits to be looked at."""
    good = [record["type"] for record in records if record["restorable"]]
    if not good or any(record["braking"] for record in records):
        return BAD
    return FULL if good[-1] == "FULL" else DIFF


def _empty(day: int, awaited: Collection[int] | None) -> str:
    return NONE if awaited is None or day in awaited else NOT_DUE


def _joined(days: Sequence[str], period: int) -> list[str]:
    return [max(days[at : at + period], key=_WORST_LAST.index) for at in range(0, len(days), period)]


def _scale(count: int, period: int, width: int) -> str:
    numbers = (f"{at * period:<{_MARK_EVERY}}" for at in range(0, count, _MARK_EVERY))
    return "".join(numbers)[:width].rstrip()


def _painted(char: str, *, colours: bool) -> str:
    return painted(char, _COLOURS.get(char)) if colours else char
