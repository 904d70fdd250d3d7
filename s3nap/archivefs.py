"""Archives as a read-only file system: folders of jobs, in them one folder a day, in these what was there then."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote

from s3nap import names
from s3nap.catalog import JobCatalog
from s3nap.contents import Node
from s3nap.daytree import DayTrees
from s3nap.liveness import chain
from s3nap.manifest import Archive
from s3nap.peeking import Files

_LONGEST = 255  # bytes of a name
_STEM = 200  # of which a suffix and a level follow
_NOBODY = 65534
_FOLDER = stat.S_IFDIR | 0o755
_KINDS = {b"d": stat.S_IFDIR, b"-": stat.S_IFREG, b"l": stat.S_IFLNK, b"p": stat.S_IFIFO, b"c": stat.S_IFCHR}
_KINDS |= {b"b": stat.S_IFBLK}
_SUFFIXES = {"sql": ".sql", "pgcustom": ".pgcustom", "svndump": ".svndump"}


class Status(NamedTuple):
    """What ``stat`` tells: type and mode, owner, size in bytes, time in nanoseconds."""

    mode: int
    uid: int
    gid: int
    size: int
    mtime: int


@dataclass(slots=True)
class Day:
    """One archive: its chain, FULL first; of a job that is no tree the files, an archive each."""

    links: Sequence[Archive]
    files: dict[bytes, Archive] = field(default_factory=dict)


Folder: TypeAlias = "dict[bytes, Folder | Day]"


def of_job(known: JobCatalog, taken: Iterable[bytes] = ()) -> Folder:
    """Return the folder of a job: its days. Of several archives of a day the newest bears it, the others a time, too.

    Only what restores is there. Names that are ``taken`` are not used.
    """
    folder: Folder = {}
    by_run = known.by_run
    for archive in reversed(known.archives):
        links = chain(archive, by_run)
        if links is None:
            continue
        manifest = archive.manifest
        time = f"{manifest.day} {manifest.started.astimezone():%H:%M:%S}"
        wanted = [f"{manifest.day}", time, archive.run]
        name = next(each.encode() for each in wanted if each.encode() not in {*folder, *taken})
        folder[name] = Day(links, _streams(links) if manifest.stream != "tar" else {})
    return folder


def _streams(links: Sequence[Archive]) -> dict[bytes, Archive]:
    """Return the files of a chain of raw streams: FILE for the FULL, then FILE.1 and so on."""
    manifest = links[-1].manifest
    name = _component(manifest.job.rpartition("/")[2])[:_STEM] + _SUFFIXES.get(manifest.stream, "").encode()
    return {name + (b".%d" % level if level else b""): link for level, link in enumerate(links)}


def of_jobs(jobs: Mapping[str, JobCatalog]) -> Folder:
    """Return the folder of a host: a folder for each part of a job's name, the job's days in the last."""
    top: Folder = {}
    places: list[tuple[Folder, JobCatalog]] = []
    for job, known in jobs.items():
        place = top
        for part in job.split("/"):
            below = place.setdefault(_component(part), {})
            assert isinstance(below, dict)  # noqa: S101 - no day is there yet
            place = below
        places.append((place, known))
    for place, known in places:
        place.update(of_job(known, taken=list(place)))
    return top


def _component(part: str) -> bytes:
    """Return a part of a job's name as people read it, where that is a name."""
    text = unquote(part, errors="surrogateescape").encode("utf-8", "surrogateescape")
    if b"/" in text or b"\0" in text or text in {b"", b".", b".."}:
        return names.component(part).encode() if len(part) > _LONGEST else part.encode()
    return text if len(text) <= _LONGEST else names.component(text).encode()


class Opened(NamedTuple):
    """A file to read: of this archive, this member, or without one its raw stream."""

    archive: Archive
    node: Node | None


