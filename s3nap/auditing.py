"""The ``audit`` command: what of this machine is in no block of the confs, printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from s3nap import answering, inventory, report
from s3nap.audit import Audit, Uncovered
from s3nap.audit import audit as judge
from s3nap.commands import load, logging
from s3nap.detected import seen
from s3nap.errors import Exit
from s3nap.logs import one_line


def audit(*, confs: Sequence[Path], root: Path, as_json: bool, **options: Any) -> int:  # noqa: ANN401
    """Print what is not covered; WARNINGS if there is any."""
    loaded = load(confs, on_this_host=False)
    with logging(None, options, quiet=True):
        told = judge(inventory.take(root), loaded, answering.reached, root)
    if as_json:
        click.echo(report.document(_record(told)))
    else:
        for line in _lines(told, quiet=bool(options["quiet"])):
            click.echo(line)
    return Exit.WARNINGS if told.gaps else Exit.DONE


def _record(told: Audit) -> dict[str, Any]:
    return {
        "covered": not told.gaps,
        "gaps": [_plain(each) for each in told.gaps],
        "notes": [_plain(each) for each in told.found if not each.gap],
        "ignored": list(told.ignored),
    }


def _plain(each: Uncovered) -> dict[str, Any]:
    return {name: value for name, value in asdict(each).items() if name != "gap"}


def _lines(told: Audit, *, quiet: bool) -> list[str]:
    lines = [_line(each) for each in told.found if each.gap or not quiet]
    if told.gaps:
        lines.append(f"{len(told.gaps)} not covered: put each into a conf, or name it by AuditIgnore if it need not be")
    elif not quiet:
        lines.append("all that was found is covered" + (f", {len(told.ignored)} ignored" if told.ignored else ""))
    return lines


def _line(each: Uncovered) -> str:
    start = f"{each.subject}: " if each.what != "excluded" else ""
    shown = f" ({seen(each.seen)})" if each.seen is not None else ""
    remedy = f"; add: {each.remedy}" if each.remedy else ""
    return one_line(f"{'NOT COVERED' if each.gap else 'note'}: {start}{each.text}{shown}{remedy}")
