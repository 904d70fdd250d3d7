"""What to do when the host is lost, as Markdown: the ``runbook`` command, and parts that ``bootstrap`` shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from s3nap import __version__, access, advice, names
from s3nap.access import Place
from s3nap.backup import open_envelope
from s3nap.catalog import JobCatalog
from s3nap.commands import logging
from s3nap.confjob import SECRETS
from s3nap.directives import CONF
from s3nap.errors import Exit, NothingMatchesError, S3napError
from s3nap.job import Conf
from s3nap.logs import one_line
from s3nap.names import readable
from s3nap.packages import needs
from s3nap.plainsh import without_s3nap
from s3nap.rebuilding import Order, Step, Way, order
from s3nap.report import size

TARGET = "/mnt/restored"


def runbook(*, confs: Sequence[Path], **options: Any) -> int:  # noqa: ANN401
    """Print the runbook of each conf."""
    for place in access.places(confs, bucket=None, endpoint=None, region=None, key_file=None, host=None):
        with logging(place.conf, options):
            place.storage.check()
            known = place.catalog.all_jobs()
        if place.conf is not None:
            click.echo("\n".join(_book(place, place.conf, known)))
    return Exit.DONE


def _book(place: Place, conf: Conf, known: Mapping[str, JobCatalog]) -> Iterator[str]:
    where = advice.reaching(
        (),
        {"bucket": place.storage.url, "endpoint": place.endpoint, "region": conf["Region"]}
        | {"host": place.host, "key_file": None},
    )
    steps = order(place.jobs, known, Way(where=where))
    stored = next((name for name in known if name == names.job_name(CONF, conf.file.name)), None)
    if not steps.steps and stored is None:
        raise NothingMatchesError(f"nothing is stored of {conf.file} yet: run it once, then print its runbook")
    yield f"# When {one_line(place.host)} is lost\n"
    yield f"Printed {datetime.now().astimezone():%Y-%m-%d %H:%M %Z} by s3nap {__version__}. Print it again whenever"
    yield "the conf, the keys or the bucket change, and keep it on paper, away from the host.\n"
    yield from _facts(place, conf, steps)
    yield from install_text(steps)
    yield from _begin(where, stored)
    yield from order_text(steps)
    yield from afterwards_text()
    yield from without_s3nap(place.storage.url, place.endpoint, place.host, stored, steps)


def _facts(place: Place, conf: Conf, steps: Order) -> Iterator[str]:
    keys = fingerprints(conf, steps)
    yield "## What there is\n"
    yield "| | |\n| --- | --- |"
    facts = {"Bucket": place.storage.url, "Endpoint": place.endpoint, "Region": conf["Region"]}
    facts |= {"Host": place.host, "Conf": str(conf.file.absolute())}
    yield from (f"| {name} | `{one_line(value)}` |" for name, value in facts.items() if value)
    for key in keys:
        yield f"| Encrypted to | `{key}` |"
    yield "\n## What you must have\n"
    if place.storage.url.startswith("s3://"):
        yield "- Credentials that may list and read the bucket (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`)."
    if keys:
        yield "- The private key of **one** of the fingerprints above, on the machine that restores: `gpg"
        yield "  --list-secret-keys` must show it. If it must not leave another machine: `s3nap keys`."
    elif conf["GpgPassphraseFile"] is not None:
        yield f"- The passphrase, the first line of `{conf['GpgPassphraseFile']}`. **It is not in the bucket.**"
    for path in dict.fromkeys(_secrets(conf)):
        yield f"- A copy of `{one_line(str(path))}` from elsewhere: it is not in the bucket."
    yield ""


def _secrets(conf: Conf) -> Iterator[Path]:
    for settings in (conf.settings, *(job.settings for job in conf.jobs)):
        yield from (settings[name].value for name in SECRETS if name in settings and settings[name].value is not None)


def fingerprints(conf: Conf, steps: Order) -> list[str]:
    """Return the keys that the archives are encrypted to; where there are none yet, those of the conf."""
    used = [key for step in steps.steps for link in step.links for key in link.manifest.encryption.recipients]
    if used or not conf["GpgRecipient"]:
        return list(dict.fromkeys(used))
    try:
        envelope = open_envelope(conf)
    except S3napError as error:
        return [one_line(str(error))]
    envelope.close()
    return [item.fingerprint for item in envelope.recipients]


def install_text(steps: Order) -> Iterator[str]:
    """Say what to install; names of packages are Debian's."""
    found = needs(step.manifest for step in steps.steps)
    yield "## Install\n"
    for need in found:
        version = f" (the archives: {one_line(need.version)})" if need.version else ""
        yield f"- `{need.package}`: {need.what}{version}"
    if any(step.manifest.kind == "Command" for step in steps.steps):
        yield "- whatever loads the Commands below"
    yield f"\n```sh\napt-get install {' '.join(need.package for need in found)}\n```\n"


