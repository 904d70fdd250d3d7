"""MySQL and MariaDB: dumped by mariadb-dump or mysqldump, proved by the server's own count of what is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from s3nap import pipeline
from s3nap.errors import ProgramError, SourceError
from s3nap.job import Job
from s3nap.sources import Outcome, servers
from s3nap.sources.programs import ProgramDump

DUMPS = ("mariadb-dump", "mysqldump")
CLIENTS = ("mariadb", "mysql")
SYSTEM = frozenset({"information_schema", "performance_schema", "mysql", "sys"})
ALL = "all"

_DUMP = (
    *("--opt", "--single-transaction", "--routines", "--events", "--triggers", "--hex-blob"),
    # anything less loses emoji; and the default refuses rows over 24 MB
    *("--default-character-set=utf8mb4", "--max-allowed-packet=1G"),
)
_TRAILER = b"-- Dump completed"
_NO_TRAILER = frozenset({"--skip-comments", "--compact", "--comments=0", "--comments=false"})
# what the client must be told as well, to be in the same place as the dump
_CONNECTING = frozenset(
    {"--host", "-h", "--port", "-P", "--user", "-u", "--socket", "-S", "--protocol", "--plugin-dir", "--default-auth"}
)
# options after which the dump holds less than the server counts
_PARTIAL = ("--ignore-", "--no-create-info", "-t", "--tables", "--system", "--databases", "-B")
_LEFT_OUT = {
    "routines": frozenset({"--skip-routines", "--routines=0"}),
    "events": frozenset({"--skip-events", "--events=0"}),
    "triggers": frozenset({"--skip-triggers", "--triggers=0"}),
}
_CONNECT_SECONDS = 60

# rows of: what, a name in hex, how many
_COUNT = """\
SELECT 'server', HEX(VERSION()), 0
UNION ALL SELECT 'charset', HEX(@@character_set_database), 0
UNION ALL SELECT 'collation', HEX(@@collation_database), 0
UNION ALL SELECT 'databases', HEX(schema_name), 1 FROM information_schema.schemata WHERE {schema}
UNION ALL SELECT IF(table_type LIKE '%VIEW', 'views', 'tables'), HEX(table_schema), COUNT(*)
  FROM information_schema.tables WHERE {table} GROUP BY 1, 2
UNION ALL SELECT 'routines', HEX(routine_schema), COUNT(*)
  FROM information_schema.routines WHERE {routine} GROUP BY 1, 2
UNION ALL SELECT 'triggers', HEX(trigger_schema), COUNT(*)
  FROM information_schema.triggers WHERE {trigger} GROUP BY 1, 2
UNION ALL SELECT 'events', HEX(event_schema), COUNT(*)
  FROM information_schema.events WHERE {event} GROUP BY 1, 2
UNION ALL SELECT 'unsafe', HEX(table_schema), COUNT(*)
  FROM information_schema.tables WHERE {table} AND table_type = 'BASE TABLE'
  AND engine NOT IN (SELECT engine FROM information_schema.engines WHERE transactions = 'YES') GROUP BY 1, 2"""
_SCHEMAS = ("schema", "table", "routine", "trigger", "event")


@dataclass(slots=True)
class Census:
    """What a server says it holds, without its own databases; ``unsafe`` counts tables without transactions."""

    numbers: Counter[str] = field(default_factory=Counter)
    databases: dict[str, int] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    unsafe: int = 0


@dataclass(frozen=True, slots=True)
class Client:
    """The way to a server: ``first`` are options that must stand before all others."""

    first: Sequence[str]
    connection: Sequence[str]
    seconds: int | None = None

    def argv(self, program: str, *words: str) -> list[str]:
        """Return the argv of a program that goes to this server."""
        return [program, *self.first, *self.connection, *words]

    def ask(self, sql: str, database: str | None = None) -> list[list[str]]:
        """Return the rows of a query; ProgramError in the client's words."""
        words = ["--batch", "--skip-column-names", "--default-character-set=utf8mb4"]
        words += [f"--connect-timeout={_CONNECT_SECONDS}", f"--execute={sql}"]
        words += [f"--database={database}"] if database is not None else []
        said = servers.ask(self.argv(servers.either(CLIENTS), *words), self.seconds)
        return [line.split("\t") for line in said.splitlines()]

    def census(self, database: str | None = None) -> Census:
        """Count what a database, or the whole server, holds; its objects all together stand in ``databases``."""
        scope = {name: f"{name}_{'name' if name == 'schema' else 'schema'}" for name in _SCHEMAS}
        wheres = {name: "TRUE" if database is None else f"{column} = DATABASE()" for name, column in scope.items()}
        found = Census()
        for what, name, number in self.ask(_COUNT.format(**wheres), database):
            text = bytes.fromhex(name if name != "NULL" else "").decode(errors="surrogateescape")
            if what in {"server", "charset", "collation"}:
                found.facts[what] = text
            elif text in SYSTEM:
                continue
            elif what == "unsafe":
                found.unsafe += int(number)
            else:
                found.numbers[what] += int(number)
                found.databases[text] = found.databases.get(text, 0) + (int(number) if what != "databases" else 0)
        return found


