"""The calendar: what would run when, and what stays restorable, if every run succeeds. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta

from s3nap.cycle import day_date, day_number
from s3nap.job import Job
from s3nap.liveness import judge
from s3nap.manifest import Archive, Encryption, Manifest, Type
from s3nap.plan import Task, decide

_PAST = 1100  # turns: three years of daily runs; a past nobody has need not be imagined


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """All tasks, by day and then in the order of the jobs; by job: days restorable in the end, most archives kept."""

    tasks: tuple[Task, ...]
    restorable: Mapping[str, tuple[date, ...]]
    most: Mapping[str, int]


@dataclass(slots=True, kw_only=True)
class _Simulation:
    """A job as it would stand after the days simulated so far."""

    job: Job
    machine: str
    archives: list[Archive]
    state_id: str | None
    options: str
    encryption: Encryption
    most: int = field(init=False)
    newest: str = field(init=False)

    def __post_init__(self) -> None:
        self.most = len(self.archives)
        self.newest = max((archive.run for archive in self.archives), default="")

    def run(self, day: date) -> Task:
        task = decide(
            self.job,
            self.archives,
            day=day,
            machine=self.machine,
            state_id=self.state_id,
            options=self.options,
            encryption=self.encryption,
        )
        if task.action == "backup":
            self.commit(day, task.slot, task.type, task.parent)
            self.sweep(day)
        return task

    def commit(self, day: date, slot: int, kind: Type, parent: Archive | None) -> None:
        run = f"{day:%Y%m%d}T235959Z-000000"
        if run <= self.newest:  # of today, or of a clock that was ahead
            run = self.newest + "+"
        manifest = replace(
            _blank(self.job, self.machine),
            slot=slot,
            type=kind,
            run=run,
            day=day,
            parent=parent.run if parent else None,
            root=(parent.manifest.root or parent.run) if parent else None,
            encryption=self.encryption,
            options=self.options,
            state_id=run,
        )
        self.archives.append(Archive(manifest))
        self.state_id = self.newest = run

    def sweep(self, day: date) -> None:
        live = judge(self.archives, self.job.cycle, day_number(day), self.machine).live
        self.archives = [archive for archive in self.archives if archive.run in live]
        self.most = max(self.most, len(self.archives))

    def restorable(self, day: date) -> tuple[date, ...]:
        whole = judge(self.archives, self.job.cycle, day_number(day), self.machine).restorable
        return tuple(sorted({archive.manifest.day for archive in self.archives if archive.run in whole}))


def forecast(  # noqa: PLR0913 - what a plan rests on
    jobs: Sequence[Job],
    archives_by_job: Mapping[str, Sequence[Archive]],
    *,
    start: date,
    days: int,
    machine: str,
    today: date | None = None,
    state_ids: Mapping[str, str | None] | None = None,
    options: Mapping[str, str] | None = None,
    encryption: Encryption | None = None,
) -> Forecast:
    """Simulate the daily run from ``start`` on, every planned backup succeeding.

    A job that ``archives_by_job`` does not name is taken to have been backed up without disturbance before; one that
    it names has just these archives. What ``state_ids``, ``options`` and ``encryption`` do not say is taken to be as
    at the job's newest archive. With ``today`` before ``start`` the days between are simulated, but not reported.
    """
    begin = min(start, today or start)
    simulations = [
        _simulation(job, archives_by_job.get(job.name), machine, begin, (state_ids, options, encryption))
        for job in jobs
    ]
    tasks: list[Task] = []
    end = start + timedelta(days=days)
    for offset in range((end - begin).days):
        day = begin + timedelta(days=offset)
        made = [simulation.run(day) for simulation in simulations]
        tasks += made if day >= start else []
    last = max(begin, end - timedelta(days=1))
    return Forecast(
        tasks=tuple(tasks),
        restorable={simulation.job.name: simulation.restorable(last) for simulation in simulations},
        most={simulation.job.name: simulation.most for simulation in simulations},
    )


def _simulation(
    job: Job,
    archives: Sequence[Archive] | None,
    machine: str,
    begin: date,
    given: tuple[Mapping[str, str | None] | None, Mapping[str, str] | None, Encryption | None],
) -> _Simulation:
    state_ids, options, encryption = (given[0] or {}), (given[1] or {}), given[2]
    own = [archive.manifest for archive in archives or () if archive.manifest.machine == machine]
    newest = max(own, key=lambda manifest: manifest.run, default=_blank(job, machine))
    simulation = _Simulation(
        job=job,
        machine=machine,
        archives=list(archives or ()),
        state_id=state_ids.get(job.name, newest.state_id),
        options=options.get(job.name, newest.options),
        encryption=encryption or newest.encryption,
    )
    if archives is None:
        _imagine_past(simulation, begin)
    return simulation


def _imagine_past(simulation: _Simulation, begin: date) -> None:
    """Lay down the archives of a rotation that was never disturbed, by the formulas, and sweep once."""
    cycle = simulation.job.cycle
    yesterday = begin - timedelta(days=1)
    last = cycle.turn(day_number(yesterday))
    first, slots = last, {cycle.slot(last)}
    while last - first < _PAST and (cycle.slots is None or len(slots) < cycle.slots):
        first -= 1
        slots.add(cycle.slot(first))
    while cycle.type(first) is not Type.FULL:
        first -= 1
    for turn in range(first, last + 1):
        kind = cycle.type(turn)
        parent = None if kind is Type.FULL else simulation.archives[-1]
        simulation.commit(day_date(cycle.due_day(turn)), cycle.slot(turn), kind, parent)
    simulation.sweep(yesterday)


def _blank(job: Job, machine: str) -> Manifest:
    """Return a manifest of nothing, to be filled in."""
    noon = datetime.combine(date(1970, 1, 1), time(12), UTC)
    return Manifest(
        host="",
        machine=machine,
        conf="",
        job=job.name,
        kind=job.kind,
        source=job.source,
        stream="raw",
        slot=0,
        type=Type.FULL,
        run="",
        day=noon.date(),
        started=noon,
        finished=noon,
        raw_size=0,
        stored_size=0,
        compression="none",
        encryption=Encryption(),
        objects=(),
        chunks=0,
        options="",
    )
