"""What may be swept: one test a rule of docs/rotation.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from archives import EPOCH, OURS, THEIRS, after, archive, cycle_from, marked

from s3nap.cycle import Cycle, HanoiCycle, SimpleCycle, day_number
from s3nap.liveness import Verdict, chain, descendants, judge, lineage, removable, sweepable, viewpoint
from s3nap.manifest import Archive, Type

WEEKLY = cycle_from(diffs=2, fulls=2)  # slots 0..5: F D D F D D


def rotation(days: Iterable[int], cycle: SimpleCycle = WEEKLY) -> list[Archive]:
    """Lay down the archives of an undisturbed rotation; the first day must bring a FULL."""
    made: list[Archive] = []
    for n in days:
        turn = cycle.turn(day_number(after(n)))
        parent = made[-1] if cycle.type(turn) is Type.DIFF else None
        made.append(archive(after(n), cycle.slot(turn), parent=parent))
    return made


def look(archives: Sequence[Archive], today: int, cycle: Cycle | None = WEEKLY, machine: str | None = OURS) -> Verdict:
    return judge(archives, cycle, day_number(after(today)), machine)


def runs(*archives: Archive) -> set[str]:
    return {item.run for item in archives}


def by_run(archives: Sequence[Archive]) -> dict[str, Archive]:
    return {item.run: item for item in archives}


def test_a_chain_is_the_full_first_and_the_archive_last() -> None:
    """Levels restored in another order give another tree."""
    week = rotation(range(6))
    assert chain(week[2], by_run(week)) == week[:3]
    assert chain(week[3], by_run(week)) == [week[3]]


def test_a_chain_follows_parents_not_slots() -> None:
    """A FULL promoted into a DIFF's slot starts a chain of its own, whatever the numbers suggest."""
    full, promoted = archive(after(0), 0), archive(after(1), 1)
    diff = archive(after(2), 2, parent=promoted)
    assert chain(diff, by_run([full, promoted, diff])) == [promoted, diff]


def test_a_chain_with_a_missing_ancestor_is_none() -> None:
    """A chain that is not whole must not be offered (promise 7)."""
    week = rotation(range(3))
    assert chain(week[2], by_run([week[0], week[2]])) is None
    assert chain(week[2], by_run(week[1:])) is None


def test_a_chain_with_a_distrusted_link_is_none() -> None:
    """Damage in the base or in the archive itself spoils the restore as much as damage in between."""
    for bad in range(3):
        week = rotation(range(3))
        week[bad] = marked(week[bad], "distrust")
        assert chain(week[2], by_run(week)) is None


def test_a_diff_without_parent_is_no_chain() -> None:
    """A manifest that calls itself a DIFF and names no parent cannot be restored from."""
    orphan = archive(after(1), 1, type=Type.DIFF)
    assert chain(orphan, by_run([orphan])) is None
    assert look([orphan], 1).restorable == set()


def test_parents_in_a_circle_end() -> None:
    """A forged or damaged catalog must not hang the daily run."""
    base = archive(after(0), 0)
    diff = archive(after(1), 1, parent=base)
    circle = [archive(after(0), 0, parent=diff), diff]
    assert chain(diff, by_run(circle)) is None
    assert list(lineage(diff, by_run(circle))) == [diff, circle[0]]
    verdict = look(circle, 1)
    assert (verdict.restorable, verdict.live) == (set(), runs(*circle))


def test_restorable_is_what_has_a_chain() -> None:
    """List and restore must agree on what can be restored."""
    week = rotation(range(6))
    week[4] = marked(week[4], "distrust")
    del week[1]
    assert (
        look(week, 5).restorable == {item.run for item in week if chain(item, by_run(week))} == runs(week[0], week[2])
    )


def test_newest_of_each_slot_is_current() -> None:
    """A slot's old archive goes when its new one is committed, and not before."""
    old, new = archive(after(0), 0), archive(after(6), 0)
    assert look([old], 6).current == runs(old)
    verdict = look([old, new], 6)
    assert (verdict.current, sweepable([old, new], verdict)) == (runs(new), [old])


