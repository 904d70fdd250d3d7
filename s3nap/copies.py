"""Copies of a job's manifests in DiffDir, and what was found out about each: so that nothing is asked for twice.

::

    <run>.json     the manifest below its sha256: a bit that flips here must not decide what is swept; its time is the
                   stored one's, as listed: that one has not changed since it was read
    <run>.signer   whose signature it bears, and of which manifest (sha256); its time is that of the stored signature
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from s3nap.errors import VerificationError
from s3nap.manifest import Archive, from_json
from s3nap.signing import Signature
from s3nap.state import make_folder, write_whole
from s3nap.storage import Listed

_DIGEST = 65  # bytes before the manifest
_SAME = 0.001  # seconds; file systems and clocks cut differently


@dataclass(frozen=True, slots=True)
class Copies:
    """The copies in a folder, which need not exist; ``keep`` False promises to change nothing."""

    folder: Path
    keep: bool = True

    def manifest(self, run: str) -> bytes | None:
        """Return the copy of a manifest, if there is one that is not damaged."""
        with contextlib.suppress(OSError, VerificationError):
            return _data(self._manifest(run))
        return None

    def current(self, run: str, stored: Listed) -> bool:
        """Is the copy that of the stored object as it is listed now?"""
        with contextlib.suppress(OSError):
            status = self._manifest(run).stat()
            return status.st_size == stored.size + _DIGEST and _same(status.st_mtime, stored.modified)
        return False

    def keep_manifest(self, run: str, data: bytes, modified: datetime | None = None) -> None:
        """Keep a copy; ``modified`` is the storage's time of it, None if that is not known yet."""
        self._write(self._manifest(run), hashlib.sha256(data).hexdigest().encode() + b"\n" + data, modified)

    def signature(self, run: str, data: bytes, stored: Listed | None) -> Signature | None:
        """Return what is remembered of the signature of this very manifest, if ``stored`` is still the same one.

        With ``stored`` None whatever was remembered last is returned.
        """
        path = self._signer(run)
        with contextlib.suppress(OSError, ValueError):
            digest, key, main = path.read_text().split()
            fresh = stored is None or _same(path.stat().st_mtime, stored.modified)
            if fresh and digest == hashlib.sha256(data).hexdigest():
                return Signature(key=key, main=main)
        return None

    def keep_signature(self, run: str, data: bytes, signature: Signature, modified: datetime | None = None) -> None:
        """Remember whose signature a manifest bears; ``modified`` is the storage's time of the signature."""
        line = f"{hashlib.sha256(data).hexdigest()} {signature.key} {signature.main}\n"
        self._write(self._signer(run), line.encode(), modified)

    def archives(self) -> Iterator[tuple[Archive, bytes] | VerificationError]:
        """Yield every archive of which there is a copy, oldest first, with the copy; or why it cannot be read."""
        yield from map(_archive, sorted(self.folder.glob("*.json")))

    def keep_only(self, runs: Collection[str]) -> list[tuple[Archive, Signature | None]]:
        """Forget the copies of all other runs, where anything may be changed; return their archives, and who signed."""
        gone = [path for path in sorted(self.folder.glob("*.*")) if path.stem not in runs]
        read = [_archive(path) for path in gone if path.suffix == ".json"]
        found = [item for item in read if not isinstance(item, VerificationError)]
        known = [(archive, self.signature(archive.run, data, None)) for archive, data in found]
        for path in gone if self.keep else ():
            path.unlink()
        return known

    def _manifest(self, run: str) -> Path:
        return self.folder / f"{run}.json"

    def _signer(self, run: str) -> Path:
        return self.folder / f"{run}.signer"

    def _write(self, path: Path, data: bytes, modified: datetime | None) -> None:
        if self.keep:
            make_folder(self.folder)
            write_whole(path, data)
            seconds = (modified or datetime.fromtimestamp(0, UTC)).timestamp()
            os.utime(path, (seconds, seconds))


def _archive(path: Path) -> tuple[Archive, bytes] | VerificationError:
    try:
        data = _data(path)
        return Archive(from_json(data, str(path)), sha256=hashlib.sha256(data).hexdigest()), data
    except VerificationError as error:
        return error


def _data(copy: Path) -> bytes:
    digest, _, data = copy.read_bytes().partition(b"\n")
    if hashlib.sha256(data).hexdigest().encode() != digest:
        raise VerificationError(f"{copy}: this copy of a manifest is damaged; remove it")
    return data


def _same(seconds: float, modified: datetime) -> bool:
    return abs(seconds - modified.timestamp()) < _SAME
