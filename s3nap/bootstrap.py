"""The ``bootstrap`` command: on a bare machine, from bucket and key to the conf in its place and a list of restores."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from s3nap import access, advice, config, hostcheck
from s3nap.access import Place
from s3nap.backup import open_envelope
from s3nap.catalog import JobCatalog
from s3nap.commands import logging, only_place
from s3nap.directives import CONF
from s3nap.envelope import read_passphrase
from s3nap.errors import Exit, NothingMatchesError, S3napError, UsageError, VerificationError
from s3nap.job import Conf
from s3nap.manifest import Manifest
from s3nap.names import readable
from s3nap.putback import put_back
from s3nap.reader import KeySource, Reader
from s3nap.rebuilding import Way, order
from s3nap.restore import restore_tree
from s3nap.runbook import afterwards_text, install_text, order_text
from s3nap.sources.table import expanded
from s3nap.state import DiffDir, make_folder
from s3nap.storage.open import canonical

_ROOT = Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What was put back, and where: absolute paths of the conf are meant below ``root``."""

    place: Place
    manifest: Manifest
    conf: Conf
    root: Path
    put: Sequence[tuple[Path, bool]]

    def here(self, path: Path) -> Path:
        return self.root / str(path.absolute()).lstrip("/")


def bootstrap(  # noqa: PLR0913 - what the command line says
    *,
    confs: Sequence[Path],
    job: str | None,
    at: str,
    target: Path | None,
    overwrite: bool,
    keys: Sequence[Path],
    passphrase_file: Path | None,
    **options: Any,  # noqa: ANN401
) -> int:
    """Put the conf back, make its folders, and say what to do next.

    Raises NothingMatchesError if the host has no stored conf, or several and none was named.
    """
    if confs:
        raise UsageError("bootstrap is for where there is no conf: give --bucket and --host")
    place = only_place((), options)
    root = (target or _ROOT).absolute()
    with logging(None, options):
        place.storage.check()
        known = place.catalog.all_jobs()
        links = access.find_chain(_stored_conf(place, job, known), at)
        manifest = links[-1].manifest
        source = KeySource(passphrase=read_passphrase(passphrase_file), files=keys)
        with tempfile.TemporaryDirectory(prefix="s3nap-") as work, Reader(place.storage, source) as reader:
            restore_tree(reader, links, Path(work) / "files")
            put = put_back(Path(work) / "files", root, overwrite=overwrite)
        file = root / manifest.source.lstrip("/")
        if not file.is_symlink() and not file.is_file():
            raise VerificationError(f"the archive {manifest.run} does not hold {manifest.source}")
        conf = config.load(file, on_this_host=False, root=root)
        found = _Found(place=place, manifest=manifest, conf=conf, root=root, put=put)
        copies = _make_folders(found, known)
    where = advice.reaching((), {**options, "host": place.host})
    steps = order(expanded(conf.jobs), known, Way(where=where, root=root, pinned=True))
    parts = (_put_text(found, copies), _todo_text(found), install_text(steps), order_text(steps), afterwards_text())
    click.echo("\n".join(line for part in parts for line in part), nl=False)
    return Exit.DONE


def _stored_conf(place: Place, job: str | None, known: Mapping[str, JobCatalog]) -> JobCatalog:
    confs = [name for name, item in known.items() if any(each.manifest.kind == CONF for each in item.archives)]
    if job is None and known and not confs:
        raise NothingMatchesError(
            f"host {place.host} has archives, but no stored conf (StoreConf, or no encryption): restore its jobs one "
            "by one, see `s3nap list`"
        )
    if job is None and len(confs) > 1:
        shown = ", ".join(map(readable, confs))
        raise NothingMatchesError(f"host {place.host} has several confs: {shown}; say which: s3nap bootstrap JOB …")
    found = access.find_job(place, job or CONF)
    if found.job not in confs:
        raise UsageError(f"{readable(found.job)} is no stored conf; there is {', '.join(map(readable, confs))}")
    return found


def _make_folders(found: _Found, known: Mapping[str, JobCatalog]) -> int:
    """Make DiffDir and TempDir, with copies of the manifests; return how many archives are known there.

    Not the machine id: the old host may live. This one gets an id of its own, by its first run.
    """
    conf = found.conf
    for directive in ("DiffDir", "TempDir"):
        if conf[directive] is not None:
            make_folder(found.here(conf[directive]))
    url = canonical(conf["Bucket"])
    if url != found.place.storage.url:
        return 0
    diffdir = DiffDir(found.here(conf["DiffDir"]), f"{url}@{conf['Endpoint'] or ''}", found.place.host)
    catalog = found.place.catalog
    count = 0
    for name, item in known.items():
        if any(archive.manifest.conf == conf.file.name for archive in item.archives):
            count += len(catalog.job(name, diffdir.job(name).manifests, keep_copies=True).archives)
    return count


def _put_text(found: _Found, copies: int) -> Iterator[str]:
    yield f"# {found.place.host}, from the conf of {found.manifest.day} ({found.manifest.run})\n"
    for path, written in found.put:
        yield f"- {path}: {'restored' if written else 'was there already, just so'}"
    for directive in ("DiffDir", "TempDir"):
        if found.conf[directive] is not None:
            yield f"- {found.here(found.conf[directive])}: {directive}"
    yield f"- {copies} manifests copied to DiffDir; no machine id, for the old host may live\n"


def _todo_text(found: _Found) -> Iterator[str]:
    """Say what the conf needs that this machine does not have."""
    conf = found.conf
    todo = [message for _, message in _faults(found)]
    if found.root == _ROOT and conf["GpgRecipient"]:
        try:
            open_envelope(conf).close()
        except S3napError as error:
            todo.append(f"{error}; gpg --import the public key")
    if conf.settings["Host"].origin == "default" and conf["Host"] != found.place.host:
        todo.append(
            f"the conf has no Host, and this machine is called {conf['Host']}: call it {found.place.host}, or write "
            f"Host {found.place.host} into {conf.file}; else its runs do not go on where {found.place.host} ended"
        )
    if canonical(conf["Bucket"]) != found.place.storage.url:
        todo.append(f"the conf says Bucket {conf['Bucket']}, this was read from {found.place.storage.url}: correct it")
    if todo:
        yield "## Before the next run\n"
        yield from (f"- {message}" for message in todo)
        yield ""


def _faults(found: _Found) -> Iterator[tuple[str, str]]:
    seen = set()
    for settings in (found.conf.settings, *(job.settings for job in found.conf.jobs)):
        for name in hostcheck.PATHS:
            path = settings[name].value if name in settings else None
            if path is not None and (name, path) not in seen:
                seen.add((name, path))
                yield from hostcheck.faults({name: found.here(path)})