def test_newest_is_the_greatest_run_id() -> None:
    """The day may be given by --date and clocks go back; only run ids of a job sort."""
    first, second = (
        archive(after(3), 0, run="20260101T000000Z-000001"),
        archive(after(2), 0, run="20260102T000000Z-000001"),
    )
    assert look([second, first], 9).current == runs(second)


def test_a_full_outlives_its_slot_until_its_last_diff_is_replaced() -> None:
    """With its FULL gone as soon as slot 0 is written again, the DIFFs of that week were lost."""
    days = rotation(range(9))  # days 6, 7, 8 write slots 0, 1, 2 again
    verdict = look(days[:8], 7)
    assert days[0].run in verdict.live - verdict.current
    assert days[2].run in verdict.restorable & verdict.current
    assert sweepable(days[:8], verdict) == []  # day 1 is needed by day 2
    assert sweepable(days, look(days, 8)) == [days[2], days[1], days[0]]


def test_swept_children_go_before_their_parents() -> None:
    """A sweep that dies half-way must not leave a DIFF without its base."""
    days = rotation([*range(6), 9, 10, 11, *range(12, 18)])
    dead = sweepable(days[::-1], look(days, 17))
    assert set(map(id, dead)) == set(map(id, days[:9]))
    for place, item in enumerate(dead):
        assert item.manifest.parent not in runs(*dead[:place])


def test_the_order_of_the_sweep_follows_parents_alone() -> None:
    """Neither slots nor run ids tell what builds on what once a conf or a clock changed."""
    full = archive(after(0), 5, run="20240109T000000Z-000000")
    middle = archive(after(1), 0, parent=full, run="20240108T000000Z-000000")
    last = archive(after(2), 1, parent=middle, run="20240107T000000Z-000000")
    newer = [archive(after(20), slot) for slot in (0, 1, 5)]
    catalog = [middle, full, last, *newer]
    assert sweepable(catalog, look(catalog, 20)) == [last, middle, full]


def test_undisturbed_rotation_keeps_every_day_of_the_window_and_one_chain_more() -> None:
    """To keep two weeks means two weeks on every day, in at most Fulls + 1 chains (promise 5)."""
    for cycle in (WEEKLY, cycle_from(diffs=6, fulls=2), cycle_from(diffs=0, fulls=3), cycle_from(diffs=3, fulls=1)):
        kept: list[Archive] = []
        for today, made in enumerate(rotation(range(4 * cycle.slots), cycle)):
            verdict = look([*kept, made], today, cycle)
            dead = sweepable([*kept, made], verdict)
            kept = [item for item in (*kept, made) if item not in dead]
            whole = {item.manifest.day for item in kept if chain(item, by_run(kept))}
            assert whole >= {after(n) for n in range(max(0, today - cycle.slots + 1), today + 1)}
            assert sum(1 for item in kept if item.manifest.type is Type.FULL) <= cycle.fulls + 1


def test_changed_fulls_do_not_eat_recent_days() -> None:
    """From 3 to 4 slots days 0..5 fall on other numbers; the last four turns stay for all that."""
    before, now = cycle_from(diffs=0, fulls=3), cycle_from(diffs=0, fulls=4)
    days = [*rotation(range(1, 4), before), archive(after(4), now.slot(now.turn(day_number(after(4)))))]
    assert [item.manifest.slot for item in days] == [1, 2, 0, 0]
    assert look(days, 4, now).current == runs(*days)
    assert look(days, 7, now).current == runs(days[0], days[1], days[3])  # day 3 is older than four turns


def test_a_run_forced_twice_a_day_keeps_one_of_the_turn() -> None:
    """-f replaces the turn's archive and nothing else, and what builds on the first keeps it."""
    week = rotation(range(2))
    again = archive(after(1), 1, parent=week[0], number=1)
    assert sweepable([*week, again], look([*week, again], 1)) == [week[1]]
    onto = archive(after(1), 1, parent=week[1], number=1)
    assert sweepable([*week, onto], look([*week, onto], 1)) == []


