"""tar's old GNU format: rewritten for the gate, its renames replayed where tar loses files, hostile ones refused."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from trees import fingerprint

from s3nap.errors import VerificationError
from s3nap.sources.oldtar import modernized, split
from s3nap.sources.oldtree import OldTree
from s3nap.sources.renames import replay
from s3nap.sources.tarheader import BLOCK, pax_header, pax_records, posix


def dumped(tree: Path, snapshot: Path, *options: str) -> bytes:
    """One level, as s3napback had tar make it, before gzip."""
    argv = ["tar", "-f", "-", *options, "-g", str(snapshot), "-C", "/", "-cp", str(tree)]
    return subprocess.run(argv, check=True, capture_output=True).stdout


def restored(levels: Sequence[bytes], target: Path) -> OldTree:
    work = target.with_suffix(".work")
    for folder in (target, work):
        folder.mkdir()
    tree = OldTree(target, work, numeric_owner=False, gapped=False)
    for level in levels:
        tree.level(level[at : at + 1000] for at in range(0, len(level), 1000))
    return tree


def shape(root: Path) -> dict[bytes, object]:
    return {path: (node.kind, node.mode, node.content) for path, node in fingerprint(root).items()}


@pytest.mark.parametrize("options", [["--format=gnu"], ["--format=posix"]])
@pytest.mark.parametrize(
    "script",
    [
        pytest.param("mv a x", id="rename"),
        pytest.param("mv a x; mv b a; mv x b", id="swap"),
        pytest.param("mv a x; mv b a; mv c b; mv x c", id="cycle of three"),
        pytest.param("rm -rf c; mv b c; mv a b; mkdir a", id="rotation"),
        pytest.param("mv a b/a; mv b c/b", id="nesting"),
        pytest.param("mv a/below x; mv a x/a", id="parent and child"),
        pytest.param("mkdir new; mv a new/a; mv new/a/below b/below", id="moved twice"),
        pytest.param("mv a z; ln -s z a", id="link in the place of a directory"),
        pytest.param("rm -rf a; echo x > a", id="file for directory"),
        pytest.param("rm link; mkdir link; mv a link/a", id="into what was a link"),
        pytest.param("rm a/in-a; mv b a/in-a", id="directory for file"),
        pytest.param(f"mv a {'n' * 120}", id="to a long name"),
    ],
)
def test_renamed_directories(tmp_path: Path, script: str, options: list[str]) -> None:
    """Directories that moved are where they were moved to, with their contents; twice in a row, too."""
    tree = tmp_path / "tree"
    for name in ("a", "b", "c", "d", "a/below"):
        (tree / name).mkdir(parents=True)
        (tree / name / f"in-{name[-1]}").write_text(name)
    (tree / "link").symlink_to("/etc")
    levels = [dumped(tree, tmp_path / "snapshot", *options)]
    for again in ("", "mv d again; mkdir d; mv again d/again"):
        subprocess.run(["sh", "-ec", again or script], cwd=tree, check=True)
        levels.append(dumped(tree, tmp_path / "snapshot", *options))
    done = restored(levels, tmp_path / "target")
    assert shape(tmp_path / "target" / str(tree)[1:]) == shape(tree)
    assert done.check() == ([], [])


def test_a_stream_that_is_new_already_passes_unchanged(tmp_path: Path) -> None:
    """Where nothing is old, nothing is touched."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("x" * 2000)
    data = dumped(tmp_path / "tree", tmp_path / "snapshot", "--format=posix")
    assert b"".join(bytes(part) for part in modernized(iter([data]), lambda _pairs, _listings: None)) == data


def test_a_file_that_the_tree_lost_is_noticed(tmp_path: Path) -> None:
    """The last level's listing is the proof."""
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a" / "file").write_text("x")
    done = restored([dumped(tree, tmp_path / "snapshot", "--format=gnu")], tmp_path / "target")
    copy = tmp_path / "target" / str(tree)[1:]
    (copy / "surplus").touch()
    (copy / "a" / "file").unlink()
    assert done.check()[0] == [
        f"/{str(copy / 'surplus').removeprefix(str(tmp_path / 'target') + '/')} should not be there",
        f"{tree}/a/file is missing",
    ]


def test_a_directory_of_which_the_last_level_knows_nothing_is_named(tmp_path: Path) -> None:
    """The day after a rotation tar lists it as a file that need not be stored, and not what it holds by then."""
    tree = tmp_path / "tree"
    for name in ("a/below", "b", "c"):
        (tree / name).mkdir(parents=True)
        (tree / name / "file").write_text(name)
    levels = [dumped(tree, tmp_path / "snapshot", "--format=gnu")]
    for script in ("mv a x; mv b a; mv c b; mv x c", "rm c/below/file"):
        subprocess.run(["sh", "-ec", script], cwd=tree, check=True)
        levels.append(dumped(tree, tmp_path / "snapshot", "--format=gnu"))
    done = restored(levels, tmp_path / "target")
    assert (tmp_path / "target" / str(tree)[1:] / "c" / "below" / "file").exists()
    assert done.check() == ([], [])
    assert done.unsure() == [f"{tree}/c/below".removeprefix("/")]


