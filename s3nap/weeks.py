"""The calendar of ``plan``: weeks as rows, days as columns, for all jobs that have the same days."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta

from s3nap.colours import BOLD, painted, wanted
from s3nap.cycle import day_number
from s3nap.forecast import Forecast
from s3nap.gaps import DIFF, FULL
from s3nap.logs import one_line
from s3nap.manifest import Type
from s3nap.names import readable
from s3nap.plan import Task
from s3nap.tables import folded, room_for_lines, ruled, table

_WEEK = 7
_USUAL = ("due", "due; changes since")
_NOTHING = "-"

Cells = Mapping[date, str]


def calendar_text(plan: Forecast, today: date) -> str:
    """Draw the weeks of a plan, and below them why an archive is not what its day would have it be."""
    by_job: dict[str, dict[date, str]] = {}
    for task in plan.tasks:
        by_job.setdefault(one_line(readable(task.job.name)), {})[task.day] = _cell(task)
    alike: dict[tuple[tuple[date, str], ...], list[str]] = {}
    for job, cells in by_job.items():
        alike.setdefault(tuple(cells.items()), []).append(job)
    lines = [line for cells, jobs in alike.items() for line in _weeks(jobs, dict(cells), today)]
    legend = f"F0: a FULL into slot 0, d1: a DIFF into slot 1, {_NOTHING}: nothing is due, [ ]: today"
    return "\n".join(["", *lines, *(f" {line}" for line in folded(legend, room_for_lines())), ""]) + _unusual(plan)


def _cell(task: Task) -> str:
    if task.action == "skip" and not task.job.cycle.due(day_number(task.day)):
        return _NOTHING
    return f"{FULL if task.type is Type.FULL else DIFF}{task.slot}"


def _weeks(jobs: Sequence[str], cells: Cells, today: date) -> Iterator[str]:
    yield from (f" {line}" for job in jobs for line in folded(job, room_for_lines()))
    width = max(*map(len, cells.values()), 3) + 2
    first, last = min(cells), max(cells)
    monday = first - timedelta(days=first.weekday())
    names = "".join(f"{monday + timedelta(days=at):%a} ".rjust(width) for at in range(_WEEK))
    yield f" {'':10}{names}".rstrip()
    yield f" {ruled('─') * (10 + width * _WEEK)}"
    while monday <= last:
        days = (monday + timedelta(days=at) for at in range(_WEEK))
        yield f" {monday}" + "".join(_boxed(cells.get(day, ""), width, today=day == today) for day in days).rstrip()
        monday += timedelta(days=_WEEK)
    yield ""


def _boxed(cell: str, width: int, *, today: bool) -> str:
    if not cell or not today:
        return f"{cell} ".rjust(width)
    return " " * (width - len(cell) - 2) + painted(f"[{cell}]", BOLD if wanted(sys.stdout) else None)


def _unusual(plan: Forecast) -> str:
    rows = [
        [f"{task.day} {task.day:%a}", one_line(readable(task.job.name)), task.type, one_line(task.reason)]
        for task in plan.tasks
        if task.action == "backup" and not (task.reason == _USUAL[0] or task.reason.startswith(_USUAL[1]))
    ]
    return table(["Day", "Job", "Type", "Why"], rows) if rows else ""
