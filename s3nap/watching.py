"""The commands that look after backups, ``verify``, ``check``, ``drill`` and ``audit``: their options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from s3nap import options

_STATUSES = """\b
Exit status, as Nagios has it:
  0    all is well
  1    a warning
  2    critical
  3    something could not be told
"""
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)%?")


def _share(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> float:
    """Read PERCENT; no data at all is read without the option."""
    if value is None:
        return 0.0
    match = _PERCENT.fullmatch(value)
    if match is None or not 0 < float(match[1]) <= 100:
        raise click.BadParameter(
            f"{value} is no percentage: give --read-data=5%, or for all of it --read-data with the JOB before it"
        )
    return float(match[1]) / 100


@click.command()
@click.argument("job", required=False)
@click.option("--all-hosts", is_flag=True, help="Of every host in the bucket.")
@click.option(
    "--read-data",
    "share",
    metavar="[PERCENT]",
    is_flag=False,
    flag_value="100",
    callback=_share,
    help="Download all objects, or a random share of them; check them, and decode them where a key is at hand.",
)
@options.opening
@options.as_json
@options.reading
def verify(**chosen: Any) -> int:  # noqa: ANN401 - click's options
    """Look whether the stored archives are whole; mark what is damaged, so that nothing builds on it.

    Without --read-data: that every object is there and has its size, and that the tables and envelopes are right.
    """
    from s3nap.verifying import verify as act  # noqa: PLC0415

    return act(**options.with_confs(chosen))


@click.command(epilog=_STATUSES)
@click.option("--all-hosts", is_flag=True, help="Of every host in the bucket, judged by their archives alone.")
@click.option("--ignore", multiple=True, metavar="CHECK", help="Leave a check out; may be given several times.")
@click.option("--nagios", is_flag=True, help="One status line and performance data.")
@click.option(
    "--prometheus", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="For the textfile collector."
)
@options.as_json
@options.reading
def check(**chosen: Any) -> int:  # noqa: ANN401
    """Tell whether all is fresh, restorable and fit; for people and for monitoring."""
    from s3nap.checking import check as act  # noqa: PLC0415

    return act(**options.with_confs(chosen))


@click.command()
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@click.option("--all-hosts", is_flag=True, help="Of every host in the bucket.")
@click.option("--random", "any_one", is_flag=True, help="Any archive of each job that restores, not the newest.")
@options.at
@click.option(
    "--target",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Make scratch folders here (default: in TempDir, or the system's); there must be room for a whole job.",
)
@click.option(
    "--run-commands",
    is_flag=True,
    help="Run the Load command stored with a Command, in the scratch folder; see that it writes nowhere else.",
)
@click.option("-n", "dry", is_flag=True, help="Only show what would be restored, and how.")
@options.as_json
@options.opening
@options.reading
def drill(**chosen: Any) -> int:  # noqa: ANN401
    """Rehearse restores: into a scratch folder or throw-away server, compared, timed, noted for check, removed."""
    from s3nap.drilling import drill as act  # noqa: PLC0415

    if chosen["any_one"] and chosen["at"] != "latest":
        raise click.UsageError("--random takes any day: leave out --at")
    return act(**options.with_confs(chosen))


@click.command()
@options.machine_root
@options.as_json
@options.common
def audit(**chosen: Any) -> int:  # noqa: ANN401
    """Tell what on this machine is in no block: mounts, folders, databases, repositories. Status 3 if anything is.

    What need not be covered is named by AuditIgnore in a conf.
    """
    from s3nap.auditing import audit as act  # noqa: PLC0415

    return act(**options.with_confs(chosen))


COMMANDS = (verify, check, drill, audit)
