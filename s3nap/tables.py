"""Tables for people: columns as wide as they must be; on a terminal cells are folded so that lines are not."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from unicodedata import combining, east_asian_width

from s3nap.colours import painted, wanted

_GAP = "   "
_READABLE = 20  # columns; what is shorter should not be folded

Paint = Callable[[str, str], str | None]
"""A column's head and a cell of it -> the cell's colour, or None."""


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Collection[str] = (),
    paint: Paint | None = None,
    spare: Sequence[str] = (),
) -> str:
    """Draw rows under their heads; the columns in ``right`` are numbers, ``paint`` is asked where colours are wanted.

    On a terminal what is wide is folded, and where that would make columns too narrow to read, those in ``spare`` are
    left out, in their order. Where nobody is looking nothing is folded or left out: a pipe takes lines of any length.
    """
    cells = [list(heads), *map(list, rows)]
    widths = _fitting(cells, list(spare), room_for_lines())
    heads = cells[0]
    colours = _colours(heads, cells, paint if wanted(sys.stdout) else None)
    to_right = [head in right for head in heads]
    drawn = [
        line for row, painting in zip(cells, colours, strict=True) for line in _lines(row, widths, to_right, painting)
    ]
    height = max(len(folded(head, width)) for head, width in zip(heads, widths, strict=True))
    drawn.insert(height, " " + ruled("─") * (sum(widths) + len(_GAP) * (len(heads) - 1)))
    return "\n".join(["", *drawn, "", ""])


def _fitting(cells: list[list[str]], spare: list[str], room: int | None) -> list[int]:
    """Return the widths of the columns; columns in ``spare`` that there is no room for are taken out of ``cells``."""
    natural = [max(_width(row[column]) for row in cells) for column in range(len(cells[0]))]
    if room is None:
        return natural
    widths = list(natural)
    _narrow(widths, room - len(_GAP) * (len(widths) - 1))
    if spare and any(width < min(wish, _READABLE) for width, wish in zip(widths, natural, strict=True)):
        column = cells[0].index(spare.pop(0))
        for row in cells:
            del row[column]
        return _fitting(cells, spare, room)
    return widths


def room_for_lines() -> int | None:
    """Return how many columns lines may have, after a blank at their beginning; None where nobody is looking."""
    return shutil.get_terminal_size().columns - 1 if sys.stdout.isatty() else None


def ruled(char: str) -> str:
    """Return a character for lines, or ``-`` where standard output cannot show it."""
    try:
        char.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "-"
    return char


def _colours(heads: Sequence[str], cells: Sequence[Sequence[str]], paint: Paint | None) -> list[list[str | None]]:
    """Return a colour, or None, for each cell; the heads have none."""
    if paint is None:
        return [[None] * len(heads) for _ in cells]
    return [
        [paint(head, cell) if number else None for head, cell in zip(heads, row, strict=True)]
        for number, row in enumerate(cells)
    ]


def _narrow(widths: list[int], room: int) -> None:
    """Make the widest columns narrower until all fit."""
    while sum(widths) > room and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1


def _lines(
    row: Sequence[str], widths: Sequence[int], right: Sequence[bool], colours: Sequence[str | None]
) -> Iterable[str]:
    parts_of = [folded(cell, width) for cell, width in zip(row, widths, strict=True)]
    for number in range(max(map(len, parts_of))):
        line, spaces = "", " "
        for parts, width, to_right, colour in zip(parts_of, widths, right, colours, strict=True):
            part = parts[number] if number < len(parts) else ""
            space = " " * (width - _width(part))
            if part:  # blanks at the end of a line are not written
                line += spaces + (space if to_right else "") + painted(part, colour)
                spaces = "" if to_right else space
            else:
                spaces += space
            spaces += _GAP
        yield line


def folded(text: str, width: int | None) -> list[str]:
    """Break a text into lines of at most ``width`` cells, after blanks or slashes if it has any; None: not at all."""
    if width is None:
        return [text]
    lines = []
    while _width(text) > width:
        end = next(count for count in range(len(text), 0, -1) if count == 1 or _width(text[:count]) <= width)
        end = max(text.rfind(" ", 1, end + 1), text.rfind("/", 1, end) + 1, 0) or end
        lines.append(text[:end].rstrip())
        text = text[end:].lstrip()
    return [*lines, text]


def _width(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(char) in "WF" else 0 if combining(char) else 1 for char in text)
