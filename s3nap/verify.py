"""Verifying archives: is everything there that the manifests promise, and is it what was stored?

Nothing is called damaged on one look: what a listing lacks is asked for by name, what reads wrong is read again, and
the manifest must still be there afterwards. A storage that does not answer, or denies, says nothing of an archive.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import groupby
from typing import Literal

from loguru import logger

from s3nap import names
from s3nap.chunks import in_order
from s3nap.entries import ahead
from s3nap.errors import (
    BucketError,
    NewerFormatError,
    NoSuchObjectError,
    S3napError,
    StorageError,
    VerificationError,
)
from s3nap.manifest import Archive, Manifest, from_json
from s3nap.marking import Marking
from s3nap.readback import read_back
from s3nap.reader import KeySource
from s3nap.secondlook import SecondLook
from s3nap.storage import Listed, Storage
from s3nap.verified import LISTING, Verified

_AT_ONCE = 8  # archives whose tables are fetched
_NOTED = 20  # wrong objects that the mark names


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What was found of one archive; ``place`` is ``<host>/<job>-<slot>-<TYPE>/<run>``, as in keys.

    ``damaged``: an object is missing or wrong, an ancestor is missing, or the manifest cannot be read; ``why`` names
    each. ``unknown``: it could not be told, ``why`` says what hindered. ``gone``: it was swept meanwhile.
    ``distrusted``: it has the mark, from now on or from before. ``how`` and ``percent`` are those of ``Verified``.
    ``host``, ``job``, ``day`` and ``parent`` are the manifest's, as far as it could be read.
    """

    place: str
    host: str = ""
    job: str = ""
    day: date | None = None
    parent: str | None = None
    outcome: Literal["whole", "damaged", "unknown", "gone"] = "whole"
    why: list[str] = field(default_factory=list)
    how: str = LISTING
    percent: int = 0
    distrusted: bool = False

    @property
    def run(self) -> str:
        """The run id."""
        return self.place.rpartition("/")[2]

    @property
    def key(self) -> str:
        """The key of the manifest."""
        return f"{names.CATALOG}/{self.place}.json"


