"""Promises 1 and 2 at every step of a run and of a restore: the process dies there, or the disk is full or broken.

A step is whatever changes a file or folder, starts a program, has seen one end, and each call of the storage, before
and after. CI takes a sample of them, spread over the whole run; with ``S3NAP_SOAK_MINUTES`` set it takes them all.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import soak
from buckets import Bucket, Endpoint
from daily import Daily
from dying import Stepping, broken, dies, hangs, steps_of
from servers import MariaDB, Postgres
from small_world import World, fake_program, tree_of

from s3nap import access, config
from s3nap.backup import Options, Run
from s3nap.catalog import Catalog, JobCatalog
from s3nap.errors import Exit, S3napError
from s3nap.reader import KeySource, Reader
from s3nap.restore import restore_tree
from s3nap.state import DiffDir
from s3nap.storage import Storage

pytestmark = pytest.mark.usefixtures("quiet")

_SAMPLE = None if soak.MINUTES else 10  # points of a run that are tried
_DISK_SAMPLE = None if soak.MINUTES else 40
_HANG_SAMPLE = None if soak.MINUTES else 8


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


def _points(count: int, sample: int | None) -> list[int]:
    """Return steps from the first to the last."""
    if sample is None or count <= sample:
        return list(range(1, count + 1))
    return sorted({1 + number * (count - 1) // (sample - 1) for number in range(sample)})


@dataclass
class Place:
    """What is backed up where; ``change`` makes the next day's differ."""

    daily: Daily
    job: str
    change: Callable[[int], None]
    diff: bool
    day: int = 0
    _storage: tuple[int, Storage] | None = None

    @property
    def storage(self) -> Storage:
        """The storage; one for each process, for a fork must not share its parent's connections."""
        if self._storage is None or self._storage[0] != os.getpid():
            self._storage = (os.getpid(), access.storage_of(config.load(self.daily.conf)))
        return self._storage[1]

    @property
    def known(self) -> JobCatalog:
        return Catalog(self.storage, "here").job(self.job)

    def run(self, *, force: bool = False) -> list[str]:
        """Run in this process; return how it ended."""
        conf = config.load(self.daily.conf)
        execution = Run(conf, Stepping(self.storage), Options(day=self.daily.date(self.day), force=force))
        try:
            return [result.message for result in execution.execute() if result.status is not Exit.DONE]
        finally:
            execution.close()

    def streams(self) -> dict[str, str]:
        """The sha256 of what each archive holds, read and verified to the end; each must be whole."""
        found = {}
        known = self.known
        assert known.unreadable == []
        with Reader(self.storage, KeySource()) as reader:
            for archive in known.archives:
                digest = hashlib.sha256()
                for piece in reader.stream(reader.open(archive), lambda _size: None):
                    digest.update(piece)
                found[archive.run] = digest.hexdigest()
        return found

    def assert_tidy(self) -> None:
        """Nothing is stored that no manifest owns, and no note is left."""
        conf = config.load(self.daily.conf)
        owned = {archive.manifest.at.data for archive in self.known.archives}
        assert {item.key.rpartition("/")[0] + "/" for item in self.storage.list("data/")} == owned
        state = DiffDir(conf["DiffDir"], f"{self.storage.url}@{conf['Endpoint'] or ''}", "here").job(self.job)
        for kind in ("runs", "sweeps"):
            assert list(state.notes(kind)) == []


@pytest.fixture(params=["local", "S3"])
def bucket(request: pytest.FixtureRequest, fresh_bucket: Callable[[Endpoint], Bucket]) -> str:
    """Lines of a conf; the folder is that of Daily."""
    if request.param == "local":
        return ""
    endpoint: dict[str, str] = request.getfixturevalue("rclone_endpoint")
    return fresh_bucket(endpoint).conf()


def _directory(diffs: int) -> Callable[..., Place]:
    def make(path: Path, bucket: str, _request: pytest.FixtureRequest) -> Place:
        tree = path / "tree"
        (tree / "sub").mkdir(parents=True)

        def change(number: int) -> None:
            (tree / "sub" / f"file-{number % 3}").write_bytes(os.urandom(90_000))
            (tree / f"new-{number}").write_text(str(number))

        text = f"ChunkSize 64K\nFulls 2\nDiffs {diffs}\nDirectory {tree}\n"
        return Place(Daily(path / "w", text, bucket), f"Directory{tree}", change, diffs > 0)

    return make


