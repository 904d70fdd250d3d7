"""What is due for a job on a day, as what, on top of what, and why. Pure: no I/O, never asks for the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

from s3nap.cycle import Cycle, day_date, day_number
from s3nap.job import Job
from s3nap.liveness import chain, lineage, machines
from s3nap.manifest import Archive, Encryption, Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to do for a job on a day. ``notes`` are to be read; ``warnings`` end the run with status 3."""

    day: date
    job: Job
    slot: int
    type: Type
    action: Literal["backup", "skip"]
    reason: str
    parent: Archive | None = None
    turn: int
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """All that a decision rests on."""

    job: Job
    archives: Sequence[Archive]
    day: date
    machine: str
    state_id: str | None
    options: str
    encryption: Encryption
    force: bool
    full: bool

    @property
    def cycle(self) -> Cycle:
        return self.job.cycle

    @property
    def turn(self) -> int:
        return self.cycle.turn(day_number(self.day))

    @property
    def due(self) -> bool:
        return self.cycle.due(day_number(self.day))

    @property
    def own(self) -> list[Archive]:
        """The archives of this machine, oldest first."""
        return sorted((item for item in self.archives if item.manifest.machine == self.machine), key=lambda a: a.run)

    @property
    def by_run(self) -> dict[str, Archive]:
        return {archive.run: archive for archive in self.archives}


def decide(  # noqa: PLR0913 - each argument is a fact that the decision rests on
    job: Job,
    archives: Sequence[Archive],
    *,
    day: date,
    machine: str,
    state_id: str | None,
    options: str,
    encryption: Encryption,
    force: bool = False,
    full: bool = False,
) -> Task:
    """Decide about one job.

    ``archives`` are all of the job's; ``state_id``, ``options`` and ``encryption`` are what this machine has now, to be
    compared with the manifests. ``force`` (-f) runs what is not due or already done, ``full`` asks for a FULL.
    """
    facts = _Facts(
        job=job,
        archives=archives,
        day=day,
        machine=machine,
        state_id=state_id,
        options=options,
        encryption=encryption,
        force=force,
        full=full,
    )
    turn, cycle = facts.turn, job.cycle
    task = Task(
        day=day,
        job=job,
        slot=cycle.slot(turn),
        type=cycle.type(turn),
        action="skip",
        reason="",
        turn=turn,
        warnings=_warnings(facts),
    )
    return _fill(task, facts)


def task_record(task: Task) -> dict[str, str | int]:
    """Return the task as ``plan --json`` shows it."""
    return {
        "day": task.day.isoformat(),
        "job": task.job.name,
        "slot": task.slot,
        "type": task.type.value,
        "action": task.action,
        "reason": task.reason,
    }


def _fill(task: Task, facts: _Facts) -> Task:
    attempt = _attempt(facts)
    done = attempt is not None and chain(attempt, facts.by_run) is not None
    next_due = f"next due on {day_date(facts.cycle.due_day(facts.turn + 1))}"
    if attempt is not None and done and not facts.force:
        again = f"already done on {_label(attempt)}; {next_due}, -f runs it again"
        return replace(task, type=attempt.manifest.type, reason=again)
    if not (facts.due or facts.force or facts.job["CatchUp"]):
        return replace(task, reason=f"not due; {next_due}")
    occasion = _occasion(facts, attempt, done=done)
    backup = replace(task, action="backup", reason=occasion, notes=_notes(facts))
    if facts.full:
        return replace(backup, type=Type.FULL, reason=f"{occasion}; FULL asked for by --full")
    if task.type is Type.FULL:
        return backup
    parent = _parent(facts)
    if isinstance(parent, str):
        return replace(backup, type=Type.FULL, reason=f"{occasion}; FULL instead of DIFF: {parent}")
    return replace(backup, parent=parent, reason=f"{occasion}; changes since {parent.manifest.day}")


def _attempt(facts: _Facts) -> Archive | None:
    """Return this machine's archive of the running turn: the newest that can be restored, else the newest."""
    by_run, cycle = facts.by_run, facts.cycle
    ofturn = [item for item in facts.own if cycle.turn(day_number(item.manifest.day)) == facts.turn]
    return max(ofturn, key=lambda item: (chain(item, by_run) is not None, item.run), default=None)


