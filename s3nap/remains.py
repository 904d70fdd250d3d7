"""What is left of damaged archives: which of their chunks are bad, what they hold, as far as that can be found out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, cast

from s3nap.chunks import in_order
from s3nap.contents import Contents, Node, StoredIndexes
from s3nap.crew import workers
from s3nap.errors import BucketError, S3napError, StorageError, VerificationError
from s3nap.manifest import Archive
from s3nap.picking import spans
from s3nap.ranges import Cache, Sealed, Stream, holding, starts
from s3nap.reader import Opened, Reader, SealedChunk
from s3nap.sources import census, dirstate
from s3nap.sources.census import path_hash
from s3nap.sources.snapshot import Snapshot
from s3nap.sources.tarindex import Line
from s3nap.sources.tarscan import Scan

_CACHE = 64 << 20  # bytes
_NO_SNAPSHOT = b"GNU tar-0-2\n0\x000\x00"


@dataclass(slots=True, kw_only=True)
class Level:
    """One archive: ``bad`` chunks by number; without ``state`` nobody knows what was there.

    ``holey``: there may be members that nobody knows of.
    """

    archive: Archive
    opened: Opened | None
    state: Path | None = None
    holey: bool = False
    bad: dict[int, str] = field(default_factory=dict)
    probed: set[int] = field(default_factory=set)
    held: list[Node] = field(default_factory=list)
    files: dict[bytes, Node] = field(default_factory=dict)  # what hard links may lead to, by path

    def hold(self, nodes: list[Node]) -> None:
        """Know what it holds, in the order of its stream."""
        self.held = nodes
        self.files = {node.line.path: node for node in nodes if node.line.kind != b"h"}

    def last_of(self, nodes: Mapping[bytes, Node]) -> bytes | None:
        """Return the path of its last member if that is one of these."""
        path = self.held[-1].line.path if self.held else b""
        return path if path in nodes and nodes[path].run == self.archive.run else None


class _Indexes(StoredIndexes):
    """Listings of levels without a state are empty: then everything may have been there."""

    def __init__(self, reader: Reader, work: Path, levels: Mapping[str, Level]) -> None:
        super().__init__(reader, work)
        self._levels = levels
        self._empty = work / "empty"
        (work / "nothing").write_bytes(_NO_SNAPSHOT)
        dirstate.pack(self._empty, snapshot=work / "nothing", census=None, retry=(), missing=())

    def listing(self, archive: Archive, work: Path) -> Path:  # noqa: ARG002 - as the Protocol says
        return self._levels[archive.run].state or self._empty


class _Contents(Contents):
    """What chains hold, with what was found by scanning where an index is lost."""

    def __init__(self, indexes: StoredIndexes, levels: Mapping[str, Level]) -> None:
        super().__init__(indexes)
        self._levels = levels

    def held(self, archive: Archive) -> list[Node]:
        return self._levels[archive.run].held


class Remains:
    """The archives of a chain, as far as they open; the last one does."""

    def __init__(self, reader: Reader, lineage: Sequence[Archive], work: Path, progress: Callable[[int], None]) -> None:
        """``lineage``, the oldest archive first, need not be whole. ``notes`` are for people.

        Raises VerificationError if nothing can be opened at all, NoKeyError, BucketError.
        """
        self._reader = reader
        self._work = work
        self._progress = progress
        self.notes: list[str] = []
        levels = [self._level(archive) for archive in lineage]
        while levels and levels[-1].opened is None:
            last = levels.pop().archive.manifest
            self.notes.append(f"archive {last.run} of {last.day} is left out altogether: this is the tree before it")
        if not levels:
            raise VerificationError("no archive of the chain can be opened: take another day with --at (s3nap list)")
        self.levels = {level.archive.run: level for level in levels}
        self.last = levels[-1]
        self._indexes = _Indexes(reader, work, self.levels)
        for level in levels:
            self._hold(level)

    @property
    def links(self) -> list[Archive]:
        """The archives."""
        return [level.archive for level in self.levels.values()]

    def contents(self) -> dict[bytes, Node]:
        """Return what the chain holds path by path, as ``Contents.of`` does."""
        return _Contents(self._indexes, self.levels).of(self.links)

    def _level(self, archive: Archive) -> Level:
        try:
            return Level(archive=archive, opened=self._reader.open(archive, whole=False))
        except (VerificationError, StorageError) as error:
            _alive(error)
            self.notes.append(f"archive {archive.run} of {archive.manifest.day} cannot be opened: {error}")
            return Level(archive=archive, opened=None, holey=True)

    def _hold(self, level: Level) -> None:
        if level.opened is None:
            return
        run, day = level.archive.run, level.archive.manifest.day
        state = self._work / f"{run}.state"
        try:
            if self._reader.side(level.opened, "state", state) is not None:
                level.state = state
        except (VerificationError, StorageError) as error:
            _alive(error)
            self.notes.append(f"what was deleted up to {day} is not known: {error}")
        try:
            level.hold(Contents(self._indexes).held(level.archive))
        except (VerificationError, StorageError) as error:
            _alive(error)
            (self._work / f"{run}.index").unlink(missing_ok=True)
            level.hold(self._scanned(level, level.opened))
            level.holey = bool(level.bad)
            self.notes.append(f"the index of archive {run} of {day} was made anew, from its chunks: {error}")

    def _scanned(self, level: Level, opened: Opened) -> list[Node]:
        """Find the members of an archive whose index is lost."""
        self._probe_chunks(level, range(len(opened.lines)))
        offsets = starts(opened)
        holes = [(offsets[number], offsets[number + 1]) for number in sorted(level.bad)]
        names = set(self._names(level.state)) if level.state is not None else None
        with self._stream(opened) as stream:
            scan = Scan(stream, offsets[-1], holes, lambda path: names is None or path_hash(path) in names)
            found = [Node(each.line, level.archive.run, each.start, each.end, each.line) for each in scan]
        files = {node.line.path: node.line for node in found}
        return [
            node._replace(file=files.get(link_target(node.line), node.line)) if node.line.kind == b"h" else node
            for node in found
        ]

    def _names(self, state: Path) -> Iterator[int]:
        """Yield hashes of all that was there."""
        yield from (path_hash(entry.path[1:]) for entry in self.census(state))
        yield from (
            path_hash(record.name.removeprefix(b"./"))
            for record in Snapshot(dirstate.unpack(state, dirstate.SNAPSHOT, self._work / "snapshot"))
        )

    def census(self, state: Path) -> Iterator[census.Entry]:
        """Yield the census of a state."""
        return census.read(dirstate.unpack(state, dirstate.CENSUS, self._work / "census"))

    def _stream(self, opened: Opened) -> IO[bytes]:
        return cast("IO[bytes]", Stream(Sealed(self._reader, opened), Cache(self._reader, _CACHE)))

    def facts(self, level: Level) -> dict[int, int]:
        """Return what the census of a level says of each file, by hashes; nothing if its state is lost."""
        if level.state is None:
            return {}
        return {path_hash(entry.path[1:]): path_hash(entry.facts) for entry in self.census(level.state)}

    def damage(self, node: Node) -> str:
        """Say what is damaged of a member, or of what it is a hard link to; empty if it is whole."""
        target = self.target(node)
        if node.line.kind == b"h" and target is None:
            return "it is a hard link to a file that is lost"
        why = self._touched(node)
        if why and node.line.is_folder:
            return f"made without its attributes and ACLs: {why}"
        return why or (self.damage(target) if target is not None else "")

    def _touched(self, node: Node) -> str:
        level = self.levels[node.run]
        if level.opened is None or not level.bad:
            return ""
        numbers = holding(starts(level.opened), [(node.start, node.end)])
        return next((level.bad[number] for number in numbers if number in level.bad), "")

    def target(self, node: Node) -> Node | None:
        """Return the member that a hard link leads to."""
        if node.line.kind != b"h":
            return None
        return self.levels[node.run].files.get(link_target(node.line))

    def probe(self, nodes: Iterable[Node]) -> None:
        """Fetch and open every chunk that these members lie in, and that was not looked at yet."""
        wanted: dict[str, list[Node]] = defaultdict(list)
        for node in nodes:
            wanted[node.run].append(node)
            if (target := self.target(node)) is not None:
                wanted[node.run].append(target)
        for run, held in wanted.items():
            level = self.levels[run]
            if level.opened is not None:
                ordered = sorted(held, key=lambda node: node.start)
                self._probe_chunks(level, holding(starts(level.opened), spans(ordered)))
                self._end_of(level, level.opened)

    def _probe_chunks(self, level: Level, numbers: Iterable[int]) -> None:
        if level.opened is None:
            return
        fresh = sorted(set(numbers) - level.probed)
        chunks = dict(zip(range(level.archive.manifest.chunks), self._reader.chunks(level.opened), strict=True))
        tasks = (partial(self._whole, level.opened, chunks[number]) for number in fresh)
        for number, why in zip(fresh, in_order(tasks, workers()), strict=True):
            self._progress(level.opened.lines[number].raw_size)
            if why:
                level.bad[number] = why
        level.probed.update(fresh)

    def _whole(self, opened: Opened, chunk: SealedChunk) -> str:
        """Say what is wrong with a chunk; empty if it is what was stored."""
        try:
            self._reader.fetch(opened, chunk)
        except (VerificationError, StorageError) as error:
            _alive(error)
            return str(error)
        return ""

    def _end_of(self, level: Level, opened: Opened) -> None:
        """Find where the last member really ends if zeros after it are damaged: the index does not say."""
        offsets = starts(opened)
        last = level.held[-1] if level.held else None
        if last is None or last.end != offsets[-1] or not self._touched(last):
            return
        holes = [(offsets[number], offsets[number + 1]) for number in sorted(level.bad)]
        with self._stream(opened) as stream:
            found = Scan(stream, offsets[-1], holes).member(last.start)
        if found is not None and found.line.path == last.line.path:
            level.hold([*level.held[:-1], last._replace(end=found.end)])


def _alive(error: S3napError) -> None:
    """Raise what is not damage: a storage that is out of reach has lost nothing."""
    if isinstance(error, BucketError):
        raise error


def link_target(line: Line) -> bytes:
    """Return the path that a hard link leads to."""
    return line.link.removeprefix(b"./")
