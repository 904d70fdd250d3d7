"""The manifest: small JSON that describes an archive; its existence is the commit (stored format 1)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Any, cast, get_args, get_origin, get_type_hints

from s3nap.errors import NewerFormatError, VerificationError
from s3nap.names import ArchiveName

FORMAT = 1
KNOWN_NEEDS: frozenset[str] = frozenset()
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


class Type(StrEnum):
    """FULL: everything. DIFF: what changed since the parent."""

    FULL = "FULL"
    DIFF = "DIFF"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """An object of an archive that is no chunk; size in bytes, sha256 of what is stored."""

    role: str
    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Encryption:
    """How the envelope is closed: ``recipients`` (with their fingerprints), ``passphrase`` or ``none``."""

    method: str = "none"
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Previous:
    """The newest archive of the job that was known when another was made; sha256 of its manifest as stored."""

    run: str
    slot: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One archive. Sizes in bytes, times aware; ``parent`` and ``root`` are run ids, None for a FULL."""

    host: str
    machine: str
    conf: str
    job: str
    kind: str
    source: str
    stream: str
    slot: int
    type: Type
    run: str
    day: date
    started: datetime
    finished: datetime
    parent: str | None = None
    root: str | None = None
    previous: Previous | None = None
    raw_size: int
    stored_size: int
    compression: str
    encryption: Encryption
    objects: tuple[StoredObject, ...]
    chunks: int
    state_id: str | None = None
    options: str
    files: int = 0
    warnings: tuple[str, ...] = ()
    complete: bool = True
    brake: str | None = None
    programs: dict[str, str] = field(default_factory=dict)
    proof: dict[str, int | str] = field(default_factory=dict)
    recipe: str = ""
    format: int = FORMAT
    needs: tuple[str, ...] = ()
    s3nap: str = ""

    @property
    def at(self) -> ArchiveName:
        """Where the archive lies."""
        return ArchiveName(self.host, self.job, self.slot, self.type, self.run)

    def object(self, role: str) -> StoredObject | None:
        """Return the object of this role, None if the archive has none."""
        return next((item for item in self.objects if item.role == role), None)

    def to_json(self) -> bytes:
        """Serialize, readable by people."""
        plain = dataclasses.asdict(self)
        return (
            json.dumps(plain, indent=1, ensure_ascii=False, default=_plain).encode("utf-8", "surrogateescape") + b"\n"
        )


@dataclass(frozen=True, slots=True)
class Archive:
    """A manifest and the marks that stand beside it (``hold``, ``released``, ``distrust``, ...).

    ``sha256`` is that of the manifest as stored, empty where it was not read from anywhere.
    """

    manifest: Manifest
    marks: frozenset[str] = frozenset()
    sha256: str = ""

    @property
    def run(self) -> str:
        """Run id; run ids of a job sort by time."""
        return self.manifest.run

    @property
    def held(self) -> bool:
        """Kept until the mark is removed."""
        return "hold" in self.marks

    @property
    def distrusted(self) -> bool:
        """Found damaged: never a parent, never offered."""
        return "distrust" in self.marks

    @property
    def braking(self) -> bool:
        """Made of a suspiciously empty or shrunken source and not yet released."""
        return self.manifest.brake is not None and "released" not in self.marks


def _plain(value: object) -> str:
    if isinstance(value, date | datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def from_json(data: bytes, origin: str) -> Manifest:
    """Parse a manifest; unknown fields are ignored.

    Raises VerificationError, naming ``origin``, for what is no manifest or what this version does not understand.
    """
    try:
        plain: dict[str, Any] = json.loads(data.decode("utf-8", "surrogateescape"))
        if plain["format"] != FORMAT or set(plain.get("needs", ())) - KNOWN_NEEDS:
            message = f"{origin}: written by a newer s3nap; upgrade s3nap to read it"
            raise NewerFormatError(message)
        names = {item.name for item in dataclasses.fields(Manifest)}
        known = {key: value for key, value in plain.items() if key in names}
        known |= {
            "type": Type(plain["type"]),
            "day": date.fromisoformat(plain["day"]),
            "started": datetime.fromisoformat(plain["started"]),
            "finished": datetime.fromisoformat(plain["finished"]),
            "encryption": Encryption(
                method=plain["encryption"]["method"], recipients=tuple(plain["encryption"]["recipients"])
            ),
            "previous": _previous(plain.get("previous")),
            "objects": tuple(_stored_object(item) for item in plain["objects"]),
            "warnings": tuple(plain.get("warnings", ())),
            "needs": tuple(plain.get("needs", ())),
        }
        return _checked(Manifest(**known), escapes=b"\\u" in data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        message = f"{origin}: is not a manifest that can be understood: {error}"
        raise VerificationError(message) from error


def _checked(manifest: Manifest, *, escapes: bool) -> Manifest:
    """Raise ValueError if something is of another kind than it must be: whoever works with it relies on that.

    Anybody who may put may have written it. ``escapes``: it holds some, which need not stand for characters.
    """
    for name, fits in _fields(Manifest).items():
        if not fits(getattr(manifest, name)):
            raise ValueError(f"{name} is of the wrong kind")
    for time in (manifest.started, manifest.finished):
        if time.tzinfo is None or not _FIRST <= time <= _LAST:
            raise ValueError(f"{time} is no time with a zone, in this age")
    if escapes:
        manifest.to_json()
    _ = manifest.at.manifest  # nor must a name be one
    return manifest


@cache
def _fields(owner: type) -> dict[str, Callable[[Any], bool]]:
    """Return for each field of a dataclass what tells whether a value is of its type."""
    return {name: _fits(hint) for name, hint in get_type_hints(owner).items()}


def _fits(hint: Any) -> Callable[[Any], bool]:  # noqa: ANN401 - a type, as annotations have them
    """Return what tells whether a value is of a type; of what it holds, too."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind is UnionType:
        ways = [_fits(each) for each in inner]
        return lambda value: any(way(value) for way in ways)
    if kind is tuple:
        element = _fits(inner[0])
        return lambda value: isinstance(value, tuple) and all(map(element, value))
    if kind is dict:
        element = _fits(inner[1])
        return lambda value: isinstance(value, dict) and all(map(element, value.values()))
    if dataclasses.is_dataclass(hint):
        owner = cast("type", hint)
        parts = _fields(owner)
        return lambda value: (
            isinstance(value, owner) and all(fits(getattr(value, name)) for name, fits in parts.items())
        )
    return lambda value: isinstance(value, hint)


def _previous(plain: dict[str, Any] | None) -> Previous | None:
    return Previous(run=plain["run"], slot=int(plain["slot"]), sha256=plain["sha256"]) if plain is not None else None


def _stored_object(item: dict[str, Any]) -> StoredObject:
    return StoredObject(role=item["role"], name=item["name"], size=int(item["size"]), sha256=item["sha256"])
