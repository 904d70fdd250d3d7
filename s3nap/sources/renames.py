"""Renames of directories in a restored tree, all at once: what is swapped, rotated or turned inside out comes right."""

from __future__ import annotations

# Paths are bytes here, which pathlib cannot hold.
# ruff: noqa: PTH102, PTH104, PTH108, PTH118
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from loguru import logger

from s3nap.errors import VerificationError

_BAD = frozenset({b"", b".", b".."})


def replay(root: Path, pairs: Sequence[tuple[bytes, bytes]]) -> None:
    """Give directories below ``root`` their new names; old and new ones are relative to it.

    All names are those before and after all of the renames. What stands where a directory goes is removed. Nobody
    else may work on the tree. A directory that is not there is left to the comparison afterwards. No link is followed.
    Raises VerificationError for a name that could lead out of the tree.
    """
    for name in (name for pair in pairs for name in pair):
        if not _BAD.isdisjoint(name.split(b"/")):
            raise VerificationError(f"holds a rename record with a dangerous name: {os.fsdecode(name)}")
    base = os.fsencode(root)
    aside = os.fsencode(tempfile.mkdtemp(prefix=".s3nap-", dir=root))
    try:
        moved = []
        # what is in another is taken out first, and put in last
        for number, (old, new) in enumerate(sorted(pairs, key=lambda pair: _depth(pair[0]), reverse=True)):
            if all(_is_folder(path) for path in _steps(base, old)):
                os.rename(os.path.join(base, old), os.path.join(aside, b"%d" % number))
                moved.append((number, new))
            else:
                logger.debug("renamed, but not there: {}", os.fsdecode(old))
        for number, new in sorted(moved, key=lambda each: _depth(each[1])):
            _make_room(base, new)
            os.rename(os.path.join(aside, b"%d" % number), os.path.join(base, new))
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def links(root: Path) -> set[bytes]:
    """Return all symbolic links below ``root``, relative to it."""
    base = os.fsencode(root)
    found = set()
    for folder, folders, files in os.walk(base):
        paths = (os.path.join(folder, name) for name in (*folders, *files))
        found |= {os.path.relpath(path, base) for path in paths if os.path.islink(path)}  # noqa: PTH114 - bytes
    return found


def _depth(name: bytes) -> int:
    return name.count(b"/")


def _steps(base: bytes, name: bytes) -> Iterator[bytes]:
    """Yield every folder on the way, and the end of it."""
    path = base
    for part in name.split(b"/"):
        path = os.path.join(path, part)
        yield path


def _is_folder(path: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _make_room(base: bytes, name: bytes) -> None:
    """Make the folders on the way, of which the same level says later how they are, and clear the end of it."""
    *above, path = _steps(base, name)
    for folder in above:
        if not _is_folder(folder):
            _remove(folder)
            os.mkdir(folder, 0o700)
    _remove(path)


def _remove(path: bytes) -> None:
    if _is_folder(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
