"""Subversion repositories, by ``svnadmin dump``: revisions, with all their properties, and the UUID.

Hooks, configuration and locks of a repository are no part of its dump: a Directory holds them.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from s3nap import pipeline
from s3nap.errors import ProgramError, RetryFullError, SourceError
from s3nap.job import Job
from s3nap.names import job_name
from s3nap.sources import Outcome
from s3nap.sources.programs import ProgramDump

ENVIRONMENT = {"LC_ALL": "C.UTF-8"}  # in C, Subversion takes no path beyond ASCII
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the next DIFF builds on: the repository, its last revision, and the sha256 of that revision's dump."""

    uuid: str
    revision: int
    digest: str

    def write(self, path: Path) -> Path:
        """Write it as JSON; return the file."""
        path.write_text(json.dumps(asdict(self)) + "\n")
        return path


def _read_state(path: Path) -> State:
    try:
        plain = json.loads(path.read_bytes())
        return State(uuid=str(plain["uuid"]), revision=int(plain["revision"]), digest=str(plain["digest"]))
    except (ValueError, KeyError, TypeError) as error:
        raise RetryFullError(f"the state of the last run is damaged ({error}): only a FULL can follow") from error


class SubversionSource:
    """One repository."""

    stream = "svndump"

    def __init__(self, job: Job, own_paths: Sequence[Path]) -> None:  # noqa: ARG002 - the factory's signature
        """Nothing is asked of the repository before the dump starts."""
        self.path = job.source
        self._seconds: int | None = job["Timeout"]

    @property
    def options(self) -> str:
        """Digest of what shapes the archive: which repository it is."""
        return hashlib.sha256(self.path.encode("utf-8", "surrogateescape")).hexdigest()

    def start(self, work: Path, base: Path | None, previous_files: int | None) -> RepositoryDump:
        """Ask once how far the repository goes: a commit made meanwhile is the next day's."""
        uuid, youngest = ask("uuid", self.path, self._seconds), int(ask("youngest", self.path, self._seconds))
        before = _read_state(base) if base is not None else None
        if before is not None:
            _check_continues(self.path, before, uuid, youngest)
        brake = None
        if previous_files is not None and youngest + 1 < previous_files:
            brake = (
                f"{self.path} has {youngest + 1} revisions, it had {previous_files}: is it the right one, and whole?"
            )
        return RepositoryDump(self.path, work=work, before=before, uuid=uuid, youngest=youngest, brake=brake)


def _check_continues(path: str, before: State, uuid: str, youngest: int) -> None:
    if uuid != before.uuid:
        raise RetryFullError(f"{path} is another repository now: its UUID was {before.uuid}, it is {uuid}")
    if youngest < before.revision:
        raise RetryFullError(f"{path} ends at revision {youngest}, it went to {before.revision}: it was replaced")


def ask(what: str, path: str, seconds: int | None = None) -> str:
    """Return what ``svnlook`` says of a repository, within ``seconds``; SourceError if that cannot be read."""
    try:
        return pipeline.output(["svnlook", what, path], env=ENVIRONMENT, seconds=seconds).strip()
    except ProgramError as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def _dump_command(path: str, first: int, last: int, *, incremental: bool) -> list[str]:
    return ["svnadmin", "dump", "-q", *(["--incremental"] if incremental else []), "-r", f"{first}:{last}", path]


