"""The commands ``ls``, ``find`` and ``diff``: what archives hold, from DiffDir's copies where they suffice."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import click
from loguru import logger

from s3nap import access, config, report
from s3nap.access import Place
from s3nap.catalog import Catalog, JobCatalog
from s3nap.commands import logging, only_place
from s3nap.contents import Contents, Indexes, KeptIndexes, Node, StoredIndexes, Wanted
from s3nap.envelope import read_passphrase
from s3nap.errors import Exit, NothingMatchesError, SourceError, UsageError, VerificationError
from s3nap.job import Conf
from s3nap.liveness import chain
from s3nap.logs import one_line
from s3nap.manifest import Archive
from s3nap.names import readable
from s3nap.picking import KINDS, bare
from s3nap.reader import KeySource, Reader
from s3nap.sources.excludes import Matcher
from s3nap.sources.tarindex import Line


class Outlook:
    """Where is looked: DiffDir on the backed-up host, without key or network; else the storage. A context manager."""

    def __init__(self, confs: Sequence[Path], options: dict[str, Any]) -> None:
        """Nothing is read before it is asked for."""
        self._confs = confs
        self._options = options
        self._stack = ExitStack()
        self.conf: Conf | None = None
        self._remembered: dict[str, Any] = {}
        self._contents: dict[tuple[str, type], Contents] = {}
        if len(confs) == 1 and not options["bucket"]:
            self.conf = config.load(confs[0], on_this_host=False)
            if options["host"] in {None, self.conf["Host"]}:
                self._remembered = access.remembered(self.conf)

    def __enter__(self) -> Self:
        self._stack.enter_context(logging(self.conf, self._options))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def _place(self) -> Place:
        place = only_place(self._confs, self._options)
        place.storage.check()
        return place

    @cached_property
    def _stored(self) -> StoredIndexes:
        options = self._options
        secret = options["passphrase_file"] or (self.conf["GpgPassphraseFile"] if self.conf is not None else None)
        source = KeySource(passphrase=read_passphrase(secret), files=options["keys"])
        reader = self._stack.enter_context(Reader(self._place.storage, source))
        work = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="s3nap-"))
        return StoredIndexes(reader, Path(work))

    @cached_property
    def jobs(self) -> Mapping[str, JobCatalog]:
        """The archives of every job of the host."""
        if self._remembered:
            return {name: known for name, (known, _) in self._remembered.items()}
        return Catalog(self._place.storage, self._place.host).all_jobs()

    def job(self, wanted: str) -> JobCatalog:
        """Return the job that is meant; UsageError if it is none of files, NothingMatchesError if there is none."""
        if self._remembered:
            try:
                found = access.named(self.jobs, wanted, str(self.conf["Host"] if self.conf is not None else ""))
            except NothingMatchesError:
                found = access.find_job(self._place, wanted)  # one that this machine does not remember
        else:
            found = access.find_job(self._place, wanted)
        if not all(_is_tree(archive) for archive in found.archives):
            raise UsageError(f"{readable(found.job)} is no tree of files: there is nothing to look into")
        return found

    def contents(self, job: str, links: Sequence[Archive], wanted: Wanted) -> dict[bytes, Node]:
        """Return what is wanted of a chain; what one command wants of a job must stay the same."""
        if job in self._remembered:
            kept = KeptIndexes(self._remembered[job][1])
            if kept.has(links):
                try:
                    return self._of(job, kept, wanted).of(links)
                except (SourceError, VerificationError) as error:
                    logger.warning("{}: DiffDir's copy cannot be used, so the storage is asked: {}", job, error)
        return self._of(job, self._stored, wanted).of(links)

    def _of(self, job: str, indexes: Indexes, wanted: Wanted) -> Contents:
        return self._contents.setdefault((job, type(indexes)), Contents(indexes, wanted))


def _is_tree(archive: Archive) -> bool:
    return archive.manifest.stream == "tar"


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
    chains = [links for each in known.archives if _is_tree(each) and (links := chain(each, by_run)) is not None]
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
