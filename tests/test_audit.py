"""``s3nap audit``: what is on a machine and in no block is told, and nothing else is."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from machine import Machine
from servers import MariaDB, Postgres

from s3nap import cli
from s3nap.errors import Exit
from s3nap.glance import Glance, look

Audit = Callable[..., dict[str, Any]]
Told = dict[str, str]


@pytest.fixture
def audit(machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Audit:
    """Audit the machine with a conf of these lines; return the JSON document."""

    def audit(*lines: str, status: Exit = Exit.WARNINGS) -> dict[str, Any]:
        conf = tmp_path / "a.conf"
        conf.write_text("\n".join(["DiffDir /d", "Bucket b-b", *lines]) + "\n")
        ended = cli._status(["audit", "--json", "-c", str(conf), "--root", str(machine.root)])
        out, err = capsys.readouterr()
        assert (ended, err) == (status, "")
        told: dict[str, Any] = json.loads(out)
        assert told["covered"] == (status is Exit.DONE) == (not told["gaps"])
        return told

    return audit


def gaps(told: dict[str, Any]) -> Told:
    return {each["subject"]: each["text"] for each in told["gaps"]}


def notes(told: dict[str, Any]) -> Told:
    return {each["subject"]: each["text"] for each in told["notes"]}


def test_all_is_covered(machine: Machine, audit: Audit) -> None:
    """Blocks on a folder, above it, or on each of its parts all cover it; the system itself is asked of nobody."""
    machine.file("/etc/x", "/home/bob/x", "/home/eve/x", "/data/x", "/usr/bin/x", "/var/log/x", "/boot/x")
    machine.mount("/data")
    told = audit("Directory /etc /data /home/bob", "Directory /home/eve", status=Exit.DONE)
    assert told == {"covered": True, "gaps": [], "notes": [], "ignored": []}
    assert audit("Directory /", status=Exit.DONE)["gaps"] == []


def test_folders_and_mounts_in_no_block(machine: Machine, audit: Audit) -> None:
    """What nobody thought of is named, with the line that it needs."""
    machine.file("/etc/x", "/home/bob/x", "/data disk/x", "/people/x", "/var/vmail/x")
    machine.mount("/data disk")
    told = audit("Directory /etc")
    assert set(gaps(told)) == {"/home", "/data disk", "/people", "/var/vmail"}
    assert {each["what"] for each in told["gaps"] if "/dev/sdb1" in each["text"]} == {"mount"}
    assert {each["remedy"] for each in told["gaps"]} >= {"Directory /home", 'Directory "/data disk"'}


def test_the_rest_of_a_folder_that_is_covered_in_part(machine: Machine, audit: Audit) -> None:
    """Of a folder of which something is backed up, that is named which is not; empty folders are not."""
    machine.file("/home/bob/x", "/home/eve/a/x", "/home/eve/b/x", "/home/loose")
    machine.folder("/home/nobody")
    told = gaps(audit("Directory /home/bob /home/eve/a"))
    assert set(told) == {"/home", "/home/eve/b"}
    assert "the files beside them are in none" in told["/home"]


def test_what_is_excluded(machine: Machine, audit: Audit) -> None:
    """A folder that a pattern takes out by mistake is a gap, with the pattern; what is left out elsewhere a note."""
    machine.file("/home/bob/x", "/home/bob/.cache/x", "/srv/home/x", "/data/x")
    machine.mount("/data")
    told = audit("Directory /", "Exclude home .cache", "Exclude /data")
    assert set(gaps(told)) == {"/home", "/data"}
    assert "Exclude home" in gaps(told)["/home"]
    assert "a.conf:5" in gaps(told)["/data"]
    told = audit("<Directory /home>", "Exclude .cache", "</Directory>", "Directory /srv /data", status=Exit.DONE)
    assert "Exclude .cache" in notes(told)["/home/bob/.cache"]
    assert "a.conf:4" in notes(told)["/home/bob/.cache"]


def test_other_file_systems_are_not_entered(machine: Machine, audit: Audit) -> None:
    """OneFileSystem leaves out a disk that somebody has mounted since; the mount of a part of the same one is none."""
    machine.file("/srv/x", "/srv/disk/x", "/home/x")
    machine.mount("/srv/disk", device="8:17")
    machine.mount("/home", device="8:1", part="/home")
    told = gaps(audit("Directory /", "OneFileSystem On"))
    assert set(told) == {"/srv/disk"}
    assert "a.conf:4" in told["/srv/disk"]
    assert audit("Directory /", status=Exit.DONE)["covered"]
    assert audit("Directory /srv/disk", "Directory /", "OneFileSystem On", status=Exit.DONE)["covered"]


def test_links_are_followed_to_where_they_lead(machine: Machine, audit: Audit) -> None:
    """A block on a link covers what it leads to; a link inside a block does not."""
    machine.file("/data/srv/x")
    machine.link("/srv", machine.root / "data/srv")
    assert audit("Directory /srv", status=Exit.DONE)["covered"]
    machine.file("/etc/x")
    machine.link("/etc/data", machine.root / "data")
    assert set(gaps(audit("Directory /etc"))) == {"/data"}


def test_network_mounts_are_worth_a_note(machine: Machine, audit: Audit) -> None:
    """Another machine's disk is its own business, and is not looked at: a look could hang."""
    machine.file("/etc/x", "/mnt/nas/x")
    machine.mount("/mnt/nas", "nfs4", source="nas:/x")
    assert "nas:/x" in notes(audit("Directory /etc", status=Exit.DONE))["/mnt/nas"]
    machine.file("/mnt/nas/cache/x", "/mnt/own/cache/x")
    told = notes(audit("Directory /etc /mnt", "Exclude cache", status=Exit.DONE))
    assert "/mnt/own/cache" in told["/mnt/own/cache"]
    assert "/mnt/nas" not in str(told)


