"""What list, plan, -t and the run print: one record per row for JSON, and tables of the same for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from s3nap.amounts import counted
from s3nap.amounts import size as size  # noqa: PLC0414 - others call it report.size
from s3nap.colours import GREEN, RED, YELLOW
from s3nap.errors import Exit
from s3nap.liveness import Verdict
from s3nap.logs import one_line
from s3nap.manifest import Archive, Manifest
from s3nap.names import readable
from s3nap.plan import task_record
from s3nap.tables import table

if TYPE_CHECKING:
    from s3nap.forecast import Forecast
    from s3nap.results import Result

_FAILURES = ("FAILED", "NOT RESTORABLE")
_WARNINGS = ("WARNINGS", "LOCKED", "INCOMPLETE", "WAITS FOR RELEASE", "retained")


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
        "braking": archive.braking,
    }


def archives_text(records: Sequence[Mapping[str, Any]], *, hosts: bool) -> str:
    """Draw the table of ``list``."""
    heads = ["Job", "Day", "Started", "Slot", "Type", "Size", "Stored", "State"]
    rows = []
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
        rows.append([*([record["host"]] if hosts else []), *row])
    return table(
        [*(["Host"] if hosts else []), *heads], rows, {"Slot", "Size", "Stored"}, _painting, ["Started", "Stored"]
    )


def _painting(head: str, cell: str) -> str | None:
    """Return the colour of a State, an Action or a Result; the words say the same."""
    if head not in {"State", "Action", "Result"}:
        return None
    if cell.startswith(_FAILURES) or "distrusted" in cell:
        return RED
    if any(word in cell for word in _WARNINGS):
        return YELLOW
    return GREEN if cell.startswith(("done", "swept")) else None


def is_wrong(record: Mapping[str, Any]) -> bool:
    """Is this an archive that somebody should look at?"""
    return not record["restorable"] or not record["complete"] or record["braking"]


def _state(record: Mapping[str, Any]) -> Iterable[str]:
    yield "restorable" if record["restorable"] else "NOT RESTORABLE"
    if not record["complete"]:
        yield "INCOMPLETE"
    if record["braking"]:
        yield "WAITS FOR RELEASE"
    for word in ("distrusted", "held", "retired"):
        if record[word]:
            yield word
    if not record["current"]:
        yield "kept for others"


def swept_text(records: Sequence[Mapping[str, Any]], *, became: bool) -> str:
    """Draw what is to be swept, or with ``became`` what was."""
    heads = ["Host", "Job", "Day", "Slot", "Type", "Run", "Size", "Why", *(["Result"] if became else [])]
    rows = [
        [
            one_line(record["host"]),
            one_line(readable(record["job"])),
            record["day"] or "",
            str(record["slot"]),
            record["type"],
            record["run"],
            size(record["stored_size"]),
            record["why"],
            *([record["result"]] if became else []),
        ]
        for record in records
    ]
    return table(heads, rows, {"Slot", "Size"}, _painting, ["Host", "Run"])


def results_text(results: Sequence[Result]) -> str:
    """Draw the summary at the end of a run."""
    right = {"Slot", "In", "Stored", "Files", "Time"}
    rows = [
        [
            one_line(readable(result.job.name)),
            *((str(task.slot), task.type) if (task := result.task) else ("", "")),
            *(_sizes(result.manifest) if result.manifest else ("", "", "")),
            f"{result.seconds:.1f} s",
            _became(result),
        ]
        for result in results
    ]
    heads = ["Job", "Slot", "Type", "In", "Stored", "Files", "Time", "Result"]
    return table(heads, rows, right, _painting, ["Files", "Slot", "In"])


def _sizes(manifest: Manifest) -> tuple[str, str, str]:
    return size(manifest.raw_size), size(manifest.stored_size), str(manifest.files)


def _became(result: Result) -> str:
    word = "WARNINGS" if result.outcome == "done" and result.status is Exit.WARNINGS else result.outcome
    detail = result.warnings[0] if word == "WARNINGS" else result.message
    return one_line(f"{word.upper() if word in {'failed', 'locked'} else word}: {detail}")


def tasks_text(results: Sequence[Result], host: str) -> str:
    """Draw what ``-t`` shows."""
    rows = []
    for result in results:
        task = result.task
        if task is None:
            rows.append([one_line(readable(result.job.name)), "", "", result.outcome, one_line(result.message), ""])
            continue
        archive = f"{host}/{task.job.name}-{task.slot}-{task.type}" if task.action == "backup" else ""
        cells = (str(task.slot), task.type, task.action, one_line(task.reason), one_line(archive))
        rows.append([one_line(readable(task.job.name)), *cells])
    heads = ["Job", "Slot", "Type", "Action", "Reason", "Archive"]
    return table(heads, rows, {"Slot"}, spare=["Archive", "Slot"])


def tasks_table(plan: Forecast) -> str:
    """Draw what ``plan --table`` shows: every task, and why."""
    rows = []
    previous: date | None = None
    for task in plan.tasks:
        shown = f"{task.day} {task.day:%a}" if task.day != previous else ""
        previous = task.day
        cells = (one_line(readable(task.job.name)), str(task.slot), task.type, task.action, one_line(task.reason))
        rows.append([shown, *cells])
    return table(["Day", "Job", "Slot", "Type", "Action", "Reason"], rows, right={"Slot"})


def plan_end_text(plan: Forecast) -> str:
    """Draw what stays restorable at the end of a plan."""
    after = [[one_line(readable(job)), _spans(days), str(plan.most[job])] for job, days in plan.restorable.items()]
    return table(["Job", "Restorable in the end", "Archives at most"], after, right={"Archives at most"})


def _spans(days: Sequence[date]) -> str:
    return f"{counted(len(days), 'day')}: {spans(days)}" if days else "nothing"


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


def restored_text(manifest: Manifest, target: str, written: int, seconds: float) -> str:
    """Say what a restore came to."""
    when = f"{manifest.day} ({manifest.type}, {manifest.run})"
    what = f"{readable(manifest.job)} of {manifest.host} as of {when}"
    return f"restored {what} to {target}: {size(written)} in {seconds:.1f} s"
