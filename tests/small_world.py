"""A small world to back up: a tree, a conf, a storage, days that pass; run in this process or by the command line."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import pytest

from s3nap import config
from s3nap.backup import Options, Result, Run
from s3nap.catalog import Catalog, JobCatalog
from s3nap.cycle import day_number
from s3nap.liveness import chain
from s3nap.manifest import Archive
from s3nap.names import job_name
from s3nap.reader import KeySource, Reader
from s3nap.restore import restore_tree
from s3nap.state import DiffDir, JobState
from s3nap.storage import Storage
from s3nap.storage.local import LocalStorage

HOST = "alpha"
START = date(2024, 1, 7)
QUIET = "[screen]\nenabled = yes\nlevel = INFO\n[file]\nenabled = no\n"

Tree = dict[str, tuple[object, ...]]


@dataclass
class World:
    """``base`` holds all of it; ``extra`` lines stand at the top of the conf."""

    base: Path
    diffs: int = 2
    fulls: int = 2
    extra: Sequence[str] = ()
    bucket: str = ""
    host: str = HOST
    tree: Path = field(init=False)
    folder: Path = field(init=False)
    diffdir: Path = field(init=False)
    conf: Path = field(init=False)

    def __post_init__(self) -> None:
        self.tree, self.folder = self.base / "tree", self.base / "bucket"
        self.diffdir, self.conf = self.base / "diffs", self.base / "s3nap.conf"
        for path in (self.tree, self.folder, self.diffdir):
            path.mkdir(parents=True, exist_ok=True)
        self.write_conf()

    def write_conf(self, *extra: str) -> Path:
        """Write the conf; ``extra`` lines go to its top."""
        (self.base / "logconfig.ini").write_text(QUIET)
        lines = [
            *extra,
            *self.extra,
            f'DiffDir "{self.diffdir}"',
            f'Bucket "{self.bucket or self.folder.as_uri()}"',
            f"Host {self.host}",
            *([] if any("StoreConf" in line for line in (*extra, *self.extra)) else ["StoreConf Off"]),  # one job
            f'LogConfig "{self.base / "logconfig.ini"}"',
            *([] if any("ChunkSize" in line for line in (*extra, *self.extra)) else ["ChunkSize 64K"]),
            f'<Directory "{self.tree}">',
            f"Diffs {self.diffs}",
            f"Fulls {self.fulls}",
            "</Directory>",
        ]
        self.conf.write_text("\n".join(lines) + "\n")
        return self.conf

    def day(self, number: int) -> date:
        """Return the numberth day; day 0 begins a round of the cycle, with a FULL in slot 0."""
        turns = (self.diffs + 1) * self.fulls
        return START + timedelta(-day_number(START) % turns + number)

    @property
    def job(self) -> str:
        """The job's name."""
        return job_name("Directory", str(self.tree))

    @property
    def storage(self) -> LocalStorage:
        """The bucket."""
        return LocalStorage(self.folder)

    @property
    def state(self) -> JobState:
        """What DiffDir has of the job."""
        return DiffDir(self.diffdir, f"{self.storage.url}@", self.host).job(self.job)

    def fill(self, number: int = 0) -> None:
        """Make the tree of a day: each has a file of its own, one that changes, one that goes, and a link."""
        (self.tree / "sub").mkdir(parents=True, exist_ok=True)
        (self.tree / f"file-{number}").write_text(f"CANARY-CONTENT {number}\n" * 40)
        (self.tree / "sub" / "changing").write_bytes(os.urandom(100_000) + b"%d" % number)
        (self.tree / f"sub/CANARY-NAME-{number - 1}").unlink(missing_ok=True)
        (self.tree / f"sub/CANARY-NAME-{number}").write_text(str(number))
        link = self.tree / "link"
        link.unlink(missing_ok=True)
        link.symlink_to(f"file-{number}")

    def run(
        self,
        number: int = 0,
        *,
        storage: Storage | None = None,
        force: bool = False,
        full: bool = False,
        dry: bool = False,
    ) -> Result:
        """Do a day's run, within this process."""
        options = Options(day=self.day(number), force=force, full=full)
        execution = Run(config.load(self.conf), storage or self.storage, options, dry=dry)
        try:
            return execution.execute()[0]
        finally:
            execution.close()

    def days(self, *numbers: int) -> dict[str, Tree]:
        """Let days pass, each with changes and a run that is done; return the tree of each run."""
        trees = {}
        for number in numbers:
            self.fill(number)
            result = self.run(number)
            assert result.outcome == "done", result.message
            assert result.manifest is not None
            trees[result.manifest.run] = tree_of(self.tree)
        return trees

    @property
    def known(self) -> JobCatalog:
        """The job's catalog, as stored."""
        return Catalog(self.storage, self.host).job(self.job)

    @property
    def archives(self) -> list[Archive]:
        """The job's archives, oldest first."""
        return self.known.archives

    @property
    def runs(self) -> list[str]:
        """Their run ids."""
        return [archive.run for archive in self.archives]

    def chain(self, run: str) -> list[Archive]:
        """Return the chain of an archive, FULL first."""
        by_run = self.known.by_run
        links = chain(by_run[run], by_run)
        assert links is not None, f"{run} is not restorable"
        return links

    def restore(self, run: str, *, source: KeySource | None = None) -> Tree:
        """Restore an archive to a fresh folder and return its tree."""
        target = self.base / f"restored-{len(list(self.base.glob('restored-*')))}"
        with Reader(self.storage, source or KeySource()) as reader:
            restore_tree(reader, self.chain(run), target)
        return tree_of(target / str(self.tree).lstrip("/"))

    def assert_restores(self, trees: Mapping[str, Tree]) -> None:
        """Fail unless each of these runs restores to just its tree."""
        for run, tree in trees.items():
            assert self.restore(run) == tree, f"{run} restores to something else"

    def assert_tidy(self) -> None:
        """Fail if anything is stored that no manifest owns, or if a note or state was left."""
        owned = {archive.manifest.at.data for archive in self.archives}
        strays = [item.key for item in self.storage.list("data/") if item.key.rpartition("/")[0] + "/" not in owned]
        assert strays == []
        for kind in ("runs", "sweeps"):
            assert list(self.state.notes(kind)) == []
        assert len(list(self.state.folder.glob("state.*"))) <= 1
        indexes = {path.name.partition(".")[0] for path in (self.state.folder / "indexes").glob("*")}
        assert indexes <= set(self.runs)


