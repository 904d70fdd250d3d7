"""Archives made up: manifests as a run would have left them, in a folder that a bucket is made of."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from s3nap.manifest import Encryption, Manifest, StoredObject, Type
from s3nap.names import job_name

_OBJECTS = tuple(
    StoredObject(role=role, name=name, size=1000, sha256=f"{number:064x}")
    for number, (role, name) in enumerate(
        {
            "index": "index.zst.gpg",
            "state": "state.zst.gpg",
            "sums": "sums",
            "chunks": "chunks",
            "keys": "keys.gpg",
        }.items()
    )
)


def fill(bucket: Path, host: str, source: str, count: int, until: date) -> None:
    """Put ``count`` daily archives of a directory below ``bucket``, the last one of ``until``; all of them FULLs."""
    for number in range(count):
        day = until - timedelta(count - 1 - number)
        made = _manifest(host, source, (day - date(1970, 1, 1)).days % count, day)
        path = bucket / made.at.manifest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made.to_json())


def _manifest(host: str, source: str, slot: int, day: date) -> Manifest:
    at = datetime.combine(day, time(3, 15), UTC)
    run = f"{day:%Y%m%d}T031500Z-000001"
    return Manifest(
        host=host,
        machine="0a0a0a0a",
        conf="s3nap.conf",
        job=job_name("Directory", source),
        kind="Directory",
        source=source,
        stream="tar",
        slot=slot,
        type=Type.FULL,
        run=run,
        day=day,
        started=at,
        finished=at,
        raw_size=10**9,
        stored_size=3 * 10**8,
        compression="zstd",
        encryption=Encryption(),
        objects=_OBJECTS,
        chunks=60,
        state_id=f"state of {run}",
        options="as ever",
    )
