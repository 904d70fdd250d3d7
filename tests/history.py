"""A world to which anything may happen, and the promises that must hold after each step.

What should be is worked out here from the days and trees that were, and from docs/rotation.md; never by s3nap's code.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dying import dies
from rotation_model import kept, with_ancestors
from small_tree import Edit, SmallTree
from storages import CrashError, FaultyStorage
from trees import Fingerprint, fingerprint
from world import World

from s3nap import archiving, config
from s3nap.backup import Options, Result, Run
from s3nap.catalog import Catalog, JobCatalog
from s3nap.errors import StorageError
from s3nap.job import Conf
from s3nap.liveness import chain, judge
from s3nap.manifest import Archive
from s3nap.state import DiffDir
from s3nap.storage import Data, Storage, Stored
from s3nap.storage.local import LocalStorage

_BEGIN = datetime(2024, 1, 4, 12, tzinfo=UTC)
_LEFT_OUT = "new1*"
_EXPECTED = re.compile(
    "both back up as host|is it mounted|looks wrong|is everything mounted|could not be read"
    "|was removed or altered"  # by another machine of this name, which took over what was there
)


class TimedStorage(LocalStorage):
    """A folder whose clock says what ``now`` says."""

    def __init__(self, root: Path, now: Callable[[], datetime]) -> None:
        super().__init__(root)
        self._folder, self._now = root, now

    def put(self, key: str, data: Data, *, bulk: bool = False) -> Stored:
        stored = super().put(key, data, bulk=bulk)
        os.utime(self._folder / key, (self._now().timestamp(),) * 2)
        return stored

    def signature(self, prefix: str) -> tuple[tuple[str, int, int, int], ...]:
        """Something that changes with anything below a prefix."""
        found = ((item.key, (self._folder / item.key).stat()) for item in self.list(prefix))
        return tuple((key, status.st_ino, status.st_ctime_ns, status.st_size) for key, status in found)


@dataclass
class History(World):
    """``step`` methods do something and then check; ``check`` alone can be called at any time."""

    fulls: int = 2
    diffs: int = 2
    frequency: int = 1
    offset: timedelta = timedelta()  # how wrong the machine's clock is
    minutes: int = 0
    machine: int = 0
    told: list[str] = field(default_factory=list)
    orphans: dict[str, int] = field(default_factory=dict)  # what a crash of which machine left
    forgiven: set[str] = field(default_factory=set)  # orphans that no DiffDir knows of any more
    proven: dict[str, Any] = field(default_factory=dict)
    first: str = "~"
    tally: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__post_init__()
        (self.scratch / "bucket").mkdir()
        self.edits = SmallTree(self.tree)
        self.store = TimedStorage(self.scratch / "bucket", lambda: self.true_time)
        self.diffdirs = [self.diffdir, self.scratch / "diffdir2"]
        self.diffdirs[1].mkdir()
        self.saved = self.scratch / "diffdir.saved"

    # time and configuration

    @property
    def true_time(self) -> datetime:
        return _BEGIN + timedelta(days=self.day, minutes=self.minutes)

    @property
    def date(self) -> date:
        """The day that the machine believes it is."""
        return (self.true_time + self.offset).date()

    @property
    def storage(self) -> Storage:
        return self.store

    @property
    def slots(self) -> int:
        return self.fulls * (self.diffs + 1)

    def turn(self, day: date) -> int:
        return (day - date(1970, 1, 1)).days // self.frequency

    def loaded(self) -> Conf:
        """The conf with today's values."""
        self.top = f"Diffs {self.diffs}\nFulls {self.fulls}\nFrequency {self.frequency}\n"
        self.diffdir = self.diffdirs[self.machine]
        return config.load(self.conf)

    # what happens

    def edit(self, edits: Iterable[tuple[Edit, int, int]]) -> None:
        for edit, m, n in edits:
            edit(self.edits, m, n)

    def days_pass(self, days: int) -> None:
        self.day += days

    def cycle_becomes(self, *, fulls: int, diffs: int, frequency: int) -> None:
        self.fulls, self.diffs, self.frequency = fulls, diffs, frequency

    def exclude_changes(self) -> None:
        self.excludes = self.excludes[:-1] if _LEFT_OUT in self.excludes else [*self.excludes, _LEFT_OUT]

    def clock_becomes_wrong_by(self, hours: int) -> None:
        self.offset = timedelta(hours=hours)

    def diffdir_is_lost(self) -> None:
        self._forgive()
        shutil.rmtree(self.diffdirs[0])
        self.diffdirs[0].mkdir()

    def diffdir_is_saved(self) -> None:
        shutil.rmtree(self.saved, ignore_errors=True)
        shutil.copytree(self.diffdirs[0], self.saved, symlinks=True)

    def diffdir_is_rolled_back(self) -> None:
        if self.saved.exists():
            self._forgive()
            shutil.rmtree(self.diffdirs[0])
            shutil.copytree(self.saved, self.diffdirs[0], symlinks=True)

    def diffdir_is_damaged(self, which: int, where: int, how: str) -> None:
        """One file is cut, flipped or filled with zeros."""
        files = sorted(path for path in self.diffdirs[0].rglob("*") if path.is_file() and not path.is_symlink())
        if not files:
            return
        self._forgive()
        self.tally["damages"] += 1
        path = files[which % len(files)]
        data = bytearray(path.read_bytes())
        at = where % max(len(data), 1)
        if how == "flip" and data:
            data[at] ^= 1 << (where % 8)
        elif how == "cut":
            del data[at:]
        else:
            data[:] = bytes(len(data))
        self.told.append(f"  {path.relative_to(self.diffdirs[0])}, {len(data)} bytes, at {at}")
        path.write_bytes(data)

    def marked(self, which: int, mark: str) -> None:
        """An archive is held, distrusted or released; or is so no longer."""
        archives = self.known().archives
        if not archives:
            return
        manifest = archives[which % len(archives)].manifest
        key = manifest.at.manifest.removesuffix("json") + mark
        if mark == "hold" and mark in archives[which % len(archives)].marks:
            self.store.delete([key])
        else:
            self.store.put(key, b"")

    # runs

    def run(self, *, force: bool = False, full: bool = False, machine: int = 0) -> list[Result]:
        """Run, which must end well, and check all that was promised."""
        self.machine = machine
        conf, before = self.loaded(), self._before()
        results = self._execute(conf, self.store, force=force, full=full)
        self._remember()
        if self.offset > timedelta(days=1):  # an archive of next year would count for nothing, and push out others
            assert all(item.outcome == "skipped" or "clock" in item.message for item in results), results
            assert self._held_now() == before
            return results
        bad = [
            (item.outcome, item.message, item.warnings)
            for item in results
            if item.outcome not in {"done", "skipped"} or not all(_EXPECTED.search(text) for text in item.warnings)
        ]
        assert not bad, bad
        done = any(item.outcome == "done" for item in results)
        self._after(before, done=done)
        assert done or self._turn_done(), "nothing was done today"
        self._check_nothing_left()
        return results

    def _execute(self, conf: Conf, storage: Storage, *, force: bool, full: bool) -> list[Result]:
        self.minutes += 1
        self.tally["runs"] += 1
        history = self

        class Clock(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
                del tz
                return history.true_time + history.offset

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(archiving, "datetime", Clock)
            execution = Run(conf, storage, Options(day=self.date, force=force, full=full))
            try:
                return execution.execute()
            finally:
                execution.close()

    def crash(self, at: int, *, force: bool = False, machine: int = 0) -> bool:
        """Die at the k-th step of a run, as by kill -9; False if the run had fewer steps."""
        self.machine = machine
        conf, before = self.loaded(), self._before()

        def call() -> None:
            results = self._execute(conf, self.store, force=force, full=False)
            well = {"done", "skipped", "failed" if self.offset > timedelta(days=1) else ""}
            assert all(item.outcome in well for item in results), [item.message for item in results]

        died = dies(at, self.scratch / "report", call)
        self.minutes += 1
        self.tally["deaths"] += died
        self._cut_short(before)
        return died

    def storage_dies(self, at: int, *, after: bool, error: BaseException) -> None:
        """The k-th call of the storage and all that follow fail; CrashError: and the process with it."""
        self.machine = 0
        conf, before = self.loaded(), self._before()
        faulty = FaultyStorage(self.store, at=at, after=after, for_good=True, error=error)
        with contextlib.suppress(CrashError, StorageError):
            self._execute(conf, faulty, force=True, full=False)
        self._cut_short(before)

    def _cut_short(self, before: tuple[set[int], set[int]]) -> None:
        self._remember()
        for run in self._unreferenced():
            self.orphans.setdefault(run, self.machine)
        self._after(before, done=False)

    # what there is

    def known(self) -> JobCatalog:
        """The job's archives; which machine looks makes no difference."""
        jobs = Catalog(self.store, "alpha").all_jobs()
        assert len(jobs) <= 1
        return next(iter(jobs.values()), JobCatalog("none"))

    def restorable(self, known: JobCatalog) -> dict[str, list[Archive]]:
        """What ``list`` calls restorable, by its own word."""
        found = {}
        for run in judge(known.archives, None, 0, None).restorable:
            links = chain(known.by_run[run], known.by_run)
            assert links is not None
            found[run] = links
        return found

    def check(self) -> None:
        """Whatever is restorable restores to the tree of its moment."""
        known = self.known()
        assert known.unreadable == []
        for run, links in self.restorable(known).items():
            signature = tuple(self.store.signature(link.manifest.at.data) for link in links)
            if self.proven.get(run) != signature:
                self.check_restore(links)
                self.tally["restores"] += 1
                self.proven[run] = signature

    def _remember(self) -> None:
        """Keep the tree of today for whatever new archive there is."""
        now: Fingerprint | None = None
        for run in self._stored_runs():
            if run not in self.moments:
                now = now or fingerprint(self.tree, self.excluded)
                self.moments[run] = now

    def _stored_runs(self) -> set[str]:
        return {item.key.rpartition("/")[2][:-5] for item in self.store.list("catalog/") if item.key.endswith(".json")}

    def _unreferenced(self) -> set[str]:
        return {item.key.split("/")[-2] for item in self.store.list("data/")} - self._stored_runs()

    def _forgive(self) -> None:
        """Who loses DiffDir loses the notes of what is left over."""
        self.forgiven |= self._unreferenced()

    def _turn_done(self) -> bool:
        known = self.known()
        chains = self.restorable(known)
        return any(self.turn(chains[run][-1].manifest.day) == self.turn(self.date) for run in chains)

    # promises

    def _before(self) -> tuple[set[int], set[int]]:
        """Slots, and turns of the promised window, from which one can restore."""
        self.first = self._first_own()  # the run itself may sweep it
        return self._held_now()

    def _held_now(self) -> tuple[set[int], set[int]]:
        manifests = [links[-1].manifest for links in self.restorable(self.known()).values()]
        today = self.turn(self.date)
        turns = {self.turn(manifest.day) for manifest in manifests}
        return {manifest.slot for manifest in manifests}, turns & set(range(today - self.slots + 1, today + 1))

    def _after(self, before: tuple[set[int], set[int]], *, done: bool) -> None:
        slots, turns = self._held_now()
        assert before[0] <= slots, f"slots {before[0] - slots} had an archive, and have none any more"
        assert before[1] <= turns, f"turns {before[1] - turns} of the promised window are lost"
        if done:
            assert self.turn(self.date) in turns, "done, and yet there is nothing of today"
            excess = {item.run for item in self.known().archives} - self._justified()
            assert not excess, f"kept without a reason: {excess}"
        self.check()

    def _check_nothing_left(self) -> None:
        left = self._unreferenced()
        strange = {run for run in left - self.forgiven if self.orphans.get(run) in {None, self.machine}}
        assert not strange, f"stored, and no manifest owns it: {strange}"
        self.orphans = {run: machine for run, machine in self.orphans.items() if run in left}

    def _justified(self) -> set[str]:
        own = self._machine_id()
        first = min(self.first, self._first_own())
        return kept(self.known().archives, slots=self.slots, today=self.date, turn=self.turn, own=own, first=first)

    def _machine_id(self) -> str:
        return DiffDir(self.diffdirs[self.machine], "", "alpha", writable=False).machine

    def _first_own(self) -> str:
        own = self._machine_id()
        return min((item.run for item in self.known().archives if item.manifest.machine == own), default="~")

    def undisturbed(self, edits: Iterable[tuple[Edit, int, int]]) -> None:
        """After two rounds of good days there are no more archives than the slots and their ancestors need."""
        steps = list(edits)
        self.clock_becomes_wrong_by(0)
        for number in range(2 * self.slots + 1):
            self.days_pass(self.frequency)
            self.edit(steps[number % len(steps) :][:1])
            self.run()
        archives = self.known().archives
        apart = {item.run for item in archives if item.held or item.manifest.slot >= self.slots}
        machines = {item.manifest.machine for item in archives} - {self._machine_id()}
        if machines or any(item.braking or item.distrusted for item in archives):
            return
        plain = [item for item in archives if item.run not in with_ancestors(apart, archives)]
        assert len(plain) <= self.slots + self.diffs, [item.run for item in plain]
        assert len({item.manifest.root or item.run for item in plain}) <= self.fulls + 1
        assert apart or len({item.manifest.slot for item in plain}) == self.slots
