"""Restores that survive damage: what is whole comes back exactly, what is not is named, nothing older is slipped in."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from trees import Fingerprint, Mutator, difference, fingerprint
from world import World

from s3nap import access, config
from s3nap.contents import StoredIndexes
from s3nap.errors import Exit
from s3nap.manifest import Archive
from s3nap.picking import Selection, pick, write
from s3nap.reader import KeySource, Reader
from s3nap.sources.tarscan import Scan
from s3nap.survey import Found, survey

pytestmark = pytest.mark.usefixtures("quiet")

CHUNK = 65536
DAYS = 4


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Four days of a tree that changes in every way, one FULL and three DIFFs."""
    folder = tmp_path_factory.mktemp("salvage")
    (folder / "bucket").mkdir()
    world = World(folder, folder, f"Bucket file://{folder}/bucket\nChunkSize {CHUNK}\n")
    world.live(Mutator(world.tree, seed=7, files=150), DAYS)
    return world


@pytest.fixture
def world(template: World) -> Iterator[World]:
    """The same, with a bucket that is whole again afterwards."""
    bucket, kept = template.folder / "bucket", template.folder / "kept"
    shutil.copytree(bucket, kept)
    yield template
    shutil.rmtree(bucket)
    kept.rename(bucket)


def newest(world: World) -> list[Archive]:
    return max(world.chains().values(), key=len)


def spoil(path: Path) -> None:
    """One byte in the middle is another."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def objects(world: World, archive: Archive, start: str) -> list[Path]:
    """The stored objects of an archive whose names begin so, in order."""
    return sorted((world.folder / "bucket" / archive.manifest.at.data).glob(start + "*"))


def salvaged(world: World, links: list[Archive], target: Path) -> tuple[Found, Fingerprint]:
    """Restore what is whole; what was found, and the tree as it came."""
    work = target.with_suffix(".work")
    work.mkdir()
    target.mkdir()
    with Reader(access.storage_of(config.load(world.conf)), KeySource()) as reader:
        found = survey(reader, links, Selection(), work)
        write(reader, found.links, found.picked, target, numeric_owner=False)
    tree = target / str(world.tree).lstrip("/")
    return found, fingerprint(tree) if tree.exists() else {}


def relative(world: World, found: Found) -> dict[bytes, str]:
    top = os.fsencode(str(world.tree).lstrip("/")) + b"/"
    return {path.removeprefix(top): why for path, why in found.lost}


def judge(world: World, found: Found, there: Fingerprint) -> None:
    """All that came is as it was on that day; all that did not come is named. Folders may lack what was lost."""
    wanted = world.moments[found.links[-1].run]
    lost = relative(world, found)
    for path, node in there.items():
        if node.kind == "d":
            continue
        assert path in wanted, f"{path!r} should not be there"
        assert path not in lost, f"{path!r} is there and lost"
        now, was = node, wanted[path]
        assert (now.kind, now.mode, now.owner, now.modified, now.content, now.attributes) == (
            was.kind, was.mode, was.owner, was.modified, was.content, was.attributes,
        ), path  # fmt: skip
    for path, node in wanted.items():
        if path not in there and node.kind != "d":
            assert path in lost, f"{path!r} is neither there nor named"


def data_chunk(world: World, links: list[Archive]) -> Path:
    return random.Random(3).choice([path for link in links for path in objects(world, link, "0")])  # noqa: S311


def test_without_damage_all_of_it_comes(world: World, tmp_path: Path) -> None:
    """Salvaging an archive that is whole is a restore."""
    links = newest(world)
    found, there = salvaged(world, links, tmp_path / "t")
    assert (found.lost, found.notes) == ([], [])
    assert difference(world.moments[links[-1].run], there) == []


@pytest.mark.parametrize("gone", [False, True], ids=["damaged", "missing"])
@pytest.mark.parametrize("level", range(DAYS))
def test_exactly_what_lies_in_a_bad_chunk_is_lost(world: World, tmp_path: Path, level: int, gone: bool) -> None:
    """One bad chunk costs the files in it, whichever archive it is of, and no others."""
    links = newest(world)
    chunks = objects(world, links[level], "0")
    number = len(chunks) // 3
    with Reader(access.storage_of(config.load(world.conf)), KeySource()) as reader:
        nodes = pick(links, StoredIndexes(reader, tmp_path), Selection()).nodes
        opened = reader.open(links[level], whole=False)
        start = sum(line.raw_size for line in opened.lines[:number])
        end = start + opened.lines[number].raw_size
    hit = {
        path for path, node in nodes.items() if node.run == links[level].run and node.start < end and start < node.end
    }
    if gone:
        chunks[number].unlink()
    else:
        spoil(chunks[number])
    found, there = salvaged(world, links, tmp_path / "t")
    judge(world, found, there)
    lost = {path for path, _ in found.lost}
    linked = {
        path for path, node in nodes.items() if node.line.kind == b"h" and node.line.link.removeprefix(b"./") in hit
    }
    assert lost <= hit | linked
    assert lost | {max(hit, key=lambda path: nodes[path].start)} >= hit if hit else not lost
    assert all(f"/{number:08}" in why for _, why in found.lost)


@pytest.mark.parametrize("role", ["index", "state", "sums", "chunks"])
@pytest.mark.parametrize("level", range(DAYS))
@pytest.mark.parametrize("with_chunk", [False, True], ids=["alone", "and a chunk"])
def test_lost_tables(world: World, tmp_path: Path, role: str, level: int, with_chunk: bool) -> None:
    """Without an index, a state or a table of any archive nothing wrong comes back, and what is not there is named."""
    links = newest(world)
    spoil(objects(world, links[level], role)[0])
    if with_chunk:
        spoil(objects(world, links[level], "0")[len(objects(world, links[level], "0")) // 2])
    found, there = salvaged(world, links, tmp_path / "t")
    assert found.notes
    if role == "state" and level == DAYS - 1:  # what was deleted is not known
        there = {path: node for path, node in there.items() if path in world.moments[links[-1].run]}
    judge(world, found, there)
    if role == "index" and not with_chunk:
        assert not found.lost
    if role in {"index", "state"}:
        assert len(there) > len(world.moments[found.links[-1].run]) // 2


def test_a_lost_full(world: World, tmp_path: Path) -> None:
    """Without the FULL's manifest the DIFFs give what they hold; the rest is named."""
    links = newest(world)
    found, there = salvaged(world, links[1:], tmp_path / "t")
    judge(world, found, there)
    assert found.lost
    assert links[0].run in found.lost[0].why


