"""The workers and buffers that all streams of a run share, however many flow at once.

With W workers and N streams there are never more than W - 1 + N buffers: one that each stream is filling, and W - 1
that wait for a worker or are with one (one worker is with gpg or the storage, and needs none). So a stream that is slow
holds up nobody, and none takes more for being one of many.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from mmap import mmap
from typing import TypeVar

from s3nap.memory import block

_T = TypeVar("_T")


def workers() -> int:
    """Return how many chunks are in work at once: one a core, and one more that waits for the storage."""
    return min(len(os.sched_getaffinity(0)), 7) + 1


class Crew:
    """So many workers. Safe to use from several threads."""

    def __init__(self, count: int) -> None:
        """Threads and buffers are made when they are needed."""
        self.count = count
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="worker")
        self._places = threading.Semaphore(max(count - 1, 1))  # for full buffers
        self._lock = threading.Lock()
        self._free: list[mmap] = []
        self._streams = 0

    def close(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown()

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Keep buffers for use again while the block runs."""
        with self._lock:
            self._streams += 1
        try:
            yield
        finally:
            with self._lock:
                self._streams -= 1
                if not self._streams:
                    self._free.clear()

    def take(self, size: int) -> mmap:
        """Return a buffer of this size to fill; what it holds is anybody's."""
        with self._lock:
            for number, buffer in enumerate(self._free):
                if len(buffer) == size:
                    return self._free.pop(number)
            self._free.clear()  # of other sizes: there would be too many
        return block(size)

    def submit(self, call: Callable[[], _T]) -> Future[_T]:
        """Have a worker make a call that gives one buffer back, once there is a place for that.

        What it logs is logged as by the caller.
        """
        self._places.acquire()
        try:
            future = self._pool.submit(copy_context().run, call)
        except BaseException:
            self._places.release()
            raise
        future.add_done_callback(lambda done: self._places.release() if done.cancelled() else None)
        return future

    @contextmanager
    def holding(self, buffer: mmap) -> Iterator[Callable[[], None]]:
        """Give what lets others have the buffer, and its place; called or not, they have it when the block ends."""
        held = [buffer]

        def done() -> None:
            if held:
                self.give_back(held.pop())

        try:
            yield done
        finally:
            done()

    def give_back(self, buffer: mmap) -> None:
        """Let others have it, and its place."""
        with self._lock:
            if self._streams:
                self._free.append(buffer)
        self._places.release()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place while the block runs, for what is worked on without a buffer."""
        with self._places:
            yield
