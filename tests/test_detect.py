"""``config generate --detect``: what is found on a machine stands in a conf that loads, each thing with its reason."""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from keys_fixture import GpgHome
from machine import Machine
from servers import MariaDB, Postgres

from s3nap import answering, cli, config, detected, inventory, mounts
from s3nap.errors import Exit
from s3nap.inventory import Inventory
from s3nap.job import Job
from s3nap.mounts import Nature
from s3nap.recipients import PublicKey

Generate = Callable[..., str]


@pytest.fixture
def generate(machine: Machine, capfdbinary: pytest.CaptureFixture[bytes]) -> Generate:
    def generate() -> str:
        assert cli._status(["config", "generate", "--detect", "--root", str(machine.root)]) == Exit.DONE
        out, err = capfdbinary.readouterr()
        assert err == b""
        return out.decode("utf-8", "surrogateescape")

    return generate


def jobs(text: str, folder: Path, recipient: str = "someone@example.com") -> dict[str, Job]:
    """Put in what the user must, and load: jobs by their names."""
    conf = folder / "main.conf"
    text = text.replace("\nBucket s3://my-backups/s3nap\n", "\nBucket s3://mine\n")
    text = text.replace("\nDiffDir /var/lib/s3nap\n", f"\nDiffDir {folder}\n")
    text = text.replace("\n#GpgRecipient backup@example.com\n", f"\nGpgRecipient {recipient}\n")
    conf.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert cli._status(["config", "validate", "-c", str(conf)]) == Exit.DONE
    return {job.name: job for job in config.load(conf).jobs if job.kind != "Conf"}


def about(text: str, line: str) -> str:
    """The comment above a line."""
    match = re.search(rf"^ *# (.*)\n *{re.escape(line)}$", text.partition("What was found")[2], re.MULTILINE)
    assert match is not None, text
    return match[1]


def test_folders_and_mounts(machine: Machine, generate: Generate, tmp_path: Path) -> None:
    """What people keep is named, once and with its reason; the system, empty folders and pseudo mounts are not."""
    machine.file("/etc/fstab", "/home/bob/letter", "/usr/local/bin/x", "/usr/bin/x", "/var/log/syslog", "/var/lib/x/y")
    machine.file("/data/a", "/data/inner/b", "/media disk/c", "/var/vmail/m", "/boot/vmlinuz", "/srv/big/d")
    machine.folder("/opt")
    machine.folder("/srv/empty")
    machine.mount("/data")
    machine.mount("/data/inner", device="8:18")
    machine.mount("/media disk", "xfs", device="8:19")
    machine.mount("/boot", device="8:20")
    machine.mount("/run", "tmpfs", device="0:5", source="tmpfs")
    machine.mount("/var/lib/bound", device="8:1", part="/data")
    machine.file("/var/lib/bound/f", "/mnt/f", "/hosts")
    machine.mount("/hosts", device="8:30", part="/containers/1/hosts")
    machine.mount("/mnt/nas", "nfs4", device="0:9", source="nas:/export")
    machine.file("/mnt/nas/f")
    text = generate()
    found = jobs(text, tmp_path)
    sources = {job.source for job in found.values() if job.kind == "Directory"}
    assert sources == {"/etc", "/home", "/usr/local", "/srv", "/data", "/media disk", "/var/vmail", "/mnt"}
    assert about(text, "Directory /home").startswith("home directories: 1 file, 1 B, newest of ")
    assert about(text, "Directory /data").startswith("a mount of /dev/sdb1 (ext4): ")
    assert "nas:/export (nfs4)" in about(text, "#Directory /mnt/nas")


def test_network_mounts_in_a_folder_are_left_out(machine: Machine, generate: Generate, tmp_path: Path) -> None:
    """A folder is not backed up with another machine's disks in it, nor are these looked at."""
    machine.file("/home/bob/x")
    machine.mount("/home/bob/[nas]", "cifs", device="0:9", source="//nas/bob")
    machine.mount("/srv", "nfs", source="nas:/srv")
    machine.file("/home/bob/[nas]/huge", "/srv/huge")
    text = generate()
    found = jobs(text, tmp_path)
    assert found.keys() == {"daily/Directory/home"}
    assert found["daily/Directory/home"]["Exclude"] == (r"/home/bob/\[nas\]",)
    assert ": 1 file, 1 B" in about(text, "<Directory /home>")


