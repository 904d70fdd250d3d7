"""Looking into archives and taking out single files: a chain of twenty wild days, compared with what there was."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner
from keys_fixture import GpgHome
from trees import Fingerprint, Mutator, fingerprint
from world import World, in_memory

from s3nap import access, config
from s3nap.cli import cli
from s3nap.contents import Contents, Indexes, KeptIndexes, StoredIndexes
from s3nap.manifest import Archive
from s3nap.picking import Selection, contents_of, cost, pick, write
from s3nap.reader import KeySource, Reader

DAYS = 20
PICKS = 100


@pytest.fixture(scope="module")
def world(gpg_home: GpgHome, quiet: None) -> Iterator[World]:  # noqa: ARG001
    """Twenty days of one tree: chains of up to five, encrypted, in small chunks; nothing is swept."""
    with in_memory(f"GpgRecipient {gpg_home.recipient}\nChunkSize 64K\n", top="Diffs 4\nFulls 6\n") as found:
        found.live(Mutator(found.tree, seed=11, files=150), DAYS, edits=15)
        yield found


@pytest.fixture(scope="module")
def chains(world: World) -> list[list[Archive]]:
    """Every restorable chain, by time."""
    return [links for _, links in sorted(world.chains().items())]


@pytest.fixture(scope="module")
def reader(world: World) -> Iterator[Reader]:
    """What reads the world's archives with the key."""
    with Reader(access.storage_of(config.load(world.conf)), KeySource()) as found:
        yield found


