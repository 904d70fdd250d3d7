"""What is deleted by hand goes, all of it, and nothing else: ``prune`` and ``rm``, undisturbed and killed half-way."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from calling import Call
from small_world import Tree, World, everything, tree_of
from storages import CrashError, FaultyStorage
from test_crash import Restricted

from s3nap import access, deleting
from s3nap.access import Place
from s3nap.errors import Exit, StorageError
from s3nap.liveness import chain, judge
from s3nap.manifest import Archive, Manifest, Type
from s3nap.reader import KeySource, Reader
from s3nap.storage import Listed, Storage
from s3nap.upkeep import Fate

_SWEEPING = 8  # the first day after which nobody needs the first chain
_WEEKS = 15 * 86400  # seconds


@pytest.fixture
def through(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Storage], Storage]], None]:
    """Let the command line see its storage through a wrapper."""
    real = access.storage_of

    def wrap(wrapper: Callable[[Storage], Storage]) -> None:
        monkeypatch.setattr(access, "storage_of", lambda conf: wrapper(real(conf)))

    return wrap


def _janitor(world: World) -> World:
    """Return another machine with the same conf, which has never made an archive: no DiffDir."""
    other = World(world.base)
    other.diffdir = world.base / "nothing here"
    other.conf = world.base / "janitor" / "s3nap.conf"
    other.conf.parent.mkdir(exist_ok=True)
    other.write_conf()
    return other


def _age(world: World, runs: Iterable[str], seconds: int = _WEEKS) -> None:
    """Let the data of some runs look old by the storage's clock."""
    for path in (world.folder / "data").rglob("*"):  # a manifest that is older than it says counts for nothing
        if path.is_file() and any(run in str(path) for run in runs):
            then = path.stat().st_mtime - seconds
            os.utime(path, (then, then))


def _leave(world: World, number: int, storage: Storage | None = None) -> str:
    """Let a run die before its commit so that nobody cleans up; return its id."""
    before = set(_stored_runs(world))
    with suppress(CrashError):
        world.run(
            number,
            force=True,
            storage=FaultyStorage(
                storage or world.storage, at=1, operation="put", key=".json", error=CrashError(), for_good=True
            ),
        )
    (left,) = set(_stored_runs(world)) - before
    return left


def _stored_runs(world: World) -> set[str]:
    return {Path(item.key).parent.name for item in world.storage.list("data/")}


def _live(world: World) -> set[str]:
    """What the daily run of the machine that made the newest archive keeps."""
    archives = world.archives
    job = access.config.load(world.conf, on_this_host=False).jobs[0]
    return set(judge(archives, job.cycle, 10**6, archives[-1].manifest.machine).live)


def _put_only(world: World, days: Iterable[int]) -> dict[str, Tree]:
    storage = Restricted(world.storage, denied=["list", "get", "delete"])
    trees = {}
    for number in days:
        world.fill(number)
        result = world.run(number, storage=storage)
        assert result.manifest is not None, result.message
        trees[result.manifest.run] = tree_of(world.tree)
    return trees


# prune


def test_another_machine_sweeps_for_a_host_that_may_only_put(tmp_path: Path, call: Call) -> None:
    """The archives that the host's own run would keep stay and restore, the rest goes, and the host goes on as ever."""
    world = World(tmp_path)
    trees = _put_only(world, range(_SWEEPING + 3))
    left = _leave(world, _SWEEPING + 3, Restricted(world.storage, denied=["list", "get", "delete"]))
    _age(world, [left])
    live = _live(world)
    assert live < set(trees)
    shown = call("prune", "-n", "--json", "-c", _janitor(world).conf)
    assert {each["run"]: each["why"] for each in json.loads(shown.out)} == {
        run: "unfinished run" if run == left else "no longer live" for run in {*trees, left} - live
    }
    said = call("prune", "-c", _janitor(world).conf)
    assert (said.status, f"swept {len(trees) - len(live) + 1} of " in said.out) == (Exit.DONE, True), said
    assert set(world.runs) == _stored_runs(world) == live
    trees |= _put_only(world, [_SWEEPING + 3])
    assert world.archives[-1].manifest.type is Type.DIFF
    world.assert_restores({run: tree for run, tree in trees.items() if run in world.runs})
    call("prune", "-c", _janitor(world).conf)
    assert set(world.runs) == _live(world)
    assert "nothing to sweep" in call("prune", "-c", _janitor(world).conf).out


