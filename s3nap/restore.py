"""Restoring a chain: everything is checked before a byte is written, and every byte before it goes on."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from loguru import logger

from s3nap import pipeline
from s3nap.chunks import ChunkLine, in_order, parse_tables, workers
from s3nap.envelope import Keys, Opener, Promise
from s3nap.errors import NoKeyError, NoSuchObjectError, UsageError, VerificationError
from s3nap.manifest import Archive, Manifest, StoredObject
from s3nap.sources import Loader
from s3nap.sources.tree import Tree
from s3nap.storage import Storage

_SIDE_LIMIT = 1 << 36  # bytes; a listing or a state larger than that is none of ours
_KEYS = "keys.gpg"
_KEYS_MARK = re.compile(r"keys-(\d+)\.gpg")
_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySource:
    """Where keys come from: the user's own gpg, a passphrase, or files of opened envelopes."""

    passphrase: str | None = None
    files: Sequence[Path] = ()


@dataclass(slots=True)
class Restored:
    """What a restore came to: bytes written through tar, archives applied, files that the archive itself lacks."""

    raw_size: int = 0
    levels: int = 0
    unread: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Opened:
    """An archive whose tables are checked and whose keys are at hand."""

    manifest: Manifest
    lines: list[ChunkLine]
    keys: Keys | None


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

    def open(self, archive: Archive) -> Opened:
        """Check that every object is there, as large as it must be, and that the keys open.

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
        failure: NoKeyError | VerificationError | None = None
        for name in envelopes(archive):
            try:
                return Keys(self._opener.gpg.open_envelope(self.envelope(archive, name), self._source.passphrase))
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

    def _side(
        self, manifest: Manifest, keys: Keys | None, item: StoredObject, write: Callable[[bytes], object]
    ) -> None:
        passphrase, raw_hash = keys.find(item.name) if keys is not None else (None, None)
        promise = Promise(
            compression=manifest.compression,
            sha256=item.sha256,
            passphrase=passphrase,
            raw_hash=raw_hash,
            limit=_SIDE_LIMIT,
        )
        self._decode(manifest.at.data + item.name, promise, write)

    def _decode(self, key: str, promise: Promise, write: Callable[[bytes], object]) -> int:
        data = self._get(key)
        try:
            return self._opener.decode(data, promise, write)
        except VerificationError as error:
            raise VerificationError(f"{key}: {error}") from error

    def stream(self, opened: Opened, progress: Callable[[int], None]) -> Iterator[bytearray]:
        """Yield the raw stream, a verified chunk at a time, downloading and opening ahead in parallel."""
        known = iter(opened.keys) if opened.keys is not None else None

        def tasks() -> Iterator[Callable[[], bytearray]]:
            for line in opened.lines:
                passphrase, raw_hash = None, line.raw_hash
                if known is not None:
                    name, passphrase, raw_hash = next(known, ("nothing", "", ""))
                    if name != line.name:
                        raise NoKeyError(f"the keys are of another archive: they have {name}, not {line.name}")
                yield lambda line=line, key=passphrase, raw=raw_hash: self._chunk(opened, line, key, raw)  # type: ignore[misc]

        for piece in in_order(tasks(), workers()):
            progress(len(piece))
            yield piece

    def _chunk(self, opened: Opened, line: ChunkLine, passphrase: str | None, raw_hash: str | None) -> bytearray:
        key = opened.manifest.at.data + line.name
        promise = Promise(
            compression=opened.manifest.compression,
            sha256=line.sha256,
            passphrase=passphrase,
            raw_hash=raw_hash,
            limit=line.raw_size,
        )
        raw = bytearray()
        if self._decode(key, promise, raw.extend) != line.raw_size:
            raise VerificationError(f"{key}: holds {len(raw)} bytes, not {line.raw_size}")
        return raw


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


def restore_tree(  # noqa: PLR0913 - what a person says on the command line
    reader: Reader,
    links: Sequence[Archive],
    target: Path,
    *,
    overwrite: bool = False,
    numeric_owner: bool = False,
    progress: Callable[[int], None] = lambda _size: None,
) -> Restored:
    """Restore a chain of tar archives, FULL first, into ``target``.

    Raises UsageError if the target is not empty (without ``overwrite``), VerificationError, NoKeyError,
    ProgramError; what goes wrong before the first byte is written leaves the target as it was.
    """
    check_target(target, overwrite=overwrite)
    pipeline.find("tar")
    opened = [reader.open(archive) for archive in links]
    result = Restored(levels=len(links))
    work = Path(tempfile.mkdtemp(prefix="s3nap-"))
    try:
        state = reader.side(opened[-1], "state", work / "state")
        target.mkdir(parents=True, exist_ok=True)
        tree = Tree(target, work, state, keep=overwrite, numeric_owner=numeric_owner)
        for level in opened:
            logger.info("restoring {} of {}, chunks: {}", level.manifest.type, level.manifest.day, len(level.lines))
            result.raw_size += level.manifest.raw_size
            tree.level(reader.stream(level, progress))
        wrong, result.unread = tree.check()
        tree.close()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise VerificationError(f"restored, but not as it was: {'; '.join(wrong[:_SHOWN])}{more}")
    return result


def restore_stream(
    reader: Reader, links: Sequence[Archive], loader: Loader, progress: Callable[[int], None] = lambda _size: None
) -> tuple[Restored, str]:
    """Load a chain, FULL first; also return where it went, in the loader's words.

    Raises what the loader raises, VerificationError, NoKeyError; nothing is loaded before everything is checked.
    """
    loader.check()
    opened = [reader.open(archive) for archive in links]
    result = Restored(levels=len(links))
    for level in opened:
        logger.info("loading {} of {}, chunks: {}", level.manifest.type, level.manifest.day, len(level.lines))
        loader.level(level.manifest, reader.stream(level, progress))
        result.raw_size += level.manifest.raw_size
    return result, loader.finish(links[-1].manifest)


def check_target(target: Path, *, overwrite: bool) -> None:
    """Raise UsageError unless a tree may be restored into ``target``."""
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is not a folder")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise UsageError(
            f"{target} is not empty: give an empty folder, or --overwrite to replace what the archive holds"
        )
