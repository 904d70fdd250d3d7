"""PostgreSQL: one database by pg_dump, or all of them by pg_dumpall, proved by the server's own count."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from s3nap import pipeline
from s3nap.errors import ProgramError, SourceError
from s3nap.job import Job
from s3nap.sources import Outcome, servers
from s3nap.sources.programs import ProgramDump

ALL = "all"
CUSTOM = "custom"
MAINTENANCE = ("postgres", "template1")
_CUSTOM = ("--format=custom", "--compress=0")  # s3nap's own compression does better
# the trailer is not the last line: \unrestrict follows it
_TRAILER = b"PostgreSQL database dump complete"
_TRAILER_ALL = b"PostgreSQL database cluster dump complete"
_CONNECTING = frozenset({"--host", "-h", "--port", "-p", "--username", "-U"})
# options after which the dump holds less than the server counts
_PARTIAL = (
    *("-t", "--table", "-n", "--schema=", "-T", "-N", "--exclude", "-a", "--data-only", "--section"),
    *("-e", "--extension", "-g", "--globals-only", "-r", "--roles-only", "--filter", "--tablespaces-only"),
)
_CONNECT_SECONDS = "60"

_COUNT = """\
WITH own AS (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
     extra AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e')
SELECT CASE WHEN c.relkind IN ('v', 'm') THEN 'views' WHEN c.relkind = 'S' THEN 'sequences'
            WHEN c.relkind IN ('i', 'I') THEN 'indexes' ELSE 'tables' END, count(*)
  FROM pg_class c WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S', 'i', 'I')
   AND c.relnamespace IN (SELECT oid FROM own)
   AND ('pg_class'::regclass::oid, c.oid) NOT IN (SELECT classid, objid FROM extra) GROUP BY 1
UNION ALL
SELECT 'routines', count(*) FROM pg_proc p WHERE p.pronamespace IN (SELECT oid FROM own)
   AND ('pg_proc'::regclass::oid, p.oid) NOT IN (SELECT classid, objid FROM extra)
UNION ALL
SELECT 'triggers', count(*) FROM pg_trigger t WHERE NOT t.tgisinternal"""
_DATABASES = """\
SELECT encode(convert_to(datname, 'UTF8'), 'hex'), datallowconn::int,
       pg_encoding_to_char(encoding), datcollate, datctype
  FROM pg_database WHERE datname <> 'template0' ORDER BY datname"""


@dataclass(frozen=True, slots=True)
class Database:
    """What the server says of one database."""

    name: str
    open: bool
    encoding: str
    collate: str
    ctype: str


@dataclass(slots=True)
class Census:
    """What was counted, and the databases that let nobody in."""

    numbers: Counter[str] = field(default_factory=Counter)
    closed: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Client:
    """The way to a server."""

    connection: Sequence[str]
    seconds: int | None = None

    def ask(self, database: str, sql: str) -> list[list[str]]:
        """Return the rows of a query; ProgramError in psql's words."""
        argv = ["psql", *self.psql(database), "--quiet", "--tuples-only", "--no-align", "--field-separator=\t"]
        said = servers.ask([*argv, f"--command={sql}"], self.seconds, env=_patience())
        return [line.split("\t") for line in said.splitlines()]

    def psql(self, database: str) -> list[str]:
        """Return the options with which psql goes to a database, and stops at the first error."""
        return [*self.argv(), "--no-psqlrc", "--set=ON_ERROR_STOP=1", f"--dbname={conninfo(database)}"]

    def argv(self) -> list[str]:
        """Return the options that every client program takes."""
        return ["--no-password", *self.connection]

    def ask_server(self, sql: str) -> list[list[str]]:
        """Return the rows of a query that any database can answer."""
        first, last = MAINTENANCE
        try:
            return self.ask(first, sql)
        except ProgramError as error:
            if "does not exist" not in str(error) or f'database "{first}"' not in str(error):
                raise
            return self.ask(last, sql)

    def databases(self) -> list[Database]:
        """Return all databases but template0."""
        rows = self.ask_server(_DATABASES)
        return [Database(bytes.fromhex(row[0]).decode(), row[1] == "1", *row[2:5]) for row in rows]

    def count(self, database: str) -> Counter[str]:
        """Count what a database holds."""
        return Counter({what: int(number) for what, number in self.ask(database, _COUNT)})

    def census(self, database: str | None) -> Census:
        """Count what one database, or with None the whole server, holds."""
        found = Census()
        if database is not None:
            found.numbers = self.count(database)
            return found
        for each in self.databases():
            if each.open:
                found.numbers += self.count(each.name)
                found.numbers["databases"] += 1
            else:
                found.closed.append(each.name)
        return found


def conninfo(database: str) -> str:
    """Return the name of a database so that libpq does not take it for more than a name."""
    if "=" not in database and "://" not in database:
        return database
    quoted = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{quoted}'"


def parse(source: str) -> tuple[str | None, str | None]:
    """Return user and database of a job's source; the database is None for ``all``."""
    user, _, database = source.rpartition("@")
    return user or None, None if database == ALL else database


def _patience() -> dict[str, str]:
    return {} if "PGCONNECT_TIMEOUT" in os.environ else {"PGCONNECT_TIMEOUT": _CONNECT_SECONDS}


class PostgreSQLSource:
    """One ``PostgreSQL``: a database or all of them; always a FULL, as SQL or for pg_restore."""

    def __init__(self, job: Job, own_paths: Sequence[Path]) -> None:
        """Nothing is asked before ``start``."""
        del own_paths
        self._source = job.source
        user, self._database = parse(job.source)
        self._custom: bool = job["PostgreSQLFormat"] == CUSTOM
        if self._custom and self._database is None:
            raise SourceError(f"{job.origin}: all databases together can only be dumped with PostgreSQLFormat plain")
        self._words: tuple[str, ...] = job["PostgreSQLOptions"]
        host, port = job["PostgreSQLHost"], job["PostgreSQLPort"]
        self._connection = [
            *([f"--host={host}"] if host else []),
            *([f"--port={port}"] if port else []),
            *servers.taken(self._words, _CONNECTING),
            *(["-U", user] if user else []),
        ]
        self.client = Client(self._connection, job["Timeout"])

    @property
    def stream(self) -> str:
        """What pg_dump writes."""
        return "pgcustom" if self._custom else "sql"

    @property
    def options(self) -> str:
        """Digest of source and options."""
        return servers.digest(self._source, self._custom, self._words)

    def command(self) -> list[str]:
        """Return the dump's argv."""
        program = "pg_dumpall" if self._database is None else "pg_dump"
        name = [] if self._database is None else [conninfo(self._database)]
        return [program, "--no-password", *(_CUSTOM if self._custom else ()), *self._words, *self._connection, *name]

    def start(self, work: Path, base: Path | None, previous_files: int | None) -> ProgramDump:
        """Count, then dump."""
        del work, base
        argv = self.command()
        pipeline.find(argv[0])
        before = self._census()

        def judge(raw_size: int, tail: bytes, said: str) -> Outcome:
            self._check(argv[0], raw_size, tail)
            return self._outcome(argv[0], before, said, previous_files)

        return ProgramDump(argv, judge, env=_patience())

    def _census(self) -> Census:
        try:
            return self.client.census(self._database)
        except ProgramError as error:
            raise SourceError(str(error)) from error

    def _check(self, program: str, raw_size: int, tail: bytes) -> None:
        if raw_size == 0:
            raise SourceError(f"{program} ended with status 0, but wrote nothing")
        trailer = _TRAILER if self._database is not None else _TRAILER_ALL
        if not self._custom and trailer not in tail:
            raise SourceError(f"{program} ended with status 0, but its output lacks {trailer.decode()!r} at the end")

    def _outcome(self, program: str, before: Census, said: str, previous_files: int | None) -> Outcome:
        tables = before.numbers["tables"]
        warnings = said.splitlines()
        warnings += [f"database {name} lets nobody in: pg_dumpall has left it out" for name in before.closed]
        return Outcome(
            files=tables,
            warnings=warnings,
            incomplete=len(before.closed),
            brake=servers.brake(f"PostgreSQL {self._source}", tables, previous_files),
            log="".join(f"{line}\n" for line in warnings),
            programs={program: pipeline.version(program)},
            proof=self._proof(before) | {"client": pipeline.version(program)},
        )

    def _proof(self, before: Census) -> dict[str, int | str]:
        proof = servers.steady(before.numbers, self._census().numbers)
        if any(word == "--schema" or word.startswith(_PARTIAL) for word in self._words):
            proof = {}
        database = self._database if self._database is not None else MAINTENANCE[1]
        ((version,),) = self.client.ask(database, "SHOW server_version")
        proof["server"] = version
        if self._database is None:
            return proof
        own = next((each for each in self.client.databases() if each.name == self._database), None)
        return proof | ({"encoding": own.encoding, "collate": own.collate, "ctype": own.ctype} if own else {})
