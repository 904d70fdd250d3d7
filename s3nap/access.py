"""From what the command line says to a storage, its catalog and the chosen archive, with a conf or without one."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import unquote

from loguru import logger

from s3nap import config, names
from s3nap.catalog import Catalog, JobCatalog, from_copies, hosts
from s3nap.cycle import day_number
from s3nap.errors import NothingMatchesError, UsageError
from s3nap.job import Conf, Job
from s3nap.liveness import Verdict, chain, judge, lineage
from s3nap.manifest import Archive
from s3nap.pace import Limits
from s3nap.signing import Trust, trust_of
from s3nap.sources.table import expanded, job_of
from s3nap.state import DiffDir, JobState
from s3nap.storage import Storage
from s3nap.storage.open import canonical, open_storage
from s3nap.succession import breaks
from s3nap.values import fingerprint
from s3nap.when import choose

WHERE = ("bucket", "endpoint", "region", "key_file", "host", "trusted_signer", "unsigned")
"""The options that say which storage and host are meant, and whose signatures count: what ``places`` takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A storage and the host that is meant; ``conf`` where one was given, ``endpoint`` where S3 is not AWS.

    ``jobs`` are those of the conf, and what they stand for as far as that can be told here; ``trust`` is whose
    signatures count, None if everything does.
    """

    storage: Storage
    host: str
    endpoint: str | None
    conf: Conf | None
    jobs: Sequence[Job] = ()
    trust: Trust | None = None

    @property
    def catalog(self) -> Catalog:
        """The host's catalog; where signers are known, what they signed."""
        return Catalog(self.storage, self.host, self.trust)

    def verdict(self, known: JobCatalog, today: date) -> Verdict:
        """Judge the archives of a job as far as what is known here goes."""
        job = job_of(known.job, self.jobs)
        ours = self.conf is not None and job is not None and self.conf["Host"] == self.host
        machine_here = machine(self.conf) if self.conf is not None and ours else None
        cycle = job.cycle if job is not None else None
        return judge(known.archives, cycle, day_number(today), machine_here)

    def breaks(self, known: JobCatalog) -> list[str]:
        """Say what of a job was removed or altered, as far as its archives tell of each other."""
        job = job_of(known.job, self.jobs)
        all_read = not known.doubts
        return breaks(known.archives, job.cycle if job is not None else None, all_read=all_read)

    def retired(self, archive: Archive) -> bool:
        """Is this the archive of a job that the conf of this name no longer has?"""
        if (
            self.conf is None
            or archive.manifest.conf != self.conf.file.name
            or archive.manifest.host != self.conf["Host"]
        ):
            return False
        return job_of(archive.manifest.job, self.jobs) is None


def diffdir(place: Place, *, writable: bool) -> DiffDir | None:
    """Return the DiffDir of the host that is meant, if this machine is that host; None elsewhere."""
    conf = place.conf
    if conf is None or place.host != conf["Host"] or not conf["DiffDir"].is_dir():
        return None
    return DiffDir.of(conf, place.storage.url, writable=writable)


def machine(conf: Conf) -> str:
    """Return the id of this machine, as its DiffDir knows it."""
    return DiffDir(conf["DiffDir"], "", conf["Host"], writable=False).machine


def storage_of(conf: Conf) -> Storage:
    """Return the storage of a conf."""
    return open_storage(
        conf["Bucket"],
        endpoint=conf["Endpoint"],
        region=conf["Region"],
        storage_class=conf["StorageClass"],
        object_lock=conf["ObjectLock"],
        key_file=conf["S3KeyFile"],
        connections=7 + int(conf["Parallel"]),
        limits=Limits.of(conf["UploadLimit"], conf["DownloadLimit"]),
    )


def places(  # noqa: PLR0913 - the options of the command line
    confs: Sequence[Path],
    *,
    bucket: str | None,
    endpoint: str | None,
    region: str | None,
    key_file: Path | None,
    host: str | None,
    trusted_signer: Sequence[str] = (),
    unsigned: bool = False,
) -> Iterator[Place]:
    """Yield each storage that is meant; ``host`` goes before the conf's, signers are beside it."""
    given = _fingerprints(trusted_signer)
    for path in confs:
        conf = config.load(path, on_this_host=False)
        yield Place(
            storage=storage_of(conf),
            host=host or conf["Host"],
            endpoint=conf["Endpoint"],
            conf=conf,
            jobs=expanded(conf.jobs),
            trust=None if unsigned else trust_of(conf, given),
        )
    if bucket is not None:
        storage = open_storage(bucket, endpoint=endpoint, region=region, key_file=key_file)
        trust = Trust(given) if given and not unsigned else None
        yield Place(storage=storage, host=host or socket.gethostname(), endpoint=endpoint, conf=None, trust=trust)


