"""The commands ``ls``, ``find`` and ``diff``: what archives hold, from DiffDir's copies where they suffice."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click
from loguru import logger

from s3nap import access, report
from s3nap.catalog import JobCatalog
from s3nap.contents import Node, Wanted
from s3nap.errors import Exit, NothingMatchesError
from s3nap.liveness import chain
from s3nap.logs import one_line
from s3nap.manifest import Archive
from s3nap.names import readable
from s3nap.outlook import Outlook, is_tree
from s3nap.picking import KINDS, bare
from s3nap.sources.excludes import Matcher
from s3nap.sources.tarindex import Line


def ls(  # noqa: PLR0913 - what the command line says
    *,
    confs: Sequence[Path],
    job: str,
    path: str | None,
    at: str,
    long: bool,
    recursive: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """List a directory of an archive, or a file."""
    with Outlook(confs, options) as outlook:
        known = outlook.job(job)
        links = access.find_chain(known, at)
        manifest = links[-1].manifest
        base = bare(path if path is not None else manifest.source)
        wanted = _Below(base, deep=recursive)
        nodes = outlook.contents(known.job, links, wanted)
        logger.info("{} as of {} ({})", readable(manifest.job), manifest.day, manifest.run)
    there = nodes.pop(base, None)
    if there is None and not nodes:
        raise NothingMatchesError(f"archive {manifest.run} of {manifest.day} holds no /{os.fsdecode(base)}")
    shown = [nodes[name] for name in sorted(nodes)] if nodes or (there and there.kind == b"d") else [there]
    found = [node for node in shown if node is not None]
    if as_json:
        click.echo(report.document([_record(node) for node in found]))
        return Exit.DONE
    for node in found:
        name = node.line.path if recursive or node is there else node.line.path.rpartition(b"/")[2]
        click.echo(_long(node, _shown(name, node)) if long else _shown(name, node))
    return Exit.DONE


class _Below:
    """Wants a path, and what is in it; ``deep``: at any depth."""

    def __init__(self, base: bytes, *, deep: bool) -> None:
        self._base = base
        self._prefix = b"" if base == b"." else base + b"/"
        self._deep = deep

    def __call__(self, line: Line) -> bool:
        if line.path == self._base:
            return True
        return line.path.startswith(self._prefix) and (self._deep or b"/" not in line.path[len(self._prefix) :])


def _shown(name: bytes, node: Node) -> str:
    end = "/" if node.kind == b"d" else f" -> {os.fsdecode(node.link)}" if node.link else ""
    return one_line(("/" if b"/" in name or node.line.path == name else "") + os.fsdecode(name) + end)


def _long(node: Node, shown: str) -> str:
    letters = (node.kind + node.line.mode).decode("ascii", "replace")
    owner = one_line(node.line.owner.decode("utf-8", "surrogateescape"))
    return f"{letters} {owner:<17} {node.size:>12} {_local(node):%Y-%m-%d %H:%M:%S} {shown}"


def _local(node: Node) -> datetime:
    return datetime.fromtimestamp(node.line.mtime // 10**9, UTC).astimezone()


def _record(node: Node) -> dict[str, Any]:
    user, _, group = node.line.owner.decode("utf-8", "surrogateescape").partition("/")
    return {
        "path": "/" + os.fsdecode(node.line.path),
        "type": KINDS.get(node.kind, "other"),
        "mode": node.line.mode.decode("ascii", "replace"),
        "user": user,
        "group": group,
        "size": node.size,
        "mtime": datetime.fromtimestamp(node.line.mtime / 10**9, UTC).isoformat(),
        "link": os.fsdecode(node.link) or None,
        "hard_link": "/" + os.fsdecode(node.line.link) if node.line.kind == b"h" else None,
        "run": node.run,
    }


def find(
    *,
    confs: Sequence[Path],
    pattern: str,
    jobs: Sequence[str],
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """Tell which days hold which versions of what matches a pattern, as Exclude has it."""
    matcher = Matcher([pattern])
    records: list[dict[str, Any]] = []
    with Outlook(confs, options) as outlook:
        chosen = [outlook.job(job) for job in jobs] or list(outlook.jobs.values())
        for known in chosen:
            records += _versions(outlook, known, lambda line: matcher.excludes(b"/" + line.path))
    if not records:
        raise NothingMatchesError(f"no archive holds anything that matches {pattern}")
    if as_json:
        click.echo(report.document(records))
        return Exit.DONE
    for record in records:
        click.echo(one_line(f"{readable(record['job'])}: {record['path']}"))
        for version in record["versions"]:
            days = report.spans([date.fromisoformat(day) for day in version["days"]])
            changed = datetime.fromisoformat(version["mtime"]).astimezone()
            click.echo(f"    {report.size(version['size']):>10}  changed {changed:%Y-%m-%d %H:%M:%S}  in {days}")
    return Exit.DONE


def _versions(outlook: Outlook, known: JobCatalog, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """Yield a record for each path of a job that matches, with its versions and the days they are in.

    What a DIFF stores again is another version, be its size and time the same; a FULL stores all again.
    """
    by_run = known.by_run
    chains = [links for each in known.archives if is_tree(each) and (links := chain(each, by_run)) is not None]
    found: dict[bytes, list[tuple[Node, list[Archive]]]] = {}
    for links in chains:
        for path, node in outlook.contents(known.job, links, wanted).items():
            versions = found.setdefault(path, [])
            if versions and versions[-1][0].version == node.version and node.run in {versions[-1][0].run, links[0].run}:
                versions[-1] = (node, [*versions[-1][1], links[-1]])
            else:
                versions.append((node, [links[-1]]))
    for path in sorted(found):
        shown = [
            _record(node)
            | {
                "days": sorted({archive.manifest.day.isoformat() for archive in archives}),
                "archives": [archive.run for archive in archives],
            }
            for node, archives in found[path]
        ]
        yield {"job": known.job, "path": "/" + os.fsdecode(path), "versions": shown}


def diff(
    *,
    confs: Sequence[Path],
    job: str,
    before: str,
    after: str,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """Tell what was added, removed and changed between two archives of a job."""
    with Outlook(confs, options) as outlook:
        known = outlook.job(job)
        ends = [access.find_chain(known, when) for when in (before, after)]
        old, new = (outlook.contents(known.job, links, lambda _line: True) for links in ends)
    record: dict[str, Any] = {"job": known.job, "from": ends[0][-1].run, "to": ends[1][-1].run}
    record["added"] = [_record(new[path]) for path in sorted(new.keys() - old.keys())]
    record["removed"] = [_record(old[path]) for path in sorted(old.keys() - new.keys())]
    record["changed"] = [
        {"path": "/" + os.fsdecode(path), "before": _record(old[path]), "after": _record(new[path])}
        for path in sorted(old.keys() & new.keys())
        if _differ(old[path], new[path])
    ]
    record["rewritten"] = [
        _record(new[path])
        for path in sorted(old.keys() & new.keys())
        if new[path].kind != b"d" and not _differ(old[path], new[path]) and _again(old[path], new[path], ends)
    ]
    click.echo(report.document(record) if as_json else _diff_text(record))
    return Exit.DONE


def _differ(old: Node, new: Node) -> bool:
    """Did it change? That a directory has another time says only that its files came or went."""
    if old.kind == new.kind == b"d":
        return (old.line.mode, old.line.owner) != (new.line.mode, new.line.owner)
    return old.version != new.version


def _again(old: Node, new: Node, ends: Sequence[Sequence[Archive]]) -> bool:
    """Was it stored again by a DIFF, with the same size and time? Then only its contents could tell what changed."""
    return new.run not in {old.run, ends[1][0].run}


def _diff_text(record: Mapping[str, Any]) -> str:
    lines = []
    for sign, kind in (("+", "added"), ("-", "removed")):
        lines += [one_line(f"{sign} {each['path']}  {report.size(each['size'])}") for each in record[kind]]
    lines += [
        one_line(f"M {each['path']}  {report.size(each['before']['size'])} -> {report.size(each['after']['size'])}")
        for each in record["changed"]
    ]
    lines += [
        one_line(f"? {each['path']}  {report.size(each['size'])}, stored again with the same size and time")
        for each in record["rewritten"]
    ]
    sums = {
        kind: f"{len(record[kind])} {kind} ({report.size(sum(each['size'] for each in record[kind]))})"
        for kind in ("added", "removed")
    }
    lines.append(f"{sums['added']}, {sums['removed']}, {len(record['changed'])} changed")
    return "\n".join(lines)
