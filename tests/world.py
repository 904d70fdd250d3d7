"""A machine with one tree and one bucket, driven day by day through the real code."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from fnmatch import fnmatchcase
from pathlib import Path

from trees import EXCLUDED, Fingerprint, Mutator, difference, fingerprint

from s3nap import access, config
from s3nap.backup import Options, Result, Run
from s3nap.catalog import Catalog, JobCatalog
from s3nap.chunks import parse_tables
from s3nap.cycle import day_number
from s3nap.errors import Exit
from s3nap.liveness import Verdict, chain, judge
from s3nap.manifest import Archive
from s3nap.plan import Task
from s3nap.reader import KeySource, Reader
from s3nap.restore import restore_tree
from s3nap.state import DiffDir
from s3nap.storage import Storage

FIRST = date(2024, 1, 4)  # a day on which no cycle of these tests begins


@dataclass
class World:
    """``tree`` is what is backed up; ``moments`` remembers what it was when each archive was made.

    ``scratch`` is for all but the tree: in memory, where there is no waiting for fsync.
    """

    folder: Path
    scratch: Path
    bucket: str  # lines of the conf that say where to and how
    source: str = ""  # how the conf names the tree
    top: str = "Diffs 6\nFulls 2\n"
    cycles: str = ""
    day: int = 0
    moments: dict[str, Fingerprint] = field(default_factory=dict)
    _seen: dict[str, str] = field(default_factory=dict)
    _storage: tuple[str, Storage] | None = None

    def __post_init__(self) -> None:
        self.tree = self.folder / "tree"
        self.source = self.source or str(self.tree)
        self.diffdir = self.scratch / "diffdir"
        self.diffdir.mkdir(parents=True)
        self.excludes = list(EXCLUDED)

    def excluded(self, name: bytes) -> bool:
        """Is this name left out today?"""
        return any(fnmatchcase(os.fsdecode(name), pattern) for pattern in self.excludes)

    @property
    def date(self) -> date:
        """Today."""
        return FIRST + timedelta(days=self.day)

    @property
    def storage(self) -> Storage:
        """Where archives go."""
        if self._storage is None or self._storage[0] != self.bucket:  # a client of S3 takes long to make
            self._storage = self.bucket, access.storage_of(config.load(self.conf))
        return self._storage[1]

    @property
    def conf(self) -> Path:
        """The conf as it is now, written."""
        file = self.folder / "s3nap.conf"
        text = f'DiffDir {self.diffdir}\n{self.bucket}Host alpha\nStoreConf Off\n{self.top}Directory "{self.source}"\n'
        text += "".join(f'Exclude "{pattern}"\n' for pattern in self.excludes)
        file.write_text(text + self.cycles.replace("TREE", self.source))
        return file

    def run(self, *, force: bool = False, full: bool = False) -> list[Result]:
        """Do the daily run; what is new is remembered with the tree of the moment."""
        conf = config.load(self.conf)
        now = fingerprint(self.tree, self.excluded) if self.tree.is_dir() else {}
        execution = Run(conf, self.storage, Options(day=self.date, force=force, full=full))
        try:
            results = execution.execute()
        finally:
            execution.close()
        for result in results:
            if result.manifest is not None:
                self.moments[result.manifest.run] = now
        return results

    def good_run(self, *, force: bool = False, full: bool = False) -> list[Task]:
        """Do the daily run, which must succeed without any warning."""
        results = self.run(force=force, full=full)
        bad = [(item.status, item.message, item.warnings) for item in results if item.status is not Exit.DONE]
        assert not bad, bad
        return [item.task for item in results if item.task is not None]

    def live(self, tree: Mutator, days: int, edits: int = 25) -> None:
        """Back up on so many days, between which the tree changes."""
        for day in range(days):
            if day:
                self.next_day()
                tree.day(edits)
            self.good_run()

    def next_day(self, days: int = 1) -> None:
        """Let time pass."""
        self.day += days

    # what is stored

    def jobs(self) -> Mapping[str, JobCatalog]:
        """All that the storage has, by job."""
        return Catalog(self.storage, "alpha").all_jobs()

    def verdict(self, known: JobCatalog) -> Verdict:
        """Judge a job's archives as ``list`` does."""
        conf = config.load(self.conf)
        cycle = next(job.cycle for job in conf.jobs if job.name == known.job)
        machine = DiffDir(conf["DiffDir"], "", conf["Host"], writable=False).machine
        return judge(known.archives, cycle, day_number(self.date), machine)

    def chains(self) -> dict[str, list[Archive]]:
        """The chain of every archive that ``list`` calls restorable, by run."""
        found = {}
        for known in self.jobs().values():
            assert (known.unreadable, known.ignored) == ([], [])
            for run in self.verdict(known).restorable:
                links = chain(known.by_run[run], known.by_run)
                assert links is not None
                found[run] = links
        return found

    def check_stored(self) -> dict[str, list[Archive]]:
        """Every object of every archive is there and what it should be, and nothing else is; return the chains."""
        storage = self.storage
        listed = {item.key: item.size for item in storage.list("data/")}
        wanted: dict[str, str] = {}
        archives = [archive for known in self.jobs().values() for archive in known.archives]
        for archive in archives:
            at = archive.manifest.at
            wanted |= {at.data + item.name: item.sha256 for item in archive.manifest.objects}
            tables = [storage.get(at.data + name) for name in ("sums", "chunks")]
            lines = list(parse_tables(tables[0], tables[1], archive.manifest.chunks))
            wanted |= {at.data + line.name: line.sha256 for line in lines}
            assert [listed[at.data + line.name] for line in lines] == [line.size for line in lines]
        assert sorted(listed) == sorted(wanted)
        assert {item.key for item in storage.list("catalog/")} == {archive.manifest.at.manifest for archive in archives}
        local = storage.url.startswith("file://")  # elsewhere it is enough to read once what is never overwritten
        for key, digest in wanted.items():
            if local or self._seen.get(key) != digest:
                assert hashlib.sha256(storage.get(key)).hexdigest() == digest, key
                self._seen[key] = digest
        return self.chains()

    # restores

    def restored(self, links: list[Archive], target: Path | None = None) -> Path:
        """Restore a chain; returns where the tree now lies, until the next restore."""
        if target is None:
            target = self.scratch / "target"
            shutil.rmtree(target, ignore_errors=True)
        with Reader(self.storage, KeySource()) as reader:
            restore_tree(reader, links, target)
        return target / str(self.tree).lstrip("/")

    def check_restore(self, links: list[Archive]) -> None:
        """The archive restores to exactly the tree of its moment."""
        last = links[-1].manifest
        tree = self.restored(links)
        wrong = difference(self.moments[last.run], fingerprint(tree))
        assert wrong == [], f"{last.job} of {last.day}, {len(links)} levels: " + "\n".join(wrong)

    def check_restores(self, runs: Iterable[str] | None = None) -> None:
        """All restorable archives (or these) restore to the trees of their moments."""
        chains = self.chains()
        for run in sorted(chains if runs is None else runs):
            self.check_restore(chains[run])


@contextmanager
def in_memory(lines: str, *, top: str) -> Iterator[World]:
    """Give a machine that lies in memory, its bucket, too; ``lines`` say how it stores, ``top`` its cycle."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="s3nap-test-", dir=memory if os.access(memory, os.W_OK) else None))
    try:
        (folder / "bucket").mkdir()
        made = World(folder / "machine", folder, f"Bucket file://{folder}/bucket\n{lines}", top=top)
        made.folder.mkdir()
        yield made
    finally:
        shutil.rmtree(folder)
