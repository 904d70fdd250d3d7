r"""Apache-style files made strict: the only module that knows ``apacheconfig``.

``apacheconfig`` parses; but it knows no line numbers, and it accepts what is never meant (a block closed by another
name, a value cut at a ``#``, a directive without a value). So every line is looked at before, what is faulty is
reported with file and line and withheld, and every value that comes back is compared with what was written.

A line is a comment (first character ``#``), a directive (``Name value value``), or opens or closes a block. Values are
split at blanks, ``"..."`` and ``'...'`` hold them together, ``\#`` is a literal ``#``, a backslash at the end continues
the line. ``Include FILE|DIR|PATTERN`` may stand anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apacheconfig import ApacheConfigError, make_lexer, make_parser

from s3nap.conflines import DEPTH, Fault, Line, Origin, Scan
from s3nap.errors import ConfError, Excerpt

_FILES = 1000
_LINKS = 40
_ROOT = Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """One directive: name as written, its values, and their text before it was split.

    Without values only in what ``read`` returns: its value is at fault, and that has been said. ``origin`` means its
    name, ``valued`` all that follows, ``spots`` each value.
    """

    name: str
    values: tuple[str, ...]
    raw: str
    origin: Origin
    valued: Excerpt | None = None
    spots: tuple[Excerpt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A block, or the whole file (no kind). ``name`` is its argument; empty if that is at fault (``read`` only).

    ``origin`` means its kind, ``named`` its name, or its kind where it has none. Of the whole,
    ``files`` are all files that were read, in their order.
    """

    kind: str | None
    name: str | None
    origin: Origin
    entries: tuple[Directive | Section, ...]
    files: tuple[Path, ...] = ()
    named: Excerpt | None = None


def parse(path: Path) -> Section:
    """Return the tree of a file and of all that it includes, or raise ConfError with every fault."""
    tree, faults = read(path)
    if faults:
        raise ConfError(*told(faults))
    return tree


def told(faults: Iterable[Fault]) -> tuple[list[str], dict[str, Excerpt]]:
    """Return what ConfError takes: the faults as they stand in the file, each once, and their lines."""
    ordered = sorted(faults, key=lambda fault: fault.origin[:2])
    excerpts = {str(fault): fault.origin.excerpt for fault in reversed(ordered)}
    return list(dict.fromkeys(map(str, ordered))), {text: line for text, line in excerpts.items() if line is not None}


def read(path: Path, root: Path = _ROOT) -> tuple[Section, list[Fault]]:
    """As ``parse``, but return the faults beside what could be read; only an unreadable ``path`` raises ConfError.

    ``root`` is where the tree lies that absolute names are of, if it was restored to elsewhere than ``/``.
    """
    reader = _Reader(root)
    top = Origin((), str(path))
    try:
        text = _text(_followed(path, root))
    except (OSError, ValueError) as error:
        raise ConfError([f"{path}: cannot be read: {_reason(error)}"]) from error
    entries = reader.file(path, text, ())
    return Section(kind=None, name=None, origin=top, entries=entries, files=tuple(reader.files)), reader.faults


