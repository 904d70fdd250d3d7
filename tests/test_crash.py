"""Promise 1 under the worst: the process dies, the storage fails or refuses, machines and clocks disagree."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from small_world import Tree, World, fake_program, s3nap, tree_of
from storages import CrashError, FaultyStorage

from s3nap import archiving
from s3nap.errors import DeniedError, Exit, StorageError
from s3nap.liveness import chain
from s3nap.manifest import Type
from s3nap.reader import KeySource, Reader
from s3nap.state import DiffDir, JobState
from s3nap.storage import Data, Listed, Stored
from s3nap.storage.local import LocalStorage

_TESTS = Path(__file__).parent
_ROUND = 6  # days: two FULLs with two DIFFs each
_SWEEPING = 8  # the first day after which nobody needs the first chain


@dataclass
class Stage:
    """A world at the eve of a run, and how that run ends where nothing goes wrong."""

    world: World
    day: int
    saved: Path
    before: dict[str, bytes]
    surviving: set[str]

    def reset(self) -> None:
        """Put bucket and DiffDir back to the eve."""
        for folder in (self.world.folder, self.world.diffdir):
            shutil.rmtree(folder)
            shutil.copytree(self.saved / folder.name, folder, symlinks=True)

    def assert_nothing_lost(self) -> None:
        """Fail if an object that must survive the run is not what it was, or an archive that is listed is not whole.

        That goes for the archives that are being swept, too: children go before parents, manifests before data.
        """
        for key, content in self.before.items():
            if any(run in key for run in self.surviving):
                assert self.world.storage.get(key) == content
        known = self.world.known
        assert not known.unreadable
        with Reader(self.world.storage, KeySource()) as reader:
            for archive in known.archives:
                assert chain(archive, known.by_run) is not None
                reader.open(archive)


def _objects(world: World) -> dict[str, bytes]:
    return {item.key: world.storage.get(item.key) for item in world.storage.list("")}


@pytest.fixture(scope="module", params=["FULL", "DIFF", "DIFF and sweep"])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    day = {"FULL": 3, "DIFF": 1, "DIFF and sweep": _SWEEPING}[request.param]
    # hundreds of runs: in memory, where syncing costs nothing
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield _stage(Path(folder), day)


def _stage(base: Path, day: int) -> Stage:
    world, saved = World(base), base / "saved"
    world.days(*range(day))
    world.fill(day)
    for folder in (world.folder, world.diffdir):
        shutil.copytree(folder, saved / folder.name, symlinks=True)
    before = _objects(world)
    assert world.run(day).outcome == "done"
    made = Stage(world, day, saved, before, set(world.runs))
    made.reset()
    return made


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_storage_call_loses_nothing(stage: Stage, after: bool) -> None:
    """Dying at the k-th storage call, for every k, leaves all older archives whole, and the next runs mend the rest."""
    for number in itertools.count(1):
        stage.reset()
        storage = FaultyStorage(stage.world.storage, at=number, error=CrashError(), after=after, for_good=True)
        try:
            stage.world.run(stage.day, storage=storage)
        except CrashError:
            stage.assert_nothing_lost()
            _assert_mended(stage)
        else:
            break
    assert number > 12  # the fault was met, again and again


def _assert_mended(stage: Stage) -> None:
    """The same day once more, and the next: one archive for each day, nothing left over, and the chain goes on."""
    world = stage.world
    again = world.run(stage.day)
    assert again.outcome in {"done", "skipped"}, again.message
    stage.assert_nothing_lost()
    today = [item for item in world.archives if item.manifest.day == world.day(stage.day)]
    assert [item.manifest.type for item in today] == [Type.FULL if stage.day == 3 else Type.DIFF]
    restored = world.restore(today[0].run)
    assert restored == tree_of(world.tree)
    shutil.rmtree(world.base / "restored-0")
    tomorrow = world.run(stage.day + 1)
    assert (tomorrow.outcome, tomorrow.status) == ("done", Exit.DONE), tomorrow.message
    assert tomorrow.manifest is not None
    assert tomorrow.manifest.type is (Type.FULL if stage.day == _SWEEPING else Type.DIFF)
    world.assert_tidy()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", ["note", "keep", "keep_state", "install", "forget", "drop"])
def test_a_crash_at_any_step_in_diffdir_loses_nothing(
    stage: Stage, step: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dying before or after each thing that is written to DiffDir is repaired, above all between commit and install."""
    real: Callable[..., object] = getattr(JobState, step)
    for number in itertools.count(1):
        stage.reset()
        calls = itertools.count(1)

        def dying(*args: object, _calls: Iterator[int] = calls, _at: int = number, **kwargs: object) -> object:
            hit = next(_calls) == _at
            if hit and not after:
                raise CrashError
            result = real(*args, **kwargs)
            if hit:
                raise CrashError
            return result

        with monkeypatch.context() as patch:
            patch.setattr(JobState, step, dying)
            try:
                stage.world.run(stage.day)
            except CrashError:
                pass
            else:
                break
        stage.assert_nothing_lost()
        _assert_mended(stage)
    assert number > 1 or step == "drop"


_KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from storages import FaultyStorage
from s3nap import access, cli
class Death(FaultyStorage):
    def _pass(self, operation, key, call):
        try:
            return super()._pass(operation, key, call)
        except Exception:
            os.kill(os.getpid(), signal.SIGKILL)
real = access.storage_of
access.storage_of = lambda conf: Death(real(conf), at={at}, operation={operation!r}, key={key!r}, after={after})
sys.exit(cli._status(["-c", {conf!r}, "--date", {day!r}]))
"""


@pytest.mark.parametrize(
    ("operation", "key", "at", "after"),
    [
        ("put", "data/", 2, False),
        ("put", "data/", 4, True),
        ("put", "/sums", 1, True),
        ("put", ".json", 1, False),
        ("put", ".json", 1, True),
        ("get", ".json", 1, True),
        ("delete", "", 1, True),
        ("delete", "", 3, False),
    ],
)
def test_a_killed_process_loses_nothing(tmp_path: Path, operation: str, key: str, at: int, after: bool) -> None:
    """A real kill -9 of the command line, with its threads and programs, is repaired by the next run."""
    stage = _stage(tmp_path, _SWEEPING)
    script = _KILLED.format(
        tests=str(_TESTS),
        at=at,
        operation=operation,
        key=key,
        after=after,
        conf=str(stage.world.conf),
        day=str(stage.world.day(_SWEEPING)),
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    stage.assert_nothing_lost()
    _assert_mended(stage)


# what the storage answers


@pytest.mark.parametrize(
    ("fault", "arrived"),
    [
        pytest.param({"operation": "put", "after": True}, True, id="the answer to the put is lost"),
        pytest.param({"operation": "put"}, False, id="the put fails"),
        pytest.param({"operation": "get", "at": 2}, True, id="the read-back fails"),
        pytest.param({"operation": "put", "after": True, "for_good": True}, True, id="the network is gone"),
        pytest.param({"operation": "put", "error": DeniedError("no")}, False, id="the put is denied"),
    ],
)
def test_a_commit_in_doubt_is_settled_by_the_next_run(tmp_path: Path, fault: dict[str, object], arrived: bool) -> None:
    """When nobody knows whether the manifest arrived, the run fails, nothing is deleted, and the next run asks."""
    world = World(tmp_path)
    trees = world.days(0)
    world.fill(1)
    storage = FaultyStorage(world.storage, **{"at": 1, "key": ".json", **fault})  # type: ignore[arg-type]
    result = world.run(1, storage=storage)
    assert (result.outcome, result.status) == ("failed", Exit.FAILED)
    assert len(world.runs) == 1 + arrived
    if arrived:
        assert "manifest" in result.message
        trees[world.runs[-1]] = tree_of(world.tree)
    world.assert_restores(trees)
    assert world.run(1).outcome == ("skipped" if arrived else "done")
    trees[world.runs[-1]] = tree_of(world.tree)
    trees |= world.days(2)
    assert [item.manifest.type for item in world.archives] == [Type.FULL, Type.DIFF, Type.DIFF]
    world.assert_restores(trees)
    world.assert_tidy()


def test_a_manifest_that_reads_back_as_something_else_is_no_success(tmp_path: Path) -> None:
    """A storage that does not give back what it took must not have its word taken for the commit."""

    class Garbling(FaultyStorage):
        def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
            return super().get(key, start=start, length=length)[:-1] + b" "

    world = World(tmp_path)
    world.fill()
    result = world.run(0, storage=Garbling(world.storage))
    assert (result.outcome, result.status) == ("failed", Exit.FAILED)
    assert "reads back" in result.message


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("00000001.zst", {}),
        ("00000001.zst", {"": 7}),
        ("00000001.zst", {"": 0}),
        ("sums", {}),  # the last of all
        ("chunks", {"": None, "/strange": 3}),
    ],
)
def test_a_storage_that_lists_less_than_was_put_gets_no_manifest(
    tmp_path: Path, name: str, instead: dict[str, int | None]
) -> None:
    """What the storage acknowledged but does not hold as it was is found before the commit, and nothing is left."""

    class Losing(FaultyStorage):
        def put(self, key: str, data: Data, *, bulk: bool = False) -> Stored:
            if not key.endswith("/" + name):
                return super().put(key, data, bulk=bulk)
            for suffix, size in instead.items():
                super().put(key + suffix, data[:size], bulk=bulk)
            return Stored()

    world = World(tmp_path)
    trees = world.days(0)
    world.fill(1)
    result = world.run(1, storage=Losing(world.storage))
    assert (result.outcome, result.status) == ("failed", Exit.FAILED)
    assert name in result.message
    world.assert_tidy()
    world.assert_restores(trees)


class Restricted:
    """A storage whose credentials allow only some operations."""

    def __init__(self, inner: LocalStorage, *, denied: Iterable[str] = (), retained: bool = False) -> None:
        self.inner, self.denied, self.retained = inner, set(denied), retained

    @property
    def url(self) -> str:
        return self.inner.url

    def check(self) -> None:
        self.inner.check()

    def _ask(self, operation: str) -> None:
        if operation in self.denied:
            raise DeniedError(f"{operation} is denied")

    def put(self, key: str, data: Data, *, bulk: bool = False) -> Stored:
        return self.inner.put(key, data, bulk=bulk)

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        self._ask("get")
        return self.inner.get(key, start=start, length=length)

    def list(self, prefix: str) -> Iterator[Listed]:
        self._ask("list")
        yield from self.inner.list(prefix)

    def delete(self, keys: Iterable[str]) -> Sequence[str]:
        self._ask("delete")
        return list(keys) if self.retained else self.inner.delete(keys)


def _through(world: World, storage: Restricted, days: Iterable[int]) -> dict[str, Tree]:
    trees = {}
    for number in days:
        world.fill(number)
        result = world.run(number, storage=storage)
        assert (result.outcome, result.status) == ("done", Exit.DONE), [result.message, *result.warnings]
        assert result.manifest is not None
        trees[result.manifest.run] = tree_of(world.tree)
    return trees


@pytest.mark.parametrize("how", ["retained", "denied"])
def test_denied_deletes_are_tried_again_later(tmp_path: Path, how: str) -> None:
    """Object Lock or missing rights keep what is swept: no failure, and it goes once it may."""
    world = World(tmp_path)
    storage = Restricted(world.storage, retained=how == "retained", denied=["delete"] if how == "denied" else [])
    trees = _through(world, storage, range(_SWEEPING + 2))
    assert len(world.runs) == _SWEEPING + 2
    world.assert_restores(trees)
    first = set(list(trees)[:3])
    trees |= world.days(_SWEEPING + 2)
    assert not first & set(world.runs)
    world.assert_tidy()
    world.assert_restores({run: tree for run, tree in trees.items() if run in world.runs})


def test_put_only_credentials_still_make_diffs(tmp_path: Path) -> None:
    """A host that may only put works from DiffDir alone, day after day; what it puts is whole, and swept by who may."""
    world = World(tmp_path)
    storage = Restricted(world.storage, denied=["list", "get", "delete"])
    trees = _through(world, storage, range(_SWEEPING + 1))
    full, diff = Type.FULL, Type.DIFF
    assert [item.manifest.type for item in world.archives] == [full, diff, diff] * 3
    world.assert_restores(trees)
    skipped = world.run(_SWEEPING, storage=storage)
    assert (skipped.outcome, skipped.status) == ("skipped", Exit.DONE)
    world.days(_SWEEPING + 1)
    world.assert_tidy()


def test_a_put_only_host_recovers_from_a_failed_run(tmp_path: Path) -> None:
    """Without the right to look, a run that failed is neither taken for committed nor in the way of the next."""
    world = World(tmp_path)
    storage = Restricted(world.storage, denied=["list", "get", "delete"])
    trees = _through(world, storage, [0])
    world.fill(1)
    failing = FaultyStorage(storage, at=1, operation="put", key="/sums", for_good=True)
    assert world.run(1, storage=failing).outcome == "failed"
    trees |= _through(world, storage, [1, 2])
    assert [item.manifest.type for item in world.archives] == [Type.FULL, Type.DIFF, Type.DIFF]
    world.assert_restores(trees)


def test_a_sweep_that_fails_is_finished_by_the_next_run(tmp_path: Path) -> None:
    """A network that breaks while old archives are deleted spoils neither the new archive nor the later sweep."""
    world = World(tmp_path)
    world.days(*range(_SWEEPING))
    world.fill(_SWEEPING)
    storage = FaultyStorage(world.storage, at=3, operation="delete", for_good=True, error=StorageError("gone"))
    result = world.run(_SWEEPING, storage=storage)
    assert (result.outcome, result.manifest is not None) == ("done", True)
    tree = tree_of(world.tree)
    assert world.run(_SWEEPING).outcome == "skipped"
    assert len(world.runs) < _SWEEPING + 1
    world.assert_restores({world.runs[-1]: tree})
    world.days(_SWEEPING + 1)
    world.assert_tidy()


# what cannot be understood


@pytest.mark.parametrize("damage", ["garbage", "newer format", "unknown need", "of another archive"])
def test_nothing_is_swept_while_a_manifest_cannot_be_understood(tmp_path: Path, damage: str) -> None:
    """An archive that cannot be read may need any other: the run warns with 3 and deletes nothing of the job."""
    world = World(tmp_path)
    world.days(*range(_SWEEPING))
    before = set(world.runs)
    victim = world.archives[-1].manifest
    path = world.folder / victim.at.manifest
    good, plain = path.read_bytes(), json.loads(path.read_bytes())
    changed = {
        "garbage": b"garbage",
        "newer format": json.dumps(plain | {"format": 2}).encode(),
        "unknown need": json.dumps(plain | {"needs": ["telepathy"]}).encode(),
        "of another archive": json.dumps(plain | {"slot": 2}).encode(),
    }[damage]
    path.write_bytes(changed)
    world.fill(_SWEEPING)
    result = world.run(_SWEEPING)
    assert (result.outcome, result.status) == ("done", Exit.WARNINGS)
    assert victim.run in " ".join(result.warnings)
    assert set(world.runs) >= before - {victim.run}
    path.write_bytes(good)
    world.days(_SWEEPING + 1)
    world.assert_tidy()
    assert not set(world.runs) & set(sorted(before)[:3])


@pytest.mark.parametrize(("old", "new"), [(b"{", b"x"), (b'"slot": 2', b'"slot": 1'), (b'"type": "F', b'"type": "D')])
def test_a_damaged_copy_in_diffdir_is_fetched_again(tmp_path: Path, old: bytes, new: bytes) -> None:
    """The copies of manifests are a cache: what rotted there decides neither what is read nor what is swept."""
    world = World(tmp_path, diffs=0, fulls=3)
    trees = world.days(0, 1, 2)
    for copy in world.state.manifests.iterdir():
        copy.write_bytes(copy.read_bytes().replace(old, new))
    trees |= world.days(30)
    assert world.runs == sorted(trees)[1:]
    world.assert_restores({run: trees[run] for run in world.runs})


def test_a_damaged_machine_id_is_made_anew(tmp_path: Path) -> None:
    """A file of zeros is no name for a machine: the next run is like that of a rebuilt host, and the one after it."""
    world = World(tmp_path)
    trees = world.days(0)
    (world.diffdir / "machine").write_bytes(bytes(17))
    trees |= world.days(1, 2)
    made = [(item.manifest.type, item.manifest.machine) for item in world.archives]
    assert [kind for kind, _ in made] == [Type.FULL, Type.FULL, Type.DIFF]
    assert made[1][1] == made[2][1] != made[0][1]
    assert made[1][1].strip("\0")
    world.assert_restores(trees)


@pytest.mark.parametrize("damage", [b"", b"null", b"[]", b'{"host": 1}', b"\xff"])
def test_a_damaged_note_is_passed_over(tmp_path: Path, damage: bytes) -> None:
    """A note that cannot be read stops no run."""
    world = World(tmp_path)
    trees = world.days(0)
    for kind in ("runs", "sweeps"):
        (world.state.folder / kind).mkdir(exist_ok=True)
        (world.state.folder / kind / "20240101T000000Z-abcdef").write_bytes(damage)
    world.assert_restores(trees | world.days(1))


def test_a_manifest_from_the_future_counts_for_nothing_and_is_reported(tmp_path: Path) -> None:
    """An archive that claims to be of next week must neither be a parent, nor push run ids on, nor be swept unseen."""
    world = World(tmp_path)
    trees = world.days(0)
    manifest = world.archives[0].manifest
    plain = json.loads((world.folder / manifest.at.manifest).read_bytes())
    ahead = datetime.now(UTC) + timedelta(days=7)
    run = f"{ahead:%Y%m%dT%H%M%SZ}-abcdef"
    forged = world.folder / Path(manifest.at.manifest).with_name(f"{run}.json")
    forged.write_text(json.dumps(plain | {"run": run, "started": ahead.isoformat()}))
    world.fill(1)
    result = world.run(1)
    assert (result.outcome, result.status) == ("done", Exit.WARNINGS)
    assert run in " ".join(result.warnings)
    assert result.manifest is not None
    assert (result.manifest.type, result.manifest.parent) == (Type.DIFF, manifest.run)
    assert result.manifest.run < run
    assert forged.exists()
    world.assert_restores(trees)


# clocks and machines


def test_run_ids_grow_though_the_clock_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock set back by a year must not make new archives look older than those they build on."""
    world = World(tmp_path)
    trees = world.days(0, 1)

    class Past(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            del tz
            return datetime(2020, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(archiving, "datetime", Past)
    trees |= world.days(2, 3, 4)
    assert list(trees) == sorted(trees) == world.runs
    assert [item.manifest.type.value for item in world.archives] == ["FULL", "DIFF", "DIFF", "FULL", "DIFF"]
    world.assert_restores(trees)


def test_a_clock_far_ahead_pushes_nothing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive of next year counts for nothing; so none is made, and its slot keeps what it has."""
    world = World(tmp_path, diffs=0, fulls=2)
    trees = world.days(0, 1)

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            del tz
            return datetime.now(UTC) + timedelta(days=365)

    world.fill(2)
    with monkeypatch.context() as patch:
        patch.setattr(archiving, "datetime", Ahead)
        result = world.run(365)
    assert (result.outcome, result.status) == ("failed", Exit.FAILED)
    assert "clock" in result.message
    assert world.runs == sorted(trees)
    world.assert_restores(trees)
    world.days(2)
    world.assert_tidy()


def _other_machine(world: World) -> World:
    """Return another machine with the same conf, tree and bucket."""
    other = World(world.base)
    other.diffdir = world.base / "diffs-of-the-other"
    other.diffdir.mkdir(exist_ok=True)
    other.conf = world.base / "other" / "s3nap.conf"
    other.conf.parent.mkdir(exist_ok=True)
    other.write_conf()
    return other


def test_two_machines_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Two machines under one host name end with 3, naming both; neither builds on nor sweeps what the other made."""
    ours = World(tmp_path)
    theirs = _other_machine(ours)
    ours.days(0)
    theirs.fill(1)
    assert theirs.run(1).status is Exit.DONE  # nobody can know yet: it takes over
    ids = {archive.manifest.machine for archive in ours.archives}
    assert len(ids) == 2
    made = {archive.run: archive.manifest for archive in ours.archives}
    for number in range(2, _SWEEPING + 4):
        who = theirs if number % 4 == 3 else ours
        who.fill(number)
        before = set(ours.runs)
        result = who.run(number)
        assert result.manifest is not None
        assert (result.outcome, result.status) == ("done", Exit.WARNINGS)
        assert all(machine in " ".join(result.warnings) for machine in ids)
        others = {run for run in before if made[run].machine != result.manifest.machine}
        assert others <= set(ours.runs)
        made[result.manifest.run] = result.manifest
        parent = result.manifest.parent
        assert parent is None or made[parent].machine == result.manifest.machine


def test_a_lost_diffdir_is_said_and_taken_over(tmp_path: Path, caplog_lines: list[str]) -> None:
    """A rebuilt machine makes a FULL, says why, keeps what is there restorable, and rotates it away in time."""
    world = World(tmp_path)
    trees = world.days(0, 1, 2, 3)
    shutil.rmtree(world.diffdir)
    world.diffdir.mkdir()
    world.fill(4)
    result = world.run(4)
    assert (result.outcome, result.status) == ("done", Exit.DONE)
    assert "FULL instead of DIFF: no archive of this machine yet" in result.message
    assert any("takes over the 4 archives" in line for line in caplog_lines)
    world.assert_restores(trees)
    caplog_lines.clear()
    world.days(*range(5, 5 + 2 * _ROUND))
    assert not any("takes over" in line for line in caplog_lines)
    assert not set(trees) & set(world.runs)
    world.assert_tidy()


@pytest.fixture
def caplog_lines() -> Iterator[list[str]]:
    from loguru import logger  # noqa: PLC0415

    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}", level="INFO")
    yield lines
    logger.remove(sink)


def test_a_lost_state_makes_a_full(tmp_path: Path) -> None:
    """Without the state of the last run no DIFF is possible: a FULL, with the reason shown."""
    world = World(tmp_path)
    trees = world.days(0)
    (world.state.folder / "state").unlink()
    world.fill(1)
    result = world.run(1)
    assert result.manifest is not None
    assert result.manifest.type is Type.FULL
    assert "state is lost" in result.message
    world.assert_restores(trees | {result.manifest.run: tree_of(world.tree)})


# two at once


def test_only_one_of_two_processes_works_on_a_job(tmp_path: Path) -> None:
    """A second s3nap on the same job is told so and ends with 11; the first is not disturbed."""
    world = World(tmp_path)
    world.fill()
    go = tmp_path / "go"
    slow = fake_program(tmp_path / "bin", "tar", f'while [ ! -e {go} ]; do sleep 0.05; done; exec "$REAL" "$@"')
    env = os.environ | {"PATH": f"{slow.parent}:{os.environ['PATH']}"}
    day = str(world.day(0))
    first = subprocess.Popen(
        [sys.executable, "-m", "s3nap", "-q", "-c", str(world.conf), "--date", day], env=env, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 20
    while not list(world.diffdir.glob("*/*/*/runs/*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    second = s3nap("-c", world.conf, "--date", day)
    go.touch()
    _, said = first.communicate()
    assert second.returncode == Exit.LOCKED
    assert "another s3nap" in second.stderr
    assert first.returncode == Exit.DONE, said
    assert len(world.runs) == 1
    world.assert_restores({world.runs[0]: tree_of(world.tree)})


def test_twenty_runs_at_once_make_one_archive(tmp_path: Path) -> None:
    """On a DiffDir without anything in it, too: one run works, nineteen say that it does, and the next day goes on."""
    world = World(tmp_path)
    world.fill()
    go = tmp_path / "go"
    slow = fake_program(tmp_path / "bin", "tar", f'while [ ! -e {go} ]; do sleep 0.05; done; exec "$REAL" "$@"')
    env = os.environ | {"PATH": f"{slow.parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "s3nap", "-q", "-c", str(world.conf), "--date", str(world.day(0))]
    runs = [subprocess.Popen(command, env=env, stderr=subprocess.PIPE) for _ in range(20)]
    deadline = time.monotonic() + 120
    while sum(run.poll() is None for run in runs) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    go.touch()
    said = [run.communicate()[1].decode() for run in runs]
    statuses = [run.returncode for run in runs]
    assert sorted(statuses) == [Exit.DONE] + [Exit.LOCKED] * 19, said
    assert all("another s3nap" in text for text, status in zip(said, statuses, strict=True) if status)
    trees = {world.runs[0]: tree_of(world.tree)}
    trees |= world.days(1)
    assert [item.manifest.type for item in world.archives] == [Type.FULL, Type.DIFF]
    world.assert_restores(trees)
    world.assert_tidy()


def test_all_who_ask_at_once_get_one_machine_id(tmp_path: Path) -> None:
    """The id of a machine is made once: who lost the race must not commit under another."""
    start = threading.Barrier(20)

    def ask(_: int) -> str:
        start.wait()
        return DiffDir(tmp_path, "memory://", "alpha").machine

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(ask, range(20)))) == 1


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    """The lock dies with the process, even though tar may outlive it."""
    world = World(tmp_path)
    world.fill()
    hang = fake_program(tmp_path / "bin", "tar", f"echo $$ > {tmp_path}/pid; exec sleep 60")
    env = os.environ | {"PATH": f"{hang.parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "s3nap", "-q", "-c", str(world.conf), "--date", str(world.day(0))]
    process = subprocess.Popen(command, env=env)
    deadline = time.monotonic() + 20
    pid = tmp_path / "pid"
    while not (pid.exists() and pid.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    try:
        assert s3nap("-c", world.conf, "--date", world.day(0)).returncode == Exit.DONE
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)
    world.assert_tidy()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_run_ends_its_programs_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, a shutdown or a lost terminal end with 130: tar is killed, and what was stored is removed."""
    world = World(tmp_path)
    trees = world.days(0)
    world.fill(1)
    hang = fake_program(tmp_path / "bin", "tar", f"echo $$ > {tmp_path}/pid; head -c 300000 /dev/zero; exec sleep 60")
    env = os.environ | {"PATH": f"{hang.parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "s3nap", "-c", str(world.conf), "--date", str(world.day(1))]
    process = subprocess.Popen(
        command,
        env=env,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # noqa: PLW1509 - tests may run under nohup
    )
    deadline = time.monotonic() + 20
    while len(list(world.folder.glob("data/**/0000000*"))) < 6 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == Exit.INTERRUPTED, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
    world.assert_tidy()
    world.assert_restores(trees)