def test_repositories(machine: Machine, generate: Generate, tmp_path: Path) -> None:
    """A folder of repositories is one SubversionDir; hidden ones, and those too deep, are not searched for."""
    for path in ("/srv/svn/a", "/srv/svn/b", "/home/bob/project", "/home/bob/.cache/old", "/srv/1/2/3/4/deep"):
        machine.repository(path)
    found = jobs(generate(), tmp_path)
    assert {job.source for job in found.values() if "Subversion" in job.kind} == {"/srv/svn", "/home/bob/project"}
    assert found["daily/SubversionDir/srv/svn"].kind == "SubversionDir"


def test_sqlite_and_packages(machine: Machine, generate: Generate, tmp_path: Path) -> None:
    """Databases of programs are copied as such, if they are none of what is made anew; packages are listed."""
    head = b"SQLite format 3\0" + bytes(84)
    machine.file("/var/lib/grafana/grafana.db", "/var/lib/PackageKit/t.db", text=head)
    machine.file("/var/lib/x/other.db")
    machine.file("/var/lib/dpkg/status")
    found = jobs(generate(), tmp_path)
    assert [job.source for job in found.values() if job.kind == "SQLite"] == ["/var/lib/grafana/grafana.db"]
    assert found["daily/Command/packages"]["Dump"] == ("dpkg", "--get-selections")


def test_hostile_names(machine: Machine, generate: Generate, tmp_path: Path) -> None:
    """Names are data: none breaks the conf, adds a line to it, or moves a cursor; bytes come through as they are."""
    names = ['/q"u', "/ha#sh", "/back\\", "/ä \udcff", "/-x", "/new\nDirectory ", "/\x1b[2J", "/a>b", "/$(id)"]
    machine.file(*(f"{name}/file" for name in names))
    machine.mount('/nas"\\', "nfs", source="evil\\012Directory")
    machine.file("/srv/x\\/y", "/srv/z")
    machine.mount('/q"u/in', "nfs", source="x:/y")
    text = generate()
    found = jobs(text, tmp_path)
    wanted = {name for name in names if not any(char in name for char in "\n\x1b")} | {"/srv"}
    assert {job.source for job in found.values()} == wanted
    assert all(line.isprintable() or "\udcff" in line for line in text.split("\n"))


