"""The strip of ``list`` and the calendar of ``plan``: gaps must show, and only gaps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest
from archives import job as a_job

from s3nap.cycle import HanoiCycle, SimpleCycle, day_number
from s3nap.forecast import forecast
from s3nap.gaps import Strip, awaited, strip, strips_text
from s3nap.job import Job
from s3nap.weeks import calendar_text

TODAY = date(2026, 11, 21)


def record(age: int, kind: str = "DIFF", **facts: Any) -> dict[str, Any]:
    day = (TODAY - timedelta(days=age)).isoformat()
    return {"day": day, "type": kind, "restorable": True, "braking": False} | facts


def drawn(strips: Sequence[Strip], room: int | None = None) -> list[str]:
    return strips_text(strips, room, colours=False).splitlines()


def test_a_day_without_an_archive_shows() -> None:
    """Today first, then back to the oldest archive; a day in between without one is a dot."""
    made = strip("x", [record(0), record(1, "FULL"), record(4), record(5, "FULL")], TODAY)
    assert "".join(made.days) == "dF..dF"
    assert "".join(strip("x", [], TODAY).days) == ""


def test_what_must_be_looked_at_shows() -> None:
    """An archive that does not restore, or waits for release, is not taken for a good one, nor hidden by one."""
    bad, brake = {"restorable": False}, {"braking": True}
    made = strip("x", [record(0, **bad), record(1, **brake), record(2), record(2, **brake), record(2)], TODAY)
    assert "".join(made.days) == "!!!"
    again = strip("x", [record(0, **bad), record(0, "FULL")], TODAY)
    assert "".join(again.days) == "F"


def test_days_that_are_not_due_are_no_gaps() -> None:
    """A weekly job shows blanks between its days; one that was missed shows as a dot."""
    weekly = SimpleCycle(frequency=7, phase=(-day_number(TODAY)) % 7, diffs=0, fulls=4)
    days = awaited(weekly, TODAY)
    assert sorted(day_number(TODAY) - day for day in days) == [0, 7, 14, 21]
    made = strip("x", [record(0, "FULL"), record(14, "FULL"), record(30, "FULL")], TODAY, days)
    assert "".join(made.days) == "F      .      F      .        F"


def test_hanoi_has_gaps_of_its_own() -> None:
    """Days whose disc was used again are not awaited; those that a disc should hold are."""
    cycle = HanoiCycle(discs=4)
    ages = sorted(day_number(TODAY) - day for day in awaited(cycle, TODAY))
    assert len(ages) == 4
    assert "".join(strip("x", [record(age, "FULL") for age in ages], TODAY, awaited(cycle, TODAY)).days).count(".") == 0
    for_ever = awaited(HanoiCycle(discs=4, archive_oldest_disc=True), TODAY)
    assert {day_number(TODAY) - day for day in for_ever} >= set(ages)


@pytest.mark.parametrize("room", [None, 40, 60, 79])
@pytest.mark.parametrize("age", [5, 90, 5000])
def test_strips_fit_and_hide_no_trouble(room: int | None, age: int) -> None:
    """Longer strips take several days for a character, of which the worst shows; the scale counts days."""
    records = [record(number) for number in range(1, age)]
    lines = drawn([strip("Directory/etc", [*records, record(age, "FULL", restorable=False)], TODAY)], room)
    assert max(map(len, lines)) <= (room or 119) + 1
    assert lines[1].endswith("!")
    if age == 90 and room == 60:
        assert lines[0] == " Days ago        0      21     42     63     84"
        assert lines[1] == f" Directory/etc   {'d' * 30}!"


def test_a_long_title_stands_above_its_strip() -> None:
    """A name as long as the terminal is wide leaves the strip its room, and is not cut."""
    name = "Directory/" + "/".join(["folder"] * 9)
    lines = drawn([strip(name, [record(0), record(1, "FULL")], TODAY)], 60)
    assert max(map(len, lines)) <= 61
    assert "".join(line.strip() for line in lines[1:3]) == name
    assert lines[3].strip() == "dF"


def jobs(*cycles: SimpleCycle) -> list[Job]:
    return [a_job(cycle) for cycle in cycles]


def test_the_calendar_has_weeks_as_rows_and_days_as_columns() -> None:
    """FULL and DIFF with their slots on their days, days without a turn as such, today marked, Monday first."""
    plan = forecast(jobs(SimpleCycle(frequency=2, diffs=1, fulls=2)), {}, start=TODAY, days=10, machine="m")
    lines = calendar_text(plan, TODAY).splitlines()
    assert lines[2].split() == ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    weeks = [line for line in lines if line.startswith(" 2026")]
    assert [line.split()[0] for line in weeks] == ["2026-11-16", "2026-11-23", "2026-11-30"]
    columns = {name: lines[2].index(name) for name in lines[2].split()}
    by_day = {task.day: task for task in plan.tasks}
    assert weeks[0].split()[1].startswith("[")
    for row, line in enumerate(weeks):
        for column, (_, at) in enumerate(columns.items()):
            task = by_day.get(date(2026, 11, 16) + timedelta(days=7 * row + column))
            cell = line[at - 1 : at + 4].strip().strip("[] ")
            wanted = "" if task is None else "-" if task.action == "skip" else f"{task.type[0]}{task.slot}"
            assert cell.upper() == wanted


def test_what_is_out_of_the_ordinary_is_explained() -> None:
    """A DIFF that must be a FULL, or a day that is made up for, stands below the calendar with its reason."""
    plan = forecast(jobs(SimpleCycle(diffs=6, fulls=2)), {}, start=TODAY, days=3, machine="m")
    assert "Why" not in calendar_text(plan, TODAY)
    [job] = jobs(SimpleCycle(diffs=6, fulls=2))
    first = forecast([job], {job.name: []}, start=TODAY, days=3, machine="m")
    text = calendar_text(first, TODAY)
    assert text.count("no archive yet") == 1