class ArchiveFs:
    """Answers what a file system is asked, by paths in bytes that begin with a slash.

    Raises OSError with the errno for what is not there, and what ``Indexes`` and ``Files.read`` raise. Safe to use
    from several threads.
    """

    def __init__(self, top: Folder, trees: DayTrees, files: Files) -> None:
        """A day's tree is read when it is first entered."""
        self._top = top
        self._trees = trees
        self._files = files

    def status(self, path: bytes) -> Status:
        """Return what ``lstat`` would."""
        place, inner = self._resolve(path)
        if not isinstance(place, Day):
            return Status(_FOLDER, 0, 0, 0, max(map(_moment, _days(place)), default=0))
        if not inner:
            return Status(_FOLDER, 0, 0, 0, _moment(place))
        if place.files:
            archive = self._stream(place, inner)
            return Status(stat.S_IFREG | 0o400, os.getuid(), os.getgid(), archive.manifest.raw_size, _moment(place))
        return status(self._node(place, inner))

    def names(self, path: bytes) -> list[bytes]:
        """Return what is in a directory."""
        place, inner = self._resolve(path)
        if not isinstance(place, Day):
            return sorted(place)
        if place.files:
            if inner:
                raise _error(errno.ENOTDIR)
            return sorted(place.files)
        if inner and self._node(place, inner).kind != b"d":
            raise _error(errno.ENOTDIR)
        return self._trees.of(place.links).names(inner)

    def link(self, path: bytes) -> bytes:
        """Return where a symbolic link points to."""
        place, inner = self._resolve(path)
        if not isinstance(place, Day) or place.files or not inner or not (link := self._node(place, inner).link):
            raise _error(errno.EINVAL)
        return link

    def open(self, path: bytes) -> Opened:
        """Find a regular file. Nothing is fetched."""
        place, inner = self._resolve(path)
        if not isinstance(place, Day) or not inner:
            raise _error(errno.EISDIR)
        if place.files:
            return Opened(self._stream(place, inner), None)
        node = self._node(place, inner)
        if node.kind != b"-":
            raise _error(errno.EISDIR if node.kind == b"d" else errno.ENXIO)
        return Opened(next(link for link in place.links if link.run == node.run), node)

    def read(self, opened: Opened, offset: int, size: int) -> bytes:
        """Return a part of a file, shorter only at its end."""
        return self._files.read(opened.archive, opened.node, offset, size)

    def _resolve(self, path: bytes) -> tuple[Folder | Day, bytes]:
        """Return the folder or the day that a path leads to, and what of it lies below the day."""
        place: Folder | Day = self._top
        parts = [part for part in path.split(b"/") if part]
        while parts and isinstance(place, dict):
            if (below := place.get(parts.pop(0))) is None:
                raise _error(errno.ENOENT)
            place = below
        return place, b"/".join(parts)

    def _node(self, day: Day, inner: bytes) -> Node:
        node = self._trees.of(day.links).node(inner)
        if node is None:
            raise _error(errno.ENOENT)
        return node

    def _stream(self, day: Day, inner: bytes) -> Archive:
        if inner not in day.files:
            raise _error(errno.ENOENT)
        return day.files[inner]


def status(node: Node) -> Status:
    """Return what ``lstat`` would say of a member, its owner being who bears the names on this machine."""
    user, _, group = node.line.owner.decode("utf-8", "surrogateescape").rpartition("/")
    size = len(node.link) if node.link else node.size
    return Status(_KINDS.get(node.kind, stat.S_IFREG) | _mode(node), _uid(user), _gid(group), size, node.line.mtime)


def _mode(node: Node) -> int:
    mode = 0
    for position, letter in enumerate(node.line.mode.decode("ascii", "replace")):
        if letter not in "-ST":
            mode |= 0o400 >> position
        if letter in "sStT":
            mode |= stat.S_ISVTX if letter in "tT" else stat.S_ISUID if position < 3 else stat.S_ISGID
    return mode


@lru_cache(maxsize=1024)
def _uid(name: str) -> int:
    with suppress(KeyError, ValueError):
        return pwd.getpwnam(name).pw_uid
    return int(name) if name.isascii() and name.isdigit() else _NOBODY


@lru_cache(maxsize=1024)
def _gid(name: str) -> int:
    with suppress(KeyError, ValueError):
        return grp.getgrnam(name).gr_gid
    return int(name) if name.isascii() and name.isdigit() else _NOBODY


def _days(folder: Folder) -> Iterator[Day]:
    for below in folder.values():
        if isinstance(below, Day):
            yield below
        else:
            yield from _days(below)


def _moment(day: Day) -> int:
    return int(day.links[-1].manifest.started.timestamp()) * 10**9


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
