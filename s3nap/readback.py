"""Reading objects of an archive back, all or a random share: hashed, and where a key opens them decoded to nowhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from s3nap.chunks import in_order
from s3nap.crew import workers
from s3nap.envelope import Keys, Opener, Promise
from s3nap.errors import NoKeyError, ProgramError, StorageError, VerificationError
from s3nap.manifest import Archive
from s3nap.memory import Scratch
from s3nap.reader import KeySource, Reader
from s3nap.secondlook import SecondLook, Tables
from s3nap.storage import Storage
from s3nap.verified import DECODED, HASHES

_PLAIN = frozenset({"sums", "chunks", "keys", "recipe"})
_LARGEST = 1 << 36  # bytes; a listing or a state larger than that is none of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """A stored object; ``encoded``: compressed and perhaps encrypted; ``raw_size`` in bytes, None if not promised."""

    name: str
    sha256: str
    encoded: bool
    raw_size: int | None = None
    passphrase: str | None = None
    raw_hash: str | None = None


@dataclass(slots=True, kw_only=True)
class ReadBack:
    """What came of it: ``how`` and ``percent`` as of the mark ``verified-…``, every object that is wrong."""

    how: str
    percent: int
    wrong: list[str]


def read_back(  # noqa: PLR0913 - what is read, how much of it, with what
    archive: Archive, tables: Tables, *, storage: Storage, source: KeySource, share: float, choose: random.Random
) -> ReadBack:
    """Read a share of the objects, at least none; which ones is left to chance.

    Raises StorageError and ProgramError for what says nothing of the archive.
    """
    manifest = archive.manifest
    total = manifest.chunks + len(manifest.objects)
    # rounded by chance: of many small archives just the share is read
    count = min(int(total * share + choose.random()), total) if share < 1 else total
    chosen = frozenset(choose.sample(range(total), count))
    with Reader(storage, source) as reader:
        keys = _keys(reader, archive)
        decodes = keys is not None or manifest.encryption.method == "none"
        opener = _Decoder(archive, SecondLook(storage), decodes=decodes)
        try:
            tasks = (opener.task(piece) for number, piece in enumerate(_pieces(tables, keys)) if number in chosen)
            wrong = [message for message in in_order(tasks, workers()) if message is not None]
        finally:
            opener.close()
    percent = max(1, count * 100 // total) if count else 0
    return ReadBack(how=DECODED if decodes else HASHES, percent=percent, wrong=wrong)


def _keys(reader: Reader, archive: Archive) -> Keys | None:
    """Return the keys of the archive; None if nothing here opens it, or nothing is encrypted."""
    try:
        return reader.open(archive).keys
    except NoKeyError:
        return None
    except VerificationError as error:  # its tables and sizes were right a moment ago
        raise StorageError(f"{error}; a moment before it was as it should be: verify it again") from error


def _pieces(tables: Tables, keys: Keys | None) -> Iterator[_Piece]:
    """Yield chunks, then the other objects, with what is promised of each."""
    manifest = tables.manifest
    known = iter(keys or ())
    for line in tables:
        name, passphrase, raw_hash = next(known, ("", "", "")) if keys is not None else (line.name, None, line.raw_hash)
        if name != line.name:
            raise NoKeyError(f"{manifest.at.data}: the envelope names {name or 'nothing'} where {line.name} should be")
        yield _Piece(
            name=line.name,
            sha256=line.sha256,
            encoded=True,
            raw_size=line.raw_size,
            passphrase=passphrase,
            raw_hash=raw_hash,
        )
    for item in manifest.objects:
        encoded = item.role not in _PLAIN
        passphrase, raw_hash = keys.find(item.name) if encoded and keys is not None else (None, None)
        yield _Piece(name=item.name, sha256=item.sha256, encoded=encoded, passphrase=passphrase, raw_hash=raw_hash)


class _Decoder:
    """Looks at pieces of one archive."""

    def __init__(self, archive: Archive, objects: SecondLook, *, decodes: bool) -> None:
        self._manifest = archive.manifest
        self._rekeyed = any(mark.startswith("keys-") for mark in archive.marks)
        self._objects = objects
        self._decodes = decodes
        self._opener = Opener()

    def close(self) -> None:
        self._opener.close()

    def task(self, piece: _Piece) -> Callable[[], str | None]:
        """Return what to do in a thread: the result is what is wrong, None if nothing is."""
        return lambda: self._look(piece)

    def _look(self, piece: _Piece) -> str | None:
        key = self._manifest.at.data + piece.name
        try:
            data = self._objects.read(key, piece.sha256)
        except VerificationError as error:
            return str(error)
        if not (self._decodes and piece.encoded):
            return None
        fault = self._fault(data, piece)
        if fault is None or self._fault(data, piece) is None:
            return None
        if self._rekeyed:  # a later envelope has no hash that vouches for it
            raise NoKeyError(f"{key}: {fault}; it may be the later envelope (the mark keys-N.gpg) that is wrong")
        self._prove_gpg()
        return f"{key}: {fault}"

    def _fault(self, data: bytes, piece: _Piece) -> str | None:
        promise = Promise(
            compression=self._manifest.compression,
            sha256=piece.sha256,
            passphrase=piece.passphrase,
            raw_hash=piece.raw_hash,
            limit=_LARGEST if piece.raw_size is None else piece.raw_size,
        )
        try:
            size = self._opener.decode(data, promise, lambda _piece: None)
        except VerificationError as error:
            return str(error)
        if piece.raw_size not in {None, size}:
            return f"holds {size} bytes, not {piece.raw_size}"
        return None

    def _prove_gpg(self) -> None:
        """Raise ProgramError unless gpg works here: what was stored is right, so the fault may be this machine's."""
        if self._manifest.encryption.method == "none":
            return
        passphrase = "00" * 32
        sealed, plain = Scratch(), Scratch()
        self._opener.gpg.encrypt(_proof, passphrase, sealed)
        try:
            self._opener.gpg.decrypt(sealed, passphrase, plain)
        except VerificationError as error:
            raise ProgramError(f"gpg does not work here, so nothing is known: {error}") from error


def _proof(write: Callable[[bytes], object]) -> None:
    write(b"proof")
