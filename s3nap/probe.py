"""Asks a storage, by trying it, for everything that s3nap relies on or could make use of."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from s3nap.errors import BucketError, DeniedError, NoSuchObjectError, StorageError
from s3nap.storage import Storage

SCRATCH = "s3nap-storage-test"

_SMALL = bytes(range(256)) * 16
_CHUNK = secrets.token_bytes(1024) * 256  # of a size for which StorageClass counts
_ODD = ("A/b", "a%2Fb/c", "a-1/x", "a.b/c", "a/x", "p+q/r=s@t,u", "sp%20ace/%25", "z/" + "k" * 200, "ü/é", "日本/x")
_SKEW = timedelta(minutes=5)
_FUTURE = timedelta(days=1)  # a manifest that far ahead counts for nothing


class Verdict(StrEnum):
    """How a try came out."""

    WORKS = "works"
    MISSING = "missing"
    DENIED = "denied"
    BROKEN = "BROKEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was tried, how it came out, and what follows. Without what is ``essential`` s3nap cannot work there."""

    what: str
    verdict: Verdict
    means: str
    essential: bool = True

    @property
    def fatal(self) -> bool:
        """Does this alone make the storage useless?"""
        return self.essential and self.verdict in {Verdict.BROKEN, Verdict.MISSING}


@runtime_checkable
class Asked(Protocol):
    """A storage that speaks S3."""

    def ask(self, operation: str, **request: Any) -> tuple[str, Mapping[str, Any]]:  # noqa: ANN401 - botocore's own
        """Return the error code ("" if there is none) and the answer of one operation."""
        ...


class _WrongError(Exception):
    """The storage answered, but not what it should."""