def _mysql(path: Path, bucket: str, request: pytest.FixtureRequest) -> Place:
    server: MariaDB = request.getfixturevalue("mariadb")
    server.empty()
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.things (id INT, text BLOB);")
    options = path / "my.cnf"
    options.write_text(f"[client]\nsocket={server.socket}\nuser=root\n")
    options.chmod(0o600)

    def change(number: int) -> None:
        server.sql(f"INSERT INTO shop.things VALUES ({number}, REPEAT(HEX(RAND()), 5000));")

    text = f"ChunkSize 64K\nFulls 2\nMySQLDefaultsFile {options}\nMySQL shop\n"
    return Place(Daily(path / "w", text, bucket), "MySQL/shop", change, diff=False)


def _postgresql(path: Path, bucket: str, request: pytest.FixtureRequest) -> Place:
    server: Postgres = request.getfixturevalue("postgres")
    name = f"d{secrets.token_hex(4)}"
    server.sql(f"CREATE DATABASE {name}")
    server.sql("CREATE TABLE things (id INT, text TEXT)", name)

    def change(number: int) -> None:
        server.sql(f"INSERT INTO things SELECT {number}, md5(random()::text) FROM generate_series(1, 3000)", name)

    text = f"ChunkSize 64K\nFulls 2\nPostgreSQLHost {server.socket}\nPostgreSQL postgres@{name}\n"
    return Place(Daily(path / "w", text, bucket), f"PostgreSQL/postgres@{name}", change, diff=False)


def _subversion(path: Path, bucket: str, _request: pytest.FixtureRequest) -> Place:
    repository, out = path / "repository", path / "out"
    subprocess.run(["svnadmin", "create", repository], check=True)
    subprocess.run(["svn", "-q", "checkout", repository.as_uri(), out], check=True)

    def change(number: int) -> None:
        file = out / f"file-{number}"
        file.write_text(secrets.token_hex(40_000))
        subprocess.run(["svn", "-q", "add", file], check=True)
        subprocess.run(["svn", "-q", "commit", "-m", "more", out], check=True)

    text = f"ChunkSize 64K\nFulls 2\nDiffs 2\nSubversion {repository}\n"
    return Place(Daily(path / "w", text, bucket), f"Subversion{repository}", change, diff=True)


_PLACES = {
    "FULL": _directory(0),
    "DIFF": _directory(3),
    "MySQL": _mysql,
    "PostgreSQL": _postgresql,
    "Subversion": _subversion,
}


@pytest.mark.parametrize("kind", _PLACES)
def test_dying_at_any_step_loses_nothing(
    tmp_path: Path,
    bucket: str,
    kind: str,
    request: pytest.FixtureRequest,
    tried: Callable[[int], None],
) -> None:
    """Killed at a step of a run: all older archives are what they were, and the next run mends and goes on."""
    place = _PLACES[kind](tmp_path, bucket, request)
    report = tmp_path / "report"
    place.change(0)
    assert place.run() == []
    place.day, held = 1, place.streams()
    place.change(1)
    count = steps_of(report, lambda: _well(place))
    assert count > 40
    held |= place.streams()
    for number, at in enumerate(_points(count, _SAMPLE), 2):
        place.day += 1
        place.change(number)
        dies(at, report, lambda: _well(place))
        now = place.streams()
        assert all(now[run] == digest for run, digest in held.items() if run in now)
        kept = set(held) - set(now)
        place.change(number + 1000)
        assert place.run(force=True) == []
        after = place.streams()
        assert all(after[run] == digest for run, digest in held.items() if run in after)
        assert not kept & set(after)
        place.assert_tidy()
        held = after
    assert len(held) >= (4 if place.diff else 2)
    tried(len(_points(count, _SAMPLE)))


def _well(place: Place) -> None:
    assert place.run(force=True) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
def test_a_disk_that_fails_at_any_step_fails_the_run_and_no_more(
    tmp_path: Path, number: int, tried: Callable[[int], None]
) -> None:
    """Full or broken at one step: an error that says so, or a run done; no traceback, nothing lost, nothing left."""
    world = World(tmp_path)
    trees = world.days(0, 1)
    world.fill(2)
    report = tmp_path / "report"

    def run() -> None:
        result = world.run(2, force=True)
        assert (result.outcome == "failed") == (result.status is Exit.FAILED)
        assert result.outcome in {"done", "failed"}
        assert result.outcome == "done" or result.message

    count = steps_of(report, lambda: broken(0, 0, run))
    for at in _points(count, _DISK_SAMPLE):
        assert not dies(0, report, lambda at=at: broken(at, number, run))  # type: ignore[misc]
        assert set(trees) <= set(world.runs)
    assert world.run(2, force=True).status is Exit.DONE
    world.assert_restores({**trees, world.runs[-1]: tree_of(world.tree)})
    world.assert_tidy()
    tried(len(_points(count, _DISK_SAMPLE)))


