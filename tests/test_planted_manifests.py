"""A manifest of any content, planted or rotten, harms nothing but itself: it is named, and the rest goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import soak
from hypothesis import given, settings
from hypothesis import strategies as st
from small_world import World

from s3nap import cli
from s3nap.errors import Exit, VerificationError
from s3nap.manifest import from_json

_CASES = 1500 if soak.MINUTES else 60
_NASTY: list[Any] = [
    *(None, True, -1, 0, 1.5, 10**30, "", ".", "..", "/", "a\0b", "\ud800", "\udcf4", "é" * 300, "\x1b[2J", "x" * 5000),
    *("none", "FULL", "0001-01-01", "9999-12-31", "0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59-23:59"),
    *("2026-01-01T00:00:00", "20261301T000000Z-000000", [], [None], [[]], {}, {"": 0}, {"x": []}, {"x": {"x": 1}}),
]
_COMMANDS = (
    ["list"],
    ["list", "--json"],
    ["plan", "--days", "3"],
    ["check"],
    ["verify"],
    ["-t", "--date", "{day}"],
    ["prune", "--dry-run"],
    ["runbook"],
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A FULL and two DIFFs."""
    made = World(tmp_path_factory.mktemp("planted"))
    made.days(0, 1, 2)
    return made


def _paths(plain: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to everything in a document."""
    if above:
        yield above
    inner = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, value in inner:
        yield from _paths(value, (*above, key))


def _changed(data: bytes, path: Sequence[Any], value: Any) -> bytes:
    plain = json.loads(data)
    holder = plain
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return json.dumps(plain).encode()


def test_any_value_anywhere_harms_nobody(world: World, tried: Callable[[int], None]) -> None:
    """No command ends with a fault of s3nap's own, whatever stands in a manifest that somebody could put."""
    files = sorted(world.folder.glob("catalog/**/*.json"))

    @settings(max_examples=_CASES, deadline=None)
    @given(st.data())
    def each(data: st.DataObject) -> None:
        file = data.draw(st.sampled_from(files))
        good = file.read_bytes()
        path = data.draw(st.sampled_from(list(_paths(json.loads(good)))))
        value = data.draw(st.sampled_from(_NASTY))
        words = [word.format(day=world.day(3)) for word in data.draw(st.sampled_from(_COMMANDS))]
        file.chmod(0o600)
        file.write_bytes(_changed(good, path, value))
        try:
            assert cli._status([*words, "-c", str(world.conf)]) in set(Exit)
        finally:
            file.write_bytes(good)

    each()
    tried(_CASES)


def test_what_is_of_another_kind_is_no_manifest(world: World) -> None:
    """Code that reads a manifest relies on the kinds of its fields: one that has others is refused, by its key."""
    good = next(world.folder.glob("catalog/**/*.json")).read_bytes()
    assert from_json(good, "key").run
    for path, value in [
        (["job"], ["x"]),
        (["job"], "\udcf4"),
        (["host"], "\ud800"),
        (["source"], "\ud800"),
        (["slot"], "1"),
        (["objects", 0, "size"], "1e9"),
        (["objects", 0, "name"], 5),
        (["started"], "2026-01-01T00:00:00"),
        (["finished"], "0001-01-01T00:00:00+00:00"),
        (["encryption", "recipients"], [5]),
        (["programs"], {"tar": ["1"]}),
    ]:
        with pytest.raises(VerificationError, match="key: is not a manifest"):
            from_json(_changed(good, path, value), "key")
