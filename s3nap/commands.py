"""What each command does: from options to acts to what is printed. Returns the exit status."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from loguru import logger

from s3nap import access, config, logs, report
from s3nap.access import Place
from s3nap.catalog import Catalog
from s3nap.errors import ConfError, DeniedError, Exit, NothingMatchesError, S3napError, UsageError, VerificationError
from s3nap.manifest import Archive
from s3nap.names import readable
from s3nap.signing import trust_of
from s3nap.sources.table import EXPANSIONS, expanded
from s3nap.when import local_day

if TYPE_CHECKING:
    from s3nap.job import Conf, Job

MARKED = {"hold": "held", "released": "released"}


@contextmanager
def logging(conf: Conf | None, options: dict[str, Any], *, quiet: bool = False) -> Iterator[logs.LogSetup]:
    """Log as the conf says while the block runs."""
    setup = logs.setup(
        conf["LogConfig"] if conf is not None else None,
        quiet=quiet or bool(options["quiet"]),
        verbose=bool(options["verbose"]),
        debug=bool(options["debug"]),
    )
    try:
        yield setup
    finally:
        setup.close()


def _today(day: str | None) -> date:
    return local_day(day) if day else datetime.now().astimezone().date()


def load(confs: Sequence[Path], *, on_this_host: bool = True) -> list[Conf]:
    """Load all confs; one ConfError has the faults of all of them."""
    loaded: list[Conf] = []
    errors: list[ConfError] = []
    for path in confs:
        try:
            loaded.append(config.load(path, on_this_host=on_this_host))
        except ConfError as error:
            errors.append(error)
    if errors:
        raise ConfError.of(errors)
    return loaded


def chosen(confs: Sequence[Conf], wanted: str) -> list[Job]:
    """Return the jobs that a word means: by name, source, or kind if it is the only one; one of a SubversionDir, too.

    Raises NothingMatchesError, saying what there is, if none is meant.
    """
    known = [job for conf in confs for job in conf.jobs]
    each = {(job.name, job.origin): job for job in (*known, *(job for conf in confs for job in expanded(conf.jobs)))}
    matching = [job for job in each.values() if wanted in {job.name, readable(job.name), job.source}]
    alone = [job for job in each.values() if job.kind == wanted]
    matching = matching or (alone if len({job.name for job in alone}) == 1 else [])
    if not matching:
        raise NothingMatchesError(f"no job {wanted}; the conf has: {', '.join(readable(job.name) for job in known)}")
    return matching


def plan(*, confs: Sequence[Path], start: str | None, days: int, as_json: bool, **options: Any) -> int:  # noqa: ANN401
    """Print the calendar."""
    from s3nap.forecast import forecast  # noqa: PLC0415 - needed by this command only

    today = _today(None)
    first = _today(start)
    for path in confs:
        conf = config.load(path, on_this_host=False)
        jobs = expanded(conf.jobs)
        with logging(conf, options):
            archives = _known(conf, jobs, min(first, today))
        machine = access.machine(conf)
        made = forecast(jobs, archives, start=first, days=days, machine=machine, today=today)
        click.echo(report.plan_json(made) if as_json else report.plan_text(made))
    return Exit.DONE


def _known(conf: Conf, jobs: Sequence[Job], before: date) -> dict[str, Sequence[Archive]]:
    """Return the archives made before a day; nothing, with a word, where the storage does not answer."""
    # one whose repositories cannot be found here has no archives of its own name: nothing is known of it
    unknown = {job.name for job in conf.jobs if job.kind in EXPANSIONS}
    try:
        storage = access.storage_of(conf)
        storage.check()
        catalog = Catalog(storage, conf["Host"], trust_of(conf))
        known = {job.name: catalog.job(job.name) for job in jobs if job.name not in unknown}
    except S3napError as error:
        logger.warning(
            "{}: planned as if all had gone well so far, for the storage does not answer: {}", conf.file, error
        )
        return {}
    for doubt in (doubt for each in known.values() for doubt in each.doubts):
        logger.warning("{}", doubt)
    return {name: [item for item in each.archives if item.manifest.day <= before] for name, each in known.items()}


def list_archives(
    *,
    confs: Sequence[Path],
    job: str | None,
    all_hosts: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """List archives; NothingMatchesError if a job was named and there is none."""
    records: list[dict[str, Any]] = []
    status = Exit.DONE
    for place in _places(confs, options):
        with logging(place.conf, options):
            place.storage.check()
            hosts = access.all_hosts(place) if all_hosts else [place.host]
            found = [_listed(replace(place, host=host), job) for host in hosts]
            records += [record for archives, _ in found for record in archives]
            for doubt in (doubt for _, doubts in found for doubt in doubts):
                logger.warning("{}", doubt)
                status = Exit.WARNINGS
            if not as_json and not any(archives for archives, _ in found):
                click.echo(f"nothing is stored of host {place.host}; {access.other_hosts(place)}")
    if as_json:
        click.echo(report.document(records))
    elif records:
        click.echo(report.archives_text(records, hosts=all_hosts), nl=False)
    return status


def _listed(place: Place, job: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the records of a host's archives, and what could not be taken for one."""
    today = _today(None)
    known = [access.find_job(place, job)] if job else list(place.catalog.all_jobs().values())
    verdicts = [(each, place.verdict(each, today)) for each in known]
    records = [
        report.archive_record(archive, verdict, retired_job=place.retired(archive))
        for each, verdict in verdicts
        for archive in each.archives
    ]
    return records, [doubt for each in known for doubt in (*each.doubts, *place.breaks(each))]


