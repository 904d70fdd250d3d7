"""A stream cut into chunks and joined again: in order, bounded, and never hanging."""

from __future__ import annotations

import io
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import IO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storages import FaultyStorage, MemoryStorage

from s3nap import chunks
from s3nap.chunks import ChunkLine, Sent, Totals, chunks_line, in_order, parse_tables, send, sums_line
from s3nap.compression import COMPRESSIONS
from s3nap.crew import Crew, workers
from s3nap.envelope import Encoded, Envelope
from s3nap.errors import StorageError, VerificationError
from s3nap.storage import Storage

_SIZE = 1000
_DEADLINE = 20  # seconds after which a test counts as hanging


class Pipe:
    """A stream as a program gives it: through a pipe, in pieces of any size."""

    def __init__(self, data: bytes) -> None:
        reader, self._writer = os.pipe()
        self.stream: IO[bytes] = os.fdopen(reader, "rb", buffering=0)
        self._data = data
        threading.Thread(target=self._feed, daemon=True).start()

    def _feed(self) -> None:
        view = memoryview(self._data)
        with os.fdopen(self._writer, "wb", buffering=0) as writer:
            try:
                while view:
                    view = view[writer.write(view[:777]) :]
            except BrokenPipeError:
                return


Done = Callable[[], None]

_NO_ENVELOPE = Envelope(now=datetime.now(UTC))


def _plain(raw: memoryview, done: Done) -> Encoded:
    return _NO_ENVELOPE.encode(raw, COMPRESSIONS["none"], done=done)


def _sent(
    data: bytes, storage: Storage, encode: Callable[[memoryview, Done], Encoded] = _plain
) -> tuple[Totals, list[Sent]]:
    done: list[Sent] = []
    pipe = Pipe(data)
    with pipe.stream:
        totals = send(
            pipe.stream,
            storage,
            prefix="data/x/",
            suffix="",
            chunk_size=_SIZE,
            encode=encode,
            sent=done.append,
            crew=Crew(workers()),
        )
    return totals, done


def _delayed(raw: memoryview, done: Done) -> Encoded:
    time.sleep(random.random() * 0.004)  # noqa: S311 - no secret
    return _plain(raw, done)


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        (0, [0]),
        (1, [1]),
        (_SIZE - 1, [_SIZE - 1]),
        (_SIZE, [_SIZE]),
        (_SIZE + 1, [_SIZE, 1]),
        (3 * _SIZE, [_SIZE] * 3),
        (20 * _SIZE + 7, [_SIZE] * 20 + [7]),
    ],
)
def test_a_stream_is_cut_at_just_the_chunk_size(size: int, sizes: list[int]) -> None:
    """An empty stream is one chunk, and a stream that ends at a cut has no empty chunk after it."""
    storage = MemoryStorage()
    totals, done = _sent(os.urandom(size), storage)
    assert [item.encoded.raw_size for item in done] == sizes
    assert (totals.chunks, totals.raw_size, totals.stored_size) == (len(sizes), size, size)
    assert len(storage.objects) == len(sizes)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(0, 30 * _SIZE))
def test_chunks_joined_in_order_are_the_stream(size: int) -> None:
    """However long each chunk takes, names and tables follow the order of the stream."""
    data = os.urandom(size)
    storage = MemoryStorage()
    _, done = _sent(data, storage, _delayed)
    names = [item.name for item in done]
    assert names == sorted(names) == [f"{number:08}" for number in range(len(names))]
    assert b"".join(storage.objects[f"data/x/{name}"][0] for name in names) == data
    sums = "".join(map(sums_line, done)).encode()
    table = "".join(map(chunks_line, done)).encode()
    lines = list(parse_tables(sums, table, len(done)))
    assert [line.raw_size for line in lines] == [item.encoded.raw_size for item in done]


def test_a_bounded_number_of_chunks_is_in_flight() -> None:
    """Memory does not grow with the stream: no more chunks are held at once than there are workers, and one."""
    held, most, lock = 0, 0, threading.Lock()

    def encode(raw: memoryview, done: Done) -> Encoded:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        time.sleep(0.002)
        return _plain(raw, done)

    def free(_: Sent) -> None:
        nonlocal held
        with lock:
            held -= 1

    pipe = Pipe(bytes(100 * _SIZE))
    with pipe.stream:
        send(
            pipe.stream,
            MemoryStorage(),
            prefix="d/",
            suffix="",
            chunk_size=_SIZE,
            encode=encode,
            sent=free,
            crew=Crew(workers()),
        )
    assert 2 <= most <= 2 * workers() + 1


