"""How the text of a value in a conf is split into words."""

from __future__ import annotations

import re

_PIECE = re.compile(
    r"""(?P<blank>[ \t]+)
      | "(?P<double>(?:\\.|[^"\\])*)"
      | '(?P<single>(?:\\.|[^'\\])*)'
      | (?P<plain>(?:\\["'\#]|[^ \t"'])+)""",
    re.VERBOSE,
)
_COMMENT = re.compile(r"(?<!\\)#")


def split(raw: str) -> list[str]:
    r"""Split at blanks; quotes hold together, as in a shell also inside a word (``--where='a b'`` is one).

    ``\#`` is ``#``; ``\"`` and ``\'`` are the quotes, ``\\`` inside of quotes a backslash; other backslashes stay.
    Raises ValueError (what is wrong; what to do) for a bare ``#``, unbalanced quotes, an empty word, invisible
    characters outside of quotes, and what ``apacheconfig`` would take for something else.
    """
    if not raw:
        raise ValueError("has no value; write one, or take the line out")
    if raw.startswith("="):
        raise ValueError("no '=' between name and value; a value that begins with it must stand in quotes")
    if _COMMENT.search(raw):
        raise ValueError(r"a '#' in a value; comments go on a line of their own, a literal one is written \#")
    if raw.startswith("<<"):
        raise ValueError("here-documents (<<) are not known; put the value in quotes")
    words: list[str] = []
    for found in _pieces(raw):
        if found == " ":
            words.append("")
        else:
            words[-1] += found[1:]
            if not words[-1]:
                raise ValueError("an empty value; write one, or take it out")
    if raw.endswith("\\"):
        raise ValueError("a value that ends in a backslash must stand in quotes, the backslash doubled")
    return words


def whole(raw: str) -> str:
    """Return the argument of a block, which is one name even if it holds blanks; raises as ``split``."""
    words = split(raw)
    if len(words) == 1:
        return words[0]
    if any(quote in raw for quote in "\"'"):
        raise ValueError("a block has one name; put all of it in quotes")
    return raw.replace(r"\#", "#")


def _pieces(raw: str) -> list[str]:
    """Pieces of words, each marked by a leading ``=``, and a blank where a new word begins."""
    pieces, position, new = list[str](), 0, True
    while position < len(raw):
        match = _PIECE.match(raw, position)
        if match is None:
            raise ValueError(f"unbalanced {raw[position]}; close it, or write \\{raw[position]} for a literal one")
        position = match.end()
        if match.lastgroup == "blank":
            new = True
            continue
        if new:
            pieces.append(" ")
        new = False
        pieces.append("=" + _unescaped(match))
    return pieces


def _unescaped(match: re.Match[str]) -> str:
    text = match[match.lastgroup or 0]
    if match.lastgroup == "plain":
        if odd := next((char for char in text if char.isspace()), None):
            raise ValueError(f"invisible character U+{ord(odd):04X}; take it out, or put the value in quotes")
        return re.sub(r"\\([\"'#])", r"\1", text)
    return re.sub(r"\\([\"'#\\])", r"\1", text)
