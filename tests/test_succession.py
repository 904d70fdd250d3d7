"""What manifests tell of each other, what copies remember, and what planted archives do: nothing, but be reported."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from archives import DAILY, THEIRS, after, archive, cycle_from, marked
from small_world import World, s3nap

from s3nap.cycle import day_number
from s3nap.errors import Exit
from s3nap.manifest import Archive, Manifest, Previous, Type, from_json
from s3nap.succession import breaks, lost, previous

OURS = "0a0a0a0a"


def row(count: int, slots: int = 28) -> list[Archive]:
    """FULLs of days in a row, each naming the one before."""
    made: list[Archive] = []
    for number in range(count):
        one = archive(after(number), number % slots, previous=previous(made))
        made.append(Archive(one.manifest, sha256=f"hash of {number}"))
    return made


def test_an_undisturbed_succession_says_nothing() -> None:
    """A warning that comes every day is one that nobody reads."""
    assert breaks(row(5), DAILY, all_read=True) == []
    assert breaks([], DAILY, all_read=True) == []
    assert breaks(row(9, slots=3)[6:], cycle_from(diffs=0, fulls=3), all_read=True) == []


def test_a_predecessor_that_is_gone_is_reported() -> None:
    """The newest of a slot is swept by nobody: if nothing took its place, somebody removed it."""
    days = row(5)
    (said,) = breaks([*days[:2], *days[3:]], DAILY, all_read=True)
    assert days[2].run in said
    assert "slot 2" in said
    assert breaks([*days[:2], *days[3:]], None, all_read=True) == [said]


@pytest.mark.parametrize("all_read", [True, False])
def test_what_was_replaced_or_could_not_be_read_is_not_reported(all_read: bool) -> None:
    """Lawful sweeps, and slots that a person may have pruned, must not look like theft."""
    replaced = row(5, slots=2)[3:]
    assert breaks(replaced, DAILY, all_read=all_read) == []
    pruned = [item for item in row(5) if item.manifest.slot != 3]
    assert breaks(pruned, cycle_from(diffs=0, fulls=3), all_read=True) == []
    assert len(breaks(pruned, cycle_from(diffs=0, fulls=4), all_read=all_read)) == all_read


def test_an_altered_predecessor_is_reported() -> None:
    """Its successor knows what it was."""
    days = row(3)
    days[1] = Archive(days[1].manifest, sha256="another")
    (said,) = breaks(days, DAILY, all_read=False)
    assert days[1].run in said
    assert "forged" in said


def test_a_missing_archive_is_lost_only_if_it_would_be_kept() -> None:
    """Another machine may have swept lawfully what this one has a copy of."""
    days = row(5)
    today = day_number(after(4))
    assert [days[1].run in said for said in lost(days[2:], days[:2], DAILY, today, OURS)] == [False, True]
    swept = row(5, slots=3)
    assert lost(swept[2:], swept[:2], cycle_from(diffs=0, fulls=3), today, OURS) == []
    theirs = [Archive(replace(item.manifest, machine=THEIRS)) for item in days[:2]]
    assert lost(days[2:], theirs, DAILY, today, OURS) == []
    assert lost(days[2:], [marked(days[1], "hold")], DAILY, today, OURS) != []


def test_manifests_name_their_predecessors(tmp_path: Path) -> None:
    """Run, slot and sha256 as stored; the first has none, and manifests of before this field are read as ever."""
    world = World(tmp_path)
    world.days(0, 1)
    first, second = (item.manifest for item in world.archives)
    assert first.previous is None
    assert second.previous == Previous(run=first.run, slot=0, sha256=world.archives[0].sha256)
    old = second.to_json().replace(b'"previous"', b'"unknown"')
    assert from_json(old, "old").previous is None


# on real runs


def removed(world: World, number: int) -> str:
    """Remove an archive as a thief does; return its run."""
    at = world.archives[number].manifest.at
    assert world.storage.delete([at.manifest]) == []
    world.storage.delete(item.key for item in list(world.storage.list(at.data)))
    return at.run


def test_a_run_reports_what_was_taken_even_the_newest(tmp_path: Path) -> None:
    """A catalog that was rolled back looks whole to everybody else; this machine's copies know better, and say so once.

    What somebody else swept lawfully is not missed.
    """
    world = World(tmp_path)
    world.days(0, 1, 2, 3)
    gone = removed(world, 3)
    for dry in (True, False):
        result = world.run(4, dry=dry)
        assert result.status is Exit.WARNINGS
        assert any(gone in warning and "removed" in warning for warning in result.warnings)
    assert world.run(4).status is Exit.DONE
    world.fulls = 1
    world.diffs = 0
    world.write_conf()
    world.run(5, full=True, force=True)
    assert world.run(5).status is Exit.DONE


def test_list_tells_of_a_gap_on_any_machine(tmp_path: Path) -> None:
    """Without a conf and without copies: the archives tell of each other."""
    world = World(tmp_path)
    world.days(0, 3)
    gone = removed(world, 0)
    where = ["--bucket", world.folder.as_uri(), "--host", world.host]
    said = s3nap("list", *where)
    assert said.returncode == Exit.WARNINGS
    assert f"archive {gone}" in said.stderr


def test_a_manifest_that_was_altered_stops_the_sweep(tmp_path: Path) -> None:
    """Nobody knows what an altered catalog wants us to delete: as long as it is so, nothing is."""
    world = World(tmp_path, diffs=0, fulls=2)
    world.days(0, 1)
    world.run(1)  # has looked at it
    at = world.archives[1].manifest.at
    data = world.storage.get(at.manifest)
    altered = data.replace(b'"files": ', b'"files":1')
    assert len(altered) == len(data)
    world.storage.delete([at.manifest])
    world.storage.put(at.manifest, altered)
    os.utime(world.folder / at.manifest, (0, 2_000_000_000))
    before = set(world.runs)
    world.fill(2)
    result = world.run(2)
    assert result.status is Exit.WARNINGS
    assert any("somebody altered it" in warning for warning in result.warnings)
    assert before < set(world.runs)
    world.storage.delete([at.manifest])
    world.storage.put(at.manifest, data)
    world.fill(3)
    assert world.run(3).status is Exit.DONE
    assert len(world.runs) == 2


def _future(manifest: Manifest) -> Manifest:
    later = datetime.now(UTC) + timedelta(days=400)
    return replace(manifest, started=later, run=f"{later:%Y%m%dT%H%M%SZ}-ffffff")


def _future_by_name(manifest: Manifest) -> Manifest:
    return replace(manifest, run="20991231T235959Z-ffffff")


def _no_date(manifest: Manifest) -> Manifest:
    return replace(manifest, run="20999999T999999Z-ffffff")


def _foreign(manifest: Manifest) -> Manifest:
    later = datetime.now(UTC) + timedelta(hours=2)
    return replace(manifest, machine="f" * 16, started=later, run=f"{later:%Y%m%dT%H%M%SZ}-ffffff")


@pytest.mark.parametrize("forge", [_future, _future_by_name, _no_date, _foreign])
def test_planted_archives_never_make_a_host_sweep_its_own(tmp_path: Path, forge: Any) -> None:
    """From the future, or of a machine that nobody knows: they are reported, and all that is the host's restores."""
    world = World(tmp_path)
    trees = world.days(0, 1, 2, 3)
    for number, item in enumerate(world.archives):
        forged = forge(replace(item.manifest, type=Type.FULL, parent=None, root=None, state_id=None))
        forged = replace(forged, run=forged.run[:-1] + str(number))
        world.storage.put(forged.at.manifest, forged.to_json())
    world.fill(4)
    result = world.run(4)
    assert (result.outcome, result.status) == ("done", Exit.WARNINGS)
    assert result.task is not None
    assert result.task.type is Type.DIFF
    assert set(trees) < set(world.runs)
    for run, tree in trees.items():
        assert world.restore(run) == tree
