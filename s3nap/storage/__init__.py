"""What every storage guarantees; one test suite checks it for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

Data = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The storage's acknowledgement of a put; ``-`` where it has no such thing."""

    etag: str = "-"
    version: str = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One object of a listing: size in bytes, time by the storage's own clock (aware, UTC)."""

    key: str
    size: int
    modified: datetime


class Storage(Protocol):
    """Bytes by key. Knows nothing of manifests. Safe to use from several threads.

    Keys are relative, ``/``-separated, without empty, ``.`` or ``..`` components; objects are written once.
    Every method retries what is worth retrying and then raises ``StorageError`` or one of its kinds:
    ``BucketError`` when nothing can be done with this storage (missing, denied as a whole, out of reach),
    ``DeniedError`` when just this operation is not allowed, ``NoSuchObjectError`` for a key that is not there.
    """

    @property
    def url(self) -> str:
        """``s3://bucket/prefix`` or ``file:///path``, without credentials."""
        ...

    def check(self) -> None:
        """Raise ``BucketError`` unless the bucket exists and answers; put-only credentials pass."""
        ...

    def put(self, key: str, data: Data, *, bulk: bool = False) -> Stored:
        """Store an object; it is durable when this returns, and at no time visible in part.

        ``bulk`` marks chunks, which may go to a colder storage class.
        """
        ...

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the object, or ``length`` bytes of it from ``start`` (fewer at its end).

        Where keys are no paths (S3), a key may have empty components here: other programs stored under such.
        """
        ...

    def list(self, prefix: str) -> Iterator[Listed]:
        """Yield all objects whose keys begin with ``prefix``, in the byte order of their keys."""
        ...

    def delete(self, keys: Iterable[str]) -> Sequence[str]:
        """Delete objects, missing ones included; return the keys whose deletion was denied (retained)."""
        ...
