"""Reading archives: tables, keys and chunks, every byte of which is verified before it goes on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple, Self

from s3nap.chunks import ChunkLine, in_order, parse_tables
from s3nap.crew import workers
from s3nap.envelope import Keys, Opener, Promise
from s3nap.errors import NoKeyError, NoSuchObjectError, VerificationError
from s3nap.manifest import Archive, Manifest, StoredObject
from s3nap.storage import Data, Storage

_SIDE_LIMIT = 1 << 36  # bytes; a listing or a state larger than that is none of ours
_KEYS = "keys.gpg"
_KEYS_MARK = re.compile(r"keys-(\d+)\.gpg")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySource:
    """Where keys come from: the user's own gpg, a passphrase, or files of opened envelopes."""

    passphrase: str | None = None
    files: Sequence[Path] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """An archive whose tables are checked and whose keys are at hand."""

    manifest: Manifest
    lines: list[ChunkLine]
    keys: Keys | None


class SealedChunk(NamedTuple):
    """A chunk as the tables describe it, and what opens it."""

    line: ChunkLine
    passphrase: str | None
    raw_hash: str | None


class Reader:
    """Reads archives of one storage. A context manager."""

    def __init__(self, storage: Storage, source: KeySource) -> None:
        """Nothing is read before it is asked for."""
        self._storage = storage
        self._source = source
        self._opener = Opener()
        self._given = [Keys(path.read_bytes()) for path in source.files]
        self._opened: dict[str, Opened] = {}  # a smart card is touched once per archive

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opener.close()

    def open(self, archive: Archive, *, whole: bool = True) -> Opened:
        """Check that every object is there, as large as it must be, and that the keys open.

        Not ``whole``: only a part is wanted, so nobody asks whether the rest is there.
        Raises VerificationError naming the first object that is missing or of the wrong size, NoKeyError.
        """
        if archive.run in self._opened:
            return self._opened[archive.run]
        manifest = archive.manifest
        tables = [self._plain(manifest, role) for role in ("sums", "chunks")]
        try:
            lines = list(parse_tables(tables[0], tables[1], manifest.chunks))
        except (VerificationError, ValueError) as error:
            raise VerificationError(f"{manifest.at.data}: {error}") from error
        if whole:
            self._check_listing(manifest, lines)
        keys = None if manifest.encryption.method == "none" else self._keys(archive)
        self._opened[archive.run] = Opened(manifest, lines, keys)
        return self._opened[archive.run]

    def _plain(self, manifest: Manifest, role: str) -> bytes:
        """Return an object that is neither compressed nor encrypted by us."""
        item = manifest.object(role)
        if item is None:
            raise VerificationError(f"{manifest.at.manifest}: names no {role}")
        data = self._get(manifest.at.data + item.name)
        if hashlib.sha256(data).hexdigest() != item.sha256:
            raise VerificationError(f"{manifest.at.data}{item.name}: is not what was stored: its sha256 differs")
        return data

    def _get(self, key: str) -> bytes:
        try:
            return self._storage.get(key)
        except NoSuchObjectError as error:
            raise VerificationError(f"{key} is missing") from error

    def _check_listing(self, manifest: Manifest, lines: Sequence[ChunkLine]) -> None:
        listed = {item.key.removeprefix(manifest.at.data): item.size for item in self._storage.list(manifest.at.data)}
        wanted = [(line.name, line.size) for line in lines] + [(item.name, item.size) for item in manifest.objects]
        for name, size in wanted:
            if name not in listed:
                raise VerificationError(f"{manifest.at.data}{name} is missing")
            if listed[name] != size:
                raise VerificationError(f"{manifest.at.data}{name} is {listed[name]} bytes long, not {size}")

    def _keys(self, archive: Archive) -> Keys:
        if self._given:
            return self._fitting(archive.manifest)
        manifest = archive.manifest
        ways: list[str | None] = [self._source.passphrase]
        if manifest.encryption.method != "passphrase" and self._source.passphrase is not None:
            ways.insert(0, None)  # a mark may hold the keys under a passphrase all the same
        failure: NoKeyError | VerificationError | None = None
        for name, passphrase in product(envelopes(archive), ways):
            try:
                return Keys(self._opener.gpg.open_envelope(self.envelope(archive, name), passphrase))
            except VerificationError as error:
                if name == _KEYS:  # there is none behind it
                    raise
                failure = failure or error
            except NoKeyError as error:
                failure = failure or error
        raise NoKeyError(f"{manifest.job}, archive {manifest.run}: {_who(manifest)}; {failure}") from failure

    def envelope(self, archive: Archive, name: str) -> bytes:
        """Return one of the ``envelopes`` of an archive as it is stored; VerificationError if it is missing."""
        manifest = archive.manifest
        return self._plain(manifest, "keys") if name == _KEYS else self._get(manifest.at.mark(name))

    def _fitting(self, manifest: Manifest) -> Keys:
        """Return those of the given keys that open this archive; an envelope does not say whose it is."""
        probe = manifest.object("log") or manifest.object("state")
        for keys in self._given:
            try:
                if probe is not None:
                    self._side(manifest, keys, probe, lambda _piece: None)
            except (VerificationError, NoKeyError):
                continue
            return keys
        raise NoKeyError(f"none of the files given by --keys opens archive {manifest.run}")

    def side(self, opened: Opened, role: str, target: Path) -> Path | None:
        """Write index, state, log or an extra of an archive to ``target`` and return it; None if it has none."""
        item = opened.manifest.object(role)
        if item is None:
            return None
        with target.open("wb") as file:
            self._side(opened.manifest, opened.keys, item, file.write)
        return target

    def small(self, archive: Archive, role: str) -> bytes | None:
        """Return a small object of an archive, verified and opened; None if it has none."""
        item = archive.manifest.object(role)
        if item is None:
            return None
        opened, raw = self.open(archive), bytearray()
        self._side(opened.manifest, opened.keys, item, raw.extend)
        return bytes(raw)

    def _side(self, manifest: Manifest, keys: Keys | None, item: StoredObject, write: Callable[[Data], object]) -> None:
        passphrase, raw_hash = keys.find(item.name) if keys is not None else (None, None)
        promise = Promise(
            compression=manifest.compression,
            sha256=item.sha256,
            passphrase=passphrase,
            raw_hash=raw_hash,
            limit=_SIDE_LIMIT,
        )
        self._decode(manifest.at.data + item.name, promise, write)

    def _decode(self, key: str, promise: Promise, write: Callable[[Data], object]) -> int:
        data = self._get(key)
        try:
            return self._opener.decode(data, promise, write)
        except VerificationError as error:
            raise VerificationError(f"{key}: {error}") from error

    def stream(
        self, opened: Opened, progress: Callable[[int], None], chosen: Container[int] | None = None
    ) -> Iterator[Data]:
        """Yield the raw stream, a verified chunk at a time, downloading and opening ahead in parallel.

        ``chosen``: only the chunks of these numbers.
        """
        known = self.chunks(opened)
        tasks = (
            partial(self.fetch, opened, chunk)
            for number, chunk in enumerate(known)
            if chosen is None or number in chosen
        )
        for piece in in_order(tasks, workers()):
            progress(len(piece))
            yield piece

    def chunks(self, opened: Opened) -> Iterator[SealedChunk]:
        """Yield every chunk with what opens it; NoKeyError if the keys are of another archive."""
        known = iter(opened.keys) if opened.keys is not None else None
        for line in opened.lines:
            if known is None:
                yield SealedChunk(line, None, line.raw_hash)
                continue
            name, passphrase, raw_hash = next(known, ("nothing", "", ""))
            if name != line.name:
                raise NoKeyError(f"the keys are of another archive: they have {name}, not {line.name}")
            yield SealedChunk(line, passphrase, raw_hash)

    def fetch(self, opened: Opened, chunk: SealedChunk) -> Data:
        """Return the raw bytes of one chunk; VerificationError naming it if they are not what was stored."""
        line = chunk.line
        key = opened.manifest.at.data + line.name
        promise = Promise(
            compression=opened.manifest.compression,
            sha256=line.sha256,
            passphrase=chunk.passphrase,
            raw_hash=chunk.raw_hash,
            limit=line.raw_size,
        )
        pieces: list[Data] = []
        size = self._decode(key, promise, pieces.append)
        if size != line.raw_size:
            raise VerificationError(f"{key}: holds {size} bytes, not {line.raw_size}")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def envelopes(archive: Archive) -> list[str]:
    """Name the envelopes of an archive in the order in which they are tried: marks, newest first, then the first one.

    Nothing if it is not encrypted.
    """
    marks = sorted((mark for mark in archive.marks if _KEYS_MARK.fullmatch(mark)), key=_keys_number, reverse=True)
    return [*marks, _KEYS] if archive.manifest.encryption.method != "none" else []


def _keys_number(mark: str) -> int:
    match = _KEYS_MARK.fullmatch(mark)
    return int(match[1]) if match is not None else 0


def _who(manifest: Manifest) -> str:
    if manifest.encryption.method == "passphrase":
        return "it is encrypted with a passphrase: give --passphrase-file"
    return "it is encrypted to " + ", ".join(manifest.encryption.recipients)
