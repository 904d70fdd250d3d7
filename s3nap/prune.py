"""Sweeps by hand: what failed runs left, what is no longer live, and when asked what the conf no longer has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from loguru import logger

from s3nap import leftovers, names
from s3nap.catalog import Catalog, JobCatalog
from s3nap.errors import DeniedError, Exit, S3napError
from s3nap.job import Job
from s3nap.liveness import children_first, judge, machines, removable, sweepable, viewpoint
from s3nap.manifest import Archive
from s3nap.names import ArchiveName
from s3nap.sources.table import job_of
from s3nap.state import DiffDir, JobState
from s3nap.upkeep import Fate, clear, remove, repair


class Why(StrEnum):
    """Why something is to be swept."""

    UNFINISHED = "unfinished run"
    DEAD = "no longer live"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing to be swept: size in stored bytes; ``day`` where a manifest says it; ``job`` is its whole name."""

    at: ArchiveName
    job: str
    why: Why
    size: int
    day: date | None = None


@dataclass(slots=True, kw_only=True)
class Plan:
    """What is to be swept, what must be said (it ends with status 3), and the jobs there are that were asked for.

    ``active`` are machines that still write to this host: nothing of theirs is taken for retired.
    """

    items: list[Item] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    jobs: set[str] = field(default_factory=set)
    retired: bool = False
    active: frozenset[str] = frozenset()


