"""tar's own listing is read as tar meant it: names, kinds, times and places in the stream."""

from __future__ import annotations

import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s3nap.errors import VerificationError
from s3nap.sources import tarfolder, tarindex
from s3nap.sources.directory import _TAR
from s3nap.sources.tarindex import Line

NAMES = [b"plain", b" lead", b"two  blanks ", b"new\nline", b"tab\tand\rreturn", b"back\\slash", b"\\n", b"a -> b"]
NAMES += [b"a link to b", b"\xff\xfe not utf-8", "süß ☃".encode(), b"-dash", b"*?[x]", b"'quoted\"", b"x" * 255]
NAMES += [b"\x01\x7f", b"2026-11-21 12:22:18 trap", b"block 7: -rw-r--r-- root 0 2026-01-01 00:00:00 trap"]


def listed(root: Path, work: Path) -> list[Line]:
    """Archive a folder as the Directory source does; return its index, parsed."""
    work.mkdir(exist_ok=True)
    (work / "snapshot").unlink(missing_ok=True)
    extra = [f"--listed-incremental={work / 'snapshot'}", f"--index-file={work / 'index'}"]
    argv = [*_TAR, *extra, f"--directory={root.parent}", f"--file={work / 'tar'}", "--", root.name]
    subprocess.run(argv, check=True, stderr=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"})
    there = {os.fsencode(path.relative_to(root.parent)) for path in (root, *root.rglob("*"))}
    with (work / "index").open("rb") as lines:
        return list(tarindex.read(lines, there.__contains__))


def test_odd_names_and_kinds(tmp_path: Path) -> None:
    """Whatever a name holds, it comes out of the index as it is on disk; so do targets with arrows in them."""
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    base = os.fsencode(root)
    for number, name in enumerate(NAMES):
        path = base + b"/" + name
        with open(path, "wb") as file:  # noqa: PTH123 - bytes
            file.write(b"x" * number)
        os.symlink(b"to " + name, base + b"/sub/l" + name[:200])  # noqa: PTH211 - bytes
        os.link(path, base + b"/sub/h" + name[:200])
        os.utime(path, ns=(0, (-5 if number % 2 else 10**9) * 10**9 + number * 10 ** (number % 10)))
    os.mkfifo(root / "fifo")
    (root / "sparse").touch()
    os.truncate(root / "sparse", 1 << 22)
    lines = {line.path: line for line in listed(root, tmp_path / "work")}
    assert lines.keys() == {os.fsencode(path.relative_to(tmp_path)) for path in (root, *root.rglob("*"))}
    for path, line in lines.items():
        status = os.lstat(os.fsencode(tmp_path) + b"/" + path)
        assert line.mtime == status.st_mtime_ns, path
        if line.kind == b"l":
            assert line.link == os.readlink(os.fsencode(tmp_path) + b"/" + path)  # noqa: PTH115 - bytes
        elif line.kind == b"h":
            assert os.lstat(os.fsencode(tmp_path) + b"/" + line.link).st_ino == status.st_ino
        elif line.kind == b"-":
            assert line.size == status.st_size
    assert lines[b"tree/fifo"].kind == b"p"


def test_blocks_are_where_members_begin(tmp_path: Path) -> None:
    """A member cut out from its block to the next one is a tar member of its own, whatever it is."""
    root = tmp_path / "tree"
    root.mkdir()
    for number, name in enumerate(NAMES):
        with open(os.fsencode(root) + b"/" + name, "wb") as file:  # noqa: PTH123 - bytes
            file.write(os.urandom(number * 300))
    lines = listed(root, tmp_path / "work")
    data = (tmp_path / "work" / "tar").read_bytes()
    for line, after in zip(lines, [*lines[1:], None], strict=True):
        part = data[line.block * 512 : after.block * 512 if after is not None else len(data)]
        (tmp_path / "part").write_bytes(part + bytes(1024))
        with tarfile.open(tmp_path / "part") as archive:
            assert os.fsencode(archive.next().name).rstrip(b"/") == line.path  # type: ignore[union-attr]


text = st.binary(min_size=1, max_size=60).filter(lambda name: not {0, 47} & set(name) and name not in {b".", b".."})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(text, min_size=1, max_size=12))
def test_any_name(tmp_path_factory: pytest.TempPathFactory, names: set[bytes]) -> None:
    """Names of any bytes survive the way through tar's escapes."""
    base = tmp_path_factory.mktemp("any")
    (base / "t").mkdir()
    for name in names:
        with open(os.fsencode(base / "t") + b"/" + name, "wb"):  # noqa: PTH123 - bytes
            pass
    assert {line.path for line in listed(base / "t", base / "work")} == {b"t", *(b"t/" + name for name in names)}


def test_owners_with_blanks() -> None:
    """Owners of a directory service have blanks in their names; numbers alone are owners, too."""
    rows = [
        b"block 0: drwxr-xr-x  adm bob/domain users    0 2026-11-21 12:22:18 a/\n",
        b"block 3: -rw-r--r--* 1234/4321    12 2026-11-21 12:22:18.5 a/b\n",
        b"block 9: -rw-r--r--+ 1234/4321    12 2026-11-21 12:22:18   a/c\n",
    ]
    lines = list(tarindex.read(rows))
    assert [line.owner for line in lines] == [b"adm bob/domain users", b"1234/4321", b"1234/4321"]
    assert [line.path for line in lines] == [b"a", b"a/b", b"a/c"]
    assert lines[1].mtime - lines[2].mtime == 5 * 10**8


def test_what_tar_does_not_write_is_refused() -> None:
    """A damaged index is no index: nothing is guessed."""
    with pytest.raises(VerificationError, match="does not write"):
        list(tarindex.read([b"garbage\n"]))
    with pytest.raises(VerificationError, match="without a target"):
        list(tarindex.read([b"block 0: lrwxrwxrwx root/root 0 2026-11-21 12:22:18 a\n"]))


@pytest.mark.parametrize("mode", [b"rwxr-xr-x", b"rwsr-sr-t", b"--S--S--T", b"---------", b"rwxrwxrwx"])
def test_a_header_of_a_line(mode: bytes, tmp_path: Path) -> None:
    """The header made for a directory says what its line says."""
    line = Line(0, b"d", mode, b"1234/root", 0, b"2026-01-01 00:00:00.123456789", b"dir/\xff" + b"n" * 150, b"")
    (tmp_path / "tar").write_bytes(tarfolder.header(line) + bytes(1024))
    subprocess.run(["tar", "-xpf", tmp_path / "tar"], check=True, cwd=tmp_path)
    status = os.lstat(os.fsencode(tmp_path) + b"/" + line.path)
    assert status.st_mtime_ns == line.mtime
    assert status.st_mode & 0o7777 == tarfolder.mode_bits(mode)
    assert stat.filemode(stat.S_IFDIR | tarfolder.mode_bits(mode))[1:].encode() == mode
    if os.geteuid() == 0:
        assert (status.st_uid, status.st_gid) == (1234, 0)
