"""Named checks of a job: is it fresh, restorable, looked after? Pure: facts in, words out; never asks for the time.

A new check is one function and one line in the table. It yields what it has to say, or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from statistics import median_high

from s3nap.cycle import Cycle, day_date, day_number
from s3nap.findings import Level, Said, days
from s3nap.liveness import chain, machines
from s3nap.manifest import Archive
from s3nap.verified import newest

VERIFIED_DAYS = 35  # a verification by listing costs next to nothing: once a month is not too much to ask
DRILLED_DAYS = 100  # a quarter, and a bit
_LONE_DAYS = 8  # how long a lone archive, whose interval is unknown, is believed to be fresh
_GAPS = 8
_DRILL = re.compile(r"drill[a-z]*-(\d{8})T\d{6}Z(.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """What is known of a job on a ``day``. ``cycle`` None: its conf is not here. ``machine`` None: this may be any.

    ``fault``: why the job cannot even be looked for. ``doubts``: manifests that cannot be used. ``marks`` False: the
    credentials do not let marks be seen.
    """

    job: str
    day: date
    archives: Sequence[Archive] = ()
    cycle: Cycle | None = None
    catch_up: bool = True
    machine: str | None = None
    doubts: Sequence[str] = ()
    fault: str | None = None
    marks: bool = True

    @property
    def own(self) -> list[Archive]:
        """All archives but those of other machines that still write, oldest first."""
        foreign, _ = machines(self.archives, self.machine)
        return sorted((item for item in self.archives if item.manifest.machine not in foreign), key=lambda a: a.run)

    @property
    def restorable(self) -> list[Archive]:
        """Those of ``own`` that restore."""
        by_run = {archive.run: archive for archive in self.archives}
        return [archive for archive in self.own if chain(archive, by_run) is not None]


def _backup(facts: JobFacts) -> Iterator[Said]:
    """Is there a whole chain no older than the cycle allows?"""
    whole = facts.restorable
    if facts.fault is not None:
        yield Said(level=Level.CRITICAL, text=facts.fault)
    elif not facts.archives:
        yield Said(level=Level.CRITICAL, text="never ran: there is no archive")
    elif not whole:
        yield Said(level=Level.CRITICAL, text=f"none of {len(facts.archives)} archives restores")
    else:
        day = max(archive.manifest.day for archive in whole)
        age = (facts.day - day).days
        level, why = _by_cycle(facts, facts.cycle, day) if facts.cycle is not None else _by_interval(whole, age)
        text = f"last backup of {day}, {days(age)} ago; {why}"
        yield Said(level=level, text=text, metrics={"backup_age_days": age, "archives": len(whole)})


def _by_cycle(facts: JobFacts, cycle: Cycle, day: date) -> tuple[Level, str]:
    """One night may fail, and is made up for in the next; two are an outage."""
    missed = day_date(cycle.due_day(cycle.turn(day_number(day)) + 1))
    late = (facts.day - missed).days
    if late <= 0:
        return Level.OK, f"next due on {missed}"
    second = day_date(cycle.due_day(cycle.turn(day_number(missed)) + 1))
    outage = late > 1 if facts.catch_up else facts.day > second
    return (Level.CRITICAL if outage else Level.WARNING), f"was due on {missed}"


def _by_interval(whole: Sequence[Archive], age: int) -> tuple[Level, str]:
    """Without a conf: what the distance of the days says. A day's leeway, for hosts in other time zones."""
    known = sorted({archive.manifest.day for archive in whole})
    gaps = [(after - before).days for before, after in pairwise(known)][-_GAPS:]
    if not gaps:
        lone = "the only one, so how often it runs is unknown"
        return (Level.OK if age <= _LONE_DAYS else Level.WARNING), lone
    interval = median_high(gaps)
    late = age - interval
    level = Level.OK if late <= 1 else Level.CRITICAL if late > max(2, interval) else Level.WARNING
    return level, f"made every {days(interval)} so far"