def _begin(where: Sequence[str], stored: str | None) -> Iterator[str]:
    yield "## Begin\n"
    yield "Install s3nap (its README, *Install*), set the credentials, import the private key. Then:\n"
    if stored is None:
        yield "The conf is **not** in the bucket (StoreConf, or no encryption): have a copy. Go on below.\n"
    else:
        yield f"```sh\n{advice.line(['s3nap', 'bootstrap', stored, *where])}\n```\n"
        yield "It puts the conf back, and prints the rest of this page as of then.\n"


def order_text(steps: Order) -> Iterator[str]:
    """Say what comes back in which order."""
    yield "## Restore, in this order\n"
    yield "The times are what it took to make these archives: an estimate, no more.\n"
    yield "| # | Job | As of | To fetch | To write | Expected |\n| --: | --- | --- | --: | --: | --- |"
    for number, step in enumerate(steps.steps, 1):
        cells = (f"`{one_line(readable(step.manifest.job))}`", str(step.manifest.day), size(step.stored_size))
        yield f"| {number} | {' | '.join(cells)} | {size(step.raw_size)} | {lasting(step.expected)} |"
    yield f"| | **all** | | {size(sum(step.stored_size for step in steps.steps))} | {_all_raw(steps.steps)} |\n"
    for number, step in enumerate(steps.steps, 1):
        yield from (f"- **{number}: {one_line(doubt)}**\n" for doubt in step.doubts)
    yield f'```sh\nTARGET={TARGET}    # a folder on a disk with room\nmkdir -p "$TARGET"'
    yield from (step.command for step in steps.steps)
    yield "```\n"
    yield "Directories and files lie below `$TARGET` then: look at each, and move it to where it was. Of `/etc`, take"
    yield "what you need. Databases go into a running, empty server; repositories to where they were.\n"
    if steps.missing:
        yield f"**Nothing that restores is stored of:** {_listed(steps.missing)}\n"
    if steps.others:
        yield f"Stored, but not of this conf: {_listed(steps.others)}\n"


def _all_raw(steps: Sequence[Step]) -> str:
    whole = sum((step.expected for step in steps), timedelta())
    return f"{size(sum(step.raw_size for step in steps))} | {lasting(whole)}"


def _listed(jobs: Sequence[str]) -> str:
    return ", ".join(f"`{one_line(readable(job))}`" for job in jobs)


def lasting(span: timedelta) -> str:
    """Write a time as people say it."""
    minutes = round(span.total_seconds() / 60)
    if minutes < 1:
        return "under a minute"
    return f"about {minutes} min" if minutes < 60 else f"about {minutes // 60} h {minutes % 60} min"


def afterwards_text() -> Iterator[str]:
    """Say how backups go on."""
    yield "## Afterwards\n"
    yield "Start the daily run again only when all is restored: else it backs up what is not there yet. It takes the"
    yield "old archives over, says so once, and goes on in the same slots with FULLs, for all inodes are new. The id of"
    yield "the old machine is not restored, for it may live: should both run, both end with 3 and name each other.\n"
