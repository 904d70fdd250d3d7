"""Throw-away database servers: in a folder of their own, on a socket in it, gone when s3nap is, however it ended.

They listen on no network, run as an ordinary user that owns nothing else, and take nothing from any configuration, so
that a dump that is loaded into one can reach neither a server that is in use nor its files.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from s3nap import pipeline
from s3nap.errors import ProgramError
from s3nap.sources import LoadOptions
from s3nap.sources.mysql import Client as MySQLClient
from s3nap.sources.mysqlload import PRIVATE
from s3nap.sources.postgresql import Client as PostgreSQLClient

_USER = "nobody"  # never the one whom the servers in use belong to: it could write to their files
_PATIENCE = 120  # seconds for a server to start
_SOCKET_BYTES = 90  # the system takes 107 for the whole path
_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/libexec")
# the server's end, in any way; the end of our standard input: s3nap has let go of it, or is no more
_GUARD = """\
exec 3<&0
folder=$1 signal=$2
shift 2
"$@" 3<&- </dev/null &
server=$!
{ cat <&3; kill -s "$signal" "$server"; } >/dev/null 2>&1 &
exec 3<&- </dev/null
wait "$server"
rm -rf -- "$folder"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    """How to make and start a server in a folder, how to end it at once, and how it is known."""

    make: list[str]
    serve: list[str]
    signal: str
    options: LoadOptions
    data: Callable[[], str]


def missing(kind: str) -> str | None:
    """Name the program without which no server for archives of this kind can be started here; None if all are here."""
    if kind == "PostgreSQL":
        return next((program for program in ("initdb", "postgres") if _found(program) is None), None)
    if _found("mysqld") or (_found("mariadbd") and _found("mariadb-install-db")):
        return None
    return "mariadbd"


def closed_to_servers(folder: Path) -> Path | None:
    """Return the first folder on the way to ``folder`` that the servers' user may not pass; None if there is none."""
    if os.geteuid() != 0:
        return None
    way = [*folder.absolute().parents[::-1], folder.absolute()]
    return next((each for each in way if not each.stat().st_mode & stat.S_IXOTH), None)


@contextlib.contextmanager
def running(kind: str, folder: Path) -> Iterator[LoadOptions]:
    """Run a server for archives of this kind in a new ``folder``; yields how loaders reach it, and it alone.

    Raises ProgramError, in its words, if it does not start.
    """
    if len(os.fsencode(folder)) > _SOCKET_BYTES:
        raise ProgramError(f"{folder} is too long a name for a server's socket: give --target FOLDER")
    user = _USER if os.geteuid() == 0 else None
    folder.mkdir(mode=0o700)
    if user is not None:
        owner = pwd.getpwnam(user)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    server = _postgresql(folder) if kind == "PostgreSQL" else _mysql(folder)
    try:
        with pipeline.hiding("PG", "MYSQL", "MARIADB"):
            pipeline.run(server.make, cwd=folder, user=user).check()
            argv = ["/bin/sh", "-c", _GUARD, "guard", str(folder), server.signal, *server.serve]
            guard = pipeline.start(argv, stdin=pipeline.PIPE, cwd=folder, user=user)
            with guard.ending():
                try:
                    _await(server, guard, folder)
                    yield server.options
                finally:
                    guard.close_stdin()
                    guard.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await(server: _Server, guard: pipeline.Running, folder: Path) -> None:
    """Wait until it answers, and make sure that it is this one that does."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            where = server.data()
        except ProgramError as error:
            if not guard.alive:
                raise ProgramError(f"the throw-away server did not start: {guard.wait().said.strip()}") from error
            if time.monotonic() > deadline:
                raise ProgramError(f"the throw-away server does not answer: {error}") from error
            time.sleep(0.1)
        else:
            break
    if Path(where).resolve() != (folder / "data").resolve():
        raise ProgramError(f"another server answers, that of {where}: nothing is loaded")


def _mysql(folder: Path) -> _Server:
    """MariaDB, else MySQL."""
    data, socket = folder / "data", folder / "socket"
    install, mariadb = _found("mariadb-install-db"), _found("mariadbd")
    first = ["--no-defaults", f"--datadir={data}", f"--tmpdir={folder}"]
    if install is not None and mariadb is not None:
        program = mariadb
        make = [install, *first, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
    else:
        program = _found("mysqld") or "mysqld"
        make = [program, *first, "--initialize-insecure"]
    serve = [
        *(program, *first, f"--socket={socket}", "--skip-networking", "--loose-mysqlx=OFF", "--skip-name-resolve"),
        # nothing of what it loads runs by itself, or lies elsewhere (DATA DIRECTORY)
        *("--event-scheduler=OFF", "--skip-symbolic-links", f"--secure-file-priv={data}"),
        *(f"--pid-file={folder}/pid", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=0"),
        "--max-allowed-packet=1G",
    ]
    client = MySQLClient(PRIVATE, [f"--socket={socket}", "--user=root"])
    return _Server(
        make=make,
        serve=serve,
        signal="KILL",
        options=LoadOptions(socket=str(socket), user="root", scratch=folder),
        data=lambda: client.ask("SELECT @@datadir")[0][0],
    )


def _postgresql(folder: Path) -> _Server:
    data = folder / "data"
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(folder),
        "unix_socket_permissions": "0700",
        "fsync": "off",
        "full_page_writes": "off",
        "max_wal_size": "256MB",
    }
    first = [_found("initdb") or "initdb", "-D", str(data), "--auth=trust", "--username=postgres", "--no-sync"]
    client = PostgreSQLClient([f"--host={folder}", "--port=5432", "--username=postgres"])
    return _Server(
        make=[*first, "--encoding=UTF8", "--locale=C"],
        serve=[
            *(_found("postgres") or "postgres", "-D", str(data), "-p", "5432"),
            *(f"-c{name}={value}" for name, value in settings.items()),
        ],
        signal="QUIT",
        options=LoadOptions(socket=str(folder), port=5432, user="postgres", scratch=folder),
        data=lambda: client.ask("template1", "SHOW data_directory")[0][0],
    )


def _found(program: str) -> str | None:
    """Return the path of a server's program: few of them are on everybody's PATH; of several versions the newest."""
    folders = [str(found) for pattern in _FOLDERS for found in sorted(Path("/").glob(pattern[1:]), key=_version)[::-1]]
    return shutil.which(program, path=os.pathsep.join([*folders, os.environ.get("PATH", os.defpath)]))


def _version(folder: Path) -> list[int]:
    return [int(word) for word in "".join(c if c.isdigit() else " " for c in str(folder)).split()]
