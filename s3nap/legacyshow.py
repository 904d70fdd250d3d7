"""``list --legacy`` and ``restore --legacy``: what s3napback left in a bucket, and how it comes back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from loguru import logger

from s3nap import report
from s3nap.commands import logging, only_place
from s3nap.errors import Exit, NothingMatchesError, UsageError, VerificationError
from s3nap.legacy import OldArchive, OldChain, chain, read
from s3nap.legacyread import OldTarget, check
from s3nap.legacyread import restore as act
from s3nap.logs import one_line
from s3nap.progress import on_terminal
from s3nap.tables import table
from s3nap.when import rule

# options of restore that mean something for old archives, too; all others are refused
_KNOWN = frozenset({"target", "overwrite", "numeric_owner", "host", "quiet", "verbose", "debug"})
_PLACE = frozenset({"bucket", "endpoint", "region", "key_file"})


def list_archives(
    *,
    confs: Sequence[Path],
    job: str | None,
    all_hosts: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """List what s3napback stored; what is damaged or empty is reported."""
    if all_hosts:
        raise UsageError("--all-hosts: s3napback stored no hosts; leave it out with --legacy")
    place = only_place(confs, options)
    with logging(place.conf, options):
        place.storage.check()
        known = read(place.storage)
        wanted = _named(known, job, place.storage.url) if job else known
        pairs = [(archive, chain(archive, known)) for archive in wanted]
        bad = [archive for archive in wanted if archive.fault or archive.empty]
        for archive in bad:
            logger.warning("{}", archive.fault or f"{archive.shown} is empty: the dump failed when it was made")
    if as_json:
        click.echo(report.document([_record(*pair) for pair in pairs]))
    elif pairs:
        click.echo(_text(pairs), nl=False)
    else:
        click.echo(f"{place.storage.url} holds nothing that s3napback stored")
    return Exit.WARNINGS if bad else Exit.DONE


def restore(  # noqa: PLR0913 - what the command line says
    *,
    confs: Sequence[Path],
    job: str,
    at: str,
    dry: bool,
    target: str | None,
    overwrite: bool,
    numeric_owner: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """Restore what s3napback stored: a directory into a folder, anything else into a file or standard output."""
    if useless := sorted(name for name, value in options.items() if value and name not in _KNOWN | _PLACE):
        flags = ", ".join("PATH" if name == "paths" else "--" + name.replace("_", "-") for name in useless)
        raise UsageError(f"{flags}: means nothing for archives of s3napback; leave it out with --legacy")
    if not target:
        raise UsageError("--legacy restores into a folder, or a file for what is no directory: give --target")
    goal = OldTarget(path=target, overwrite=overwrite, numeric_owner=numeric_owner)
    place = only_place(confs, options)
    begun = time.monotonic()
    with logging(place.conf, options):
        place.storage.check()
        known = read(place.storage)
        links = _chosen(_named(known, job, place.storage.url), at)
        chosen = links.links[-1]
        title = f"{one_line(chosen.name)} of {chosen.day}"
        size = sum(link.size for link in links.links)
        for slot in links.gaps:
            logger.warning(
                "{}: there is no DIFF of slot {} before {}; if a run failed then, its changes are lost",
                *(chosen.name, slot, chosen.shown),
            )
        if dry:
            check(place.storage, links, goal)
            click.echo(f"would restore {title}: {_names(links)}; {report.size(size)} stored")
            return Exit.DONE
        with on_terminal(quiet=bool(options["quiet"]))(title, size) as advance:
            done = act(place.storage, links, goal, advance)
        for doubt in done.doubts:
            logger.warning("{}", doubt)
    if not options["quiet"] and target != "-":
        spent = time.monotonic() - begun
        click.echo(f"restored {title} ({_names(links)}) to {done.where}: {report.size(done.raw_size)} in {spent:.1f} s")
    return Exit.WARNINGS if done.doubts or links.gaps else Exit.DONE


def _named(known: Sequence[OldArchive], name: str, where: str) -> list[OldArchive]:
    """Return the archives of a name; NothingMatchesError, saying what there is."""
    names = sorted({archive.name for archive in known})
    like = [each for each in names if each == name] or [each for each in names if each.strip("/") == name.strip("/")]
    if len(like) != 1:
        there = ", ".join(map(one_line, names)) if names else "nothing that s3napback stored"
        raise NothingMatchesError(f"no archive named {name}; {where} holds: {there}")
    return [archive for archive in known if archive.name == like[0]]


def _chosen(archives: Sequence[OldArchive], at: str) -> OldChain:
    """Return what restoring the newest archive takes that ``at`` allows; empty ones are passed over.

    Raises NothingMatchesError, or VerificationError saying what is missing.
    """
    allowed = rule(at, datetime.now(UTC))
    matching = [archive for archive in archives if allowed(archive)]
    whole = [archive for archive in matching if not archive.empty]
    if not whole:
        why = "what there is is empty: the dump failed when it was made" if matching else "there is none"
        raise NothingMatchesError(f"no archive of {archives[0].name} for --at {at}: {why}")
    for archive in matching[matching.index(whole[-1]) + 1 :]:
        logger.warning("{} of {} is empty, its dump failed: it is passed over", archive.shown, archive.day)
    links = chain(whole[-1], archives)
    if links.broken is None:
        return links
    others = [archive for archive in whole[:-1] if chain(archive, archives).broken is None]
    hint = f"; the newest that restores is of {others[-1].day} (--at {_at(others[-1])})" if others else ""
    kind = VerificationError if links.based else NothingMatchesError
    raise kind(f"cannot restore {whole[-1].shown} of {whole[-1].day}: {links.broken}{hint}")


def _at(archive: OldArchive) -> str:
    return archive.started.isoformat()


def _names(links: OldChain) -> str:
    return ", ".join(f"{link.type or 'slot'} {link.slot}" for link in links.links)


def _record(archive: OldArchive, links: OldChain) -> dict[str, Any]:
    return {
        "name": archive.name,
        "slot": archive.slot,
        "type": archive.type or None,
        "day": archive.day.isoformat(),
        "started": archive.started.isoformat(),
        "finished": archive.finished.isoformat(),
        "chunks": len(archive.chunks),
        "stored_size": archive.size,
        "empty": archive.empty,
        "fault": archive.fault,
        "restorable": links.broken is None,
        "broken": links.broken,
        "chain": [link.shown for link in links.links],
        "gaps": list(links.gaps),
    }


def _text(pairs: Sequence[tuple[OldArchive, OldChain]]) -> str:
    rows = [
        (
            one_line(archive.name),
            f"{archive.finished.astimezone():%Y-%m-%d %H:%M %Z}",
            str(archive.slot),
            archive.type,
            str(len(archive.chunks)),
            report.size(archive.size),
            _state(archive, links),
        )
        for archive, links in pairs
    ]
    heads = ["Name", "Stored at", "Slot", "Type", "Chunks", "Stored", "State"]
    return table(heads, rows, right={"Slot", "Chunks", "Stored"})


def _state(archive: OldArchive, links: OldChain) -> str:
    if archive.empty:
        return "EMPTY"
    if archive.fault:
        return f"DAMAGED: {one_line(archive.fault)}"
    if not links.based:
        return "no FULL"
    if links.broken:
        return f"CHAIN BROKEN: {one_line(links.broken)}"
    return f"no DIFF of slots {', '.join(map(str, links.gaps))}" if links.gaps else "restorable"
