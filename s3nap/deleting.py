"""The commands that delete, ``prune`` and ``rm``: what would go, is it meant, and what became of it."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click
from loguru import logger

from s3nap import access, report
from s3nap.access import Place
from s3nap.catalog import JobCatalog
from s3nap.commands import logging, only_place
from s3nap.cycle import day_number
from s3nap.errors import Exit, NothingMatchesError, UsageError, VerificationError
from s3nap.liveness import chain, children_first, descendants
from s3nap.manifest import Archive
from s3nap.names import readable
from s3nap.prune import Item, Plan, Prune, Why
from s3nap.results import worst
from s3nap.upkeep import Fate, remove
from s3nap.when import choose, day_or_today

_STATUS = {Fate.FAILED: Exit.FAILED, Fate.LOCKED: Exit.LOCKED}


def prune(  # noqa: PLR0913 - what the command line says
    *,
    confs: Sequence[Path],
    jobs: Sequence[str],
    retired: bool,
    all_hosts: bool,
    yes: bool,
    dry: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """Sweep what failed runs left and what is no longer live; with ``retired`` what the conf no longer has."""
    if retired and not jobs:
        raise UsageError("--retired needs the names of the jobs whose retired archives shall go; see `s3nap list`")
    records: list[dict[str, Any]] = []
    statuses: list[Exit] = []
    found: set[str] = set()
    for place in access.places(confs, **{name: options[name] for name in access.WHERE}):
        with logging(place.conf, options):
            place.storage.check()
            for host in sorted({place.host, *(access.all_hosts(place) if all_hosts else ())}):
                sweep = _sweep_of(replace(place, host=host), dry=dry)
                plan = sweep.plan(jobs, retired=retired)
                found |= plan.jobs
                for doubt in plan.doubts:
                    logger.warning("{}", doubt)
                statuses += [Exit.WARNINGS] if plan.doubts else []
                if not dry:
                    _confirm_retired(plan, yes=yes)
                fates, failures = ({}, []) if dry else sweep.carry_out(plan)
                statuses += [*failures, *(_STATUS[fate] for fate in fates.values() if fate in _STATUS)]
                records += [_record(item, fates.get(item)) for item in plan.items]
    if jobs and not found:
        raise NothingMatchesError(f"no job {', '.join(jobs)} is stored; `s3nap list --all-hosts` shows what is")
    _show(records, dry=dry, as_json=as_json, quiet=bool(options["quiet"]))
    return worst(statuses)


def _sweep_of(place: Place, *, dry: bool) -> Prune:
    """Return the sweep of the host that a place means; what the conf says counts for the conf's host alone."""
    conf = place.conf if place.conf is not None and place.host == place.conf["Host"] else None
    return Prune(
        place.catalog,
        today=day_number(day_or_today(None)),
        jobs=place.jobs if conf is not None else (),
        conf=conf.file.name if conf is not None else None,
        machine=access.machine(conf) if conf is not None else None,
        diffdir=access.diffdir(place, writable=not dry),
    )


def _confirm_retired(plan: Plan, *, yes: bool) -> None:
    going = [item for item in plan.items if item.why is Why.RETIRED]
    if going:
        click.echo(report.swept_text([_record(item, None) for item in going], became=False), nl=False, err=True)
        total = report.size(sum(item.size for item in going))
        _confirm(f"Delete these {len(going)} retired archives, {total}, for good?", yes=yes)


def _confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal; UsageError where nobody can be asked, or if the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nothing was deleted: say --yes where there is no terminal to ask at")
    if not click.confirm(question, err=True):
        raise UsageError("nothing was deleted")


def _record(item: Item, fate: Fate | None) -> dict[str, Any]:
    return {
        "host": item.at.host,
        "job": item.job,
        "slot": item.at.slot,
        "type": str(item.at.type),
        "run": item.at.run,
        "day": item.day.isoformat() if item.day is not None else None,
        "stored_size": item.size,
        "why": item.why.value,
        "result": fate.value if fate is not None else None,
    }


def _show(records: Sequence[dict[str, Any]], *, dry: bool, as_json: bool, quiet: bool) -> None:
    if as_json:
        click.echo(report.document(records))
        return
    if quiet:
        return
    if records:
        click.echo(report.swept_text(records, became=not dry), nl=False)
    total = report.size(sum(record["stored_size"] for record in records))
    if dry:
        click.echo(f"would sweep {len(records)} of these, {total}" if records else "nothing to sweep")
        return
    swept = [record for record in records if record["result"] == Fate.SWEPT.value]
    gone = report.size(sum(record["stored_size"] for record in swept))
    click.echo(f"swept {len(swept)} of {len(records)}, {gone} of {total}" if records else "nothing to sweep")


