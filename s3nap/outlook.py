"""Where is looked: into DiffDir's copies where they suffice, else into the storage."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

from loguru import logger

from s3nap import access, config
from s3nap.access import Place
from s3nap.catalog import JobCatalog
from s3nap.commands import logging, only_place
from s3nap.contents import Contents, Indexes, KeptIndexes, Node, StoredIndexes, Wanted
from s3nap.daytree import DayTree
from s3nap.envelope import read_passphrase
from s3nap.errors import NothingMatchesError, SourceError, UsageError, VerificationError
from s3nap.job import Conf
from s3nap.manifest import Archive
from s3nap.names import readable
from s3nap.picking import Picked, Selection, pick
from s3nap.reader import KeySource, Reader
from s3nap.signing import trust_of

_T = TypeVar("_T")


class Outlook:
    """Where is looked: DiffDir on the backed-up host, without key or network; else the storage. A context manager."""

    def __init__(self, confs: Sequence[Path], options: dict[str, Any]) -> None:
        """Nothing is read before it is asked for."""
        self._confs = confs
        self._options = options
        self._stack = ExitStack()
        self.conf: Conf | None = None
        self._remembered: dict[str, Any] = {}
        self._contents: dict[tuple[str, type], Contents] = {}
        if len(confs) == 1 and not options["bucket"]:
            self.conf = config.load(confs[0], on_this_host=False)
            if options["host"] in {None, self.conf["Host"]}:
                trust = None if options["unsigned"] else trust_of(self.conf, options["trusted_signer"])
                self._remembered = access.remembered(self.conf, trust)

    def __enter__(self) -> Self:
        self._stack.enter_context(logging(self.conf, self._options))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def place(self) -> Place:
        """The storage that is meant; it is there."""
        return self._place

    @cached_property
    def _place(self) -> Place:
        place = only_place(self._confs, self._options)
        place.storage.check()
        return place

    @cached_property
    def reader(self) -> Reader:
        """What opens the archives."""
        options = self._options
        secret = options["passphrase_file"] or (self.conf["GpgPassphraseFile"] if self.conf is not None else None)
        source = KeySource(passphrase=read_passphrase(secret), files=options["keys"])
        return self._stack.enter_context(Reader(self._place.storage, source))

    @cached_property
    def _stored(self) -> StoredIndexes:
        work = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="s3nap-"))
        return StoredIndexes(self.reader, Path(work))

    @cached_property
    def jobs(self) -> Mapping[str, JobCatalog]:
        """The archives of every job of the host."""
        if self._remembered:
            return {name: known for name, (known, _) in self._remembered.items()}
        return self._place.catalog.all_jobs()

    def found(self, wanted: str) -> JobCatalog:
        """Return the job that is meant, of whatever kind; NothingMatchesError if there is none."""
        if self._remembered:
            try:
                return access.named(self.jobs, wanted, str(self.conf["Host"] if self.conf is not None else ""))
            except NothingMatchesError:
                pass  # perhaps one that this machine does not remember
        return access.find_job(self._place, wanted)

    def job(self, wanted: str) -> JobCatalog:
        """Return the job that is meant; UsageError if it is none of files, NothingMatchesError if there is none."""
        found = self.found(wanted)
        if not all(is_tree(archive) for archive in found.archives):
            raise UsageError(f"{readable(found.job)} is no tree of files: there is nothing to look into")
        return found

    def contents(self, job: str, links: Sequence[Archive], wanted: Wanted) -> dict[bytes, Node]:
        """Return what is wanted of a chain; what one command wants of a job must stay the same."""
        return self._tried(job, links, lambda indexes: self._of(job, indexes, wanted).of(links))

    def tree(self, links: Sequence[Archive]) -> DayTree:
        """Return all that a chain holds. It is not remembered."""
        return self._tried(links[-1].manifest.job, links, lambda indexes: DayTree(links, indexes))

    def pick(self, links: Sequence[Archive], selection: Selection) -> Picked:
        """Find what is to be restored of a chain, as ``picking.pick`` does."""
        return self._tried(links[-1].manifest.job, links, lambda indexes: pick(links, indexes, selection))

    def _tried(self, job: str, links: Sequence[Archive], look: Callable[[Indexes], _T]) -> _T:
        if job in self._remembered:
            kept = KeptIndexes(self._remembered[job][1])
            if kept.has(links):
                try:
                    return look(kept)
                except (SourceError, VerificationError) as error:
                    logger.warning("{}: DiffDir's copy cannot be used, so the storage is asked: {}", job, error)
        return look(self._stored)

    def _of(self, job: str, indexes: Indexes, wanted: Wanted) -> Contents:
        return self._contents.setdefault((job, type(indexes)), Contents(indexes, wanted))


def is_tree(archive: Archive) -> bool:
    """Does an archive hold files?"""
    return archive.manifest.stream == "tar"