def _places(confs: Sequence[Path], options: dict[str, Any]) -> Iterator[Place]:
    return access.places(confs, **{name: options[name] for name in access.WHERE})


def only_place(confs: Sequence[Path], options: dict[str, Any]) -> Place:
    """Return the one storage that is meant; UsageError if several are."""
    found = list(_places(confs, options))
    if len(found) != 1:
        raise UsageError("give one conf or one --bucket, not several")
    return found[0]


def recipe(*, confs: Sequence[Path], job: str, at: str, **options: Any) -> int:  # noqa: ANN401
    """Print the recipe as it is stored with the archive."""
    place = only_place(confs, options)
    place.storage.check()
    manifest = access.find_chain(access.find_job(place, job), at)[-1].manifest
    stored = manifest.object("recipe")
    if stored is None:
        raise VerificationError(f"archive {manifest.run} has no recipe")
    script = place.storage.get(manifest.at.data + stored.name)
    if hashlib.sha256(script).hexdigest() != stored.sha256:
        raise VerificationError(f"{manifest.at.data}{stored.name} is not what was stored: do not run it")
    click.echo(script, nl=False)
    return Exit.DONE


def mark(name: str, *, confs: Sequence[Path], job: str, at: str, **options: Any) -> int:  # noqa: ANN401
    """Put a mark beside a manifest; ``released`` also ends a hold, and means all that wait for it unless told which."""
    place = only_place(confs, options)
    place.storage.check()
    known = access.find_job(place, job)
    waiting = [archive for archive in known.archives if archive.braking] if name == "released" else []
    chosen = waiting if waiting and at == "latest" else [access.find_chain(known, at)[-1]]
    for archive in chosen:
        manifest = archive.manifest
        if name == "released" and archive.held and place.storage.delete([manifest.at.mark("hold")]):
            raise DeniedError(f"the storage does not let go of {manifest.at.mark('hold')}: it may not be deleted")
        if name not in archive.marks and (name == "hold" or archive.braking):
            place.storage.put(manifest.at.mark(name), b"")
        click.echo(f"{readable(manifest.job)}: archive {manifest.run} of {manifest.day} is now {MARKED[name]}")
    return Exit.DONE


def validate(*, confs: Sequence[Path], **_: Any) -> int:  # noqa: ANN401
    """Check confs, and whether those who are to be told can be."""
    from s3nap.notices import faults as notice_faults  # noqa: PLC0415 - needed by this command only

    loaded = load(confs)
    if wrong := [fault for conf in loaded for fault in notice_faults(conf)]:
        raise ConfError(wrong)
    for conf in loaded:
        click.echo(f"{conf.file}: is right; {len(conf.jobs)} jobs")
    return Exit.DONE