def old_level(*members: tuple[bytes, bytes, bytes]) -> bytes:
    """Members of the old format: type, name, body."""
    stream = b""
    for kind, name, body in members:
        header = bytearray(BLOCK)
        header[: len(name)] = name
        header[100:108], header[124:136] = b"0000755\0", b"%011o\0" % len(body)
        header[156:157] = kind
        stream += posix(header) + body + bytes(-len(body) % BLOCK)
    return stream + bytes(2 * BLOCK)


@pytest.mark.parametrize(
    ("levels", "why"),
    [
        ([old_level((b"D", b"a/", b"R../x\0Ta\0\0"))], "dangerous name"),
        ([old_level((b"D", b"a/", b"Ra\0T../../x\0\0"))], "dangerous name"),
        ([old_level((b"D", b"a/", b"Ra\0Tb//c\0\0"))], "dangerous name"),
        ([old_level((b"D", b"a/", b"Ra\0Nb\0\0"))], "damaged rename record"),
        ([old_level((b"D", b"a/", b"R\0Tb\0\0"))], "damaged rename record"),
        ([old_level((b"D", b"a/", b"Ra\0Tc\0Rb\0Tc\0\0"))], "contradict"),
        ([old_level((b"D", b"a/", b"\0"), (b"D", b"b/", b"Ra\0Tc\0\0"))], "not at its beginning"),
        ([old_level((b"S", b"a", b""))], "sparse"),
        ([old_level((b"M", b"a", b""))], "kind that s3nap never stores"),
        ([old_level((b"L", b"././@LongLink", b"../out\0"), (b"0", b"a", b"x"))], "dangerous name"),
        ([old_level((b"0", b"a", b"x"))[:-1024]], "cut off"),
    ],
)
def test_what_could_do_harm_is_refused(tmp_path: Path, levels: list[bytes], why: str) -> None:
    """Who can write to the bucket must not reach anything outside of the target."""
    with pytest.raises(VerificationError, match=why):
        restored(levels, tmp_path / "target")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["target", "target.work"]


def test_a_link_that_was_renamed_along_is_not_followed(tmp_path: Path) -> None:
    """A level that renames a directory must not write through a link in it afterwards."""
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "target"
    first = old_level((b"D", b"top/", b"Da\0\0"), (b"D", b"top/a/", b"Yout\0\0"), link(b"top/a/out", outside))
    second = old_level(
        (b"D", b"top/", b"Db\0Rtop/a\0Ttop/b\0\0"), (b"D", b"top/b/", b"Nout\0\0"), (b"0", b"top/b/out/file", b"x")
    )
    with pytest.raises(VerificationError, match="below a symbolic link"):
        restored([first, second], target)
    assert list(outside.iterdir()) == []


def link(name: bytes, to: Path) -> tuple[bytes, bytes, bytes]:
    """A symbolic link: its target stands right behind its type."""
    return b"2" + os.fsencode(to), name, b""


def test_renames_do_not_follow_links(tmp_path: Path) -> None:
    """Neither the old nor the new name may lead through a link, however it came there."""
    for name in ("outside/old", "tree/dir"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "outside")
    assert replay(tmp_path / "tree", [(b"link/old", b"new")], {b"new": b"Nfile\0"}) == []
    replay(tmp_path / "tree", [(b"dir", b"link/new")], {b"link/new": b"Nfile\0"})
    assert [file.name for file in (tmp_path / "outside").iterdir()] == ["old"]
    assert (tmp_path / "tree" / "link" / "new").is_dir()
    assert not (tmp_path / "tree" / "link").is_symlink()


def test_rename_records_come_out_of_a_listing() -> None:
    """The way over a temporary name is made short, repetitions are dropped, and the listing keeps its length."""
    listing = b"Da\0X/top\0Rtop/b\0T\0Rtop/a\0Ttop/b\0R\0Ttop/a\0Rtop/a\0Ttop/b\0Nc\0\0"
    pairs, kept = split(listing)
    assert pairs == [(b"top/a", b"top/b"), (b"top/b", b"top/a")]
    assert kept == b"Da\0Nc\0".ljust(len(listing), b"\0")


@pytest.mark.parametrize("size", [0, 1, 90, 91, 92, 93, 989, 990, 991, 992, 5000])
def test_pax_headers_read_as_they_were_written(size: int) -> None:
    """The length of a record counts its own digits."""
    records = {b"path": b"x" * size, b"GNU.dumpdir": b"Ya\0\0"}
    made = pax_header(records)
    assert len(made) % BLOCK == 0
    assert pax_records(made[BLOCK:].rstrip(b"\0") if size else made[BLOCK : BLOCK + int(made[124:135], 8)]) == records