def test_repositories_and_sqlite(machine: Machine, audit: Audit) -> None:
    """What is more than files needs its own block; where files are copied a note says what that is worth."""
    for path in ("/srv/svn/a", "/srv/svn/b", "/home/bob/c", "/home/eve/d"):
        machine.repository(path)
    machine.file("/var/lib/app/app.db", "/var/lib/app/other.db", text=b"SQLite format 3\0" + bytes(84))
    told = audit(
        "SubversionDir /srv/svn", "Subversion /home/bob/c", "SQLite /var/lib/app/app.db", "Directory /srv /home/bob"
    )
    assert set(gaps(told)) == {"/home/eve", "/home/eve/d", "/var/lib/app/other.db"}
    told = audit("SubversionDir /srv/svn", "Directory /srv /home /var/lib", status=Exit.DONE)
    assert set(notes(told)) == {
        f"/{path}" for path in ("home/bob/c", "home/eve/d", "var/lib/app/app.db", "var/lib/app/other.db")
    }


def test_what_need_not_be_covered(machine: Machine, audit: Audit) -> None:
    """AuditIgnore names things and patterns, also for what lies below; what is ignored can still be seen."""
    machine.file("/etc/x", "/scratch/x", "/data/a/x", "/home/bob/x", "/home/eve/x")
    machine.repository("/home/eve/svn")
    told = audit("Directory /etc /home/bob", "AuditIgnore /scratch eve", "AuditIgnore /d*", status=Exit.DONE)
    assert sorted(told["ignored"]) == ["/data", "/home/eve", "/home/eve/svn", "/scratch"]
    assert set(gaps(audit("Directory /etc", "AuditIgnore /scratc /dat /home"))) == {"/scratch", "/data"}


