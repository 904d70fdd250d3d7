"""The ``config show`` command: the values in effect for each job, and where each came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from s3nap import conftext, report
from s3nap.commands import chosen, load
from s3nap.errors import Exit
from s3nap.logs import one_line
from s3nap.names import readable
from s3nap.tables import table

_DEFAULT = "default"


def show(*, confs: Sequence[Path], job: str | None, as_json: bool, **_: Any) -> int:  # noqa: ANN401
    """Print effective values, of all jobs or of those that ``job`` means."""
    loaded = load(confs, on_this_host=False)
    wanted = chosen(loaded, job) if job is not None else None
    records: list[dict[str, Any]] = []
    for conf in loaded:
        # a job knows the line it stands at: that tells whose it is where several confs have one of its name
        own = {each.origin for each in conf.jobs}
        records += conftext.describe(conf, None if wanted is None else [each for each in wanted if each.origin in own])
    click.echo(report.document(records) if as_json else _text(records), nl=as_json)
    return Exit.DONE


def _text(records: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(f"{_title(record)}\n{_settings(record)}" for record in records)


def _title(record: Mapping[str, Any]) -> str:
    scope = f" in Cycle {record['cycle']}" if record["cycle"] is not None else ""
    return one_line(f"{readable(record['job'])}: {record['kind']} {record['source']}{scope}, {record['origin']}")


def _settings(record: Mapping[str, Any]) -> str:
    """Draw what the conf says, of the run and of the job, then the defaults."""
    own = sorted(record["settings"].items(), key=lambda item: item[1]["origin"] == _DEFAULT)
    rows = [
        [name + of_whom, one_line(conftext.written(name, setting["value"])), one_line(setting["origin"])]
        for settings, of_whom in ((record["run"].items(), " (of the run)"), (own, ""))
        for name, setting in settings
    ]
    return table(["Directive", "Value", "From"], rows)