def _occasion(facts: _Facts, attempt: Archive | None, *, done: bool) -> str:
    """Why a backup is made today."""
    if attempt is not None:
        return f"forced; already done on {_label(attempt)}" if done else f"again; {_flaw(attempt, facts)}"
    if facts.due:
        return "due"
    missed = day_date(facts.cycle.due_day(facts.turn))
    if not facts.job["CatchUp"]:
        return f"forced; not due, runs the turn of {missed}"
    if facts.own:
        return f"makes up for {missed}"
    return "first archive of this machine" if facts.archives else "first archive"


def _parent(facts: _Facts) -> Archive | str:
    """Return the archive that a DIFF may build on, or say why there is none."""
    if not facts.own:
        return "no archive of this machine yet" if facts.archives else "no archive yet"
    if facts.state_id is None:
        return f"this machine's state is lost; the last archive is of {_label(facts.own[-1])}"
    parent = next((item for item in facts.archives if item.manifest.state_id == facts.state_id), None)
    if parent is None:
        return f"the state matches no archive; the last one is of {_label(facts.own[-1])}"
    return _obstacle(parent, facts) or parent


def _obstacle(parent: Archive, facts: _Facts) -> str | None:
    """Why a DIFF cannot build on the archive that the state fits; None if it can."""
    if parent.manifest.machine != facts.machine:
        return f"the state is that of machine {parent.manifest.machine}, archive of {_label(parent)}"
    links = chain(parent, facts.by_run)
    if links is None:
        return _flaw(parent, facts)
    changed = _change(parent, facts)
    if changed is not None:
        return f"{changed} since {_label(parent)}"
    root = links[0].manifest.day
    if facts.cycle.group(facts.cycle.turn(day_number(root))) != facts.cycle.group(facts.turn):
        return f"the FULL due on {_round_begin(facts)} is missing; the last FULL is of {root}"
    return None


def _change(parent: Archive, facts: _Facts) -> str | None:
    """Say which directives are no longer what the parent was made with."""
    before, now = parent.manifest.encryption, facts.encryption
    if parent.manifest.options != facts.options:
        return "Exclude or other options changed"
    if before.method != now.method:
        return f"encryption changed from {before.method} to {now.method}"
    return "GpgRecipient changed" if set(before.recipients) != set(now.recipients) else None


def _flaw(archive: Archive, facts: _Facts) -> str:
    """Why an archive cannot be restored."""
    links = list(lineage(archive, facts.by_run))
    bad = next((link for link in links if link.distrusted), None)
    if bad is archive:
        return f"the archive of {_label(archive)} is distrusted"
    if bad is not None:
        return f"the archive of {_label(archive)} builds on that of {_label(bad)}, which is distrusted"
    missing = links[-1].manifest.parent or "a FULL"
    return f"the chain of the archive of {_label(archive)} is incomplete: {missing} is missing"


def _round_begin(facts: _Facts) -> date:
    """Return the day on which the FULL of the running turn's group was due."""
    turn = facts.turn
    while facts.cycle.group(turn - 1) == facts.cycle.group(turn):
        turn -= 1
    return day_date(facts.cycle.due_day(turn))


def _notes(facts: _Facts) -> tuple[str, ...]:
    """Say once, as our own first archive ends it, that we go on with what others left."""
    if facts.own or not facts.archives:
        return ()
    others = ", ".join(sorted({item.manifest.machine for item in facts.archives}))
    return (f"machine {facts.machine} takes over the {len(facts.archives)} archives of {others}",)


def _warnings(facts: _Facts) -> tuple[str, ...]:
    warnings: list[str] = []
    foreign, _ = machines(facts.archives, facts.machine)
    if foreign:
        host = facts.archives[0].manifest.host
        warnings.append(
            f"machines {facts.machine} (this one) and {', '.join(sorted(foreign))} both back up as host {host}: "
            "set Host to another name on one of them"
        )
    braking = [item for item in facts.archives if item.braking and item.manifest.machine not in foreign]
    if braking:
        newest = max(braking, key=lambda item: item.run)
        more = f" (and {len(braking) - 1} before it)" if len(braking) > 1 else ""
        warnings.append(
            f"the archive of {_label(newest)}{more} looks wrong: {newest.manifest.brake}; what is older is kept until "
            f"you accept it: s3nap release {facts.job.name}"
        )
    return tuple(warnings)


def _label(archive: Archive) -> str:
    return f"{archive.manifest.day} ({archive.run})"
