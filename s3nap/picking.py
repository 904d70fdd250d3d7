"""Restoring chosen paths of a chain: only the chunks that hold them are fetched."""

from __future__ import annotations

import io
import os
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

from s3nap.contents import BLOCK, Contents, Indexes, Node, members
from s3nap.errors import NothingMatchesError, UsageError, VerificationError
from s3nap.manifest import Archive
from s3nap.ranges import Span, holding, read_spans, starts
from s3nap.reader import Reader
from s3nap.sources import tarfolder
from s3nap.sources.excludes import Matcher
from s3nap.sources.tarindex import Line
from s3nap.sources.tarstream import Gate, Member
from s3nap.sources.tree import extract, make_way, set_times
from s3nap.sources.within import Way

_HINTS = 3
_PIECE = 1 << 20
KINDS = {b"d": "directory", b"-": "file", b"l": "symlink", b"c": "device", b"b": "device", b"p": "fifo"}


def bare(path: str) -> bytes:
    """Return a path as archives name it: ``/etc/hosts`` and ``etc/hosts/`` are ``etc/hosts``."""
    inner = os.fsencode(path).strip(b"/")
    if b".." in inner.split(b"/"):
        raise UsageError(f"{path}: a path in an archive has no ..")
    return inner.removeprefix(b"./") or b"."


def named(path: bytes) -> Line:
    """Return a line of which nothing is known but the path, to ask a Selection about."""
    return Line(0, b"-", b"", b"", 0, b"", path, b"")


