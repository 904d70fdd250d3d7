"""Which database servers of this machine answer, on the sockets where they are usually found, and what they hold.

They are asked by the clients that the sources use, each for a few seconds only, and without a word about passwords.
"""

from __future__ import annotations

import errno
import os
import pwd
import re
import socket
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from s3nap.errors import ProgramError
from s3nap.job import Job
from s3nap.sources import mysql, postgresql

SECONDS = 5
"""How long a server may take for one answer."""

MYSQL, POSTGRESQL = "MySQL", "PostgreSQL"
_MOST = 8  # sockets of a kind that are asked
_SYSTEM_USERS = 1000  # below this id no person is
_MYSQL_SOCKETS = (
    *("run/mysqld/*.sock", "var/run/mysqld/*.sock", "run/mysql/*.sock", "var/lib/mysql/*.sock"),
    *("tmp/mysql.sock", "tmp/mysqld.sock"),
)
_POSTGRESQL_SOCKETS = ("run/postgresql/.s.PGSQL.*", "var/run/postgresql/.s.PGSQL.*", "tmp/.s.PGSQL.*")
_ASK_MYSQL = """\
SELECT 'server', CONCAT_WS(' ', HEX(@@hostname), HEX(CONCAT(@@port)), HEX(@@datadir), HEX(@@socket), HEX(VERSION()))
UNION ALL SELECT 'database', HEX(schema_name) FROM information_schema.schemata"""
_ASK_POSTGRESQL = """\
SELECT pg_postmaster_start_time()::text, current_setting('port'), current_setting('server_version'),
       encode(convert_to(coalesce((SELECT setting FROM pg_settings WHERE name = 'data_directory'), ''), 'UTF8'), 'hex')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a server says: who it is (the same by whatever way it is asked), what it holds, where its files are."""

    identity: tuple[str, ...]
    version: str
    databases: tuple[str, ...]
    data: str = ""
    socket: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server behind a socket. ``source`` and ``settings`` are what a conf would say of all its databases.

    ``real`` is the socket's path without links, on the machine that looks.
    ``problem``: why nothing is known of it; then there are no ``facts``.
    """

    kind: str
    socket: str
    real: str = ""
    source: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    facts: Facts | None = None
    problem: str = ""


def servers(root: Path = Path("/")) -> list[Server]:
    """Return the servers that listen; stale sockets are passed over. ``root`` is where the machine's ``/`` is."""
    found = [_mysql(path, root) for path in _sockets(root, _MYSQL_SOCKETS, re.compile(r"(?!mysqlx).*"))]
    pattern = re.compile(r"\.s\.PGSQL\.\d+")
    return [*found, *(_postgresql(path, root) for path in _sockets(root, _POSTGRESQL_SOCKETS, pattern))]


def reached(job: Job) -> Facts | None:
    """Return what the server of a MySQL or PostgreSQL job says, asked as the job asks; None if it does not answer."""
    try:
        if job.kind == MYSQL:
            return _mysql_facts(replace(mysql.MySQLSource(job, ()).client, seconds=SECONDS))
        return _postgresql_facts(replace(postgresql.PostgreSQLSource(job, ()).client, seconds=SECONDS))
    except ProgramError:
        return None


def _sockets(root: Path, patterns: Sequence[str], name: re.Pattern[str]) -> list[Path]:
    """Return the sockets that someone listens to, each once."""
    found: dict[str, Path] = {}
    for path in (path for pattern in patterns for path in sorted(root.glob(pattern))):
        if name.fullmatch(path.name) and _listens(path):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())[:_MOST]


def _listens(path: Path) -> bool:
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(SECONDS)
            probe.connect(str(path))
    except OSError as error:
        return error.errno in {errno.EACCES, errno.EPERM}  # someone may; what the client says will be told
    return True


def _foreign(path: Path) -> str:
    """Say why a socket must not be trusted with a password: any user can make one in /tmp. Empty if it can be."""
    owner = path.stat().st_uid
    if owner < _SYSTEM_USERS or owner == os.geteuid():
        return ""
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = str(owner)
    return f"its socket belongs to the user {name}: not asked"


def _shown(path: Path, root: Path) -> str:
    return "/" + str(path.relative_to(root))


def _mysql(path: Path, root: Path) -> Server:
    server = Server(kind=MYSQL, socket=_shown(path, root), real=os.path.realpath(path), problem=_foreign(path))
    if server.problem:
        return server
    # a server must not be able to ask for files
    client = mysql.Client((), ("--local-infile=0", f"--socket={path}"), SECONDS)
    try:
        facts = _mysql_facts(client)
    except ProgramError as error:
        return replace(server, problem=_why(error))
    default = _is_default(facts, partial(_mysql_facts, mysql.Client((), ("--local-infile=0",), SECONDS)))
    return replace(server, facts=facts, source="all" if default else f"{server.socket}:all")


def _is_default(facts: Facts, plainly: Callable[[], Facts]) -> bool:
    """Does the client come to this server where it is told nothing?"""
    try:
        return plainly().identity == facts.identity
    except ProgramError:
        return False


def _mysql_facts(client: mysql.Client) -> Facts:
    identity: tuple[str, ...] = ()
    names: list[str] = []
    for what, text in client.ask(_ASK_MYSQL):
        if what == "server":
            identity = tuple(_text(word) for word in text.split(" "))
        else:
            names.append(_text(text))
    if len(identity) != 5:
        raise ProgramError("the server does not say who it is")
    *who, own, version = identity
    databases = tuple(sorted(name for name in names if name not in mysql.SYSTEM))
    return Facts(identity=(*who, own), version=version, databases=databases, data=who[2].rstrip("/"), socket=own)


def _postgresql(path: Path, root: Path) -> Server:
    server = Server(kind=POSTGRESQL, socket=_shown(path, root), real=os.path.realpath(path), problem=_foreign(path))
    if server.problem:
        return server
    port = path.name.rpartition(".")[2]
    settings = {"PostgreSQLHost": _shown(path.parent, root), "PostgreSQLPort": port}
    connection = [f"--host={path.parent}", f"--port={port}"]
    for user in ((), ("-U", "postgres")):
        try:
            facts = _postgresql_facts(postgresql.Client([*connection, *user], SECONDS))
        except ProgramError as error:
            server = replace(server, problem=server.problem or _why(error))
            continue
        default = _is_default(facts, partial(_postgresql_facts, postgresql.Client(user, SECONDS)))
        source = "postgres@all" if user else "all"
        return replace(server, facts=facts, problem="", source=source, settings={} if default else settings)
    return server


def _postgresql_facts(client: postgresql.Client) -> Facts:
    ((started, port, version, data),) = client.ask_server(_ASK_POSTGRESQL)
    own, template = postgresql.MAINTENANCE
    names = [each.name for each in client.databases() if each.open and each.name != template]
    if own in names and not client.count(own)["tables"]:  # every server has it, few put anything into it
        names.remove(own)
    return Facts(identity=(started, port, version), version=version, databases=tuple(names), data=_text(data))


def _text(digits: str) -> str:
    return bytes.fromhex(digits).decode(errors="surrogateescape")


def _why(error: ProgramError) -> str:
    return " ".join(str(error).split())
