"""What docs/rotation.md lets be kept, worked out a second time: slowly, and without s3nap's own rules."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import date

from s3nap.manifest import Archive, Type


def kept(
    archives: Collection[Archive],
    *,
    slots: int,
    today: date,
    turn: Callable[[date], int],
    own: str,
    first: str,
) -> set[str]:
    """Return the runs that may be kept, with their ancestors; ``first`` is the first run of the machine ``own``."""
    by_run = {item.run: item for item in archives}
    foreign = {item.manifest.machine for item in archives if item.manifest.machine != own and item.run > first}
    last_brake = max((item.run for item in archives if item.braking), default="")
    found = {item.run for item in archives if item.held or item.manifest.slot >= slots or item.run <= last_brake}
    found |= {item.run for item in archives if item.manifest.machine in foreign}
    ours = [item for item in archives if item.manifest.machine not in foreign]
    seen_slots: set[int] = set()
    seen_turns: set[int] = set()
    for item in sorted(ours, key=lambda each: each.run, reverse=True):
        whole, its_turn = _whole(item, by_run), turn(item.manifest.day)
        if item.manifest.slot not in seen_slots:
            found.add(item.run)
        if whole and its_turn > turn(today) - slots and its_turn not in seen_turns:
            found.add(item.run)
        if whole:
            seen_slots.add(item.manifest.slot)
            seen_turns.add(its_turn)
    return with_ancestors(found, archives)


def with_ancestors(runs: Iterable[str], archives: Iterable[Archive]) -> set[str]:
    """Return these runs and all that they build on."""
    by_run = {item.run: item for item in archives}
    found: set[str] = set()
    for run in runs:
        link: str | None = run
        while link in by_run and link is not None:
            found.add(link)
            link = by_run[link].manifest.parent
    return found


def _whole(item: Archive, by_run: dict[str, Archive]) -> bool:
    link: Archive | None = item
    while link is not None and not link.distrusted:
        if link.manifest.type is Type.FULL:
            return True
        link = by_run.get(link.manifest.parent or "")
    return False
