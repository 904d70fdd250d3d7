"""The table of sources: a new one is one class and one line here.

What a line names (module of this package, colon, what is in it) is imported when it is needed: whoever lists archives
needs none of it, and a run only what its conf has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from s3nap.errors import S3napError, SourceError, UsageError
from s3nap.job import Job
from s3nap.manifest import Manifest, Type
from s3nap.sources import Loader, LoaderFactory, LoadOptions, Source, SourceFactory

SOURCES = {
    "Directory": "directory:DirectorySource",
    "Subversion": "subversion:SubversionSource",
    "SubversionDir": "subversion:SubversionSource",
    "MySQL": "mysql:MySQLSource",
    "PostgreSQL": "postgresql:PostgreSQLSource",
    "SQLite": "sqlite:SQLiteSource",
    "Command": "command:CommandSource",
    "Conf": "directory:DirectorySource",
}
LOADERS = {
    "Subversion": "svnload:SubversionLoader",
    "SubversionDir": "svnload:SubversionLoader",
    "MySQL": "mysqlload:MySQLLoader",
    "PostgreSQL": "pgload:PostgreSQLLoader",
    "Command": "command:CommandLoader",
}
EXPANSIONS = {
    "SubversionDir": "subversion:repositories",
}


def make_source(job: Job, own_paths: Sequence[Path]) -> Source:
    """Return the source of a job; SourceError if there is none for its kind in this version."""
    if job.kind not in SOURCES:
        raise SourceError(f"{job.origin}: this version of s3nap plans {job.kind} jobs, but cannot back them up yet")
    factory: SourceFactory = named(SOURCES[job.kind])
    return factory(job, own_paths)


def expand(job: Job) -> list[Job]:
    """Return the jobs that one job of the conf stands for: itself, or one for each thing found where it says."""
    if job.kind not in EXPANSIONS:
        return [job]
    expansion: Callable[[Job], list[Job]] = named(EXPANSIONS[job.kind])
    return expansion(job)


def expanded(jobs: Iterable[Job]) -> list[Job]:
    """Return all jobs that those of a conf stand for; one that cannot be expanded here stays as it is."""
    found: list[Job] = []
    for job in jobs:
        try:
            found += expand(job)
        except S3napError:
            found.append(job)
    return found


def job_of(name: str, jobs: Iterable[Job]) -> Job | None:
    """Return the job of a name among expanded ones; one that could not be expanded here stands for all below it."""
    known = {job.name: job for job in jobs}
    above = known.get(name.rpartition("/")[0])
    return known.get(name) or (replace(above, name=name) if above is not None and above.kind in EXPANSIONS else None)


def make_loader(manifest: Manifest, options: LoadOptions) -> Loader:
    """Return what loads archives of this kind: a file where a target is given, else into the server or repository."""
    if manifest.kind in LOADERS and options.target is None:
        factory: LoaderFactory = named(LOADERS[manifest.kind])
        return factory(manifest, options)
    if options.target is None:
        raise UsageError(f"{manifest.kind} archives are restored to a file: give --target FILE, or --target -")
    # several streams that must not be joined go to a file each
    apart = manifest.stream == "raw" and manifest.type is Type.DIFF and options.target != "-"
    to_file = named("command:LevelFiles" if apart else "rawfile:FileLoader")
    loader: Loader = to_file(options.target, overwrite=options.overwrite)
    return loader


def named(line: str) -> Any:  # noqa: ANN401 - a factory; the tests see that each line names one
    """Return what a line of the tables names."""
    module, _, name = line.partition(":")
    return getattr(import_module(f"s3nap.sources.{module}"), name)
