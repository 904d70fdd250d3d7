"""Restores that were cut short: the same command goes on, and comes to exactly what an undisturbed one gives."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from storages import FaultyStorage
from trees import Mutator, difference, fingerprint
from world import World

from s3nap import access, config
from s3nap.comparing import compare
from s3nap.contents import StoredIndexes
from s3nap.errors import Exit, StorageError, UsageError, VerificationError
from s3nap.manifest import Archive
from s3nap.picking import Selection, pick
from s3nap.reader import KeySource, Reader
from s3nap.restore import restore_tree
from s3nap.resuming import Note, go_on, rest
from s3nap.storage import Storage

pytestmark = pytest.mark.usefixtures("quiet")

DAYS = 3


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three days of a tree that changes in every way, one FULL and two DIFFs."""
    folder = tmp_path_factory.mktemp("resume")
    (folder / "bucket").mkdir()
    world = World(folder, folder, f"Bucket file://{folder}/bucket\nChunkSize 65536\n")
    world.live(Mutator(world.tree, seed=11, files=150), DAYS, edits=40)
    return world


def storage(world: World) -> Storage:
    return access.storage_of(config.load(world.conf))


def newest(world: World) -> list[Archive]:
    return max(world.chains().values(), key=len)


def finish(
    world: World,
    links: list[Archive],
    target: Path,
    work: Path,
    *,
    fresh: float = 0.0,
    through: FaultyStorage | None = None,
) -> tuple[int, int]:
    """Go on; how many paths were kept, and how many gets it took."""
    counting = through or FaultyStorage(storage(world))
    with Reader(counting, KeySource()) as reader:
        picked = pick(links, indexes := StoredIndexes(reader, work), Selection())
        left = rest(links, indexes, picked, target, numeric_owner=False, fresh=fresh)
        go_on(reader, links, picked, left, target, numeric_owner=False)
    return left.kept, counting.calls["get"]


def same(world: World, links: list[Archive], target: Path) -> list[str]:
    return difference(world.moments[links[-1].run], fingerprint(target / str(world.tree).lstrip("/")))


@pytest.mark.parametrize("levels", [1, DAYS])
def test_a_storage_that_fails_at_any_get(world: World, tmp_path: Path, levels: int) -> None:
    """Wherever a restore stops, going on gives the tree of the day, exactly, and keeps what was done."""
    links = newest(world)[:levels]
    counting = FaultyStorage(storage(world))
    with Reader(counting, KeySource()) as reader:
        restore_tree(reader, links, tmp_path / "whole")
    total = counting.calls["get"]
    kept = []
    for at in random.Random(levels).sample(range(4, total), 8):  # noqa: S311 - reproducible, not secret
        target, work = tmp_path / f"t{at}", tmp_path / f"w{at}"
        work.mkdir()
        broken = FaultyStorage(storage(world), at=at, operation="get", for_good=True)
        with Reader(broken, KeySource()) as reader, pytest.raises(StorageError, match="on purpose"):
            restore_tree(reader, links, target)
        kept.append(finish(world, links, target, work)[0])
        assert same(world, links, target) == [], f"stopped at {at} of {total}"
    assert max(kept) > 0


def test_what_waits_to_be_written_again_is_not_taken_for_right(world: World, tmp_path: Path) -> None:
    """A directory whose attributes were taken off, and that was not written since, is written by who goes on next."""
    links = newest(world)[:1]  # of two levels a directory is written anew in any case
    target = tmp_path / "t"
    with Reader(storage(world), KeySource()) as reader:
        restore_tree(reader, links, target)
    bare = [folder for folder, _, files in os.walk(target) if not files and os.listxattr(folder)]
    assert bare
    works = [tmp_path / "w0", tmp_path / "w1"]
    for work in works:
        work.mkdir()
    broken = FaultyStorage(storage(world), at=18, operation="get", for_good=True)
    with pytest.raises(StorageError, match="on purpose"):
        finish(world, links, target, works[0], fresh=3600, through=broken)
    assert not all(os.listxattr(folder) for folder in bare)
    finish(world, links, target, works[1], fresh=-3600)
    assert same(world, links, target) == []