def test_runs_of_others_go_when_they_are_seven_days_old_by_the_storages_clock(tmp_path: Path, call: Call) -> None:
    """A run at work on another machine is never taken for dead, whatever the clock of this one says."""
    world = World(tmp_path)
    world.days(0)
    left = []
    for number in (1, 2, 3):
        for at, _ in list(world.state.notes("runs")):  # as if another machine had made it
            world.state.forget("runs", at.run)
        left.append(_leave(world, number))
    young, old, noted = left
    _age(world, [old, *world.runs])
    _age(world, [young], 6 * 86400)
    janitor = _janitor(world)
    assert [each["run"] for each in json.loads(call("prune", "-n", "--json", "-c", janitor.conf).out)] == [old]
    assert call("prune", "-c", janitor.conf).status == Exit.DONE
    assert _stored_runs(world) == {young, noted, *world.runs}
    assert call("prune", "-c", world.conf).status == Exit.DONE  # the machine itself knows that this one died
    assert _stored_runs(world) == {young, *world.runs}


@pytest.mark.parametrize("moment", ["between the listings", "after the listings"])
def test_what_is_committed_meanwhile_is_no_leftover(
    tmp_path: Path, call: Call, through: Callable[..., None], moment: str
) -> None:
    """A slow run that commits while prune looks keeps its data: the catalog is listed last, and asked once more."""
    world = World(tmp_path)
    trees = world.days(0, 1)
    at = world.archives[-1].manifest.at
    manifest = world.folder / at.manifest
    content = manifest.read_bytes()
    _age(world, [at.run])
    manifest.unlink()

    class Committing(FaultyStorage):
        def list(self, prefix: str) -> Iterator[Listed]:
            found = list(super().list(prefix))
            if prefix.startswith("data/" if moment == "between the listings" else "catalog/"):
                manifest.write_bytes(content)
            yield from found

    through(Committing)
    assert call("prune", "-c", _janitor(world).conf).status == Exit.DONE
    world.assert_restores(trees)


def test_keys_of_others_are_left_alone(tmp_path: Path, call: Call) -> None:
    """What s3nap did not write, or not as an archive's, is nobody's leftover, however old it is."""
    world = World(tmp_path)
    trees = world.days(0)
    left = _leave(world, 1)
    strange = [
        f"other/alpha/Directory/x-0-FULL/{left}/00000000.zst",
        f"data/alpha/Directory/x-00-FULL/{left}/00000000.zst",
        f"data/alpha/Directory/x-0-FULL/{left}/deep/er",
        "data/alpha/Directory/x-0-FULL/README/file",
        f"data/beta/Directory/x-0-FULL/{left}/00000000.zst",
        "catalog/alpha/notes",
    ]
    for key in strange:
        world.storage.put(key, b"mine")
    _age(world, [left, "README", "notes"])
    assert call("prune", "-c", _janitor(world).conf).status == Exit.DONE
    assert [world.storage.get(key) for key in strange] == [b"mine"] * len(strange)
    assert not list((world.folder / "data/alpha").rglob(f"tree-*/{left}"))
    world.assert_restores(trees)


def test_nothing_of_a_job_goes_while_a_manifest_cannot_be_understood(tmp_path: Path, call: Call) -> None:
    """An archive that cannot be read may need any other; dead runs of that job stay, too; rm refuses."""
    world = World(tmp_path)
    _put_only(world, range(_SWEEPING + 1))
    left = _leave(world, _SWEEPING + 2)
    _age(world, [left])
    (world.folder / world.archives[3].manifest.at.manifest).write_bytes(b"garbage")
    before = everything(world.folder)
    for conf in (world.conf, _janitor(world).conf):
        said = call("prune", "-c", conf)
        assert (said.status, "cannot be understood" in said.err) == (Exit.WARNINGS, True)
    said = call("rm", world.job, "-c", world.conf, "--at", world.runs[0], "--yes", "--with-children")
    assert said.status == Exit.VERIFICATION
    assert everything(world.folder) == before


def test_a_job_that_is_at_work_is_left_alone(tmp_path: Path, call: Call) -> None:
    """On the host itself prune and rm take the lock of the run, and end with 11 while a run holds it."""
    world = World(tmp_path)
    _put_only(world, range(_SWEEPING + 1))
    before = everything(world.folder)
    with world.state.lock():
        assert call("prune", "-c", world.conf).status == Exit.LOCKED
        assert call("rm", world.job, "-c", world.conf, "--at", "latest", "--yes").status == Exit.LOCKED
    assert everything(world.folder) == before


