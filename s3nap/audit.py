"""What on a machine is in no block of its confs: what was found, held against what the jobs back up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from s3nap.answering import MYSQL, Facts, Server
from s3nap.confwords import quoted
from s3nap.coverage import Coverage
from s3nap.glance import Glance
from s3nap.inventory import Folder, Inventory
from s3nap.job import Conf, Job
from s3nap.mounts import within
from s3nap.names import readable
from s3nap.sources import mysql, postgresql
from s3nap.sources.excludes import Matcher

_WHERE_DATA_LIE = {MYSQL: ("/var/lib/mysql",), "PostgreSQL": ("/var/lib/postgresql", "/var/lib/pgsql")}
_AS_FILES = "copies the files of a server that runs: a file copy of a running database is not a backup"
_FEW = 3

Reached = Callable[[Job], Facts | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncovered:
    """Something found: its ``subject`` is a path, or a source as a conf names it (``MySQL shop``).

    ``gap``: it is not backed up; else it is only worth knowing. ``remedy``: the line that a conf lacks, if one helps.
    ``seen``: what a short look into a folder has shown.
    """

    what: str
    subject: str
    text: str
    gap: bool = True
    remedy: str = ""
    seen: Glance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """``found`` are gaps and notes, ``ignored`` the subjects of gaps that AuditIgnore takes out."""

    found: Sequence[Uncovered]
    ignored: Sequence[str]

    @property
    def gaps(self) -> list[Uncovered]:
        """What is not backed up, and should be."""
        return [each for each in self.found if each.gap]


def audit(there: Inventory, confs: Sequence[Conf], reached: Reached, root: Path = Path("/")) -> Audit:
    """Hold what is ``there`` against all confs together; ``reached`` asks the server of a job who it is."""
    jobs = [job for conf in confs for job in conf.jobs]
    coverage = Coverage(jobs, there.mounts, root)
    everything = [
        *_folders(there, coverage),
        *(each for server in there.servers for each in _server(server, jobs, coverage, reached)),
        *_cold(there, jobs, coverage),
        *_repositories(there, jobs, coverage),
        *_sqlite(there, jobs, coverage),
        *_notes(there, jobs, coverage),
    ]
    ignored = _Ignored([pattern for conf in confs for pattern in conf["AuditIgnore"]])
    kept = [each for each in everything if not ignored.has(each.subject)]
    gone = [each.subject for each in everything if each.gap and each not in kept]
    return Audit(found=sorted(kept, key=lambda each: (not each.gap, each.subject)), ignored=gone)


class _Ignored:
    """What AuditIgnore names, and what lies below it."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._matcher = Matcher(patterns)

    def has(self, subject: str) -> bool:
        path = PurePosixPath(subject if subject.startswith("/") else f"/{subject}")
        return any(self._matcher.excludes(os.fsencode(above)) for above in (path, *path.parents[:-1]))


def _folders(there: Inventory, coverage: Coverage) -> Iterator[Uncovered]:
    told: list[str] = []
    for folder in sorted(there.folders, key=lambda each: len(each.path)):
        if any(within(folder.path, path) for path in told) or _is_of_a_server(folder, there):
            continue
        for path, verdict in coverage.uncovered(folder.path):
            told.append(path)
            yield Uncovered(
                what="mount" if folder.mount is not None else "folder",
                subject=path,
                text=f"{folder.about if path == folder.path else f'in {folder.path}'}: {verdict.why}",
                remedy=_line("Directory", path),
                seen=folder.seen if path == folder.path else None,
            )


def _is_of_a_server(folder: Folder, there: Inventory) -> bool:
    running = [server.facts.data for server in there.servers if server.facts is not None]
    return folder.path in {*running, *(each.path for each in there.cold)}


def _line(kind: str, source: str, settings: Mapping[str, str] | None = None) -> str:
    """Return the line that a conf lacks; empty if the name cannot stand in one."""
    try:
        line = f"{kind} {quoted(source)}"
    except ValueError:
        return ""
    return f"<{line}> with {', '.join(f'{key} {value}' for key, value in settings.items())}" if settings else line


# databases


def _server(server: Server, jobs: Sequence[Job], coverage: Coverage, reached: Reached) -> Iterator[Uncovered]:
    own = [job for job in jobs if job.kind == server.kind]
    asked = [(job, facts) for job in own if (facts := reached(job)) is not None]
    same = [(job, facts) for job, facts in asked if _is_same(server, job, facts)]
    facts = server.facts or next((facts for _, facts in same), None)
    if facts is None:
        text = f"answers at {server.socket}, but {server.problem}: whether it is dumped cannot be told"
        yield Uncovered(what="database", subject=f"{server.kind} {server.socket}", text=text)
        return
    dumped = {_database(job) for job, _ in same}
    copied = _copies(server.kind, facts, coverage)
    for name in facts.databases if None not in dumped else ():
        if name not in dumped:
            word = server.source.removesuffix("all") + name
            text = f"a database at {server.socket}: not dumped" + (f"; {copied}" if copied else "")
            yield Uncovered(
                what="database",
                subject=f"{server.kind} {word}",
                text=text,
                remedy=_line(server.kind, word, server.settings),
            )
    if copied:
        text = f"{copied}; its dumps are: Exclude {facts.data}"
        yield Uncovered(what="database", subject=facts.data or server.socket, text=text, gap=False)
    if dumped and None not in dumped and "mysql" not in dumped:
        text = f"only single databases are dumped: accounts and rights are in {server.kind} all"
        yield Uncovered(what="database", subject=f"{server.kind} {server.socket}", text=text, gap=False)


