"""DiffDir: what a machine remembers between runs, per storage, host and job.

::

    DiffDir/machine                          a random id: two machines under one host name must be noticed
           /machine.lock                     held while that is made
    DiffDir/<storage>/<host>/<job>/lock
                                  /state.<run>           what the source needs for the next DIFF
                                  /state     a link to the one that is installed
                                  /runs/<run>            noted before the first put, gone when nothing is left to do
                                  /sweeps/<run>          archives whose deletion has begun
                                  /manifests/<run>.json  copies, each below its sha256: manifests never change
                                  /indexes/<run>.index.zst    what each archive holds, and what was there then,
                                  /indexes/<run>.listing.zst  so that looking needs neither key nor network
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from s3nap.errors import LockedError, S3napError
from s3nap.job import Conf
from s3nap.names import ArchiveName, component

_MACHINE = re.compile(r"[0-9a-f]{1,64}")


class DiffDir:
    """The part of a DiffDir that belongs to one storage and host; ``writable`` False promises to change nothing."""

    def __init__(self, root: Path, storage: str, host: str, *, writable: bool = True) -> None:
        """Use ``root``, which must exist, for the storage with this URL (and endpoint)."""
        self.root = root
        self.writable = writable
        self._folder = root / component(storage) / component(host)

    @classmethod
    def of(cls, conf: Conf, storage: str, *, writable: bool) -> Self:
        """Return the part that belongs to the host of a conf and to the storage with this URL."""
        return cls(conf["DiffDir"], f"{storage}@{conf['Endpoint'] or ''}", conf["Host"], writable=writable)

    @property
    def machine(self) -> str:
        """The machine's id, made when first asked for (a passing one if nothing may be written)."""
        path = self.root / "machine"
        if not self.writable:
            return _machine_in(path) or secrets.token_hex(8)
        if _machine_in(path) is None:
            with _locked(self.root / "machine.lock", fcntl.LOCK_EX):  # the first of many decides for all
                if _machine_in(path) is None:
                    write_whole(path, secrets.token_hex(8).encode() + b"\n")
        return _machine_in(path) or ""

    def job(self, name: str) -> JobState:
        """Return the state of one job."""
        return JobState(self._folder / component(name), writable=self.writable)

    def jobs(self) -> Iterator[JobState]:
        """Yield the state of every job that anything is remembered of."""
        folders = sorted(self._folder.iterdir()) if self._folder.is_dir() else []
        yield from (JobState(folder, writable=self.writable) for folder in folders if folder.is_dir())


class JobState:
    """What is remembered of one job."""

    def __init__(self, folder: Path, *, writable: bool) -> None:
        """Nothing is created before something is written."""
        self.folder = folder
        self.writable = writable

    def installed(self) -> tuple[str, Path] | None:
        """Return the run that the installed state is of, and its file; None if there is none."""
        link = self.folder / "state"
        try:
            target = self.folder / link.readlink()
        except OSError:
            return None
        return (target.name.partition(".")[2], target) if target.is_file() else None

    def pending(self, run: str) -> Path:
        """Where a run's new state waits for the commit."""
        return self.folder / f"state.{run}"

    @property
    def manifests(self) -> Path:
        """Copies of manifests."""
        return self.folder / "manifests"

    def kept(self, run: str, role: str) -> Path | None:
        """Return the copy of an archive's ``index`` or ``listing``, compressed as its suffix says; None without."""
        return next((self.folder / "indexes").glob(f"{run}.{role}*"), None)

    def keep(self, run: str, role: str, packed: Path, suffix: str) -> None:
        """Keep an ``index`` or a ``listing``, compressed."""
        make_folder(self.folder / "indexes")
        packed.replace(self.folder / "indexes" / f"{run}.{role}{suffix}")

    def keep_state(self, run: str, state: Path) -> None:
        """Make a new state durable beside the installed one, to wait for the commit."""
        with _translated(self.folder):
            with state.open("rb") as file:
                os.fsync(file.fileno())
            state.replace(self.pending(run))
            fsync_folder(self.folder)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the job; LockedError if another process does. The lock dies with the process."""
        make_folder(self.folder)
        try:
            with _locked(self.folder / "lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
                yield
        except BlockingIOError:
            raise LockedError("another s3nap is working on this job; skipped") from None

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """Give a private folder for one run, empty and removed afterwards."""
        folder = self.folder / "work"
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def note(self, kind: str, archive: ArchiveName, **facts: object) -> None:
        """Write down, durably, what is about to happen to an archive; ``kind`` is ``runs`` or ``sweeps``."""
        folder = self.folder / kind
        make_folder(folder)
        record = {"host": archive.host, "job": archive.job, "slot": archive.slot, "type": archive.type} | facts
        write_whole(folder / archive.run, json.dumps(record).encode())

    def forget(self, kind: str, run: str) -> None:
        """Remove a note: nothing is left to do."""
        (self.folder / kind / run).unlink(missing_ok=True)

    def notes(self, kind: str) -> Iterator[tuple[ArchiveName, dict[str, object]]]:
        """Yield what was noted and not forgotten, oldest first."""
        for path in sorted((self.folder / kind).glob("*Z-*")):
            with contextlib.suppress(ValueError, KeyError, TypeError):  # damaged
                facts = json.loads(path.read_bytes())
                name = ArchiveName(facts["host"], facts["job"], int(facts["slot"]), facts["type"], path.name)
                yield name, facts

    def install(self, run: str | None) -> None:
        """Make a run's pending state the job's state, atomically; None: from now on the job has no state."""
        link = self.folder / "state"
        with _translated(self.folder):
            if run is None or not self.pending(run).exists():
                link.unlink(missing_ok=True)
            else:
                fresh = self.folder / "state.new"
                fresh.unlink(missing_ok=True)
                fresh.symlink_to(self.pending(run).name)
                fresh.replace(link)
            fsync_folder(self.folder)
            for old in self.folder.glob("state.*Z-*"):
                if run is None or old != self.pending(run):
                    old.unlink()

    def drop(self, run: str) -> None:
        """Remove what a run that was not committed left here."""
        installed = self.installed()
        if installed is None or installed[0] != run:
            self.pending(run).unlink(missing_ok=True)
        for copy in (self.folder / "indexes").glob(f"{run}.*"):
            copy.unlink()


def _machine_in(path: Path) -> str | None:
    """Return the id that a file holds; None if it is missing or damaged."""
    try:
        found = _MACHINE.fullmatch(path.read_text(errors="replace").strip())
    except FileNotFoundError:
        return None
    return found[0] if found is not None else None


@contextlib.contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    with _translated(path):
        file = path.open("a")
    with file:
        fcntl.flock(file, how)
        yield


def make_folder(folder: Path) -> None:
    """Create a private folder and its parents."""
    with _translated(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a private file so that it is there whole and durably, or not at all."""
    with _translated(path):
        temporary = path.with_name(path.name + ".new")
        with open(temporary, "wb", opener=private) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync_folder(path.parent)


def private(path: str, flags: int) -> int:
    """Opener of files that nobody else may read."""
    return os.open(path, flags, 0o600)


def fsync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Say which path of DiffDir an OSError is about."""
    try:
        yield
    except OSError as error:
        raise S3napError(
            f"{error.filename or path}: {error.strerror}: DiffDir must be writable and have space"
        ) from error
