"""Archives as a file system: real mounts, compared with what there was, and what they cost."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import archives
import pytest
from click.testing import CliRunner
from daily import Daily
from keys_fixture import GpgHome
from storages import FaultyStorage
from trees import Fingerprint, Mutator
from world import FIRST, World, in_memory

from s3nap import access, archivefs, config, daytree, mounting
from s3nap.archivefs import ArchiveFs, Day
from s3nap.catalog import JobCatalog
from s3nap.cli import cli
from s3nap.contents import StoredIndexes
from s3nap.daytree import DayTree, DayTrees
from s3nap.errors import NothingMatchesError, S3napError, UsageError
from s3nap.peeking import Files
from s3nap.reader import KeySource, Reader

pytestmark = pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="needs /dev/fuse")
DAYS = 6
_PATIENCE = 30  # seconds until a mount must be there, or gone

# the command line, noting what the storage is asked for
COUNTED = """
import sys
from s3nap.storage.local import LocalStorage
from s3nap.cli import main
log, get = sys.argv[1], LocalStorage.get
def noted(self, key, **where):
    data = get(self, key, **where)
    with open(log, "a") as file:
        file.write(f"{key} {len(data)}\\n")
    return data
LocalStorage.get = noted
sys.argv[1:] = sys.argv[2:]
main()
"""


@dataclass
class Mounted:
    """A mount: where it is, what it asked the storage for so far, and what it said."""

    top: Path
    process: subprocess.Popen[str]
    log: Path
    errors: Path
    status: int | None = field(default=None)

    @property
    def fetched(self) -> list[tuple[str, int]]:
        """Keys and bytes, in order."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(line.rpartition(" ")[0], int(line.rpartition(" ")[2])) for line in lines]


@contextmanager
def mounted(folder: Path, *words: str, end: int | None = None) -> Iterator[Mounted]:
    """Mount by the command line; ended by fusermount3, or by a signal."""
    top = folder / "mnt"
    top.mkdir(exist_ok=True)
    log, errors = folder / "fetched", folder / "errors"
    log.unlink(missing_ok=True)
    command = [sys.executable, "-c", COUNTED, str(log), "mount", *words, str(top)]
    with errors.open("w") as said:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)
    found = Mounted(top, process, log, errors)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert re.search(rf"fusermount3? -u {re.escape(str(top))}", line), errors.read_text()
        yield found
    finally:
        if end is None:
            subprocess.run(["fusermount3", "-u", top], check=False)
        else:
            process.send_signal(end)
        try:
            found.status = process.wait(_PATIENCE)
        finally:
            process.kill()
            process.stdout.close()
            if found.status is None:
                subprocess.run(["fusermount3", "-uz", top], check=False)  # or nobody could remove the folder


@pytest.fixture(scope="module")
def world(gpg_home: GpgHome, quiet: None) -> Iterator[World]:  # noqa: ARG001
    """Wild days of one tree: FULLs and DIFFs, encrypted, in small chunks; nothing is swept."""
    with in_memory(f"GpgRecipient {gpg_home.recipient}\nChunkSize 64K\n", top="Diffs 2\nFulls 6\n") as found:
        found.live(Mutator(found.tree, seed=5, files=120), DAYS, edits=15)
        yield found


def strange(world: World) -> list[str]:
    """What is said on a machine that has the bucket and the key alone."""
    return ["--bucket", f"file://{world.scratch}/bucket", "--host", "alpha"]


def job(world: World) -> str:
    return f"Directory{world.tree}"


def shown(top: Path) -> dict[bytes, tuple[object, ...]]:
    """What a mounted tree shows of every path: kind, mode, owner, time, size, contents or target."""
    found: dict[bytes, tuple[object, ...]] = {}
    base = os.fsencode(top)
    stack = [b"."]
    while stack:
        path = stack.pop()
        whole = base if path == b"." else base + b"/" + path
        status = os.lstat(whole)
        kind = chr(stat.filemode(status.st_mode).encode()[0])
        content: object = None
        if kind == "l":
            content = os.readlink(whole)  # noqa: PTH115 - bytes
        elif kind == "-":
            content = hash(Path(os.fsdecode(whole)).read_bytes())
        owner = (status.st_uid, status.st_gid)
        size = status.st_size if kind == "-" else 0
        found[path] = (kind, stat.S_IMODE(status.st_mode), owner, status.st_mtime_ns, size, content)
        if kind == "d":
            prefix = b"" if path == b"." else path + b"/"
            stack += [prefix + name for name in os.listdir(whole)]  # noqa: PTH208 - bytes
    return found


