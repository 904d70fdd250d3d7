"""How the text of a value in a conf is split into words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_PIECE = re.compile(
    r"""(?P<blank>[ \t]+)
      | "(?P<double>(?:\\.|[^"\\])*)"
      | '(?P<single>(?:\\.|[^'\\])*)'
      | (?P<plain>(?:\\["'\#]|[^ \t"'])+)""",
    re.VERBOSE,
)
_COMMENT = re.compile(r"(?<!\\)#")
_BARE = re.compile(r"[\w/.@:,%+-][\w/.@:,%+=*?-]*", re.ASCII)
_IMPOSSIBLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class BadValueError(ValueError):
    """What is wrong with a value; what to do. It is from ``start`` to before ``end`` of the value's text."""

    def __init__(self, message: str, start: int, end: int) -> None:
        super().__init__(message)
        self.start = start
        self.end = end


class Word(NamedTuple):
    """A word, and where it stands in the value's text, quotes included."""

    text: str
    start: int
    end: int


def split(raw: str) -> list[Word]:
    r"""Split at blanks; quotes hold together, as in a shell also inside a word (``--where='a b'`` is one).

    ``\#`` is ``#``; ``\"`` and ``\'`` are the quotes, ``\\`` inside of quotes a backslash; other backslashes stay.
    Raises BadValueError for a bare ``#``, unbalanced quotes, an empty word, invisible
    characters outside of quotes, and what ``apacheconfig`` would take for something else.
    """
    if not raw:
        raise BadValueError("has no value; write one, or take the line out", 0, 0)
    if raw.startswith("="):
        raise BadValueError("no '=' between name and value; a value that begins with it must stand in quotes", 0, 1)
    if found := _COMMENT.search(raw):
        message = r"a '#' in a value; comments go on a line of their own, a literal one is written \#"
        raise BadValueError(message, *found.span())
    if raw.startswith("<<"):
        raise BadValueError("here-documents (<<) are not known; put the value in quotes", 0, 2)
    words = list(_words(raw))
    if raw.endswith("\\"):
        message = "a value that ends in a backslash must stand in quotes, the backslash doubled"
        raise BadValueError(message, len(raw) - 1, len(raw))
    return words


def whole(raw: str) -> str:
    """Return the argument of a block, which is one name even if it holds blanks; raises as ``split``."""
    if ">" in raw:  # apacheconfig would end the tag there
        bracket = raw.index(">")
        raise BadValueError("a block's name cannot hold '>'; write a line instead", bracket, bracket + 1)
    words = split(raw)
    if len(words) == 1:
        return words[0].text
    if any(quote in raw for quote in "\"'"):
        raise BadValueError("a block has one name; put all of it in quotes", 0, len(raw))
    return raw.replace(r"\#", "#")


def quoted(word: str, *, block: bool = False) -> str:
    """Return the text that ``split``, or for a ``block`` ``whole``, takes for this one word; ValueError if none is."""
    if not word or _IMPOSSIBLE.search(word) or (block and ">" in word):
        raise ValueError(f"{word!r} cannot stand in a conf")
    if _BARE.fullmatch(word):
        return word
    return '"' + re.sub(r'(["\\#])', r"\\\1", word) + '"'


def _words(raw: str) -> Iterator[Word]:
    """Yield the words, each made of all pieces up to the next blank."""
    text, start, position = "", -1, 0
    while position < len(raw):
        match = _PIECE.match(raw, position)
        if match is None:
            quote = raw[position]
            message = f"unbalanced {quote}; close it, or write \\{quote} for a literal one"
            raise BadValueError(message, position, len(raw))
        if match.lastgroup == "blank":
            yield from _word(text, start, position)
            text, start = "", -1
        else:
            start = position if start < 0 else start
            text += _unescaped(match)
        position = match.end()
    yield from _word(text, start, position)


def _word(text: str, start: int, end: int) -> Iterator[Word]:
    if start >= 0:
        if not text:
            raise BadValueError("an empty value; write one, or take it out", start, end)
        yield Word(text, start, end)


def _unescaped(match: re.Match[str]) -> str:
    text = match[match.lastgroup or 0]
    if match.lastgroup == "plain":
        odd = next((index for index, char in enumerate(text) if char.isspace()), None)
        if odd is not None:
            message = f"invisible character U+{ord(text[odd]):04X}; take it out, or put the value in quotes"
            raise BadValueError(message, match.start() + odd, match.start() + odd + 1)
        return re.sub(r"\\([\"'#])", r"\1", text)
    return re.sub(r"\\([\"'#\\])", r"\1", text)
