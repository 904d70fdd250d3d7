"""The catalog: all manifests and marks of a storage; reading it, committing to it, sweeping from it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from loguru import logger

from s3nap import names
from s3nap.copies import Copies
from s3nap.entries import Entry, EntryReader, ahead
from s3nap.errors import (
    DeniedError,
    InDoubtError,
    NoSuchObjectError,
    S3napError,
    StorageError,
    UntrustedError,
    VerificationError,
)
from s3nap.manifest import Archive, Manifest
from s3nap.names import ArchiveName, run_time
from s3nap.signing import Signature, Trust
from s3nap.storage import Listed, Storage

_FETCHERS = 8
_SHOWN = 3
_T = TypeVar("_T")


@dataclass(slots=True)
class JobCatalog:
    """The archives of one job, oldest first, and what could not be taken for one.

    While ``unreadable`` holds anything, nothing of the job may be swept: an archive that cannot be understood may
    need any other. ``ignored`` manifests are from the future, or signed by nobody who counts: they count for nothing.
    ``missing`` are archives that are stored no more, but were when this machine last looked, and it swept none of them.
    """

    job: str
    archives: list[Archive] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    missing: list[Archive] = field(default_factory=list)

    @property
    def doubts(self) -> list[str]:
        """What could not be taken for an archive, and why: who shows archives shows these, too."""
        return [*self.unreadable, *self.ignored]

    @property
    def newest_run(self) -> str | None:
        """The newest run id."""
        return self.archives[-1].run if self.archives else None

    @property
    def by_run(self) -> dict[str, Archive]:
        """The archives by run id."""
        return {archive.run: archive for archive in self.archives}


class Catalog:
    """The catalog of one host in one storage; with ``trust``, archives that nobody trusted has signed do not count."""

    def __init__(self, storage: Storage, host: str, trust: Trust | None = None) -> None:
        """Nothing is read before it is asked for."""
        self.storage = storage
        self.host = host
        self.trust = trust

    def job(self, job: str, copies: Path | None = None, *, keep_copies: bool = False) -> JobCatalog:
        """Read the archives of one job: one listing, and the manifests of which ``copies`` holds no copy.

        With ``keep_copies`` new ones are kept there. Where listing is denied (put-only credentials), the copies are
        what there is.
        """
        result = JobCatalog(job)
        kept = Copies(copies, keep_copies) if copies is not None else None
        try:
            listed = list(self.storage.list(names.job_prefix(self.host, job)))
        except DeniedError:
            logger.debug("{}: the catalog may not be listed: using the copies in DiffDir", job)
            return from_copies(job, copies, self.trust)
        own = [
            (entry, key)
            for entry in listed
            if (key := names.parse_catalog_key(self.host, entry.key)) is not None and key.job == names.job_key(job)
        ]
        self._read(own, result, kept)
        # a job's name that was cut to fit a key may be another's
        result.archives = [archive for archive in result.archives if archive.manifest.job == job]
        if kept is not None:
            gone = kept.keep_only({key.run for _, key in own if key.mark == "json"})
            result.missing = [archive for archive, signature in gone if self._counts(signature)]
        return result

    def all_jobs(self) -> dict[str, JobCatalog]:
        """Read the archives of every job of the host."""
        groups: dict[str, list[tuple[Listed, names.CatalogKey]]] = defaultdict(list)
        for entry in self.storage.list(names.host_prefix(self.host)):
            key = names.parse_catalog_key(self.host, entry.key)
            if key is not None:
                groups[key.job].append((entry, key))
        result: dict[str, JobCatalog] = {}
        for cut, entries in groups.items():
            found = JobCatalog(cut)
            self._read(entries, found, None)
            for archive in found.archives:
                whole = result.setdefault(archive.manifest.job, JobCatalog(archive.manifest.job))
                whole.archives.append(archive)
            if found.unreadable or found.ignored:
                whole = result.setdefault(found.archives[0].manifest.job if found.archives else cut, found)
                whole.unreadable, whole.ignored = found.unreadable, found.ignored
        return dict(sorted(result.items()))

    def _read(
        self, listed: Sequence[tuple[Listed, names.CatalogKey]], result: JobCatalog, copies: Copies | None
    ) -> None:
        beside: dict[str, dict[str, Listed]] = defaultdict(dict)
        for item, key in listed:
            beside[item.key.removesuffix(f".{key.mark}")][key.mark] = item
        entries = [
            Entry(key, item, beside[item.key.removesuffix(".json")]) for item, key in listed if key.mark == "json"
        ]
        strangers: dict[str, list[str]] = defaultdict(list)
        for entry, archive in zip(
            entries, _parallel(EntryReader(self.storage, self.trust, copies).archive, entries), strict=True
        ):
            if isinstance(archive, UntrustedError):
                strangers[str(archive)].append(entry.key.run)
            elif isinstance(archive, S3napError):
                result.unreadable.append(str(archive))
            elif (date := ahead(archive.manifest, entry.listed.modified)) is not None:
                result.ignored.append(f"{entry.listed.key}: says it is of {date:%Y-%m-%d}, which is yet to come")
            else:
                result.archives.append(archive)
        result.archives.sort(key=lambda archive: archive.run)
        result.ignored += [_uncounted(result.job, reason, runs) for reason, runs in strangers.items()]

    def _counts(self, signature: Signature | None) -> bool:
        return self.trust is None or (signature is not None and signature in self.trust)

    def commit(self, manifest: Manifest, copies: Path) -> None:
        """Put the manifest and read it back: this is the commit.

        Raises InDoubtError when it may or may not have arrived; then nothing of the run may be deleted. DeniedError:
        it may not be put, and is not there.
        """
        key, data = manifest.at.manifest, manifest.to_json()
        try:
            self.storage.put(key, data)
            back = self._read_back(key, data)
        except DeniedError:
            raise
        except StorageError as error:
            raise InDoubtError(
                f"the manifest {key} may not have arrived: {error}; the next run will find out"
            ) from error
        if back != data:
            raise InDoubtError(f"the manifest {key} reads back as something else; the next run will look again")
        try:
            Copies(copies).keep_manifest(manifest.run, data)
        except S3napError as error:
            logger.warning("{}: no copy of its manifest is kept: {}", manifest.job, error)

    def _read_back(self, key: str, data: bytes) -> bytes:
        try:
            return self.storage.get(key)
        except DeniedError:
            return data  # may put but not get

    def committed(self, archive: ArchiveName) -> bool:
        """Is there a manifest? Raises StorageError if the storage does not answer that."""
        try:
            self.storage.get(archive.manifest)
        except NoSuchObjectError:
            return False
        return True

    def sweep(self, archive: ArchiveName) -> bool:
        """Delete an archive or what is left of one: manifest and marks first, then data.

        Returns False if the storage retains something (deletes denied, Object Lock): it must be tried again later.
        """
        prefix = archive.manifest.removesuffix("json")
        beside = [entry.key for entry in self.storage.list(prefix)]
        first = [key for key in beside if key == archive.manifest]
        others = [key for key in beside if key != archive.manifest]
        if self.storage.delete(first) or self.storage.delete(others):
            return False
        return not self.storage.delete(entry.key for entry in self.storage.list(archive.data))


def hosts(storage: Storage) -> list[str]:
    """Return the encoded names of all hosts that have archives in a storage."""
    found = {re.split("/", entry.key)[1] for entry in storage.list(names.CATALOG + "/")}
    return sorted(found)


def _parallel(fetch: Callable[[Entry], _T], entries: Sequence[Entry]) -> list[_T]:
    if len(entries) < 2:
        return [fetch(entry) for entry in entries]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - start-up time: not needed where copies suffice

    with ThreadPoolExecutor(_FETCHERS) as pool:
        return list(pool.map(fetch, entries))


def _uncounted(job: str, reason: str, runs: Sequence[str]) -> str:
    """Say in one line what of a job nobody trusted has signed."""
    some = ", ".join(runs[-_SHOWN:]) + (f" and {len(runs) - _SHOWN} older" if len(runs) > _SHOWN else "")
    return f"{names.readable(job)}: archives that count for nothing: {reason}: {some}; --unsigned would take them"


def from_copies(job: str, copies: Path | None, trust: Trust | None = None) -> JobCatalog:
    """Return the archives of a job as far as copies of their manifests tell; marks are not known.

    With ``trust``, those count that this machine has signed, or has seen a good signature of.
    """
    result = JobCatalog(job)
    kept = Copies(copies, keep=False) if copies is not None else None
    strangers: list[str] = []
    for found in kept.archives() if kept is not None else ():
        if isinstance(found, VerificationError):
            result.unreadable.append(str(found))
            continue
        archive, data = found
        known = kept.signature(archive.run, data, None) if kept is not None and trust is not None else None
        if trust is None or (known is not None and known in trust):
            result.archives.append(archive)
        else:
            strangers.append(archive.run)
    if strangers:
        result.ignored.append(_uncounted(result.job, "unsigned, or never looked at", strangers))
    return result


def new_run_id(now: datetime, newest: str | None, random: str) -> tuple[str, datetime]:
    """Return a run id and its time, never older than ``newest`` (a clock that went back must not confuse the order)."""
    stamp = now.replace(microsecond=0)
    if newest is not None:
        stamp = max(stamp, run_time(newest) + timedelta(seconds=1))
    return f"{stamp:%Y%m%dT%H%M%SZ}-{random}", max(now, stamp)
