"""Where a path of an archive lies in a target: never outside it, whatever the archive says and the target holds."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from s3nap.errors import UsageError, VerificationError


def checked(path: bytes) -> bytes:
    """Return a path as an index names it; VerificationError for one that would lead out of a target."""
    if not path or path.startswith(b"/") or path.endswith(b"/") or not {b"..", b""}.isdisjoint(path.split(b"/")):
        raise VerificationError(f"holds a dangerous name: {path.decode(errors='backslashreplace')}")
    return path


def place(target: Path, path: bytes) -> bytes:
    """Return where a path lies; VerificationError as ``checked``."""
    return os.path.join(os.fsencode(target), checked(path))  # noqa: PTH118 - bytes


def straight(target: Path, path: bytes) -> bool:
    """Is there a directory at ``path``, with no symbolic link on the way to it from the target?"""
    where = os.fsencode(target)
    for part in checked(path).split(b"/"):
        where = os.path.join(where, part)  # noqa: PTH118 - bytes
        try:
            if not stat.S_ISDIR(os.lstat(where).st_mode):
                return False
        except OSError:
            return False
    return True


class Way:
    """Sees that nothing is written through a symbolic link of the target that leads out of it.

    tar follows what stands in the way of a member, unless the directory is a member itself: that replaces a link.
    """

    def __init__(self, target: Path) -> None:
        """``target`` may be a link itself: whoever named it meant that."""
        self._target = target
        self._real = target.resolve()
        self._safe: set[bytes] = {b".", b""}

    def check(self, name: bytes, *, folder: bool) -> None:
        """Judge the next member, ``folder`` if it is a directory; UsageError if its way leads out."""
        parent = name.rpartition(b"/")[0]
        if parent not in self._safe:
            self._follow(parent)
        if folder:
            self._safe.add(name)

    def _follow(self, folder: bytes) -> None:
        way = b""
        for part in folder.split(b"/"):
            way = way + b"/" + part if way else part
            if way in self._safe:
                continue
            here = Path(os.fsdecode(place(self._target, way)))
            if here.is_symlink() and not here.resolve().is_relative_to(self._real):
                raise UsageError(
                    f"{here} is a symbolic link that leads out of {self._target}: nothing is written through it; "
                    "remove it, or take an empty folder"
                )
            self._safe.add(way)
