"""A storage in a folder: a mounted disk, a network file system."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from s3nap.errors import BucketError, DeniedError, NoSuchObjectError, StorageError
from s3nap.pace import PIECE, UNLIMITED, Limits, Pace
from s3nap.storage import Data, Listed, Stored
from s3nap.storage.body import paced_read
from s3nap.storage.keys import checked_key

_TEMPORARY = ".s3nap-tmp"
_TEMPORARY_LIVES = 7 * 86400  # seconds; no put takes this long
_BLOCK = 1 << 20
_ATTEMPTS = 10
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class LocalStorage:
    """Objects as files under ``root``, which must exist: an unmounted disk must not be filled as a folder.

    Files are private (0600 in 0700). A key cannot be both an object and a folder of objects, as it could in S3.
    """

    def __init__(self, root: Path, limits: Limits = UNLIMITED) -> None:
        self._root = Path(root)
        self._limits = limits
        # folders whose entry in their parent is known to be on disk; other threads and programs may have made a
        # folder without having synced it yet, so that "exists" is not enough
        self._durable: set[Path] = set()
        self._lock = threading.Lock()
        self._tidied = False

    @property
    def url(self) -> str:
        """``file:///path``."""
        return self._root.absolute().as_uri()

    def check(self) -> None:
        """Raise ``BucketError`` unless the root is a folder."""
        self._require_root()
        try:
            os.scandir(self._root).close()
        except OSError as error:
            raise self._closed(error) from error

    def put(self, key: str, data: Data, *, bulk: bool = False) -> Stored:
        """Write, sync, rename, sync. A key that holds the same already is fine (a retry), anything else an error."""
        del bulk  # one disk, one class of storage
        target = self._path(key)
        with self._translated("write", target):
            if self._holds(target, data):
                _sync(target.parent)
                return Stored()
            self._durable_folder(self._root / _TEMPORARY)
            self._tidy()
            temporary = self._root / _TEMPORARY / f"{os.getpid()}-{secrets.token_hex(8)}"
            try:
                _write(temporary, data, self._limits.up)
                self._rename(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
        return Stored()

    def _tidy(self) -> None:
        """Remove, once, what puts that crashed left."""
        if self._tidied:
            return
        self._tidied = True
        horizon = time.time() - _TEMPORARY_LIVES
        with contextlib.suppress(OSError):
            for unfinished in (self._root / _TEMPORARY).iterdir():
                if unfinished.stat().st_mtime < horizon:
                    unfinished.unlink()

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the file, or a part of it."""
        path = self._path(key)
        with self._translated("read", path), path.open("rb") as file:
            file.seek(start)
            # read() sets aside as much memory as it is asked for
            rest = max(os.fstat(file.fileno()).st_size - start, 0)
            size = -1 if length is None else min(length, rest)
            return file.read(size) if self._limits.down is None else paced_read(file, self._limits.down, size)

    def list(self, prefix: str) -> Iterator[Listed]:
        """Yield the files in the order of their keys, one folder in memory at a time."""
        folder = prefix.rpartition("/")[0]
        if folder and checked_key(folder).split("/", 1)[0] == _TEMPORARY:
            return
        with self._translated("list", self._root / folder):
            yield from self._walk(f"{folder}/" if folder else "", prefix)

    def delete(self, keys: Iterable[str]) -> Sequence[str]:
        """Remove files, and the folders that this empties; return the keys that could not be for want of rights."""
        self._require_root()
        denied = []
        changed = set()
        for key in keys:
            path = self._path(key)
            try:
                with self._translated("delete", path):
                    path.unlink()
                    changed.add(self._remove_emptied(path.parent))
            except NoSuchObjectError:
                continue
            except DeniedError:
                denied.append(key)
        # what is deleted first must not come back after a power failure when what is deleted next is gone
        for folder in changed:
            with self._translated("sync", folder), contextlib.suppress(FileNotFoundError):
                _sync(folder)
        return denied

    def _path(self, key: str) -> Path:
        if checked_key(key).split("/", 1)[0] == _TEMPORARY:
            raise StorageError(f"{key}: keys under {_TEMPORARY} are for unfinished files; choose another key")
        return self._root / key

    def _require_root(self) -> None:
        try:
            mode = self._root.stat().st_mode
        except OSError as error:
            if error.errno in _DENIED:
                raise self._closed(error) from error
            mode = 0
        if not stat.S_ISDIR(mode):
            raise BucketError(
                f"{self._root}: the folder to store in does not exist; mount the disk, or create it: "
                f"mkdir -m 700 {self._root}"
            )

    def _closed(self, error: OSError) -> BucketError:
        return BucketError(f"{self._root}: {error.strerror}; run as the user who owns it, or give this one the right")

    @contextlib.contextmanager
    def _translated(self, doing: str, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(doing, path, error) from error

    def _error(self, doing: str, path: Path, error: OSError) -> StorageError:
        what = f"cannot {doing} {path}: {error.strerror or error}"
        if error.errno in _DENIED:
            return DeniedError(f"{what}; give this user the right to, or run as the user who owns {self._root}")
        try:
            self._require_root()
        except BucketError as missing:
            return missing
        if error.errno in _FULL:
            return StorageError(f"{what}; make room on the file system of {self._root}")
        if error.errno in _ABSENT and doing in {"read", "delete"}:
            return NoSuchObjectError(f"{path}: there is no such object")
        return StorageError(f"{what}; check the file system of {self._root}")

    @staticmethod
    def _holds(target: Path, data: Data) -> bool:
        try:
            file = target.open("rb")
        except FileNotFoundError:
            return False
        view = memoryview(data)
        with file:
            blocks = (view[at : at + _BLOCK] for at in range(0, view.nbytes, _BLOCK))
            if os.fstat(file.fileno()).st_size != view.nbytes or any(file.read(_BLOCK) != block for block in blocks):
                raise StorageError(
                    f"{target} exists with other content; objects are written once: find out what else writes here"
                )
        return True

    def _rename(self, temporary: Path, target: Path) -> None:
        for left in reversed(range(_ATTEMPTS)):
            try:
                self._durable_folder(target.parent)
                temporary.rename(target)
            except FileNotFoundError:
                # a delete has just removed the folder because it was empty
                with self._lock:
                    self._durable.clear()
                if not left:
                    raise
            else:
                break
        _sync(target.parent)

    def _durable_folder(self, folder: Path) -> None:
        missing = []
        with self._lock:
            while folder not in self._durable and folder != self._root:
                missing.append(folder)
                folder = folder.parent
            for one in reversed(missing):
                # never parents=True: it would create the root of a disk that is not mounted
                one.mkdir(mode=0o700, exist_ok=True)
                _sync(one.parent)
                self._durable.add(one)

    def _remove_emptied(self, folder: Path) -> Path:
        """Return the nearest folder that is still there."""
        with self._lock, contextlib.suppress(OSError):  # not empty, or gone: both are the end of it
            while folder != self._root:
                folder.rmdir()
                self._durable.discard(folder)
                folder = folder.parent
        return folder

    def _walk(self, folder: str, prefix: str) -> Iterator[Listed]:
        for name, entry in self._entries(folder):
            key = folder + name
            if name.endswith("/"):
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from self._walk(key, prefix)
            elif key.startswith(prefix):
                with contextlib.suppress(FileNotFoundError):  # deleted since
                    status = entry.stat()
                    modified = datetime.fromtimestamp(status.st_mtime, UTC)
                    yield Listed(key=key, size=status.st_size, modified=modified)

    def _entries(self, folder: str) -> Sequence[tuple[str, os.DirEntry[str]]]:
        """One folder in the order of keys: a subfolder counts with its ``/``, so that a-1/x stands before a/x."""
        try:
            with os.scandir(self._root / folder) as found:
                entries = [(entry.name + "/" * entry.is_dir(), entry) for entry in found if _is_object(entry, folder)]
        except (FileNotFoundError, NotADirectoryError):
            self._require_root()
            return []
        return sorted(entries, key=lambda pair: os.fsencode(pair[0]))


def _is_object(entry: os.DirEntry[str], folder: str) -> bool:
    return (entry.is_dir() or entry.is_file()) and (folder != "" or entry.name != _TEMPORARY)


def _write(path: Path, data: Data, pace: Pace | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if pace is None:
            file.write(data)
        else:
            for piece in (memoryview(data)[at : at + PIECE] for at in range(0, len(data), PIECE)):
                pace.take(len(piece))
                file.write(piece)
        file.flush()
        os.fsync(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some network file systems cannot sync a folder, and need not
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(descriptor)
