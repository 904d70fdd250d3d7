"""The daily run in-process, for tests of sources: a conf, a folder as storage, and any day."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

from s3nap import access, config
from s3nap.backup import Options, Result, Run
from s3nap.catalog import Catalog, JobCatalog
from s3nap.errors import Exit
from s3nap.liveness import chain
from s3nap.manifest import Archive
from s3nap.reader import KeySource, Reader

FIRST = date(2026, 3, 1)


class Daily:
    """A machine with one conf. ``path`` is its DiffDir, its conf and, unless ``bucket`` says another, its bucket."""

    def __init__(self, path: Path, text: str, bucket: str = "") -> None:
        self.path = path
        self.bucket = bucket or f"Bucket file://{path}/bucket\n"
        for folder in ("diff", "bucket"):
            (path / folder).mkdir(parents=True)
        self.conf = path / "s3nap.conf"
        self.write(text)

    def write(self, text: str) -> None:
        """Change what is backed up."""
        self.conf.write_text(f"DiffDir {self.path}/diff\n{self.bucket}Host here\n{text}\nStoreConf Off\n")

    def date(self, day: int) -> date:
        """Return the day so many days after FIRST."""
        return FIRST + timedelta(days=day)

    def run(self, day: int, **options: Any) -> dict[str, Result]:
        """Run on the day so many days after FIRST; the results by job."""
        loaded = config.load(self.conf)
        run = Run(loaded, access.storage_of(loaded), Options(day=self.date(day), **options))
        try:
            return {result.job.name: result for result in run.execute()}
        finally:
            run.close()

    def done(self, day: int, job: str, **options: Any) -> Result:
        """Run, and see that this job is done without a word of warning."""
        result = self.run(day, **options)[job]
        assert (result.outcome, result.status, result.warnings) == ("done", Exit.DONE, []), result.message
        return result

    def catalog(self, job: str) -> JobCatalog:
        return Catalog(access.storage_of(config.load(self.conf)), "here").job(job)

    def chains(self, job: str) -> dict[int, list[Archive]]:
        """The chain of every archive that restores, by day (the newest of a day)."""
        known = self.catalog(job)
        found = {(item.manifest.day - FIRST).days: chain(item, known.by_run) for item in known.archives}
        return {day: links for day, links in found.items() if links is not None}

    def reader(self, *keys: Path) -> Reader:
        return Reader(access.storage_of(config.load(self.conf)), KeySource(files=keys))

    def objects(self) -> set[str]:
        """Everything that is stored."""
        root = self.path / "bucket"
        return {str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()}


def program(folder: Path, name: str, text: str) -> Path:
    """Write an executable sh script."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path
