"""The ``list`` command: what is stored, whether it restores, and where there are gaps."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import click
from loguru import logger

from s3nap import access, report
from s3nap.access import Place
from s3nap.catalog import JobCatalog
from s3nap.colours import wanted
from s3nap.commands import logging, places
from s3nap.errors import Exit
from s3nap.gaps import Strip, awaited, strip, strips_text
from s3nap.names import readable
from s3nap.sources.table import job_of
from s3nap.tables import room_for_lines
from s3nap.when import day_or_today


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What is there of a host: records, strips, and what could not be taken for an archive."""

    records: Sequence[dict[str, Any]]
    strips: Sequence[Strip]
    doubts: Sequence[str]


def list_archives(
    *,
    confs: Sequence[Path],
    job: str | None,
    all_hosts: bool,
    as_json: bool,
    day: str | None,
    **options: Any,  # noqa: ANN401
) -> int:
    """List archives; NothingMatchesError if a job was named and there is none."""
    records: list[dict[str, Any]] = []
    strips: list[Strip] = []
    status = Exit.DONE
    today = day_or_today(day)
    for place in places(confs, options):
        with logging(place.conf, options):
            place.storage.check()
            hosts = access.all_hosts(place) if all_hosts else [place.host]
            found = [_found(replace(place, host=host), job, today, name=all_hosts) for host in hosts]
            for each in found:
                records += each.records
                strips += each.strips
                for doubt in each.doubts:
                    logger.warning("{}", doubt)
                    status = Exit.WARNINGS
            if not as_json and not any(each.records for each in found):
                click.echo(f"nothing is stored of host {place.host}; {access.other_hosts(place)}")
    if as_json:
        click.echo(report.document(records))
        return status
    if options["quiet"]:
        strips, records = [], [record for record in records if report.is_wrong(record)]
    if records:
        click.echo(report.archives_text(records, hosts=all_hosts), nl=False)
    if strips:
        click.echo(strips_text(strips, room_for_lines(), colours=wanted(sys.stdout)), nl=False)
    return status


def _found(place: Place, job: str | None, today: date, *, name: bool) -> _Found:
    known = [access.find_job(place, job)] if job else list(place.catalog.all_jobs().values())
    records: list[dict[str, Any]] = []
    strips: list[Strip] = []
    for each in known:
        verdict = place.verdict(each, today)
        made = [
            report.archive_record(archive, verdict, retired_job=place.retired(archive)) for archive in each.archives
        ]
        records += made
        if made:
            title = f"{place.host}: {readable(each.job)}" if name else readable(each.job)
            strips.append(strip(title, made, today, _awaited(place, each, today)))
    doubts = [doubt for each in known for doubt in (*each.doubts, *place.breaks(each))]
    return _Found(records=records, strips=strips, doubts=doubts)


def _awaited(place: Place, known: JobCatalog, today: date) -> frozenset[int] | None:
    """Return the days on which an archive is awaited; None where nothing here tells."""
    job = job_of(known.job, place.jobs)
    if job is not None:
        return awaited(job.cycle, today)
    return frozenset() if any(place.retired(archive) for archive in known.archives) else None
