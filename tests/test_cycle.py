"""The formulas of docs/rotation.md, restated without looking at the code that implements them."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise, product

import pytest

from s3nap.cycle import HanoiCycle, SimpleCycle, day_date, day_number
from s3nap.manifest import Type

DAYS = [date(2024, 1, 1) + timedelta(days=n) for n in range((date(2029, 1, 1) - date(2024, 1, 1)).days)]
NUMBERS = [(day - date(1970, 1, 1)).days for day in DAYS]


def test_days_count_on_across_new_year_and_leap_days() -> None:
    """Numbering by the day of the year overwrote yesterday's FULL each 1 January."""
    assert DAYS[-1] == date(2028, 12, 31)
    assert [day_number(day) for day in DAYS] == list(range(19723, 19723 + 1827))
    assert [day_date(day_number(day)) for day in DAYS] == DAYS


@pytest.mark.parametrize(
    ("frequency", "phase", "diffs", "fulls"),
    [case for case in product((1, 2, 3, 7, 30), (0, 1, 2, 6, 29), (0, 3, 6), (1, 2, 4, 14)) if case[1] < case[0]],
)
def test_simple_cycle_follows_the_formulas(frequency: int, phase: int, diffs: int, fulls: int) -> None:
    """A slot that is not the documented one overwrites an archive that should have been kept."""
    cycle = SimpleCycle(frequency=frequency, phase=phase, diffs=diffs, fulls=fulls)
    slots = fulls * (diffs + 1)
    assert (cycle.slots, cycle.window) == (slots, slots)
    for n in NUMBERS:
        turn = (n + phase - (n + phase) % frequency) / frequency
        assert cycle.due(n) is ((n + phase) % frequency == 0)
        assert cycle.turn(n) == turn
        assert cycle.slot(cycle.turn(n)) == turn % slots
        assert cycle.type(cycle.turn(n)) is (Type.DIFF if (turn % slots) % (diffs + 1) else Type.FULL)
        assert 0 <= n - cycle.due_day(cycle.turn(n)) < frequency
        assert cycle.due(cycle.due_day(cycle.turn(n)))
    assert [slot for slot in range(2 * slots) if cycle.has_slot(slot)] == list(range(slots))


@pytest.mark.parametrize(("frequency", "discs", "archive"), [*product((1, 2, 7), (1, 2, 3, 5, 8), (False, True))])
def test_hanoi_cycle_follows_the_formulas(frequency: int, discs: int, archive: bool) -> None:
    """A disc at the wrong place makes the ages of what is kept other than powers of two."""
    cycle = HanoiCycle(frequency=frequency, discs=discs, archive_oldest_disc=archive)
    for n in NUMBERS:
        turn = cycle.turn(n)
        c = n // frequency % 2 ** (discs - 1) + 1
        zeros = len(f"{c:b}") - len(f"{c:b}".rstrip("0"))
        if archive and zeros == discs - 1:
            zeros = discs - 1 + n // frequency // 2 ** (discs - 1)
        assert cycle.slot(turn) == zeros
        assert cycle.has_slot(zeros)
        assert cycle.type(turn) is Type.FULL
        assert cycle.due(n) is (n % frequency == 0)
        assert 0 <= n - cycle.due_day(turn) < frequency
    assert cycle.slots == (None if archive else discs)
    assert cycle.has_slot(discs) is archive


@pytest.mark.parametrize(
    "cycle",
    [
        *(SimpleCycle(frequency=f, phase=p) for f, p in product((1, 2, 3, 7), (0, 1, 6)) if p < f),
        *(HanoiCycle(frequency=f) for f in (1, 2, 3)),
    ],
)
def test_consecutive_due_days_use_consecutive_turns(cycle: SimpleCycle | HanoiCycle) -> None:
    """A turn left out or used twice, at New Year above all, would leave a slot stale or overwrite a fresh one."""
    due = [n for n in NUMBERS if cycle.due(n)]
    assert {later - earlier for earlier, later in pairwise(due)} == {cycle.frequency}
    assert {cycle.turn(later) - cycle.turn(earlier) for earlier, later in pairwise(due)} == {1}


@pytest.mark.parametrize("diffs", [0, 1, 6])
def test_a_group_is_a_full_and_the_diffs_after_it(diffs: int) -> None:
    """A DIFF whose FULL belongs to another group would outlive it."""
    cycle = SimpleCycle(diffs=diffs, fulls=3)
    turns = range(19000, 19100)
    begins = [turn for turn in turns if cycle.group(turn) != cycle.group(turn - 1)]
    assert begins == [turn for turn in turns if cycle.type(turn) is Type.FULL]
    assert [HanoiCycle().group(turn) for turn in turns] == list(turns)


def test_two_weeks_of_the_readme() -> None:
    """Frequency 1, Diffs 6, Fulls 2 gives two FULLs with six DIFFs each and then slot 0 again."""
    cycle = SimpleCycle(diffs=6, fulls=2)
    first = next(n for n in NUMBERS if cycle.slot(cycle.turn(n)) == 0)
    turns = [cycle.turn(first + n) for n in range(15)]
    assert [cycle.slot(turn) for turn in turns] == [*range(14), 0]
    assert "".join(cycle.type(turn)[0] for turn in turns) == "FDDDDDDFDDDDDDF"


def test_hanoi_slots_of_the_seed() -> None:
    """Hanoi counts epoch days, as the original does: the same slots from 2025-06-01 on."""
    cycle, first = HanoiCycle(discs=5), day_number(date(2025, 6, 1))
    slots = [cycle.slot(cycle.turn(first + n)) for n in range(16)]
    assert slots == [0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0, 4]


def _ages(cycle: HanoiCycle, until: int) -> list[int]:
    newest = {cycle.slot(cycle.turn(n)): n for n in range(NUMBERS[0] // 16 * 16, until + 1)}
    return sorted(until - n for n in newest.values())


def test_the_oldest_disc_is_archived() -> None:
    """The original's README promises ages 1, 2, 4, 8 and 16, 32, 48 …; its code keeps the wrong disc (A.11-15)."""
    last = NUMBERS[0] // 16 * 16 + 6 * 16 - 1  # the day on which a round ends
    assert _ages(HanoiCycle(discs=5, archive_oldest_disc=True), last) == [0, 1, 2, 4, 8, 16, 32, 48, 64, 80]


def test_the_oldest_of_five_discs_is_between_8_and_16_days_old() -> None:
    """What the README promises about the reach of five discs holds on every day."""
    oldest = {_ages(HanoiCycle(discs=5), until)[-1] for until in NUMBERS[32:132]}
    assert oldest == set(range(8, 16))