def test_held_archives_stay_with_their_ancestors() -> None:
    """An archive that someone put on hold must outlast any number of rotations."""
    days = rotation(range(24))
    days[2] = marked(days[2], "hold")
    verdict = look(days, 23)
    assert days[2].run in verdict.current
    assert runs(days[0], days[1]) <= verdict.live - verdict.current
    assert days[5].run not in verdict.live


def test_what_was_live_before_a_brake_stays_until_released() -> None:
    """An unmounted disk backed up as an empty one must not push out the last good archives."""
    days = rotation(range(8))
    days.append(archive(after(8), 2, parent=days[7], brake="0 files after 4711"))
    days += [archive(after(n), n % 6) for n in range(9, 30)]
    before = look(days[:8], 8).live
    verdict = look(days, 29)
    assert before == runs(*days[:8])
    assert before | {days[8].run} <= verdict.live
    days[8] = marked(days[8], "released")
    assert look(days, 29).live == runs(*days[24:])


def test_a_brake_counts_turns_from_its_own_day() -> None:
    """The window that a brake guards must not move on while it waits for its release."""
    cycle = cycle_from(diffs=0, fulls=4)
    days = [archive(after(3), 0), archive(after(4), 0), archive(after(5), 1, brake="shrunken")]
    assert look(days, 50, cycle).live == runs(*days)


def test_a_brake_before_a_brake_still_protects() -> None:
    """The second alarm must not silence the first."""
    days = [archive(after(n), n % 6) for n in range(20)]
    for n in (7, 14):
        days[n] = archive(after(n), n % 6, brake="shrunken")
    assert look(days, 19).live >= look(days[:7], 7).live | look(days[:14], 14).live
    days[14] = marked(days[14], "released")
    assert look(days, 19).live >= look(days[:7], 7).live
    assert days[8].run not in look(days, 19).live


def test_archives_of_slots_that_are_gone_are_retired_and_kept() -> None:
    """A smaller Fulls is no order to delete; only prune --retired is."""
    days = [archive(after(n), n % 6) for n in range(6)]
    twice = archive(after(5), 5, number=1)
    verdict = look([*days, twice], 40, cycle_from(diffs=0, fulls=4))
    assert verdict.retired == runs(days[4], days[5], twice)
    assert verdict.current == runs(*days, twice)


def test_archives_of_an_active_machine_are_kept_and_displace_nothing() -> None:
    """Two machines under one name must not sweep each other's archives."""
    ours = [archive(after(0), 0), archive(after(6), 0, number=2)]
    theirs = [archive(after(0), 0, machine=THEIRS, number=1), archive(after(6), 0, machine=THEIRS, number=3)]
    verdict = look([*ours, *theirs], 6)
    assert verdict.live == runs(ours[1], *theirs)
    assert (verdict.foreign, verdict.taken_over) == ({THEIRS}, set())


def test_archives_of_a_silent_machine_are_taken_over() -> None:
    """A rebuilt host goes on with the rotation of the old one, else its archives would stay for ever."""
    old = [archive(after(n), n, machine=THEIRS) for n in (0, 1)]
    new = archive(after(6), 0)
    verdict = look([*old, new], 6)
    assert verdict.live == runs(old[1], new)
    assert (verdict.foreign, verdict.taken_over) == (set(), {THEIRS})


def test_without_own_archives_all_others_are_taken_over() -> None:
    """Before its first backup a rebuilt host already sees what it will go on with."""
    old = [archive(after(0), 0, machine=THEIRS), archive(after(6), 0, machine=THEIRS)]
    verdict = look(old, 6)
    assert (verdict.taken_over, verdict.live) == ({THEIRS}, runs(old[1]))