@pytest.mark.parametrize("interrupt", [True, False], ids=["Ctrl-C", "killed"])
def test_a_run_that_hangs_at_any_step_commits_no_lie(
    tmp_path: Path, interrupt: bool, tried: Callable[[int], None]
) -> None:
    """A disk that answers no more, and then Ctrl-C or kill -9: what is stored is whole, and the next run goes on."""
    world = World(tmp_path)
    trees = world.days(0, 1)
    world.fill(2)
    now, report, hung = tree_of(world.tree), tmp_path / "report", 0

    def run() -> None:
        assert world.run(2, force=True).status is Exit.DONE

    points = _points(steps_of(report, run), _HANG_SAMPLE)
    for at in points:
        hung += hangs(at, report, run, interrupt=interrupt)
        assert set(trees) <= set(world.runs)
        newest = world.runs[-1]
        world.assert_restores({newest: trees.get(newest, now)})
    run()
    world.assert_restores({**trees, world.runs[-1]: now})
    world.assert_tidy()
    assert hung > len(points) // 2
    tried(len(points))


@pytest.mark.parametrize("number", [0, errno.ENOSPC, errno.EIO], ids=["killed", "ENOSPC", "EIO"])
def test_a_restore_that_fails_at_any_step_is_no_success(
    tmp_path: Path, number: int, tried: Callable[[int], None]
) -> None:
    """Killed, or the disk full or broken, at any step: a whole tree or an error; and what is stored stays."""
    world = World(tmp_path)
    trees = world.days(0, 1, 2)
    run = world.runs[-1]
    wanted, links, report = trees[run], world.chain(run), tmp_path / "report"
    target = tmp_path / "target"

    def restore() -> None:
        try:
            with Reader(world.storage, KeySource()) as reader:
                restore_tree(reader, links, target)
        except (S3napError, OSError):  # the face of s3nap tells both
            return
        assert tree_of(target / str(world.tree).lstrip("/")) == wanted

    before = {item.key: world.storage.get(item.key) for item in world.storage.list("")}
    count = steps_of(report, lambda: broken(0, 0, restore))
    for at in _points(count, _DISK_SAMPLE):
        shutil.rmtree(target, ignore_errors=True)
        dies(0 if number else at, report, lambda at=at: broken(at if number else 0, number, restore))  # type: ignore[misc]
    assert {item.key: world.storage.get(item.key) for item in world.storage.list("")} == before
    shutil.rmtree(target, ignore_errors=True)
    restore()
    assert target.exists()
    tried(len(_points(count, _DISK_SAMPLE)))


_TARS = {
    "killed half-way": '"$REAL" "$@" & sleep 0.05; kill -9 $!; kill -9 $$',
    "reads half": 'head -c 700 | "$REAL" "$@"',
    "full disk": 'cat > /dev/null; echo "tar: x: Cannot write: No space left on device" >&2; exit 2',
    "does nothing": "cat > /dev/null",
    "gone at once": "exit 1",
}


def _single_file(world: World) -> None:
    shutil.rmtree(world.tree)
    world.tree.write_text("all there is")


def _link(world: World) -> None:
    world.tree.rename(world.base / "elsewhere")
    world.tree.symlink_to("elsewhere")


@pytest.mark.parametrize("what", [World.fill, _single_file, _link], ids=["tree", "file", "link"])
@pytest.mark.parametrize("kind", _TARS)
def test_a_tar_that_fails_to_extract_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, what: Callable[[World], None]
) -> None:
    """Whatever tar does instead of writing, be it silently: an error, and the next restore is exact."""
    world = World(tmp_path)
    world.fill()
    what(world)
    assert world.run(0).status is Exit.DONE
    with monkeypatch.context() as patch:
        script = 'case "$1" in --extract) ;; *) exec "$REAL" "$@" ;; esac\n' + _TARS[kind]
        fake_program(tmp_path / "bin", "tar", script)
        patch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        with pytest.raises(S3napError):
            world.restore(world.runs[-1])
    world.assert_restores({world.runs[-1]: tree_of(world.tree)})
