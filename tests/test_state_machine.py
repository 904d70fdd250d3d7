"""Promises 1, 5, 6 and 7 over histories that hypothesis makes up: whatever happens, in whatever order.

``S3NAP_SOAK_MINUTES=60`` makes up other histories for so long, instead of the same ones every time.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from history import History
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from small_tree import EDITS, RENAMES, Edit
from soak import MINUTES as SOAK
from storages import CrashError

from s3nap.errors import StorageError
from s3nap.manifest import Type

pytestmark = pytest.mark.usefixtures("quiet")

_PARTS = 4  # for as many processes as there are cores
_HISTORIES = 26  # in each part
_STEPS = 12
_STEPS_OF_A_RUN = 160  # about, each of which a process can die at
_CALLS_OF_A_RUN = 25  # to the storage

numbers = st.integers(0, 31)
edits = st.lists(st.tuples(st.sampled_from(EDITS), numbers, numbers), max_size=5)


def _begin() -> tuple[History, Callable[[], None]]:
    """Return a history, and what removes its folders: the tree on disk, where inodes are used again, else in memory."""
    folder = Path(tempfile.mkdtemp(prefix="s3nap-history-"))
    memory = Path("/dev/shm")
    scratch = Path(tempfile.mkdtemp(prefix="s3nap-history-", dir=memory if os.access(memory, os.W_OK) else None))

    def end() -> None:
        for path in (folder, scratch):
            shutil.rmtree(path)

    return History(folder, scratch, f"Bucket file://{scratch}/bucket\nChunkSize 64K\n"), end


class Machine(RuleBasedStateMachine):
    """Each rule is something that happens; History checks after each of them what must hold."""

    tally: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.history, self._end = _begin()
        self.tally["histories"] += 1

    def teardown(self) -> None:
        self.tally.update(self.history.tally)
        self._end()

    @initialize(edits=edits)
    def first_day(self, edits: list[tuple[Edit, int, int]]) -> None:
        self.history.edit(edits)
        self.history.run()

    @rule(edits=edits, days=st.sampled_from((1, 1, 1, 1, 2, 9)))
    def days_pass_and_run(self, edits: list[tuple[Edit, int, int]], days: int) -> None:
        self.history.days_pass(days)
        self.history.edit(edits)
        self.history.run()

    @rule(renames=st.lists(st.tuples(st.sampled_from(RENAMES), numbers, numbers), min_size=1, max_size=3))
    def next_day_with_renames(self, renames: list[tuple[Edit, int, int]]) -> None:
        self.history.days_pass(1)
        self.history.edit(renames)
        self.history.run()

    @rule(edits=edits)
    def files_change(self, edits: list[tuple[Edit, int, int]]) -> None:
        self.history.edit(edits)

    @rule(days=st.integers(1, 12))
    def days_are_missed(self, days: int) -> None:
        self.history.days_pass(days)

    @rule()
    def run_again(self) -> None:
        self.history.run()

    @rule(full=st.booleans())
    def run_by_force(self, full: bool) -> None:
        self.history.run(force=True, full=full)

    @rule(at=st.integers(1, _STEPS_OF_A_RUN), days=st.integers(0, 1), force=st.booleans())
    def die(self, at: int, days: int, force: bool) -> None:
        self.history.days_pass(days)
        self.history.crash(at, force=force)

    @rule(at=st.integers(1, _CALLS_OF_A_RUN), after=st.booleans(), dies=st.booleans(), days=st.integers(0, 1))
    def storage_dies(self, at: int, after: bool, dies: bool, days: int) -> None:
        self.history.days_pass(days)
        self.history.storage_dies(at, after=after, error=CrashError() if dies else StorageError("gone"))

    @rule()
    def diffdir_is_lost(self) -> None:
        self.history.diffdir_is_lost()

    @rule()
    def diffdir_is_saved(self) -> None:
        self.history.diffdir_is_saved()

    @rule()
    @precondition(lambda self: self.history.saved.exists())
    def diffdir_is_rolled_back(self) -> None:
        self.history.diffdir_is_rolled_back()

    @rule(which=st.integers(0, 63), where=st.integers(0, 1 << 14), how=st.sampled_from(("flip", "cut", "zero")))
    def diffdir_is_damaged(self, which: int, where: int, how: str) -> None:
        self.history.diffdir_is_damaged(which, where, how)

    @rule()
    def exclude_changes(self) -> None:
        self.history.exclude_changes()

    @rule(fulls=st.integers(1, 3), diffs=st.integers(0, 3), frequency=st.sampled_from((1, 1, 2)))
    def cycle_changes(self, fulls: int, diffs: int, frequency: int) -> None:
        self.history.cycle_becomes(fulls=fulls, diffs=diffs, frequency=frequency)

    @rule(hours=st.sampled_from((0, 0, 0, 1, -1, 20, -20, 30, -8760, 8760)))
    def clock_moves(self, hours: int) -> None:
        self.history.clock_becomes_wrong_by(hours)

    @rule(force=st.booleans())
    def another_machine_runs(self, force: bool) -> None:
        self.history.run(machine=1, force=force)

    @rule(at=st.integers(1, _STEPS_OF_A_RUN))
    def another_machine_dies(self, at: int) -> None:
        self.history.crash(at, machine=1)

    @rule(which=st.integers(0, 15), mark=st.sampled_from(("hold", "hold", "distrust", "released")))
    def archive_is_marked(self, which: int, mark: str) -> None:
        self.history.marked(which, mark)

    @rule(edits=edits.filter(bool))
    @precondition(lambda self: self.history.slots <= 6)
    def nothing_disturbs(self, edits: list[tuple[Edit, int, int]]) -> None:
        self.history.undisturbed(edits)


def _settings(histories: int, steps: int) -> settings:
    return settings(
        max_examples=histories,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=False,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("part", range(_PARTS))
def test_histories(part: int, tried: Callable[[int], None]) -> None:
    """Whatever happens: what is restorable restores, nothing is left over, kept too long, or lost from the window."""
    begun, workers = time.monotonic(), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = part
    Machine.tally.clear()
    while True:
        machine = seed(number)(type(f"Machine{number}", (Machine,), {}))
        run_state_machine_as_test(machine, settings=_settings(_HISTORIES, _STEPS))
        if time.monotonic() - begun >= SOAK * 60 * workers / _PARTS:
            break
        number = secrets.randbits(64)
    tried(Machine.tally["histories"])
    sys.stdout.write(f"{dict(Machine.tally)}\n")
    assert not SOAK or Machine.tally["restores"]


@pytest.fixture
def history() -> Iterator[History]:
    made, end = _begin()
    yield made
    end()


@pytest.mark.parametrize("edit", RENAMES, ids=lambda edit: edit.__name__)
def test_renames(history: History, edit: Edit) -> None:
    """Each kind of rename, day after day and twice a day, with hard links about: every DIFF restores exactly."""
    history.cycle_becomes(fulls=2, diffs=3, frequency=1)
    history.run(full=True)
    types = set()
    for number in range(5):
        history.days_pass(1)
        history.edit([(edit, number, 3 * number + 1), (edit, number + 2, number)])
        types |= {item.manifest.type for item in history.run() if item.manifest is not None}
    assert Type.DIFF in types