def _is_same(server: Server, job: Job, facts: Facts) -> bool:
    """Does a job lead to this server?"""
    if server.facts is not None:
        return server.facts.identity == facts.identity
    if server.kind == MYSQL:
        return os.path.realpath(facts.socket) == server.real
    host = job["PostgreSQLHost"]
    here = host is None or os.path.realpath(host) == str(Path(server.real).parent)
    return here and server.real.endswith(f".{facts.identity[1]}")


def _database(job: Job) -> str | None:
    """Return the database that a job dumps; None if it dumps all."""
    _, database = mysql.parse(job.source) if job.kind == MYSQL else postgresql.parse(job.source)
    return database


def _copies(kind: str, facts: Facts, coverage: Coverage) -> str:
    """Say which block copies the files of a server that runs; empty if none does."""
    for path in (facts.data,) if facts.data else _WHERE_DATA_LIE[kind]:
        if (job := coverage.verdict(path).job) is not None:
            return f"{readable(job.name)} ({job.origin}) {_AS_FILES}"
    return ""


def _cold(there: Inventory, jobs: Sequence[Job], coverage: Coverage) -> Iterator[Uncovered]:
    for folder in there.cold:
        verdict = coverage.verdict(folder.path)
        if verdict.job is None:
            dumped = any(job.kind == folder.kind for job in jobs)
            yield Uncovered(what="database", subject=folder.path, text=f"{folder.about}: {verdict.why}", gap=not dumped)


# files that are more than files


def _repositories(there: Inventory, jobs: Sequence[Job], coverage: Coverage) -> Iterator[Uncovered]:
    single = {job.source for job in jobs if job.kind == "Subversion"}
    folders = {job.source for job in jobs if job.kind == "SubversionDir"}
    for repository in there.repositories:
        if repository.path in single or str(PurePosixPath(repository.path).parent) in folders:
            continue
        verdict = coverage.verdict(repository.path)
        yield Uncovered(
            what="repository",
            subject=repository.path,
            text="a Subversion repository: "
            + _only_as_files(verdict.job, "a commit during it may be torn", verdict.why),
            gap=verdict.job is None,
            remedy=_line("Subversion", repository.path),
        )


def _sqlite(there: Inventory, jobs: Sequence[Job], coverage: Coverage) -> Iterator[Uncovered]:
    own = {job.source for job in jobs if job.kind == "SQLite"}
    for path in there.sqlite:
        if path not in own:
            verdict = coverage.verdict(path)
            yield Uncovered(
                what="database",
                subject=path,
                text="a SQLite database: " + _only_as_files(verdict.job, "a write during it may be torn", verdict.why),
                gap=verdict.job is None,
                remedy=_line("SQLite", path),
            )


def _only_as_files(job: Job | None, risk: str, why_not: str) -> str:
    return f"{readable(job.name)} ({job.origin}) copies it as files, {risk}" if job is not None else why_not


def _notes(there: Inventory, jobs: Sequence[Job], coverage: Coverage) -> Iterator[Uncovered]:
    for mount in there.network:
        if coverage.verdict(mount.path).job is None:
            text = f"a network mount of {mount.source} ({mount.type}): see that it is backed up where it lives"
            yield Uncovered(what="mount", subject=mount.path, text=text, gap=False)
    for left in coverage.left_out():
        more = f" and {len(left.paths) - _FEW} more" if len(left.paths) > _FEW else ""
        origin = left.job.settings["Exclude"].origin
        text = f"{readable(left.job.name)}: Exclude {left.pattern} ({origin}) leaves out {', '.join(left.paths[:_FEW])}"
        yield Uncovered(what="excluded", subject=left.paths[0], text=text + more, gap=False)
    listed = any(job.kind == "Command" for job in jobs) or coverage.verdict("/var/lib/dpkg").job is not None
    if there.packages and not listed:
        text = "which packages are installed is in no block"
        remedy = f"<Command packages> with Dump {there.packages}"
        yield Uncovered(what="packages", subject="packages", text=text, gap=False, remedy=remedy)
    if not there.searched_all:
        text = "there were too many folders to search them all for Subversion repositories"
        yield Uncovered(what="repository", subject="repositories", text=text, gap=False)
