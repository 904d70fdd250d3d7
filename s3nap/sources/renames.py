"""Renames of directories in a restored tree, all at once: what is swapped, rotated or turned inside out comes right."""

from __future__ import annotations

# Paths are bytes here, which pathlib cannot hold.
# ruff: noqa: PTH102, PTH104, PTH108, PTH118
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from s3nap.errors import VerificationError

_BAD = frozenset({b"", b".", b".."})


Pairs = Sequence[tuple[bytes, bytes]]


def replay(root: Path, pairs: Pairs, listings: Mapping[bytes, bytes]) -> Pairs:
    """Give directories below ``root`` their new names, and return what was renamed; names are relative to it.

    All are renamed at once: a new name is that after all of it. Of old names tar writes some as they were before, and
    some as they are after a directory above was renamed; and one level after a swap it repeats the records, to no
    purpose. So ``listings`` (of this level, by new name) decide: a directory comes from where most is of what it kept.
    What stands where a directory goes is removed. Nobody else may work on the tree; no link is followed. What is not
    there is left to the comparison afterwards.
    Raises VerificationError for a name that could lead out of the tree.
    """
    for name in (name for pair in pairs for name in pair):
        if not _BAD.isdisjoint(name.split(b"/")):
            raise VerificationError(f"holds a rename record with a dangerous name: {os.fsdecode(name)}")
    base = os.fsencode(root)
    found = _found(base, pairs, listings)
    aside = os.fsencode(tempfile.mkdtemp(prefix=".s3nap-", dir=root))
    try:
        # what is in another is taken out first, and put in last
        for number, (old, _) in sorted(enumerate(found), key=lambda each: _depth(each[1][0]), reverse=True):
            os.rename(os.path.join(base, old), os.path.join(aside, b"%d" % number))
        for number, (_, new) in sorted(enumerate(found), key=lambda each: _depth(each[1][1])):
            _make_room(base, new)
            os.rename(os.path.join(aside, b"%d" % number), os.path.join(base, new))
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return found


def _found(base: bytes, pairs: Pairs, listings: Mapping[bytes, bytes]) -> Pairs:
    """Return the pairs that bring what is needed, with the old name as it is before all renames."""
    found: dict[bytes, bytes] = {}
    for old, new in pairs:
        kept = [entry for entry in listings.get(new, b"").split(b"\0") if entry[:1] in {b"N", b"D"}]
        names = [name for name in _names(old, pairs) if name not in found and _is_there(base, name)]
        there = max(names, key=lambda name: _fitting(base, name, kept), default=None)
        # what kept nothing is stored anew, and need not come from anywhere
        if there is not None and _fitting(base, there, kept) >= max(1, _fitting(base, new, kept)):
            found[there] = new
    return list(found.items())


def _is_there(base: bytes, name: bytes) -> bool:
    return all(map(_is_folder, _steps(base, name)))


def _fitting(base: bytes, name: bytes, kept: Sequence[bytes]) -> int:
    """Count what a directory has of the entries that were not stored again."""
    folder = os.path.join(base, name)
    paths = ((entry[:1] == b"D", os.path.join(folder, entry[1:])) for entry in kept)
    return sum(os.path.lexists(path) and _is_folder(path) == wanted for wanted, path in paths)


def _names(name: bytes, pairs: Pairs) -> Iterator[bytes]:
    """Yield an old name, and what it was before directories above it were renamed."""
    yield name
    for pair in sorted(pairs, key=lambda each: len(each[1]), reverse=True):
        old, new = pair
        if name.startswith(new + b"/"):
            yield from _names(old + name[len(new) :], [each for each in pairs if each != pair])


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
