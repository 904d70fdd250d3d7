"""Puts what lies beside the chunks of an archive: index, state, log, tables, envelope, recipe; several at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from s3nap.chunks import in_order
from s3nap.compression import Compression
from s3nap.crew import Crew
from s3nap.envelope import Encoded, Envelope, KeysWriter
from s3nap.manifest import Manifest, StoredObject
from s3nap.names import ArchiveName
from s3nap.recipe import Level, render
from s3nap.storage import Data, Storage

_TOGETHER = 4  # puts: they are small, and the answer to each is waited for


@dataclass(slots=True, kw_only=True)
class Sides:
    """What lies beside the chunks of one archive in the making; ``objects`` are those that have been put."""

    storage: Storage
    envelope: Envelope
    crew: Crew
    at: ArchiveName
    compression: Compression
    level: int | None
    objects: list[StoredObject] = field(default_factory=list)

    def put_files(self, files: Mapping[str, Path], work: Path, keys: KeysWriter | None) -> Iterator[tuple[str, Path]]:
        """Put files by role, each compressed and encrypted like a chunk.

        Yields each role with the compressed file, in order, to be kept or not; it is removed afterwards.
        """
        packed = {role: work / f"{role}.packed" for role in files}
        tasks = (partial(self._file, role, plain, packed[role]) for role, plain in files.items())
        for role, (item, encoded) in zip(files, in_order(tasks, _TOGETHER), strict=True):
            self.objects.append(item)
            if keys is not None:
                keys.add(item.name, encoded)
            yield role, packed[role]
            packed[role].unlink(missing_ok=True)

    def _file(self, role: str, plain: Path, packed: Path) -> tuple[StoredObject, Encoded]:
        name = role + self.envelope.suffix(self.compression)
        with self.crew.place():  # one of many jobs, each of which may have a large index
            encoded = self.envelope.encode_file(plain, packed, self.compression, self.level)
            item = self._put(role, name, encoded.body, encoded.sha256)
            encoded.let_go()
        return item, encoded

    def put_tables(self, work: Path, manifest: Manifest, above: Sequence[Level], endpoint: str | None) -> Manifest:
        """Put sums, chunks and envelope as they are in ``work``, and the recipe, which has their hashes.

        ``above`` are the levels that the archive rests on. Returns the manifest with all that was put.
        """
        names = {"sums": "sums", "chunks": "chunks"}
        if manifest.encryption.method != "none":
            names["keys"] = "keys.gpg"
        data = {role: (work / name).read_bytes() for role, name in names.items()}
        hashes = {role: hashlib.sha256(each).hexdigest() for role, each in data.items()}
        own = Level(at=self.at, chunks=manifest.chunks, sums_sha256=hashes["sums"], keys_sha256=hashes.get("keys"))
        script = render(
            [*above, own],
            storage=self.storage.url,
            endpoint=endpoint,
            stream=manifest.stream,
            compression=manifest.compression,
            day=manifest.day,
        )
        names["recipe"] = "restore.sh"
        data["recipe"] = script.encode("utf-8", "surrogateescape")
        hashes["recipe"] = hashlib.sha256(data["recipe"]).hexdigest()
        tasks = (partial(self._put, role, name, data[role], hashes[role]) for role, name in names.items())
        self.objects += in_order(tasks, _TOGETHER)
        hint = f"fetch {self.storage.url}/{self.at.data}restore.sh and run it with sh: it needs no s3nap"
        stored = manifest.stored_size + sum(item.size for item in self.objects)
        return replace(manifest, objects=tuple(self.objects), recipe=hint, stored_size=stored)

    def _put(self, role: str, name: str, data: Data, sha256: str) -> StoredObject:
        self.storage.put(self.at.data + name, data)
        return StoredObject(role=role, name=name, size=len(data), sha256=sha256)
