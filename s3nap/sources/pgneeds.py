"""What a PostgreSQL dump takes for granted, made in a throw-away server: roles, and tablespaces in its own folder.

A dump of one database names roles that only the old server has, and tablespaces; one of all databases says where
tablespaces lie, and that may be the folder of a server that is in use.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from loguru import logger

from s3nap.errors import ProgramError

_NAME = rb'("(?:[^"\n]|"")+"|[a-z_][a-z0-9_$]*)'
_STATEMENT = re.compile(rb"\b(?:ALTER|GRANT|REVOKE|CREATE POLICY|CREATE USER MAPPING)\b[^;\n]*;")
_ROLE = re.compile(rb"\b(?:TO|FROM|ROLE|FOR) " + _NAME)
_SPACE = re.compile(rb"^SET default_tablespace = " + _NAME + rb";", re.MULTILINE)
_MAKES_SPACE = re.compile(rb"^(CREATE TABLESPACE [^\n]* LOCATION )'(?:[^'\n]|'')*'", re.MULTILINE)
_LINE_LIMIT = 1 << 16  # longer ones hold rows


class Needs:
    """Makes roles and tablespaces before a dump names them; what cannot be made fails where it is used."""

    def __init__(self, ask: Callable[[str], object], folder: Path) -> None:
        """``ask`` runs a statement as superuser; tablespaces go below ``folder``, the server's own."""
        self._ask = ask
        self._folder = folder
        self._known = {b"postgres"}

    def provide(self, text: bytes) -> None:
        """Make what some whole lines of a dump name."""
        for statement in _STATEMENT.finditer(text):
            for role in _ROLE.finditer(statement[0]):
                if not role[1].startswith(b"pg_"):
                    self._make(role[1], f"CREATE ROLE {role[1].decode(errors='surrogateescape')}")
        for space in _SPACE.finditer(text):
            name = space[1].decode(errors="surrogateescape")
            self._make(b"tablespace " + space[1], f"CREATE TABLESPACE {name} LOCATION '{new_folder(self._folder)}'")

    def _make(self, name: bytes, statement: str) -> None:
        if name in self._known:
            return
        self._known.add(name)
        try:
            self._ask(statement)
        except ProgramError as error:
            logger.debug("{}", error)


def new_folder(folder: Path) -> str:
    """Return a new folder for a tablespace, of the server's user, quoted as SQL wants it."""
    status = folder.stat()
    new = folder / f"space-{sum(1 for _ in folder.glob('space-*'))}"
    new.mkdir(mode=0o700)
    os.chown(new, status.st_uid, status.st_gid)
    return str(new).replace("'", "''")


def provided(pieces: Iterator[bytes | bytearray], needs: Needs) -> Iterator[bytes]:
    """Pass a dump on, line by line as far as they are short, each after what it needs was made."""
    held = b""
    for piece in pieces:
        held += piece
        cut = held.rfind(b"\n") + 1
        if len(held) - cut > _LINE_LIMIT:
            cut = len(held)
        needs.provide(held[:cut])
        yield held[:cut]
        held = held[cut:]
    needs.provide(held)
    yield held


def moved(pieces: Iterator[bytes | bytearray], folder: Path) -> Iterator[bytes | bytearray]:
    """Pass a dump of all databases on; its tablespaces, which stand before all databases, go below ``folder``."""
    for number, piece in enumerate(pieces):
        if number == 0:  # the loader gives all that stands before the first database in one piece
            yield _MAKES_SPACE.sub(lambda found: found[1] + f"'{new_folder(folder)}'".encode(), piece)
        else:
            yield piece