class Verifier:
    """Verifies archives of one storage and leaves its marks there."""

    def __init__(
        self, storage: Storage, source: KeySource, *, share: float, now: datetime, choose: random.Random | None = None
    ) -> None:
        """``share`` of the objects is read back, from 0 (none) to 1 (all), chosen by ``choose``."""
        self._storage = storage
        self._source = source
        self._share = share
        self._now = now
        self._choose = choose or random.SystemRandom()
        self._objects = SecondLook(storage)
        self._marks = Marking(storage)

    def verdicts(self, below: str, wanted: Callable[[str], bool] = lambda _place: True) -> Iterator[Verdict]:
        """Yield what is found of each archive whose place begins with ``below`` and is ``wanted``.

        Two listings, of catalog and data, are read side by side; an archive costs its manifest, its tables and its
        envelope. Memory holds the tables of a few archives, and a run id of each. Raises BucketError where nothing
        can be done with the storage.
        """
        data = _Data(self._storage.list(f"{names.DATA}/{below}"))
        runs: set[str] = set()
        children: list[Verdict] = []

        def tasks() -> Iterator[Callable[[], Verdict]]:
            for place, entry, marks in _archives(self._storage.list(f"{names.CATALOG}/{below}")):
                if wanted(place):
                    runs.add(place.rpartition("/")[2])
                    listed = data.under(f"{names.DATA}/{place}/")
                    yield lambda place=place, entry=entry, marks=marks, listed=listed: self._examine(  # type: ignore[misc]
                        place, entry, marks, listed
                    )

        # chunks are read in parallel, so their archives are not
        for verdict in in_order(tasks(), 1 if self._share else _AT_ONCE):
            if verdict.outcome == "whole" and verdict.parent is not None:
                children.append(verdict)
            else:
                yield verdict
        for verdict in children:  # now all that could be a parent is known
            if verdict.parent not in runs:
                self._orphan(verdict)
            yield verdict

    def _orphan(self, verdict: Verdict) -> None:
        # children are swept before their parents: one that is still there has lost its parent otherwise
        try:
            self._storage.get(verdict.key)
        except NoSuchObjectError:
            verdict.outcome = "gone"
        except StorageError as error:
            verdict.outcome, verdict.why = "unknown", [str(error)]
        else:
            verdict.outcome = "damaged"
            verdict.why = [f"{verdict.key}: builds on archive {verdict.parent}, which is missing"]

    def _examine(self, place: str, entry: Listed, marks: frozenset[str], listed: Mapping[str, Listed]) -> Verdict:
        verdict = Verdict(place=place, distrusted="distrust" in marks)
        manifest: Manifest | None = None
        data = b""
        try:
            data = self._storage.get(entry.key)
            manifest = _checked(data, entry)
            verdict.host, verdict.job = manifest.host, manifest.job
            verdict.day, verdict.parent = manifest.day, manifest.parent
            self._look(verdict, Archive(manifest, marks), listed)
            verdict.outcome = "damaged" if verdict.why else "whole"
        except BucketError:
            raise
        except NewerFormatError as error:
            verdict.outcome, verdict.why = "unknown", [str(error)]
        except VerificationError as error:
            verdict.outcome, verdict.why = "damaged", [*verdict.why, str(error)]
        except (S3napError, OSError) as error:
            verdict.outcome, verdict.why = "unknown", [*verdict.why, str(error)]
        if verdict.outcome != "whole":
            self._confirm(verdict, data)
        if manifest is not None and not verdict.distrusted:
            self._mark(verdict, manifest, marks)
        return verdict

    def _confirm(self, verdict: Verdict, manifest: bytes) -> None:
        """Take nothing for damaged whose manifest is gone, or reads differently now."""
        try:
            again = self._storage.get(verdict.key)
        except NoSuchObjectError:
            verdict.outcome, verdict.why = "gone", []
        except StorageError as error:
            verdict.outcome, verdict.why = "unknown", [*verdict.why, str(error)]
        else:
            if again != manifest:
                verdict.outcome = "unknown"
                verdict.why.append(f"{verdict.key} reads differently each time: look for a broken network or memory")

    def _look(self, verdict: Verdict, archive: Archive, listed: Mapping[str, Listed]) -> None:
        """Fill in what is wrong; with a share to read, also how it was looked at."""
        manifest = archive.manifest
        try:
            tables = self._objects.tables(manifest)
            raw_size = sum(line.raw_size for line in tables)
        except VerificationError as error:
            verdict.why += [str(error), *self._objects.wrong_sizes(manifest, None, listed)]
            return
        verdict.why += self._objects.wrong_sizes(manifest, tables, listed)
        if raw_size != manifest.raw_size:
            verdict.why.append(f"{manifest.at.data}chunks: counts {raw_size} bytes, the manifest {manifest.raw_size}")
        envelope = manifest.object("keys")
        if verdict.why:
            return
        if envelope is not None:  # small, and without it nothing opens
            self._objects.read(manifest.at.data + envelope.name, envelope.sha256)
        verdict.why += self._objects.replaced(manifest, tables, listed)
        if self._share and not verdict.why:
            back = read_back(
                archive, tables, storage=self._storage, source=self._source, share=self._share, choose=self._choose
            )
            verdict.why += back.wrong
            if back.percent:
                verdict.how, verdict.percent = back.how, back.percent

    def _mark(self, verdict: Verdict, manifest: Manifest, marks: frozenset[str]) -> None:
        if verdict.outcome == "damaged":
            plain = {"when": self._now.isoformat(), "why": verdict.why[:_NOTED]}
            verdict.distrusted = self._marks.put(manifest.at.mark("distrust"), json.dumps(plain).encode() + b"\n")
        elif verdict.outcome == "whole":
            found = Verified(when=self._now, how=verdict.how, percent=verdict.percent)
            if self._marks.put(manifest.at.mark(found.mark), found.to_json()):
                self._forget(manifest, found, marks)

    def _forget(self, manifest: Manifest, found: Verified, marks: Iterable[str]) -> None:
        """Delete older marks that say no more than the new one; those that may not be deleted do no harm."""
        older = [(mark, said) for mark in marks if (said := Verified.parse(mark)) is not None and mark != found.mark]
        try:
            self._storage.delete(manifest.at.mark(mark) for mark, said in older if found.replaces(said))
        except StorageError as error:
            logger.debug("{}: older marks stay: {}", manifest.at.manifest, error)


def _checked(data: bytes, entry: Listed) -> Manifest:
    """Return a manifest; VerificationError if it cannot be understood, or lies where it should not."""
    manifest = from_json(data, entry.key)
    if manifest.at.manifest != entry.key:
        raise VerificationError(f"{entry.key}: is the manifest of another archive ({manifest.at.manifest})")
    if (claimed := ahead(manifest, entry.modified)) is not None:
        raise StorageError(f"{entry.key}: says it is of {claimed:%Y-%m-%d}, which is yet to come")
    return manifest


class _Data:
    """A listing of data, read in step with one of the catalog: both are in the order of places."""

    def __init__(self, listing: Iterator[Listed]) -> None:
        self._rest = listing
        self._next = next(listing, None)

    def under(self, prefix: str) -> dict[str, Listed]:
        """Return the objects below a place by key; what lies before it belongs to no archive, or to none wanted."""
        found: dict[str, Listed] = {}
        while self._next is not None and (self._next.key < prefix or self._next.key.startswith(prefix)):
            if self._next.key.startswith(prefix):
                found[self._next.key] = self._next
            self._next = next(self._rest, None)
        return found


def _archives(listing: Iterable[Listed]) -> Iterator[tuple[str, Listed, frozenset[str]]]:
    """Yield place, manifest and marks of each archive of a listing of the catalog."""
    parsed = ((split, item) for item in listing if (split := names.split_catalog_key(item.key)) is not None)
    for place, group in groupby(parsed, key=lambda pair: pair[0][0]):
        beside = {split[1]: item for split, item in group}
        entry = beside.pop("json", None)
        if entry is not None:
            yield place, entry, frozenset(beside)
