"""How the values of directives are read.

A reader takes the words of one directive and returns its value, or raises ValueError: what is wrong; what to do.
It looks at the text alone, never at this machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import urlsplit

Words = tuple[str, ...]

_FLAGS = {"yes": True, "on": True, "true": True, "1": True, "no": False, "off": False, "false": False, "0": False}
_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")
_SIZE = re.compile(r"([0-9]{1,12})([KMG]?)", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_BUCKET = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}"
)  # old buckets of us-east-1 have capitals, _ and 255 characters
_LEVELS = {"zstd": (1, 22), "gzip": (1, 9), "xz": (0, 9), "bzip2": (1, 9), "none": None}


class Packing(NamedTuple):
    """The value of Compression; without a level the format's own default is meant."""

    name: str
    level: int | None = None

    def __str__(self) -> str:
        return self.name if self.level is None else f"{self.name} {self.level}"


@dataclass(frozen=True, slots=True)
class ValueType:
    """A type of values: how documents describe it, and how it is read. ``several``: takes more than one word."""

    text: str
    read: Callable[[Words], object]
    several: bool = False


def _one(read: Callable[[str], object]) -> Callable[[Words], object]:
    def read_one(words: Words) -> object:
        if len(words) != 1:
            raise ValueError(f"takes one value, not {len(words)}; put it in quotes if it holds blanks")
        return read(words[0])

    return read_one


def _text(word: str) -> str:
    return word


def _flag(word: str) -> bool:
    try:
        return _FLAGS[word.lower()]
    except KeyError:
        raise ValueError(f"{word!r} is neither yes nor no; write On or Off") from None


def integer(low: int, high: int) -> ValueType:
    """Whole numbers within bounds."""

    def read(word: str) -> int:
        if not _INTEGER.fullmatch(word):
            raise ValueError(f"{word!r} is no whole number; write one from {low} to {high}")
        if not low <= int(word) <= high:
            raise ValueError(f"{word} is out of range; write a number from {low} to {high}")
        return int(word)

    return ValueType(f"number, {low} to {high}", _one(read))


def choice(*names: str) -> ValueType:
    """One of some names, however its case is written."""
    known = {name.lower(): name for name in names}

    def read(word: str) -> str:
        if word.lower() not in known:
            raise ValueError(f"{word!r} is unknown; write {' or '.join(names)}")
        return known[word.lower()]

    return ValueType("|".join(names), _one(read))


def _size(word: str) -> int:
    match = _SIZE.fullmatch(word)
    if match is None:
        raise ValueError(f"{word!r} is no size; write bytes, or a number with K, M or G, as 16M")
    size = int(match[1]) * _UNITS[match[2].upper()]
    if not 1 <= size <= 4 << 30:
        raise ValueError(f"{word} is out of range; write a size from 1 to 4G")
    return size


def normal_path(word: str) -> str:
    """Return an absolute path without ``//``, ``/./`` and a ``/`` at its end."""
    if not word.startswith("/"):
        home = "; ~ is not expanded" if word.startswith("~") else ""
        raise ValueError(f"{word!r} is no absolute path; write one that begins with /{home}")
    path = PurePosixPath("/" + word.lstrip("/"))
    if ".." in path.parts:
        raise ValueError(f"{word!r} holds ..; write the path without it")
    return str(path)


def _path(word: str) -> Path:
    return Path(normal_path(word))


def _bucket(word: str) -> str:
    if "?" in word or "#" in word:
        raise ValueError(f"{word!r} holds ? or #; name one without")
    scheme, mark, rest = word.partition("://")
    if not mark:
        if "/" in word or word.startswith("file:"):
            raise ValueError(
                f"{word!r} is no name of a bucket; write s3://bucket/prefix, or file:///path for a directory"
            )
        return _s3(word, word)
    if scheme.lower() == "s3":
        return _s3(word, rest)
    if scheme.lower() == "file":
        if not rest.startswith("/"):
            raise ValueError(f"{word!r} names no absolute path; write file:///path, with three slashes")
        return f"file://{normal_path(rest)}"
    raise ValueError(
        f"{word!r}: {scheme}:// is no known storage; write a bucket's name, s3://bucket/prefix or file:///path"
    )


def _s3(word: str, rest: str) -> str:
    name, _, prefix = rest.rstrip("/").partition("/")
    if not _BUCKET.fullmatch(name):
        raise ValueError(f"{word!r}: {name!r} is no name of a bucket; letters, digits, . _ and - make one (at least 2)")
    if prefix and not {"", ".", ".."}.isdisjoint(prefix.split("/")):
        raise ValueError(f"{word!r}: the prefix holds //, . or ..; write it without")
    return f"s3://{name}/{prefix}" if prefix else f"s3://{name}"


def _endpoint(word: str) -> str:
    try:
        url = urlsplit(word)
        valid = url.scheme in {"http", "https"} and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"{word!r} is no URL of a service; write https://host or http://host:port")
    return word.rstrip("/")


