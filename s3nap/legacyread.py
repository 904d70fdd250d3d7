"""Restoring what s3napback stored: a stream through gpg or not, then gzip, into a tree, a file or standard output."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from loguru import logger

from s3nap import gpg, pipeline
from s3nap.chunks import in_order
from s3nap.compression import gunzipped
from s3nap.crew import workers
from s3nap.errors import NoKeyError, NoSuchObjectError, ProgramError, UsageError, VerificationError
from s3nap.legacy import OldArchive, OldChain
from s3nap.logs import one_line
from s3nap.restore import check_target, refuse_differences
from s3nap.sources.oldtree import OldTree
from s3nap.sources.rawfile import FileLoader
from s3nap.sources.tarheader import BLOCK
from s3nap.storage import Listed, Storage

_TAIL = 4096
_ENOUGH = 1 << 16
_GZIP = b"\x1f\x8b"
_ARMOR = b"-----BEGIN PGP"
_ENDS = {"MySQL/": b"-- Dump completed", "PostgreSQL/": b"dump complete"}  # of a dump that ran to its end

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class OldTarget:
    """Where a restore goes, and what it may do there."""

    path: str
    overwrite: bool = False
    numeric_owner: bool = False

    def check(self, *, tree: bool) -> None:
        """Raise UsageError unless it may be written to."""
        if not tree:
            FileLoader(self.path, overwrite=self.overwrite).check()
        elif self.path == "-" or self.overwrite:
            raise UsageError("this archive is a directory: give --target FOLDER, an empty or new one, no --overwrite")
        else:
            check_target(Path(self.path), overwrite=False)


@dataclass(slots=True, kw_only=True)
class OldRestored:
    """What a restore came to: bytes written, where to, and what a person must know, a sentence each."""

    raw_size: int = 0
    where: str = ""
    doubts: list[str] = field(default_factory=list)


def check(storage: Storage, chain: OldChain, target: OldTarget) -> None:
    """Open the beginning of every archive, and see that the target may be written to; nothing is written.

    Raises as ``restore`` does.
    """
    for link in chain.links:
        with contextlib.closing(_opened(storage, link, _beginning(link.chunks), _silent)) as pieces:
            tree = _is_tar(_head(link, pieces))
    target.check(tree=tree)


def restore(storage: Storage, chain: OldChain, target: OldTarget, progress: Progress) -> OldRestored:
    """Restore a chain, FULL first: a chain of tar archives into a folder, anything else into a file, one by one.

    ``progress`` is told of stored bytes. Raises UsageError, NoKeyError, VerificationError naming archive or chunk,
    ProgramError. Nobody can vouch for such an archive before its end: what is found damaged then has been written.
    """
    levels = _levels(storage, chain.links, progress)
    with contextlib.closing(levels):
        link, pieces = next(levels)
        head = _head(link, pieces)
        tree = _is_tar(head)
        target.check(tree=tree)
        whole = itertools.chain([(link, itertools.chain([head], pieces))], levels)
        return _tree(whole, target, gapped=bool(chain.gaps)) if tree else _file(whole, target)


def _silent(_size: int) -> None: ...


def _beginning(chunks: Sequence[Listed]) -> Sequence[Listed]:
    """Return chunks enough to see what it is."""
    ends = itertools.accumulate(chunk.size for chunk in chunks)
    return chunks[: 1 + sum(1 for end in ends if end < _ENOUGH)]


def _levels(
    storage: Storage, links: Sequence[OldArchive], progress: Progress
) -> Generator[tuple[OldArchive, Iterator[bytes]], None, None]:
    for link in links:
        logger.info("restoring {}, stored {:%Y-%m-%d %H:%M}", link.shown, link.started.astimezone())
        with contextlib.closing(_opened(storage, link, link.chunks, progress)) as pieces:
            yield link, pieces


def _opened(
    storage: Storage, archive: OldArchive, chunks: Sequence[Listed], progress: Progress
) -> Generator[bytes, None, None]:
    """Yield what was dumped; what is wrong with it is said of the archive by its name."""
    with contextlib.closing(_stored(storage, chunks, progress)) as stored:
        try:
            yield from _unpacked(stored)
        except NoKeyError as error:
            raise NoKeyError(f"{archive.shown}: {error}") from error
        except VerificationError as error:
            after = f"; {archive.next_chunk} may be missing" if archive.next_chunk else ""
            raise VerificationError(f"{archive.shown}: {error}{after}") from error


def _unpacked(stored: Iterator[bytes]) -> Iterator[bytes]:
    """Undo encryption, if there is any, and compression."""
    head = next(stored, b"")
    if head.startswith(_ARMOR) or head[:1] >= b"\x80":
        with contextlib.closing(gpg.opened(itertools.chain([head], stored))) as packed:
            yield from gunzipped(packed)
    elif head.startswith(_GZIP):
        yield from gunzipped(itertools.chain([head], stored))
    else:
        raise VerificationError("is neither gzip nor gpg: it is damaged, or not of s3napback")


def _stored(storage: Storage, chunks: Sequence[Listed], progress: Progress) -> Generator[bytes, None, None]:
    """Yield the chunks, downloading ahead in parallel."""

    def fetch(chunk: Listed) -> bytes:
        try:
            data = storage.get(chunk.key)
        except NoSuchObjectError as error:
            raise VerificationError(f"{one_line(chunk.key)} is missing") from error
        if len(data) != chunk.size:
            raise VerificationError(f"{one_line(chunk.key)} is {len(data)} bytes long, not {chunk.size} as listed")
        return data

    for data in in_order((partial(fetch, chunk) for chunk in chunks), workers()):
        progress(len(data))
        yield data


def _head(archive: OldArchive, pieces: Iterator[bytes]) -> bytes:
    """Read enough to see what it is; VerificationError if it is nothing."""
    head = b""
    while len(head) < BLOCK and (piece := next(pieces, None)) is not None:
        head += piece
    if not head[:BLOCK].strip(b"\0"):
        raise VerificationError(f"{archive.shown} is empty: the dump failed when it was made; choose another with --at")
    return head


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _tree(levels: Iterable[tuple[OldArchive, Iterator[bytes]]], target: OldTarget, *, gapped: bool) -> OldRestored:
    pipeline.find("tar")
    done = OldRestored(where=target.path)
    work = Path(tempfile.mkdtemp(prefix="s3nap-"))
    try:
        folder = Path(target.path)
        folder.mkdir(parents=True, exist_ok=True)
        tree = OldTree(folder, work, numeric_owner=target.numeric_owner, gapped=gapped)
        for link, pieces in levels:
            try:
                tree.level(_counted(pieces, done))
            except VerificationError as error:
                said = str(error)
                raise VerificationError(said if said.startswith(link.shown) else f"{link.shown}: {said}") from error
            except ProgramError as error:
                raise ProgramError(f"{link.shown}: {error}") from error
        wrong, unread = tree.check()
        unsure = tree.unsure()
        tree.close()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    refuse_differences(wrong)
    done.doubts += [
        f"listed, but not in the archive (a socket, or it could not be read then): {name}" for name in unread
    ]
    done.doubts += [
        f"as an earlier archive has it, for the last one lists it without a word of its contents: {name}"
        for name in unsure
    ]
    return done


def _file(levels: Iterable[tuple[OldArchive, Iterator[bytes]]], target: OldTarget) -> OldRestored:
    loader = FileLoader(target.path, overwrite=target.overwrite)
    done = OldRestored()
    for link, pieces in levels:
        tail = _Tail(_counted(pieces, done))
        loader.append(tail)
        mark = next((mark for kind, mark in _ENDS.items() if link.name.startswith(kind)), b"")
        if mark not in tail.kept:
            done.doubts.append(f"{link.shown} does not end as a whole dump does: its program failed when it was made")
    done.where = loader.close()
    return done


def _counted(pieces: Iterator[bytes], done: OldRestored) -> Iterator[bytes]:
    for piece in pieces:
        done.raw_size += len(piece)
        yield piece


class _Tail:
    """Passes pieces on and keeps the end."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.kept = b""
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = next(self._pieces)
        self.kept = (self.kept + piece[-_TAIL:])[-_TAIL:]
        return piece