@pytest.mark.parametrize("slow", [0, 3])
def test_results_come_in_order_and_not_too_far_ahead(slow: int) -> None:
    """One slow task holds up neither the order nor, for long, the bound on what is done ahead of it."""
    begun: list[int] = []
    gate = threading.Event()

    def tasks() -> Iterator[Callable[[], int]]:
        for number in range(50):
            begun.append(number)
            yield lambda number=number: (number == slow and gate.wait(_DEADLINE), number)[1]  # type: ignore[misc]

    results = in_order(tasks(), 3)
    threading.Timer(0.05, gate.set).start()
    got = []
    for result in results:
        got.append(result)
        assert len(begun) - len(got) <= 2 * 3 + 1
    assert got == list(range(50))


@pytest.mark.parametrize("number", [1, 2, 5, 30, 100])
@pytest.mark.parametrize("where", ["encode", "put"])
def test_an_error_in_a_worker_is_raised_and_nothing_hangs(where: str, number: int) -> None:
    """Whatever a worker meets ends the whole soon, and what it raised is what the caller sees."""
    storage = FaultyStorage(MemoryStorage(), at=number if where == "put" else 0, operation="put")
    count = iter(range(1, 1000))

    def encode(raw: memoryview, done: Done) -> Encoded:
        if where == "encode" and next(count) == number:
            raise StorageError("broken on purpose")
        return _plain(raw, done)

    begun = time.monotonic()
    with pytest.raises(StorageError, match="broken on purpose"):
        _sent(bytes(100 * _SIZE), storage, encode)
    assert time.monotonic() - begun < _DEADLINE
    assert storage.calls["put"] <= number + 2 * workers() + 1


@pytest.mark.parametrize("where", ["read", "sent"])
def test_after_an_error_nothing_is_under_way(where: str) -> None:
    """When the stream itself breaks, or gpg with the keys, all that was stored can be removed: nothing comes after."""
    under_way, lock = 0, threading.Lock()
    pipe = Pipe(bytes(30 * _SIZE))

    def encode(raw: memoryview, done: Done) -> Encoded:
        nonlocal under_way
        with lock:
            under_way += 1
        time.sleep(0.02)
        with lock:
            under_way -= 1
        return _plain(raw, done)

    class Breaking(io.RawIOBase):
        read = 0

        def fileno(self) -> int:
            self.read += 1
            if where == "read" and self.read > 4:
                raise OSError("gone")
            return pipe.stream.fileno()

    def sent(_: Sent) -> None:
        if where == "sent":
            raise OSError("gone")

    left = []

    def flow(crew: Crew) -> None:
        stream: IO[bytes] = Breaking()  # type: ignore[assignment]
        try:
            send(
                stream,
                MemoryStorage(),
                prefix="d/",
                suffix="",
                chunk_size=_SIZE,
                encode=encode,
                sent=sent,
                crew=crew,
            )
        except OSError:
            left.append(under_way)
            raise

    with pipe.stream, closing(Crew(workers())) as crew, pytest.raises(OSError, match="gone"):
        flow(crew)
    assert left == [0]


_ROW = "{number:08} 10 20 etag -\n"
_SUM = "0" * 64 + "  {number:08}\n"


def _tables(*numbers: int) -> tuple[bytes, bytes]:
    return tuple("".join(row.format(number=number) for number in numbers).encode() for row in (_SUM, _ROW))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("sums", "table", "expected"),
    [
        pytest.param(_tables(0, 1)[0], _tables(0, 1)[1], 3, id="fewer than the manifest says"),
        pytest.param(_tables(0, 1)[0], _tables(0, 1)[1], 1, id="more than the manifest says"),
        pytest.param(_tables(0)[0], _tables(0, 1)[1], 1, id="sums lack a line"),
        pytest.param(_tables(0, 1)[0], _tables(0)[1], 1, id="chunks lack a line"),
        pytest.param(*_tables(1, 0), 2, id="out of order"),
        pytest.param(_tables(0, 1)[0], _tables(1, 0)[1], 2, id="different orders"),
        pytest.param(_tables(0)[0], b"00000000 10\n", 1, id="a row cut"),
    ],
)
def test_tables_that_disagree_are_refused(sums: bytes, table: bytes, expected: int) -> None:
    """A reader never guesses which chunks an archive has."""
    with pytest.raises(VerificationError):
        list(parse_tables(sums, table, expected))


def test_tables_that_agree_are_read() -> None:
    """The tables give each chunk's name, sizes and hash."""
    assert list(parse_tables(*_tables(0), 1)) == [
        ChunkLine(name="00000000", size=10, raw_size=20, sha256="0" * 64, etag="etag", version="-", raw_hash=None)
    ]


def test_workers_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large machine does not multiply the memory without end."""
    monkeypatch.setattr(chunks.os, "sched_getaffinity", lambda _: set(range(256)))
    assert workers() == 8
