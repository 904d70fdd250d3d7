"""The ``restore`` command: which archive, from where, into what; then the act, then what is said about it."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from loguru import logger

from s3nap import access, report
from s3nap.access import Place
from s3nap.amounts import counted
from s3nap.commands import logging, only_place
from s3nap.contents import StoredIndexes
from s3nap.envelope import read_passphrase
from s3nap.errors import Exit, UsageError
from s3nap.intofolder import restore_folder
from s3nap.job import Conf
from s3nap.manifest import Archive, Manifest
from s3nap.names import SIGNATURE, readable
from s3nap.picking import Selection, contents_of, pick
from s3nap.progress import on_terminal
from s3nap.reader import KeySource, Reader
from s3nap.restore import restore_stream, saying_how_to_go_on
from s3nap.salvaging import salvage
from s3nap.sources import Loader, LoadOptions
from s3nap.sources.excludes import Matcher
from s3nap.sources.table import expanded, make_loader
from s3nap.storage import Data

_OF_TREES = {
    **dict.fromkeys(("paths", "include", "exclude"), "whole, without PATH"),
    "delete": "without --delete",
    "verify": "and counted anyway, without --verify",
}
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
    if options["delete"] and (options["salvage"] or not options["overwrite"]):
        raise UsageError("--delete goes with --overwrite, and not with --salvage")
    place = only_place(confs, options)
    begun = time.monotonic()
    with logging(place.conf, options):
        place.storage.check()
        known = access.find_job(place, job)
        secret = passphrase_file or (place.conf["GpgPassphraseFile"] if place.conf is not None else None)
        source = KeySource(passphrase=read_passphrase(secret), files=keys)
        if options["salvage"]:
            lineage = access.find_lineage(known, at)
            with Reader(place.storage, source) as reader:
                return salvage(reader, lineage, _folder(lineage[-1], options), options, dry=dry)
        links = access.find_chain(known, at)
        for doubt in _unvouched(place, links, unsigned=options["unsigned"]):
            logger.warning("{}", doubt)
        manifest = links[-1].manifest
        wanted = options | _connection(place.conf, manifest.job, options)
        with Reader(place.storage, source) as reader:
            if manifest.stream == "tar":
                spared = _excluded(place.conf, manifest)
                return restore_folder(reader, links, _folder(links[-1], options), wanted | spared, dry=dry)
            _refuse(manifest, options)
            total, stored = (sum(sizes) for sizes in zip(*map(_sizes, links), strict=True))
            title = f"{readable(manifest.job)} of {manifest.day}"
            plan = f"{title}: {counted(len(links), 'archive')}, {report.size(total)}, {report.size(stored)} to fetch"
            loader = _loader(reader, links[-1], wanted)
            if dry:
                _check(reader, links, loader)
                click.echo(f"would restore {plan}")
                return Exit.DONE
            say: Callable[[str], None] = logger.debug if options["quiet"] or options["target"] == "-" else click.echo
            say(f"restoring {plan}")
            with on_terminal(quiet=bool(options["quiet"]))(title, total) as advance:
                written, where = restore_stream(reader, links, loader, advance)
    say(report.restored_text(manifest, where, written.raw_size, time.monotonic() - begun))
    return Exit.DONE


def _unvouched(place: Place, links: Sequence[Archive], *, unsigned: bool) -> Iterator[str]:
    """Say in one line that nobody looks at signatures, where there are some, or where that was asked for."""
    if unsigned:
        yield "as --unsigned asks for, nobody looks at who signed what is restored"
    elif place.trust is None and all(SIGNATURE in link.marks for link in links):
        yield "signed, but nobody says by whom it must be: --trusted-signer FINGERPRINT makes sure"


def _refuse(manifest: Manifest, options: dict[str, Any]) -> None:
    """Raise UsageError for what only trees of files can do."""
    for option, words in _OF_TREES.items():
        if options[option]:
            raise UsageError(f"{readable(manifest.job)} is no tree of files: it is restored {words}")


def _sizes(archive: Archive) -> tuple[int, int]:
    return archive.manifest.raw_size, archive.manifest.stored_size


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


def _excluded(conf: Conf | None, manifest: Manifest) -> dict[str, Matcher]:
    """Return what the conf, if there is one, excludes of this job: ``--delete`` spares that."""
    here = next((each for each in conf.jobs if each.name == manifest.job), None) if conf is not None else None
    return {"spared": Matcher(here["Exclude"] if here is not None else (), root=manifest.source == "/")}


def _check(reader: Reader, links: Sequence[Archive], loader: Loader) -> None:
    """Raise what would hinder a load, having looked at everything but the data."""
    with saying_how_to_go_on(links[-1].manifest.stream):
        for link in links:
            reader.open(link)
    loader.check()


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
        side=lambda role: reader.small(archive, role),
    )
    return make_loader(archive.manifest, wanted)
