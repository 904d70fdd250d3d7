"""Interrupted restores: a note beside the target says what was going on, and the same command goes on with it.

What stands in the target may be of any level of the chain, whole or not. It is kept only if it can be nothing else than
what the last archive has.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loguru import logger

from s3nap.comparing import compare, difference
from s3nap.contents import Contents, Indexes, Node
from s3nap.errors import UsageError
from s3nap.manifest import Archive
from s3nap.names import readable
from s3nap.picking import Picked, above, write
from s3nap.reader import Reader
from s3nap.sources import dirstate, within
from s3nap.sources.tree import set_times, strip

FRESH = 60.0  # seconds before an interruption, in which what was written may not have reached the disk whole

_SPOILT = 1  # nanoseconds since 1970


class Note:
    """What a restore into a folder leaves beside it until it is done."""

    def __init__(self, target: Path, manifest: dict[str, Any]) -> None:
        """``manifest``: what makes two restores the same: host, job, run, and what was chosen."""
        self._target = target
        self._facts = manifest
        whole = Path(os.path.abspath(target))  # noqa: PTH100 - a link is a name of its own
        self.path = whole.with_name(whole.name + ".s3nap-restore")

    def unfinished(self) -> bool:
        """Does the target hold what this restore began? UsageError if another one did."""
        if not self._target.is_dir() or not any(self._target.iterdir()):
            return False
        try:
            found = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError):
            return False
        if {key: found.get(key) for key in self._facts} == self._facts:
            return True
        job, run = readable(str(found.get("job"))), found.get("run")
        raise UsageError(
            f"{self._target} holds an unfinished restore of {job}, archive {run}: finish it with the same command and "
            f"--at {run}, or empty the folder and remove {self.path}"
        )

    @contextlib.contextmanager
    def during(self) -> Iterator[None]:
        """Have the note there while the block runs, and after it if it fails and has left something."""
        note = self._facts | {"started": datetime.now(UTC).isoformat(timespec="seconds")}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(note, indent=1), "utf-8")
        except OSError as error:
            logger.debug("{}: cannot be written ({}): if it is interrupted, this restore begins anew", self.path, error)
        try:
            yield
        except BaseException:
            if not self._target.is_dir() or not any(self._target.iterdir()):
                self.remove()
            raise
        self.remove()

    def remove(self) -> None:
        """Remove it, if it is there."""
        with contextlib.suppress(OSError):
            self.path.unlink()


@dataclass(slots=True, kw_only=True)
class Rest:
    """What is left to do: ``surplus`` entries go, deepest first, ``picked`` is written; the others are kept."""

    surplus: list[bytes] = field(default_factory=list)
    picked: Picked
    kept: int = 0


def rest(  # noqa: PLR0913 - what a restore is
    links: Sequence[Archive],
    indexes: Indexes,
    picked: Picked,
    target: Path,
    *,
    numeric_owner: bool,
    fresh: float = FRESH,
) -> Rest:
    """Compare what is there with what was to be restored.

    ``fresh``: what was written in so many seconds before the last write is written again. Raises UsageError if the
    target holds what no archive of the chain ever had.
    """
    there = dict(_walk(os.fsencode(target)))
    contents = Contents(indexes)
    held: dict[bytes, list[Node]] = defaultdict(list)
    for archive in links:
        for node in contents.held(archive):
            held[node.line.path].append(node)
    view = {node.line.path: node for node in picked.brought} | dict(picked.nodes)
    ways = {folder for path in view for folder in above(path)}
    known = held.keys() | {folder for path in held for folder in above(path)}
    if strange := there.keys() - known:
        raise UsageError(
            f"{target} holds /{os.fsdecode(min(strange))}, which is not of this restore: move it away, "
            "or restore into an empty folder"
        )
    surplus = [path for path in there if path not in view and path not in ways]
    newest = max((status.st_ctime_ns for status in there.values()), default=0) - int(fresh * 1e9)
    settled = {path: status for path, status in there.items() if status.st_ctime_ns < newest}
    right = {
        path
        for path, status in settled.items()
        if path in view
        and not difference(target, path, view[path], status, numeric_owner=numeric_owner)
        and not any(other.run != view[path].run and other.version == view[path].version for other in held[path])
    }
    for group in _groups(view):
        if not (right.issuperset(group) and _one_file(group, there)):
            right.difference_update(group)
    wrong = {path: node for path, node in picked.nodes.items() if path not in right}
    brought = [node for node in picked.brought if node.line.path not in right]
    doomed = [path for path in there if path in view and path not in right and not _stays(view[path], there[path])]
    return Rest(
        surplus=sorted([*surplus, *doomed], key=lambda path: path.count(b"/"), reverse=True),
        picked=Picked(nodes=wrong, brought=brought, parents=picked.parents),
        kept=len(right),
    )


def _one_file(group: Collection[bytes], there: Mapping[bytes, os.stat_result]) -> bool:
    """Are all these paths there as names of one file, which has no others?"""
    found = [there[path] for path in group if path in there]
    return len({each.st_ino for each in found}) == 1 and {each.st_nlink for each in found} == {len(group)}


def go_on(  # noqa: PLR0913 - what a restore is
    reader: Reader,
    links: Sequence[Archive],
    picked: Picked,
    left: Rest,
    target: Path,
    *,
    numeric_owner: bool,
    progress: Callable[[int], None] = lambda _size: None,
) -> None:
    """Do what is left, and see that all of ``picked`` is there. Raises what ``picking.write`` raises."""
    for path in left.picked.nodes:
        if within.straight(target, path):
            _spoil(within.place(target, path))
    changed = {path.rpartition(b"/")[0] for path in (*left.surplus, *left.picked.nodes)} - {b""}
    shut = {path: mode for path in changed if (mode := _opened(target, path)) is not None}
    for path in left.surplus:
        _remove(within.place(target, path))
    write(reader, links, left.picked, target, numeric_owner=numeric_owner, progress=progress)
    for path, mode in shut.items():
        if path not in left.picked.nodes and within.straight(target, path):
            os.chmod(within.place(target, path), mode)  # noqa: PTH101 - bytes
    set_times(target, [node.line for node in picked.all if node.line.is_folder] + list(picked.parents))
    compare(target, picked.nodes, numeric_owner=numeric_owner)


def unread(indexes: Indexes, archive: Archive) -> list[str]:
    """Return what could not be read when the archive was made."""
    with tempfile.TemporaryDirectory(prefix="s3nap-") as work:
        state = indexes.listing(archive, Path(work))
        return sorted(os.fsdecode(path) for path in dirstate.paths(state, dirstate.MISSING))


def _walk(target: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Yield all that is in the target; a directory before what is in it."""
    stack = [b""]
    while stack:
        folder = stack.pop()
        with os.scandir(os.path.join(target, folder)) as entries:  # noqa: PTH118 - bytes
            for entry in entries:
                path = folder + entry.name
                yield path, entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    stack.append(path + b"/")


