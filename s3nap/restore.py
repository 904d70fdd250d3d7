"""Restoring a chain: everything is checked before a byte is written, and every byte before it goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loguru import logger

from s3nap import pipeline
from s3nap.errors import UsageError, VerificationError
from s3nap.manifest import Archive
from s3nap.progress import Tally
from s3nap.reader import Opened, Reader
from s3nap.sources import Loader
from s3nap.sources.tree import Tree
from s3nap.storage import Data

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
    tally: Tally | None = None,
) -> Restored:
    """Restore a chain of tar archives, FULL first, into ``target``.

    Raises UsageError if the target is not empty (without ``overwrite``), VerificationError, NoKeyError,
    ProgramError; what goes wrong before the first byte is written leaves the target as it was.
    """
    check_target(target, overwrite=overwrite)
    pipeline.find("tar")
    with saying_how_to_go_on(links[-1].manifest.stream):
        opened = [reader.open(archive) for archive in links]
    result = Restored(levels=len(links))
    work = Path(tempfile.mkdtemp(prefix="s3nap-"))
    try:
        with saying_how_to_go_on("tar"):
            state = reader.side(opened[-1], "state", work / "state")
        target.mkdir(parents=True, exist_ok=True)
        tree = Tree(target, work, state, keep=overwrite, numeric_owner=numeric_owner, tally=tally)
        for level in opened:
            logger.info("restoring {} of {}, chunks: {}", level.manifest.type, level.manifest.day, len(level.lines))
            result.raw_size += level.manifest.raw_size
            tree.level(_stream(reader, level, progress))
        wrong, result.unread = tree.check()
        tree.close()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    refuse_differences(wrong)
    return result


def restore_stream(
    reader: Reader, links: Sequence[Archive], loader: Loader, progress: Callable[[int], None] = lambda _size: None
) -> tuple[Restored, str]:
    """Load a chain, FULL first; also return where it went, in the loader's words.

    Raises what the loader raises, VerificationError, NoKeyError; nothing is loaded before everything is checked.
    """
    loader.check()
    with saying_how_to_go_on(links[-1].manifest.stream):
        opened = [reader.open(archive) for archive in links]
    result = Restored(levels=len(links))
    for level in opened:
        logger.info("loading {} of {}, chunks: {}", level.manifest.type, level.manifest.day, len(level.lines))
        # loaders look into what they load, as into bytes
        loader.level(level.manifest, map(bytes, _stream(reader, level, progress)))
        result.raw_size += level.manifest.raw_size
    return result, loader.finish(links[-1].manifest)


def free_space(target: Path) -> int:
    """Return how many bytes this user may still write where ``target`` lies or will lie."""
    there = target.absolute()
    while not there.exists():
        there = there.parent
    disk = os.statvfs(there)
    return disk.f_frsize * (disk.f_bfree if os.geteuid() == 0 else disk.f_bavail)


@contextlib.contextmanager
def saying_how_to_go_on(stream: str) -> Iterator[None]:
    """Add to what is said about damage what else can be done."""
    try:
        yield
    except VerificationError as error:
        other = "--salvage restores all that is whole, " if stream == "tar" else ""
        raise VerificationError(f"{error}; {other}--at takes another day (s3nap list)") from error


def _stream(reader: Reader, level: Opened, progress: Callable[[int], None]) -> Iterator[Data]:
    with saying_how_to_go_on(level.manifest.stream):
        yield from reader.stream(level, progress)


def refuse_differences(wrong: Sequence[str]) -> None:
    """Raise VerificationError if anything is ``wrong`` with a restored tree, naming some of it."""
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise VerificationError(f"restored, but not as it was: {'; '.join(wrong[:_SHOWN])}{more}")


def check_target(target: Path, *, overwrite: bool) -> None:
    """Raise UsageError unless a tree may be restored into ``target``."""
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is not a folder")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise UsageError(
            f"{target} is not empty: give an empty folder, or --overwrite to replace what the archive holds"
        )
