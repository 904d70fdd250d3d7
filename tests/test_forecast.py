"""The calendar shows what the daily run would do."""

from __future__ import annotations

import time
from datetime import date

import pytest
from archives import EPOCH, NAME, OURS, after, archive, cycle_from, job

from s3nap.cycle import Cycle, HanoiCycle, SimpleCycle, day_number
from s3nap.forecast import forecast
from s3nap.manifest import Encryption, Type


@pytest.mark.parametrize(
    "cycle",
    [
        SimpleCycle(),
        SimpleCycle(frequency=3, phase=2, diffs=2, fulls=3),
        SimpleCycle(frequency=2, diffs=0, fulls=14),
        HanoiCycle(),
        HanoiCycle(frequency=2, discs=4, archive_oldest_disc=True),
    ],
)
def test_without_a_catalog_the_calendar_equals_the_formulas(cycle: Cycle) -> None:
    """A plan for a new conf must show its rotation, not the promotions of its first days."""
    shown = forecast([job(cycle)], {}, start=date(2025, 12, 20), days=40, machine=OURS)
    assert len(shown.tasks) == 40
    for task in shown.tasks:
        n = day_number(task.day)
        assert (task.action == "backup") is cycle.due(n)
        assert (task.slot, task.type) == (cycle.slot(cycle.turn(n)), cycle.type(cycle.turn(n)))


def test_a_steady_rotation_keeps_the_window_and_its_bases() -> None:
    """Days and number of archives are what a user chooses Fulls and Diffs by."""
    cycle = cycle_from(diffs=6, fulls=2)
    shown = forecast([job(cycle)], {}, start=EPOCH, days=14, machine=OURS)
    assert shown.restorable == {NAME: tuple(after(n) for n in range(14))}
    assert shown.most == {NAME: 20}  # day 6 of a round: 14 days, and the 6 archives that day 7 of the oldest needs
    cut = forecast([job(cycle)], {}, start=EPOCH, days=10, machine=OURS)
    assert cut.restorable[NAME] == tuple(after(n) for n in range(-7, 10))


def test_a_hanoi_calendar_keeps_its_ages() -> None:
    """What stays restorable of a decaying schedule are powers of two."""
    cycle = HanoiCycle(discs=4)
    last = max(n for n in range(20) if (day_number(after(n)) + 1) % 8 == 0)
    shown = forecast([job(cycle)], {}, start=EPOCH, days=last + 1, machine=OURS)
    assert shown.restorable[NAME] == tuple(after(last - age) for age in (4, 2, 1, 0))


def test_a_known_catalog_is_continued() -> None:
    """What lies in the bucket decides about parents, promotions and what is done."""
    full = archive(after(0), 0)
    shown = forecast([job(cycle_from())], {NAME: [full]}, start=after(0), days=4, machine=OURS)
    assert [(task.action, task.type) for task in shown.tasks] == [
        ("skip", Type.FULL),
        ("backup", Type.DIFF),
        ("backup", Type.DIFF),
        ("backup", Type.DIFF),
    ]
    assert shown.tasks[1].parent == full
    assert shown.tasks[3].parent is not None
    assert shown.tasks[3].parent.manifest.root == full.run
    assert shown.restorable[NAME] == tuple(after(n) for n in range(4))
    assert shown.most[NAME] == 4


def test_an_empty_catalog_is_no_unknown_one() -> None:
    """A job that was never backed up begins with a FULL."""
    shown = forecast([job(cycle_from())], {NAME: []}, start=after(3), days=2, machine=OURS)
    assert [task.reason for task in shown.tasks] == [
        "due; FULL instead of DIFF: no archive yet",
        "due; changes since 2024-01-10",
    ]
    assert shown.most[NAME] == 2


def test_what_changed_is_seen_once() -> None:
    """A new Exclude, key or a lost state costs one FULL, after which the simulated archives have the new ones."""
    known, jobs = {NAME: [archive(after(0), 0)]}, [job(cycle_from())]
    ahead = {"start": after(1), "days": 3, "machine": OURS}
    for changed in (
        forecast(jobs, known, options={NAME: "new"}, **ahead),
        forecast(jobs, known, state_ids={NAME: None}, **ahead),
        forecast(jobs, known, encryption=Encryption(method="passphrase"), **ahead),
    ):
        assert [task.type for task in changed.tasks] == [Type.FULL, Type.DIFF, Type.DIFF]


def test_days_before_the_start_are_simulated() -> None:
    """A plan from next month on must not call the days until then missed."""
    known = {NAME: [archive(after(0), 0)]}
    shown = forecast([job(cycle_from())], known, start=after(30), days=2, machine=OURS, today=after(1))
    assert [(task.day, task.reason) for task in shown.tasks] == [
        (after(30), "due; changes since 2024-02-05"),
        (after(31), "due; changes since 2024-02-06"),
    ]


def test_a_catalog_ahead_of_the_start_is_not_overtaken() -> None:
    """Simulated runs must sort after those that exist, or the sweep would take the wrong ones."""
    known = {NAME: [archive(after(-9), 0, run="20990101T000000Z-ffffff")]}
    shown = forecast([job(HanoiCycle(discs=1))], known, start=after(0), days=8, machine=OURS)
    assert shown.restorable[NAME] == (after(7),)


def test_what_cannot_be_restored_is_not_shown_as_restorable() -> None:
    """A damaged archive is kept for repair, but nobody may count on its day."""
    known = {NAME: [archive(after(0), 0, marks="distrust")]}
    shown = forecast([job(cycle_from())], known, start=after(1), days=2, machine=OURS)
    assert (shown.restorable[NAME], shown.most[NAME]) == ((after(1), after(2)), 3)


def test_what_is_not_said_is_taken_as_unchanged() -> None:
    """A plan made without the key or the state at hand must not show promotions that will not come."""
    known = {NAME: [archive(after(0), 0, encryption=Encryption(method="passphrase"), options="other")]}
    shown = forecast([job(cycle_from())], known, start=after(1), days=1, machine=OURS)
    assert shown.tasks[0].reason == "due; changes since 2024-01-07"


def test_tasks_come_by_day_and_job() -> None:
    """The calendar is read from top to bottom."""
    jobs = [job(cycle_from(), name) for name in ("B", "A")]
    shown = forecast(jobs, {}, start=EPOCH, days=2, machine=OURS)
    assert [(task.day, task.job.name) for task in shown.tasks] == [
        (after(0), "B"),
        (after(0), "A"),
        (after(1), "B"),
        (after(1), "A"),
    ]


def test_a_large_conf_is_shown_at_once() -> None:
    """A calendar of 30 jobs with 56 slots over 30 days is asked for interactively."""
    jobs = [job(cycle_from(diffs=6, fulls=8), f"Directory/{n}") for n in range(30)]
    begin = time.process_time()
    assert len(forecast(jobs, {}, start=EPOCH, days=30, machine=OURS).tasks) == 900
    assert time.process_time() - begin < 1
