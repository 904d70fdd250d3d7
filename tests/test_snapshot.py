"""tar's snapshots: what is read from one and written again is what tar takes for its own."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import Mutator

from s3nap.errors import SourceError
from s3nap.sources.snapshot import Directory, Snapshot


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot that tar wrote of a tree with odd names."""
    folder = tmp_path_factory.mktemp("snapshot")
    Mutator(folder / "tree", seed=5, files=60).day(40)
    snapshot = folder / "snapshot"
    tar(f"--listed-incremental={snapshot}", f"--directory={folder}", "tree")
    return snapshot


def tar(*options: str) -> None:
    subprocess.run(
        ["tar", "--create", "--no-check-device", "--file=-", *options], check=True, stdout=subprocess.DEVNULL
    )


def test_round_trip(made: Path, tmp_path: Path) -> None:
    """What is not changed is written byte by byte as it was."""
    copy = tmp_path / "copy"
    Snapshot(made).rewrite(copy, lambda record: record)
    assert copy.read_bytes() == made.read_bytes()


def test_what_is_read(made: Path) -> None:
    """Each directory of the tree is found, with its inode and just the names that it holds."""
    tree = made.parent / "tree"
    found = {os.fsdecode(record.name): record for record in Snapshot(made)}
    folders = [path for path, _, _ in os.walk(made.parent / "tree")]
    assert set(found) == {str(Path(path).relative_to(tree.parent)) for path in folders}
    for name, record in found.items():
        assert record.inode == (tree.parent / name).stat().st_ino
        assert {os.fsdecode(entry[1:]) for entry in record.entries} == {
            path.name for path in (tree.parent / name).iterdir()
        }
        kinds = {os.fsdecode(entry[1:]): entry[:1] for entry in record.entries}
        for child, kind in kinds.items():
            path = tree.parent / name / child
            assert (kind == b"D") == (path.is_dir() and not path.is_symlink())


def test_an_entry_removed_is_dumped(made: Path, tmp_path: Path) -> None:
    """Tar dumps a file whose entry is gone, and no other: that is how edits it missed get archived."""
    tree, copy = made.parent / "tree", tmp_path / "copy"
    victim = next(record for record in Snapshot(made) if any(entry[:1] == b"Y" for entry in record.entries))
    entry = next(entry for entry in victim.entries if entry[:1] == b"Y")

    def keep(record: Directory) -> Directory:
        left = tuple(each for each in record.entries if record.name != victim.name or each != entry)
        return Directory(record.facts, record.inode, record.name, left)

    Snapshot(made).rewrite(copy, keep)
    listed = tmp_path / "listed"
    options = ["-v", "--quoting-style=literal", f"--index-file={listed}", "--show-transformed-names"]
    tar(*options, f"--listed-incremental={copy}", f"--directory={tree.parent}", "tree")
    names = [line for line in listed.read_bytes().split(b"\n") if line and not line.endswith(b"/")]
    assert names == [victim.name + b"/" + entry[1:]]


NUMBERS = st.integers(0, 2**63).map(b"%d".__mod__)
NAME = st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name)
RECORDS = st.builds(
    Directory,
    st.tuples(st.sampled_from([b"0", b"1"]), NUMBERS, NUMBERS, NUMBERS),
    st.integers(0, 2**64),
    NAME,
    st.lists(st.builds(bytes.__add__, st.sampled_from([b"Y", b"N", b"D"]), NAME), max_size=4).map(tuple),
)


@given(records=st.lists(RECORDS, max_size=5), time=st.integers(0, 2**62))
def test_any_records(tmp_path_factory: pytest.TempPathFactory, records: list[Directory], time: int) -> None:
    """Records of any content survive; and a snapshot cut anywhere is an error, unless it is cut between records."""
    path = tmp_path_factory.getbasetemp() / "any"
    seconds, nanoseconds = divmod(time, 10**9)
    heads = [b"GNU tar-1.34-2\n%d\0%d\0" % (seconds, nanoseconds), *(record.encoded() for record in records)]
    path.write_bytes(data := b"".join(heads))
    assert (Snapshot(path).time, list(Snapshot(path))) == (time, records)
    whole = {sum(map(len, heads[:count])) for count in range(1, len(heads) + 1)}
    for cut in random.Random(time).sample(range(len(data)), min(8, len(data))):  # noqa: S311
        path.write_bytes(data[:cut])
        if cut not in whole:
            with pytest.raises(SourceError):
                list(Snapshot(path))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _data: b"",
        lambda _data: b"1234567\n",
        lambda data: data.replace(b"-2\n", b"-7\n", 1),
        lambda data: data.replace(b"GNU tar", b"BSD tar", 1),
        lambda data: data[:-1],
        lambda data: data[:-2],
        lambda data: data + b"x",
    ],
)
def test_damage(made: Path, tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    """What tar itself would take for "no snapshot yet" or for an old one is an error here."""
    path = tmp_path / "spoilt"
    path.write_bytes(spoil(made.read_bytes()))
    with pytest.raises(SourceError):
        list(Snapshot(path))
