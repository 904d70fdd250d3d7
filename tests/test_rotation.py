"""Plan and liveness together, through any sequence of good and bad days."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from archives import OPTIONS, OURS, PLAIN, THEIRS, after, archive, cycle_from, job, made, marked
from hypothesis import given, settings
from hypothesis import strategies as st

from s3nap.cycle import Cycle, HanoiCycle, SimpleCycle, day_number
from s3nap.liveness import chain, judge, sweepable
from s3nap.manifest import Archive, Type
from s3nap.plan import Task, decide


@dataclass
class World:
    """One job, its storage and its machine."""

    cycle: Cycle
    catch_up: bool = True
    machine: str = OURS
    day: int = 0
    runs: int = 0
    state_id: str | None = None
    options: str = OPTIONS
    stored: dict[str, Archive] = field(default_factory=dict)
    guarded: dict[str, set[str]] = field(default_factory=dict)  # by braking archive: what was live before it

    @property
    def today(self) -> int:
        return day_number(after(self.day))

    def live(self) -> frozenset[str]:
        return judge(list(self.stored.values()), self.cycle, self.today, self.machine).live

    def whole(self) -> set[str]:
        return {run for run, item in self.stored.items() if chain(item, self.stored) is not None}

    def plan(self, *, force: bool = False, full: bool = False) -> Task:
        return decide(
            job(self.cycle, catch_up=self.catch_up),
            list(self.stored.values()),
            day=after(self.day),
            machine=self.machine,
            state_id=self.state_id,
            options=self.options,
            encryption=PLAIN,
            force=force,
            full=full,
        )

    def run(self, *, force: bool = False, full: bool = False, brake: str | None = None, sweeps: bool = True) -> None:
        task = self.plan(force=force, full=full)
        if task.action == "skip":
            return
        self.check_parent(task, full=full)
        if brake:
            before = self.live()
        new = made(task, self.number(), machine=self.machine, options=self.options, brake=brake)
        self.stored[new.run] = new
        self.state_id = new.manifest.state_id
        if brake:
            self.guarded[new.run] = set(before) & self.whole()
        assert self.plan().action == "skip"
        if sweeps:
            self.sweep()

    def number(self) -> int:
        self.runs += 1
        return self.runs

    def check_parent(self, task: Task, *, full: bool) -> None:
        """A DIFF builds on what it may build on; and wherever it may, no FULL is made."""
        fits = [item for item in self.stored.values() if self.may_be_parent(item)]
        wanted = self.cycle.type(self.cycle.turn(self.today)) is Type.DIFF and not full
        assert task.parent == (fits[0] if wanted and fits else None)
        assert (task.type is Type.DIFF) == (task.parent is not None)
        assert task.slot == self.cycle.slot(self.cycle.turn(self.today))

    def may_be_parent(self, item: Archive) -> bool:
        links = chain(item, self.stored)
        if links is None or item.manifest.machine != self.machine or item.manifest.state_id != self.state_id:
            return False
        root = self.cycle.turn(day_number(links[0].manifest.day))
        same_round = self.cycle.group(root) == self.cycle.group(self.cycle.turn(self.today))
        return item.manifest.options == self.options and same_round

    def sweep(self) -> None:
        """Delete one by one; at no moment may a loss go beyond what is allowed to go."""
        promised, whole, foreign = self.promised(), self.whole(), self.foreign()
        archives = list(self.stored.values())
        dead = sweepable(archives, judge(archives, self.cycle, self.today, self.machine))
        for item in dead:
            assert not item.held
            del self.stored[item.run]
            assert self.whole() == whole & self.stored.keys()  # a parent never goes before its child
        assert promised <= self.whole()
        if not foreign:  # one who falls silent is taken over as our own first archive moves on
            assert self.live() == self.stored.keys()  # nothing is left to sweep

    def promised(self) -> set[str]:
        """What must outlast a sweep: of what is whole the newest of each slot and turn of the window, and held ones."""
        newest: dict[tuple[str, int], str] = {}
        foreign = self.foreign()
        for run in sorted(self.whole()):
            item = self.stored[run].manifest
            if item.machine in foreign:
                newest["foreign " + run, 0] = run
                continue
            newest["slot", item.slot] = run
            turn = self.cycle.turn(day_number(item.day))
            if turn > self.cycle.turn(self.today) - self.cycle.window:
                newest["turn", turn] = run
        return set(newest.values()) | {run for run in self.whole() if self.stored[run].held}

    def foreign(self) -> set[str]:
        first = min((run for run, item in self.stored.items() if item.manifest.machine == self.machine), default=None)
        items = [item for item in self.stored.values() if first is not None and item.run > first]
        return {item.manifest.machine for item in items} - {self.machine}

    def check(self) -> None:
        live, whole = self.live(), self.whole()
        for run in live & whole:  # whole: no ancestor is missing
            assert {link.run for link in chain(self.stored[run], self.stored) or ()} <= live
        for run in live:  # broken: whatever is left of it is kept with it
            parent = self.stored[run].manifest.parent
            assert parent is None or parent not in self.stored or parent in live
        for braking, before in self.guarded.items():
            assert {braking} | before <= self.stored.keys()

    def step(self, happens: Callable[[World, int], None], pick: int) -> None:
        """Let one thing happen."""
        happens(self, pick)
        self.check()

    def day_passes(self, _: int) -> None:
        self.day += 1
        self.run()

    def days_missed(self, pick: int) -> None:
        self.day += 1 + pick % 9

    def forced(self, pick: int) -> None:
        self.run(force=True, full=pick % 2 == 0)

    def sweep_denied(self, _: int) -> None:
        self.run(force=True, sweeps=False)

    def fails(self, _: int) -> None:
        self.day += 1
        self.plan()  # and nothing comes of it

    def brakes(self, _: int) -> None:
        self.run(force=True, brake="empty")

    def released(self, _: int) -> None:
        self.mark([run for run in self.guarded if run in self.stored], "released")
        self.guarded.clear()

    def options_change(self, pick: int) -> None:
        self.options = f"{OPTIONS} {pick % 3}"

    def state_lost(self, _: int) -> None:
        self.state_id = None

    def machine_lost(self, _: int) -> None:
        self.state_id, self.machine = None, f"{self.number():08x}"

    def other_machine(self, pick: int) -> None:
        theirs = archive(after(self.day), pick % 30, number=self.number(), machine=THEIRS)
        self.stored[theirs.run] = theirs

    def catch_up_changes(self, _: int) -> None:
        self.catch_up = not self.catch_up

    def hold(self, pick: int) -> None:
        self.mark(sorted(self.stored, reverse=True)[pick : pick + 1], "hold")

    def distrust(self, pick: int) -> None:
        self.mark(sorted(self.stored, reverse=True)[pick : pick + 1], "distrust")

    def cycle_changes(self, pick: int) -> None:
        self.cycle = CYCLES[pick % len(CYCLES)]

    def mark(self, runs: Iterable[str], mark: str) -> None:
        self.stored |= {run: marked(self.stored[run], mark) for run in runs}


CYCLES = (
    SimpleCycle(diffs=2, fulls=2),
    SimpleCycle(diffs=2, fulls=4),
    SimpleCycle(diffs=6, fulls=1),
    SimpleCycle(diffs=1, fulls=3, frequency=2, phase=1),
    SimpleCycle(diffs=3, fulls=2, frequency=7),
    SimpleCycle(diffs=0, fulls=3),
    HanoiCycle(discs=4),
    HanoiCycle(discs=3, archive_oldest_disc=True, frequency=2),
)
USUAL = [
    *[World.day_passes] * 5,
    World.days_missed,
    World.forced,
    World.sweep_denied,
    World.fails,
    World.options_change,
    World.state_lost,
    World.catch_up_changes,
]
UNUSUAL = [World.hold, World.distrust, World.cycle_changes, World.machine_lost, World.other_machine]
BRAKES = [World.brakes, World.released]
PICK = st.integers(0, 12)
Steps = list[tuple[Callable[[World, int], None], int]]


def steps(kinds: Sequence[Callable[[World, int], None]]) -> st.SearchStrategy[Steps]:
    return st.lists(st.tuples(st.sampled_from(kinds), PICK), min_size=10, max_size=50)


@settings(max_examples=100, deadline=None)
@given(cycle=st.sampled_from(CYCLES), happens=steps(USUAL + UNUSUAL))
def test_nothing_promised_is_ever_swept(cycle: Cycle, happens: Steps) -> None:
    """Whatever happens, what a sweep leaves is all that was promised, whole, and a DIFF's parent is a right one."""
    world = World(cycle)
    for what, pick in happens:
        world.step(what, pick)


