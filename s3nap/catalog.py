"""The catalog: all manifests and marks of a storage; reading it, committing to it, sweeping from it."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from loguru import logger

from s3nap import names
from s3nap.errors import DeniedError, InDoubtError, NoSuchObjectError, S3napError, StorageError, VerificationError
from s3nap.manifest import Archive, Manifest, from_json
from s3nap.names import ArchiveName
from s3nap.state import make_folder, write_whole
from s3nap.storage import Listed, Storage

_AHEAD = timedelta(days=1)
_FETCHERS = 8
_T = TypeVar("_T")


@dataclass(slots=True)
class JobCatalog:
    """The archives of one job, oldest first, and what could not be taken for one.

    While ``unreadable`` holds anything, nothing of the job may be swept: an archive that cannot be understood may
    need any other. ``ignored`` manifests are from the future and count for nothing.
    """

    job: str
    archives: list[Archive] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    @property
    def newest_run(self) -> str | None:
        """The newest run id."""
        return self.archives[-1].run if self.archives else None

    @property
    def by_run(self) -> dict[str, Archive]:
        """The archives by run id."""
        return {archive.run: archive for archive in self.archives}


class Catalog:
    """The catalog of one host in one storage."""

    def __init__(self, storage: Storage, host: str) -> None:
        """Nothing is read before it is asked for."""
        self.storage = storage
        self.host = host

    def job(self, job: str, copies: Path | None = None, *, keep_copies: bool = False) -> JobCatalog:
        """Read the archives of one job: one listing, and the manifests of which ``copies`` holds no copy.

        With ``keep_copies`` new ones are kept there. Where listing is denied (put-only credentials), the copies are
        what there is.
        """
        result = JobCatalog(job)
        try:
            listed = list(self.storage.list(names.job_prefix(self.host, job)))
        except DeniedError:
            logger.debug("{}: the catalog may not be listed: using the copies in DiffDir", job)
            return from_copies(job, copies)
        own = [
            (entry, key)
            for entry in listed
            if (key := names.parse_catalog_key(self.host, entry.key)) is not None and key.job == names.job_key(job)
        ]
        self._read(own, result, copies, keep_copies=keep_copies)
        # a job's name that was cut to fit a key may be another's
        result.archives = [archive for archive in result.archives if archive.manifest.job == job]
        if keep_copies and copies is not None:
            _forget_copies(copies, {archive.run for archive in result.archives})
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
            self._read(entries, found, None, keep_copies=False)
            for archive in found.archives:
                whole = result.setdefault(archive.manifest.job, JobCatalog(archive.manifest.job))
                whole.archives.append(archive)
            if found.unreadable or found.ignored:
                whole = result.setdefault(found.archives[0].manifest.job if found.archives else cut, found)
                whole.unreadable, whole.ignored = found.unreadable, found.ignored
        return dict(sorted(result.items()))

    def _read(
        self,
        entries: Sequence[tuple[Listed, names.CatalogKey]],
        result: JobCatalog,
        copies: Path | None,
        *,
        keep_copies: bool,
    ) -> None:
        marks: dict[str, set[str]] = defaultdict(set)
        for _, key in entries:
            marks[key.run].add(key.mark)
        manifests = [entry for entry, key in entries if key.mark == "json"]

        def fetch(entry: Listed) -> Manifest | VerificationError:
            try:
                return self._manifest(entry, copies, keep_copies=keep_copies)
            except (VerificationError, NoSuchObjectError, DeniedError) as error:
                return error if isinstance(error, VerificationError) else VerificationError(str(error))

        for entry, manifest in zip(manifests, _parallel(fetch, manifests), strict=True):
            if isinstance(manifest, VerificationError):
                result.unreadable.append(str(manifest))
            elif yet_to_come(manifest.started, entry.modified):
                result.ignored.append(f"{entry.key}: says it is of {manifest.started:%Y-%m-%d}, which is yet to come")
            else:
                result.archives.append(Archive(manifest, frozenset(marks[manifest.run] - {"json"})))
        result.archives.sort(key=lambda archive: archive.run)

    def _manifest(self, entry: Listed, copies: Path | None, *, keep_copies: bool) -> Manifest:
        copy = copies / Path(entry.key).name if copies is not None else None
        if copy is not None and copy.is_file():
            with contextlib.suppress(VerificationError):  # a damaged copy is no damaged archive
                data = _copied(copy)
                if len(data) == entry.size:
                    return from_json(data, str(copy))
        data = self.storage.get(entry.key)
        manifest = from_json(data, entry.key)
        if manifest.at.manifest != entry.key:
            raise VerificationError(f"{entry.key}: is the manifest of another archive ({manifest.at.manifest})")
        if copy is not None and keep_copies:
            _keep_copy(copy, data)
        return manifest

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
            _keep_copy(copies / f"{manifest.run}.json", data)
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


def _parallel(fetch: Callable[[Listed], _T], entries: Sequence[Listed]) -> list[_T]:
    if len(entries) < 2:
        return [fetch(entry) for entry in entries]
    with ThreadPoolExecutor(_FETCHERS) as pool:
        return list(pool.map(fetch, entries))


def from_copies(job: str, copies: Path | None) -> JobCatalog:
    """Return the archives of a job as far as copies of their manifests tell; marks are not known."""
    result = JobCatalog(job)
    for path in sorted(copies.glob("*.json")) if copies is not None else ():
        try:
            result.archives.append(Archive(from_json(_copied(path), str(path))))
        except VerificationError as error:
            result.unreadable.append(str(error))
    return result


def _keep_copy(copy: Path, data: bytes) -> None:
    """Keep a manifest with its sha256: a bit that flips in DiffDir must not decide what is swept."""
    make_folder(copy.parent)
    write_whole(copy, hashlib.sha256(data).hexdigest().encode() + b"\n" + data)


def _copied(copy: Path) -> bytes:
    digest, _, data = copy.read_bytes().partition(b"\n")
    if hashlib.sha256(data).hexdigest().encode() != digest:
        raise VerificationError(f"{copy}: this copy of a manifest is damaged; remove it")
    return data


def _forget_copies(copies: Path, runs: Iterable[str]) -> None:
    known = set(runs)
    for path in _copies(copies):
        if path.stem not in known:
            path.unlink()


def _copies(copies: Path) -> Iterator[Path]:
    return copies.glob("*.json") if copies.is_dir() else iter(())


def yet_to_come(started: datetime, stored: datetime) -> bool:
    """Whether an archive that says it was ``started`` then counts for nothing, for it was ``stored`` a day before."""
    return started - stored > _AHEAD


def new_run_id(now: datetime, newest: str | None, random: str) -> tuple[str, datetime]:
    """Return a run id and its time, never older than ``newest`` (a clock that went back must not confuse the order)."""
    stamp = now.replace(microsecond=0)
    if newest is not None:
        last = datetime.strptime(newest[:16], "%Y%m%dT%H%M%S%z")
        stamp = max(stamp, last + timedelta(seconds=1))
    return f"{stamp:%Y%m%dT%H%M%SZ}-{random}", max(now, stamp)
