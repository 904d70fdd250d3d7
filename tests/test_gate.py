"""The gate: a hostile or damaged tar stream must not reach tar, and a genuine one must pass unchanged."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import Mutator

from s3nap.errors import VerificationError
from s3nap.sources.tarstream import Gate

FILE, LINK, SYMLINK, FOLDER = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE
Item = tuple[str, bytes, str]  # name, type, link or content


def stream(*items: Item, pax: dict[str, str] | None = None) -> bytes:
    """A tar stream, as python makes it."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, text in items:
            member = tarfile.TarInfo(name)
            member.type, member.pax_headers = kind, pax or {}
            data = text.encode() if kind == FILE else b""
            member.size = len(data)
            member.linkname = text if kind in {LINK, SYMLINK} else ""
            archive.addfile(member, io.BytesIO(data))
    return target.getvalue()


def passed(gate: Gate, data: bytes, sizes: Sequence[int] = (10**9,)) -> bytes:
    """What comes through, if the stream comes in pieces of these sizes, over and over."""

    def pieces() -> Iterator[bytes]:
        position = 0
        while position < len(data):
            for size in sizes:
                yield data[position : position + size]
                position += size

    return b"".join(bytes(part) for part in gate.level(pieces()))


@pytest.mark.parametrize(
    ("levels", "why"),
    [
        ([stream(("../out", FILE, "x"))], "dangerous name"),
        ([stream(("a", FOLDER, ""), ("a/../../out", FILE, "x"))], "dangerous name"),
        ([stream(("..", FOLDER, ""))], "dangerous name"),
        ([stream(("/etc/out", FILE, "x"))], "dangerous name"),
        ([stream(("a//b", FILE, "x"))], "dangerous name"),
        ([stream(("", FILE, "x"))], "dangerous name"),
        ([stream(("harmless", FILE, "x"), pax={"path": "/out"})], "dangerous name"),
        ([stream(("harmless", FILE, "x"), pax={"path": "a/../../out"})], "dangerous name"),
        ([stream(("harmless", FILE, "x"), pax={"GNU.sparse.name": "../out"})], "dangerous name"),
        ([stream(("a", SYMLINK, "/tmp"), ("a/out", FILE, "x"))], "below a symbolic link"),
        ([stream(("a", SYMLINK, "/tmp"), ("a/b/out", FILE, "x"))], "below a symbolic link"),
        ([stream(("./a", SYMLINK, "/tmp"), ("a/out", FILE, "x"))], "below a symbolic link"),
        ([stream(("a", SYMLINK, "/tmp")), stream(("a/out", FILE, "x"))], "below a symbolic link"),
        (
            [stream(("a", FOLDER, ""), ("a", SYMLINK, "/tmp"), ("a/out", FILE, "x"))],
            "a directory and as something else",
        ),
        (
            [stream(("a", FOLDER, ""), ("a/b", SYMLINK, "/tmp")), stream(("a", FOLDER, ""), ("a/b/out", FILE, "x"))],
            "below a symbolic link",
        ),
        (
            [stream(("a", SYMLINK, "/tmp"), ("b", LINK, "a")), stream(("b/out", FILE, "x"))],
            "below a symbolic link",
        ),
        ([stream(("a", LINK, "../etc/passwd"))], "leads out"),
        ([stream(("a", LINK, "/etc/passwd"))], "leads out"),
        ([stream(("a", SYMLINK, "/etc"), ("b", LINK, "a/passwd"))], "leads out"),
        ([stream(("a", LINK, "b"), pax={"linkpath": "/etc/passwd"})], "leads out"),
        ([stream(("a", FOLDER, ""), pax={"GNU.dumpdir": "Rb\0Ta\0\0"})], "rename record"),
        ([stream(("a", FOLDER, ""), pax={"GNU.dumpdir": "Yb\0Xtmp\0\0"})], "rename record"),
        ([stream(("a", tarfile.CONTTYPE, ""))], "never stores"),
        ([stream(("a", tarfile.GNUTYPE_SPARSE, ""))], "never stores"),
        ([stream(("a", b"D", ""))], "never stores"),
        ([stream(("a", b"M", ""))], "never stores"),
        ([stream(("a", b"V", ""))], "never stores"),
        ([stream(("a", b"N", ""))], "never stores"),
    ],
)
def test_hostile(levels: list[bytes], why: str) -> None:
    """Each is refused by name, before the bytes of the member have gone on to tar."""
    gate = Gate()
    for level in levels[:-1]:
        passed(gate, level)
    with pytest.raises(VerificationError, match=why):
        passed(gate, levels[-1])


def header(name: bytes, kind: bytes, size: bytes) -> bytes:
    """A header as no program would write it."""
    block = bytearray(tarfile.TarInfo(os.fsdecode(name)).tobuf(tarfile.USTAR_FORMAT))
    block[156:157] = kind
    block[124:136] = size.ljust(12, b"\0")
    return bytes(block)


PAX = header(b"pax", b"x", b"%o" % 20)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (header(b"a", b"0", b"nonsense"), "damaged"),
        (header(b"a", b"0", b"\xff" * 12), "damaged|dangerous|cut off"),
        (header(b"a", b"x", b"\x80" + b"\x7f" * 11), "header of"),
        (header(b"a", b"g", b"0"), "never stores"),
        (header(b"a", b"L", b"0"), "never stores"),
        (header(b"a", b"5", b"1000"), "never stores"),
        (header(b"a", b"2", b"1000"), "never stores"),
        (PAX + b"20 path=../../../out".ljust(512, b"\0"), "damaged pax"),
        (PAX + b"0 path=x".ljust(512, b"\0"), "damaged pax"),
        (PAX + b"-5 path=x".ljust(512, b"\0"), "damaged pax"),
        (PAX + b"999 path=x\n".ljust(512, b"\0"), "damaged pax"),
        (PAX + b"nonsense".ljust(512, b"\0"), "damaged pax"),
        (header(b"pax", b"x", b"%o" % 9) + b"9 size=x\n".ljust(512, b"\0") + header(b"a", b"0", b"1"), "damaged pax"),
        (header(b"pax", b"x", b"%o" % 10) + b"10 size=-1".ljust(512, b"\0") + header(b"a", b"0", b"1"), "damaged"),
        (b"", "cut off"),
        (stream(("a", FILE, "x"))[:700], "cut off"),
        (b"not a tar stream at all" * 100, "damaged"),
    ],
)
def test_damaged(data: bytes, why: str) -> None:
    """Headers that lie or are cut are refused with VerificationError, never with another error, never read on."""
    with pytest.raises(VerificationError, match=why):
        passed(Gate(), data)


def test_a_huge_header_is_not_read() -> None:
    """A pax header of a size that would fill the memory is refused by its size alone."""

    def endless() -> Iterator[bytes]:
        yield header(b"a", b"x", b"%o" % (1 << 32))
        pytest.fail("reads on")

    with pytest.raises(VerificationError, match="header of 4294967296 bytes"):
        list(Gate().level(endless()))


def test_link_replaced_by_folder() -> None:
    """What was a link in one level and is a directory in the next, with members, is an ordinary day."""
    gate = Gate()
    passed(gate, stream(("a", SYMLINK, "/tmp"), ("b", FILE, "x")))
    level = stream(("a", FOLDER, ""), ("a/in", FILE, "x"), ("a/c", LINK, "a/in"))
    assert passed(gate, level) == level


class Stream(bytes):
    """So many bytes that no message shall show them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    """A stream as tar makes it of a tree with everything in it."""
    folder = tmp_path_factory.mktemp("gate")
    Mutator(folder / "tree", seed=7, files=40).day(40)
    argv = ["tar", "--create", "--format=posix", "--sparse", "--acls", "--xattrs", "--file=-"]
    argv += [f"--listed-incremental={folder / 'snapshot'}", f"--directory={folder}", "tree"]
    return Stream(subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)


@given(sizes=st.lists(st.sampled_from([1, 100, 511, 512, 513, 10_000, 1_000_000]), min_size=1, max_size=5))
def test_genuine(genuine: Stream, sizes: list[int]) -> None:
    """A real stream passes byte by byte, in whatever pieces it comes, and all its directories are listed."""
    listed: list[bytes] = []
    gate = Gate(lambda folder, _listing: listed.append(folder))
    assert passed(gate, genuine, [max(size, 100) for size in sizes]) == genuine
    with tarfile.open(fileobj=io.BytesIO(genuine)) as archive:
        assert listed == [os.fsencode(member.name) for member in archive if member.isdir()]


@given(data=st.data())
def test_a_genuine_stream_damaged(genuine: Stream, data: st.DataObject) -> None:
    """Cut or with bytes changed anywhere, it passes or is refused: there is no third way."""
    spoilt = bytearray(genuine[: data.draw(st.integers(0, len(genuine)))])
    for position in data.draw(st.lists(st.integers(0, len(genuine) - 1), max_size=5)):
        if position < len(spoilt):
            spoilt[position] ^= 0x55
    try:
        out = passed(Gate(), bytes(spoilt))
    except VerificationError:
        return
    assert out == spoilt


def test_unwanted_members_are_left_out(tmp_path: Path) -> None:
    """With ``wanted`` the rest still is a stream that tar extracts."""
    data = stream(("a", FOLDER, ""), ("a/yes", FILE, "x" * 1000), ("a/no", FILE, "y" * 1000), ("z", FILE, "z"))
    out = passed(Gate(wanted=lambda member: member.bare != b"a/no"), data)
    subprocess.run(["tar", "--extract", "--file=-"], input=out, check=True, cwd=tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "yes", "z"]
