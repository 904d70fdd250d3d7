"""Putting single files back where they were, from a folder they were restored into; nothing is replaced unasked."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from s3nap.errors import UsageError
from s3nap.state import private


def put_back(restored: Path, target: Path, *, overwrite: bool) -> list[tuple[Path, bool]]:
    """Put every file and link below ``restored`` to the same place below ``target``.

    Returns each path and whether it was written; what is there already, just so, is left alone. Raises UsageError,
    before anything is written, if something else is in the way (folders always, files without ``overwrite``), or if
    a link leads a path out of the target.
    """
    files = sorted(path for path in restored.rglob("*") if path.is_symlink() or not path.is_dir())
    pairs = [(path, target / path.relative_to(restored)) for path in files]
    _check(pairs, target, overwrite=overwrite)
    return [(place, _put(path, place)) for path, place in pairs]


def _check(pairs: Sequence[tuple[Path, Path]], target: Path, *, overwrite: bool) -> None:
    whole = target.resolve()
    for path, place in pairs:
        if not (path.is_symlink() or path.is_file()):
            raise UsageError(f"the archive holds something that is no file: /{place.relative_to(target)}")
        if not place.parent.resolve().is_relative_to(whole):
            raise UsageError(f"{place} lies outside of {target}: a link leads there; take it away")
        if place.is_dir() and not place.is_symlink():
            raise UsageError(f"{place} is a folder: move it away")
    others = [str(place) for path, place in pairs if os.path.lexists(place) and not _same(path, place)]
    if others and not overwrite:
        raise UsageError(
            f"in the way, and not what is stored: {', '.join(others)}; move them away, or --overwrite, or --target DIR"
        )


def _same(path: Path, place: Path) -> bool:
    if path.is_symlink() or place.is_symlink():
        return path.is_symlink() and place.is_symlink() and path.readlink() == place.readlink()
    return place.is_file() and path.read_bytes() == place.read_bytes()


def _put(path: Path, place: Path) -> bool:
    if os.path.lexists(place) and _same(path, place):
        return False
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f".s3nap-{secrets.token_hex(8)}")
    try:
        if path.is_symlink():
            fresh.symlink_to(path.readlink())
        else:
            _copy(path, fresh)
        fresh.replace(place)
    finally:
        fresh.unlink(missing_ok=True)
    return True


def _copy(path: Path, fresh: Path) -> None:
    """Copy contents, time, mode and, for root, the owner."""
    status = path.stat()
    with path.open("rb") as source, open(fresh, "xb", opener=private) as file:
        shutil.copyfileobj(source, file)
        if os.geteuid() == 0:
            os.fchown(file.fileno(), status.st_uid, status.st_gid)
        os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode) & 0o777)  # a conf needs no setuid
    os.utime(fresh, ns=(status.st_atime_ns, status.st_mtime_ns))
