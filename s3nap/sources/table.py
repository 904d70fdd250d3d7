"""The table of sources: a new one is one class and one line here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from s3nap.errors import S3napError, SourceError, UsageError
from s3nap.job import Job
from s3nap.manifest import Manifest
from s3nap.sources import Loader, LoaderFactory, LoadOptions, Source, SourceFactory
from s3nap.sources.command import CommandLoader, CommandSource, LevelFiles, needs_level_files
from s3nap.sources.directory import DirectorySource
from s3nap.sources.mysql import MySQLSource
from s3nap.sources.mysqlload import MySQLLoader
from s3nap.sources.pgload import PostgreSQLLoader
from s3nap.sources.postgresql import PostgreSQLSource
from s3nap.sources.rawfile import FileLoader
from s3nap.sources.sqlite import SQLiteSource
from s3nap.sources.subversion import SubversionSource, repositories
from s3nap.sources.svnload import SubversionLoader

SOURCES: dict[str, SourceFactory] = {
    "Directory": DirectorySource,
    "Subversion": SubversionSource,
    "SubversionDir": SubversionSource,
    "MySQL": MySQLSource,
    "PostgreSQL": PostgreSQLSource,
    "SQLite": SQLiteSource,
    "Command": CommandSource,
    "Conf": DirectorySource,
}
LOADERS: dict[str, LoaderFactory] = {
    "Subversion": SubversionLoader,
    "SubversionDir": SubversionLoader,
    "MySQL": MySQLLoader,
    "PostgreSQL": PostgreSQLLoader,
    "Command": CommandLoader,
}
EXPANSIONS: dict[str, Callable[[Job], list[Job]]] = {
    "SubversionDir": repositories,
}


def make_source(job: Job, own_paths: Sequence[Path]) -> Source:
    """Return the source of a job; SourceError if there is none for its kind in this version."""
    factory = SOURCES.get(job.kind)
    if factory is None:
        raise SourceError(f"{job.origin}: this version of s3nap plans {job.kind} jobs, but cannot back them up yet")
    return factory(job, own_paths)


def expand(job: Job) -> list[Job]:
    """Return the jobs that one job of the conf stands for: itself, or one for each thing found where it says."""
    expansion = EXPANSIONS.get(job.kind)
    return [job] if expansion is None else expansion(job)


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
    factory = LOADERS.get(manifest.kind)
    if factory is not None and options.target is None:
        return factory(manifest, options)
    if options.target is None:
        raise UsageError(f"{manifest.kind} archives are restored to a file: give --target FILE, or --target -")
    if needs_level_files(manifest, options.target):
        return LevelFiles(options.target, overwrite=options.overwrite)
    return FileLoader(options.target, overwrite=options.overwrite)
