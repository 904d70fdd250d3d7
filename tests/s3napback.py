"""What s3napback and js3tream did, step by step, to make old buckets: the same programs, keys and cuts."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FIRST = datetime(2010, 3, 1, 3, 15, tzinfo=UTC)


@dataclass(kw_only=True)
class OldBucket:
    """A bucket as the original filled it. ``recipient`` None: without gpg, as it did where none was set."""

    client: S3Client
    name: str
    work: Path
    recipient: str | None = None
    chunk: int = 4096
    snapshots: dict[Path, Path] = field(default_factory=dict)

    def directory(self, path: Path, slot: int, kind: str, day: int, exclude: Sequence[str] = ()) -> None:
        """``tar -f - [--exclude X] -g DIFF -C / -czp /p``; a FULL begins by removing the snapshot."""
        snapshot = self.work / (str(path).replace("/", "_") + ".diff")
        if kind == "FULL":
            snapshot.unlink(missing_ok=True)
        options = [word for pattern in exclude for word in ("--exclude", pattern)]
        # --format: what tar of those years did, whatever that of today is built for
        argv = ["tar", "-f", "-", "--format=gnu", *options, "-g", str(snapshot), "-C", "/", "-czp", str(path)]
        dumped = subprocess.run(argv, check=True, capture_output=True).stdout
        self.store(f"{path}-{slot}-{kind}", dumped, day)

    def dump(self, archive: str, text: bytes, day: int) -> None:
        """``... | gzip`` of what a dump program wrote."""
        self.store(archive, gzip.compress(text), day)

    def store(self, archive: str, data: bytes, day: int) -> None:
        """``| gpg --batch -r R -e``, if there is a recipient, ``| js3tream -i -b BUCKET:ARCHIVE``."""
        if self.recipient is not None:
            argv = ["gpg", "--batch", "--trust-model", "always", "-r", self.recipient, "-e"]
            data = subprocess.run(argv, input=data, check=True, capture_output=True).stdout
        self.upload(archive, data, day)

    def upload(self, archive: str, data: bytes, day: int, chunk: int | None = None) -> None:
        """Cut and store as js3tream: where the length is an exact multiple, an empty object comes last."""
        size = chunk or self.chunk
        self.delete(archive)
        for number in range(len(data) // size + 1):
            self.put(f"{archive}:{number:020}", data[number * size : (number + 1) * size], day)

    def delete(self, archive: str) -> None:
        for key in self.stored(f"{archive}:"):
            self.client.delete_object(Bucket=self.name, Key=key)

    def put(self, key: str, data: bytes, day: int) -> None:
        """Store an object as of so many days after FIRST."""
        self.client.put_object(Bucket=self.name, Key=key, Body=data)
        stored = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[self.name].keys[key]
        stored.last_modified = (FIRST + timedelta(days=day)).replace(tzinfo=None)

    def stored(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]