class Selection:
    """Says which paths are wanted: those named, with all below them, that ``include`` and ``exclude`` let pass.

    Patterns are those of the directive Exclude.
    """

    def __init__(self, paths: Sequence[str] = (), include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        """Without paths it is everything; UsageError for a path that cannot be."""
        self.paths = [bare(path) for path in paths]
        self._include = Matcher(include) if include else None
        self._exclude = Matcher(exclude)
        self._folder = lru_cache(maxsize=4096)(self._below)

    def __call__(self, line: Line) -> bool:
        """Is this path wanted?"""
        parent, slash, _ = line.path.rpartition(b"/")
        named, included, excluded = self._folder(parent) if slash else self._top
        return (
            (named or line.path in self.paths)
            and (included or self._include is None or self._include.excludes(b"/" + line.path))
            and not (excluded or self._exclude.excludes(b"/" + line.path))
        )

    @property
    def _top(self) -> tuple[bool, bool, bool]:
        return not self.paths or b"." in self.paths, self._include is None, False

    def _below(self, folder: bytes) -> tuple[bool, bool, bool]:
        """What holds for all below a directory: is it named, included, excluded?"""
        parent, slash, _ = folder.rpartition(b"/")
        named, included, excluded = self._folder(parent) if slash else self._top
        return (
            named or folder in self.paths,
            included or (self._include is not None and self._include.excludes(b"/" + folder)),
            excluded or self._exclude.excludes(b"/" + folder),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """What a selection came to: ``nodes`` by path, what their hard links bring along, and their parents' lines."""

    nodes: Mapping[bytes, Node]
    brought: Sequence[Node] = ()
    parents: Sequence[Line] = ()

    @property
    def all(self) -> list[Node]:
        """Every node that is written, in the order of the streams."""
        return sorted([*self.nodes.values(), *self.brought], key=lambda node: (node.run, node.start))

    @property
    def raw_size(self) -> int:
        """Bytes of all files that were chosen."""
        return sum(node.line.size for node in self.all)


@dataclass(slots=True, kw_only=True)
class Cost:
    """What reading a selection takes: chunks, and their bytes as stored and raw."""

    chunks: int = 0
    stored: int = 0
    raw: int = 0


def pick(links: Sequence[Archive], indexes: Indexes, selection: Selection) -> Picked:
    """Find what is wanted in a chain, FULL first; NothingMatchesError if a path is not there."""
    found = Contents(indexes, lambda line: line.is_folder or selection(line)).of(links)
    nodes = {path: node for path, node in found.items() if selection(node.line)}
    for path in selection.paths:
        if not any(name == path or name.startswith(path + b"/") or path == b"." for name in nodes):
            raise NothingMatchesError(_nothing(path, links, indexes))
    if not nodes:
        raise NothingMatchesError(f"archive {links[-1].run} holds nothing that matches")
    brought = _brought(nodes, links, indexes)
    paths = [*nodes, *(node.line.path for node in brought)]
    ways = {folder for path in paths for folder in above(path)} - set(nodes)
    parents = [found[folder].line for folder in sorted(ways) if folder in found]
    return Picked(nodes=nodes, brought=brought, parents=parents)


def above(path: bytes) -> Iterator[bytes]:
    """Yield the directories that a path lies in, the nearest first."""
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path


def _brought(nodes: Mapping[bytes, Node], links: Sequence[Archive], indexes: Indexes) -> list[Node]:
    """Return the targets of hard links that were not chosen themselves; they lie in the same archives."""
    wanted: dict[str, set[bytes]] = defaultdict(set)
    for node in nodes.values():
        target = node.line.link.removeprefix(b"./")
        if node.line.kind == b"h" and (target not in nodes or nodes[target].run != node.run):
            wanted[node.run].add(target)
    return [
        node
        for archive in links
        if archive.run in wanted
        for node in members(archive, indexes)
        if node.line.path in wanted[archive.run] and node.line.kind != b"h"
    ]


def _nothing(path: bytes, links: Sequence[Archive], indexes: Indexes) -> str:
    name = path.rpartition(b"/")[2]
    alike = Contents(indexes, lambda line: line.path.rpartition(b"/")[2] == name).of(links)
    shown = ", ".join("/" + os.fsdecode(each) for each in sorted(alike)[:_HINTS])
    manifest = links[-1].manifest
    said = f"archive {manifest.run} of {manifest.day} holds no /{os.fsdecode(path)}"
    return f"{said}; there is {shown}" if shown else f"{said}: see s3nap ls, or s3nap find for other days"


def spans(nodes: Sequence[Node]) -> list[Span]:
    """Return where nodes of one level lie, in order, neighbours joined."""
    joined: list[Span] = []
    for node in nodes:
        if joined and joined[-1][1] == node.start:
            joined[-1] = (joined[-1][0], node.end)
        else:
            joined.append((node.start, node.end))
    return joined


def cost(reader: Reader, links: Sequence[Archive], picked: Picked) -> Cost:
    """Tell what fetching the picked takes."""
    total = Cost()
    for archive, nodes in _by_archive(links, picked):
        opened = reader.open(archive, whole=False)
        numbers = holding(starts(opened), spans(nodes))
        total.chunks += len(numbers)
        total.stored += sum(opened.lines[number].size for number in numbers)
        total.raw += sum(opened.lines[number].raw_size for number in numbers)
    return total


def _by_archive(links: Sequence[Archive], picked: Picked) -> Iterator[tuple[Archive, list[Node]]]:
    """Yield the archives that are needed, oldest first, with what is needed of each in the order of its stream."""
    runs: dict[str, list[Node]] = defaultdict(list)
    for node in picked.all:
        runs[node.run].append(node)
    yield from ((archive, runs[archive.run]) for archive in links if archive.run in runs)


class _Members:
    """Lets those members pass that are wanted, and remembers which have come."""

    def __init__(self, target: Path) -> None:
        self.names: set[bytes] = set()
        self._way = Way(target)

    def __call__(self, member: Member) -> bool:
        there = member.bare in self.names
        self.names.discard(member.bare)
        if there:
            self._way.check(member.bare, folder=member.type == b"5")
        return there


def write(  # noqa: PLR0913 - what a person says on the command line
    reader: Reader,
    links: Sequence[Archive],
    picked: Picked,
    target: Path,
    *,
    numeric_owner: bool,
    progress: Callable[[int], None] = lambda _size: None,
) -> None:
    """Write what was picked below ``target``, which must exist.

    Raises VerificationError if an archive does not hold what its index says, or the gate refuses it; UsageError if
    links of the target lead out of it; NoKeyError, ProgramError.
    """
    wanted = _Members(target)
    gate = Gate(wanted=wanted)
    folders = {line.path: line for line in (*picked.parents, *(node.line for node in picked.all)) if line.is_folder}
    make_way(target, folders)

    def stream() -> Iterator[bytes | memoryview]:
        for archive, nodes in _by_archive(links, picked):
            opened = reader.open(archive, whole=False)
            wanted.names = {node.line.path for node in nodes}
            yield from gate.members(_ended(read_spans(reader, opened, spans(nodes), progress)))
            if wanted.names:
                name = os.fsdecode(min(wanted.names))
                raise VerificationError(f"{archive.manifest.at.data}: does not hold {name} where its index says")
        # the parents last: tar could not write into one that is read-only already
        wanted.names = {line.path for line in picked.parents}
        yield from gate.members(chain(map(tarfolder.header, picked.parents), [bytes(BLOCK)]))
        yield bytes(2 * BLOCK)

    extract(stream(), target, numeric_owner=numeric_owner)
    set_times(target, folders.values())


def _ended(pieces: Iterator[memoryview]) -> Iterator[memoryview]:
    yield from pieces
    yield memoryview(bytes(BLOCK))


def contents_of(reader: Reader, links: Sequence[Archive], picked: Picked, path: str) -> Iterator[bytes]:
    """Yield the contents of one file that was picked; UsageError if it is none."""
    node = picked.nodes[bare(path)]
    if node.kind != b"-":
        to = f" to {os.fsdecode(node.link)}" if node.link else ""
        raise UsageError(
            f"{path} is no file but a {KINDS.get(node.kind, 'special file')}{to}: restore it into a folder"
        )
    if node.line.kind == b"h":
        node = next(each for each in picked.all if each.line.path == node.line.link.removeprefix(b"./"))
    archive = next(link for link in links if link.run == node.run)
    pieces = read_spans(reader, reader.open(archive, whole=False), [(node.start, node.end)])
    with tarfile.open(fileobj=_Joined(pieces), mode="r|") as stream:
        member = stream.next()
        found = member is not None and os.fsencode(member.name).removeprefix(b"./") == node.line.path
        data = stream.extractfile(member) if member is not None and found and member.isreg() else None
        if data is None:
            raise VerificationError(f"{archive.manifest.at.data}: does not hold {path} where its index says")
        while piece := data.read(_PIECE):
            yield piece


class _Joined(io.RawIOBase):
    """Pieces as one file to read on."""

    def __init__(self, pieces: Iterator[memoryview]) -> None:
        self._pieces = pieces
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts: list[bytes] = []
        while size > 0:
            self._held = self._held or next(self._pieces, memoryview(b""))
            if not self._held:
                break
            parts.append(bytes(self._held[:size]))
            self._held = self._held[size:]
            size -= len(parts[-1])
        return b"".join(parts)
