"""Rehearsing restores: into a scratch folder, or a throw-away server in it, compared, timed, noted, removed.

What hinders a drill (no key, no room, no program, a storage that does not answer) says nothing of the archive and
leaves no mark; what does not come back as it was does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from loguru import logger

from s3nap import pipeline
from s3nap.amounts import size
from s3nap.comparing import compare
from s3nap.contents import StoredIndexes
from s3nap.drilled import Drilled
from s3nap.errors import (
    Exit,
    NewerFormatError,
    NoKeyError,
    ProgramError,
    S3napError,
    StorageError,
    VerificationError,
)
from s3nap.manifest import Archive, Manifest
from s3nap.marking import Marking
from s3nap.picking import Selection, pick
from s3nap.reader import Reader
from s3nap.restore import free_space, restore_stream, restore_tree
from s3nap.sources import Loader, LoadOptions, scratchserver
from s3nap.sources.scratchfile import DatabaseFile, DumpFile, Nowhere
from s3nap.sources.table import make_loader
from s3nap.storage import Storage

_SERVER_BYTES = 512 << 20  # an empty server, and its logs
_PREFIX = "s3nap-drill-"
_NOT_HERE = ("invalid locale", "extension control file", "is not available")  # what this machine's server lacks
_TOOLS = {"index": ("tar",), "repository": ("svnadmin", "svnlook")}

Outcome = Literal["restored", "differs", "failed", "hindered"]


@dataclass(slots=True, kw_only=True)
class Drill:
    """What became of the rehearsal of one chain, FULL first.

    ``differs``: it did not come back as it was. ``failed``: a program that took it failed. ``hindered``: it could not
    be tried. ``why`` says more, ``status`` is that of the error. ``how`` is one of ``drilled.HOWS``; ``remark`` says
    why it is a weaker one than the kind allows. ``seconds`` is the restore alone. ``mark``: the name of what was noted.
    """

    links: Sequence[Archive]
    how: str
    remark: str = ""
    outcome: Outcome = "restored"
    why: str = ""
    status: Exit = Exit.DONE
    seconds: float = 0
    mark: str | None = None

    @property
    def manifest(self) -> Manifest:
        """That of the newest archive."""
        return self.links[-1].manifest

    @property
    def raw_size(self) -> int:
        """Bytes of all streams."""
        return sum(link.manifest.raw_size for link in self.links)


class Driller:
    """Rehearses restores from one storage."""

    def __init__(self, storage: Storage, folders: Sequence[Path], *, run_commands: bool) -> None:
        """Scratch folders are made in the first of ``folders`` that will do. Without ``run_commands`` no Load runs."""
        self._storage = storage
        self._folders = folders
        self._run_commands = run_commands
        self._marks = Marking(storage)

    def planned(self, links: Sequence[Archive]) -> Drill:
        """Return what would be done, with what would hinder it already."""
        how, remark = self._way(links[-1].manifest)
        drill = Drill(links=links, how=how, remark=remark)
        with _judging(drill):
            self._place(drill)
        return drill

    def drill(self, reader: Reader, links: Sequence[Archive], now: datetime) -> Drill:
        """Restore a chain, compare, and note the result; the scratch folder is gone afterwards, whatever happens."""
        drill = self.planned(links)
        if drill.outcome == "restored":
            with _judging(drill), _scratch(self._place(drill)) as folder:
                for link in links:
                    reader.open(link)
                if drill.how == "index":
                    self._tree(reader, drill, folder)
                else:
                    self._stream(reader, drill, folder)
        if drill.outcome != "hindered":
            self._note(drill, now)
        return drill

    def _way(self, manifest: Manifest) -> tuple[str, str]:
        """Return how a kind of archive is rehearsed here, and why not better."""
        if manifest.stream == "tar":
            return "index", ""
        if manifest.stream == "svndump":
            return "repository", ""
        if manifest.kind in {"MySQL", "PostgreSQL"}:
            absent = scratchserver.missing(manifest.kind)
            return ("server", "") if absent is None else ("file", f"no server: {absent} is not installed here")
        if manifest.kind == "SQLite":
            return "database", ""
        if manifest.object("load") is None:
            return "stream", "no Load command was kept with it" if manifest.kind == "Command" else ""
        return ("command", "") if self._run_commands else ("stream", "--run-commands runs its Load command")

    def _place(self, drill: Drill) -> Path:
        """Return where there is room; ProgramError, saying what is needed, if that is nowhere."""
        for tool in _TOOLS.get(drill.how, ()):
            pipeline.find(tool)
        needed = 0 if drill.how == "stream" else drill.links[0].manifest.raw_size
        needed += _SERVER_BYTES if drill.how == "server" else 0
        why = ""
        for folder in self._folders:
            closed = scratchserver.closed_to_servers(folder) if drill.how == "server" else None
            if closed is not None:
                why = why or f"the throw-away server, which does not run as root, may not enter {closed}"
            elif (free := free_space(folder)) < needed:
                why = why or f"at least {size(needed)} are needed in {folder}, {size(free)} are free"
            else:
                return folder
        raise ProgramError(f"{why}: give --target FOLDER")

    def _tree(self, reader: Reader, drill: Drill, folder: Path) -> None:
        begun, target = time.monotonic(), folder / "tree"
        drill.outcome = "failed"
        restore_tree(reader, drill.links, target)
        drill.seconds = time.monotonic() - begun
        work = folder / "work"
        work.mkdir()
        nodes = pick(drill.links, StoredIndexes(reader, work), Selection()).nodes
        compare(target, nodes, numeric_owner=False)
        drill.outcome = "restored"

    def _stream(self, reader: Reader, drill: Drill, folder: Path) -> None:
        with self._loader(reader, drill, folder) as loader:
            loader.check()
            drill.outcome = "failed"
            begun = time.monotonic()
            restore_stream(reader, drill.links, loader)
            drill.seconds = time.monotonic() - begun
        drill.outcome = "restored"

    @contextlib.contextmanager
    def _loader(self, reader: Reader, drill: Drill, folder: Path) -> Iterator[Loader]:
        manifest = drill.manifest
        match drill.how:
            case "server":
                folder.chmod(0o711)  # for the server's user; what is in it is closed
                with scratchserver.running(manifest.kind, folder / "s") as options:
                    yield make_loader(manifest, options)
            case "repository":
                yield make_loader(manifest, LoadOptions(database=str(folder / "repository"), scratch=folder))
            case "command":
                side = LoadOptions(side=lambda role: reader.small(drill.links[-1], role), scratch=folder)
                yield make_loader(manifest, side)
            case "database":
                yield DatabaseFile(folder / "database")
            case "file":
                yield DumpFile(folder / "dump")
            case _:
                yield Nowhere()

    def _note(self, drill: Drill, now: datetime) -> None:
        """Put the mark where that is allowed."""
        found = Drilled(when=now, how=drill.how, seconds=drill.seconds, raw_size=drill.raw_size, why=drill.why)
        if self._marks.put(drill.manifest.at.mark(found.mark), found.to_json()):
            drill.mark = found.mark


@contextlib.contextmanager
def _judging(drill: Drill) -> Iterator[None]:
    """Tell what an error says of a drill; its outcome is ``failed`` while a restore is under way."""
    try:
        yield
    except S3napError as error:
        drill.outcome, drill.why, drill.status = _outcome(drill, error), str(error), error.status
    except OSError as error:
        drill.outcome, drill.why, drill.status = "hindered", str(error), Exit.FAILED


def _outcome(drill: Drill, error: S3napError) -> Outcome:
    if isinstance(error, NoKeyError | StorageError | NewerFormatError):
        return "hindered"
    if isinstance(error, VerificationError):
        return "differs"
    here = drill.how == "server" and any(words in str(error) for words in _NOT_HERE)
    return "failed" if drill.outcome == "failed" and not here else "hindered"


@contextlib.contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """Make a private folder; remove it, and what the restore closed to its owner, too."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    for parent, names, _ in os.walk(folder) if os.geteuid() != 0 else ():  # root passes every door
        for path in (Path(parent, name) for name in names):
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        logger.warning("{} could not be removed: remove it by hand", folder)
