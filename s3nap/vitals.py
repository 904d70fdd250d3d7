"""Facts for the checks: what the catalog says of jobs, and what is to be seen of this machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

from s3nap import pipeline
from s3nap.catalog import Catalog
from s3nap.compression import COMPRESSIONS
from s3nap.errors import DeniedError, ProgramError, RecipientError, S3napError
from s3nap.findings import Level
from s3nap.job import Conf
from s3nap.jobchecks import JobFacts
from s3nap.machinechecks import Key, MachineFacts
from s3nap.names import host_prefix
from s3nap.recipients import private_here, resolve
from s3nap.sources.mysql import CLIENTS, DUMPS
from s3nap.sources.table import expand
from s3nap.state import DiffDir
from s3nap.storage import Clocked, Storage

_PROGRAMS: dict[str, tuple[tuple[str, ...], ...]] = {  # by kind; of each group one will do
    "Directory": (("tar",),),
    "MySQL": (DUMPS, CLIENTS),
    "PostgreSQL": (("pg_dump",), ("psql",)),
    "Subversion": (("svnadmin",), ("svnlook",)),
    "SubversionDir": (("svnadmin",), ("svnlook",)),
}


def of_conf(conf: Conf, catalog: Catalog, endpoint: str | None, today: date) -> Iterator[JobFacts]:
    """Yield the facts of every job of a conf, whether it has archives or not. Raises StorageError."""
    storage = catalog.storage
    diffdir = DiffDir(conf["DiffDir"], f"{storage.url}@{endpoint or ''}", conf["Host"], writable=False)
    readable = os.access(diffdir.root, os.R_OK | os.X_OK)
    marks = _sees_marks(storage, conf["Host"])
    for one in conf.jobs:
        try:
            jobs = expand(one)
        except S3napError as error:
            yield JobFacts(job=one.name, day=today, fault=str(error))
            continue
        for job in jobs:
            known = catalog.job(job.name, diffdir.job(job.name).manifests if readable else None)
            yield JobFacts(
                job=job.name,
                day=today,
                archives=known.archives,
                cycle=job.cycle,
                catch_up=job["CatchUp"],
                machine=diffdir.machine if readable else None,
                doubts=known.doubts,
                marks=marks,
            )


def of_host(catalog: Catalog, today: date) -> Iterator[JobFacts]:
    """Yield the facts of every job that a host has archives of. Raises StorageError."""
    for name, known in catalog.all_jobs().items():
        yield JobFacts(job=name, day=today, archives=known.archives, doubts=known.doubts)


def _sees_marks(storage: Storage, host: str) -> bool:
    try:
        next(iter(storage.list(host_prefix(host))), None)
    except DeniedError:
        return False
    return True


def of_machine(conf: Conf, storage: Storage | None) -> MachineFacts:
    """Look at this machine as a conf needs it; without a storage, as far as that goes."""
    keys, fault = _keys(conf)
    method = "recipients" if conf["GpgRecipient"] else "passphrase" if conf["GpgPassphraseFile"] else "none"
    return MachineFacts(
        moment=datetime.now(UTC),
        encryption=method,
        keys=keys,
        key_fault=fault,
        offset=_offset(storage),
        free=_free(conf),
        missing=_missing(conf, gpg=method != "none"),
    )


def _keys(conf: Conf) -> tuple[list[Key], str | None]:
    """Return the recipients' keys, and why not all can be used."""
    now = datetime.now(UTC)
    keys: list[Key] = []
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="s3nap-") as folder:
        for configured in conf["GpgRecipient"] or ():
            try:
                (found,) = resolve([configured], conf["GpgKeyring"], Path(folder), now)
                here = private_here(found.fingerprint)
            except RecipientError as error:
                faults.append(str(error))
            else:
                keys.append(
                    Key(configured=configured, fingerprint=found.fingerprint, expires=found.expires, private_here=here)
                )
    return keys, "; ".join(faults) or None


def _offset(storage: Storage | None) -> float | None:
    """Return how many seconds this clock is ahead of the storage's; None where that has none, or does not answer."""
    if not isinstance(storage, Clocked):
        return None
    before = datetime.now(UTC)
    try:
        theirs = storage.clock()
    except S3napError:
        return None
    here = before + (datetime.now(UTC) - before) / 2
    # theirs is cut to the second
    return (here - theirs).total_seconds() - 0.5 if theirs is not None else None


def _free(conf: Conf) -> dict[str, int]:
    found = {}
    for directive in ("DiffDir", "TempDir"):
        if conf[directive] is not None and conf[directive].is_dir():
            status = os.statvfs(conf[directive])
            found[f"{directive} {conf[directive]}"] = status.f_bavail * status.f_frsize
    return found


def _missing(conf: Conf, *, gpg: bool) -> dict[str, Level]:
    """Name what is not installed: what backups need is critical, what only a recipe here would need is not."""
    groups = {group for job in conf.jobs for group in _PROGRAMS.get(job.kind, ())} | ({("gpg",)} if gpg else set())
    missing = {" or ".join(group): Level.CRITICAL for group in sorted(groups) if not any(map(_is_here, group))}
    for job in conf.jobs:
        program = COMPRESSIONS[job["Compression"].name].program
        if program is not None and not _is_here(program):
            missing.setdefault(program, Level.WARNING)
    return missing


def _is_here(program: str) -> bool:
    try:
        pipeline.find(program)
    except ProgramError:
        return False
    return True
