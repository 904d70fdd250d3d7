"""What list, plan, -t and the run print: one record per row for JSON, and tables of the same for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from s3nap.errors import Exit
from s3nap.liveness import Verdict
from s3nap.logs import one_line
from s3nap.manifest import Archive, Manifest
from s3nap.names import readable
from s3nap.plan import task_record

if TYPE_CHECKING:
    from rich.table import Table

    from s3nap.backup import Result
    from s3nap.forecast import Forecast

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_WIDE = 1000  # columns, where nobody is looking: a pipe must not be wrapped


def size(count: int) -> str:
    """Write a number of bytes in IEC units."""
    value = float(count)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError(count)


def archive_record(archive: Archive, verdict: Verdict, *, retired_job: bool) -> dict[str, Any]:
    """Return an archive as ``list --json`` shows it."""
    manifest, run = archive.manifest, archive.run
    retired = retired_job or run in verdict.retired
    return {
        "host": manifest.host,
        "job": manifest.job,
        "slot": manifest.slot,
        "type": manifest.type.value,
        "run": run,
        "day": manifest.day.isoformat(),
        "started": manifest.started.isoformat(),
        "finished": manifest.finished.isoformat(),
        "parent": manifest.parent,
        "raw_size": manifest.raw_size,
        "stored_size": manifest.stored_size,
        "chunks": manifest.chunks,
        "current": retired or run in verdict.current,
        "restorable": run in verdict.restorable,
        "complete": manifest.complete,
        "distrusted": archive.distrusted,
        "held": archive.held,
        "retired": retired,
        "machine": manifest.machine,
    }


def archives_text(records: Sequence[Mapping[str, Any]], *, hosts: bool) -> str:
    """Draw the table of ``list``."""
    heads = ["Job", "Day", "Started", "Slot", "Type", "Size", "Stored", "State"]
    table = _table([*(["Host"] if hosts else []), *heads], right={"Slot", "Size", "Stored"})
    for record in records:
        started = datetime.fromisoformat(record["started"]).astimezone()
        row = [
            one_line(readable(record["job"])),
            record["day"],
            f"{started:%Y-%m-%d %H:%M %Z}",
            str(record["slot"]),
            record["type"],
            size(record["raw_size"]),
            size(record["stored_size"]),
            ", ".join(_state(record)),
        ]
        table.add_row(*([record["host"]] if hosts else []), *row)
    return _drawn(table)


def _state(record: Mapping[str, Any]) -> Iterable[str]:
    yield "restorable" if record["restorable"] else "NOT RESTORABLE"
    if not record["complete"]:
        yield "INCOMPLETE"
    for word in ("distrusted", "held", "retired"):
        if record[word]:
            yield word
    if not record["current"]:
        yield "kept for others"


def results_text(results: Sequence[Result]) -> str:
    """Draw the summary at the end of a run."""
    right = {"Slot", "In", "Stored", "Files", "Time"}
    table = _table(["Job", "Slot", "Type", "In", "Stored", "Files", "Time", "Result"], right=right)
    for result in results:
        task, manifest = result.task, result.manifest
        table.add_row(
            one_line(readable(result.job.name)),
            str(task.slot) if task else "",
            task.type if task else "",
            size(manifest.raw_size) if manifest else "",
            size(manifest.stored_size) if manifest else "",
            str(manifest.files) if manifest else "",
            f"{result.seconds:.1f} s",
            _became(result),
        )
    return _drawn(table)


def _became(result: Result) -> str:
    word = "WARNINGS" if result.outcome == "done" and result.status is Exit.WARNINGS else result.outcome
    detail = result.warnings[0] if word == "WARNINGS" else result.message
    return one_line(f"{word.upper() if word in {'failed', 'locked'} else word}: {detail}")


def tasks_text(results: Sequence[Result], host: str) -> str:
    """Draw what ``-t`` shows."""
    table = _table(["Job", "Slot", "Type", "Action", "Reason", "Archive"], right={"Slot"})
    for result in results:
        task = result.task
        if task is None:
            table.add_row(one_line(readable(result.job.name)), "", "", result.outcome, one_line(result.message), "")
            continue
        archive = f"{host}/{task.job.name}-{task.slot}-{task.type}" if task.action == "backup" else ""
        cells = (str(task.slot), task.type, task.action, one_line(task.reason), one_line(archive))
        table.add_row(one_line(readable(task.job.name)), *cells)
    return _drawn(table)


def plan_text(plan: Forecast) -> str:
    """Draw the calendar, and below it what stays restorable."""
    table = _table(["Day", "Job", "Slot", "Type", "Action", "Reason"], right={"Slot"})
    previous: date | None = None
    for task in plan.tasks:
        shown = f"{task.day} {task.day:%a}" if task.day != previous else ""
        previous = task.day
        cells = (one_line(readable(task.job.name)), str(task.slot), task.type, task.action, one_line(task.reason))
        table.add_row(shown, *cells)
    after = _table(["Job", "Restorable in the end", "Archives at most"], right={"Archives at most"})
    for job, days in plan.restorable.items():
        after.add_row(one_line(readable(job)), _spans(days), str(plan.most[job]))
    return _drawn(table) + "\n" + _drawn(after)


def _spans(days: Sequence[date]) -> str:
    return f"{len(days)} days: {spans(days)}" if days else "nothing"


def spans(days: Sequence[date]) -> str:
    """Write days, in their order, with ranges of consecutive ones."""
    ranges: list[list[date]] = []
    for day in days:
        if ranges and (day - ranges[-1][1]).days <= 1:
            ranges[-1][1] = day
        else:
            ranges.append([day, day])
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in ranges)


def plan_json(plan: Forecast) -> str:
    """Return the document of ``plan --json``."""
    return document([task_record(task) for task in plan.tasks])


def document(value: object) -> str:
    """Serialize the answer to a query."""
    return json.dumps(value, indent=1, ensure_ascii=True)


def settings_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Draw what ``config show`` prints."""
    blocks = []
    for record in records:
        table = _table(["Directive", "Value", "From"], right=set())
        for name, setting in record["settings"].items():
            table.add_row(name, one_line(json.dumps(setting["value"], ensure_ascii=False)), one_line(setting["origin"]))
        blocks.append(f"{one_line(readable(record['job']))}\n{_drawn(table)}")
    return "\n".join(blocks)


def restored_text(manifest: Manifest, target: str, written: int, seconds: float) -> str:
    """Say what a restore came to."""
    when = f"{manifest.day} ({manifest.type}, {manifest.run})"
    what = f"{readable(manifest.job)} of {manifest.host} as of {when}"
    return f"restored {what} to {target}: {size(written)} in {seconds:.1f} s"


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[str] = ("Slot", "Chunks", "Stored")
) -> str:
    """Draw a table; columns in ``right`` are numbers."""
    made = _table(heads, right=set(right))
    for row in rows:
        made.add_row(*row)
    return _drawn(made)


def _table(heads: Sequence[str], right: set[str]) -> Table:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - slow to import, and not needed for JSON
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="right" if head in right else "left", overflow="fold")
    return table


def _drawn(table: Table) -> str:
    from io import StringIO  # noqa: PLC0415 - as rich

    from rich.console import Console  # noqa: PLC0415 - slow to import, and not needed for JSON

    console = Console(highlight=False, markup=False)
    text = StringIO()
    width = console.width if console.is_terminal else _WIDE
    Console(file=text, width=width, highlight=False, markup=False, no_color=True).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