@settings(max_examples=100, deadline=None)
@given(cycle=st.sampled_from(CYCLES), happens=steps(USUAL + BRAKES))
def test_what_a_brake_guards_is_never_swept(cycle: Cycle, happens: Steps) -> None:
    """From a suspicious archive until its release all that was live before it stays, whatever the days bring."""
    world = World(cycle)
    for what, pick in happens:
        world.step(what, pick)


def _gap(*, catch_up: bool, bad: float) -> int:
    """Return the longest gap between archives in twenty years of Frequency 7 with this share of bad days."""
    chance = random.Random(2026)  # noqa: S311 - days, not secrets
    cycle, kept, days = cycle_from(frequency=7), [archive(after(0))], [0]
    for day in range(1, 7300):
        failed = chance.random() < bad
        state_id = kept[-1].manifest.state_id
        facts = {"day": after(day), "machine": OURS, "state_id": state_id, "options": OPTIONS, "encryption": PLAIN}
        task = decide(job(cycle, catch_up=catch_up), kept, **facts)
        if task.action == "backup" and not failed:
            kept = [*kept[-10:], made(task)]
            days.append(day)
    return max(later - earlier for earlier, later in pairwise(days))


@pytest.mark.parametrize(("catch_up", "shortest", "longest"), [(True, 8, 10), (False, 21, 35)])
def test_catching_up_shortens_the_gaps(catch_up: bool, shortest: int, longest: int) -> None:
    """With Frequency 7 and 5 % of bad days the longest gap is days over a week instead of several weeks."""
    assert shortest <= _gap(catch_up=catch_up, bad=0.05) <= longest