def facts(was: Fingerprint) -> dict[bytes, tuple[object, ...]]:
    """The same of what there was, but for contents."""
    return {path: (node.kind, node.mode, node.owner, node.modified, node.size) for path, node in was.items()}


def test_every_day_is_as_it_was(world: World, tmp_path: Path) -> None:
    """What is mounted is what a full restore brings: names, types, modes, owners, times, links and every byte."""
    chains = {str(links[-1].manifest.day): links for links in world.chains().values()}
    assert len(chains) == DAYS
    assert {len(links) for links in chains.values()} == {1, 2, 3}
    with mounted(tmp_path, job(world), *strange(world)) as found:
        assert sorted(path.name for path in found.top.iterdir()) == sorted(chains)
        for day, links in chains.items():
            seen = shown(found.top / day / world.tree.relative_to("/"))
            assert {path: each[:5] for path, each in seen.items()} == facts(world.moments[links[-1].run])
            if day in {min(chains), max(chains)}:
                assert seen == shown(world.restored(links))
    assert found.status == 0
    assert "ERROR" not in found.errors.read_text()


def test_one_small_file_costs_one_chunk(world: World, tmp_path: Path) -> None:
    """Reading one file of a large archive fetches its chunk, index, envelope, tables and the manifests, each once."""
    (links,) = [each for each in world.chains().values() if each[-1].manifest.day == FIRST]
    manifest = links[-1].manifest
    assert manifest.chunks > 10
    small = next(p for p, node in world.moments[manifest.run].items() if node.kind == "-" and node.size == 9000)
    with mounted(tmp_path, job(world), *strange(world)) as found:
        inside = os.fsdecode(os.fsencode(world.tree.relative_to("/")) + b"/" + small)
        done = subprocess.run(["cat", found.top / f"{FIRST}" / inside], check=True, capture_output=True)
        assert len(done.stdout) == 9000
        keys = [key for key, _ in found.fetched]
        fetched = sum(size for key, size in found.fetched if not key.startswith("catalog/"))
    names = [key.removeprefix(manifest.at.data) for key in keys if not key.startswith("catalog/")]
    chunks = [name for name in names if name[0].isdigit()]
    assert sorted(set(names) - set(chunks)) == ["chunks", "index.zst.gpg", "keys.gpg", "sums"]
    assert 1 <= len(chunks) <= 2  # a file may lie across a border
    assert len(names) == len(set(names))
    assert len(keys) - len(names) == DAYS  # the manifests
    assert fetched < 5 * (64 << 10)


def test_names_cost_nothing_on_the_host(world: World, tmp_path: Path) -> None:
    """On the backed-up host directories are shown from DiffDir: the storage is asked for nothing."""
    with mounted(tmp_path, "-c", str(world.conf)) as found:
        day = found.top / job(world) / f"{FIRST + timedelta(days=1)}" / world.tree.relative_to("/")
        assert len(list(day.rglob("*"))) > 50
        assert found.fetched == []


def test_damage_is_an_error_that_names_the_chunk(world: World, tmp_path: Path) -> None:
    """A damaged chunk gives EIO and a message with its name; files in other chunks are read all the same."""
    bucket = tmp_path / "bucket"
    shutil.copytree(world.scratch / "bucket", bucket)
    (links,) = [each for each in world.chains().values() if each[-1].manifest.day == FIRST]
    victim = bucket / links[0].manifest.at.data / "00000003.zst.gpg"
    victim.write_bytes(victim.read_bytes()[:-1] + b"\0")
    outcomes = set()
    with mounted(tmp_path, job(world), "--bucket", f"file://{bucket}", "--host", "alpha") as found:
        for path in sorted((found.top / f"{FIRST}").rglob("*")):
            if stat.S_ISREG(path.lstat().st_mode):
                try:
                    path.read_bytes()
                    outcomes.add(0)
                except OSError as error:
                    outcomes.add(error.errno)
    assert outcomes == {0, errno.EIO}
    said = [line for line in found.errors.read_text().splitlines() if "ERROR" in line]
    assert len(said) == 1
    assert "00000003.zst.gpg" in said[0]


