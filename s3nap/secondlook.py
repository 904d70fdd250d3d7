"""Looking at stored objects twice before one is called damaged: networks, memories and listings err, too."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from s3nap.chunks import ChunkLine, parse_tables
from s3nap.errors import NoSuchObjectError, StorageError, VerificationError
from s3nap.manifest import Manifest
from s3nap.storage import Listed, Storage

_CONFIRMED = 100  # objects asked for by name; what else a listing lacks after so many is believed to be missing


@dataclass(frozen=True, slots=True)
class Tables:
    """The two tables of an archive as they are stored; iterating parses them."""

    manifest: Manifest
    sums: bytes
    chunks: bytes

    def __iter__(self) -> Iterator[ChunkLine]:
        try:
            yield from parse_tables(self.sums, self.chunks, self.manifest.chunks)
        except (VerificationError, ValueError) as error:
            raise VerificationError(f"{self.manifest.at.data}: {error}") from error


class SecondLook:
    """Reads a storage's objects. VerificationError always means: looked at twice, and wrong both times."""

    def __init__(self, storage: Storage) -> None:
        """Nothing is read before it is asked for."""
        self._storage = storage

    def read(self, key: str, sha256: str) -> bytes:
        """Return an object that has this hash.

        VerificationError if it is not there, or reads twice as the same other bytes; StorageError if it reads
        differently each time: then the way to it is broken.
        """
        seen = set()
        for _ in range(2):
            try:
                data = self._storage.get(key)
                found = hashlib.sha256(data).hexdigest()
            except NoSuchObjectError:
                data, found = b"", "missing"
            if found == sha256:
                return data
            seen.add(found)
        if len(seen) > 1:
            raise StorageError(
                f"{key} reads differently each time: look for a proxy, a broken network or bad memory in between"
            )
        raise VerificationError(
            f"{key} is missing" if "missing" in seen else f"{key} is not what was stored: its sha256 differs"
        )

    def tables(self, manifest: Manifest) -> Tables:
        """Return the tables, whose hashes the manifest has."""
        found = []
        for role in ("sums", "chunks"):
            item = manifest.object(role)
            if item is None:
                raise VerificationError(f"{manifest.at.manifest} names no {role}")
            found.append(self.read(manifest.at.data + item.name, item.sha256))
        return Tables(manifest, *found)

    def wrong_sizes(self, manifest: Manifest, tables: Tables | None, listed: Mapping[str, Listed]) -> list[str]:
        """Name every object that is missing or of the wrong size; ``listed`` may be out of date.

        Without tables only the objects that the manifest names are looked at.
        """
        if not _differing(manifest, tables, listed):
            return []
        fresh = {item.key: item for item in self._storage.list(manifest.at.data)}
        wrong: list[str] = []
        for key, size in _differing(manifest, tables, fresh):
            if len(wrong) >= _CONFIRMED or not self._has_size(key, size):
                there = f"{fresh[key].size} bytes long, not {size}" if key in fresh else "missing"
                wrong.append(f"{key} is {there}")
        return wrong

    def _has_size(self, key: str, size: int) -> bool:
        try:
            end = self._storage.get(key, start=max(size - 1, 0), length=2)
        except NoSuchObjectError:
            return False
        return len(end) == min(size, 1)

    def replaced(self, manifest: Manifest, tables: Tables, listed: Mapping[str, Listed]) -> list[str]:
        """Name a chunk that was replaced by another one of its size, as far as ETags tell, without reading the others.

        A bucket that was copied has other ETags, so the first that differs is read; if it is right, they say nothing.
        """
        for line in tables:
            item = listed.get(manifest.at.data + line.name)
            if item is not None and "-" not in {item.etag, line.etag} and item.etag != line.etag:
                try:
                    self.read(item.key, line.sha256)
                except VerificationError as error:
                    return [str(error)]
                return []
        return []


def _differing(manifest: Manifest, tables: Tables | None, listed: Mapping[str, Listed]) -> list[tuple[str, int]]:
    """Return the objects that are not listed with their size."""
    wanted = [(item.name, item.size) for item in manifest.objects]
    chunks = ((line.name, line.size) for line in tables or ())
    return [
        (key, size)
        for name, size in (*chunks, *wanted)
        if (item := listed.get(key := manifest.at.data + name)) is None or item.size != size
    ]
