"""Nothing is written outside the target, whatever it holds; and ``--delete`` removes no more than it may."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from s3nap.errors import Exit, UsageError, VerificationError
from s3nap.sources import within

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A bucket with a FULL that holds ``d/f`` and a DIFF that does not, and a folder that nobody may touch."""
    (tmp_path / "src/d/e").mkdir(parents=True)
    (tmp_path / "src/d/f").write_text("from the archive")
    (tmp_path / "src/d/e/x.tmp").write_text("excluded")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/f").write_text("precious")
    os.setxattr(tmp_path / "outside", "user.mine", b"1")
    for name in ("diff", "bucket"):
        (tmp_path / name).mkdir()
    (tmp_path / "s3nap.conf").write_text(
        f"DiffDir {tmp_path}/diff\nBucket file://{tmp_path}/bucket\nHost here\n"
        f"Exclude *.tmp\n<Directory {tmp_path}/src>\n</Directory>\n"
    )
    for day in ("2026-03-01", "2026-03-02"):
        done = s3nap(tmp_path, "--date", day)
        assert done.returncode == Exit.DONE, done.stderr
        (tmp_path / "src/new").write_text("of the second day")
    return tmp_path


def s3nap(base: Path, *args: str) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-m", "s3nap", "-c", str(base / "s3nap.conf"), *args]
    return subprocess.run(run, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def restore(base: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return s3nap(base, "restore", f"{base}/src", "--target", str(base / "t"), "--overwrite", *args)


def below(base: Path, name: str) -> Path:
    """Where a path of the source lies in the target."""
    return base / "t" / str(base / "src").lstrip("/") / name


def untouched(base: Path) -> None:
    assert [path.name for path in (base / "outside").iterdir()] == ["f"]
    assert (base / "outside/f").read_text() == "precious"
    assert os.listxattr(base / "outside") == ["user.mine"]


@pytest.mark.parametrize("args", [[], ["SRC"], ["SRC/d/f"], ["--salvage"]], ids=["whole", "folder", "file", "salvage"])
def test_a_link_in_the_place_of_a_directory_is_replaced(base: Path, args: list[str]) -> None:
    """What the target has where the archive has a directory may lead anywhere: it is not followed."""
    below(base, "").mkdir(parents=True)
    below(base, "d").symlink_to(base / "outside")
    done = restore(base, *(arg.replace("SRC", f"{base}/src") for arg in args))
    assert done.returncode == Exit.DONE, done.stderr
    untouched(base)
    assert not below(base, "d").is_symlink()
    assert below(base, "d/f").read_text() == "from the archive"


@pytest.mark.parametrize("args", [[], ["SRC/d/f"]], ids=["whole", "file"])
def test_a_link_above_the_source_is_not_followed_out(base: Path, args: list[str]) -> None:
    """The folders above the source are no members: a link there that leads out is refused, and named."""
    (base / "t").mkdir()
    top = base / "t" / base.parts[1]
    top.symlink_to(base / "outside")
    done = restore(base, *(arg.replace("SRC", f"{base}/src") for arg in args))
    assert done.returncode == Exit.USAGE, done.stderr
    assert str(top) in done.stderr
    untouched(base)


@pytest.mark.parametrize("path", [b"../x", b"/etc/x", b"a/../../x", b"", b"a//b", b"..", b"a/"])
def test_names_that_lead_out_have_no_place(tmp_path: Path, path: bytes) -> None:
    """An index or a listing may say what it likes: its names go nowhere else."""
    with pytest.raises(VerificationError, match="dangerous"):
        within.place(tmp_path, path)


def test_the_way_is_checked_once_it_is_known(tmp_path: Path) -> None:
    """A link within the target may be followed, one that leads out may not, at any depth."""
    (tmp_path / "t/real").mkdir(parents=True)
    (tmp_path / "t/in").symlink_to("real")
    (tmp_path / "t/real/out").symlink_to(tmp_path)
    way = within.Way(tmp_path / "t")
    way.check(b"in/file", folder=False)
    with pytest.raises(UsageError, match="leads out"):
        way.check(b"in/out/file", folder=False)


def test_delete_removes_what_the_archive_has_not(base: Path) -> None:
    """Only below the source's folders, never what is excluded, or beside the source; and it says how much first."""
    assert restore(base).returncode == Exit.DONE
    for name in ("surplus/deep/file", "d/more", "d/e/y.tmp"):
        below(base, name).parent.mkdir(parents=True, exist_ok=True)
        below(base, name).write_text("x")
    (base / "t/mine").write_text("x")
    below(base, "link").symlink_to(base / "outside")
    done = restore(base, "--delete", "-n")
    assert "5 entries" in done.stdout, done.stderr
    assert below(base, "d/more").exists()
    assert restore(base, f"{base}/src/d", "--delete").returncode == Exit.DONE
    assert not below(base, "d/more").exists()
    assert below(base, "surplus/deep/file").exists()
    done = restore(base, "--delete", "--verify")
    assert done.returncode == Exit.DONE, done.stderr
    assert not below(base, "surplus").exists()
    assert not below(base, "link").is_symlink()
    assert below(base, "d/e/y.tmp").exists()
    assert (base / "t/mine").exists()
    untouched(base)


def test_delete_needs_overwrite(base: Path) -> None:
    """What removes things is said twice."""
    done = s3nap(base, "restore", f"{base}/src", "--target", str(base / "t"), "--delete")
    assert done.returncode == Exit.USAGE


def test_too_little_room_is_said_before_the_first_byte(base: Path) -> None:
    """A disk that fills up half-way through a restore is the worst moment to learn about it."""
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", base / "outside"], check=False).returncode
    ):
        pytest.skip("needs the right to mount")
    try:
        done = s3nap(base, "restore", f"{base}/src", "--target", str(base / "outside/t"))
        assert done.returncode == Exit.USAGE
        assert "free" in done.stderr
        assert not (base / "outside/t").exists()
    finally:
        subprocess.run(["umount", base / "outside"], check=True)
