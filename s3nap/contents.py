"""What a chain of tar archives holds, path by path, and which of its archives holds each as it was last.

An archive's index says what it holds. Its listing, the one in tar's own snapshot, says what was there when it was
made: what the index of a DIFF does not have but its listing does is as the parent has it. A full restore goes by the
same rule, so both come to the same tree.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from s3nap.compression import COMPRESSIONS
from s3nap.errors import NothingMatchesError, VerificationError
from s3nap.manifest import Archive
from s3nap.reader import Reader
from s3nap.sources import dirstate, tarindex
from s3nap.sources.census import below, path_hash
from s3nap.sources.snapshot import Snapshot
from s3nap.sources.tarindex import Line
from s3nap.state import JobState

Wanted = Callable[[Line], bool]
BLOCK = 512


class Node(NamedTuple):
    """A member: its line, the run of the archive that holds it, its bytes there, the line that describes the file.

    ``start`` and ``end`` are offsets in the raw stream, header included. ``file`` is the line itself or, of a hard
    link, that of its target, which has the size and says what it is.
    """

    line: Line
    run: str
    start: int
    end: int
    file: Line

    @property
    def kind(self) -> bytes:
        """The letter that ``ls`` shows: a hard link is what its target is."""
        return self.file.kind

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.file.size

    @property
    def link(self) -> bytes:
        """Where a symbolic link points to, else empty."""
        return self.file.link if self.kind == b"l" else b""

    @property
    def version(self) -> tuple[bytes, ...]:
        """What two members have in common that are the same file unchanged."""
        line = self.line
        return (self.kind, b"%d" % self.size, line.time, line.mode, line.owner, self.link)


class Indexes(Protocol):
    """Where indexes and listings come from."""

    def index(self, archive: Archive) -> Iterable[bytes]:
        """Return the lines of an index; VerificationError, NoKeyError, S3napError if that cannot be had."""
        ...

    def listing(self, archive: Archive, work: Path) -> Path:
        """Return a file (below ``work``) that ``dirstate`` reads the snapshot of; errors as above."""
        ...


class KeptIndexes:
    """The copies in DiffDir: no key, no network."""

    def __init__(self, state: JobState) -> None:
        """Look into what is remembered of one job."""
        self._state = state

    def has(self, links: Sequence[Archive]) -> bool:
        """Is there a copy of everything that belongs to this chain?"""
        runs = [link.run for link in links]
        return all(self._state.kept(run, role) is not None for run in runs for role in ("index", "listing"))

    def index(self, archive: Archive) -> Iterable[bytes]:
        """As the Protocol says."""
        return _lines(self._plain(archive, "index"))

    def listing(self, archive: Archive, work: Path) -> Path:
        """As the Protocol says."""
        target = work / f"{archive.run}.listing"
        with target.open("wb") as file:
            for piece in self._plain(archive, "listing"):
                file.write(piece)
        return target

    def _plain(self, archive: Archive, role: str) -> Iterator[bytes]:
        copy = self._state.kept(archive.run, role)
        if copy is None:
            raise NothingMatchesError(f"DiffDir holds no {role} of archive {archive.run}")
        return COMPRESSIONS[archive.manifest.compression].unpack(copy)


class StoredIndexes:
    """What is stored with the archives."""

    def __init__(self, reader: Reader, work: Path) -> None:
        """``work`` is a private folder, where what was read is kept."""
        self._reader = reader
        self._work = work

    def index(self, archive: Archive) -> Iterable[bytes]:
        """As the Protocol says."""
        with self._side(archive, "index").open("rb") as lines:
            yield from lines

    def listing(self, archive: Archive, work: Path) -> Path:  # noqa: ARG002 - it has a folder of its own
        """As the Protocol says."""
        return self._side(archive, "state")

    def _side(self, archive: Archive, role: str) -> Path:
        target = self._work / f"{archive.run}.{role}"
        if target.exists():
            return target
        opened = self._reader.open(archive, whole=False)
        found = self._reader.side(opened, role, target)
        if found is None:
            raise VerificationError(
                f"{archive.manifest.at.manifest}: names no {role}: only a whole restore is possible"
            )
        return found


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line + b"\n" for line in whole)
    if rest:
        yield rest


class Contents:
    """What chains hold of the paths that are wanted. What was read of an archive is kept for the next chain."""

    def __init__(self, indexes: Indexes, wanted: Wanted = lambda _line: True) -> None:
        """Memory grows with what is wanted and, where a DIFF is looked at, by a hash for each path there was."""
        self._indexes = indexes
        self._wanted = wanted
        self._nodes: dict[str, list[Node]] = {}

    def of(self, links: Sequence[Archive]) -> dict[bytes, Node]:
        """Return the wanted paths of a chain, FULL first, as its last archive has them.

        Paths have no slash before or after them. Raises what ``Indexes`` raises.
        """
        nodes: dict[bytes, Node] = {}
        listing = Listing(self._indexes, links[-1])
        for archive in links[:-1]:
            nodes.update((node.line.path, node) for node in self.held(archive) if listing.has(node.line.path))
        before = set(nodes)
        nodes.update((node.line.path, node) for node in self.held(links[-1]))
        for path in [path for path in listing.missing if path in before] if before else ():
            if self._was_gone(nodes[path], links):
                del nodes[path]
        return nodes

    def _was_gone(self, node: Node, links: Sequence[Archive]) -> bool:
        """Is what could not be read another file than that of long ago, for it was gone in between?"""
        after = [archive for archive in links[:-1] if archive.run > node.run]
        return any(not Listing(self._indexes, archive).has(node.line.path) for archive in after)

    def held(self, archive: Archive) -> list[Node]:
        """Return what is wanted of what one archive itself holds, in the order of its stream."""
        if archive.run not in self._nodes:
            found = [node for node in members(archive, self._indexes) if self._wanted(node.line)]
            files = self._targets(archive, {_target(node.line) for node in found} - {None})
            self._nodes[archive.run] = [node._replace(file=files.get(_target(node.line), node.file)) for node in found]
        return self._nodes[archive.run]

    def _targets(self, archive: Archive, paths: set[bytes | None]) -> dict[bytes | None, Line]:
        """Return the lines that hard links of one archive lead to."""
        if not paths:
            return {}
        return {node.line.path: node.line for node in members(archive, self._indexes) if node.line.path in paths}


def _target(line: Line) -> bytes | None:
    return line.link.removeprefix(b"./") if line.kind == b"h" else None


def members(archive: Archive, indexes: Indexes) -> Iterator[Node]:
    """Yield the members of one archive; each ends where the next begins, the last with the stream."""
    listing = Listing(indexes, archive)
    before: Line | None = None
    for line in tarindex.read(indexes.index(archive), listing.has):
        if before is not None:
            yield Node(before, archive.run, before.block * BLOCK, line.block * BLOCK, before)
        before = line
    if before is not None:
        yield Node(before, archive.run, before.block * BLOCK, archive.manifest.raw_size, before)


class Listing:
    """Says what was there when an archive was made, by hashes of paths. Read when first asked."""

    def __init__(self, indexes: Indexes, archive: Archive) -> None:
        """It is that of one archive."""
        self._indexes = indexes
        self._archive = archive
        self._folders: set[int] | None = None
        self._entries: set[int] = set()
        self._missing: list[bytes] = []

    @property
    def missing(self) -> list[bytes]:
        """What was there but could not be read, or vanished while tar read."""
        self._known()
        return self._missing

    def has(self, path: bytes) -> bool:
        """Was this path there? What is below no directory of the listing was named by itself, so it was."""
        folders = self._known()
        whole = b"/" if path == b"." else b"/" + path
        if path_hash(whole) in folders:
            return True
        if path_hash(whole.rpartition(b"/")[0] or b"/") in folders:
            return path_hash(whole) in self._entries
        return not below(whole, folders)

    def _known(self) -> set[int]:
        if self._folders is not None:
            return self._folders
        folders: set[int] = set()
        with tempfile.TemporaryDirectory(prefix="s3nap-") as folder:
            work = Path(folder)
            state = self._indexes.listing(self._archive, work)
            self._missing = [path[1:] for path in dirstate.paths(state, dirstate.MISSING)]
            for record in Snapshot(dirstate.unpack(state, dirstate.SNAPSHOT, work / "snapshot")):
                name = b"/" + record.name.removeprefix(b"./").removeprefix(b".")
                folders.add(path_hash(name))
                prefix = name.rstrip(b"/") + b"/"
                self._entries.update(path_hash(prefix + entry[1:]) for entry in record.entries)
        self._folders = folders
        return folders
