"""The ``verify`` command: which archives, with which keys; then the act, then what is said about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from loguru import logger

from s3nap import access, names, report
from s3nap.access import Place
from s3nap.commands import logging, only_place
from s3nap.envelope import read_passphrase
from s3nap.errors import Exit, NothingMatchesError
from s3nap.logs import one_line
from s3nap.reader import KeySource
from s3nap.verified import DECODED, HASHES, LISTING
from s3nap.verify import Verdict, Verifier

_LOOKED = {
    LISTING: "by listing: objects, sizes, tables and envelopes",
    HASHES: "by hash",
    DECODED: "by decoding",
}


def verify(  # noqa: PLR0913 - what the command line says
    *,
    confs: Sequence[Path],
    job: str | None,
    all_hosts: bool,
    share: float,
    keys: Sequence[Path],
    passphrase_file: Path | None,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """Verify the archives of a host, of one job, or of all hosts; the status tells the worst that was found."""
    place = only_place(confs, options)
    with logging(place.conf, options):
        place.storage.check()
        secret = passphrase_file or (place.conf["GpgPassphraseFile"] if place.conf is not None else None)
        source = KeySource(passphrase=read_passphrase(secret), files=keys)
        verifier = Verifier(place.storage, source, share=share, now=datetime.now(UTC))
        found = [verdict for verdict in verifier.verdicts(*_wanted(place, job, all_hosts=all_hosts)) if _said(verdict)]
        if not found:
            raise NothingMatchesError(
                f"{place.storage.url} holds nothing of host {place.host}; {access.other_hosts(place)}"
            )
        if share:
            _say_keyless(found)
    if as_json:
        click.echo(report.document([_record(verdict) for verdict in sorted(found, key=lambda each: each.place)]))
    elif not options["quiet"]:
        click.echo(_summary(found))
    outcomes = {verdict.outcome for verdict in found}
    if "damaged" in outcomes:
        return Exit.VERIFICATION
    return Exit.FAILED if "unknown" in outcomes else Exit.DONE


def _wanted(place: Place, job: str | None, *, all_hosts: bool) -> tuple[str, Callable[[str], bool]]:
    """Return what the places of the archives that are meant begin with, and a test for what that is too wide for."""
    if all_hosts:
        return "", lambda _place: True
    host = names.component(place.host) + "/"
    if job is None:
        return host, lambda _place: True
    known = access.find_job(place, job).job
    below = names.job_prefix(place.host, known).removeprefix(f"{names.CATALOG}/")

    def is_job(found: str) -> bool:
        key = names.parse_catalog_key(place.host, f"{names.CATALOG}/{found}.json")
        return key is not None and key.job == names.job_key(known)

    return below, is_job


def _said(verdict: Verdict) -> bool:
    """Say at once what is wrong; False for an archive that is gone meanwhile."""
    for why in verdict.why:
        (logger.error if verdict.outcome == "damaged" else logger.warning)("{}: {}", verdict.outcome, why)
    if verdict.outcome == "whole" and verdict.distrusted:
        mark = verdict.key.removesuffix("json") + "distrust"
        logger.warning("{} is distrusted, but whole now: delete {} to trust it again", verdict.run, mark)
    return verdict.outcome != "gone"


def _say_keyless(found: Sequence[Verdict]) -> None:
    hashed = sum(verdict.how == HASHES for verdict in found)
    if hashed:
        logger.warning("{} archives were checked by hash only: no key here opens them", hashed)


def _summary(found: Sequence[Verdict]) -> str:
    """Say for each job how many archives are whole, and what damage costs."""
    lines = []
    jobs: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in found:
        jobs.setdefault((verdict.host, verdict.job or verdict.place.rpartition("/")[0]), []).append(verdict)
    for (host, job), verdicts in sorted(jobs.items()):
        words = [
            f"{count} {outcome}" for outcome in ("whole", "damaged", "unknown") if (count := _of(verdicts, outcome))
        ]
        how = ", ".join(_LOOKED[how] for how in _LOOKED if any(verdict.how == how for verdict in verdicts))
        lines.append(one_line(f"{host} {names.readable(job)}: {', '.join(words)} ({how})"))
        lines += [one_line(f"  {line}") for line in _losses(verdicts)]
    return "\n".join(lines)


def _of(verdicts: Sequence[Verdict], outcome: str) -> int:
    return sum(verdict.outcome == outcome for verdict in verdicts)


def _losses(verdicts: Sequence[Verdict]) -> list[str]:
    """Name the damaged archives of a job, and how many others cannot be restored without each."""
    lines = []
    for bad in verdicts:
        if bad.outcome == "damaged":
            lost, before = {bad.run}, 0
            while len(lost) > before:
                before = len(lost)
                lost |= {verdict.run for verdict in verdicts if verdict.parent in lost}
            more = f"; {len(lost) - 1} that build on it do not restore either" if len(lost) > 1 else ""
            lines.append(f"damaged: {bad.run} of {bad.day or 'an unknown day'}, wrong: {len(bad.why)}{more}")
    return lines


def _record(verdict: Verdict) -> dict[str, Any]:
    return {
        "host": verdict.host,
        "job": verdict.job,
        "run": verdict.run,
        "day": verdict.day.isoformat() if verdict.day is not None else None,
        "manifest": verdict.key,
        "outcome": verdict.outcome,
        "why": verdict.why,
        "how": verdict.how,
        "share": verdict.percent / 100,
        "distrusted": verdict.distrusted,
    }
