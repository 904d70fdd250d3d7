"""Builders of jobs, manifests and archives for tests: every field has a value, a test names those that matter to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any

from s3nap.cycle import Cycle, SimpleCycle, day_date, day_number
from s3nap.job import Job, Setting
from s3nap.manifest import Archive, Encryption, Manifest, Type
from s3nap.plan import Task, decide

OURS = "0a0a0a0a"
THEIRS = "0b0b0b0b"
PLAIN = Encryption()
OPTIONS = "as ever"
NAME = "Directory/etc"
EPOCH = date(2024, 1, 7)  # turn 0 of ``cycle_from``


def cycle_from(day: date = EPOCH, *, frequency: int = 1, diffs: int = 6, fulls: int = 4) -> SimpleCycle:
    """Return a cycle that is due with a FULL in slot 0 on this day."""
    round_days = frequency * (diffs + 1) * fulls
    return SimpleCycle(frequency=frequency, diffs=diffs, fulls=fulls, phase=-day_number(day) % round_days)


def job(cycle: Cycle, name: str = NAME, *, catch_up: bool = True) -> Job:
    """Return a job of a directory."""
    settings = {"CatchUp": Setting(value=catch_up, origin="default")}
    return Job(
        name=name, kind="Directory", source="/etc", scope=None, cycle=cycle, settings=settings, origin="s3nap.conf:1"
    )


def run_id(day: date, number: int = 0) -> str:
    """Return the id of the numberth run of a day."""
    return f"{day:%Y%m%d}T031500Z-{number:06x}"


def archive(
    day: date, slot: int = 0, *, parent: Archive | None = None, marks: str = "", number: int = 0, **fields: Any
) -> Archive:
    """Return a FULL, or a DIFF on ``parent``; its state has the run's id."""
    run = run_id(day, number)
    at = datetime.combine(day, time(3, 15), UTC)
    manifest = Manifest(
        host="alpha",
        machine=OURS,
        conf="s3nap.conf",
        job=NAME,
        kind="Directory",
        source="/etc",
        stream="tar",
        slot=slot,
        type=Type.DIFF if parent else Type.FULL,
        run=run,
        day=day,
        started=at,
        finished=at,
        parent=parent.run if parent else None,
        root=(parent.manifest.root or parent.run) if parent else None,
        raw_size=0,
        stored_size=0,
        compression="zstd",
        encryption=PLAIN,
        objects=(),
        chunks=1,
        state_id=f"state of {run}",
        options=OPTIONS,
    )
    return Archive(replace(manifest, **fields), frozenset(marks.split()))


def made(task: Task, number: int = 0, **fields: Any) -> Archive:
    """Return the archive that a run of the task commits."""
    return archive(task.day, task.slot, parent=task.parent, number=number, **fields)


def marked(old: Archive, *marks: str) -> Archive:
    """Return the archive with more marks."""
    return Archive(old.manifest, old.marks | set(marks))


def after(days: int) -> date:
    """Return the date so many days after EPOCH."""
    return day_date(day_number(EPOCH) + days)


DAILY = cycle_from()


def plan(archives: Sequence[Archive], day: int, cycle: Cycle = DAILY, *, catch_up: bool = True, **facts: Any) -> Task:
    """Decide with the state of the newest archive of ours, nothing changed."""
    own = max((item for item in archives if item.manifest.machine == OURS), key=lambda a: a.run, default=None)
    known = {"machine": OURS, "options": OPTIONS, "encryption": PLAIN, "state_id": own and own.manifest.state_id}
    return decide(job(cycle, catch_up=catch_up), archives, day=after(day), **{**known, **facts})


def days(count: int, cycle: Cycle = DAILY) -> list[Archive]:
    """Run the job on so many days in a row."""
    kept: list[Archive] = []
    for n in range(count):
        task = plan(kept, n, cycle)
        if task.action == "backup":
            kept.append(made(task))
    return kept
