"""Looking where something is missing, wrong or damaged; and that looking changes nothing and asks nobody."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from daily import Daily
from keys_fixture import GpgHome

from s3nap.cli import cli
from s3nap.errors import NoKeyError, NothingMatchesError, UsageError, VerificationError
from s3nap.picking import Selection, bare
from s3nap.sources.tarindex import Line

ODD = "\x1b[2Jodd\nname"


@pytest.fixture
def daily(tmp_path: Path, gpg_home: GpgHome) -> Daily:
    """Two days of a small tree, a FULL and a DIFF, encrypted; and a job that is no tree."""
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "one.conf").write_text("first")
    (tree / "gone").write_text("soon")
    (tree / "link").symlink_to("sub/one.conf")
    made = Daily(
        tmp_path / "machine",
        f"GpgRecipient {gpg_home.recipient}\nDirectory {tree}\n<Command it>\nDump /bin/echo hello\n</Command>",
    )
    made.run(1, full=True)
    (tree / "sub" / "one.conf").write_text("second")
    os.link(tree / "sub" / "one.conf", tree / "sub" / "two")
    (tree / "gone").unlink()
    (tree / ODD).write_text("control")
    made.run(2)
    return made


def s3nap(daily: Daily, *words: str) -> Result:
    """Run a command; what it raises is raised."""
    result = CliRunner().invoke(cli, [words[0], "-c", str(daily.conf), *words[1:]], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result


def tree(daily: Daily) -> str:
    """The source, which names the job, too."""
    return f"{daily.path.parent}/tree"


def test_ls(daily: Daily) -> None:
    """A directory is listed by names, a file by its path; names cannot move the cursor."""
    assert s3nap(daily, "ls", tree(daily)).stdout.splitlines() == ["\\x1b[2Jodd\\nname", "link -> sub/one.conf", "sub/"]
    assert s3nap(daily, "ls", tree(daily), "--at", "2026-03-02").stdout.splitlines()[0] == "gone"
    one = f"{tree(daily)}/sub/one.conf"
    (line,) = s3nap(daily, "ls", tree(daily), one, "-l").stdout.splitlines()
    assert line.startswith("-rw")
    assert line.endswith(one)
    assert " 6 " in line


def test_what_is_not_there(daily: Daily) -> None:
    """A path, pattern, day or job that is not there is said to be so, with what is there instead."""
    with pytest.raises(NothingMatchesError, match=f"holds no /one.conf; there is {tree(daily)}/sub/one.conf"):
        s3nap(daily, "restore", tree(daily), "one.conf", "--target", f"{daily.path}/out")
    with pytest.raises(NothingMatchesError, match=r"matches \*\.absent"):
        s3nap(daily, "find", "*.absent")
    with pytest.raises(NothingMatchesError, match="holds no /etc"):
        s3nap(daily, "ls", tree(daily), "/etc")
    with pytest.raises(NothingMatchesError, match="no restorable archive"):
        s3nap(daily, "ls", tree(daily), "--at", "2020-01-01")
    with pytest.raises(NothingMatchesError, match="has no job elsewhere"):
        s3nap(daily, "ls", "elsewhere")
    with pytest.raises(UsageError, match="no tree of files"):
        s3nap(daily, "ls", "Command/it")
    with pytest.raises(UsageError, match="no tree of files"):
        s3nap(daily, "restore", "Command/it", "etc", "--target", f"{daily.path}/out")
    with pytest.raises(UsageError, match=r"no \.\."):
        s3nap(daily, "restore", tree(daily), "etc/../x", "--target", f"{daily.path}/out")
    assert not Path(f"{daily.path}/out").exists()


def test_dump(daily: Daily) -> None:
    """A file goes to standard output as it was, by any of its names; what is none is refused; no path: the stream."""
    assert s3nap(daily, "dump", tree(daily), f"{tree(daily)}/sub/one.conf").stdout_bytes == b"second"
    assert s3nap(daily, "dump", tree(daily), f"{tree(daily)}/sub/two").stdout_bytes == b"second"
    old = s3nap(daily, "dump", tree(daily), f"{tree(daily)}/sub/one.conf", "--at", "2026-03-02")
    assert old.stdout_bytes == b"first"
    for name, kind in (("sub", "directory"), ("link", "symlink to sub/one.conf")):
        with pytest.raises(UsageError, match=f"is no file but a {kind}"):
            s3nap(daily, "dump", tree(daily), f"{tree(daily)}/{name}")
    assert s3nap(daily, "dump", "Command/it").stdout_bytes == b"hello\n"


def test_patterns(daily: Daily, tmp_path: Path) -> None:
    """--include and --exclude are as Exclude: names at any depth, or whole paths, with all that is below."""
    target = tmp_path / "out"

    def restored(*words: str) -> set[str]:
        s3nap(daily, "restore", tree(daily), "--target", str(target), "--overwrite", *words)
        found = {str(path.relative_to(target / tree(daily)[1:])) for path in target.rglob("*") if not path.is_dir()}
        subprocess.run(["rm", "-r", target], check=True)
        return {path for path in found if not path.startswith("..")}

    assert restored("--include", "*.conf") == {"sub/one.conf"}
    assert restored("--include", f"{tree(daily)}/sub") == {"sub/one.conf", "sub/two"}
    assert restored("--exclude", "sub") == {"link", ODD}
    assert restored("--include", "sub", "--exclude", "two") == {"sub/one.conf"}
    assert restored(tree(daily), "--exclude", "*odd*", "--exclude", "two") == {"link", "sub/one.conf"}
    assert restored(f"{tree(daily)}/link") == {"link"}


def test_selection_of_the_root() -> None:
    """Where / itself is archived, names begin with nothing, and . is the root."""
    line = Line(0, b"-", b"rw-r--r--", b"root/root", 0, b"0", b"etc/hosts", b"")
    assert bare("/") == bare(".") == b"."
    assert bare("./etc//") == b"etc"
    assert Selection(["/"])(line)
    assert Selection(["/etc"])(line)
    assert not Selection(["/et"])(line)
    assert not Selection(["/etc"], exclude=["/etc"])(line)


_ALONE = """
import sys, socket
def refuse(*_): raise SystemExit("asked the network")
socket.socket.connect = refuse
from s3nap.cli import cli
cli.main({words!r}, standalone_mode=False)
assert "boto3" not in sys.modules and "rich" not in sys.modules, "loaded too much"
"""


def snapshot(folder: Path) -> dict[str, str]:
    """Every file below a folder, with a hash of its contents."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("words", [["ls", "-l"], ["find", "*"], ["diff"]])