def test_a_distrusted_archive_does_not_displace_a_whole_one() -> None:
    """The last good archive of a slot is worth more than a newer one that is damaged (promise 1)."""
    good, bad = archive(after(0), 0), archive(after(6), 0, marks="distrust")
    older = archive(after(-6), 0, marks="distrust")
    verdict = look([older, good, bad], 6)
    assert verdict.current == runs(good, bad)  # someone may repair the newer one
    assert sweepable([older, good, bad], verdict) == [older]


def test_an_archive_with_a_broken_chain_does_not_displace_a_whole_one() -> None:
    """Within a turn, too, the newest that can be restored is kept."""
    gone, good = archive(after(0), 0), archive(after(1), 1)
    broken = archive(after(1), 1, parent=gone, number=1)
    later = archive(after(7), 1)
    cycle = cycle_from(diffs=6, fulls=2)
    assert look([good, broken], 1, cycle).current == runs(good, broken)
    assert look([good, broken, later], 7, cycle).current == runs(good, later)  # by its turn, not its slot


def test_without_a_conf_the_slots_decide() -> None:
    """List on a bare machine knows no cycle: it must neither fail nor call anything retired."""
    days = [archive(after(n), n % 4) for n in range(8)]
    verdict = look(days, 7, cycle=None, machine=None)
    assert (verdict.current, verdict.retired) == (runs(*days[4:]), set())


def test_without_a_machine_all_count() -> None:
    """A restore on a bare machine takes the newest of the slot whoever made it."""
    both = [archive(after(0), 0), archive(after(6), 0, machine=THEIRS)]
    verdict = look(both, 6, machine=None)
    assert (verdict.current, verdict.foreign, verdict.taken_over) == (runs(both[1]), set(), set())


def test_hanoi_keeps_what_its_slots_say() -> None:
    """A window of turns would keep every day of a decaying schedule."""
    cycle, first = HanoiCycle(discs=5), day_number(EPOCH) // 16 * 16 - day_number(EPOCH)
    days = [archive(after(first + n), cycle.slot(n)) for n in range(64)]
    kept = look(days, first + 63, cycle).live
    assert sorted(63 - n for n, item in enumerate(days) if item.run in kept) == [0, 1, 2, 4, 8]


def test_a_future_archive_is_not_swept_by_the_window() -> None:
    """A rehearsal with --date in the past must not make today's archives look old."""
    first, second = archive(after(8), 0), archive(after(9), 0)
    assert look([first, second], 2, cycle_from(diffs=0, fulls=4)).current == runs(first, second)


def test_who_sweeps_for_others_sees_what_they_would_see() -> None:
    """A machine without archives judges as the newest one's; who has some judges for himself, as his run does."""
    both = [archive(after(0), 0), archive(after(1), 1, machine=THEIRS), archive(after(2), 2)]
    assert viewpoint(both, "0c0c0c0c") == viewpoint(both, None) == OURS
    assert viewpoint(both, THEIRS) == THEIRS
    assert viewpoint([], THEIRS) == THEIRS


def test_of_the_chosen_only_those_go_that_nothing_needs() -> None:
    """Neither the held, nor the base of what stays, nor a writing machine's, nor what a brake guards is removable."""
    full = archive(after(0), 0)
    diff = archive(after(1), 1, parent=full)
    other = archive(after(2), 2, machine=THEIRS)
    plain = archive(after(3), 3)
    everything = [full, diff, other, plain]
    chosen = runs(*everything)
    assert removable(everything, look(everything, 3), chosen) == [diff, plain, full]
    assert removable(everything, look(everything, 3), chosen - runs(diff)) == [plain]
    held = [full, archive(after(1), 1, parent=full, marks="hold"), other, plain]
    assert removable(held, look(held, 3), chosen) == [plain]
    braked = [full, diff, archive(after(2), 2, brake="empty"), plain]
    assert removable(braked, look(braked, 3), runs(*braked)) == [plain]


def test_descendants_are_all_that_need_an_archive() -> None:
    """A grandchild needs its grandparent; it is named, and goes, before its parent."""
    week = rotation(range(4))
    assert descendants(week[0], week) == [week[2], week[1]]
    assert descendants(week[2], week) == descendants(week[3], week) == []
