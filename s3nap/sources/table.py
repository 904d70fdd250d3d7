"""The table of sources: a new one is one class and one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from s3nap.errors import SourceError, UsageError
from s3nap.job import Job
from s3nap.manifest import Manifest
from s3nap.sources import Loader, LoaderFactory, LoadOptions, Source, SourceFactory
from s3nap.sources.directory import DirectorySource
from s3nap.sources.rawfile import FileLoader

SOURCES: dict[str, SourceFactory] = {
    "Directory": DirectorySource,
}
LOADERS: dict[str, LoaderFactory] = {}
EXPANSIONS: dict[str, Callable[[Job], list[Job]]] = {}


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


def make_loader(manifest: Manifest, options: LoadOptions) -> Loader:
    """Return what loads archives of this kind: a file where a target is given, else into the server or repository."""
    factory = LOADERS.get(manifest.kind)
    if factory is not None and options.target is None:
        return factory(manifest, options)
    if options.target is None:
        raise UsageError(f"{manifest.kind} archives are restored to a file: give --target FILE, or --target -")
    return FileLoader(options.target, overwrite=options.overwrite)
