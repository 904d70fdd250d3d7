"""What runs left in a storage that were never committed: data, or marks, without a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from s3nap import names
from s3nap.names import ArchiveName
from s3nap.storage import Listed, Storage

OLD = timedelta(days=7)
"""A run that has stored nothing for so long is over: no upload of one object takes a day."""

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True, kw_only=True)
class Leftover:
    """What is left of one run, or of an archive whose deletion broke off: its bytes, and its newest object's time.

    The job in ``at`` is as keys have it.
    """

    at: ArchiveName
    size: int = 0
    newest: datetime = _NEVER


@dataclass(slots=True)
class Found:
    """The leftovers of a host. ``clock`` is the newest time that the storage has shown: it is that late at least.

    The clock of this machine plays no part: were it ahead, a run at work would look long dead.
    """

    leftovers: list[Leftover]
    clock: datetime

    def old(self, leftover: Leftover) -> bool:
        """Is it over, whoever made it?"""
        return self.clock - leftover.newest > OLD


def find(storage: Storage, host: str) -> Found:
    """List a host's data first and its catalog second: what is committed meanwhile is in the second list."""
    runs: dict[ArchiveName, Leftover] = {}
    committed: set[ArchiveName] = set()
    clock = _NEVER
    for entry in storage.list(names.data_prefix(host)):
        clock = max(clock, entry.modified)
        at = names.parse_data_key(host, entry.key)
        if at is not None:
            _add(runs, at, entry)
    for entry in storage.list(names.host_prefix(host)):
        clock = max(clock, entry.modified)
        key = names.parse_catalog_key(host, entry.key)
        if key is None:
            continue
        at = ArchiveName(host, key.job, key.slot, key.type, key.run)
        if key.mark == "json":
            committed.add(at)
        elif at.mark(key.mark) == entry.key:
            _add(runs, at, entry)
    return Found([each for at, each in runs.items() if at not in committed], clock)


def _add(runs: dict[ArchiveName, Leftover], at: ArchiveName, entry: Listed) -> None:
    found = runs.setdefault(at, Leftover(at=at))
    found.size += entry.size
    found.newest = max(found.newest, entry.modified)