def _groups(view: Mapping[bytes, Node]) -> Iterator[set[bytes]]:
    """Yield the names of each file, most have one."""
    groups: dict[tuple[str, bytes], set[bytes]] = defaultdict(set)
    for path, node in view.items():
        if not node.line.is_folder:
            groups[node.run, node.line.link.removeprefix(b"./") if node.line.kind == b"h" else path].add(path)
    yield from groups.values()


def _stays(node: Node, there: os.stat_result) -> bool:
    """May it stay until it is written again? Directories, for what is in them."""
    return node.line.is_folder and stat.S_ISDIR(there.st_mode)


def _opened(target: Path, path: bytes) -> int | None:
    """Change the mode of a directory in which tar could not write, or whose group all would inherit.

    Returns the mode it had, None if that will do.
    """
    if not within.straight(target, path):
        return None
    here = within.place(target, path)
    mode = stat.S_IMODE(os.lstat(here).st_mode)
    better = (mode if os.geteuid() == 0 else mode | stat.S_IRWXU) & ~stat.S_ISGID
    if better == mode:
        return None
    os.chmod(here, better)  # noqa: PTH101 - bytes
    return mode


def _spoil(path: bytes) -> None:
    """Take its attributes off what is to be written again, and its time: if this is interrupted, too, that tells."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.utime(path, ns=(_SPOILT, _SPOILT), follow_symlinks=False)
        strip(path)


def _remove(path: bytes) -> None:
    if stat.S_ISDIR(os.lstat(path).st_mode):
        os.rmdir(path)  # noqa: PTH106 - bytes
    else:
        os.unlink(path)  # noqa: PTH108 - bytes
