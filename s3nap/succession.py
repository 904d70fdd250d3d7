"""Archives that ought to be there and are not, or are no more what they were. Pure.

Each manifest names its predecessor and that one's sha256; and a machine has copies of what it has read. What can be
concluded from that, and what not, stands in docs/rotation.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from s3nap.cycle import Cycle
from s3nap.liveness import judge
from s3nap.manifest import Archive, Previous


def previous(archives: Sequence[Archive]) -> Previous | None:
    """Return what the manifest of a new archive says of the newest so far; None where there is none."""
    newest = max(archives, key=lambda archive: archive.run, default=None)
    if newest is None or not newest.sha256:
        return None
    return Previous(run=newest.run, slot=newest.manifest.slot, sha256=newest.sha256)


def breaks(archives: Sequence[Archive], cycle: Cycle | None, *, all_read: bool) -> list[str]:
    """Say which archives were altered since a later one was made, and which are gone though nothing took their place.

    ``archives`` are all of a job's that count; what is not among them is gone only if ``all_read``. Of slots that
    ``cycle`` no longer has nothing is said: a person may have pruned them.
    """
    by_run = {archive.run: archive for archive in archives}
    newest: dict[int, str] = {}
    for archive in archives:
        slot = archive.manifest.slot
        newest[slot] = max(newest.get(slot, ""), archive.run)
    found: dict[str, str] = {}
    for archive in archives:
        before = archive.manifest.previous
        if before is None or before.run in found:
            continue
        there = by_run.get(before.run)
        if there is not None and there.sha256 not in {"", before.sha256}:
            found[before.run] = f"its manifest is not what it was when {archive.run} was made: one of the two is forged"
        elif there is None and all_read and newest.get(before.slot, "") < before.run and _has(cycle, before.slot):
            found[before.run] = f"{archive.run} was made after it, and nothing has replaced it in slot {before.slot}"
    return [_said(archives, run, why) for run, why in found.items()]


def lost(
    archives: Sequence[Archive], missing: Sequence[Archive], cycle: Cycle | None, today: int, machine: str
) -> list[str]:
    """Say which of the ``missing`` archives, of which there are copies, this machine's rules would still keep."""
    verdict = judge([*archives, *missing], cycle, today, machine)
    return [
        _said(missing, archive.run, f"this machine has seen it (slot {archive.manifest.slot}, {archive.manifest.day})")
        for archive in missing
        if archive.run in verdict.live and archive.manifest.machine == machine
    ]


def _has(cycle: Cycle | None, slot: int) -> bool:
    return cycle is None or cycle.has_slot(slot)


def _said(archives: Sequence[Archive], run: str, why: str) -> str:
    job = archives[0].manifest.job
    return f"archive {run} of {job} was removed or altered: {why}; if it was not you (rm, prune), somebody else was"