class RepositoryDump:
    """A dump of new revisions at work; beside it, digests of the last revision, and of the one it builds on.

    The digest that is kept is begun before the dump: a log message edited later makes the next DIFF a FULL, never
    goes missing. Without new revisions the stream is empty.
    """

    def __init__(  # noqa: PLR0913 - what start has found out
        self, path: str, *, work: Path, before: State | None, uuid: str, youngest: int, brake: str | None
    ) -> None:
        """Start what is needed."""
        self._path, self._work, self._before = path, work, before
        self._uuid, self._youngest, self._brake = uuid, youngest, brake
        self._first = 0 if before is None else before.revision + 1
        self._main: ProgramDump | None = None
        self._digests = [_Digest(path, youngest)]
        try:
            if before is not None and before.revision != youngest:
                self._digests.append(_Digest(path, before.revision))
            if self._first <= youngest:
                command = _dump_command(path, self._first, youngest, incremental=before is not None)
                self._main = ProgramDump(command, self._judge, env=ENVIRONMENT)
            self.stdout: IO[bytes] = self._main.stdout if self._main is not None else _nothing()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Kill everything."""
        for digest in self._digests:
            digest.stop()
        if self._main is not None:
            self._main.abort()

    def finish(self, raw_size: int, tail: bytes) -> Outcome:
        """Judge the dump, and whether the revision it builds on is still the one that was backed up."""
        return self._main.finish(raw_size, tail) if self._main is not None else self._judge(raw_size, tail, "")

    def _judge(self, raw_size: int, tail: bytes, said: str) -> Outcome:  # noqa: ARG002 - a dump has no trailer
        if self._main is not None and raw_size == 0:
            raise SourceError(f"svnadmin wrote nothing, but {self._path} has revisions {self._first}:{self._youngest}")
        results = [digest.result() for digest in self._digests]
        if self._before is not None and results[-1] != self._before.digest:
            raise RetryFullError(
                f"{self._path}: revision {self._before.revision} is not what was backed up: the repository was "
                "reloaded, or that revision's properties were edited; only a FULL can hold that"
            )
        version = pipeline.version("svnadmin")
        return Outcome(
            state=State(uuid=self._uuid, revision=self._youngest, digest=results[0]).write(self._work / "state"),
            files=self._youngest + 1,
            brake=self._brake,
            log=said,
            programs={"svnadmin": version},
            proof={
                "first_revision": self._first,
                "last_revision": self._youngest,
                "revisions": self._youngest - self._first + 1,
                "uuid": self._uuid,
                "svnadmin": version,
            },
        )


def _nothing() -> IO[bytes]:
    """Return an empty stream; the reader needs a file of the system's."""
    return Path(os.devnull).open("rb")


class _Digest:
    """The sha256 of one revision's incremental dump, in the making."""

    def __init__(self, path: str, revision: int) -> None:
        """Start svnadmin, and read it beside whatever else is done."""
        command = _dump_command(path, revision, revision, incremental=True)
        self._program = pipeline.start(command, stdout=pipeline.PIPE, env=ENVIRONMENT)
        self._hash = hashlib.sha256()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        out = self._program.stdout
        while out is not None and (piece := out.read(_BLOCK)):
            self._hash.update(piece)

    def result(self) -> str:
        """Wait for it; SourceError in svnadmin's words if it failed."""
        self._reader.join()
        ended = self._program.wait()
        self._program.stderr.close()
        if ended.status != 0:
            raise SourceError(ended.describe())
        return self._hash.hexdigest()

    def stop(self) -> None:
        """Kill it."""
        self._program.stop()


def repositories(job: Job) -> list[Job]:
    """Return a job for each repository directly in a SubversionDir; what is hidden, or no repository, is passed over.

    Whether one is whole is not asked here: a broken one fails by itself. Raises SourceError if the folder cannot be
    read or holds no repository, as an unmounted one.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(job.source) if _looks_like_one(entry))
    except OSError as error:
        raise SourceError(f"{error.filename} cannot be read: {error.strerror}") from error
    if not names:
        raise SourceError(f"{job.source} holds no Subversion repository: is it mounted?")
    folder = job.source.rstrip("/")
    paths = [f"{folder}/{name}" for name in names]
    return [replace(job, name=job_name(job.kind, path, job.scope), source=path) for path in paths]


def _looks_like_one(entry: os.DirEntry[str]) -> bool:
    """Has it what every repository has? What cannot be looked into is taken for one, and fails with a word."""
    if entry.name.startswith("."):
        return False
    try:
        if not entry.is_dir():
            return entry.is_symlink() and not Path(entry.path).exists()
        return {"format", "db"} <= {path.name for path in Path(entry.path).iterdir()}
    except OSError:
        return True
