"""The ``drill`` command: which archives are rehearsed, where, and what is said about each."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from loguru import logger

from s3nap import access, report
from s3nap.access import Place
from s3nap.amounts import counted
from s3nap.catalog import JobCatalog
from s3nap.commands import logging, only_place
from s3nap.drill import Drill, Driller
from s3nap.envelope import read_passphrase
from s3nap.errors import Exit, NothingMatchesError, UsageError
from s3nap.liveness import chain
from s3nap.logs import one_line
from s3nap.manifest import Archive
from s3nap.names import readable
from s3nap.reader import KeySource, Reader
from s3nap.results import worst

_DID = {
    "index": "compared with its index",
    "repository": "loaded into a new repository, revision and UUID compared",
    "server": "loaded into a throw-away server, counts compared",
    "database": "written to a file, found sound by SQLite",
    "command": "fed to its Load command",
    "file": "written to a file, its end is there",
    "stream": "read to its end",
}
_WOULD = {
    "index": "into a folder, compared with its index",
    "repository": "into a new repository",
    "server": "into a throw-away server",
    "database": "into a file, for SQLite",
    "command": "into its Load command",
    "file": "into a file",
    "stream": "nowhere, read to its end",
}


def drill(  # noqa: PLR0913 - what the command line says
    *,
    confs: Sequence[Path],
    jobs: Sequence[str],
    all_hosts: bool,
    at: str,
    target: Path | None,
    run_commands: bool,
    keys: Sequence[Path],
    passphrase_file: Path | None,
    dry: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """Rehearse the restore of jobs; the status tells the worst that was found."""
    place = only_place(confs, options)
    found: list[dict[str, Any]] = []
    statuses: list[Exit] = []
    with logging(place.conf, options):
        place.storage.check()
        secret = passphrase_file or (place.conf["GpgPassphraseFile"] if place.conf is not None else None)
        source = KeySource(passphrase=read_passphrase(secret), files=keys)
        driller = Driller(place.storage, _folders(place, target), run_commands=run_commands)
        for host, known in _jobs(place, jobs, all_hosts=all_hosts):
            try:
                links = _chain(known, at, any_one=options["any_one"])
            except NothingMatchesError as error:
                statuses.append(Exit.FAILED)
                found.append(_hopeless(host, known.job, str(error)))
            else:
                with Reader(place.storage, source) as reader:
                    done = driller.planned(links) if dry else driller.drill(reader, links, datetime.now(UTC))
                statuses.append(done.status)
                found.append(_record(done, dry=dry))
            _say(found[-1], quiet=options["quiet"] or as_json)
    if as_json:
        click.echo(report.document(found))
    return Exit.VERIFICATION if Exit.VERIFICATION in statuses else worst(statuses)


def _folders(place: Place, target: Path | None) -> list[Path]:
    """Return where scratch folders may be made, the best first."""
    if target is not None:
        if not target.is_dir():
            raise UsageError(f"{target} is no folder: give one with room for what is restored")
        return [target]
    temporary = place.conf["TempDir"] if place.conf is not None else None
    return [*([temporary] if temporary is not None and temporary.is_dir() else []), Path(tempfile.gettempdir())]


def _jobs(place: Place, wanted: Sequence[str], *, all_hosts: bool) -> Iterator[tuple[str, JobCatalog]]:
    """Yield the jobs that are meant; NothingMatchesError if one is nowhere, or there is none at all."""
    missing: dict[str, NothingMatchesError] = {}
    seen: set[str] = set()
    empty = True
    for host in access.all_hosts(place) if all_hosts else [place.host]:
        known = replace(place, host=host).catalog.all_jobs()
        empty = empty and not known
        chosen = {} if wanted else known
        for word in wanted if known else ():
            try:
                one = access.named(known, word, host)
            except NothingMatchesError as error:
                missing[word] = error
            else:
                chosen[one.job] = one
                seen.add(word)
        for known_job in chosen.values():
            yield host, known_job
    if empty:
        raise NothingMatchesError(
            f"{place.storage.url} holds nothing of host {place.host}; {access.other_hosts(place)}"
        )
    for word in wanted:
        if word not in seen:
            raise missing[word]


def _chain(known: JobCatalog, at: str, *, any_one: bool) -> list[Archive]:
    """Return the chain to rehearse, FULL first; NothingMatchesError if nothing of the job restores."""
    if any_one:
        access.tell_doubts(known)
    by_run = known.by_run
    whole = [links for archive in known.archives if (links := chain(archive, by_run)) is not None]
    if not whole:
        raise NothingMatchesError("; ".join([f"none of {len(known.archives)} archives restores", *known.doubts]))
    return random.SystemRandom().choice(whole) if any_one else access.find_chain(known, at)


def _hopeless(host: str, job: str, why: str) -> dict[str, Any]:
    return {"host": host, "job": job, "run": None, "outcome": "failed", "why": why}


def _record(done: Drill, *, dry: bool) -> dict[str, Any]:
    manifest = done.manifest
    return {
        "host": manifest.host,
        "job": manifest.job,
        "run": manifest.run,
        "day": manifest.day.isoformat(),
        "type": manifest.type.value,
        "archives": len(done.links),
        "raw_size": done.raw_size,
        "how": done.how,
        "outcome": "planned" if dry and done.outcome == "restored" else done.outcome,
        "seconds": None if dry else round(done.seconds, 1),
        "why": done.why,
        "remark": done.remark,
        "mark": done.mark,
    }


def _say(record: dict[str, Any], *, quiet: bool) -> None:
    """Say at once what became of a job; what is wrong goes to the log, too."""
    title = f"{record['host']} {readable(record['job'])}"
    if record["outcome"] not in {"restored", "planned"}:
        of = f" (archive {record['run']})" if record["run"] is not None else ""
        logger.error("{}", one_line(f"{title}: {record['outcome']}{of}: {record['why']}"))
        return
    if quiet:
        return
    what = f"{counted(record['archives'], 'archive')} up to {record['day']}, {report.size(record['raw_size'])}"
    if record["outcome"] == "planned":
        line = f"{title}: would restore {what}, {_WOULD[record['how']]}"
    else:
        line = f"{title}: restored in {record['seconds']} s, {_DID[record['how']]} ({what})"
    click.echo(one_line(line + (f"; {record['remark']}" if record["remark"] else "")))
