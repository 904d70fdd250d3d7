"""Promise 6 against storage that rots: whatever byte of an archive is another, a restore is exact or is refused."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
import soak
from keys_fixture import GpgHome
from small_world import Tree, World, tree_of

from s3nap.errors import Exit, S3napError
from s3nap.liveness import chain
from s3nap.reader import KeySource, Reader
from s3nap.restore import restore_tree

pytestmark = pytest.mark.usefixtures("quiet")

_REGIONS = 64 if soak.MINUTES else 3  # of each object, and its first and last bytes
_REFUSALS = {Exit.KEY, Exit.VERIFICATION, Exit.NOTHING}
_UNUSED = ("restore.sh", "index", "log")  # no restore by s3nap reads them


@pytest.fixture(params=["plain", "encrypted"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """A FULL and a DIFF, small."""
    extra = ["Compression none"]
    if request.param == "encrypted":
        home: GpgHome = request.getfixturevalue("gpg_home")
        extra = [f"GpgRecipient {home.recipient}"]
    made = World(tmp_path, extra=extra)
    for number in (0, 1):
        (made.tree / f"file-{number}").write_text(secrets.token_hex(20_000))
        assert made.run(number).outcome == "done"
    return made


def _positions(size: int) -> list[int]:
    spread = range(0, size, max(size // _REGIONS, 1))
    return sorted({position for position in (*spread, 1, size - 1) if 0 <= position < size})


def _restored(world: World, run: str) -> Tree | Exit:
    """Return what the newest archive restores to, or the status with which that is refused."""
    known = world.known
    if run not in known.by_run:
        return Exit.NOTHING
    links = chain(known.by_run[run], known.by_run)
    if links is None:
        return Exit.NOTHING
    target = world.base / f"target-{secrets.token_hex(4)}"
    try:
        with Reader(world.storage, KeySource()) as reader:
            restore_tree(reader, links, target)
    except S3napError as error:
        return error.status
    return tree_of(target / str(world.tree).lstrip("/"))


def _damaged(world: World, damage: Callable[[bytes, int], bytes], positions: Callable[[int], list[int]]) -> int:
    run, wanted = world.runs[-1], tree_of(world.tree)
    refused = done = 0
    for item in list(world.storage.list("")):
        path = world.folder / item.key
        good = path.read_bytes()
        needed = path.name[0].isdigit() and "data/" in item.key
        needed |= path.name in {"sums", "chunks", "keys.gpg"} or (path.name.startswith("state") and run in item.key)
        for position in positions(len(good)):
            path.write_bytes(damage(good, position))
            if path.read_bytes() == good:
                continue
            came = _restored(world, run)
            done += 1
            refused += came != wanted
            exact = came == wanted and not needed
            assert exact or (isinstance(came, Exit) and came in _REFUSALS), (item.key, position, came)
        path.write_bytes(good)
    assert refused > 8
    assert _restored(world, run) == wanted
    return done


def test_a_flipped_bit_anywhere_is_refused(world: World, tried: Callable[[int], None]) -> None:
    """In each region of each object: 12, 13 or 14, or the exact tree where nothing that matters was hit."""
    tried(_damaged(world, lambda good, at: good[:at] + bytes([good[at] ^ (1 << at % 8)]) + good[at + 1 :], _positions))


@pytest.mark.parametrize("kind", ["cut", "longer", "zeros"])
def test_an_object_cut_extended_or_emptied_is_refused(world: World, kind: str) -> None:
    """A length that differs, or all zeros of the right length, are no data."""
    damages: dict[str, Callable[[bytes, int], bytes]] = {
        "cut": lambda good, at: good[:at],
        "longer": lambda good, _: good + b"\0",
        "zeros": lambda good, _: bytes(len(good)),
    }
    _damaged(world, damages[kind], lambda size: [size // 2, size - 1] if kind == "cut" else [0])


def test_objects_of_another_archive_are_refused(world: World) -> None:
    """Chunks, tables and keys that are good, but of the other archive: a storage that mixes them up is found out."""
    run, wanted = world.runs[-1], tree_of(world.tree)
    first, second = (world.folder / archive.manifest.at.data for archive in world.archives)
    swapped = 0
    for path in sorted(first.iterdir()):
        other = second / path.name
        if path.name.startswith(_UNUSED) or not other.exists() or path.read_bytes() == other.read_bytes():
            continue
        good, bad = path.read_bytes(), other.read_bytes()
        path.write_bytes(bad)
        other.write_bytes(good)
        came = _restored(world, run)
        assert isinstance(came, Exit), path.name
        assert came in _REFUSALS, path.name
        path.write_bytes(good)
        other.write_bytes(bad)
        swapped += 1
    assert swapped >= 4
    assert _restored(world, run) == wanted