def test_going_on_again_and_again(world: World, tmp_path: Path) -> None:
    """What goes on may itself be cut short, as often as it likes."""
    links = newest(world)
    target = tmp_path / "t"
    broken = FaultyStorage(storage(world), at=20, operation="get", for_good=True)
    with Reader(broken, KeySource()) as reader, pytest.raises(StorageError):
        restore_tree(reader, links, target)
    for turn in range(3):
        work = tmp_path / f"w{turn}"
        work.mkdir()
        broken = FaultyStorage(storage(world), at=18 + turn, operation="get", for_good=True)
        with pytest.raises(StorageError, match="on purpose"):
            finish(world, links, target, work, through=broken)
    (tmp_path / "w").mkdir()
    finish(world, links, target, tmp_path / "w")
    assert same(world, links, target) == []


def test_what_is_whole_is_not_fetched_again(world: World, tmp_path: Path) -> None:
    """Of a FULL that was restored whole nothing but what was written last is written again."""
    links = newest(world)[:1]
    with Reader(storage(world), KeySource()) as reader:
        restore_tree(reader, links, tmp_path / "t")
    (tmp_path / "w").mkdir()
    _, gets = finish(world, links, tmp_path / "t", tmp_path / "w", fresh=-3600)
    assert gets == 3  # two tables and the index: no chunk
    assert same(world, links, tmp_path / "t") == []


def test_what_was_written_last_is_written_again(world: World, tmp_path: Path) -> None:
    """Just before a power cut a file may have its size and time, but not its contents."""
    links = newest(world)[:1]
    with Reader(storage(world), KeySource()) as reader:
        restore_tree(reader, links, tmp_path / "t")
    tree = tmp_path / "t" / str(world.tree).lstrip("/")
    victim = next(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink() and path.stat().st_size)
    status = victim.stat()
    victim.write_bytes(bytes(status.st_size))
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
    (tmp_path / "w").mkdir()
    finish(world, links, tmp_path / "t", tmp_path / "w", fresh=60)
    assert same(world, links, tmp_path / "t") == []


def command(world: World, *args: str) -> list[str]:
    return [sys.executable, "-m", "s3nap", "restore", str(world.tree), *args, "-c", str(world.conf)]


@pytest.mark.parametrize("paths", [False, True], ids=["whole", "paths"])
def test_killed_at_any_moment(world: World, tmp_path: Path, paths: bool) -> None:
    """Kill -9, whenever it comes: the same command ends with 0, the tree is exact, the note is gone."""
    links = newest(world)
    args = [str(world.tree)] if paths else []
    killed, files = 0, len(world.moments[links[-1].run])
    for turn, share in enumerate((0, 0.1, 0.4, 0.7, 0.9)):
        target = tmp_path / f"t{turn}"
        restore = command(world, *args, "--target", str(target))
        with subprocess.Popen(restore, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and _entries(target) < share * files:
                time.sleep(0.005)
            process.kill()
        note = target.with_name(target.name + ".s3nap-restore")
        if target.exists() and not note.exists():  # it was faster
            assert same(world, links, target) == []
            continue
        killed += 1
        done = subprocess.run([*restore, "--verify"], capture_output=True, text=True, check=False)
        assert done.returncode == Exit.DONE, done.stderr
        assert same(world, links, target) == [], share
        assert not note.exists()
    assert killed > 1


def _entries(folder: Path) -> int:
    """How much there is by now; what goes meanwhile is no error."""
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


def test_another_restore_is_refused(world: World, tmp_path: Path) -> None:
    """A folder with an unfinished restore is not mixed with another day, nor one without a note with anything."""
    links = newest(world)
    target = tmp_path / "t"
    (target / "tmp").mkdir(parents=True)
    facts = {"host": "alpha", "job": links[-1].manifest.job, "run": links[0].run}
    note = Note(target, facts)
    note.path.write_text(json.dumps(facts))
    assert note.unfinished()
    restore = command(world, "--target", str(target))
    done = subprocess.run(restore, capture_output=True, text=True, check=False)
    assert done.returncode == Exit.USAGE
    assert f"--at {links[0].run}" in done.stderr
    note.remove()
    done = subprocess.run(restore, capture_output=True, text=True, check=False)
    assert (done.returncode, "is not empty" in done.stderr) == (Exit.USAGE, True)


def test_what_was_never_in_the_archive_stops_it(world: World, tmp_path: Path) -> None:
    """Going on removes what earlier levels left, but nothing that is not of the archive."""
    links = newest(world)
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "mine").write_text("mine")
    (tmp_path / "w").mkdir()
    with pytest.raises(UsageError, match="mine"):
        finish(world, links, tmp_path / "t", tmp_path / "w")
    assert (tmp_path / "t" / "mine").exists()


