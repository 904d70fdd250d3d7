"""The ``mount`` command: archives as a read-only file system, by FUSE."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import click
from loguru import logger

from s3nap import access, archivefs
from s3nap.archivefs import ArchiveFs, Opened
from s3nap.daytree import DayTrees
from s3nap.errors import Exit, NoKeyError, NothingMatchesError, S3napError, UsageError
from s3nap.outlook import Outlook
from s3nap.peeking import Files

_DEVICE = Path("/dev/fuse")
_ENCODING = ("utf-8", "surrogateescape")
_FOR_EVER = 86400  # seconds: archives do not change
_SAID = 1000
_LOOP_ENDED = 8  # libfuse's status after a signal


def mount(*, confs: Sequence[Path], words: Sequence[str], cache: int, **options: Any) -> int:  # noqa: ANN401
    """Mount the archives of a job, or of all jobs of a host, until somebody unmounts them."""
    if len(words) not in {1, 2}:
        raise UsageError("give a folder, and before it a job or a host if not all jobs are meant")
    what, folder = (words[0] if len(words) > 1 else None), Path(words[-1])
    _check(folder)
    fuse = _library()
    with Outlook(confs, options) as outlook:
        top = _job(outlook, what)
        if top is not None:
            return _serve(fuse, outlook, top, folder, cache)
    with Outlook(confs, options | {"host": what}) as outlook:
        return _serve(fuse, outlook, archivefs.of_jobs(outlook.jobs), folder, cache)


def _check(folder: Path) -> None:
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: give one that exists and is empty")
    if any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty: what is in it could not be seen; give one that is")
    if not _DEVICE.exists():
        raise S3napError(f"{_DEVICE} is not there: load the kernel's module fuse (modprobe fuse), or use s3nap restore")


def _library() -> ModuleType:
    try:
        import mfusepy  # noqa: PLC0415 - an extra, and this command's alone
    except ModuleNotFoundError as error:
        if error.name != "mfusepy":
            raise
        raise UsageError("mount needs mfusepy: pip install 's3nap[mount]'") from error
    except OSError as error:  # it looks for the C library at once
        raise UsageError(f"mount needs libfuse: install fuse3 (apt-get install fuse3): {error}") from error
    module: ModuleType = mfusepy
    return module


def _job(outlook: Outlook, what: str | None) -> archivefs.Folder | None:
    """Return the days of a job, without ``what`` those of all; None if it is another host that is meant."""
    if what is None:
        return archivefs.of_jobs(outlook.jobs)
    try:
        return archivefs.of_job(outlook.found(what))
    except NothingMatchesError:
        if what in access.all_hosts(outlook.place):
            return None
        raise


def _serve(fuse: ModuleType, outlook: Outlook, top: archivefs.Folder, folder: Path, cache: int) -> int:
    if not top:
        raise NothingMatchesError(f"there is no archive to show; {access.other_hosts(outlook.place)}")
    reader = outlook.reader  # now: libfuse changes to / before it begins, and confs may be named from here
    files = Files(reader, cache)
    program = "fusermount3" if fuse.fuse_version_major >= 3 else "fusermount"
    said = f"mounted on {folder}; to unmount: {program} -u {folder}, or Ctrl-C here"
    operations = Operations(ArchiveFs(top, DayTrees(outlook.tree), files), lambda: click.echo(said))
    options: dict[str, Any] = {"attr_timeout": _FOR_EVER, "entry_timeout": _FOR_EVER, "kernel_cache": True}
    with _plain_signals():
        try:
            fuse.FUSE(operations, str(folder), foreground=True, ro=True, fsname="s3nap", subtype="s3nap", **options)
        except RuntimeError as error:
            if error.args != (_LOOP_ENDED,):
                message = f"{folder} could not be mounted: libfuse said why above (its status is {error})"
                raise S3napError(message) from error
    return Exit.DONE


@contextmanager
def _plain_signals() -> Iterator[None]:
    """Leave signals to libfuse while it runs: Python's handlers would wait until it is done; it unmounts on them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Operations:
    """What libfuse asks, by the names that mfusepy has for it; an errno for every error, and a message."""

    use_ns = True

    def __init__(self, archives: ArchiveFs, mounted: Callable[[], None]) -> None:
        """``mounted`` is called when the file system is there."""
        self._archives = archives
        self._mounted = mounted
        self._numbers = count(1)
        self._open: dict[int, Opened] = {}
        self._said: set[str] = set()

    def init(self, _path: str) -> None:
        """Say that it is there."""
        self._mounted()

    def getattr(self, path: str, _handle: int | None = None) -> dict[str, int]:
        """As ``lstat``; nobody counts links of directories."""
        with self._errors(path):
            found = self._archives.status(path.encode(*_ENCODING))
        times = dict.fromkeys(("st_mtime", "st_ctime", "st_atime"), found.mtime)
        blocks = -(-found.size // 512)
        sizes = {"st_size": found.size, "st_blocks": blocks, "st_nlink": 1}
        return {"st_mode": found.mode, "st_uid": found.uid, "st_gid": found.gid, **sizes, **times}

    def readdir(self, path: str, _handle: int) -> list[str]:
        """Return all names at once."""
        with self._errors(path):
            return [".", "..", *(name.decode(*_ENCODING) for name in self._archives.names(path.encode(*_ENCODING)))]

    def readlink(self, path: str) -> str:
        """Return where a symbolic link points to."""
        with self._errors(path):
            return self._archives.link(path.encode(*_ENCODING)).decode(*_ENCODING)

    def open(self, path: str, _flags: int) -> int:
        """Return a number for the file."""
        with self._errors(path):
            opened = self._archives.open(path.encode(*_ENCODING))
        number = next(self._numbers)
        self._open[number] = opened
        return number

    def read(self, path: str, size: int, offset: int, handle: int) -> bytes:
        """Return a part of an opened file."""
        with self._errors(path):
            return self._archives.read(self._open[handle], offset, size)

    def release(self, _path: str, handle: int) -> int:
        """Forget a file."""
        self._open.pop(handle, None)
        return 0

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        """Say what failed, each message once, and give the program that asked an errno."""
        try:
            yield
        except S3napError as error:
            if len(self._said) >= _SAID:
                self._said.clear()
            if str(error) not in self._said:
                self._said.add(str(error))
                logger.error("{}: {}", path, error)
            number = errno.EACCES if isinstance(error, NoKeyError) else errno.EIO
            raise OSError(number, os.strerror(number)) from error
