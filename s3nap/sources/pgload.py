"""Loading dumps of PostgreSQL into a running server."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from s3nap.errors import ProgramError, UsageError
from s3nap.manifest import Manifest
from s3nap.sources import LoadOptions, pgneeds, servers
from s3nap.sources.postgresql import MAINTENANCE, Client, conninfo, parse
from s3nap.sources.programs import feed

# pg_dumpall begins with the roles; then comes one database after the other
_CONNECT = re.compile(rb"^\\connect ", re.MULTILINE)
_GLOBALS_LIMIT = 64 << 20
_MAKES = re.compile(
    rb"(; Type: DATABASE; Schema: -; Owner: [^\n]*\n--\n\n)(CREATE DATABASE (\"(?:[^\"]|\"\")+\"|[^\s\"]+) WITH )"
)
_DROPS = rb"\1DROP DATABASE IF EXISTS \3;\n\2"
_HEADER_BYTES = 2048  # more than a header that _MAKES finds can take
_ROLES = "SELECT 'CREATE ROLE ' || quote_ident(rolname) || ';' FROM pg_roles"
_LOCALE = re.compile(r"[A-Za-z0-9_.@-]+")
_SHOWN = 5


class PostgreSQLLoader:
    """Loads one archive into the server that the client's own settings, the options or the source name.

    With ``overwrite`` the databases that the archive holds are dropped and made anew.
    """

    def __init__(self, manifest: Manifest, options: LoadOptions) -> None:
        """The options go before what the source says."""
        self._manifest = manifest
        self._overwrite = options.overwrite
        self._scratch = options.scratch
        user, archived = parse(manifest.source)
        if archived is None and options.database is not None:
            raise UsageError("this archive holds all databases: --database is for archives of one")
        self._database = options.database or archived
        host = options.host or options.socket
        named = {"host": host, "port": options.port, "username": options.user or user}
        self._client = Client([f"--{name}={value}" for name, value in named.items() if value is not None])
        self._there = False
        self._used_maintenance = False

    def check(self) -> None:
        """UsageError where data would be overwritten without ``--overwrite``."""
        found = self._client.databases()
        if self._database is None:
            others = [each.name for each in found if each.name not in MAINTENANCE]
            first = next((each.name for each in found if each.name == MAINTENANCE[0]), None)
            self._used_maintenance = first is not None and bool(self._client.count(first)["tables"])
            held = [*others, *([MAINTENANCE[0]] if self._used_maintenance else [])]
            if held and not self._overwrite:
                shown = ", ".join(held[:_SHOWN]) + (", …" if len(held) > _SHOWN else "")
                raise UsageError(
                    f"the server holds databases already ({shown}): load into an empty one, "
                    "or give --overwrite to drop those that the archive holds"
                )
            return
        self._there = any(each.name == self._database for each in found)
        if self._there and not self._overwrite and self._client.count(self._database).total():
            raise UsageError(
                f"database {self._database} exists already and is not empty: "
                "give --database NEW, or --overwrite to drop it first"
            )

    def level(self, manifest: Manifest, pieces: Iterator[bytes | bytearray]) -> None:
        """Make the database anew, with the encoding and locale it had, and load; the first error ends it."""
        if self._database is None:
            self._load_all(pieces)
            return
        self._make(self._database, manifest)
        words = ["--exit-on-error", f"--dbname={conninfo(self._database)}"]
        if self._scratch is not None:
            words += ["--no-owner", "--no-tablespaces"]
            pieces = pgneeds.provided(pieces, self._needs(self._scratch))
        if manifest.stream == "pgcustom":
            feed(["pg_restore", *self._client.argv(), *words], pieces)
        else:
            feed(["psql", *self._client.psql(self._database), "--quiet", "--file=-"], pieces)

    def _needs(self, scratch: Path) -> pgneeds.Needs:
        return pgneeds.Needs(lambda sql: self._client.ask(MAINTENANCE[1], sql), scratch)

    def _make(self, database: str, manifest: Manifest) -> None:
        if self._there and self._overwrite:
            servers.ask(["dropdb", *self._client.argv(), "--", database])
        elif self._there:
            return
        facts = [str(manifest.proof.get(key, "")) for key in ("encoding", "collate", "ctype")]
        known = all(_LOCALE.fullmatch(fact) for fact in facts)
        words = [f"--{name}={fact}" for name, fact in zip(("encoding", "lc-collate", "lc-ctype"), facts, strict=True)]
        try:
            servers.ask(
                ["createdb", *self._client.argv(), "--template=template0", *(words if known else []), "--", database]
            )
        except ProgramError as error:
            if "invalid locale" not in str(error):
                raise
            raise ProgramError(
                f"{error}; install that locale, or make the database {database} yourself first"
            ) from error

    def _load_all(self, pieces: Iterator[bytes | bytearray]) -> None:
        first, last = MAINTENANCE
        if self._used_maintenance:
            self._client.ask(last, f"DROP DATABASE {first}")
            self._client.ask(last, f"CREATE DATABASE {first} TEMPLATE template0")
        roles = {row[0].encode("utf-8", "surrogateescape") for row in self._client.ask(last, _ROLES)}
        stream = _without_roles(pieces, roles)
        if self._scratch is not None:
            stream = pgneeds.moved(stream, self._scratch)
        argv = ["psql", *self._client.psql(last), "--quiet", "--file=-"]
        feed(argv, _dropping(stream) if self._overwrite else stream)

    def finish(self, manifest: Manifest) -> str:
        """Compare what the server counts with what was counted at the dump."""
        where = f"database {self._database}" if self._database is not None else "the server"
        numbers = self._client.census(self._database).numbers
        servers.compare(manifest, numbers, where, more=self._database is None and self._overwrite)
        return where


def _without_roles(pieces: Iterator[bytes | bytearray], roles: Collection[bytes]) -> Iterator[bytes | bytearray]:
    """Take out the statements that make roles which the server has; their ALTER ROLE stays."""
    start = b""
    for piece in pieces:
        start += piece
        if _CONNECT.search(start) or len(start) > _GLOBALS_LIMIT:
            break
    match = _CONNECT.search(start)
    end = match.start() if match else len(start)
    yield b"".join(line for line in start[:end].splitlines(keepends=True) if line.rstrip(b"\n") not in roles)
    yield start[end:]
    yield from pieces


def _dropping(pieces: Iterator[bytes | bytearray]) -> Iterator[bytes]:
    """Put a DROP DATABASE before every CREATE DATABASE of pg_dumpall's.

    It is told by the header before it, of several lines, which a row of a table cannot hold.
    """
    held = b""
    for piece in pieces:
        held += piece
        last = max((match.end() for match in _MAKES.finditer(held)), default=0)
        cut = max(len(held) - _HEADER_BYTES, last)
        yield _MAKES.sub(_DROPS, held[:cut])
        held = held[cut:]
    yield _MAKES.sub(_DROPS, held)
