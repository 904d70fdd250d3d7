"""Loading dumps of MySQL and MariaDB into a running server."""

from __future__ import annotations

import re
from collections.abc import Iterator

from s3nap.errors import UsageError
from s3nap.manifest import Manifest
from s3nap.sources import LoadOptions, servers
from s3nap.sources.mysql import CLIENTS, Client, parse
from s3nap.sources.programs import feed

# clients of MySQL, and older ones of MariaDB, fail at it (MDEV-34183); --binary-mode protects as well
_SANDBOX = re.compile(rb"/\*M?!999999\\- enable the sandbox mode \*/[^\n]*\n")
_SANDBOX_BYTES = 100
_WORD = re.compile(r"[A-Za-z0-9_]+")
_LOAD = ("--default-character-set=utf8mb4", "--binary-mode", "--max-allowed-packet=1G")
_SHOWN = 5
PRIVATE = ("--no-defaults", "--protocol=socket", "--skip-password")
"""Goes before all else to be sure that a client goes to the socket it is told, as nobody's user file says otherwise."""


class MySQLLoader:
    """Loads one archive into the server that the client's own files, the options or the source name.

    With ``overwrite`` a database is dropped and made anew; an archive of all databases replaces those it holds.
    """

    def __init__(self, manifest: Manifest, options: LoadOptions) -> None:
        """The options go before what the source says."""
        self._manifest = manifest
        self._options = options
        socket, archived = parse(manifest.source)
        if archived is None and options.database is not None:
            raise UsageError("this archive holds all databases: --database is for archives of one")
        self._database = options.database or archived
        if (self._database or "").startswith("-"):
            raise UsageError(f"{self._database!r} begins with -: give the name of a database")
        elsewhere = options.host or options.port or options.socket
        files = [f"--defaults-extra-file={options.defaults_file}"] if options.defaults_file else []
        self._client = Client(
            PRIVATE if options.scratch is not None else files,
            [
                f"--{name}={value}"
                for name, value in {
                    "host": options.host,
                    "port": options.port,
                    "socket": options.socket if elsewhere else socket,
                    "user": options.user,
                }.items()
                if value is not None
            ],
        )
        self._there = False

    def check(self) -> None:
        """UsageError where data would be overwritten without ``--overwrite``."""
        held = self._client.census().databases
        self._there = self._database in held
        full = sorted(name for name, objects in held.items() if objects)
        if self._options.overwrite:
            return
        if self._database is None and full:
            shown = ", ".join(full[:_SHOWN]) + (", …" if len(full) > _SHOWN else "")
            raise UsageError(
                f"the server holds databases already ({shown}): load into an empty one, "
                "or give --overwrite to replace what the archive holds"
            )
        if self._database in full:
            raise UsageError(
                f"database {self._database} exists already and is not empty: "
                "give --database NEW, or --overwrite to drop it first"
            )

    def level(self, manifest: Manifest, pieces: Iterator[bytes | bytearray]) -> None:
        """Make the database anew, with the character set it had, and load."""
        words = [*_LOAD]
        if self._database is not None:
            words.append(f"--database={self._database}")
            for statement in self._statements(manifest):
                self._client.ask(statement)
        feed(self._client.argv(servers.either(CLIENTS), *words), _without_sandbox(pieces))

    def _statements(self, manifest: Manifest) -> Iterator[str]:
        name = "`" + (self._database or "").replace("`", "``") + "`"
        if self._there and self._options.overwrite:
            yield f"DROP DATABASE {name}"
        if not self._there or self._options.overwrite:
            yield f"CREATE DATABASE {name}"
        charset, collation = (str(manifest.proof.get(key, "")) for key in ("charset", "collation"))
        if _WORD.fullmatch(charset) and _WORD.fullmatch(collation):
            yield f"ALTER DATABASE {name} CHARACTER SET {charset} COLLATE {collation}"

    def finish(self, manifest: Manifest) -> str:
        """Compare what the server counts with what was counted at the dump."""
        where = f"database {self._database}" if self._database is not None else "the server"
        census = self._client.census(self._database)
        servers.compare(manifest, census.numbers, where, more=self._database is None and self._options.overwrite)
        if self._database is None:
            # only now: the accounts from here on are those of the archive
            self._client.ask("FLUSH PRIVILEGES")
        return where


def _without_sandbox(pieces: Iterator[bytes | bytearray]) -> Iterator[bytes | bytearray]:
    start = b""
    for piece in pieces:
        start += piece
        if len(start) >= _SANDBOX_BYTES:
            break
    match = _SANDBOX.match(start)
    yield start[match.end() :] if match else start
    yield from pieces