def test_dry_run_changes_nothing(tmp_path: Path, call: Call) -> None:
    """With -n neither bucket nor DiffDir change, though there is much to sweep."""
    world = World(tmp_path)
    _put_only(world, range(_SWEEPING + 1))
    _leave(world, _SWEEPING + 2)
    before = everything(world.folder, world.diffdir)
    said = call("prune", "-n", "-c", world.conf)
    assert (said.status, "would sweep 4 of these" in said.out) == (Exit.DONE, True), said.out
    assert call("rm", world.job, "-n", "-c", world.conf, "--at", "latest").status == Exit.DONE
    assert everything(world.folder, world.diffdir) == before


def test_retained_is_no_failure_and_goes_later(tmp_path: Path, call: Call, through: Callable[..., None]) -> None:
    """What Object Lock or missing rights keep is shown as retained, its ancestors stay, and the next prune takes it."""
    world = World(tmp_path)
    trees = _put_only(world, range(_SWEEPING + 1))
    through(lambda inner: Restricted(inner, retained=True))  # type: ignore[arg-type]
    said = call("prune", "-c", world.conf)
    assert (said.status, said.out.count("retained by the storage")) == (Exit.DONE, 3)
    world.assert_restores(trees)
    diffs = [item.manifest.at.manifest for item in world.archives[:2]]

    class KeepingOne(FaultyStorage):
        def delete(self, keys: Iterable[str]) -> list[str]:
            wanted = list(keys)
            kept = [key for key in wanted if key == diffs[1]]
            return [*kept, *super().delete([key for key in wanted if key not in kept])]

    through(KeepingOne)
    call("prune", "-c", world.conf)
    kept = {run: trees[run] for run in list(trees)[:2]}
    assert list(kept) == world.runs[:2]
    world.assert_restores(kept)
    through(lambda inner: inner)
    assert call("prune", "-c", world.conf).status == Exit.DONE
    assert not set(kept) & set(world.runs)
    world.assert_tidy()


def test_a_storage_that_fails_ends_with_1(tmp_path: Path, call: Call, through: Callable[..., None]) -> None:
    """What could not be swept for want of a network is no success; nothing is lost, and the next prune takes it."""
    world = World(tmp_path)
    _put_only(world, range(_SWEEPING + 1))
    live = _live(world)
    through(lambda inner: FaultyStorage(inner, at=2, operation="delete", error=StorageError("gone"), for_good=True))
    assert call("prune", "-c", world.conf).status == Exit.FAILED
    assert live <= set(world.runs)
    through(lambda inner: inner)
    assert call("prune", "-c", world.conf).status == Exit.DONE
    world.assert_tidy()
    assert set(world.runs) == live


# what the conf no longer has


@pytest.fixture
def retired(tmp_path: Path) -> tuple[World, dict[str, Tree]]:
    """A world with six days in six slots, of which the conf has three now."""
    world = World(tmp_path)
    trees = world.days(*range(6))
    world.fulls = 1
    world.write_conf()
    return world, trees


def test_retired_slots_go_only_when_that_is_said_and_meant(retired: tuple[World, dict[str, Tree]], call: Call) -> None:
    """Neither a plain prune nor one that nobody confirmed deletes what a changed conf left behind."""
    world, trees = retired
    for args, status in (((), Exit.DONE), (("--retired",), Exit.USAGE), (("--retired", world.job), Exit.USAGE)):
        said = call("prune", "-c", world.conf, *args)
        assert said.status == status
        assert set(world.runs) == set(trees)
    assert all(run in said.err for run in world.runs[3:])
    assert "--yes" in said.err
    assert call("prune", "-c", world.conf, "--retired", "no such job", "--yes").status == Exit.NOTHING
    said = call("prune", "-c", world.conf, "--retired", world.tree, "--yes")
    assert (said.status, world.runs) == (Exit.DONE, list(trees)[:3])
    world.assert_restores({run: trees[run] for run in world.runs})
    world.assert_tidy()


@pytest.mark.parametrize("who", ["the host", "the janitor"])
def test_of_retired_ones_those_stay_that_are_held_needed_or_guarded(
    retired: tuple[World, dict[str, Tree]], call: Call, who: str
) -> None:
    """--retired takes neither what is held nor its ancestors, and nothing before a brake that waits for its release."""
    world, trees = retired
    if who == "the janitor":
        janitor = _janitor(world)
        janitor.fulls = 1
        janitor.write_conf()
    conf = world.conf if who == "the host" else janitor.conf
    assert call("hold", world.job, "-c", world.conf, "--at", world.runs[4]).status == Exit.DONE
    assert call("prune", "-c", conf, "--retired", world.job, "--yes").status == Exit.DONE
    assert world.runs == list(trees)[:5]
    world.assert_restores({run: trees[run] for run in world.runs})
    assert call("release", world.job, "-c", world.conf, "--at", world.runs[4]).status == Exit.DONE
    manifest = world.archives[-1].manifest
    (world.folder / manifest.at.manifest).write_bytes(replace(manifest, brake="looks empty").to_json())
    assert call("prune", "-c", conf, "--retired", world.job, "--yes").status == Exit.DONE
    assert world.runs == list(trees)[:5]
    assert call("release", world.job, "-c", world.conf).status == Exit.DONE
    assert call("prune", "-c", conf, "--retired", world.job, "--yes").status == Exit.DONE
    assert world.runs == list(trees)[:3]


