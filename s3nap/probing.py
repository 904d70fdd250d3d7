"""The commands ``storage test`` and ``iam``: what a storage can do, and who should be allowed what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from s3nap import config, report
from s3nap.commands import logging, only_place
from s3nap.errors import Exit, UsageError
from s3nap.logs import one_line
from s3nap.policies import ROLES, policy
from s3nap.probe import Probe


def storage_test(*, confs: Sequence[Path], as_json: bool, **options: Any) -> int:  # noqa: ANN401
    """Try everything, and say line by line what works, and what follows where something does not."""
    place = only_place(confs, options)
    quiet = bool(options["quiet"]) and not as_json
    with logging(place.conf, options):
        probe = Probe(place.storage)
        if not as_json and not quiet:
            click.echo(f"{place.storage.url}: tried under {probe.scratch}/, which is removed again")
        findings = []
        for finding in probe.findings():
            findings.append(finding)
            if not as_json and (finding.fatal or not quiet):
                click.echo(one_line(f"{finding.verdict:8} {finding.what:37} {finding.means}").rstrip())
    fatal = [finding.what for finding in findings if finding.fatal]
    if as_json:
        click.echo(report.document([asdict(finding) for finding in findings]))
    elif fatal or not quiet:
        click.echo(f"NOT FIT for s3nap: {', '.join(fatal)}" if fatal else "fit for s3nap")
    return Exit.BUCKET if fatal else Exit.DONE


def iam(*, confs: Sequence[Path], role: str | None, **options: Any) -> int:  # noqa: ANN401
    """Print one policy, ready for AWS, or all of them by role."""
    if len(confs) != 1:
        raise UsageError("give one conf")
    conf = config.load(confs[0], on_this_host=False)
    host = options["host"] or conf["Host"]
    made = {
        name: policy(
            name, bucket=conf["Bucket"], host=host, region=conf["Region"], locks=conf["ObjectLock"] is not None
        )
        for name in ROLES
    }
    click.echo(report.document(made[role] if role is not None else made))
    return Exit.DONE