def test_the_note_goes_if_nothing_was_written(tmp_path: Path) -> None:
    """A restore that fails before its first byte leaves no trace."""
    note = Note(tmp_path / "t", {"run": "x"})
    with pytest.raises(ZeroDivisionError), note.during():
        raise ZeroDivisionError(note.path.stat().st_size // 0)
    assert list(tmp_path.iterdir()) == []


def damages(victim: Path, folder: Path, link: Path) -> Iterator[tuple[str, Path]]:
    """Spoil a tree in every way that ``--verify`` should see; what it says, and of what."""
    if os.geteuid() == 0:
        os.lchown(folder, 4711, 4712)
        yield "does not belong", folder
    os.utime(folder, ns=(1, 1))
    yield "another time", folder
    os.utime(victim, ns=(1, 1))
    yield "another time", victim
    victim.chmod(0o611)
    yield "has mode", victim
    with victim.open("ab") as file:
        file.write(b"x")
    yield "bytes long", victim
    victim.unlink()
    yield "is missing", victim
    victim.mkdir()
    yield "another type", victim
    target = link.readlink()
    link.unlink()
    link.symlink_to(f"{target}x")
    yield "leads elsewhere", link


def test_verify_sees_what_differs(world: World, tmp_path: Path) -> None:
    """Each of type, size, mode, owner, time and link target is compared with the index; a true copy passes."""
    links = newest(world)
    with Reader(storage(world), KeySource()) as reader:
        nodes = pick(links, StoredIndexes(reader, tmp_path), Selection()).nodes
        restore_tree(reader, links, tmp_path / "t")
    compare(tmp_path / "t", nodes, numeric_owner=False)
    kinds = {kind: next(p for p, n in nodes.items() if n.line.kind == kind and n.line.owner == b"root/root")
             for kind in (b"-", b"l", b"d")}  # fmt: skip
    victim, link, folder = (
        Path(os.fsdecode(os.fsencode(tmp_path / "t") + b"/" + kinds[k])) for k in (b"-", b"l", b"d")
    )
    for said, path in damages(victim, folder, link):
        with pytest.raises(VerificationError) as caught:
            compare(tmp_path / "t", {key: nodes[key] for key in kinds.values()}, numeric_owner=False)
        assert said in str(caught.value), path


def test_an_older_version_that_looks_the_same_is_not_kept(tmp_path: Path) -> None:
    """Contents that were changed with size and time put back, and hard links that were parted, come from the last."""
    (tmp_path / "bucket").mkdir()
    world = World(tmp_path, tmp_path, f"Bucket file://{tmp_path}/bucket\n")
    world.tree.mkdir()
    for name in ("secret", "one", "three"):
        (world.tree / name).write_text("old")
    os.link(world.tree / "one", world.tree / "two")
    world.good_run()
    world.next_day()
    for name in ("secret", "two", "three"):
        path = world.tree / name
        status = path.stat()
        path.unlink()
        path.write_text("new" if name == "secret" else "old")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    world.good_run()
    links = newest(world)
    with Reader(storage(world), KeySource()) as reader:
        restore_tree(reader, links[:1], tmp_path / "t")
    (tmp_path / "w").mkdir()
    finish(world, links, tmp_path / "t", tmp_path / "w", fresh=-3600)
    assert same(world, links, tmp_path / "t") == []


def test_links_that_are_not_links_any_more_are_made_again(world: World, tmp_path: Path) -> None:
    """Two files alike in all that an index knows are not the two names of one file, and the other way round."""
    links = newest(world)[:1]
    with Reader(storage(world), KeySource()) as reader:
        restore_tree(reader, links, tmp_path / "t")
    tree = tmp_path / "t" / str(world.tree).lstrip("/")
    name = next(
        path for path in tree.rglob("*") if path.is_file() and not path.is_symlink() and path.stat().st_nlink > 1
    )
    status, data = name.stat(), name.read_bytes()
    name.unlink()
    name.write_bytes(data)
    name.chmod(status.st_mode)
    os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns))
    (tmp_path / "w").mkdir()
    finish(world, links, tmp_path / "t", tmp_path / "w", fresh=-3600)
    assert same(world, links, tmp_path / "t") == []
