"""Parts of an archive's stream: only the chunks that hold them are fetched."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from threading import Lock
from typing import TYPE_CHECKING

from s3nap.reader import Opened, Reader, SealedChunk
from s3nap.storage import Data

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Span = tuple[int, int]  # of offsets in the raw stream, the second one past the end


def starts(opened: Opened) -> list[int]:
    """Return the offset at which each chunk begins, and the end of the stream."""
    return [0, *accumulate(line.raw_size for line in opened.lines)]


def holding(offsets: Sequence[int], spans: Iterable[Span]) -> list[int]:
    """Return the numbers of the chunks that hold the spans, in order, each once."""
    numbers: dict[int, None] = {}
    for start, end in spans:
        number = bisect_right(offsets, start) - 1
        while number < len(offsets) - 1 and offsets[number] < end:
            numbers[number] = None
            number += 1
    return sorted(numbers)


def read_spans(
    reader: Reader, opened: Opened, spans: Sequence[Span], progress: Callable[[int], None] = lambda _size: None
) -> Iterator[memoryview]:
    """Yield the bytes of spans, which are sorted and do not overlap; ``progress`` is told of each chunk's raw bytes."""
    offsets = starts(opened)
    numbers = holding(offsets, spans)
    pieces = zip(numbers, reader.stream(opened, progress, frozenset(numbers)), strict=True)
    number, piece = next(pieces, (0, b""))
    for start, end in spans:
        position = start
        while position < end:
            while offsets[number] + len(piece) <= position:
                number, piece = next(pieces)
            first = position - offsets[number]
            part = memoryview(piece)[first : first + end - position]
            yield part
            position += len(part)


class Sealed:
    """An opened archive, all of its chunks, and the offset at which each begins, with the end of the stream."""

    def __init__(self, reader: Reader, opened: Opened) -> None:
        """Raises NoKeyError if the keys are of another archive."""
        self.opened = opened
        self.chunks: Sequence[SealedChunk] = list(reader.chunks(opened))
        self.offsets = starts(opened)


class Cache:
    """Chunks lately used, up to ``limit`` bytes. Safe to use from several threads."""

    def __init__(self, reader: Reader, limit: int) -> None:
        """Hold one chunk at least, be it larger."""
        self._reader = reader
        self._limit = limit
        self._lock = Lock()
        self.size = 0
        self._held: OrderedDict[tuple[str, str], Data] = OrderedDict()
        self._fetching: dict[tuple[str, str], Lock] = {}

    def chunk(self, opened: Opened, chunk: SealedChunk) -> Data:
        """Return the raw bytes of a chunk; raises what ``Reader.fetch`` raises.

        Who asks for one that another thread is fetching waits for that.
        """
        key = (opened.manifest.run, chunk.line.name)
        with self._lock:
            gate = self._fetching.setdefault(key, Lock())
        with gate:
            with self._lock:
                if key in self._held:
                    self._held.move_to_end(key)
                    return self._held[key]
            try:
                piece = self._reader.fetch(opened, chunk)
                self._keep(key, piece)
            finally:
                with self._lock:
                    self._fetching.pop(key, None)
        return piece

    def _keep(self, key: tuple[str, str], piece: Data) -> None:
        with self._lock:
            self.size += len(piece) - len(self._held.pop(key, b""))
            self._held[key] = piece
            while self.size > self._limit and len(self._held) > 1:
                self.size -= len(self._held.popitem(last=False)[1])


class Stream(io.RawIOBase):
    """A part of an archive's stream as a file that can be read from anywhere."""

    def __init__(self, sealed: Sealed, cache: Cache, span: Span | None = None) -> None:
        """Without a span it is the whole stream."""
        super().__init__()
        self._sealed = sealed
        self._cache = cache
        self._start, self._end = span or (0, sealed.offsets[-1])
        self._position = self._start

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read from anywhere."""
        return True

    def tell(self) -> int:
        """Return the position in the part."""
        return self._position - self._start

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position in the part."""
        origin = {io.SEEK_SET: self._start, io.SEEK_CUR: self._position, io.SEEK_END: self._end}[whence]
        self._position = max(self._start, origin + offset)
        return self.tell()

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read from one chunk; 0 at the end of the part."""
        view = memoryview(buffer).cast("B")
        if self._position >= self._end or not len(view):
            return 0
        number = bisect_right(self._sealed.offsets, self._position) - 1
        piece = self._cache.chunk(self._sealed.opened, self._sealed.chunks[number])
        first = self._position - self._sealed.offsets[number]
        part = memoryview(piece)[first : first + min(len(view), self._end - self._position)]
        view[: len(part)] = part
        self._position += len(part)
        return len(part)
