"""``restore --overwrite --delete``: what the target has in the source's own folders and the listing has not."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loguru import logger

from s3nap.contents import Indexes
from s3nap.manifest import Archive
from s3nap.sources import dirstate, within
from s3nap.sources.snapshot import Snapshot


@dataclass(slots=True)
class Surplus:
    """Paths that are to go, with all below them; ``count`` is how many entries that makes."""

    paths: list[bytes] = field(default_factory=list)
    count: int = 0


def surplus(indexes: Indexes, archive: Archive, target: Path, wanted: Callable[[bytes], bool]) -> Surplus:
    """Find what is below ``target`` but not in the listing, as far as ``wanted`` lets it go.

    What was excluded when the archive was made is in the listing, and so are sockets. Nothing is looked for through
    symbolic links, and nothing goes that has another file system mounted in it.
    """
    found = Surplus()
    with tempfile.TemporaryDirectory(prefix="s3nap-") as folder:
        work = Path(folder)
        state = indexes.listing(archive, work)
        for record in Snapshot(dirstate.unpack(state, dirstate.SNAPSHOT, work / "snapshot")):
            name = record.name.removeprefix(b"./")
            if not within.straight(target, name):
                continue
            known = {entry[1:] for entry in record.entries}
            prefix = b"" if name == b"." else name + b"/"
            there = os.listdir(within.place(target, name))  # noqa: PTH208 - bytes
            for path in sorted(prefix + entry for entry in there if entry not in known):
                if wanted(path):
                    _add(found, target, path)
    return found


def _add(found: Surplus, target: Path, path: bytes) -> None:
    top = within.place(target, path)
    device, count = os.lstat(os.path.dirname(top)).st_dev, 1  # noqa: PTH120 - bytes
    stack = [top]
    while stack:
        here = stack.pop()
        status = os.lstat(here)
        if status.st_dev != device:
            logger.warning("{} stays: another file system is mounted there", os.fsdecode(path))
            return
        if stat.S_ISDIR(status.st_mode):
            inside = [os.path.join(here, entry) for entry in os.listdir(here)]  # noqa: PTH118, PTH208 - bytes
            count += len(inside)
            stack += inside
    found.paths.append(path)
    found.count += count


def remove(target: Path, paths: Sequence[bytes]) -> None:
    """Remove them; their folders keep their times."""
    for path in paths:
        folder = path.rpartition(b"/")[0] or b"."
        if not within.straight(target, folder):
            continue
        there, above = within.place(target, path), within.place(target, folder)
        status = os.lstat(above)
        if os.path.isdir(there) and not os.path.islink(there):  # noqa: PTH112, PTH114 - bytes
            shutil.rmtree(there)
        elif os.path.lexists(there):
            os.unlink(there)  # noqa: PTH108 - bytes
        os.utime(above, ns=(status.st_atime_ns, status.st_mtime_ns))