def _identifier(word: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", word):
        raise ValueError(f"{word!r} is not possible; letters, digits, _ and - make it")
    return word


def _compression(words: Words) -> Packing:
    name, level = words[0].lower(), words[1:]
    if name not in _LEVELS or len(level) > 1:
        raise ValueError(f"{' '.join(words)!r} is unknown; write one of {', '.join(_LEVELS)}, and a level")
    bounds = _LEVELS[name]
    if not level:
        return Packing(name)
    if bounds is None:
        raise ValueError("none has no level; take it out")
    number = integer(*bounds).read(level)
    return Packing(name, int(str(number)))


def _options(words: Words) -> Words:
    return words


def _patterns(words: Words) -> Words:
    for word in words:
        if re.search(r"\[[!^]?\]?[^]]*\[[.=]", word):
            raise ValueError("collating elements ([. .], [= =]) are not supported: write the characters themselves")
    return _options(words)


def _client_options(words: Words) -> Words:
    if any(re.match(r"-p|--pas", word) for word in words):
        raise ValueError("every user of this machine could read a password here; write it to MySQLDefaultsFile")
    return words


def _pg_options(words: Words) -> Words:
    if bad := next((word for word in words if re.match(r"-[FfWj]|--(fo|fil(e\b|=|$)|pas|jo)", word)), None):
        raise ValueError(f"{bad!r} is not possible; PostgreSQLFormat chooses the format, ~/.pgpass holds passwords")
    return words


def _users(words: Words) -> Words:
    if bad := next((word for word in words if word.startswith("-")), None):
        raise ValueError(f"{bad!r} begins with -; write an address or a fingerprint")
    return words


def fingerprint(word: str) -> str:
    """Return a key's fingerprint in gpg's own spelling; nothing shorter names a key beyond doubt."""
    bare = word.replace(" ", "").removeprefix("0x").upper()
    if not re.fullmatch(r"[0-9A-F]{40}|[0-9A-F]{64}", bare):
        raise ValueError(f"{word!r} is no fingerprint; write all of its 40 digits, as gpg --fingerprint shows them")
    return bare


def _fingerprints(words: Words) -> Words:
    return tuple(fingerprint(word) for word in words)


def _database(word: str) -> str:
    if word.startswith("-"):
        raise ValueError(f"{word!r} begins with -; write the name of a database, or all")
    return word


def _mysql(word: str) -> str:
    socket, colon, database = word.rpartition(":")
    if colon and not (socket.startswith("/") and database):
        raise ValueError(f"{word!r} is not possible; write a database, all, or /path/of/socket:database")
    _database(database)
    return word


def _postgresql(word: str) -> str:
    user, at, database = word.rpartition("@")
    if at and not (user and database):
        raise ValueError(f"{word!r} is not possible; write a database, all, or user@database")
    _database(database)
    return _database(word)


_DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _duration(word: str) -> int:
    match = re.fullmatch(r"(\d+)([smhd]?)", word.lower())
    seconds = int(match[1]) * _DURATION_UNITS[match[2] or "s"] if match is not None else 0
    if seconds < 1:
        raise ValueError(f"{word!r} is no length of time; write 90, 90s, 45m, 6h or 1d")
    return seconds


DURATION = ValueType("seconds, or with m, h, d", _one(_duration))
TEXT = ValueType("text", _one(_text))
PORT = integer(1, 65535)
DUMP_FORMAT = choice("plain", "custom")
FLAG = ValueType("On|Off", _one(_flag))
SIZE = ValueType("bytes, or with K, M, G", _one(_size))
PATH = ValueType("path", _one(_path))
BUCKET = ValueType("bucket, s3://bucket/prefix or file:///path", _one(_bucket))
ENDPOINT = ValueType("URL", _one(_endpoint))
IDENTIFIER = ValueType("name", _one(_identifier))
COMPRESSION = ValueType("zstd|gzip|xz|bzip2|none [level]", _compression, several=True)
OPTIONS = ValueType("options", _options, several=True)
MYSQL_OPTIONS = ValueType("options", _client_options, several=True)
POSTGRESQL_OPTIONS = ValueType("options", _pg_options, several=True)
USERS = ValueType("address or fingerprint, …", _users, several=True)
FINGERPRINT = ValueType("fingerprint", _one(fingerprint))
FINGERPRINTS = ValueType("fingerprint, …", _fingerprints, several=True)
PATTERNS = ValueType("pattern, …", _patterns, several=True)
NAMES = ValueType("name, …", _one(_identifier), several=True)
# Sources: one word each, a directive may hold several.
DIRECTORY = ValueType("path, …", _one(normal_path), several=True)
REPOSITORY = ValueType("path, …", _one(normal_path), several=True)
MYSQL = ValueType("all, database or socket:database, …", _one(_mysql), several=True)
POSTGRESQL = ValueType("all, database or user@database, …", _one(_postgresql), several=True)
