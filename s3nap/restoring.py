"""The ``restore`` command: which archive, from where, into what; then the act, then what is said about it."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from loguru import logger

from s3nap import access, report
from s3nap.commands import logging, only_place
from s3nap.contents import StoredIndexes
from s3nap.envelope import read_passphrase
from s3nap.errors import Exit, UsageError
from s3nap.job import Conf
from s3nap.manifest import Archive
from s3nap.names import readable
from s3nap.picking import Selection, contents_of, cost, pick, write
from s3nap.progress import on_terminal
from s3nap.reader import KeySource, Reader
from s3nap.restore import Restored, check_target, restore_stream, restore_tree
from s3nap.sources import Loader, LoadOptions
from s3nap.sources.table import expanded, make_loader
from s3nap.storage import Data

_FROM_CONF = {"db_host": "PostgreSQLHost", "db_port": "PostgreSQLPort", "defaults_file": "MySQLDefaultsFile"}


def restore(  # noqa: PLR0913 - what the command line says
    *,
    confs: Sequence[Path],
    job: str,
    at: str,
    keys: Sequence[Path],
    passphrase_file: Path | None,
    dry: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """Restore a chain into a folder, a file, a server or a repository."""
    place = only_place(confs, options)
    begun = time.monotonic()
    with logging(place.conf, options):
        place.storage.check()
        links = access.find_chain(access.find_job(place, job), at)
        secret = passphrase_file or (place.conf["GpgPassphraseFile"] if place.conf is not None else None)
        source = KeySource(passphrase=read_passphrase(secret), files=keys)
        manifest = links[-1].manifest
        wanted = options | _connection(place.conf, manifest.job, options)
        with Reader(place.storage, source) as reader:
            if options["paths"] or options["include"] or options["exclude"]:
                return _restore_paths(reader, links, options, dry=dry)
            total = sum(link.manifest.raw_size for link in links)
            title = f"{readable(manifest.job)} of {manifest.day}"
            if dry:
                _check(reader, links, wanted)
                click.echo(f"would restore {title}: {len(links)} archives, {report.size(total)}")
                return Exit.DONE
            with on_terminal(quiet=bool(options["quiet"]))(title, total) as advance:
                written, where = _write(reader, links, wanted, advance)
        for path in written.unread:
            logger.warning("not in the archive, for it could not be read when it was made: {}", path)
    if not options["quiet"] and options["target"] != "-":
        click.echo(report.restored_text(manifest, where, written.raw_size, time.monotonic() - begun))
    return Exit.WARNINGS if written.unread and not manifest.complete else Exit.DONE


def _restore_paths(reader: Reader, links: Sequence[Archive], options: dict[str, Any], *, dry: bool) -> int:
    """Restore chosen paths into a folder, from the chunks that hold them."""
    manifest = links[-1].manifest
    if manifest.stream != "tar":
        raise UsageError(f"{readable(manifest.job)} is no tree of files: it is restored whole, without PATH")
    selection = Selection(options["paths"], options["include"], options["exclude"])
    target = _folder(links[-1], options)
    check_target(target, overwrite=options["overwrite"])
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="s3nap-") as work:
        picked = pick(links, StoredIndexes(reader, Path(work)), selection)
    needed = cost(reader, links, picked)
    what = f"{len(picked.nodes)} paths of {readable(manifest.job)} of {manifest.day}, {report.size(picked.raw_size)}"
    fetched = f"{needed.chunks} chunks, {report.size(needed.stored)}"
    if dry:
        click.echo(f"would restore {what}: {fetched} to fetch")
        return Exit.DONE
    target.mkdir(parents=True, exist_ok=True)
    with on_terminal(quiet=bool(options["quiet"]))(readable(manifest.job), needed.raw) as advance:
        write(reader, links, picked, target, numeric_owner=options["numeric_owner"], progress=advance)
    for node in picked.brought:
        logger.info("/{} came along: a hard link needs it", os.fsdecode(node.line.path))
    if not options["quiet"]:
        click.echo(f"restored {what} to {target}: {fetched} fetched, in {time.monotonic() - begun:.1f} s")
    return Exit.DONE


def dump(  # noqa: PLR0913 - what the command line says
    *,
    confs: Sequence[Path],
    job: str,
    path: str | None,
    at: str,
    keys: Sequence[Path],
    passphrase_file: Path | None,
    **options: Any,  # noqa: ANN401
) -> int:
    """Write a file of an archive, or the archive's raw stream, to standard output."""
    place = only_place(confs, options)
    with logging(place.conf, options):
        place.storage.check()
        links = access.find_chain(access.find_job(place, job), at)
        secret = passphrase_file or (place.conf["GpgPassphraseFile"] if place.conf is not None else None)
        with Reader(place.storage, KeySource(passphrase=read_passphrase(secret), files=keys)) as reader:
            if path is None:
                pieces: Iterator[Data] = reader.stream(reader.open(links[-1]), lambda _size: None)
            else:
                with tempfile.TemporaryDirectory(prefix="s3nap-") as work:
                    picked = pick(links, StoredIndexes(reader, Path(work)), Selection([path]))
                pieces = contents_of(reader, links, picked, path)
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
    return Exit.DONE


def _connection(conf: Conf | None, job: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return how the server is reached: as the command line says, else as the conf does for this job."""
    here = next((each for each in expanded(conf.jobs) if each.name == job), None) if conf is not None else None
    return {
        option: options[option] or (here.settings[directive].value if here and directive in here.settings else None)
        for option, directive in _FROM_CONF.items()
    }


def _write(
    reader: Reader, links: Sequence[Archive], options: dict[str, Any], advance: Callable[[int], None]
) -> tuple[Restored, str]:
    """Write to where this kind of archive belongs; also return where that was."""
    if links[-1].manifest.stream != "tar":
        return restore_stream(reader, links, _loader(reader, links[-1], options), advance)
    target = _folder(links[-1], options)
    written = restore_tree(
        reader,
        links,
        target,
        overwrite=options["overwrite"],
        numeric_owner=options["numeric_owner"],
        progress=advance,
    )
    return written, str(target)


def _check(reader: Reader, links: Sequence[Archive], options: dict[str, Any]) -> None:
    """Raise what would hinder a restore, having looked at everything but the data."""
    for link in links:
        reader.open(link)
    if links[-1].manifest.stream == "tar":
        check_target(_folder(links[-1], options), overwrite=options["overwrite"])
    else:
        _loader(reader, links[-1], options).check()


def _folder(archive: Archive, options: dict[str, Any]) -> Path:
    if not options["target"]:
        raise UsageError(f"{readable(archive.manifest.job)} is restored into a folder: give --target FOLDER")
    return Path(options["target"])


def _loader(reader: Reader, archive: Archive, options: dict[str, Any]) -> Loader:
    wanted = LoadOptions(
        target=options["target"],
        database=options["database"],
        overwrite=options["overwrite"],
        host=options["db_host"],
        port=options["db_port"],
        socket=options["db_socket"],
        user=options["db_user"],
        defaults_file=options["defaults_file"],
        side=lambda role: _side(reader, archive, role),
    )
    return make_loader(archive.manifest, wanted)


def _side(reader: Reader, archive: Archive, role: str) -> bytes | None:
    if archive.manifest.object(role) is None:
        return None
    with tempfile.TemporaryDirectory(prefix="s3nap-") as folder:
        file = reader.side(reader.open(archive), role, Path(folder) / role)
        return file.read_bytes() if file is not None else None
