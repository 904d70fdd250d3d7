"""Memory for large blocks: how it is taken from the system, and given back."""

from __future__ import annotations

import contextlib
import ctypes
from functools import cache
from mmap import MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_PRIVATE, mmap

_M_MMAP_THRESHOLD = -3  # malloc.h


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
