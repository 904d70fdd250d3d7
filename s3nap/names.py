"""Names of jobs, archives and objects (stored format 1: Names).

Keys keep their ``/`` so that a person can browse the bucket, and are never parsed for more than
job, slot, type and run.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import unquote

_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-@+=,")
_COMPONENT_BYTES = 200
_JOB_BYTES = 700
_HASH_DIGITS = 16

CATALOG = "catalog"
DATA = "data"
SIGNATURE = "asc"
"""The mark that holds the signature of a manifest."""

_RUN = r"(?P<job>.+)-(?P<slot>\d+)-(?P<type>FULL|DIFF)/(?P<run>\d{8}T\d{6}Z-[0-9a-f]{6})"
_ARCHIVE = re.compile(_RUN + r"\.(?P<mark>[^/]+)")
_OBJECT = re.compile(_RUN + r"/[^/]+")


class CatalogKey(NamedTuple):
    """What the key of a manifest or of a mark says."""

    job: str
    slot: int
    type: str
    run: str
    mark: str


def component(text: str | bytes) -> str:
    """Encode one component of a key: reversible up to 200 bytes, a prefix and a hash of it beyond."""
    return _cut(_whole_component(text), _COMPONENT_BYTES)


def _whole_component(text: str | bytes) -> str:
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    if raw in {b"", b".", b".."}:
        return "".join(f"%{byte:02X}" for byte in raw) or "%"
    return _encode(raw)


def _encode(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = "".join(map(chr, raw))
        return "".join(char if ord(char) in _SAFE else f"%{ord(char):02X}" for char in text)
    return "".join(_encode_char(char) for char in text)


def _encode_char(char: str) -> str:
    code = ord(char)
    if code in _SAFE or (code > 0x7F and char.isprintable()):  # beyond ASCII
        return char
    return "".join(f"%{byte:02X}" for byte in char.encode())


def _cut(encoded: str, limit: int) -> str:
    raw = encoded.encode()
    if len(raw) <= limit:
        return encoded
    digest = hashlib.sha256(raw).hexdigest()[:_HASH_DIGITS]
    prefix = raw[: limit - _HASH_DIGITS - 1].decode(errors="ignore")
    # a cut in the middle of an escape would read as another name
    return re.sub(r"%[0-9A-F]?$", "", prefix) + "%" + digest


def job_name(kind: str, name: str, cycle: str | None = None) -> str:
    """``[<cycle>/]<Kind>/<name>``, encoded, whole (a manifest's ``job``); ``name`` may be a path or ``user@db``."""
    stripped = name.strip("/")
    parts = [_whole_component(part) for part in stripped.split("/")] if stripped else ["%2F"]
    head = [_whole_component(cycle)] if cycle is not None else []
    return "/".join([*head, kind, *parts])


def job_key(job: str) -> str:
    """Return the form of a job's name that stands in keys: itself, or with what is too long cut."""
    return _cut("/".join(_cut(part, _COMPONENT_BYTES) for part in job.split("/")), _JOB_BYTES)


def readable(job: str) -> str:
    """A job's name with its percent-encoding undone, for people."""
    return unquote(job, errors="surrogateescape")


def host_prefix(host: str) -> str:
    """Where the catalog of a host lies."""
    return f"{CATALOG}/{component(host)}/"


def data_prefix(host: str) -> str:
    """Where the data of a host lie."""
    return f"{DATA}/{component(host)}/"


def job_prefix(host: str, job: str) -> str:
    """What the keys of all manifests and marks of a job begin with (others may, too: parse)."""
    return f"{host_prefix(host)}{job_key(job)}-"


@dataclass(frozen=True, slots=True)
class ArchiveName:
    """Where an archive lies: its manifest, marks and data."""

    host: str
    job: str
    slot: int
    type: str
    run: str

    @property
    def folder(self) -> str:
        """``<host>/<job>-<slot>-<TYPE>``, the part that catalog and data keys share."""
        return f"{component(self.host)}/{job_key(self.job)}-{self.slot}-{self.type}"

    @property
    def manifest(self) -> str:
        """Key of the manifest."""
        return self.mark("json")

    def mark(self, mark: str) -> str:
        """Key of a mark beside the manifest."""
        return f"{CATALOG}/{self.folder}/{self.run}.{mark}"

    @property
    def data(self) -> str:
        """What the keys of all data objects begin with, ending in ``/``."""
        return f"{DATA}/{self.folder}/{self.run}/"


def run_time(run: str) -> datetime:
    """Return the second that a run id says; the latest there is, if there is no such second."""
    try:
        return datetime.fromisoformat(run[:16])
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)


def parse_catalog_key(host: str, key: str) -> CatalogKey | None:
    """Take a key under ``catalog/<host>/`` apart; None if it is no manifest and no mark."""
    match = _ARCHIVE.fullmatch(key.removeprefix(host_prefix(host)))
    if match is None:
        return None
    return CatalogKey(match["job"], int(match["slot"]), match["type"], match["run"], match["mark"])


def parse_data_key(host: str, key: str) -> ArchiveName | None:
    """Return the run that a key under ``data/<host>/`` belongs to, its job as keys have it; None if to none."""
    match = _OBJECT.fullmatch(key.removeprefix(data_prefix(host)))
    if match is None:
        return None
    at = ArchiveName(host, match["job"], int(match["slot"]), match["type"], match["run"])
    return at if key.startswith(at.data) else None


def split_catalog_key(key: str) -> tuple[str, str] | None:
    """Split the key of any host's manifest or mark into where its archive lies and the mark; None if it is neither.

    The first part is ``<host>/<job>-<slot>-<TYPE>/<run>``, which catalog and data keys share.
    """
    place, _, rest = key.removeprefix(f"{CATALOG}/").partition("/")
    match = _ARCHIVE.fullmatch(rest)
    return (f"{place}/{rest[: match.start('mark') - 1]}", match["mark"]) if match is not None else None