def tree_of(top: Path) -> Tree:
    """Describe a tree: mode, owner, time and contents of every entry, by its path."""
    found: Tree = {}
    for path in [top, *sorted(top.rglob("*"))]:
        status = path.lstat()
        what: object = None
        if stat.S_ISLNK(status.st_mode):
            what = str(path.readlink())
        elif stat.S_ISREG(status.st_mode):
            what = path.read_bytes()
        found[str(path.relative_to(top))] = (status.st_mode, status.st_uid, status.st_mtime_ns, what)
    return found


def everything(*folders: Path) -> Tree:
    """Describe all that lies in some folders, for before and after."""
    return {f"{folder}:{name}": what for folder in folders for name, what in tree_of(folder).items()}


def s3nap(
    *args: object, env: Mapping[str, str] | None = None, under: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own (``under`` another program); it never shows a traceback."""
    done = subprocess.run(
        [*under, sys.executable, "-m", "s3nap", *map(str, args)],
        env=dict(os.environ if env is None else env),
        capture_output=True,
        text=True,
        errors="backslashreplace",
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def fake_program(folder: Path, name: str, script: str) -> Path:
    """Put an executable sh script into a folder; ``$REAL`` in it is the real program's path."""
    folder.mkdir(exist_ok=True)
    real = subprocess.run(["sh", "-c", f"command -v {name}"], capture_output=True, text=True, check=True).stdout.strip()
    path = folder / name
    path.write_text(f"#!/bin/sh\nREAL={real}\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path / "world")
    made.fill()
    return made
