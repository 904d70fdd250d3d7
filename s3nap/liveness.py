"""Which archives of a job are kept, and which may be swept. Pure: no I/O, never asks for the time.

The rules are those of docs/rotation.md. One is added for promise 1: an archive that cannot be
restored (distrusted, or its chain is broken) never displaces one that can.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from s3nap.cycle import Cycle, day_number
from s3nap.manifest import Archive, Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What ``judge`` found, as run ids; ``foreign`` and ``taken_over`` are ids of machines.

    ``current``: kept for its own sake. ``live``: current, or an ancestor of a live one. ``retired``: in a slot that
    the cycle no longer has. ``restorable``: neither it nor an ancestor is missing or distrusted. ``foreign``: other
    machines that still write to this job. ``taken_over``: others, silent, whose archives count as ours.
    """

    current: frozenset[str]
    live: frozenset[str]
    retired: frozenset[str]
    restorable: frozenset[str]
    foreign: frozenset[str]
    taken_over: frozenset[str]


def chain(archive: Archive, by_run: Mapping[str, Archive]) -> list[Archive] | None:
    """Return the archives to restore, FULL first and ``archive`` last; None if one is missing or distrusted."""
    links = list(lineage(archive, by_run))
    base = links[-1].manifest
    whole = base.parent is None and base.type is Type.FULL and not any(link.distrusted for link in links)
    return links[::-1] if whole else None


def lineage(archive: Archive, by_run: Mapping[str, Archive]) -> Iterator[Archive]:
    """Yield the archive and those of its ancestors that exist, up to the first that is missing or comes again."""
    seen: set[str] = set()
    link: Archive | None = archive
    while link is not None and link.run not in seen:
        yield link
        seen.add(link.run)
        link = by_run.get(link.manifest.parent) if link.manifest.parent is not None else None


def machines(archives: Iterable[Archive], machine: str | None) -> tuple[frozenset[str], frozenset[str]]:
    """Tell the other machines that still write to the job from those that fell silent: ``(foreign, taken over)``.

    Still writing is who committed anything since our own first archive. Without archives of our own all others are
    taken over. Who is nobody (``machine`` None: a restore on a bare machine) sees all archives as one machine's.
    """
    if machine is None:
        return frozenset(), frozenset()
    first: str | None = None
    newest: dict[str, str] = {}
    for archive in archives:
        if archive.manifest.machine == machine:
            first = archive.run if first is None else min(first, archive.run)
        else:
            other = archive.manifest.machine
            newest[other] = max(newest.get(other, ""), archive.run)
    foreign = frozenset(other for other, run in newest.items() if first is not None and run > first)
    return foreign, frozenset(newest) - foreign


def viewpoint(archives: Sequence[Archive], machine: str | None) -> str | None:
    """Return as which machine to judge: ``machine`` if an archive is its own, else that of the newest archive.

    Who sweeps for others (their credentials may only put) must come to what they would come to.
    """
    made_by = [archive.manifest.machine for archive in sorted(archives, key=lambda item: item.run)]
    return machine if machine in made_by or not made_by else made_by[-1]


def judge(archives: Sequence[Archive], cycle: Cycle | None, today: int, machine: str | None) -> Verdict:
    """Judge all archives of one job on day number ``today``.

    ``cycle`` None (the conf is not known): the slots alone decide, and nothing is retired.
    """
    by_run = {archive.run: archive for archive in archives}
    restorable = _restorable(by_run)
    foreign, taken_over = machines(archives, machine)
    ours = sorted((item for item in archives if item.manifest.machine not in foreign), key=lambda item: item.run)
    current = _current(ours, restorable, cycle, today)
    for index, archive in enumerate(ours):
        if archive.braking:  # it stays itself: were it swept, what it protects would go unreleased
            current.add(archive.run)
            current |= _current(ours[:index], restorable, cycle, day_number(archive.manifest.day))
    current |= {archive.run for archive in archives if archive.held or archive.manifest.machine in foreign}
    return Verdict(
        current=frozenset(current),
        live=_closure(current, by_run),
        retired=frozenset(item.run for item in ours if cycle is not None and not cycle.has_slot(item.manifest.slot)),
        restorable=restorable,
        foreign=foreign,
        taken_over=taken_over,
    )


def sweepable(archives: Sequence[Archive], verdict: Verdict) -> list[Archive]:
    """Return what is not live in the order in which it may be deleted: children before parents."""
    return children_first(archives, {archive.run for archive in archives} - verdict.live)


def removable(archives: Sequence[Archive], verdict: Verdict, chosen: Container[str]) -> list[Archive]:
    """Return those of the ``chosen`` (retired ones, by run id) that may go, children before parents.

    Those stay that are held, another machine's that still writes, or needed by what stays; and all up to an archive
    with a brake, until that is released.
    """
    braked = max((archive.run for archive in archives if archive.braking), default="")
    free = {
        archive.run
        for archive in archives
        if archive.run in chosen
        and not archive.held
        and archive.manifest.machine not in verdict.foreign
        and archive.run > braked
    }
    return children_first(archives, free - _closure(verdict.current - free, {item.run: item for item in archives}))


def descendants(archive: Archive, archives: Sequence[Archive]) -> list[Archive]:
    """Return all archives that need this one, children before parents."""
    by_run = {item.run: item for item in archives}
    needing = {item.run for item in archives if archive in lineage(item, by_run)} - {archive.run}
    return children_first(archives, needing)


def children_first(archives: Sequence[Archive], runs: Collection[str]) -> list[Archive]:
    """Return the archives of these runs in the order in which they may be deleted."""
    by_run = {archive.run: archive for archive in archives}
    chosen = [by_run[run] for run in runs]
    return sorted(chosen, key=lambda item: (sum(1 for _ in lineage(item, by_run)), item.run), reverse=True)


def _restorable(by_run: Mapping[str, Archive]) -> frozenset[str]:
    known: dict[str, bool] = {}
    for start in by_run:
        path: list[str] = []
        run = start
        while run not in known:
            archive = by_run.get(run)
            known[run] = False  # stands for what is missing or distrusted, and for parents that go round in a circle
            if archive is None or archive.distrusted:
                break
            parent = archive.manifest.parent
            if parent is None:
                known[run] = archive.manifest.type is Type.FULL
                break
            path.append(run)
            run = parent
        for below in path:
            known[below] = known[run]
    return frozenset(run for run in by_run if known[run])


def _current(ours: Sequence[Archive], restorable: frozenset[str], cycle: Cycle | None, today: int) -> set[str]:
    """Apply the rules of slots and turns to archives in the order of their runs."""
    current: set[str] = set()
    slots: set[int] = set()
    turns: set[int] = set()
    oldest = cycle.turn(today) - cycle.window if cycle is not None else 0
    for archive in reversed(ours):
        slot, whole = archive.manifest.slot, archive.run in restorable
        if (cycle is not None and not cycle.has_slot(slot)) or slot not in slots:
            current.add(archive.run)
            if whole:
                slots.add(slot)
        if whole and cycle is not None:
            turn = cycle.turn(day_number(archive.manifest.day))
            if turn > oldest and turn not in turns:
                turns.add(turn)
                current.add(archive.run)
    return current


def _closure(current: Iterable[str], by_run: Mapping[str, Archive]) -> frozenset[str]:
    live: set[str] = set()
    for run in current:
        for archive in lineage(by_run[run], by_run):
            if archive.run in live:
                break
            live.add(archive.run)
    return frozenset(live)
