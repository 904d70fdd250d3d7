"""The lines of a conf, each looked at before ``apacheconfig`` parses them: what is faulty is reported and withheld."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from s3nap.confwords import BadValueError, split, whole
from s3nap.errors import Excerpt

NO_KIND = "-"
"""Kind of a block whose kind is at fault: it stands in the tree so that what is in it is read, too."""

DEPTH = 20
"""How deep blocks, and includes, may be nested."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_END_OF_LINE = re.compile(r"\r\n|\n|\r")
_CONTINUED = re.compile(r"(?<!\\)(?:\\\\)*\\$")


class Origin(NamedTuple):
    """Where something stands: ``text`` for people (``file:line``), ``order`` for sorting, across includes.

    ``excerpt`` is the line, and what is meant in it, if it stands in one.
    """

    order: tuple[int, ...]
    text: str
    excerpt: Excerpt | None = None

    def at(self, excerpt: Excerpt | None) -> Origin:
        """Return the same place, with something else in the line meant."""
        return self._replace(excerpt=excerpt)


class Fault(NamedTuple):
    """What is wrong, and where."""

    origin: Origin
    message: str

    def __str__(self) -> str:
        return f"{self.origin.text}: {self.message}"


class Written(NamedTuple):
    """A line as it is written: ``text`` is all of it in one, ``parts`` where in it each line of the file begins."""

    number: int
    text: str
    parts: tuple[tuple[int, str], ...]

    def excerpt(self, start: int, end: int) -> Excerpt:
        """Return the line of the file in which ``text[start:end]`` begins."""
        begin, line = next(part for part in reversed(self.parts) if part[0] <= start or part == self.parts[0])
        return Excerpt(line, start - begin, end - begin)


class Line(NamedTuple):
    """What is handed to apacheconfig for one statement or opening tag, and what must come back.

    ``origin`` means its name, ``valued`` all that follows it, ``spots`` each word.
    """

    name: str
    raw: str
    words: tuple[str, ...]
    origin: Origin
    valued: Excerpt
    spots: tuple[Excerpt, ...] = ()