def test_a_job_that_the_conf_lost_goes_by_its_name(tmp_path: Path, call: Call) -> None:
    """--retired takes just the named job; one that another conf's file made, or that the conf has, stays."""
    world = World(tmp_path)
    trees = world.days(0, 1)
    lost, world.tree = world.job, tmp_path / "another"
    world.write_conf()
    trees |= world.days(2)
    manifest = world.archives[0].manifest
    other = tmp_path / "other.conf"
    other.write_text(world.conf.read_text())
    for conf, job in ((world.conf, world.job), (other, lost)):
        assert call("prune", "-c", conf, "--retired", job, "--yes").status == Exit.DONE
        assert _stored_runs(world) == set(trees)
    assert call("prune", "-c", world.conf, "--retired", lost, "--yes").status == Exit.DONE
    assert _stored_runs(world) == {manifest.run}
    world.assert_restores({manifest.run: trees[manifest.run]})


def test_archives_of_a_machine_that_still_writes_are_left_alone(tmp_path: Path, call: Call) -> None:
    """Where two machines have one name, prune names both, and sweeps the other's neither as dead nor as retired."""
    world = World(tmp_path)
    world.days(*range(_SWEEPING))
    archives = world.archives
    theirs = {}
    for archive in archives:  # every second day was another machine's
        if world.runs.index(archive.run) % 2:
            plain = replace(archive.manifest, machine="0b0b0b0b", type=Type.FULL, parent=None, root=None, slot=0)
            (world.folder / archive.manifest.at.manifest).unlink()
            _put(world, plain)
            theirs[plain.run] = plain
    world.fulls = 1
    world.write_conf()
    janitor = _janitor(world)
    janitor.fulls = 1
    janitor.write_conf()
    ours = {item.run for item in archives} - set(theirs)
    for conf, others in ((world.conf, set(theirs)), (janitor.conf, ours)):  # the newest is theirs: so sees the janitor
        others &= set(world.runs)
        said = call("prune", "-c", conf, "--retired", world.job, "--yes")
        assert said.status == Exit.WARNINGS
        assert all(machine in said.err for machine in ("0b0b0b0b", archives[0].manifest.machine))
        assert others <= set(world.runs)


def _put(world: World, manifest: Manifest) -> None:
    path = world.folder / manifest.at.manifest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(manifest.to_json())


# rm


def test_rm_deletes_the_one_that_is_meant_and_the_next_run_says_why_it_makes_a_full(tmp_path: Path, call: Call) -> None:
    """An archive that others need goes only with them; without the parent of its state the next run makes a FULL."""
    world = World(tmp_path, diffs=3)
    trees = world.days(0, 1, 2)
    full, middle, last = world.runs
    refused = call("rm", world.job, "-c", world.conf, "--at", middle, "--yes")
    assert (refused.status, last in refused.err, "--with-children" in refused.err) == (Exit.USAGE, True, True)
    unasked = call("rm", world.job, "-c", world.conf, "--at", last)
    assert (unasked.status, "--yes" in unasked.err) == (Exit.USAGE, True)
    assert world.runs == [full, middle, last]
    shown = call("rm", world.job, "-c", world.conf, "--at", middle, "--with-children", "-n").out
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("goes")] == [
        str(world.day(2)),
        str(world.day(1)),
    ]
    assert f"remains: 1 days: {world.day(0)}" in shown
    assert "makes a FULL" in shown
    said = call("rm", world.job, "-c", world.conf, "--at", middle, "--with-children", "--yes")
    assert (said.status, world.runs) == (Exit.DONE, [full])
    world.assert_restores({full: trees[full]})
    world.assert_tidy()
    result = world.run(3)
    assert result.manifest is not None
    assert result.manifest.type is Type.FULL
    assert "FULL instead of DIFF: the state matches no archive" in result.message


