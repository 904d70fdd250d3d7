r"""The census: inode, size, times and link count of every file, taken just before tar reads a tree.

tar alone decides by times, and by names within a directory; so it misses files that were changed while the clock was
ahead, volumes rolled back to an older snapshot, and the other names of a hard-linked file when one name moves
(docs/tar.md 1, 3). Comparing two censuses finds them. The file is sorted, one record a file:
``<inode> <size> <mtime> <ctime> <links> <absolute path>\0``, times in nanoseconds; so that comparing is a merge and
needs memory for what changed only, as 8-byte hashes.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Container, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import xxhash

from s3nap.sources.excludes import Matcher

_BLOCK = 1 << 20
_MOUNTS = Path("/proc/self/mountinfo")


class Entry(NamedTuple):
    """One file of a census."""

    path: bytes
    facts: bytes

    @property
    def links(self) -> int:
        """How many names the file has."""
        return int(self.facts.rsplit(b" ", 1)[1])

    @property
    def inode(self) -> int:
        """Its inode number."""
        return int(self.facts.split(b" ", 1)[0])

    @property
    def changed(self) -> int:
        """When it last changed in any way tar looks at, in nanoseconds."""
        _, _, modified, changed, _ = self.facts.split(b" ")
        return max(int(modified), int(changed))


@dataclass(slots=True)
class Walk:
    """What was met on the way.

    ``attributes``: any file has some, or nobody looked. ``doubles`` are mount points that show a directory of the same
    tree again.
    """

    files: int = 0
    anything: bool = False
    attributes: bool = True
    doubles: list[bytes] = field(default_factory=list)

    def look(self, path: bytes) -> None:
        """Note whether a file has extended attributes, of which ACLs and labels are two kinds."""
        if not self.attributes:
            try:
                self.attributes = bool(os.listxattr(path, follow_symlinks=False))
            except OSError:
                self.attributes = True  # for all we know


def path_hash(path: bytes) -> int:
    """Eight bytes that stand for a path; a collision costs a file dumped once too often."""
    return xxhash.xxh64_intdigest(path)


def take(
    roots: Sequence[bytes], target: Path, matcher: Matcher, *, one_file_system: bool, attributes: bool = False
) -> Walk:
    """Write the census of ``roots`` (absolute paths) to ``target``; with ``attributes``, look for these, too.

    What cannot be looked at is left out: tar will report it.
    """
    walk = Walk(attributes=not attributes)
    mounts = _Mounts(roots)
    with target.open("wb", buffering=_BLOCK) as file:
        for root in sorted(roots, key=_key):
            device = os.lstat(root).st_dev if one_file_system else None
            for path, status in _files(root, matcher, mounts, walk, device):
                if stat.S_ISSOCK(status.st_mode):
                    continue
                walk.files += 1
                walk.look(path)
                file.write(
                    b"%d %d %d %d %d %s\0"
                    % (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_nlink, path)
                )
    walk.doubles = sorted(mounts.doubles)
    return walk


def _files(
    root: bytes, matcher: Matcher, mounts: _Mounts, walk: Walk, device: int | None
) -> Iterator[tuple[bytes, os.stat_result]]:
    status = os.lstat(root)
    if not stat.S_ISDIR(status.st_mode):
        yield root, status
        return
    walk.look(root)
    stack = [iter(_scan(root))]
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
            continue
        if matcher.excludes(entry.path):
            continue
        walk.anything = True
        try:
            if not entry.is_dir(follow_symlinks=False):
                yield entry.path, entry.stat(follow_symlinks=False)
                continue
            walk.look(entry.path)
            if mounts.enter(entry) and (device is None or os.lstat(entry.path).st_dev == device):
                stack.append(iter(_scan(entry.path)))
        except OSError:
            continue


def _scan(folder: bytes) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


class _Mounts:
    """Notices bind mounts: tar would take the same directory, met again, for a renamed one."""

    def __init__(self, roots: Sequence[bytes]) -> None:
        self.doubles: set[bytes] = set()
        self._at: dict[bytes, tuple[int, int]] = {}
        self._seen: dict[tuple[int, int], bytes] = {}
        for point in _mount_points():
            if any(point.startswith(root.rstrip(b"/") + b"/") for root in roots):
                try:
                    status = os.lstat(point)
                except OSError:
                    continue
                self._at[point] = (status.st_dev, status.st_ino)
        self._inodes = {inode for _, inode in self._at.values()}

    def enter(self, entry: os.DirEntry[bytes]) -> bool:
        """Note a directory; False if it is a mount point whose contents were met before."""
        if not self._at or (entry.path not in self._at and entry.inode() not in self._inodes):
            return True
        status = os.lstat(entry.path)
        identity = (status.st_dev, status.st_ino)
        if identity not in self._at.values():
            return True
        first = self._seen.setdefault(identity, entry.path)
        if first == entry.path:
            return True
        double = entry.path if entry.path in self._at else first
        self.doubles.add(double)
        return double != entry.path


def _mount_points() -> list[bytes]:
    try:
        lines = _MOUNTS.read_bytes().splitlines()
    except OSError:
        return []
    points = (line.split(b" ")[4] for line in lines)
    return [re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), point) for point in points]


def read(path: Path) -> Iterator[Entry]:
    """Yield the entries of a census file, in their order."""
    return map(_entry, _records(path))


def _records(path: Path) -> Iterator[bytes]:
    rest = b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            *records, rest = (rest + block).split(b"\0")
            yield from records


def _entry(record: bytes) -> Entry:
    path = record.split(b" ", 5)[5]
    return Entry(path, record[: len(record) - len(path) - 1])


def stale(old: Path, new: Path, since: int, dropped: AbstractSet[int], retry: AbstractSet[int]) -> set[int]:
    """Return the hashes of the paths that tar must be made to dump although it would not by itself.

    ``since`` is the time of tar's snapshot in nanoseconds, ``dropped`` the hashes of directories that tar will
    dump whole, ``retry`` those of files that could not be read last time.
    """
    paths: set[int] = set()
    moved: set[int] = set()  # inodes of files with several names of which tar will dump one: it must dump all
    for entry, before in _merged(new, old, unchanged=bool(retry or dropped)):
        again = path_hash(entry.path) in retry
        if again or (before != entry.facts and entry.changed < since):
            paths.add(path_hash(entry.path))
        if entry.links > 1 and (again or before != entry.facts or below(entry.path, dropped)):
            moved.add(entry.inode)
    if moved:
        paths.update(path_hash(entry.path) for entry in read(new) if entry.links > 1 and entry.inode in moved)
    return paths


def _merged(new: Path, old: Path, *, unchanged: bool) -> Iterator[tuple[Entry, bytes | None]]:
    """Yield each entry of ``new`` and the facts that ``old`` has of the same path; ``unchanged`` ones only if wanted.

    These are told by their records alone: nearly all are, and taking one apart costs twenty times as much.
    """
    former = _records(old)
    before = next(former, None)
    for record in _records(new):
        if record == before:
            before = next(former, None)
            if unchanged:
                entry = _entry(record)
                yield entry, entry.facts
            continue
        entry = _entry(record)
        key = _key(entry.path)
        while before is not None and _key(_entry(before).path) < key:
            before = next(former, None)
        known = _entry(before) if before is not None else None
        yield entry, known.facts if known is not None and known.path == entry.path else None


def _key(path: bytes) -> bytes:
    """Return what a census is sorted by: ``/`` before all other bytes."""
    return path.replace(b"/", b"\0")


def below(path: bytes, folders: Container[int]) -> bool:
    """Does a path lie below one of the folders, given by their hashes?"""
    end = path.rfind(b"/")
    while end > 0:
        if path_hash(path[:end]) in folders:
            return True
        end = path.rfind(b"/", 0, end)
    return path_hash(b"/") in folders
