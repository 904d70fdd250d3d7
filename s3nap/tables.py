"""Tables for people: columns as wide as they must be; on a terminal cells are folded so that lines are not."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Iterable, Sequence
from unicodedata import combining, east_asian_width

_GAP = "   "


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[str] = ()) -> str:
    """Draw rows under their heads; the columns in ``right`` are numbers.

    Where nobody is looking nothing is folded: a pipe takes lines of any length.
    """
    cells = [heads, *rows]
    widths = [max(_width(row[column]) for row in cells) for column in range(len(heads))]
    if sys.stdout.isatty():
        _narrow(widths, shutil.get_terminal_size().columns - 1 - len(_GAP) * (len(heads) - 1))
    drawn = [line for row in cells for line in _lines(row, widths, [head in right for head in heads])]
    height = len(list(_lines(heads, widths, [False] * len(heads))))
    drawn.insert(height, " " + "─" * (sum(widths) + len(_GAP) * (len(heads) - 1)))
    return "\n".join(["", *drawn, "", ""])


def _narrow(widths: list[int], room: int) -> None:
    """Make the widest columns narrower until all fit."""
    while sum(widths) > room and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1


def _lines(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> Iterable[str]:
    folded = [_folded(cell, width) for cell, width in zip(row, widths, strict=True)]
    for number in range(max(map(len, folded))):
        line = ""
        for parts, width, to_right in zip(folded, widths, right, strict=True):
            part = parts[number] if number < len(parts) else ""
            space = " " * (width - _width(part))
            line += (_GAP if line else " ") + (space + part if to_right else part + space)
        yield line.rstrip()


def _folded(text: str, width: int) -> list[str]:
    lines = []
    while _width(text) > width:
        end = next(count for count in range(len(text), 0, -1) if count == 1 or _width(text[:count]) <= width)
        space = text.rfind(" ", 1, end + 1)
        end = space if space > 0 else end
        lines.append(text[:end].rstrip())
        text = text[end:].lstrip()
    return [*lines, text]


def _width(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(char) in "WF" else 0 if combining(char) else 1 for char in text)