def test_a_missing_key_is_a_denial(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the host, which cannot read its backups, names are shown and files are refused, not as damage."""
    home = Path(tempfile.mkdtemp(prefix="g-", dir="/tmp"))
    monkeypatch.setenv("GNUPGHOME", str(home))
    try:
        with mounted(tmp_path, "-c", str(world.conf)) as found:
            tree = found.top / job(world) / f"{FIRST}" / world.tree.relative_to("/")
            file = next(
                path for path in sorted(tree.rglob("*")) if stat.S_ISREG(path.lstat().st_mode) and path.lstat().st_size
            )
            with pytest.raises(PermissionError):
                file.read_bytes()
        assert "encrypted to" in found.errors.read_text()
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], check=False)
        shutil.rmtree(home, ignore_errors=True)


def test_ctrl_c_unmounts(world: World, tmp_path: Path) -> None:
    """Ctrl-C, and SIGTERM as systemd sends it, leave no dead mount behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        with mounted(tmp_path, "-c", str(world.conf), end=number) as found:
            assert found.top.is_mount()
        assert found.status == 0
        assert not found.top.is_mount()


def test_nothing_can_be_written(world: World, tmp_path: Path) -> None:
    """Archives are looked at, never changed."""
    with mounted(tmp_path, "-c", str(world.conf)) as found:
        day = found.top / job(world) / f"{FIRST}"
        for act in (lambda: (day / "new").write_bytes(b""), (day / "new").mkdir, day.rmdir):
            with pytest.raises(OSError, match="Read-only") as caught:
                act()
            assert caught.value.errno == errno.EROFS


@pytest.fixture(scope="module")
def reader(world: World) -> Iterator[tuple[Reader, FaultyStorage]]:
    """What reads the world's archives, and its storage, which counts."""
    storage = FaultyStorage(access.storage_of(config.load(world.conf)))
    with Reader(storage, KeySource()) as found:
        yield found, storage


def test_the_cache_is_bounded(world: World, reader: tuple[Reader, FaultyStorage], tmp_path: Path) -> None:
    """However much is read, no more chunks are held than allowed; what is held is not fetched again."""
    limit = 3 * (64 << 10)
    files = Files(reader[0], limit)
    (known,) = world.jobs().values()
    top = archivefs.of_job(known)
    shelf = ArchiveFs(top, DayTrees(lambda links: DayTree(links, StoredIndexes(reader[0], tmp_path))), files)
    day = b"/%s" % min(top)
    whole = day + os.fsencode(world.tree)
    was = world.moments[known.archives[0].run]
    regular = sorted(path for path, node in was.items() if node.kind == "-")
    assert sum(was[path].size for path in regular) > 3 * limit
    largest = 0
    for path in regular:
        opened = shelf.open(whole + b"/" + path)
        assert len(shelf.read(opened, 0, 1 << 24)) == was[path].size
        largest = max(largest, files.cache.size)
    assert limit - (64 << 10) < largest <= limit
    before = reader[1].calls["get"]
    shelf.read(opened, 0, 1)
    assert reader[1].calls["get"] == before


def test_readers_at_once_fetch_a_chunk_once(world: World, reader: tuple[Reader, FaultyStorage], tmp_path: Path) -> None:
    """Programs that read the same chunk at the same time share one download, and each gets its own bytes."""
    (known,) = world.jobs().values()
    top = archivefs.of_job(known)
    files = Files(reader[0], 1 << 30)
    shelf = ArchiveFs(top, DayTrees(lambda links: DayTree(links, StoredIndexes(reader[0], tmp_path))), files)
    whole = b"/%s" % min(top) + os.fsencode(world.tree) + b"/"
    was = world.moments[known.archives[0].run]
    regular = sorted(path for path, node in was.items() if node.kind == "-")
    opened = [shelf.open(whole + path) for path in regular]
    before = reader[1].calls["get"]
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda each: len(shelf.read(each, 0, 1 << 24)), opened))
    assert sizes == [was[path].size for path in regular]
    assert reader[1].calls["get"] - before <= known.archives[0].manifest.chunks + 3  # and tables, if not yet read


