"""A short look into a folder: is there anything, how much, how new? Bounded, and never where a look can hang."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

ENTRIES = 2000
"""After so many entries enough has been seen."""


@dataclass(slots=True)
class Glance:
    """What was seen: regular files, their bytes, the newest's time; ``whole`` if there was no more to be seen.

    ``closed``: folders that this user cannot read.
    """

    files: int = 0
    size: int = 0
    newest: float = 0.0
    whole: bool = True
    closed: int = 0

    @property
    def anything(self) -> bool:
        """May there be files? What could not be seen may hold some."""
        return bool(self.files or self.closed or not self.whole)


def look(folder: Path, never: Collection[str] = (), entries: int = ENTRIES) -> Glance:
    """Look at what is in a folder on its own file system, at most so many entries; ``never`` are paths not to touch."""
    seen = Glance()
    for entry in _entries(folder, never, seen):
        entries -= 1
        if entries < 0:
            seen.whole = False
            break
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            seen.files += 1
            seen.size += status.st_size
            seen.newest = max(seen.newest, status.st_mtime)
    return seen


def _entries(folder: Path, never: Collection[str], seen: Glance) -> Iterator[os.DirEntry[str]]:
    """Yield all entries below a folder, level by level."""
    try:
        device = folder.stat().st_dev
    except OSError:
        return
    waiting = deque([str(folder)])
    while waiting:
        for entry in listing(waiting.popleft(), seen):
            if entry.path in never:
                continue
            yield entry
            if entry.is_dir(follow_symlinks=False) and _device(entry) == device:
                waiting.append(entry.path)


def listing(folder: str, seen: Glance) -> list[os.DirEntry[str]]:
    """Return what is in one folder, by name; count it as closed if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        seen.closed += 1
        return []


def _device(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_dev
    except OSError:
        return -1