def test_the_host_itself_needs_neither_key_nor_storage(daily: Daily, words: list[str], tmp_path: Path) -> None:
    """On the backed-up host DiffDir is enough: no bucket, no key, no network; and nothing is changed by looking."""
    (daily.path / "bucket").rename(daily.path / "away")
    before = snapshot(daily.path)
    rest = {"ls": [tree(daily)], "find": [], "diff": [tree(daily), "2026-03-02", "latest"]}[words[0]]
    script = _ALONE.format(words=[words[0], "-q", "-c", str(daily.conf), *words[1:], *rest])
    environment = {**os.environ, "GNUPGHOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "one.conf" in done.stdout
    assert snapshot(daily.path) == before


def test_without_a_key_elsewhere(daily: Daily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere what is inside an archive is for those with the key only."""
    (tmp_path / "g").mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(tmp_path / "g"))
    words = ["ls", "--bucket", f"file://{daily.path}/bucket", "--host", "here", tree(daily)]
    result = CliRunner().invoke(cli, words, standalone_mode=False)
    assert isinstance(result.exception, NoKeyError)


@pytest.mark.parametrize("role", ["index", "listing"])
def test_a_damaged_copy_in_diffdir(daily: Daily, role: str) -> None:
    """Copies are only copies: where one is damaged the storage is asked, and a word is said."""
    good = s3nap(daily, "ls", "-R", tree(daily)).stdout
    for copy in daily.path.glob(f"diff/**/indexes/*.{role}.zst"):
        copy.write_bytes(b"damaged")
    result = s3nap(daily, "ls", "-R", tree(daily))
    assert result.stdout == good
    assert "DiffDir's copy cannot be used" in result.stderr


def test_a_damaged_index(daily: Daily, tmp_path: Path) -> None:
    """An index that is not what was stored is refused by name; a whole restore needs none."""
    for index in daily.path.glob("bucket/data/**/index.zst.gpg"):
        index.write_bytes(index.read_bytes()[:-1] + b"x")
    with pytest.raises(VerificationError, match=r"index\.zst\.gpg: is not what was stored"):
        s3nap(daily, "restore", tree(daily), f"{tree(daily)}/link", "--target", str(tmp_path / "one"))
    s3nap(daily, "restore", tree(daily), "--target", str(tmp_path / "all"))
    assert (tmp_path / "all" / tree(daily)[1:] / "sub" / "two").read_text() == "second"