def test_a_few_days_are_held(
    world: World, reader: tuple[Reader, FaultyStorage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trees of days do not pile up: with many paths only the last one stays."""
    (known,) = world.jobs().values()
    held = DayTrees(lambda links: DayTree(links, StoredIndexes(reader[0], tmp_path)))
    days = [day.links for day in archivefs.of_job(known).values() if isinstance(day, Day)]
    trees = {id(held.of(links)) for links in days}
    assert held.of(days[-1]) is held.of(days[-1])
    assert len(trees) == DAYS
    monkeypatch.setattr(daytree, "_PATHS", 1)
    last = held.of(days[0])
    assert list(held._held._held.values()) == [last]


def test_dumps_are_files(tmp_path: Path) -> None:
    """A job that is no tree has a file a day, its chain's streams one after the other; all hosts' jobs have folders."""
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        connection.execute("CREATE TABLE t (a)")
    block = "<Command say>\nDiffs 1\nShell On\nDump 'echo full; echo 1 > $S3NAP_NEW_STATE'\n"
    block += "DumpDiff 'echo diff; echo 2 > $S3NAP_NEW_STATE'\nLoad cat\n</Command>\n"
    world = Daily(tmp_path / "m", f"SQLite {tmp_path}/app.db\n{block}")
    results = [world.run(day) for day in (0, 1)]
    types = [results[day]["Command/say"].task for day in (0, 1)]
    assert [task and task.type for task in types] in (["FULL", "DIFF"], ["FULL", "FULL"])
    if types[1] is not None and types[1].type == "FULL":  # the first day was the second of its group
        world.run(2)
    for words in (["-c", str(world.conf)], ["here", "--bucket", f"file://{tmp_path}/m/bucket"]):
        with mounted(tmp_path, *words) as found:
            tops = {str(path.relative_to(found.top)) for path in found.top.glob("*/*")}
            assert {"Command/say"} < tops
            database = next((found.top / "SQLite").rglob("app.db/*/app.db"))
            assert database.read_bytes() == (tmp_path / "app.db").read_bytes()
            last = max((found.top / "Command" / "say").iterdir())
            texts = {path.name: path.read_text() for path in last.iterdir()}
            assert texts == {"say": "full\n", "say.1": "diff\n"}


def test_names_of_days() -> None:
    """The newest of a day bears the day; no name of a day hides a job below, and broken chains are not shown."""
    day = archives.EPOCH
    old, new = archives.archive(day, number=1), archives.archive(day, number=2)
    orphan = archives.archive(day + timedelta(days=1), parent=archives.archive(day, number=3))
    found = archivefs.of_job(JobCatalog("Directory/etc", [old, new, orphan]))
    at = f"{day} {old.manifest.started.astimezone():%H:%M:%S}".encode()
    assert {name: each.links[-1] for name, each in found.items() if isinstance(each, Day)} == {
        str(day).encode(): new,
        at: old,
    }
    inner = f"Directory/srv/{day}"
    jobs = {
        "Directory/srv": JobCatalog("Directory/srv", [archives.archive(day, job="Directory/srv")]),
        inner: JobCatalog(inner, [archives.archive(day, job=inner)]),
        "Directory/%2F": JobCatalog("Directory/%2F", [archives.archive(day, job="Directory/%2F")]),
    }
    top = archivefs.of_jobs(jobs)[b"Directory"]
    assert isinstance(top, dict)
    assert set(top) == {b"srv", b"%2F"}
    below = top[b"srv"]
    assert isinstance(below, dict)
    assert isinstance(below[str(day).encode()], dict)
    assert isinstance(below[at], Day)


def invoke(*words: object) -> BaseException | None:
    return CliRunner().invoke(cli, ["mount", *map(str, words)], standalone_mode=False).exception


def test_what_cannot_be_is_said(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is missing or not empty, a job that is not there, missing parts: one clear error each."""
    place = strange(world)
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "full" / "x").mkdir(parents=True)
    cases: list[tuple[type[BaseException], str, list[object]]] = [
        (UsageError, "is no folder", [*place, tmp_path / "none"]),
        (UsageError, "is not empty", [*place, tmp_path / "full"]),
        (UsageError, "give a folder", [*place, "a", "b", empty]),
        (NothingMatchesError, "no job nonsense", [*place, "nonsense", empty]),
    ]
    for kind, said, words in cases:
        error = invoke(*words)
        assert isinstance(error, kind), error
        assert said in str(error)
    assert "is no size" in str(invoke("--cache", "much", *place, empty))
    monkeypatch.setenv("FUSE_LIBRARY_PATH", str(tmp_path / "none"))
    monkeypatch.delitem(sys.modules, "mfusepy", raising=False)
    assert "apt-get install fuse3" in str(invoke(*place, empty))
    monkeypatch.setitem(sys.modules, "mfusepy", None)
    assert "pip install 's3nap[mount]'" in str(invoke(*place, empty))
    monkeypatch.setattr(mounting, "_DEVICE", tmp_path / "none")
    error = invoke(*place, empty)
    assert isinstance(error, S3napError)
    assert "modprobe fuse" in str(error)