def test_rm_refuses_what_is_held_and_days_that_are_not(tmp_path: Path, call: Call) -> None:
    """A hold outlasts even rm, on a child too; and a day without an archive is not taken for the day before."""
    world = World(tmp_path)
    world.days(0, 1)
    assert call("hold", world.job, "-c", world.conf).status == Exit.DONE
    before = everything(world.folder)
    for at in (world.runs[0], world.runs[1], str(world.day(0))):
        said = call("rm", world.job, "-c", world.conf, "--at", at, "--yes", "--with-children")
        assert (said.status, f"release {world.job}" in said.err) == (Exit.USAGE, True), said.err
    said = call("rm", world.job, "-c", world.conf, "--at", world.day(5), "--yes")
    assert (said.status, str(world.day(1)) in said.err) == (Exit.NOTHING, True)
    assert everything(world.folder) == before


def test_rm_takes_what_cannot_be_restored(tmp_path: Path, call: Call) -> None:
    """A broken archive is never offered for a restore, but can be deleted; that nothing is left of the job is said."""
    world = World(tmp_path)
    world.days(0)
    world.storage.put(world.archives[0].manifest.at.mark("distrust"), b"")
    said = call("rm", world.tree, "-c", world.conf, "--at", world.day(0), "--yes")
    assert (said.status, "NOTHING of this job" in said.out) == (Exit.DONE, True)
    assert list(world.storage.list("")) == []


# killed half-way


def _whole(world: World, before: dict[str, bytes]) -> None:
    """Fail unless whatever list calls restorable is whole, byte by byte."""
    known = world.known
    assert not known.unreadable
    with Reader(world.storage, KeySource()) as reader:
        for archive in known.archives:
            links = chain(archive, known.by_run)
            assert links is not None
            reader.open(archive)
            for key, content in before.items():
                if archive.run in key:
                    assert world.storage.get(key) == content


def _sweep(world: World, storage: Storage, conf: Path, *, retired: bool) -> None:
    loaded = access.config.load(conf, on_this_host=False)
    place = Place(storage=storage, host=world.host, endpoint=None, conf=loaded, jobs=loaded.jobs)
    sweep = deleting._sweep_of(place, dry=False)
    only = [world.job] if retired else []
    fates, statuses = sweep.carry_out(sweep.plan(only, retired=retired))
    assert statuses == []
    assert set(fates.values()) <= {Fate.SWEPT}


def _delete(world: World, storage: Storage, conf: Path) -> None:
    loaded = access.config.load(conf, on_this_host=False)
    place = Place(storage=storage, host=world.host, endpoint=None, conf=loaded, jobs=loaded.jobs)
    known = access.find_job(place, world.job)
    going: list[Archive] = deleting._family(known, known.archives[-2], with_children=True)
    deleting._removed(place, world.job, known.archives[-2].run, going)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("act", ["prune here", "prune elsewhere", "prune --retired", "rm here", "rm elsewhere"])
def test_a_crash_at_any_storage_call_loses_nothing_and_the_next_prune_finishes(act: str, after: bool) -> None:
    """Dying at the k-th storage call, for every k, leaves what is listed whole; another prune leaves nothing behind."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        base = Path(folder)
        world, saved = World(base, diffs=1, fulls=2 if act == "prune --retired" else 1), base / "saved"
        _put_only(world, range(4))
        left = _leave(world, 4)
        if act.endswith("elsewhere"):  # here the notes tell what was begun
            _age(world, [*world.runs, left])
            world.storage.put("data/alpha/clock", b"")
        if act == "prune --retired":
            world.fulls = 1
            world.write_conf()
        conf = _janitor(world).conf if act.endswith("elsewhere") else world.conf
        for path in (world.folder, world.diffdir):
            shutil.copytree(path, saved / path.name, symlinks=True, copy_function=shutil.copy2)
        before = {item.key: world.storage.get(item.key) for item in world.storage.list("")}
        for number in itertools.count(1):
            for path in (world.folder, world.diffdir):
                shutil.rmtree(path)
                shutil.copytree(saved / path.name, path, symlinks=True, copy_function=shutil.copy2)
            storage = FaultyStorage(world.storage, at=number, error=CrashError(), after=after, for_good=True)
            try:
                if act.startswith("rm"):
                    _delete(world, storage, conf)
                else:
                    _sweep(world, storage, conf, retired="retired" in act)
            except CrashError:
                _whole(world, before)
            else:
                break
            _sweep(world, world.storage, conf, retired="retired" in act)
            _whole(world, before)
            assert _stored_runs(world) - {"alpha"} == set(world.runs)
            if act.startswith("prune"):
                assert len(world.runs) == 2
        assert number > 8