class Prune:
    """The sweep of one host's catalog.

    ``jobs`` and ``conf`` (its file's name) are what is known of that host; without them only leftovers go, for which
    archives are live is not known. ``diffdir`` is that host's own, if this is the host: it gives the locks.
    """

    def __init__(  # noqa: PLR0913 - what it rests on
        self,
        catalog: Catalog,
        *,
        today: int,
        jobs: Sequence[Job] = (),
        conf: str | None = None,
        machine: str | None = None,
        diffdir: DiffDir | None = None,
    ) -> None:
        """Nothing is read before it is asked for."""
        self._catalog, self._today = catalog, today
        self._jobs, self._conf, self._machine = jobs, conf, machine
        self._diffdir = diffdir

    # what is to go

    def plan(self, only: Sequence[str] = (), *, retired: bool = False) -> Plan:
        """Say what may go of the jobs named in ``only`` (of all without one); with ``retired`` what the conf lost, too.

        Changes nothing. Raises DeniedError where listing is denied.
        """
        found = leftovers.find(self._catalog.storage, self._catalog.host)
        known = self._catalog.all_jobs()
        everything = [archive for each in known.values() for archive in each.archives]
        active, _ = machines(everything, viewpoint(everything, self._machine))
        plan = Plan(retired=retired, active=active)
        for name, each in known.items():
            if _is_meant(name, each, only):
                plan.jobs.add(name)
                plan.doubts += self._doubts(each)
                plan.items += [_item(archive, why) for archive, why in self._going(each, plan)]
        plan.items += self._unfinished(found, known, only)
        plan.jobs |= {item.job for item in plan.items}
        return plan

    def _doubts(self, known: JobCatalog) -> Iterator[str]:
        yield from known.ignored
        for unreadable in known.unreadable:
            yield f"{known.job}: nothing is swept, for a manifest cannot be understood: {unreadable}"
        view = viewpoint(known.archives, self._machine)
        others, _ = machines(known.archives, view)
        if others:
            yield (
                f"{known.job}: machines {view} and {', '.join(sorted(others))} all back up as host "
                f"{self._catalog.host}: nothing of the others is swept; set Host to another name on one of them"
            )

    def _going(self, known: JobCatalog, plan: Plan) -> list[tuple[Archive, Why]]:
        """Return the archives of a job that may go, children before parents."""
        if known.unreadable:
            return []
        job = job_of(known.job, self._jobs)
        view = viewpoint(known.archives, self._machine)
        verdict = judge(known.archives, job.cycle if job is not None else None, self._today, view)
        going: dict[str, Why] = {}
        order: list[Archive] = []
        if plan.retired:
            mine = {item.run for item in known.archives if item.manifest.machine not in plan.active}
            chosen = verdict.retired if job is not None else self._of_this_conf(known)
            order += removable(known.archives, verdict, chosen & mine)
            going |= dict.fromkeys((item.run for item in order), Why.RETIRED)
        if job is not None:
            rest = [item for item in known.archives if item.run not in going]
            dead = [
                item
                for item in sweepable(rest, judge(rest, job.cycle, self._today, view))
                if item.manifest.machine not in verdict.foreign
            ]
            order += dead
            going |= dict.fromkeys((item.run for item in dead), Why.DEAD)
        # what is retired may be an ancestor of what is dead, and the other way round
        return [(item, going[item.run]) for item in children_first(known.archives, going)]

    def _of_this_conf(self, known: JobCatalog) -> frozenset[str]:
        """Return the archives of a job that a conf of this name had, and has no more."""
        return frozenset(
            item.run
            for item in known.archives
            if self._conf is not None and item.manifest.conf == self._conf and item.manifest.host == self._catalog.host
        )

    def _unfinished(self, found: leftovers.Found, known: dict[str, JobCatalog], only: Sequence[str]) -> Iterator[Item]:
        """Yield what runs left: this machine's by its notes, others' once they are old enough."""
        noted = {at.run: at for state in self._states() for kind in ("runs", "sweeps") for at, _ in state.notes(kind)}
        whole = {names.job_key(name): name for name in (*known, *(job.name for job in self._jobs))}
        whole |= {names.job_key(at.job): at.job for at in noted.values()}
        closed = {names.job_key(name) for name, each in known.items() if each.unreadable}
        for left in found.leftovers:
            job = whole.get(left.at.job, left.at.job)
            if left.at.job in closed or not _is_meant(job, known.get(job), only):
                continue
            if left.at.run in noted or found.old(left):
                yield Item(at=left.at, job=job, why=Why.UNFINISHED, size=left.size)
            else:
                logger.info("{}: run {} has no manifest, but is not over for seven days yet", job, left.at.run)

    def _states(self) -> list[JobState]:
        return list(self._diffdir.jobs()) if self._diffdir is not None else []

    # the sweep

    def carry_out(self, plan: Plan) -> tuple[dict[Item, Fate], list[Exit]]:
        """Sweep what was planned and still may go, job by job, each under its lock where DiffDir is at hand.

        Return what became of each thing, and the exit statuses of the jobs that failed: they never stop the others.
        """
        fates: dict[Item, Fate] = {}
        statuses: list[Exit] = []
        for job in sorted({item.job for item in plan.items}):
            items = [item for item in plan.items if item.job == job]
            try:
                fates |= self._swept(job, items, plan)
            except (S3napError, OSError) as error:
                logger.error("{}: {}", job, error)
                status = error.status if isinstance(error, S3napError) else Exit.FAILED
                statuses.append(status)
                fates |= dict.fromkeys(items, Fate.LOCKED if status is Exit.LOCKED else Fate.FAILED)
        return fates, statuses

    def _swept(self, job: str, items: Sequence[Item], plan: Plan) -> dict[Item, Fate]:
        state = self._state(job)
        lock: AbstractContextManager[None] = state.lock() if state is not None else nullcontext()
        with lock:
            if state is not None:
                repair(self._catalog, state)
            known = self._catalog.job(job)
            if known.unreadable:
                logger.warning("{}: nothing is swept while a manifest cannot be understood", job)
                return dict.fromkeys(items, Fate.KEPT)
            wanted = {item.at.run for item in items}
            # judged anew: it may have taken a while until somebody said yes
            going = [archive for archive, _ in self._going(known, plan) if archive.run in wanted]
            became = remove(self._catalog, going, state)
            for item in items:
                if item.why is Why.UNFINISHED:
                    became[item.at.run] = self._cleared(item.at, state)
            return {item: became.get(item.at.run, Fate.KEPT) for item in items}

    def _cleared(self, at: ArchiveName, state: JobState | None) -> Fate:
        """Remove a leftover, once the storage has said again that it has no manifest."""
        try:
            if self._catalog.committed(at):
                return Fate.KEPT
        except DeniedError as error:
            logger.warning(
                "{}: run {} stays, for the storage does not say whether it counts: {}", at.job, at.run, error
            )
            return Fate.RETAINED
        logger.info("{}: removes what run {} left", at.job, at.run)
        return clear(self._catalog, at, state)

    def _state(self, job: str) -> JobState | None:
        """Return the state of a job if it has ever run here."""
        state = self._diffdir.job(job) if self._diffdir is not None else None
        return state if state is not None and state.folder.is_dir() else None


def _is_meant(name: str, known: JobCatalog | None, only: Sequence[str]) -> bool:
    sources = {archive.manifest.source for archive in known.archives} if known is not None else set()
    return not only or not {name, names.readable(name), *sources}.isdisjoint(only)


def _item(archive: Archive, why: Why) -> Item:
    manifest = archive.manifest
    return Item(at=manifest.at, job=manifest.job, why=why, size=manifest.stored_size, day=manifest.day)