def _complete(facts: JobFacts) -> Iterator[Said]:
    """Could everything be read?"""
    if whole := facts.restorable:
        if whole[-1].manifest.complete:
            yield Said(level=Level.OK, text="everything could be read")
        else:
            yield Said(
                level=Level.WARNING, text=f"some files could not be read on {whole[-1].manifest.day}; see the log"
            )


def _damage(facts: JobFacts) -> Iterator[Said]:
    """Is anything stored known to be damaged, or not to be understood?"""
    bad = [archive for archive in facts.archives if archive.distrusted]
    metrics = {"distrusted": float(len(bad))}
    if facts.doubts:
        more = f" (and {len(facts.doubts) - 1} more)" if len(facts.doubts) > 1 else ""
        yield Said(level=Level.CRITICAL, text=f"{facts.doubts[0]}{more}", metrics=metrics)
    elif bad:
        when = ", ".join(sorted({str(archive.manifest.day) for archive in bad}))
        yield Said(level=Level.WARNING, text=f"archives found damaged: {when}", metrics=metrics)
    elif facts.archives:
        yield Said(level=Level.OK, text="nothing known to be damaged", metrics=metrics)


def _verified(facts: JobFacts) -> Iterator[Said]:
    """When were the archives last looked at?"""
    if not facts.archives:
        return
    if not facts.marks:
        yield Said(level=Level.OK, text="these credentials do not show when it was last verified")
        return
    last = newest(mark for archive in facts.archives for mark in archive.marks)
    if last is None:
        age = (facts.day - min(archive.manifest.day for archive in facts.archives)).days
        level = Level.OK if age <= VERIFIED_DAYS else Level.WARNING
        yield Said(level=level, text=f"never verified, the oldest archive is {days(age)} old: s3nap verify")
        return
    age = max((facts.day - last.when.astimezone().date()).days, 0)
    share = f", {last.percent} % read" if last.percent else ""
    text = f"last verified {days(age)} ago ({last.how}{share})"
    level = Level.OK if age <= VERIFIED_DAYS else Level.WARNING
    yield Said(level=level, text=text, metrics={"verified_age_days": age})


def _drilled(facts: JobFacts) -> Iterator[Said]:
    """When was a restore last rehearsed?"""
    if not facts.archives or not facts.marks:
        return
    drills = [found for archive in facts.archives for mark in archive.marks if (found := _DRILL.fullmatch(mark))]
    if not drills:
        yield Said(level=Level.OK, text="no restore drill is on record: s3nap drill")
        return
    last = max(drills, key=lambda found: found[0].partition("-")[2])
    age = (facts.day - datetime.strptime(f"{last[1]}+0000", "%Y%m%d%z").date()).days
    level = Level.OK if age <= DRILLED_DAYS else Level.WARNING
    if "fail" in last[2]:
        level = Level.CRITICAL
    text = f"last restore drill {days(age)} ago{' failed' if level is Level.CRITICAL else ''}"
    yield Said(level=level, text=text, metrics={"drilled_age_days": age})


def _brake(facts: JobFacts) -> Iterator[Said]:
    """Does an archive of a suspiciously empty source wait for its release?"""
    waiting = [archive for archive in facts.own if archive.braking] if facts.marks else []
    if waiting:
        text = f"{waiting[-1].manifest.brake} (since {waiting[0].manifest.day}): s3nap release {facts.job}"
        yield Said(level=Level.WARNING, text=text)
    elif facts.archives:
        yield Said(level=Level.OK, text="nothing waits for release")


def _machines(facts: JobFacts) -> Iterator[Said]:
    """Does another machine write under this host's name?"""
    foreign, _ = machines(facts.archives, facts.machine)
    if foreign:
        yield Said(level=Level.WARNING, text=f"also backed up by machine {', '.join(sorted(foreign))}: set Host there")


JOB_CHECKS: dict[str, Callable[[JobFacts], Iterator[Said]]] = {
    "backup": _backup,
    "complete": _complete,
    "damage": _damage,
    "verified": _verified,
    "drilled": _drilled,
    "brake": _brake,
    "machines": _machines,
}