def _text(path: Path) -> str:
    # file names are bytes: what is no UTF-8 must come out of the conf as it went in
    return path.read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class _Reader:
    """Reads a file and what it includes, and collects faults."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.faults: list[Fault] = []
        self.files: list[Path] = []
        self._open: list[Path] = []

    def file(self, path: Path, text: str, order: tuple[int, ...]) -> tuple[Directive | Section, ...]:
        """Return the entries of one file, those of included ones in their place."""
        self._open.append(path.resolve())
        self.files.append(path)
        scan = Scan(path, order, self.faults)
        scan.text(text)
        entries = tuple(self._entries(_apache(scan, self.faults), iter(scan.lines), path))
        self._open.pop()
        return entries

    def _entries(self, tree: list[Any], lines: Iterator[Line], path: Path) -> Iterator[Directive | Section]:
        for node in tree[1:]:
            line = next(lines)
            if node[0] == "block":
                name = self._checked(line, *node[1][::2])
                inner = tuple(self._entries(node[2], lines, path))
                named = name[0] if name else "" if line.raw else None
                yield Section(kind=line.name, name=named, origin=line.origin, entries=inner, named=line.valued)
            elif line.name.lower() == "include":
                for number, word in enumerate(self._checked(line, *node[1:])):
                    yield from self._include(path, word, line.origin.at(line.spots[number]), number)
            else:
                values = self._checked(line, *node[1:])
                yield Directive(
                    name=line.name,
                    values=values,
                    raw=line.raw,
                    origin=line.origin,
                    valued=line.valued,
                    spots=line.spots,
                )

    def _checked(self, line: Line, name: str, raw: str = "") -> tuple[str, ...]:
        if not line.words or (name, raw) == (line.name, line.raw):
            return line.words
        message = f"{line.raw!r} cannot be read safely; put the value in quotes"
        self.faults.append(Fault(line.origin.at(line.valued), message))
        return ()

    def _include(self, path: Path, pattern: str, origin: Origin, number: int) -> Iterator[Directive | Section]:
        try:
            found = _included(path.parent, pattern, self._root)
        except (OSError, ValueError, NotImplementedError, IndexError) as error:
            self.faults.append(Fault(origin, f"Include {pattern}: {_reason(error)}"))
            return
        for index, name in enumerate(found):
            try:
                text = self._included_text(name)
            except (OSError, ValueError, RuntimeError) as error:
                self.faults.append(Fault(origin, f"Include {pattern}: {name}: {_reason(error)}"))
            else:
                yield from self.file(name, text, (*origin.order, number, index))

    def _included_text(self, name: Path) -> str:
        name = _followed(name, self._root)
        if name.resolve() in self._open:
            raise ValueError("it would include itself; take the Include out")
        if len(self.files) >= _FILES or len(self._open) > DEPTH:
            raise ValueError(f"too many files, or too deep; at most {_FILES}, and {DEPTH} in each other")
        if name.exists() and not name.is_file():
            raise ValueError("neither a file nor a directory; name one")  # reading a fifo would never end
        return _text(name)


def _followed(path: Path, root: Path) -> Path:
    """Return what a path means, its own links resolved, where ``root`` is not ``/``."""
    for _ in range(_LINKS if root != _ROOT else 0):
        if not path.is_symlink():
            break
        path = _under(root, path.parent, str(path.readlink()))
    return path


def _under(root: Path, folder: Path, name: str) -> Path:
    return root / name.lstrip("/") if name.startswith("/") else folder / name


def _included(folder: Path, pattern: str, root: Path) -> list[Path]:
    path = _under(root, folder, pattern)
    if path.is_dir():
        return sorted(entry for entry in path.iterdir() if _followed(entry, root).is_file())
    if path.exists() or not any(char in pattern for char in "*?["):
        return [path]
    if "**" in pattern:
        raise ValueError("** is not known; write one pattern per directory")
    base = root if pattern.startswith("/") else folder
    found = sorted(entry for entry in base.glob(pattern.lstrip("/")) if _followed(entry, root).is_file())
    if not found:
        raise ValueError("no file matches; correct the pattern, or name the directory")
    return found


def _apache(scan: Scan, faults: list[Fault]) -> list[Any]:
    """Parse what the scan let through: ``["contents", node, ...]``, empty if there is nothing."""
    options = {
        "ccomments": False,  # "/*" is a pattern of Exclude here
        "useapacheinclude": False,
        "disableemptyelementtags": True,  # "<Directory /home/>" opens a block
        "plug": {"pre_parse_value": _quoted_again},
    }
    parser = make_parser(**options)(make_lexer(**options)(), start="contents")
    try:
        tree: list[Any] = parser.parse("\n".join([*scan.fed, ""]) or "\n")
    except ApacheConfigError as error:
        faults.append(Fault(Origin((*scan.order, 0), str(scan.path)), f"cannot be parsed: {error}"))
        return []
    return tree


def _quoted_again(option: str, value: str) -> tuple[bool, str, str]:
    # apacheconfig unquotes a value that is quoted as a whole, also 'a' 'b', and then takes "<<x" for a here-document
    for quote, mark in (('"', "is_double_quoted"), ("'", "is_single_quoted")):
        if getattr(value, mark, False):
            return True, option, f"{quote}{value}{quote}"
    return True, option, value
