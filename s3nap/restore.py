"""Restoring a chain: everything is checked before a byte is written, and every byte before it goes on."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loguru import logger

from s3nap import pipeline
from s3nap.errors import UsageError, VerificationError
from s3nap.manifest import Archive
from s3nap.reader import Reader
from s3nap.sources import Loader
from s3nap.sources.tree import Tree

_SHOWN = 10


@dataclass(slots=True)
class Restored:
    """What a restore came to: bytes written through tar, archives applied, files that the archive itself lacks."""

    raw_size: int = 0
    levels: int = 0
    unread: list[str] = field(default_factory=list)


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