def rm(  # noqa: PLR0913 - what the command line says
    *,
    confs: Sequence[Path],
    job: str,
    at: str,
    with_children: bool,
    yes: bool,
    dry: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """Delete one archive on purpose, with those that need it if that is said, too."""
    place = only_place(confs, options)
    with logging(place.conf, options):
        place.storage.check()
        known = access.find_job(place, job)
        chosen = _chosen(known, at)
        going = _family(known, chosen, with_children=with_children)
        if dry or not (yes and options["quiet"]):
            click.echo(_consequences(place, known, going), nl=False)
        if dry:
            return Exit.DONE
        _confirm(f"Delete {'this archive' if len(going) == 1 else f'these {len(going)} archives'} for good?", yes=yes)
        fates = _removed(place, known.job, chosen.run, going)
    for archive in going:
        if options["quiet"] and fates[archive.run] is Fate.SWEPT:
            continue
        click.echo(f"{readable(known.job)}: archive {archive.run} of {archive.manifest.day}: {fates[archive.run]}")
    return worst([_STATUS.get(fate, Exit.WARNINGS) for fate in fates.values() if fate is not Fate.SWEPT])


def _chosen(known: JobCatalog, at: str) -> Archive:
    """Return the archive that is meant: restorable or not, and for a date of just that day."""
    if known.unreadable:
        raise VerificationError(
            f"{readable(known.job)}: nothing is deleted while a manifest cannot be understood, for it may need any "
            f"other: {known.unreadable[0]}"
        )
    chosen = choose(known.archives, at, datetime.now(UTC))
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}|\d{8}", at) and chosen.manifest.day != date.fromisoformat(at):
        raise NothingMatchesError(
            f"no archive was made for {at}; the one before it is of {chosen.manifest.day} (--at {chosen.run})"
        )
    return chosen


def _family(known: JobCatalog, chosen: Archive, *, with_children: bool) -> list[Archive]:
    """Return what goes, children first; UsageError where that is more than was asked for, or held."""
    children = descendants(chosen, known.archives)
    if children and not with_children:
        needing = ", ".join(f"{item.manifest.day} ({item.run})" for item in reversed(children))
        raise UsageError(
            f"archive {chosen.run} of {chosen.manifest.day} is needed by {len(children)} more: {needing}; "
            "--with-children deletes them, too"
        )
    going = [*children, chosen]
    held = [item for item in going if item.held]
    if held:
        name = readable(known.job)
        words = "; ".join(f"s3nap release {name} --at {item.run}" for item in held)
        raise UsageError(f"{name}: held, and so not deleted: {', '.join(item.run for item in held)}; first: {words}")
    return going


def _consequences(place: Place, known: JobCatalog, going: Sequence[Archive]) -> str:
    """Say what goes, what remains, and what the next run will do."""
    gone = {item.run for item in going}
    rest = [item for item in known.archives if item.run not in gone]
    by_run = {item.run: item for item in rest}
    days = sorted({item.manifest.day for item in rest if chain(item, by_run) is not None})
    lines = [f"{readable(known.job)} of host {place.host}"]
    lines += [
        f"goes:    {item.manifest.day} {item.manifest.type} slot {item.manifest.slot} {item.run}, "
        f"{report.size(item.manifest.stored_size)}"
        for item in going
    ]
    lines.append(
        f"remains: {len(days)} days: {report.spans(days)}"
        if days
        else "remains: NOTHING of this job can be restored any more"
    )
    # the state of a machine is that of its newest archive
    for machine in sorted({item.manifest.machine for item in going}):
        newest = max(item.run for item in known.archives if item.manifest.machine == machine)
        if newest in gone:
            lines.append(
                f"then:    the next run of machine {machine} makes a FULL, for its state is that of {newest}; if that "
                f"machine may only put, it cannot know: run there `s3nap backup {readable(known.job)} --full -f`"
            )
    return "\n".join(lines) + "\n"


def _removed(place: Place, job: str, chosen: str, going: Sequence[Archive]) -> dict[str, Fate]:
    """Delete under the job's lock, if what was shown is still all there is to it."""
    diffdir = access.diffdir(place, writable=True)
    state = diffdir.job(job) if diffdir is not None else None
    if state is not None and not state.folder.is_dir():
        state = None
    catalog = place.catalog
    with state.lock() if state is not None else nullcontext():
        known = catalog.job(job)
        now = known.by_run.get(chosen)
        family = _family(known, now, with_children=True) if now is not None else []
        if known.unreadable or {item.run for item in family} - {item.run for item in going}:
            raise UsageError(f"{readable(job)}: what is stored has changed meanwhile; nothing was deleted: look again")
        gone = {item.run: Fate.SWEPT for item in going if item.run not in known.by_run}
        return gone | remove(catalog, children_first(known.archives, [item.run for item in family]), state)
