"""In which order a lost host's jobs come back: for each the command, its sizes, and the time it is likely to take."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from s3nap import advice
from s3nap.catalog import JobCatalog
from s3nap.directives import CONF
from s3nap.job import Job
from s3nap.liveness import chain
from s3nap.manifest import Archive, Manifest
from s3nap.sources.table import EXPANSIONS, job_of

_RANKS = ("Directory", "Subversion", "SubversionDir", "SQLite", "MySQL", "PostgreSQL", "Command")
_TOGETHER = {"SubversionDir": "Subversion", "SQLite": "Subversion", "PostgreSQL": "MySQL"}
_CONNECTING = {
    "PostgreSQLHost": "--db-host",
    "PostgreSQLPort": "--db-port",
    "MySQLDefaultsFile": "--defaults-file",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One restore: ``links`` from the FULL on, the command to type, and what must be known first."""

    links: Sequence[Archive]
    command: str
    doubts: Sequence[str]

    @property
    def manifest(self) -> Manifest:
        """The archive that is restored."""
        return self.links[-1].manifest

    @property
    def raw_size(self) -> int:
        """Bytes to write."""
        return sum(link.manifest.raw_size for link in self.links)

    @property
    def stored_size(self) -> int:
        """Bytes to fetch."""
        return sum(link.manifest.stored_size for link in self.links)

    @property
    def expected(self) -> timedelta:
        """As long as making these archives took."""
        spans = (link.manifest.finished - link.manifest.started for link in self.links)
        return sum((max(span, timedelta()) for span in spans), timedelta())


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What comes back, in order; jobs of the conf of which nothing restores; and jobs that it does not have."""

    steps: Sequence[Step]
    missing: Sequence[str]
    others: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What all commands share: ``where`` are the options that lead to the bucket, repositories go below ``root``.

    ``pinned``: each command names the archive that is the newest now; so it still means that one after the new host's
    first run.
    """

    where: Sequence[str]
    root: Path = Path("/")
    pinned: bool = False


def order(jobs: Sequence[Job], known: Mapping[str, JobCatalog], way: Way) -> Order:
    """Put the stored jobs of a conf in order: directories as in the conf, repositories and files, databases, commands.

    ``jobs`` are all of the conf's; Conf itself has no step: it comes before all others.
    """
    positions = {job.name: position for position, job in enumerate(jobs)}
    found: list[tuple[tuple[int, int, str], Job, Sequence[Archive]]] = []
    others: list[str] = []
    for name, item in known.items():
        job, links = job_of(name, jobs), _newest(item)
        if job is None:
            others.append(name)
        elif links is not None and job.kind != CONF:
            position = positions.get(name, positions.get(name.rpartition("/")[0], 0))
            rank = _RANKS.index(_TOGETHER.get(job.kind, job.kind))
            found.append(((rank, position, name), job, links))
    found.sort(key=lambda item: item[0])
    steps = [
        Step(links=links, command=_command(number, job, links[-1].manifest, way), doubts=_doubts(links))
        for number, (_, job, links) in enumerate(found, 1)
    ]
    there = {links[-1].manifest.job for _, _, links in found} | {job.name for job in jobs if job.kind == CONF}
    missing = [job.name for job in jobs if not _is_there(job, there)]
    return Order(steps=steps, missing=missing, others=others)


def _is_there(job: Job, there: Iterable[str]) -> bool:
    stands_for = job.kind in EXPANSIONS
    return any(name == job.name or (stands_for and name.rpartition("/")[0] == job.name) for name in there)


def _newest(known: JobCatalog) -> list[Archive] | None:
    by_run = known.by_run
    chains = (chain(archive, by_run) for archive in reversed(known.archives))
    return next((links for links in chains if links is not None), None)


def _doubts(links: Sequence[Archive]) -> list[str]:
    last = links[-1]
    doubts = []
    if last.braking:
        doubts.append(f"it looked wrong when it was made ({last.manifest.brake}): see `list` for an older one")
    if not last.manifest.complete:
        doubts.append("it lacks files that could not be read when it was made")
    return doubts


def _command(number: int, job: Job, manifest: Manifest, way: Way) -> str:
    to_file = manifest.kind == "SQLite" or (manifest.kind == "Command" and manifest.object("load") is None)
    more: list[str] = []
    for directive, flag in _CONNECTING.items():
        if directive in job.settings and job[directive] is not None:
            more += [flag, str(job[directive])]
    if manifest.stream == "svndump" and way.root != Path("/"):
        more += ["--database", str(way.root / manifest.source.lstrip("/"))]
    command = advice.restore(manifest.job, way.where, *more, at=manifest.run if way.pinned else None)
    if manifest.stream != "tar" and not to_file:
        return command
    return f"{command} --target {target(number, manifest)}"


def target(number: int, manifest: Manifest) -> str:
    """Return, quoted for sh, where below ``$TARGET`` a directory or file goes: no two go to one place."""
    name = "root" if manifest.source == "/" else manifest.job.rpartition("/")[2]
    return f'"$TARGET"/{shlex.quote(f"{number:02d}-{name}")}'