def test_several_confs_together(machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What one conf leaves out another may have; people are told the number, and -q tells gaps only."""
    machine.file("/etc/x", "/home/x", "/srv/x")
    words = []
    for name in ("etc", "home"):
        (tmp_path / name).write_text(f"DiffDir /d\nBucket b-b\nDirectory /{name}\n")
        words += ["-c", str(tmp_path / name)]
    assert cli._status(["audit", "-q", *words, "--root", str(machine.root)]) == Exit.WARNINGS
    gap, last = capsys.readouterr().out.splitlines()
    assert gap.startswith("NOT COVERED: /srv: data of services: in no block (1 file, 1 B, newest of ")
    assert gap.endswith("); add: Directory /srv")
    assert last.startswith("1 not covered")
    (tmp_path / "home").write_text("DiffDir /d\nBucket b-b\nDirectory /home /srv\n")
    assert cli._status(["audit", "-q", *words, "--root", str(machine.root)]) == Exit.DONE
    assert capsys.readouterr().out == ""


@pytest.fixture
def shops(
    machine: Machine, mariadb: MariaDB, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both servers, where the clients find them untold; each holds two databases."""
    mariadb.empty()
    mariadb.sql("CREATE DATABASE shop; CREATE DATABASE wiki;")
    for name in ("shop", "wiki"):
        if not postgres.sql(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):
            postgres.sql(f"CREATE DATABASE {name}")
    (tmp_path / ".my.cnf").write_text(f"[client]\nuser=root\nsocket={mariadb.socket}\n")
    monkeypatch.setenv("PGHOST", str(postgres.socket))
    monkeypatch.setenv("PGUSER", "postgres")
    machine.link("/run/mysqld/mysqld.sock", mariadb.socket)
    machine.link("/run/postgresql", postgres.socket)


@pytest.mark.usefixtures("shops")
def test_databases_that_are_not_dumped(audit: Audit) -> None:
    """A database made since the conf was written is named, as the line that it needs."""
    told = audit("MySQL shop", "PostgreSQL postgres@wiki")
    assert set(gaps(told)) >= {"MySQL wiki", "PostgreSQL shop"}
    assert not set(gaps(told)) & {"MySQL shop", "MySQL mysql", "PostgreSQL wiki", "PostgreSQL postgres"}
    assert [text for text in notes(told).values() if "accounts and rights are in MySQL all" in text]
    told = audit("MySQL all", "PostgreSQL all", status=Exit.DONE)
    assert told["notes"] == []
    told = audit("MySQL all", 'AuditIgnore "PostgreSQL *"', "Directory /x", status=Exit.DONE)
    assert set(told["ignored"]) >= {"PostgreSQL shop", "PostgreSQL wiki"}


@pytest.mark.usefixtures("shops")
def test_a_job_that_leads_elsewhere_covers_nothing(audit: Audit, mariadb2: MariaDB) -> None:
    """Databases of the same name on another server are other databases; by a socket it is the same."""
    mariadb2.sql("CREATE DATABASE shop; CREATE DATABASE wiki;")
    told = gaps(audit(f"MySQL {mariadb2.socket}:all", "PostgreSQL all"))
    assert set(told) == {"MySQL shop", "MySQL wiki"}


@pytest.mark.usefixtures("shops")
def test_a_copy_of_a_running_server_is_no_backup(audit: Audit, mariadb: MariaDB) -> None:
    """A Directory that holds the server's files covers no database: who relies on it is told so."""
    told = audit(f"Directory {mariadb.folder}", "PostgreSQL all")
    assert set(gaps(told)) == {"MySQL shop", "MySQL wiki"}
    assert "a file copy of a running database is not a backup" in gaps(told)["MySQL shop"]
    told = audit(f"Directory {mariadb.folder}", "PostgreSQL all", "MySQL all", status=Exit.DONE)
    assert f"Exclude {mariadb.folder}/d" in notes(told)[f"{mariadb.folder}/d"]


@pytest.mark.usefixtures("shops")
def test_a_server_that_only_the_job_may_ask(audit: Audit, mariadb: MariaDB, tmp_path: Path) -> None:
    """Where the clients are not let in, the job's own account tells what is dumped; without one nothing can be told."""
    (tmp_path / ".my.cnf").write_text(f"[client]\nuser=nobody\nsocket={mariadb.socket}\n")
    told = gaps(audit("MySQL all", "PostgreSQL all"))
    assert set(told) == {"MySQL /run/mysqld/mysqld.sock"}
    assert "cannot be told" in told["MySQL /run/mysqld/mysqld.sock"]
    told = gaps(audit("PostgreSQL all", "<MySQL shop>", "MySQLOptions --user=root", "</MySQL>"))
    assert set(told) == {"MySQL wiki"}


def test_data_of_a_server_that_is_down(machine: Machine, audit: Audit) -> None:
    """A server that is stopped today has data all the same: it is asked whether anything backs them up."""
    machine.file("/etc/x", "/var/lib/postgresql/15/main/PG_VERSION")
    machine.mount("/var/lib/postgresql")
    assert set(gaps(audit("Directory /etc"))) == {"/var/lib/postgresql"}
    assert set(notes(audit("Directory /etc", "PostgreSQL all", status=Exit.DONE))) == {"/var/lib/postgresql"}


def test_packages(machine: Machine, audit: Audit) -> None:
    """That nobody knows afterwards what was installed is worth a note."""
    machine.file("/var/lib/dpkg/status", "/etc/x")
    assert "packages" in notes(audit("Directory /etc", status=Exit.DONE))
    told = audit("Directory /etc", "<Command x>", "Dump dpkg -l", "</Command>", status=Exit.DONE)
    assert told["notes"] == []


def test_a_look_is_bounded(tmp_path: Path) -> None:
    """A folder of a million files costs as much as one of a few thousand, and what is not to be touched is not."""
    for number in range(6):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}/file").write_bytes(bytes(10))
    newest = (tmp_path / "5/file").stat().st_mtime
    everything = Glance(files=6, size=60, newest=newest)
    assert replace(look(tmp_path), newest=newest) == everything
    assert look(tmp_path, entries=8).files == 2
    assert not look(tmp_path, entries=8).whole
    assert look(tmp_path, {str(tmp_path / "0")}).files == 5


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="needs a mount in a mount")
def test_a_look_stays_on_its_file_system() -> None:
    """What is mounted in a folder is no part of it: it is looked at by itself, or not at all."""
    before = look(Path("/dev")).files
    with tempfile.NamedTemporaryFile(dir="/dev/shm"):
        assert look(Path("/dev")).files == before
