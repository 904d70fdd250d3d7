"""Storages for tests: one in memory, and one that fails where it is told to."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from s3nap.errors import NoSuchObjectError, StorageError
from s3nap.storage import Data, Listed, Storage, Stored
from s3nap.storage.keys import checked_key, foreign_key

_T = TypeVar("_T")


class MemoryStorage:
    """Objects in a dictionary. ``objects`` is open for tests to look at and to damage."""

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.retained: set[str] = set()  # keys whose deletion is denied
        self._now = now
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return "memory://"

    def check(self) -> None:
        return

    def put(self, key: str, data: Data, *, bulk: bool = False) -> Stored:
        del bulk
        content = bytes(data)
        with self._lock:
            self.objects[checked_key(key)] = (content, self._now())
        return Stored(etag=f"{len(content)}-{key[-8:]}")

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        with self._lock:
            if foreign_key(key) not in self.objects:
                raise NoSuchObjectError(f"{key}: there is no such object")
            content = self.objects[key][0]
        return content[start:] if length is None else content[start : start + length]

    def list(self, prefix: str) -> Iterator[Listed]:
        with self._lock:
            found = [(key, *value) for key, value in self.objects.items() if key.startswith(prefix)]
        for key, content, modified in sorted(found, key=lambda each: each[0].encode()):
            yield Listed(key=key, size=len(content), modified=modified)

    def delete(self, keys: Iterable[str]) -> Sequence[str]:
        with self._lock:
            denied = []
            for key in keys:
                if checked_key(key) in self.retained:
                    denied.append(key)
                else:
                    self.objects.pop(key, None)
            return denied


class CrashError(BaseException):
    """The process "dies" here; a BaseException, so that no handler of errors takes it for one."""


class FaultyStorage:
    """Another storage whose ``at``-th call of ``operation`` (any, if empty; counted from 1) fails with ``error``.

    ``after``: the call takes effect before it fails (an answer that was lost). ``for_good``: all calls after it,
    of any operation, fail too (a network that stays down, a process that is dead). A call whose key does not
    hold ``key`` is not counted. ``calls`` counts by operation: a first run without a fault tells how many there are.
    """

    def __init__(
        self,
        inner: Storage,
        *,
        at: int = 0,
        operation: str = "",
        key: str = "",
        error: BaseException | None = None,
        after: bool = False,
        for_good: bool = False,
    ) -> None:
        self.inner = inner
        self.calls: Counter[str] = Counter()
        self._at, self._operation, self._key = at, operation, key
        self._error = error or StorageError("broken on purpose")
        self._after, self._for_good = after, for_good
        self._matched = 0
        self._broken = False
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return self.inner.url

    def check(self) -> None:
        self._pass("check", "", self.inner.check)

    def put(self, key: str, data: Data, *, bulk: bool = False) -> Stored:
        return self._pass("put", key, lambda: self.inner.put(key, data, bulk=bulk))

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        return self._pass("get", key, lambda: self.inner.get(key, start=start, length=length))

    def list(self, prefix: str) -> Iterator[Listed]:
        return self._pass("list", prefix, lambda: self.inner.list(prefix))

    def delete(self, keys: Iterable[str]) -> Sequence[str]:
        wanted = list(keys)
        return self._pass("delete", " ".join(wanted), lambda: self.inner.delete(wanted))

    def _pass(self, operation: str, key: str, call: Callable[[], _T]) -> _T:
        with self._lock:
            self.calls[operation] += 1
            if self._broken:
                raise self._error
            hit = self._operation in {"", operation} and self._key in key
            self._matched += hit
            fails = hit and self._matched == self._at
            self._broken = fails and self._for_good
        if not fails:
            return call()
        if self._after:
            call()
        raise self._error
