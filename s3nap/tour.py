"""A walk through archives: where somebody is, what is to be seen there, and what was marked to be restored."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from s3nap import report
from s3nap.archivefs import Day, Folder, of_job
from s3nap.catalog import JobCatalog
from s3nap.contents import Node
from s3nap.daytree import DayTrees
from s3nap.logs import one_line
from s3nap.manifest import Archive
from s3nap.names import readable
from s3nap.peeking import Files
from s3nap.picking import Picked, Selection, write
from s3nap.progress import Show
from s3nap.reader import Reader
from s3nap.restore import check_target
from s3nap.state import private

_PREVIEW = 64 << 10  # bytes
_CACHE = 64 << 20


class Row(NamedTuple):
    """Something to be seen: its own name, ``kind`` (job, day, or the letter of ``ls``), size, and what is said of it.

    ``cells`` are for people: nothing in them can move a cursor.
    """

    name: bytes
    kind: str
    size: int
    cells: tuple[str, ...]


@dataclass(slots=True)
class _Marked:
    """What is marked of one day: paths in a tree, or names of files of raw streams."""

    job: str
    day: Day
    paths: dict[bytes, None] = field(default_factory=dict)


class Tour:
    """Begins at the jobs; goes to the days of one, and through the directories of one of these."""

    def __init__(
        self,
        jobs: Mapping[str, JobCatalog],
        trees: DayTrees,
        pick: Callable[[Sequence[Archive], Selection], Picked],
        reader: Callable[[], Reader],
    ) -> None:
        """``reader`` is asked for when contents are first wanted."""
        self._jobs = {readable(known.job).encode("utf-8", "surrogateescape"): known for known in jobs.values()}
        self._trees = trees
        self._pick = pick
        self._make_reader = reader
        self._days: Folder = {}
        self._met: set[str] = set()
        self._marked: dict[str, _Marked] = {}
        self.job = b""
        self.day = b""
        self.path = b""

    @cached_property
    def _reader(self) -> Reader:
        return self._make_reader()

    @cached_property
    def _files(self) -> Files:
        return Files(self._reader, _CACHE)

    @property
    def _here(self) -> Day:
        day = self._days[self.day]
        assert isinstance(day, Day)  # noqa: S101 - a job's folder holds nothing else
        return day

    @property
    def title(self) -> str:
        """Where one is."""
        parts = [os.fsdecode(part) for part in (self.job, self.day) if part]
        return one_line("  ".join([*parts, f"/{os.fsdecode(self.path)}" if self.day else ""])) or "jobs"

    @property
    def heads(self) -> tuple[str, ...]:
        """Heads of the columns of cells."""
        if not self.job:
            return ("Job", "Days", "Newest")
        return ("Mode", "Owner", "Size", "Changed", "Name") if self.day else ("Day", "Type", "Size", "State")

    def rows(self) -> list[Row]:
        """Return what is to be seen here."""
        if not self.job:
            return [_job_row(name, known) for name, known in self._jobs.items()]
        if not self.day:
            return [_day_row(name, day) for name, day in sorted(self._days.items(), reverse=True) if day]
        day = self._here
        if day.files:
            return [_stream_row(name, archive) for name, archive in day.files.items()]
        tree = self._trees.of(day.links)
        nodes = ((name, tree.node(self._at(name))) for name in tree.names(self.path))
        return [_node_row(name, node) for name, node in nodes if node is not None]

    def _at(self, name: bytes) -> bytes:
        return self.path + b"/" + name if self.path else name

    def enter(self, name: bytes) -> None:
        """Go into a job, a day or a directory; raises what reading an index raises, and then stays where one is."""
        if not self.job:
            self._days, self.job = of_job(self._jobs[name]), name
        elif not self.day:
            day = self._days[name]
            if isinstance(day, Day) and not day.files:
                self._trees.of(day.links)
            self.day = name
        else:
            self.path = self._at(name)

    def leave(self) -> bytes:
        """Go up, and return the name of where one was; at the top stay there."""
        if self.path:
            self.path, _, name = self.path.rpartition(b"/")
        elif self.day:
            name, self.day = self.day, b""
        else:
            name, self.job = self.job, b""
        return name

    def asks(self, name: bytes) -> bool:
        """May looking at this ask for a key, for it opens an archive for the first time? Is so only once."""
        if not self.job or (self.day and not self._here.files and self._node(name).kind != b"-"):
            return False
        archive = self._source(name)[0] if self.day else None
        run = archive.run if archive is not None else f"{self.job!r} {name!r}"
        new = run not in self._met
        self._met.add(run)
        return new

    def _node(self, name: bytes) -> Node:
        node = self._trees.of(self._here.links).node(self._at(name))
        assert node is not None  # noqa: S101 - it was shown
        return node

    def _source(self, name: bytes) -> tuple[Archive, Node | None]:
        day = self._here
        if day.files:
            return day.files[name], None
        node = self._node(name)
        return next(link for link in day.links if link.run == node.run), node

    def preview(self, name: bytes) -> str:
        """Return the beginning of a file as text that can do no harm; raises what ``Files.read`` raises."""
        data = self._files.read(*self._source(name), 0, _PREVIEW + 1)
        if b"\0" in data:
            return "This is no text. Mark it and restore it."
        text = data[:_PREVIEW].decode("utf-8", "replace").expandtabs()
        more = "\n\n… there is more: restore it" if len(data) > _PREVIEW else ""
        return "\n".join(one_line(line) for line in text.split("\n")) + more

    # marks

    def toggle(self, name: bytes) -> bool:
        """Mark something in a day, or take the mark away; False where nothing can be marked."""
        if not self.day:
            return False
        marked = self._marked.setdefault(self._here.links[-1].run, _Marked(os.fsdecode(self.job), self._here))
        path = name if self._here.files else self._at(name)
        if path in marked.paths:
            del marked.paths[path]
        else:
            marked.paths[path] = None
        return True

    def is_marked(self, name: bytes) -> bool:
        """Is this marked?"""
        if not self.day:
            return False
        marked = self._marked.get(self._here.links[-1].run)
        return marked is not None and (name if self._here.files else self._at(name)) in marked.paths

    @property
    def marks(self) -> int:
        """How many are marked, of all days."""
        return sum(len(marked.paths) for marked in self._marked.values())

    def unmark(self) -> None:
        """Take all marks away."""
        self._marked.clear()

    def restore(self, target: Path, show: Show) -> str:
        """Write what is marked below a folder that is new or empty, and say what was done; the marks go then.

        What is of several days goes into a folder for each. Raises UsageError if the target is no such folder, and
        what reading raises.
        """
        check_target(target, overwrite=False)
        chosen = [marked for marked in self._marked.values() if marked.paths]
        for marked in chosen:
            manifest = marked.day.links[-1].manifest
            below = f"{marked.job.strip('/').replace('/', '_')}-{manifest.run}" if len(chosen) > 1 else ""
            with show(f"{marked.job} of {manifest.day}", None) as advance:
                self._write(marked, target / below, advance)
        said = f"restored {self.marks} marked to {target}"
        self.unmark()
        return said

    def _write(self, marked: _Marked, target: Path, advance: Callable[[int], None]) -> None:
        links = marked.day.links
        target.mkdir(parents=True, exist_ok=True)
        if marked.day.files:
            for name in marked.paths:
                self._write_stream(marked.day.files[name], target / os.fsdecode(name), advance)
            return
        selection = Selection([os.fsdecode(path) for path in marked.paths])
        picked = self._pick(links, selection)
        write(self._reader, links, picked, target, numeric_owner=False, progress=advance)

    def _write_stream(self, archive: Archive, path: Path, advance: Callable[[int], None]) -> None:
        with open(path, "xb", opener=private) as file:
            file.writelines(self._reader.stream(self._reader.open(archive), advance))


def _job_row(name: bytes, known: JobCatalog) -> Row:
    newest = known.archives[-1].manifest if known.archives else None
    cells = (_shown(name), str(len(known.archives)), str(newest.day) if newest is not None else "")
    return Row(name, "job", 0, cells)


def _day_row(name: bytes, day: Folder | Day) -> Row:
    assert isinstance(day, Day)  # noqa: S101 - a job's folder holds nothing else
    manifest = day.links[-1].manifest
    state = "" if manifest.complete else "INCOMPLETE"
    return Row(name, "day", 0, (_shown(name), manifest.type, report.size(manifest.raw_size), state))


def _stream_row(name: bytes, archive: Archive) -> Row:
    manifest = archive.manifest
    size = manifest.raw_size
    changed = f"{manifest.started.astimezone():%Y-%m-%d %H:%M:%S}"
    return Row(name, "-", size, ("-r--------", "", report.size(size), changed, _shown(name)))


def _node_row(name: bytes, node: Node) -> Row:
    line = node.line
    end = "/" if node.kind == b"d" else f" -> {_shown(node.link)}" if node.link else ""
    changed = datetime.fromtimestamp(line.mtime // 10**9, UTC).astimezone()
    letters = (node.kind + line.mode).decode("ascii", "replace")
    owner = one_line(line.owner.decode("utf-8", "surrogateescape"))
    cells = (letters, owner, report.size(node.size), f"{changed:%Y-%m-%d %H:%M:%S}", _shown(name) + end)
    return Row(name, node.kind.decode("ascii", "replace"), node.size, cells)


def _shown(name: bytes) -> str:
    return one_line(name.decode("utf-8", "surrogateescape"))
