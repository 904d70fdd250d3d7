"""Private database servers on sockets, fake programs, and a conf with what is needed to run s3nap on them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from s3nap import cli, pipeline

_PATIENCE = 30  # seconds for a server to start
# Debian's programs on PATH are wrappers in Perl, and slow
_POSTGRES_BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/bin"))
_SMALL = ("--innodb-log-file-size=4M", "--innodb-buffer-pool-size=64M", "--skip-name-resolve", "--skip-networking")


@dataclass(frozen=True)
class MariaDB:
    """A private MariaDB; root comes in by the socket without a password."""

    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    def sql(self, text: str, *words: str, user: str = "root") -> str:
        command = [
            "mariadb",
            "--no-defaults",
            "-BN",
            f"-S{self.socket}",
            f"-u{user}",
            "--default-character-set=utf8mb4",
        ]
        done = subprocess.run([*command, *words], input=text.encode(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def empty(self) -> None:
        """Drop all databases that are not the server's own."""
        names = self.sql("SELECT schema_name FROM information_schema.schemata").split("\n")
        own = {"information_schema", "performance_schema", "mysql", "sys", ""}
        self.sql("".join(f"DROP DATABASE `{name.replace('`', '``')}`;" for name in names if name not in own))


@pytest.fixture(scope="session")
def mariadb_datadir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="my") as name:
        datadir = Path(name, "d")
        command = ["mariadb-install-db", "--no-defaults", f"--datadir={datadir}", f"--user={_user()}", *_SMALL[:1]]
        command += ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
        subprocess.run(command, check=True, capture_output=True)
        yield datadir


def _user() -> str:
    return "root" if os.geteuid() == 0 else os.environ.get("USER", "nobody")


def _mariadb(datadir: Path) -> Iterator[MariaDB]:
    with tempfile.TemporaryDirectory(prefix="my") as name:
        server = MariaDB(Path(name))
        shutil.copytree(datadir, server.folder / "d")
        command = [shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin") or "mariadbd", "--no-defaults"]
        command += [f"--datadir={server.folder}/d", f"--socket={server.socket}", f"--user={_user()}", *_SMALL]
        command += ["--innodb-flush-log-at-trx-commit=0", "--event-scheduler=OFF", "--max-allowed-packet=64M"]
        with (server.folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                _await(lambda: subprocess.run(_ping(server), capture_output=True, check=False).returncode == 0)
                yield server
            finally:
                process.kill()


def _ping(server: MariaDB) -> list[str]:
    return ["mariadb", "--no-defaults", f"-S{server.socket}", "-uroot", "-eSELECT 1"]


def _await(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not ready():
        assert time.monotonic() < deadline, "the server does not start"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def mariadb(mariadb_datadir: Path) -> Iterator[MariaDB]:
    yield from _mariadb(mariadb_datadir)


@pytest.fixture
def mariadb2(mariadb_datadir: Path) -> Iterator[MariaDB]:
    """A second server, fresh for each test."""
    yield from _mariadb(mariadb_datadir)


@dataclass(frozen=True)
class Postgres:
    """A private PostgreSQL; everybody comes in by the socket as whom he likes. ``socket`` is its folder."""

    socket: Path

    def sql(self, text: str, database: str = "postgres", user: str = "postgres") -> str:
        command = [
            _POSTGRES_BIN / "psql",
            "-XAtqw",
            "-vON_ERROR_STOP=1",
            f"-h{self.socket}",
            f"-U{user}",
            "-d",
            database,
            "-f-",
        ]
        done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()


def _postgres() -> Iterator[Postgres]:
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        folder = Path(name)
        if as_postgres:
            shutil.chown(folder, "postgres")
        data = folder / "d"
        initdb = [
            _POSTGRES_BIN / "initdb",
            "-D",
            data,
            "-Atrust",
            "-Upostgres",
            "--no-sync",
            "-EUTF8",
            "--locale=C.UTF-8",
        ]
        subprocess.run([*as_postgres, *initdb], check=True, capture_output=True, cwd="/")
        settings = {"listen_addresses": "", "fsync": "off", "unix_socket_directories": name, "autovacuum": "off"}
        command = [*as_postgres, _POSTGRES_BIN / "postgres", "-D", data]
        command += [f"-c{key}={value}" for key, value in settings.items()]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/") as process:
            try:
                ready = [_POSTGRES_BIN / "pg_isready", "-q", "-h", name]
                _await(lambda: subprocess.run(ready, check=False).returncode == 0)
                yield Postgres(folder)
            finally:
                process.send_signal(3)  # at once


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    yield from _postgres()


@pytest.fixture
def postgres2() -> Iterator[Postgres]:
    """A second server, fresh for each test."""
    yield from _postgres()


class Backups:
    """A conf without encryption into a folder, and s3nap run on it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.conf = folder / "s3nap.conf"
        self.said = ""
        self._capsys = capsys
        for name in ("diff", "bucket", "temp", "bin"):
            (folder / name).mkdir()
        (folder / "log.ini").write_text("[screen]\nenabled = yes\nlevel = INFO\n")

    def write(self, *lines: str) -> None:
        head = ("DiffDir {}/diff", "TempDir {}/temp", "Bucket file://{}/bucket", "LogConfig {}/log.ini")
        self.conf.write_text("\n".join([*(line.format(self.folder) for line in head), "Host h", *lines]) + "\n")

    def run(self, *words: str, status: int = 0) -> str:
        """Run s3nap with the conf; return and keep all it prints."""
        ended = cli._status([*words[:1], "-c", str(self.conf), *words[1:]])
        out, err = self._capsys.readouterr()
        self.said = out + err
        assert ended == status, self.said
        return self.said

    def back_up(self, *words: str, status: int = 0) -> str:
        return self.run("backup", "-f", *words, status=status)

    def manifests(self, job: str = "") -> list[dict[str, Any]]:
        found = (json.loads(file.read_text()) for file in self.folder.glob("bucket/catalog/**/*.json"))
        return sorted((each for each in found if job in each["job"]), key=lambda each: str(each["run"]))

    def objects(self) -> set[Path]:
        return {file for file in self.folder.glob("bucket/**/*") if file.is_file()}

    def fake(self, name: str, script: str) -> None:
        """Put a program before the real ones on PATH."""
        program = self.folder / "bin" / name
        program.write_text(f'#!/bin/sh\n[ "$1" != --version ] || {{ echo "{name} 1.2.3"; exit; }}\n{script}\n')
        program.chmod(0o755)
        pipeline._which.cache_clear()


@pytest.fixture
def backups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Backups:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{_POSTGRES_BIN}:{os.environ['PATH']}")
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)
    return Backups(tmp_path, capsys)


def peak_memory(command: Sequence[str]) -> int:
    """Run a command that must succeed; return the most memory that it held at once, in KiB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss
