"""Restores a tree into a folder: all of it or chosen paths, from the start or going on; a plan before, a sum after."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click
from loguru import logger

from s3nap import report
from s3nap.amounts import counted
from s3nap.comparing import compare
from s3nap.contents import Node, StoredIndexes
from s3nap.errors import Exit, UsageError
from s3nap.logs import one_line
from s3nap.manifest import Archive
from s3nap.names import readable
from s3nap.picking import Picked, Selection, cost, named, pick, write
from s3nap.progress import Expected, Tally, on_terminal
from s3nap.reader import Reader
from s3nap.restore import check_target, free_space, restore_tree, saying_how_to_go_on
from s3nap.resuming import Note, go_on, rest, unread
from s3nap.trimming import Surplus, remove, surplus


def restore_folder(
    reader: Reader, links: Sequence[Archive], target: Path, options: dict[str, Any], *, dry: bool
) -> int:
    """Restore a chain, FULL first, into ``target``; return the exit status."""
    with tempfile.TemporaryDirectory(prefix="s3nap-") as work:
        return _IntoFolder(reader, links, target, options, Path(work)).restore(dry=dry)


class _IntoFolder:
    def __init__(
        self, reader: Reader, links: Sequence[Archive], target: Path, options: dict[str, Any], work: Path
    ) -> None:
        self._reader = reader
        self._links = links
        self._target = target
        self._options = options
        self._overwrite: bool = options["overwrite"]
        self._numeric: bool = options["numeric_owner"]
        self._indexes = StoredIndexes(reader, work)
        self._manifest = links[-1].manifest
        self._chosen = bool(options["paths"] or options["include"] or options["exclude"])
        self._begun = time.monotonic()
        chosen = {key: list(options[key]) for key in ("paths", "include", "exclude")}
        facts = {"host": self._manifest.host, "job": self._manifest.job, "run": self._manifest.run}
        self._note = Note(target, facts | chosen | {"numeric_owner": self._numeric})

    def restore(self, *, dry: bool) -> int:
        unfinished = not self._overwrite and self._note.unfinished()
        if not unfinished:
            check_target(self._target, overwrite=self._overwrite)
        if unfinished:
            return self._go_on(dry=dry)
        doomed = self._surplus(dry=dry) if self._options["delete"] else Surplus()
        status = self._paths(dry=dry) if self._chosen else self._whole(dry=dry)
        if not dry and doomed.paths:
            remove(self._target, doomed.paths)
            self._say(f"removed {doomed.count} entries that the archive does not have")
        return status

    def _surplus(self, *, dry: bool) -> Surplus:
        """Find what ``--delete`` is to remove, and say how much that is; on a terminal ask."""
        selection = Selection(self._options["paths"], self._options["include"], self._options["exclude"])
        spared = self._options["spared"]
        with saying_how_to_go_on("tar"):
            found = surplus(
                self._indexes,
                self._links[-1],
                self._target,
                lambda path: selection(named(path)) and not spared.excludes(b"/" + path),
            )
        if found.paths:
            first = one_line(os.fsdecode(found.paths[0]))
            click.echo(f"{found.count} entries of {self._target} are not in the archive, /{first} for one: they go")
            if not dry and sys.stdin.isatty() and sys.stderr.isatty():
                click.confirm("Remove them, after the restore?", abort=True, err=True)
        return found

    def _whole(self, *, dry: bool) -> int:
        manifest, links = self._manifest, self._links
        if dry:
            with saying_how_to_go_on("tar"):
                for link in links:
                    self._reader.open(link)
        raw, stored = (
            sum(sizes) for sizes in zip(*((a.manifest.raw_size, a.manifest.stored_size) for a in links), strict=True)
        )
        fetched = f"{counted(len(links), 'archive')}, {counted(manifest.files, 'file')}, {report.size(stored)} to fetch"
        self._plan(f"{self._title}: {fetched}, {report.size(raw)} to write", links[0].manifest.raw_size, dry=dry)
        if dry:
            return Exit.DONE
        tally = Tally()
        files = manifest.files if len(links) == 1 else None  # of a chain the same file may come several times
        with self._noted(), self._bar(Expected(size=raw, files=files, count=tally)) as advance:
            written = restore_tree(
                self._reader,
                links,
                self._target,
                overwrite=self._overwrite,
                numeric_owner=self._numeric,
                progress=advance,
                tally=tally,
            )
            if self._options["verify"]:
                self._compare(self._pick().nodes)
        _warn(written.unread)
        said = report.restored_text(manifest, str(self._target), written.raw_size, time.monotonic() - self._begun)
        self._say(f"{said}, {counted(manifest.files, 'file')}")
        return Exit.WARNINGS if written.unread and not manifest.complete else Exit.DONE

    def _paths(self, *, dry: bool) -> int:
        picked = self._pick()
        needed = cost(self._reader, self._links, picked)
        what = f"{counted(len(picked.nodes), 'path')} of {self._title}, {report.size(picked.raw_size)}"
        fetched = f"{counted(needed.chunks, 'chunk')}, {report.size(needed.stored)}"
        self._plan(f"{what}: {fetched} to fetch", sum(node.end - node.start for node in picked.all), dry=dry)
        if dry:
            return Exit.DONE
        self._target.mkdir(parents=True, exist_ok=True)
        with self._noted(), saying_how_to_go_on("tar"), self._bar(needed.raw) as advance:
            write(self._reader, self._links, picked, self._target, numeric_owner=self._numeric, progress=advance)
        if self._options["verify"]:
            self._compare(picked.nodes)
        for node in picked.brought:
            logger.info("/{} came along: a hard link needs it", os.fsdecode(node.line.path))
        self._say(f"restored {what} to {self._target}: {fetched} fetched, in {time.monotonic() - self._begun:.1f} s")
        return Exit.DONE

    def _go_on(self, *, dry: bool) -> int:
        """Finish what an earlier restore into this folder began."""
        picked = self._pick()
        left = rest(self._links, self._indexes, picked, self._target, numeric_owner=self._numeric)
        needed = cost(self._reader, self._links, left.picked)
        what = f"{self._title}, {left.kept} paths are there, {len(left.picked.nodes)} are left"
        fetched = f"{counted(needed.chunks, 'chunk')}, {report.size(needed.stored)}"
        self._plan(f"the rest of {what}: {fetched} to fetch", 0, dry=dry)
        if dry:
            return Exit.DONE
        with self._noted(), saying_how_to_go_on("tar"), self._bar(needed.raw) as advance:
            go_on(
                self._reader,
                self._links,
                picked,
                left,
                self._target,
                numeric_owner=self._numeric,
                progress=advance,
            )
        missing = [] if self._chosen else unread(self._indexes, self._links[-1])
        _warn(missing)
        self._say(f"restored {what} to {self._target}: {fetched} fetched, in {time.monotonic() - self._begun:.1f} s")
        return Exit.WARNINGS if missing and not self._manifest.complete else Exit.DONE

    @property
    def _title(self) -> str:
        return f"{readable(self._manifest.job)} of {self._manifest.day}"

    def _pick(self) -> Picked:
        selection = Selection(self._options["paths"], self._options["include"], self._options["exclude"])
        with saying_how_to_go_on("tar"):
            return pick(self._links, self._indexes, selection)

    def _plan(self, what: str, least: int, *, dry: bool) -> None:
        """Say what is to come; UsageError if the target's disk has less room than ``least`` bytes."""
        free = free_space(self._target)
        if free < least and not self._overwrite:
            raise UsageError(
                f"{self._target}: at least {report.size(least)} are to be written and {report.size(free)} are free: "
                "give a folder on a disk with more room (--overwrite tries all the same)"
            )
        word = "would restore" if dry else "restoring"
        if dry or not self._options["quiet"]:
            click.echo(f"{word} {what}; {report.size(free)} free for {self._target}")

    def _noted(self) -> AbstractContextManager[None]:
        if not self._overwrite:
            return self._note.during()
        self._note.remove()  # what is in the folder is not all ours: it is no rest to go on with
        return nullcontext()

    def _bar(self, total: int | Expected) -> AbstractContextManager[Callable[[int], None]]:
        return on_terminal(quiet=bool(self._options["quiet"]))(self._title, total)

    def _compare(self, nodes: Mapping[bytes, Node]) -> None:
        compare(self._target, nodes, numeric_owner=self._numeric)

    def _say(self, text: str) -> None:
        if not self._options["quiet"]:
            click.echo(text)


def _warn(paths: Sequence[str]) -> None:
    for path in paths:
        logger.warning("not in the archive, for it could not be read when it was made: {}", path)
