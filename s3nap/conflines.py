"""The lines of a conf, each looked at before ``apacheconfig`` parses them: what is faulty is reported and withheld."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from s3nap.confwords import split, whole

NO_KIND = "-"
"""Kind of a block whose kind is at fault: it stands in the tree so that what is in it is read, too."""

DEPTH = 20
"""How deep blocks, and includes, may be nested."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_END_OF_LINE = re.compile(r"\r\n|\n|\r")
_CONTINUED = re.compile(r"(?<!\\)(?:\\\\)*\\$")


class Origin(NamedTuple):
    """Where something stands: ``text`` for people (``file:line``), ``order`` for sorting, across includes."""

    order: tuple[int, ...]
    text: str


class Fault(NamedTuple):
    """What is wrong, and where."""

    origin: Origin
    message: str

    def __str__(self) -> str:
        return f"{self.origin.text}: {self.message}"


class Line(NamedTuple):
    """What is handed to apacheconfig for one statement or opening tag, and what must come back."""

    name: str
    raw: str
    words: tuple[str, ...]
    origin: Origin


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
        for number, line in logical_lines(text):
            origin = Origin((*self.order, number), f"{self.path}:{number}")
            self._line(line, origin)
            if len(self._blocks) > DEPTH:
                self._fault(origin, f"blocks are nested more than {DEPTH} deep; close some")
                break
        else:
            for block in (block for block in self._blocks if block.name != NO_KIND):
                self._fault(block.origin, f"<{block.name}> is never closed; add </{block.name}>")
        self.fed += [f"</{block.name}>" for block in reversed(self._blocks)]

    def _fault(self, origin: Origin, message: str) -> None:
        self._faults.append(Fault(origin, message))

    def _line(self, line: str, origin: Origin) -> None:
        if line.startswith("#"):
            if _CONTINUED.search(line):
                self._fault(
                    origin, "a comment ends in a backslash, is the next line part of it? Take the backslash out"
                )
        elif found := _CONTROL.search(line):
            self._fault(origin, f"control character {found[0]!r}; take it out")
        elif line.startswith("</"):
            self._close(line, origin)
        elif line.startswith("<"):
            self._opening(line, origin)
        elif line:
            self._statement(line, origin)

    def _statement(self, line: str, origin: Origin) -> None:
        name, raw = self._name(line, origin)
        if name is None:
            return
        words: tuple[str, ...] = ()
        try:
            words = tuple(split(raw))
        except ValueError as error:
            self._fault(origin, f"{name}: {error}")
        self.lines.append(Line(name, raw, words, origin))
        self.fed.append(f"{name} {raw}" if words else name)

    def _name(self, line: str, origin: Origin) -> tuple[str | None, str]:
        match = _NAME.match(line)
        end = match.end() if match else 0
        if match is None or line[end : end + 1] not in {"", " ", "\t", "="}:
            word = re.split(r"[ \t]", line, maxsplit=1)[0]
            hint = "; comments begin with # on a line of their own" if word[:1] in {";", "/"} else ""
            self._fault(origin, f"{word!r} is no name of a directive{hint or '; letters, digits, _ and - make one'}")
            return None, ""
        return match[0], line[end:].strip(" \t")

    def _opening(self, line: str, origin: Origin) -> None:
        inner, end, rest = line[1:].strip(" \t"), "", ""
        if inner.endswith(">"):
            inner = inner[:-1].strip(" \t")
        else:
            inner, end, rest = (part.strip(" \t") for part in inner.partition(">"))
            wrong = f"nothing may follow its '>', not {rest!r}" if end else "it must end in '>'"
            self._fault(origin, f"a block opens with <Kind name>; {wrong}; comments go on a line of their own")
        match = _NAME.match(inner)
        raw = inner[match.end() :] if match else ""
        if match is None or raw[:1] not in {"", " ", "\t"}:
            self._fault(
                origin, f"<{inner}> is no kind of block; write <Kind name>" if inner else "empty < >; write <Kind name>"
            )
            self._push(NO_KIND, "", origin)  # so that its closing tag is not reported as well
        else:
            self._push(match[0], raw.strip(" \t"), origin)

    def _push(self, kind: str, raw: str, origin: Origin) -> None:
        words: tuple[str, ...] = ()
        try:
            words = (whole(raw),) if raw else ()
        except ValueError as error:
            self._fault(origin, f"<{kind}>: {error}")
        line = Line(kind, raw, words, origin)
        self.lines.append(line)
        self._blocks.append(line)
        self.fed.append(f"<{kind} {raw}>" if words else f"<{kind}>")

    def _close(self, line: str, origin: Origin) -> None:
        name = line[2:].rstrip(" \t").removesuffix(">").strip(" \t")
        if not self._blocks:
            self._fault(origin, f"</{name}> closes nothing; take it out, or open a block before")
            return
        block = self._blocks[-1]
        if not line.endswith(">"):
            self._fault(origin, f"</{block.name}> must end in '>'; comments go on a line of their own")
        elif block.name.lower() != name.lower() and block.name != NO_KIND:
            opened = f"<{block.name}> of {block.origin.text}"
            self._fault(origin, f"</{name}> closes {opened}; write </{block.name}>")
            if name.lower() in {outer.name.lower() for outer in self._blocks}:  # then its own tag is what is missing
                while self._blocks[-1].name.lower() != name.lower():
                    self.fed.append(f"</{self._blocks.pop().name}>")
        self.fed.append(f"</{self._blocks.pop().name}>")


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Number of the first line and stripped text of each line, continued ones joined, blank ones left out."""
    first, parts = 0, list[str]()
    for number, line in enumerate(_END_OF_LINE.split(text), 1):
        first = first if parts else number
        whole = line.strip(" \t")
        comment = not parts and whole.startswith("#")
        if _CONTINUED.search(line) and not comment:
            parts.append(line[:-1])
            continue
        parts.append(line)
        if joined := "".join(parts).strip(" \t"):
            yield first, joined
        parts = []
    if joined := "".join(parts).strip(" \t"):
        yield first, joined
