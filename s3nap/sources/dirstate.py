"""The state of a directory: a plain tar file, so that anyone can look into it.

Members: ``snapshot`` (tar's own, as it wrote it); ``census``; ``retry``, the paths that could not be read and
must be dumped next time; ``missing``, the paths that the listing names but the archive does not hold.
"""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from s3nap.errors import SourceError

SNAPSHOT, CENSUS, RETRY, MISSING = "snapshot", "census", "retry", "missing"


def pack(
    target: Path, *, snapshot: Path, census: Path | None, retry: Iterable[bytes], missing: Iterable[bytes]
) -> None:
    """Write a state file; without ``census`` it is no state, but enough to tell what was there."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in ((SNAPSHOT, snapshot), (CENSUS, census)):
            if path is None:
                continue
            member = tarfile.TarInfo(name)
            member.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(member, file)
        for name, paths in ((RETRY, retry), (MISSING, missing)):
            data = b"".join(path + b"\0" for path in paths)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def unpack(state: Path, name: str, target: Path) -> Path:
    """Write one member to ``target`` and return it; SourceError if the state is damaged."""
    try:
        with tarfile.open(state, "r:") as archive, target.open("wb") as out:
            shutil.copyfileobj(_member(archive, name), out, 1 << 20)
    except (tarfile.TarError, KeyError) as error:
        raise SourceError(f"{state}: the state of the last run is damaged: {error}") from error
    return target


def paths(state: Path, name: str) -> list[bytes]:
    """Return ``retry`` or ``missing``."""
    try:
        with tarfile.open(state, "r:") as archive:
            return _member(archive, name).read().split(b"\0")[:-1]
    except (tarfile.TarError, KeyError) as error:
        raise SourceError(f"{state}: the state of the last run is damaged: {error}") from error


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file