class Scan:
    """Looks at each line of one file: ``lines`` are the good ones, ``fed`` their text for apacheconfig."""

    def __init__(self, path: Path, order: tuple[int, ...], faults: list[Fault]) -> None:
        self.path = path
        self.order = order
        self.lines: list[Line] = []
        self.fed: list[str] = []
        self._faults = faults
        self._blocks: list[Line] = []

    def text(self, text: str) -> None:
        """Scan all lines, to the end or to a block that is nested too deep."""
        for line in logical_lines(text):
            self._line(line)
            if len(self._blocks) > DEPTH:
                self._fault(self._at(line), f"blocks are nested more than {DEPTH} deep; close some")
                break
        else:
            for block in (block for block in self._blocks if block.name != NO_KIND):
                self._fault(block.origin, f"<{block.name}> is never closed; add </{block.name}>")
        self.fed += [f"</{block.name}>" for block in reversed(self._blocks)]

    def _fault(self, origin: Origin, message: str) -> None:
        self._faults.append(Fault(origin, message))

    def _at(self, line: Written, start: int = 0, end: int | None = None) -> Origin:
        excerpt = line.excerpt(start, len(line.text) if end is None else end)
        return Origin((*self.order, line.number), f"{self.path}:{line.number}", excerpt)

    def _line(self, line: Written) -> None:
        text = line.text
        if text.startswith("#"):
            if _CONTINUED.search(text):
                message = "a comment ends in a backslash, is the next line part of it? Take the backslash out"
                self._fault(self._at(line, len(text) - 1), message)
        elif found := _CONTROL.search(text):
            self._fault(self._at(line, *found.span()), f"control character {found[0]!r}; take it out")
        elif text.startswith("</"):
            self._close(line)
        elif text.startswith("<"):
            self._opening(line)
        elif text:
            self._statement(line)

    def _statement(self, line: Written) -> None:
        match = _NAME.match(line.text)
        end = match.end() if match else 0
        if match is None or line.text[end : end + 1] not in {"", " ", "\t", "="}:
            word = re.split(r"[ \t]", line.text, maxsplit=1)[0]
            hint = "; comments begin with # on a line of their own" if word[:1] in {";", "/"} else ""
            message = f"{word!r} is no name of a directive{hint or '; letters, digits, _ and - make one'}"
            self._fault(self._at(line, 0, len(word)), message)
            return
        name, raw = match[0], line.text[end:].strip(" \t")
        begin = len(line.text) - len(raw)  # of the value: the text is stripped
        made = Line(name, raw, (), self._at(line, 0, end), line.excerpt(begin, len(line.text)))
        try:
            words = split(raw)
        except BadValueError as error:
            wrong = self._at(line, begin + error.start, begin + error.end) if raw else made.origin
            self._fault(wrong, f"{name}: {error}")
        else:
            spots = tuple(line.excerpt(begin + word.start, begin + word.end) for word in words)
            made = made._replace(words=tuple(word.text for word in words), spots=spots)
        self.lines.append(made)
        self.fed.append(f"{name} {raw}" if made.words else name)

    def _opening(self, line: Written) -> None:
        inner, end, rest = line.text[1:].strip(" \t"), "", ""
        if inner.endswith(">"):
            inner = inner[:-1].strip(" \t")
        else:
            inner, end, rest = (part.strip(" \t") for part in inner.partition(">"))
            wrong = f"nothing may follow its '>', not {rest!r}" if end else "it must end in '>'"
            message = f"a block opens with <Kind name>; {wrong}; comments go on a line of their own"
            self._fault(self._at(line, line.text.find(">") + 1 if end else len(line.text) - 1), message)
        match = _NAME.match(inner)
        raw = inner[match.end() :] if match else ""
        if match is None or raw[:1] not in {"", " ", "\t"}:
            message = f"<{inner}> is no kind of block; write <Kind name>" if inner else "empty < >; write <Kind name>"
            self._fault(self._at(line), message)
            self._push(NO_KIND, "", line)  # so that its closing tag is not reported as well
        else:
            self._push(match[0], raw.strip(" \t"), line)

    def _push(self, kind: str, raw: str, line: Written) -> None:
        at = line.text.find(kind) if kind != NO_KIND else 0
        origin = self._at(line, at, at + len(kind))
        begin = line.text.find(raw, at + len(kind))
        words: tuple[str, ...] = ()
        try:
            words = (whole(raw),) if raw else ()
        except BadValueError as error:
            self._fault(self._at(line, begin + error.start, begin + error.end), f"<{kind}>: {error}")
        named = line.excerpt(begin, begin + len(raw)) if raw else line.excerpt(at, at + len(kind))
        block = Line(kind, raw, words, origin, named, (named,))
        self.lines.append(block)
        self._blocks.append(block)
        self.fed.append(f"<{kind} {raw}>" if words else f"<{kind}>")

    def _close(self, line: Written) -> None:
        name = line.text[2:].rstrip(" \t").removesuffix(">").strip(" \t")
        origin = self._at(line)
        if not self._blocks:
            self._fault(origin, f"</{name}> closes nothing; take it out, or open a block before")
            return
        block = self._blocks[-1]
        if not line.text.endswith(">"):
            self._fault(origin, f"</{block.name}> must end in '>'; comments go on a line of their own")
        elif block.name.lower() != name.lower() and block.name != NO_KIND:
            opened = f"<{block.name}> of {block.origin.text}"
            self._fault(origin, f"</{name}> closes {opened}; write </{block.name}>")
            if name.lower() in {outer.name.lower() for outer in self._blocks}:  # then its own tag is what is missing
                while self._blocks[-1].name.lower() != name.lower():
                    self.fed.append(f"</{self._blocks.pop().name}>")
        self.fed.append(f"</{self._blocks.pop().name}>")


def logical_lines(text: str) -> Iterator[Written]:
    """Yield each line, stripped, continued ones joined, blank ones left out."""
    first, parts = 0, list[str]()
    for number, line in enumerate(_END_OF_LINE.split(text), 1):
        first = first if parts else number
        whole = line.strip(" \t")
        comment = not parts and whole.startswith("#")
        parts.append(line)
        if not _CONTINUED.search(line) or comment:
            yield from _written(first, parts, continued=False)
            parts = []
    yield from _written(first, parts, continued=True)


def _written(number: int, lines: list[str], *, continued: bool) -> Iterator[Written]:
    """Join the lines of a file to one; all but the last end in a backslash, with ``continued`` that one as well."""
    ends = len(lines) if continued else len(lines) - 1
    kept = [line[:-1] if index < ends else line for index, line in enumerate(lines)]
    joined = "".join(kept)
    text = joined.strip(" \t")
    if text:
        position = len(joined.rstrip(" \t")) - len(text)
        starts = accumulate(map(len, kept), initial=-position)
        yield Written(number, text, tuple(zip(starts, lines, strict=False)))