class Probe:
    """One test of one storage, under a scratch prefix of its own."""

    def __init__(self, storage: Storage) -> None:
        """Nothing is stored before ``findings``."""
        self.scratch = f"{SCRATCH}-{secrets.token_hex(4)}"
        self._storage = storage
        self._keys: list[str] = []
        self._listing = True

    def findings(self) -> Iterator[Finding]:
        """Try one thing after the other; what was stored is removed, whatever comes between.

        Raises BucketError where the storage cannot be used at all.
        """
        self._storage.check()
        try:
            stored = self._tried("put", self._put, denied="nothing can be stored with these credentials", needed=True)
            yield stored
            if stored.fatal:
                return
            yield self._tried("get", self._get, denied="no restore with these credentials; a host may do without")
            yield self._tried("get a part", self._part, denied="as get")
            yield self._tried(
                "list after put", self._list, denied="runs work from DiffDir alone; sweep by prune elsewhere"
            )
            yield self._tried("empty object", self._empty)
            yield self._tried("odd names, in byte order", self._odd)
            yield self._tried("chunk, in StorageClass", self._bulk)
            yield self._tried("clock", self._clock, denied="unknown: listing is denied")
            yield from self._extras()
            yield self._tried("delete", self._delete, denied=f"old archives stay; and so does {self.scratch}/")
        finally:
            with suppress(StorageError):
                self._storage.delete(self._keys)
            self._purge_versions()

    def _tried(self, what: str, step: Callable[[], str], *, denied: str = "", needed: bool = False) -> Finding:
        try:
            return Finding(what=what, verdict=Verdict.WORKS, means=step())
        except DeniedError as error:
            verdict = Verdict.BROKEN if needed else Verdict.DENIED
            return Finding(what=what, verdict=verdict, means=f"{denied or 'denied'} ({error})")
        except BucketError:
            raise
        except (StorageError, _WrongError) as error:
            return Finding(what=what, verdict=Verdict.BROKEN, means=str(error))

    # what is essential

    def _store(self, name: str, data: bytes, *, bulk: bool = False) -> str:
        key = f"{self.scratch}/{name}"
        self._keys.append(key)
        self._storage.put(key, data, bulk=bulk)
        return key

    def _put(self) -> str:
        self._store("object", _SMALL)
        return ""

    def _same(self, key: str, data: bytes) -> None:
        if self._storage.get(key) != data:
            raise _WrongError(f"{key} reads back as something else: nothing stored there can be trusted")

    def _get(self) -> str:
        self._same(f"{self.scratch}/object", _SMALL)
        with suppress(NoSuchObjectError, DeniedError):  # denied: nobody may know what is not there
            self._storage.get(f"{self.scratch}/nothing")
            raise _WrongError("an object that was never stored is there: no archive could be missed")
        return ""

    def _part(self) -> str:
        if self._storage.get(f"{self.scratch}/object", start=300, length=100) != _SMALL[300:400]:
            raise _WrongError("a part of an object is something else: single files cannot be restored")
        return ""

    def _list(self) -> str:
        self._listing = False
        listed = [(item.key, item.size) for item in self._storage.list(f"{self.scratch}/")]
        self._listing = True
        if listed != [(f"{self.scratch}/object", len(_SMALL))]:
            raise _WrongError(f"what was just put is not listed with its size, but {listed}: no run could be checked")
        return ""

    def _empty(self) -> str:
        key = self._store("empty", b"")
        self._unless_denied(lambda: self._same(key, b""))
        return ""

    def _odd(self) -> str:
        stored = [self._store(f"odd/{name}", name.encode()) for name in reversed(_ODD)]
        for key, name in zip(stored, reversed(_ODD), strict=True):
            self._unless_denied(lambda key=key, name=name: self._same(key, name.encode()))  # type: ignore[misc]
        if self._listing:
            listed = [item.key for item in self._storage.list(f"{self.scratch}/odd/")]
            if listed != sorted(stored, key=str.encode):
                raise _WrongError(f"such names are listed as {listed}: archives would not be found again")
        return ""

    def _bulk(self) -> str:
        key = self._store("chunk", _CHUNK, bulk=True)
        try:
            self._unless_denied(lambda: self._same(key, _CHUNK))
        except StorageError as error:
            return f"but cannot be read at once: {error}"
        return ""

    def _unless_denied(self, step: Callable[[], None]) -> None:
        with suppress(DeniedError):  # said once, by the step that asks for just this
            step()

    def _clock(self) -> str:
        listed = [item.modified for item in self._storage.list(f"{self.scratch}/")]
        ahead = datetime.now(UTC) - max(listed, default=datetime.now(UTC))
        if abs(ahead) > _FUTURE:
            raise _WrongError(f"it differs from this machine's by {ahead}: archives of tomorrow count for nothing")
        return f"differs from this machine's by {ahead}; set the clock" if abs(ahead) > _SKEW else ""

    def _delete(self) -> str:
        if self._storage.delete(self._keys):
            raise DeniedError("the storage retains what it was told to delete")
        with suppress(DeniedError):
            if self._listing and list(self._storage.list(f"{self.scratch}/")):
                raise _WrongError("what was deleted is still listed: archives that are gone would be offered")
        with suppress(DeniedError, NoSuchObjectError):
            self._storage.get(f"{self.scratch}/object")
            raise _WrongError("what was deleted can still be read")
        return ""

    # what is of use

    def _extras(self) -> Iterator[Finding]:
        if isinstance(self._storage, Asked):
            yield self._conditional(self._storage)
            yield self._checksums(self._storage)
            yield self._versions(self._storage)
            yield self._lock(self._storage)
            return
        yield self._refused()
        for what in ("checksums", "versions", "Object Lock"):
            means = "a folder has none; who may write to it may delete all archives: keep a copy elsewhere"
            yield _extra(what, Verdict.MISSING, means if what != "checksums" else "a folder has none; hashes are ours")

    def _refused(self) -> Finding:
        key = self._store("once", b"first")
        try:
            self._storage.put(key, b"other")
        except StorageError:
            return _extra("overwrite is refused", Verdict.WORKS, "")
        return _extra("overwrite is refused", Verdict.MISSING, _NO_CONDITION)

    def _conditional(self, storage: Asked) -> Finding:
        key = self._store("once", b"first")
        code, _ = storage.ask("put_object", Key=key, Body=b"other", IfNoneMatch="*")
        what = "overwrite is refused (If-None-Match)"
        if code in {"PreconditionFailed", "412", "ConditionalRequestConflict"}:
            return _extra(what, Verdict.WORKS, "")
        return _extra(what, *((Verdict.MISSING, _NO_CONDITION) if code in _UNABLE else _refusal(code)))

    def _checksums(self, storage: Asked) -> Finding:
        key = f"{self.scratch}/sum"
        self._keys.append(key)
        wanted = base64.b64encode(hashlib.sha256(_SMALL).digest()).decode()
        code, _ = storage.ask("put_object", Key=key, Body=_SMALL, ChecksumAlgorithm="SHA256")
        if not code:
            code, answer = storage.ask("head_object", Key=key, ChecksumMode="ENABLED")
            if answer.get("ChecksumSHA256") == wanted:
                return _extra("checksums (SHA-256)", Verdict.WORKS, "")
        means = "damage at rest shows only where data are read: verify --read-data"
        return _extra("checksums (SHA-256)", *((Verdict.MISSING, means) if code in _UNABLE else _refusal(code)))

    def _versions(self, storage: Asked) -> Finding:
        code, answer = storage.ask("get_bucket_versioning")
        if answer.get("Status") == "Enabled":
            means = "what is overwritten or deleted stays; have a lifecycle rule that expires old versions"
            return _extra("versions", Verdict.WORKS, means)
        means = "who may put could overwrite archives, and nothing brings them back"
        return _extra("versions", *((Verdict.MISSING, means) if code in _UNABLE else _refusal(code)))

    def _lock(self, storage: Asked) -> Finding:
        code, answer = storage.ask("get_object_lock_configuration")
        found = answer.get("ObjectLockConfiguration", {})
        default = found.get("Rule", {}).get("DefaultRetention")
        if default:
            span = f"{default['Days']} days" if "Days" in default else f"{default.get('Years')} years"
            means = f"default retention {default['Mode']}, {span}: what is to go earlier is retained, and goes later"
            return _extra("Object Lock", Verdict.WORKS, means)
        if found.get("ObjectLockEnabled") == "Enabled":
            return _extra("Object Lock", Verdict.WORKS, "no default retention: objects are locked only if told to")
        means = "stolen credentials that may delete could delete all archives"
        return _extra("Object Lock", *((Verdict.MISSING, means) if code in _UNABLE else _refusal(code)))

    def _purge_versions(self) -> None:
        """Remove hidden versions of the scratch objects, and the marks of their deletion, where that is allowed."""
        if not isinstance(self._storage, Asked):
            return
        with suppress(StorageError):
            _, answer = self._storage.ask("list_object_versions", Prefix=f"{self.scratch}/")
            for each in (*answer.get("Versions", ()), *answer.get("DeleteMarkers", ())):
                if each.get("VersionId") not in {None, "null"}:
                    key = self.scratch + each["Key"].partition(self.scratch)[2]
                    self._storage.ask("delete_object", Key=key, VersionId=each["VersionId"])


_NO_CONDITION = "two machines with one name and one run id would not be stopped; s3nap does not rely on it"
_UNABLE = frozenset(
    {"", "NotImplemented", "501", "ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration"}
    | {"InvalidRequest", "MethodNotAllowed", "405", "InvalidArgument", "NoSuchKey", "404", "NotFound"}
)


def _refusal(code: str) -> tuple[Verdict, str]:
    return Verdict.DENIED, f"unknown: the storage answers {code}"


def _extra(what: str, verdict: Verdict, means: str) -> Finding:
    return Finding(what=what, verdict=verdict, means=means, essential=False)
