"""A source that has lost most of what it held pushes out nothing older until a person has looked."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from daily import Daily

from s3nap.errors import Exit


def _folder(path: Path, *, lost: bool) -> str:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    for number in range(5 if lost else 30):
        (path / f"{number}").touch()
    return "Directory"


def _mount(path: Path, *, lost: bool) -> str:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    if not lost:
        (path / "file").touch()
    return "Directory"


def _database(path: Path, *, lost: bool) -> str:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database:
        for number in range(1 if lost else 6):
            database.execute(f"CREATE TABLE t{number} (id INTEGER)")
        database.commit()
    return "SQLite"


def _repository(path: Path, *, lost: bool) -> str:
    shutil.rmtree(path, ignore_errors=True)
    subprocess.run(["svnadmin", "create", path], check=True)
    if not lost:
        url = path.as_uri()
        subprocess.run(["svn", "mkdir", "-q", "-m", "one", f"{url}/trunk"], check=True)
    return "Subversion"


def _command(path: Path, *, lost: bool) -> str:
    path.write_text("" if lost else "data")
    return "Command"


def _block(kind: str, source: Path, *lines: str) -> str:
    dump = [f"Dump cat {source}"] if kind == "Command" else []
    return "\n".join([f"<{kind} {'x' if dump else source}>", "Diffs 0", "Fulls 2", *dump, *lines, f"</{kind}>"])


def _rotate(machine: Daily, make: Callable[..., str], source: Path) -> set[int]:
    """Run once, lose nearly all, run twice more; return the days that are restorable then."""
    make(source, lost=False)
    (job,) = machine.run(0)
    make(source, lost=True)
    for day in (1, 2):
        result = machine.run(day)[job]
        assert result.manifest is not None
        assert result.status is (Exit.WARNINGS if result.manifest.brake else Exit.DONE)
    return set(machine.chains(job))


@pytest.mark.parametrize("make", [_folder, _mount, _database, _repository, _command])
def test_brake_off_lets_an_emptied_source_rotate(tmp_path: Path, make: Callable[..., str]) -> None:
    """By default what was there stays, day after day, with status 3; with Brake Off it rotates away, with 0."""
    source = tmp_path / "source"
    kind = make(source, lost=False)
    assert _rotate(Daily(tmp_path / "on", _block(kind, source)), make, source) == {0, 1, 2}
    assert _rotate(Daily(tmp_path / "off", "Brake Off\n" + _block(kind, source)), make, source) == {1, 2}


def test_brake_off_may_stand_in_any_block(tmp_path: Path) -> None:
    """It counts for its source or Cycle alone."""
    source = tmp_path / "source"
    inside = Daily(tmp_path / "block", _block("Directory", source, "Brake Off"))
    assert _rotate(inside, _mount, source) == {1, 2}
    around = Daily(
        tmp_path / "cycle", "<Cycle c>\nBrake Off\n" + _block("Directory", source, "Brake On") + "\n</Cycle>"
    )
    assert _rotate(around, _mount, source) == {0, 1, 2}
