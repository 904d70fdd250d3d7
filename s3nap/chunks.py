"""A stream cut into chunk objects, and chunk objects joined to a stream: in parallel, in order, and bounded.

Memory depends on the chunk size and the number of workers alone. Cutting comes before compressing, so that each
chunk is compressed, encrypted, sent, retried, verified and fetched on its own (stored format 1: Chunks).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from mmap import mmap
from typing import IO, TypeVar

from s3nap.crew import Crew
from s3nap.envelope import Encoded
from s3nap.errors import VerificationError
from s3nap.memory import return_large_blocks
from s3nap.storage import Storage, Stored

DIGITS = 8
_T = TypeVar("_T")
TAIL = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A chunk that the storage has acknowledged."""

    name: str
    size: int
    encoded: Encoded
    stored: Stored


@dataclass(slots=True, kw_only=True)
class Totals:
    """What a stream came to: chunks, bytes before and after, and its last bytes."""

    chunks: int = 0
    raw_size: int = 0
    stored_size: int = 0
    tail: bytes = b""


def send(  # noqa: PLR0913 - the two ends of the stream and what happens between them
    stream: IO[bytes],
    storage: Storage,
    *,
    prefix: str,
    suffix: str,
    chunk_size: int,
    encode: Callable[[memoryview, Callable[[], None]], Encoded],
    sent: Callable[[Sent], None],
    crew: Crew,
    progress: Callable[[int], None] = lambda _size: None,
) -> Totals:
    """Cut ``stream`` every ``chunk_size`` bytes, encode and put the chunks; at least one, be it empty.

    The work is done by a ``crew``, which may have other streams to work on. ``encode`` gets the raw bytes, and what
    to call when it needs them no more. ``sent`` is called in order, in the caller's thread. Whatever a worker raises
    is raised here; nothing is started after that.
    """
    totals = Totals()

    def work(name: str, buffer: mmap, size: int) -> Sent:
        with crew.holding(buffer) as done:
            encoded = encode(memoryview(buffer)[:size], done)
        try:
            stored = storage.put(prefix + name, encoded.body, bulk=True)
            return Sent(name=name, size=len(encoded.body), encoded=encoded, stored=stored)
        finally:
            encoded.let_go()  # the bytes are sent, and earlier chunks may be waited for

    def tasks() -> Iterator[Callable[[], Sent]]:
        for number in range(10**DIGITS):
            buffer = crew.take(chunk_size)
            size = _fill(stream, buffer)
            progress(size)
            totals.tail = (totals.tail + bytes(memoryview(buffer)[max(0, size - TAIL) : size]))[-TAIL:]
            if size or number == 0:
                name = f"{number:0{DIGITS}}{suffix}"
                yield lambda name=name, buffer=buffer, size=size: work(name, buffer, size)  # type: ignore[misc]
            if size < chunk_size:
                return

    # closed here, whoever raises: the caller may remove what was stored, so nothing may be under way any more
    with crew.streaming(), closing(in_order(tasks(), crew.count, crew.submit)) as results:
        for result in results:
            totals.chunks += 1
            totals.raw_size += result.encoded.raw_size
            totals.stored_size += result.size
            sent(result)
    return totals


def _fill(stream: IO[bytes], buffer: mmap) -> int:
    """Read until the buffer is full or the stream ends; return how many bytes."""
    view = memoryview(buffer)
    size = 0
    while size < len(buffer):
        count = os.readv(stream.fileno(), [view[size:]])
        if count == 0:
            break
        size += count
    return size


def in_order(
    tasks: Iterator[Callable[[], _T]], count: int, submit: Callable[[Callable[[], _T]], Future[_T]] | None = None
) -> Generator[_T]:
    """Run tasks in ``count`` threads, or by ``submit``, and yield their results in the order of the tasks.

    At most ``count`` are in work and as many done ahead. When one raises, the others under way are waited for,
    no more are begun, and it is raised.
    """
    return_large_blocks()
    pending: deque[Future[_T]] = deque()
    with ExitStack() as stack:
        submit = submit or partial(_submitted, stack.enter_context(ThreadPoolExecutor(count)))
        try:
            for task in tasks:
                pending.append(submit(task))
                while pending and (len(pending) > count or pending[0].done()):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            wait([future for future in pending if not future.cancel()])


def _submitted(pool: ThreadPoolExecutor, task: Callable[[], _T]) -> Future[_T]:
    """Have a pool do it; what it logs is logged as by the caller."""
    return pool.submit(copy_context().run, task)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkLine:
    """What the tables of an archive say of one chunk; ``raw_hash`` only where nothing is encrypted."""

    name: str
    size: int
    raw_size: int
    sha256: str
    etag: str
    version: str
    raw_hash: str | None


def sums_line(item: Sent) -> str:
    """Return a line of ``sums``, as ``sha256sum -c`` reads it."""
    return f"{item.encoded.sha256}  {item.name}\n"


def chunks_line(item: Sent) -> str:
    """Return a line of ``chunks``: name, size, raw size, etag, version and, without encryption, the raw hash."""
    line = f"{item.name} {item.size} {item.encoded.raw_size} {item.stored.etag} {item.stored.version}"
    return line + ("\n" if item.encoded.passphrase is not None else f" {item.encoded.raw_hash}\n")


def parse_tables(sums: bytes, chunks: bytes, expected: int) -> Iterator[ChunkLine]:
    """Join the two tables; VerificationError unless they agree and have ``expected`` lines."""
    rows = list(zip(sums.splitlines(), chunks.splitlines(), strict=False))
    if len(rows) != expected or len(sums.splitlines()) != len(chunks.splitlines()):
        raise VerificationError(f"the tables list {len(rows)} chunks, the manifest says {expected}")
    for number, (sum_row, chunk_row) in enumerate(rows):
        digest, _, name = sum_row.decode().partition("  ")
        words = chunk_row.decode().split()
        if len(words) not in {5, 6} or words[0] != name or int(name[:DIGITS]) != number:
            raise VerificationError(f"the tables disagree about chunk {number}")
        yield ChunkLine(
            name=name,
            size=int(words[1]),
            raw_size=int(words[2]),
            sha256=digest,
            etag=words[3],
            version=words[4],
            raw_hash=words[5] if len(words) == 6 else None,
        )
