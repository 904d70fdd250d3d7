"""The strip of ``list``: what there is of each job day by day, from today backwards, so that gaps show at a glance."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from s3nap.colours import RED, YELLOW, painted
from s3nap.cycle import Cycle, day_number
from s3nap.logs import one_line

FULL, DIFF, BAD, NONE, NOT_DUE = "F", "d", "!", ".", " "
_WORST_LAST = (NOT_DUE, NONE, DIFF, FULL, BAD)  # what one character for several days shows
_PERIODS = (1, 2, 7, 14, 28, 91, 182, 364, 3640)
_MARK_EVERY = 7  # characters from one number of the scale to the next
_ROOM = 100  # columns where nobody is looking
_LEAST = 14
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
    shown: dict[int, str] = {}
    for record in records:
        age = max(day_number(today) - day_number(date.fromisoformat(record["day"])), 0)
        one = BAD if record["braking"] or not record["restorable"] else FULL if record["type"] == "FULL" else DIFF
        # a good archive speaks for its day, unless another of that day waits to be looked at
        shown[age] = one if age not in shown or record["braking"] or shown[age] == BAD else shown[age]
    ages = range(max(shown, default=-1) + 1)
    return Strip(title, [shown.get(age) or _empty(day_number(today) - age, awaited) for age in ages])


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
    indent = max(map(len, titles)) + 3
    most = max(len(each.days) for each in strips)
    width = max((room if room is not None else indent + _ROOM) - indent, _LEAST)
    period = next((period for period in _PERIODS if -(-most // period) <= width), _PERIODS[-1])
    lines = [f" {'Days ago':{indent}}{_scale(-(-most // period), period)}"]
    for title, each in zip(titles, strips, strict=True):
        drawn = "".join(_painted(char, colours=colours) for char in _joined(each.days, period))
        lines.append(f" {title:{indent}}{drawn}".rstrip())
    one = "day" if period == 1 else f"span of {period} days"
    lines.append(f" F FULL, d DIFF, {NONE} none, {BAD} not restorable, or waits for release; each stands for a {one}")
    return "\n".join([*lines, "", ""])


def _empty(day: int, awaited: Collection[int] | None) -> str:
    return NONE if awaited is None or day in awaited else NOT_DUE


def _joined(days: Sequence[str], period: int) -> list[str]:
    return [max(days[at : at + period], key=_WORST_LAST.index) for at in range(0, len(days), period)]


def _scale(count: int, period: int) -> str:
    numbers = (str(at * period) for at in range(0, count, _MARK_EVERY))
    return "".join(f"{number:{_MARK_EVERY}}" for number in numbers).rstrip()


def _painted(char: str, *, colours: bool) -> str:
    return painted(char, _COLOURS.get(char)) if colours else char