def test_an_older_version_is_named_but_not_given(world: World, tmp_path: Path) -> None:
    """A file of which only an older version is whole is lost; the message says where the older one is."""
    links = newest(world)
    for chunk in objects(world, links[-1], "0"):
        spoil(chunk)
    found, there = salvaged(world, links, tmp_path / "t")
    judge(world, found, there)
    assert any("an older one is in archive" in why for _, why in found.lost)


def tar_of(items: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in items.items():
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = len(data), {"mtime": "1.5"}
            archive.addfile(member, io.BytesIO(data))
    return target.getvalue()


@pytest.mark.parametrize("place", ["start", "middle"])
def test_a_tar_inside_a_file_is_data(place: str) -> None:
    """After a hole the members of a tar that is itself a file of the tree are not taken for members of the archive."""
    inner = tar_of({f"inner{n}": os.urandom(3000) for n in range(9)})
    outer = tar_of({"a": b"x" * 900, "b.tar": inner, "c": b"y" * 900, "d": b""})
    names = [found.line.path for found in Scan(io.BytesIO(outer), len(outer), [])]
    assert names == [b"a", b"b.tar", b"c", b"d"]
    at = outer.index(b"inner0") - 512 if place == "start" else outer.index(b"inner4") + 1100
    hole = (at // 512 * 512 - 2560, at // 512 * 512 + 700)
    found = list(Scan(io.BytesIO(outer), len(outer), [hole]))
    assert not [each for each in found if each.line.path.startswith(b"inner")]
    assert [each.line.path for each in found][-2:] == [b"c", b"d"]


def command(world: World, *args: str) -> subprocess.CompletedProcess[str]:
    """Run s3nap as a process."""
    run = [sys.executable, "-m", "s3nap", *args, "-c", str(world.conf)]
    return subprocess.run(run, capture_output=True, text=True, check=False)


def test_the_command_says_what_to_do_and_does_it(world: World, tmp_path: Path) -> None:
    """A damaged chunk stops a restore with its name and the ways on; ``--salvage`` goes one of them, status 13."""
    links = newest(world)
    chunk = objects(world, links[-1], "0")[0]
    spoil(chunk)
    restore = ["restore", str(world.tree), "--target", str(tmp_path / "t")]
    for more in ([], [str(world.tree)]):
        done = command(world, "restore", str(world.tree), *more, "--target", str(tmp_path / f"f{len(more)}"))
        assert done.returncode == Exit.VERIFICATION
        assert all(word in done.stderr for word in (chunk.name, "--salvage", "--at")), done.stderr
    done = command(world, *restore, "--salvage")
    assert done.returncode == Exit.VERIFICATION, done.stderr
    count = sum(line.startswith("lost: /") for line in done.stdout.splitlines())
    assert f"lost: {count} paths" in done.stdout
    assert count
    there = fingerprint(tmp_path / "t" / str(world.tree).lstrip("/"))
    wanted = world.moments[links[-1].run]
    assert not [path for path, node in there.items() if node.kind == "-" and node.content != wanted[path].content]
    assert command(world, *restore, "--salvage").returncode == Exit.USAGE  # not into what is there


def test_salvage_goes_on_where_the_chain_is_broken(world: World, tmp_path: Path) -> None:
    """With the FULL's manifest gone a restore finds nothing for the day; ``--salvage`` takes what the DIFFs hold."""
    links = newest(world)
    (world.folder / "bucket" / links[0].manifest.at.manifest).unlink()
    restore = ["restore", str(world.tree), "--target", str(tmp_path / "t")]
    assert command(world, *restore).returncode == Exit.NOTHING
    done = command(world, *restore, "--salvage")
    assert done.returncode == Exit.VERIFICATION, done.stderr
    assert f"it was in archive {links[0].run}, which is missing" in done.stdout
    assert any((tmp_path / "t").iterdir())
