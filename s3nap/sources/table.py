"""The table of sources: a new one is one class and one line here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from s3nap.errors import SourceError
from s3nap.job import Job
from s3nap.sources import Source, SourceFactory
from s3nap.sources.directory import DirectorySource

SOURCES: dict[str, SourceFactory] = {
    "Directory": DirectorySource,
}


def make_source(job: Job, own_paths: Sequence[Path]) -> Source:
    """Return the source of a job; SourceError if there is none for its kind in this version."""
    factory = SOURCES.get(job.kind)
    if factory is None:
        raise SourceError(f"{job.origin}: this version of s3nap plans {job.kind} jobs, but cannot back them up yet")
    return factory(job, own_paths)
