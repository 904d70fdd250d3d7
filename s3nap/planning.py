"""The ``plan`` command: what the calendar rests on, and how it is printed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import click
from loguru import logger

from s3nap import access, config, report
from s3nap.catalog import Catalog
from s3nap.commands import logging
from s3nap.errors import Exit, S3napError
from s3nap.job import Conf, Job
from s3nap.manifest import Archive
from s3nap.signing import trust_of
from s3nap.sources.table import EXPANSIONS, expanded
from s3nap.weeks import calendar_text
from s3nap.when import day_or_today


def plan(  # noqa: PLR0913 - what the command line says
    *,
    confs: Sequence[Path],
    start: str | None,
    day: str | None,
    days: int,
    as_json: bool,
    as_table: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """Print the calendar."""
    from s3nap.forecast import forecast  # noqa: PLC0415 - needed by this command only

    today = day_or_today(day)
    first = day_or_today(start or day)
    for path in confs:
        conf = config.load(path, on_this_host=False)
        jobs = expanded(conf.jobs)
        with logging(conf, options):
            archives = _known(conf, jobs, min(first, today))
        machine = access.machine(conf)
        made = forecast(jobs, archives, start=first, days=days, machine=machine, today=today)
        if as_json:
            click.echo(report.plan_json(made))
        else:
            click.echo(report.tasks_table(made) if as_table else calendar_text(made, today), nl=False)
            click.echo(report.plan_end_text(made), nl=False)
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
