"""Making one archive: from a source's stream to a committed manifest, in strict order."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from heapq import merge
from itertools import zip_longest
from pathlib import Path
from typing import IO

from s3nap import __version__, pipeline
from s3nap.catalog import Catalog, JobCatalog, new_run_id
from s3nap.chunks import Sent, Totals, chunks_line, send, sums_line
from s3nap.compression import COMPRESSIONS, Compression
from s3nap.copies import Copies
from s3nap.crew import Crew
from s3nap.dumping import deadline, spool
from s3nap.entries import ahead
from s3nap.envelope import Envelope, KeysWriter
from s3nap.errors import DeniedError, StorageError
from s3nap.liveness import chain
from s3nap.manifest import Archive, Manifest, Type
from s3nap.names import SIGNATURE, ArchiveName
from s3nap.plan import Task
from s3nap.recipe import Level
from s3nap.retention import retain_until
from s3nap.sides import Sides
from s3nap.signing import Signer
from s3nap.sources import Dump, Outcome, Source
from s3nap.state import JobState
from s3nap.storage import Retaining, Storage
from s3nap.succession import previous

_HASH_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSetting:
    """What all archives of one run of one conf share."""

    conf: str
    host: str
    machine: str
    storage: Storage
    endpoint: str | None
    temp_dir: Path
    catalog: Catalog
    envelope: Envelope
    crew: Crew
    signer: Signer | None = None

    def storing(self, storage: Storage) -> RunSetting:
        """Return the same for another view of the storage."""
        return replace(self, storage=storage, catalog=Catalog(storage, self.host, self.catalog.trust))


@dataclass(slots=True)
class Archiving:
    """One archive in the making. Once its manifest was ``sent``, nothing of it may be deleted without asking."""

    setting: RunSetting
    task: Task
    source: Source
    state: JobState
    known: JobCatalog
    run: str
    started: datetime
    sent: bool = False

    @property
    def at(self) -> ArchiveName:
        """Where the archive will lie."""
        return ArchiveName(self.setting.host, self.task.job.name, self.task.slot, self.task.type, self.run)

    def make(self, work: Path, progress: Callable[[int], None]) -> tuple[Manifest, Outcome]:
        """Dump, store and commit; ``work`` is a private folder. The caller has noted the run.

        ``progress`` is told of each piece read, in bytes. After an error, and be it an interruption, ``sent`` says
        whether the commit may have happened.
        """
        inner = work / "source"
        inner.mkdir(mode=0o700)
        base = self._base()
        keys = self.setting.envelope.start_keys(work / "keys.gpg")
        try:
            totals, outcome = self._read(self.source.start(inner, base, self._previous_files()), work, keys, progress)
            sides = self._sides()
            self._put_files(sides, outcome, work, keys)
            if keys is not None:
                keys.finish()
        except BaseException:
            if keys is not None:
                keys.abort()
            raise
        manifest = self._manifest(totals, outcome)
        above = [recipe_level(archive.manifest) for archive in self._ancestors()]
        manifest = sides.put_tables(work, manifest, above, self.setting.endpoint)
        self._check_listing(manifest, work / "chunks")
        self._sign(manifest)
        self._keep_state(outcome)
        self.state.note("runs", self.at, phase="committing")
        self.sent = True
        try:
            self.setting.catalog.commit(manifest, self.state.manifests)
        except DeniedError:
            self.sent = False
            raise
        return manifest, outcome

    def _read(
        self, dump: Dump, work: Path, keys: KeysWriter | None, progress: Callable[[int], None]
    ) -> tuple[Totals, Outcome]:
        job = self.task.job
        try:
            with deadline(dump, job["Timeout"]):
                if not job["UseTempFile"]:
                    totals = self._send(dump.stdout, work, keys, progress)
                    return totals, dump.finish(totals.raw_size, totals.tail)
                file, outcome = spool(dump, self.setting.temp_dir)
            with file:
                return self._send(file, work, keys, progress), outcome
        except BaseException:
            dump.abort()
            raise

    def _compression(self) -> tuple[Compression, int | None]:
        wanted = self.task.job["Compression"]
        return COMPRESSIONS[wanted.name], wanted.level

    def _base(self) -> Path | None:
        installed = self.state.installed()
        return installed[1] if self.task.type is Type.DIFF and installed is not None else None

    def _previous_files(self) -> int | None:
        """How many files the newest archive had that nobody need doubt, and that holds the same part of the source."""
        sound = [
            item
            for item in self.known.archives
            if not item.braking and not item.distrusted and item.manifest.options == self.source.options
        ]
        return sound[-1].manifest.files if sound else None

    def _send(self, stream: IO[bytes], work: Path, keys: KeysWriter | None, progress: Callable[[int], None]) -> Totals:
        envelope = self.setting.envelope
        compression, level = self._compression()
        with (work / "sums").open("w") as sums, (work / "chunks").open("w") as table:

            def sent(item: Sent) -> None:
                sums.write(sums_line(item))
                table.write(chunks_line(item))
                if keys is not None:
                    keys.add(item.name, item.encoded)

            return send(
                stream,
                self.setting.storage,
                prefix=self.at.data,
                suffix=envelope.suffix(compression),
                chunk_size=self.task.job["ChunkSize"],
                encode=lambda raw, done: envelope.encode(raw, compression, level, done),
                sent=sent,
                crew=self.setting.crew,
                progress=progress,
            )

    def _sides(self) -> Sides:
        compression, level = self._compression()
        setting = self.setting
        return Sides(
            storage=setting.storage,
            envelope=setting.envelope,
            crew=setting.crew,
            at=self.at,
            compression=compression,
            level=level,
        )

    def _put_files(self, sides: Sides, outcome: Outcome, work: Path, keys: KeysWriter | None) -> None:
        """Put index, state, log and what else loading needs; DiffDir keeps the index and the listing."""
        log = work / "log"
        log.write_text(outcome.log, encoding="utf-8", errors="surrogateescape")
        files = {"index": outcome.index, "state": outcome.state, "log": log, **outcome.extras}
        there = {role: plain for role, plain in files.items() if plain is not None}
        for role, packed in sides.put_files(there, work, keys):
            if role == "index":
                self.state.keep(self.run, role, packed, sides.compression.suffix)
        if outcome.listing is not None:
            packed = work / "listing.packed"
            sides.compression.pack(outcome.listing, packed)
            self.state.keep(self.run, "listing", packed, sides.compression.suffix)

    def _ancestors(self) -> list[Archive]:
        if self.task.parent is None:
            return []
        return chain(self.task.parent, self.known.by_run) or []

    def _manifest(self, totals: Totals, outcome: Outcome) -> Manifest:
        parent = self.task.parent.manifest if self.task.parent is not None else None
        job, envelope = self.task.job, self.setting.envelope
        programs = outcome.programs | ({"gpg": pipeline.version("gpg")} if envelope.encryption.method != "none" else {})
        return Manifest(
            host=self.setting.host,
            machine=self.setting.machine,
            conf=self.setting.conf,
            job=job.name,
            kind=job.kind,
            source=job.source,
            stream=self.source.stream,
            slot=self.task.slot,
            type=self.task.type,
            run=self.run,
            day=self.task.day,
            started=self.started.astimezone(),
            finished=datetime.now(UTC).astimezone(),
            parent=parent.run if parent is not None else None,
            root=(parent.root or parent.run) if parent is not None else None,
            previous=previous(self.known.archives),
            raw_size=totals.raw_size,
            stored_size=totals.stored_size,
            compression=self._compression()[0].name,
            encryption=envelope.encryption,
            objects=(),
            chunks=totals.chunks,
            state_id=state_id(self.run, outcome.state) if outcome.state is not None else None,
            options=self.source.options,
            files=outcome.files,
            warnings=(f"{outcome.incomplete} files could not be read, see the log",) if outcome.incomplete else (),
            complete=not outcome.incomplete,
            brake=outcome.brake if self.task.job["Brake"] else None,
            programs=programs,
            proof=outcome.proof,
            s3nap=__version__,
        )

    def _check_listing(self, manifest: Manifest, table: Path) -> None:
        """Raise StorageError unless the storage lists just what was put, size by size, where it lets us look.

        An archive that the storage's clock calls one of the future would count for nothing, and yet push out others.
        """
        wanted = merge(_table_sizes(table), sorted((item.name, item.size) for item in manifest.objects))
        newest = datetime.min.replace(tzinfo=UTC)
        try:
            for item, expected in zip_longest(self.setting.storage.list(self.at.data), wanted):
                listed = (item.key.removeprefix(self.at.data), item.size) if item is not None else None
                if item is None or listed != expected:
                    strange, _ = min(pair for pair in (listed, expected) if pair is not None)
                    raise StorageError(f"{self.at.data}: the storage does not list what was stored, see {strange}")
                newest = max(newest, item.modified)
        except DeniedError:
            return
        if ahead(manifest, newest) is not None:
            raise StorageError("this machine's clock is over a day ahead of the storage's: set it right, and run again")

    def _sign(self, manifest: Manifest) -> None:
        """Put the signature, before the manifest: at no time does one stand there unsigned."""
        if self.setting.signer is not None:
            data = manifest.to_json()
            made, signature = self.setting.signer.sign(data)
            self.setting.storage.put(self.at.mark(SIGNATURE), made)
            Copies(self.state.manifests).keep_signature(self.run, data, signature)

    def _keep_state(self, outcome: Outcome) -> None:
        if outcome.state is not None:
            self.state.keep_state(self.run, outcome.state)


def _table_sizes(table: Path) -> Iterator[tuple[str, int]]:
    with table.open() as lines:
        for line in lines:
            name, size, _ = line.split(" ", 2)
            yield name, int(size)


def recipe_level(manifest: Manifest) -> Level:
    """Return what a recipe must know of a committed archive."""
    sums, keys = manifest.object("sums"), manifest.object("keys")
    return Level(
        at=manifest.at,
        chunks=manifest.chunks,
        sums_sha256=sums.sha256 if sums is not None else "",
        keys_sha256=keys.sha256 if keys is not None else None,
    )


def state_id(run: str, state: Path) -> str:
    """Return the sha256 of run id and plain state together: what ties a local state to its archive."""
    digest = hashlib.sha256(run.encode())
    with state.open("rb") as file:
        while piece := file.read(_HASH_BLOCK):
            digest.update(piece)
    return digest.hexdigest()


def begin(setting: RunSetting, task: Task, source: Source, state: JobState, known: JobCatalog) -> Archiving:
    """Give the archive of a task its run id."""
    now = datetime.now(UTC)
    run, started = new_run_id(now, known.newest_run, secrets.token_hex(3))
    if isinstance(setting.storage, Retaining):
        until = retain_until(task.job.cycle, task.day, now)
        setting = setting.storing(setting.storage.retaining(until))
    return Archiving(setting, task, source, state, known, run, started)