def parse(source: str) -> tuple[str | None, str | None]:
    """Return socket and database of a job's source; the database is None for ``all``."""
    socket, _, database = source.rpartition(":")
    return socket or None, None if database == ALL else database


class MySQLSource:
    """One ``MySQL``: a database or all of them; always a FULL, as SQL."""

    stream = "sql"

    def __init__(self, job: Job, own_paths: Sequence[Path]) -> None:
        """Nothing is asked before ``start``."""
        del own_paths
        self._source = job.source
        socket, self._database = parse(job.source)
        self._words: tuple[str, ...] = job["MySQLOptions"]
        defaults: Path | None = job["MySQLDefaultsFile"]
        # the source's own socket comes last: it wins over any in the options
        connection = [
            *servers.taken(self._words, _CONNECTING, alone=("--ssl", "--skip-ssl", "--tls")),
            *([f"--socket={socket}"] if socket else []),
        ]
        self.client = Client([f"--defaults-extra-file={defaults}"] if defaults else [], connection, job["Timeout"])
        self._socket = socket

    @property
    def options(self) -> str:
        """Digest of source and options."""
        return servers.digest(self._source, _DUMP, self._words)

    def command(self, program: str) -> list[str]:
        """Return the dump's argv; MySQLOptions come after our own and so can take them back."""
        return [
            *(program, *self.client.first, *_DUMP, *self._words),
            *([f"--socket={self._socket}"] if self._socket else []),
            *(["--all-databases"] if self._database is None else ["--", self._database]),
        ]

    def start(self, work: Path, base: Path | None, previous_files: int | None) -> ProgramDump:
        """Count, then dump."""
        del work, base
        program = servers.either(DUMPS)
        before = self._census()

        def judge(raw_size: int, tail: bytes, said: str) -> Outcome:
            self._check(program, raw_size, tail)
            return self._outcome(program, before, said, previous_files)

        return ProgramDump(self.command(program), judge)

    def _census(self) -> Census:
        try:
            return self.client.census(self._database)
        except ProgramError as error:
            hint = "; user and password must stand under [client]" if "Access denied" in str(error) else ""
            raise SourceError(f"{error}{hint}") from error

    def _check(self, program: str, raw_size: int, tail: bytes) -> None:
        if raw_size == 0:
            raise SourceError(f"{program} ended with status 0, but wrote nothing")
        if _TRAILER not in tail and _NO_TRAILER.isdisjoint(self._words):
            raise SourceError(f"{program} ended with status 0, but its output lacks {_TRAILER.decode()!r} at the end")

    def _outcome(self, program: str, before: Census, said: str, previous_files: int | None) -> Outcome:
        tables = before.numbers["tables"]
        warnings = said.splitlines()
        if before.unsafe and "--skip-single-transaction" not in self._words:
            warnings.append(
                f"{before.unsafe} tables have no transactions (MyISAM, Aria, …): "
                "what is written to them during a dump may be in it in part"
            )
        return Outcome(
            files=tables,
            warnings=warnings,
            brake=servers.brake(f"MySQL {self._source}", tables, previous_files),
            log="".join(f"{line}\n" for line in warnings),
            programs={program: pipeline.version(program)},
            proof=self._proof(before) | {"client": pipeline.version(program)},
        )

    def _proof(self, before: Census) -> dict[str, int | str]:
        proof = servers.steady(before.numbers, self._census().numbers)
        chosen = [word for word in self._words if word not in self.client.connection]
        if any(word.startswith(_PARTIAL) or not word.startswith("-") for word in chosen):
            proof = {}
        left_out = [what for what, words in _LEFT_OUT.items() if not words.isdisjoint(self._words)]
        kept = {what: number for what, number in proof.items() if what not in left_out}
        facts = before.facts if self._database is not None else {"server": before.facts["server"]}
        return kept | facts
