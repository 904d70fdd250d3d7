"""SQLite databases go out consistently while others write, and come back byte for byte."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from servers import Backups


def _database(path: Path, tables: int = 5) -> Path:
    with closing(sqlite3.connect(path)) as database:
        for n in range(tables):
            database.execute(f"CREATE TABLE t{n} (id INTEGER PRIMARY KEY, text TEXT, data BLOB)")
            database.execute(f"INSERT INTO t{n} (text, data) VALUES ('ünï 😀', x'00ff0a')")
        database.commit()
    return path


def test_a_database_in_use_comes_back_as_it_was(backups: Backups, tmp_path: Path) -> None:
    """What is committed, in the WAL too, is in the archive, what is not committed is not."""
    path = _database(tmp_path / "a b?%.db")
    backups.write(f'SQLite "{path}"', "UseTempFile On")
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("INSERT INTO t0 (text) VALUES ('committed')")
        writer.commit()
        writer.execute("INSERT INTO t0 (text) VALUES ('not committed')")
        backups.back_up()
    target = tmp_path / "new.db"
    backups.run("restore", str(path), "--target", str(target))
    with closing(sqlite3.connect(target)) as restored:
        assert restored.execute("SELECT text FROM t0").fetchall() == [("ünï 😀",), ("committed",)]
        assert restored.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    (manifest,) = backups.manifests()
    assert manifest["proof"] == {"tables": 5}
    assert (manifest["stream"], manifest["type"]) == ("raw", "FULL")
    assert not list(tmp_path.glob("diff/**/copy*"))


def test_what_is_no_sound_database_fails_and_the_others_go_on(backups: Backups, tmp_path: Path) -> None:
    """A missing, foreign, or damaged file is never stored as if it were a database."""
    (tmp_path / "text").write_text("no database, but long enough to have a header of a hundred bytes" * 9)
    damaged = _database(tmp_path / "damaged", tables=30)
    content = bytearray(damaged.read_bytes())
    content[4096 * 3 : 4096 * 9] = b"\xa5" * (4096 * 6)
    damaged.write_bytes(content)
    names = ("missing", "text", "damaged")
    backups.write(*(f"SQLite {tmp_path / name}" for name in names), f"SQLite {_database(tmp_path / 'good')}")
    said = backups.back_up(status=1)
    assert "missing cannot be backed up: No such file" in said
    assert "text cannot be backed up: file is not a database" in said
    assert "damaged is damaged: " in said
    assert [each["source"] for each in backups.manifests()] == [str(tmp_path / "good")]


def test_a_locked_database_is_given_up_after_a_while(backups: Backups, tmp_path: Path) -> None:
    """A program that keeps the database locked must not hang the run for ever."""
    path = _database(tmp_path / "locked")
    backups.write(f"SQLite {path}", "Timeout 1")
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        assert "locked by another program for 1 seconds" in backups.back_up(status=1)


def test_a_database_that_lost_its_tables_does_not_push_out_old_ones(backups: Backups, tmp_path: Path) -> None:
    """An application that began anew with an empty file is noticed."""
    path = _database(tmp_path / "app.db")
    backups.write(f"SQLite {path}")
    backups.back_up()
    path.unlink()
    _database(path, tables=0)
    assert "it held 5" in backups.back_up(status=3)


def test_it_is_restored_to_a_named_file_only(backups: Backups, tmp_path: Path) -> None:
    """A restore must never write over a database that an application has open."""
    backups.write(f"SQLite {_database(tmp_path / 'app.db')}")
    backups.back_up()
    assert "--target FILE" in backups.run("restore", "SQLite" + str(tmp_path / "app.db"), status=2)
