"""Memory for large blocks: how it is taken from the system, and given back."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import weakref
from functools import cache
from mmap import MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, mmap

from s3nap.pipeline import write_all

_M_MMAP_THRESHOLD = -3  # malloc.h
_KEPT = 8 << 20  # bytes


def block(size: int) -> mmap:
    """Return ``size`` bytes that take no memory before they are filled, and then in large pages.

    A fault for each small page of what is filled and let go costs more than decompressing into it does.
    """
    taken = mmap(-1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without large pages
        taken.madvise(MADV_HUGEPAGE)
    return taken


@cache
def return_large_blocks() -> None:
    """Have blocks over a MiB given back to the system when freed.

    Left to itself glibc learns to keep them, one heap a thread, in holes: several times what is in use.
    """
    with contextlib.suppress(OSError, AttributeError):  # another libc
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)


class Scratch:
    """A file in memory that a program reads from or writes to, seen here without copying."""

    def __init__(self) -> None:
        """Make an empty one; it goes with its last reference."""
        self.descriptor = os.memfd_create("s3nap")
        weakref.finalize(self, os.close, self.descriptor)
        self._map: mmap | None = None

    def rewind(self) -> None:
        """Have who comes next read or write from its start; what stands behind what is written then stays."""
        os.lseek(self.descriptor, 0, os.SEEK_SET)

    def hold(self, data: bytes | memoryview) -> None:
        """Have it contain ``data`` and nothing else, to be read from its start."""
        self.rewind()
        write_all(self.descriptor, data)
        os.ftruncate(self.descriptor, len(data))
        self.rewind()

    def written(self) -> memoryview:
        """Show what was written since it was rewound, read-only; what is written later shows there, too."""
        size = os.lseek(self.descriptor, 0, os.SEEK_CUR)  # the position is that of every program that has it
        if size == 0:
            return memoryview(b"")
        if self._map is None or len(self._map) < size:
            self._map = mmap(self.descriptor, 0, prot=PROT_READ)
        return memoryview(self._map)[:size]


class Scratches:
    """Scratch files that are used again, so that their memory need not be had from the system each time.

    As many are kept as were ever out at once, but none that grew large, as with data that does not compress. Safe to
    use from several threads.
    """

    def __init__(self) -> None:
        """None are made before they are needed."""
        self._lock = threading.Lock()
        self._free: list[Scratch] = []

    def take(self) -> Scratch:
        """Return one for whoever asks alone, in no state in particular."""
        with self._lock:
            return self._free.pop() if self._free else Scratch()

    def give_back(self, scratch: Scratch) -> None:
        """Let others have it."""
        if os.fstat(scratch.descriptor).st_size <= _KEPT:
            with self._lock:
                self._free.append(scratch)
