"""What tar says on standard error, told apart: harmless, a file that could not be read, or a failed dump.

tar's exit status alone cannot tell: 1 stands for "a file changed" and for an unusable snapshot with no output at all
(docs/tar.md 2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

# names may hold anything, so a line is recognised by its end
_LINE = re.compile(
    r"""(?:\S*/)?tar:\ (?P<name>.*):\ (?:
        (?P<renamed>Directory\ has\ been\ renamed\ from\ .*)
      | (?P<vanished>File\ removed\ before\ we\ read\ it|Warning:\ Cannot\ \w+:\ No\ such\ file\ or\ directory)
      | (?P<unreadable>(?:Warning:\ )?(?:Cannot\ (?:open|stat|read|readlink|opendir|fstat|savedir|close|seek)\b.*
            |Read\ error\ at\ byte\ .*|File\ name\ too\ long.*))
      | (?P<harmless>file\ changed\ as\ we\ read\ it|File\ shrank\ by\ \d+\ bytes?;\ padding\ with\ zeros
            |socket\ ignored|file\ is\ on\ a\ different\ filesystem;\ not\ dumped|Directory\ is\ new|Warning:\ .*)
    )""",
    re.VERBOSE,
)
_END = re.compile(r"(?:\S*/)?tar: Exiting with failure status due to previous errors")
_ESCAPE = re.compile(r"\\([0-7]{3}|.)", re.DOTALL)
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(slots=True)
class Messages:
    """Sorted lines; names are tar's, unescaped, as bytes."""

    warnings: list[str] = field(default_factory=list)
    unreadable: list[bytes] = field(default_factory=list)
    vanished: list[bytes] = field(default_factory=list)
    renamed: bool = False
    unknown: list[str] = field(default_factory=list)


def sort(lines: Iterable[str]) -> Messages:
    """Sort the lines of tar's standard error."""
    result = Messages()
    for line in lines:
        text = line.rstrip("\n")
        if not text or _END.fullmatch(text):
            continue
        match = _LINE.fullmatch(text)
        if match is None or match.lastgroup is None:
            result.unknown.append(text)
            continue
        if match["renamed"]:
            result.renamed = True
            continue
        result.warnings.append(text)
        if match["vanished"]:
            result.vanished.append(unescape(match["name"]))
        elif match["unreadable"]:
            result.unreadable.append(unescape(match["name"]))
    return result


def unescape(name: str) -> bytes:
    """Undo ``--quoting-style=escape``."""

    def letter(match: re.Match[str]) -> str:
        word = match[1]
        return chr(int(word, 8)) if len(word) == 3 else _LETTERS.get(word, word)

    return _ESCAPE.sub(letter, name).encode("latin-1", "replace")