def test_many_repositories_end_the_search(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of a million folders does not keep anybody waiting, and it is said that not all was seen."""
    machine.file("/srv/a/b/x")
    monkeypatch.setattr(inventory, "_SEARCHED", 2)
    found = inventory.take(machine.root)
    assert not found.searched_all
    assert "there may be more" in detected.blocks(found)


def test_databases(machine: Machine, generate: Generate, mariadb: MariaDB, postgres: Postgres, tmp_path: Path) -> None:
    """Servers that answer on the usual sockets are named as s3nap reaches them, with their databases."""
    mariadb.empty()
    mariadb.sql("CREATE DATABASE shöp")
    (tmp_path / ".my.cnf").write_text("[client]\nuser=root\n")
    machine.link("/run/mysqld/mysqld.sock", mariadb.socket)
    machine.link("/var/run", machine.root / "run")  # the same sockets, under a second name
    machine.link("/run/postgresql", postgres.socket)
    text = generate()
    found = jobs(text, tmp_path)
    assert [job.source for job in found.values() if job.kind == "MySQL"] == ["/run/mysqld/mysqld.sock:all"]
    assert "with: shöp" in about(text, "MySQL /run/mysqld/mysqld.sock:all")
    (job,) = (job for job in found.values() if job.kind == "PostgreSQL")
    assert job.source.removeprefix("postgres@") == "all"
    assert (job["PostgreSQLHost"], job["PostgreSQLPort"]) == ("/run/postgresql", 5432)


def test_the_clients_own_server_needs_no_address(
    machine: Machine,
    generate: Generate,
    *,
    mariadb: MariaDB,
    postgres: Postgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the clients come to a server untold, the conf says no more than ``all``: and that job reaches it."""
    (tmp_path / ".my.cnf").write_text(f"[client]\nuser=root\nsocket={mariadb.socket}\n")
    monkeypatch.setenv("PGHOST", str(postgres.socket))
    monkeypatch.setenv("PGUSER", "postgres")
    machine.link("/tmp/mysql.sock", mariadb.socket)
    machine.link("/run/postgresql", postgres.socket)
    found = jobs(generate(), tmp_path)
    for name in ("daily/MySQL/all", "daily/PostgreSQL/all"):
        assert answering.reached(found[name]) is not None


def test_a_server_that_lets_nobody_in(machine: Machine, generate: Generate, mariadb: MariaDB, tmp_path: Path) -> None:
    """What answers, but not to us, stands in the conf as a comment that says what to do."""
    (tmp_path / ".my.cnf").write_text("[client]\nuser=nobody\npassword=wrong\n")
    machine.link("/run/mysqld/mysqld.sock", mariadb.socket)
    text = generate()
    said = about(text, "#MySQL all")
    assert "Access denied" in said
    assert "MySQLDefaultsFile" in said
    assert "wrong" not in text


def test_a_server_that_never_answers(machine: Machine, generate: Generate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead server is given up on; a socket that nobody listens to is no server at all."""
    monkeypatch.setattr(answering, "SECONDS", 1)
    machine.folder("/run/mysqld")
    with socket.socket(socket.AF_UNIX) as stale, socket.socket(socket.AF_UNIX) as mute:
        stale.bind(str(machine.root / "run/mysqld/stale.sock"))
        mute.bind(str(machine.root / "run/mysqld/mute.sock"))
        mute.listen()
        text = generate()
    assert "stale.sock" not in text
    assert "mute.sock" in about(text, "#MySQL all")
    assert "no answer" in about(text, "#MySQL all")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a socket away")
def test_a_users_socket_is_not_asked(machine: Machine, generate: Generate) -> None:
    """Any user can make a socket in /tmp: the passwords of root's clients are not for him."""
    path = machine.folder("/tmp") / "mysql.sock"
    with socket.socket(socket.AF_UNIX) as trap:
        trap.bind(str(path))
        trap.listen()
        os.chown(path, 12345, -1)
        text = generate()
        trap.settimeout(5)
        connection, _ = trap.accept()  # of the look whether anybody listens
        assert connection.recv(1) == b""
    assert "belongs to the user 12345: not asked" in about(text, "#MySQL all")


def test_data_of_a_stopped_server(machine: Machine, generate: Generate, tmp_path: Path) -> None:
    """Files of a server that does not answer are pointed out, not silently copied."""
    machine.file("/var/lib/mysql/ibdata1")
    text = generate()
    assert jobs(text + "Directory /x\n", tmp_path).keys() == {"Directory/x"}
    assert "no server answers" in about(text, "#Directory /var/lib/mysql")


def test_keys_are_listed(machine: Machine, generate: Generate, gpg_home: GpgHome, tmp_path: Path) -> None:
    """The keys there are stand under GpgRecipient, so that one has to be uncommented only."""
    machine.file("/etc/x")
    text = generate()
    (fingerprint,) = re.findall(rf"# s3nap <{gpg_home.recipient}>\n#GpgRecipient (\w+)\n", text)
    assert jobs(text, tmp_path, fingerprint)


def test_a_hostile_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner of a key writes what he likes into it: it stays in its comment."""
    key = PublicKey(fingerprint="A" * 40, owner="x\nBucket evil\\", problem="")
    monkeypatch.setattr(detected, "public_keys", lambda _now: [key])
    assert detected._keys().splitlines()[1:] == ["# x\\nBucket evil\\.", f"#GpgRecipient {'A' * 40}"]


def test_an_empty_machine(tmp_path: Path) -> None:
    """Where nothing is found the conf is still one, and says so when it is loaded."""
    assert detected.blocks(inventory.take(tmp_path)) == detected.blocks(Inventory())
    assert "\n<Cycle daily>\n" in detected.blocks(Inventory())


def test_nothing_is_written(machine: Machine, generate: Generate) -> None:
    """Looking changes nothing."""
    machine.file("/etc/x", "/srv/y")
    before = {path: path.lstat().st_mtime_ns for path in machine.root.rglob("*")}
    generate()
    assert {path: path.lstat().st_mtime_ns for path in machine.root.rglob("*")} == before
    assert stat.S_ISDIR(machine.root.stat().st_mode)


def test_mountinfo() -> None:
    """The kernel's own words: octal escapes, mounts that hide others, lines of kernels to come."""
    text = (
        "36 35 98:0 / /a\\040b\\134 rw,noatime master:1 - ext3 /dev/root rw\n"
        "37 35 8:1 /sub /b rw shared:2 propagate_from:3 - btrfs /dev/sda rw,subvol=/sub\n"
        "38 35 0:5 / /b rw - tmpfs tmpfs rw\n"
        "39 35 0:6 / /c rw - fuse.sshfs me@there:/my\\040files rw\n"
        "40 35 0:7 / /d rw - fuseblk /dev/sdc1 rw\n"
        "nonsense\n41 35 0:8 / /e rw\n"
    )
    found = {mount.path: mount for mount in mounts.parse(text)}
    assert {path: mount.nature for path, mount in found.items()} == {
        "/a b\\": Nature.LOCAL,
        "/b": Nature.PSEUDO,
        "/c": Nature.NETWORK,
        "/d": Nature.LOCAL,
    }
    assert found["/c"].source == "me@there:/my files"