def _fingerprints(words: Sequence[str]) -> list[str]:
    try:
        return [fingerprint(word) for word in words]
    except ValueError as error:
        raise UsageError(f"--trusted-signer: {error}") from error


def all_hosts(place: Place) -> list[str]:
    """Return the hosts that have archives in a storage."""
    return [unquote(host) for host in hosts(place.storage)]


def other_hosts(place: Place) -> str:
    """Say for people whose archives a storage holds."""
    there = ", ".join(all_hosts(place))
    return f"there are archives of: {there} (--host)" if there else "the bucket holds no archives at all"


def find_job(place: Place, wanted: str) -> JobCatalog:
    """Return the catalog of a job, named as ``list`` shows it, by its encoded name, its source, or its kind alone.

    Raises NothingMatchesError, saying what there is, unless exactly one job is meant.
    """
    known = place.catalog.all_jobs()
    if not known:
        raise NothingMatchesError(f"{place.storage.url} holds nothing of host {place.host}; {other_hosts(place)}")
    return named(known, wanted, place.host)


def named(known: Mapping[str, JobCatalog], wanted: str, host: str) -> JobCatalog:
    """Return the one of ``known`` jobs that is meant; NothingMatchesError as ``find_job`` says."""
    if wanted in known:
        return known[wanted]
    matching = [item for name, item in known.items() if wanted in {names.readable(name), *_sources(item)}]
    matching = matching or [item for item in known.values() if wanted in _kinds(item)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise NothingMatchesError(f"{wanted} may be any of: {_shown(item.job for item in matching)}: name one of these")
    raise NothingMatchesError(f"host {host} has no job {wanted}; it has: {_shown(known)}")


def remembered(conf: Conf, trust: Trust | None = None) -> dict[str, tuple[JobCatalog, JobState]]:
    """Return the archives of a conf's host as DiffDir remembers them: without the storage, and without marks.

    With ``trust``, only those whose signatures are remembered, too.
    """
    found: dict[str, tuple[JobCatalog, JobState]] = {}
    for state in DiffDir.of(conf, canonical(conf["Bucket"]), writable=False).jobs():
        known = from_copies("", state.manifests, trust)
        if known.archives:
            known.job = known.archives[0].manifest.job
            found[known.job] = known, state
    return found


def _sources(known: JobCatalog) -> set[str]:
    return {archive.manifest.source for archive in known.archives}


def _kinds(known: JobCatalog) -> set[str]:
    return {archive.manifest.kind for archive in known.archives}


def _shown(jobs: Iterable[str]) -> str:
    return ", ".join(names.readable(job) for job in jobs)


def tell_doubts(known: JobCatalog) -> None:
    """Say what of a job could not be taken for an archive."""
    for doubt in known.doubts:
        logger.warning("{}", doubt)


def find_lineage(known: JobCatalog, when: str) -> list[Archive]:
    """Return what there is of the chain of the archive that ``when`` means, whole or not, oldest first.

    Says on the way what could not be taken for an archive: the one that is meant may be among that.
    """
    tell_doubts(known)
    return list(lineage(choose(known.archives, when, datetime.now(UTC)), known.by_run))[::-1]


def find_chain(known: JobCatalog, when: str) -> list[Archive]:
    """Return the chain of the archive that ``when`` means, FULL first; NothingMatchesError if none restores.

    Says on the way what could not be taken for an archive, as ``find_lineage``.
    """
    tell_doubts(known)
    by_run = known.by_run
    whole = [archive for archive in known.archives if chain(archive, by_run) is not None]
    try:
        chosen = choose(whole, when, datetime.now(UTC))
    except NothingMatchesError as error:
        raise NothingMatchesError("; ".join([str(error), *known.doubts])) from error
    links = chain(chosen, by_run)
    if links is None:
        raise NothingMatchesError(f"archive {chosen.run} is not whole")
    return links