@pytest.fixture(scope="module")
def stored(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> Indexes:
    """Indexes as they are stored with the archives."""
    return StoredIndexes(reader, tmp_path_factory.mktemp("indexes"))


@pytest.fixture(scope="module")
def kept(world: World) -> Indexes:
    """Indexes as DiffDir keeps them."""
    ((_, state),) = access.remembered(config.load(world.conf)).values()
    return KeptIndexes(state)


def inside(world: World, path: bytes) -> bytes:
    """Return a path of the tree as archives name it."""
    base = os.fsencode(world.tree).strip(b"/")
    return base if path == b"." else base + b"/" + path


def moment(world: World, links: list[Archive]) -> Fingerprint:
    """What the tree was when the chain's last archive was made."""
    return world.moments[links[-1].run]


def run(world: World, *words: str) -> object:
    """Run a command that answers with JSON; s3nap's own conf stands for the storage."""
    result = CliRunner().invoke(
        cli, [words[0], "-q", "-c", str(world.conf), "--json", *words[1:]], standalone_mode=False
    )
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


def test_contents_are_those_of_a_full_restore(world: World, chains: list[list[Archive]], stored: Indexes) -> None:
    """What is listed is what a whole restore brings back, with kind, mode, size and time; no more and no less."""
    everything = Contents(stored)
    assert max(len(links) for links in chains) == 5
    for links in chains:
        nodes = everything.of(links)
        was = {inside(world, path): node for path, node in moment(world, links).items()}
        assert nodes.keys() == was.keys()
        for path, node in nodes.items():
            facts = (node.kind.decode(), node.line.mtime, node.size if node.kind == b"-" else 0)
            assert facts == (was[path].kind, was[path].modified, was[path].size), path
            assert not node.link or node.link == was[path].content


def test_diffdir_knows_what_the_storage_knows(chains: list[list[Archive]], stored: Indexes, kept: Indexes) -> None:
    """Who looks without key and network sees the same, member by member."""
    here, there = Contents(kept), Contents(stored)
    for links in chains:
        assert here.of(links) == there.of(links)


def alike(wanted: Mapping[bytes, object], restored: Mapping[bytes, object], path: bytes) -> bool:
    """Is a path as it was? Of its other names only some were restored."""
    before, after = wanted[path], restored[path]
    fields = ("kind", "mode", "owner", "content", "attributes", "size", "modified")
    return all(getattr(before, name) == getattr(after, name) for name in fields)


def test_one_file_is_as_in_the_full_restore(
    world: World, chains: list[list[Archive]], reader: Reader, kept: Indexes, tmp_path: Path
) -> None:
    """Any file of any day comes back alone as it was: content, mode, owner, time, attributes; so do its directories."""
    choice = random.Random(5)  # noqa: S311 - reproducible, not secret
    below = world.tree.relative_to("/")
    levels = set()
    for number in range(PICKS):
        links = choice.choice(chains)
        was = moment(world, links)
        path = choice.choice(sorted(name for name in was if was[name].kind != "d"))
        picked = pick(links, kept, Selection([os.fsdecode(b"/" + inside(world, path))]))
        target = tmp_path / str(number)
        target.mkdir()
        write(reader, links, picked, target, numeric_owner=False)
        levels.update(node.run for node in picked.all)
        found = fingerprint(target / below)
        assert alike(was, found, path), (path, was[path], found[path])
        for folder in [name for name in found if found[name].kind == "d"]:
            before, after = was[folder], found[folder]
            assert (before.mode, before.owner, before.modified) == (after.mode, after.owner, after.modified), folder
        came = {name for name in found if found[name].kind != "d"} - {path}
        assert came <= was[path].group
        if was[path].kind == "-":
            content = b"".join(contents_of(reader, links, picked, os.fsdecode(inside(world, path))))
            assert len(content) == was[path].size
            assert content == Path(os.fsdecode(os.fsencode(target / below) + b"/" + path)).read_bytes()
        shutil.rmtree(target)
    assert len(levels) > len(chains) // 2


def test_a_directory_is_as_in_the_full_restore(
    world: World, chains: list[list[Archive]], reader: Reader, kept: Indexes, tmp_path: Path
) -> None:
    """A directory comes with all below it, from whichever archives hold it, and with nothing that was deleted."""
    below = world.tree.relative_to("/")
    for number, links in enumerate(chains[3::4]):
        was = moment(world, links)
        tops = sorted({path.partition(b"/")[0] for path in was if b"/" in path})
        top = tops[number % len(tops)]
        target = tmp_path / str(number)
        target.mkdir()
        write(
            reader, links, pick(links, kept, Selection([os.fsdecode(inside(world, top))])), target, numeric_owner=False
        )
        found = fingerprint(target / below)
        wanted = {path for path in was if path == top or path.startswith(top + b"/")}
        assert wanted <= found.keys()
        for path in wanted:
            assert alike(was, found, path), (path, was[path], found[path])
        others = {path for path in found.keys() - wanted if found[path].kind != "d"}
        assert all(was[path].group & wanted for path in others)  # targets of hard links


def test_find_names_the_days(world: World, chains: list[list[Archive]]) -> None:
    """Every path is found on the days on which it was there, and what changed is another version."""
    records = run(world, "find", "*")
    assert isinstance(records, list)
    days: dict[str, set[str]] = {}
    contents: dict[tuple[str, str], int] = {}
    for record in records:
        for number, version in enumerate(record["versions"]):
            days.setdefault(record["path"], set()).update(version["days"])
            contents |= {(record["path"], archive): number for archive in version["archives"]}
    wanted: dict[str, set[str]] = {}
    before: dict[str, object] = {}
    for links in chains:
        manifest, fresh = links[-1].manifest, len(links) == 1
        for path, node in moment(world, links).items():
            shown = "/" + os.fsdecode(inside(world, path))
            wanted.setdefault(shown, set()).add(manifest.day.isoformat())
            version = contents[shown, links[-1].run]
            if shown in before and node.kind == "-" and not fresh:
                old, number = before[shown]
                assert (old == node.content) or number != version, (shown, manifest.day)
            before[shown] = node.content, version
    assert days == wanted


def test_diff_is_a_comparison_of_two_restores(world: World, chains: list[list[Archive]]) -> None:
    """Diff tells what came, went and changed between any two days; what it is silent about is the same."""
    for first, second in ((0, 1), (1, 4), (3, 8), (0, 19), (12, 2)):
        old, new = chains[first], chains[second]
        record = run(world, "diff", old[-1].manifest.job, old[-1].run, new[-1].run)
        assert isinstance(record, dict)
        was, now = moment(world, old), moment(world, new)
        names = {kind: {item["path"] for item in record[kind]} for kind in ("added", "removed", "changed", "rewritten")}
        shown = {path: "/" + os.fsdecode(inside(world, path)) for path in was.keys() | now.keys()}
        assert names["added"] == {shown[path] for path in now.keys() - was.keys()}
        assert names["removed"] == {shown[path] for path in was.keys() - now.keys()}
        for path in was.keys() & now.keys():
            before, after = was[path], now[path]
            facts = ("kind", "mode", "owner", "size") + (() if before.kind == after.kind == "d" else ("modified",))
            if any(getattr(before, fact) != getattr(after, fact) for fact in facts):
                assert shown[path] in names["changed"], (path, before, after)
            else:
                assert shown[path] not in names["changed"], [
                    item for item in record["changed"] if item["path"] == shown[path]
                ]
                secretly = before.content != after.content and old[0].run == new[0].run
                assert not secretly or shown[path] in names["rewritten"], path


def test_costs_what_it_must(world: World, chains: list[list[Archive]], reader: Reader, kept: Indexes) -> None:
    """One small file costs the chunks that hold it, whatever else the archive holds."""
    links = chains[0]
    small = next(path for path, node in moment(world, links).items() if node.kind == "-" and not node.group)
    picked = pick(links, kept, Selection([os.fsdecode(inside(world, small))]))
    needed = cost(reader, links, picked)
    assert 1 <= needed.chunks <= 2
    assert links[0].manifest.chunks > 10
