"""The ``check`` command: which facts are needed, and how the findings are printed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from s3nap import access, config, monitors, report, vitals
from s3nap.access import Place
from s3nap.colours import GREEN, RED, YELLOW, painted, wanted
from s3nap.commands import logging
from s3nap.errors import ConfError, S3napError, UsageError
from s3nap.findings import Finding, Level, applied
from s3nap.jobchecks import JOB_CHECKS
from s3nap.machinechecks import MACHINE_CHECKS
from s3nap.when import day_or_today

_COLOURS = {Level.OK: GREEN, Level.WARNING: YELLOW, Level.CRITICAL: RED}
_HINDRANCES = ("configuration", "storage")


def check(  # noqa: PLR0913 - what the command line says
    *,
    confs: Sequence[Path],
    all_hosts: bool,
    ignore: Sequence[str],
    nagios: bool,
    prometheus: Path | None,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """Check all that is meant; the status is that of the worst finding, as Nagios has it."""
    known = {*JOB_CHECKS, *MACHINE_CHECKS, *_HINDRANCES}
    if unknown := set(ignore) - known:
        raise UsageError(f"there is no check {', '.join(sorted(unknown))}; there are: {', '.join(sorted(known))}")
    with logging(None, options, quiet=True):
        found = [
            finding
            for conf in (*((path,) for path in confs), *([()] if options["bucket"] else []))
            for finding in _place(conf, options, all_hosts=all_hosts)
            if finding.check not in ignore
        ]
    findings = monitors.ordered(found)
    if prometheus is not None:
        monitors.write_textfile(prometheus, monitors.prometheus(findings, time.time()))
    if nagios:
        click.echo(monitors.nagios(findings, hosts=all_hosts))
    elif as_json:
        click.echo(report.document(monitors.records(findings)))
    else:
        shown = [each for each in findings if each.level is not Level.OK or not options["quiet"]]
        colours = wanted(sys.stdout)
        for finding, line in zip(shown, monitors.lines(shown, hosts=all_hosts), strict=True):
            word, _, rest = line.partition(" ")
            click.echo(f"{painted(word, _COLOURS.get(finding.level) if colours else None)} {rest}")
    return monitors.worst(findings)


def _place(conf: tuple[Path, ...] | tuple[()], options: dict[str, Any], *, all_hosts: bool) -> Iterator[Finding]:
    """Yield the findings of one conf, or of the bucket; what hinders them is a finding, too."""
    wanted = {name: options[name] for name in access.WHERE} | ({"bucket": None} if conf else {})
    try:
        if conf and not all_hosts and options["host"] is None:
            config.load(conf[0])  # as a run would: with all that this machine must have
        (place,) = access.places(conf, **wanted)
    except ConfError as error:
        more = f" (and {len(error.faults) - 1} more)" if len(error.faults) > 1 else ""
        yield Finding(check="configuration", level=Level.CRITICAL, text=f"{error.faults[0]}{more}")
        return
    except S3napError as error:
        yield Finding(check="storage", level=Level.CRITICAL, text=str(error))
        return
    own = place.conf if not all_hosts and options["host"] is None else None
    try:
        place.storage.check()
        yield from _jobs(place, all_hosts=all_hosts, here=own is not None)
        yield Finding(check="storage", level=Level.OK, text=f"{place.storage.url} answers", subject=place.storage.url)
    except S3napError as error:
        yield Finding(check="storage", level=Level.CRITICAL, text=str(error), subject=place.storage.url)
    if own is not None:
        yield from applied(MACHINE_CHECKS, vitals.of_machine(own, place.storage), own["Host"])


def _jobs(place: Place, *, all_hosts: bool, here: bool) -> Iterator[Finding]:
    today = day_or_today(None)
    if here and place.conf is not None:
        for facts in vitals.of_conf(place.conf, place.catalog, place.endpoint, today):
            yield from applied(JOB_CHECKS, facts, place.host, facts.job)
        return
    seen = False
    for host in access.all_hosts(place) if all_hosts else [place.host]:
        for facts in vitals.of_host(replace(place, host=host).catalog, today):
            seen = True
            yield from applied(JOB_CHECKS, facts, host, facts.job)
    if not seen:
        text = f"nothing of host {place.host}" if not all_hosts else "no archives at all"
        yield Finding(check="backup", level=Level.CRITICAL, text=f"{place.storage.url} holds {text}", host=place.host)
