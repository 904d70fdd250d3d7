"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def _add(command: Command, *options: Callable[[Command], Command]) -> Command:
    """Add options so that the help shows them in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def _merged(ctx: click.Context, _parameter: click.Parameter, value: Any) -> Any:  # noqa: ANN401 - click's signature
    """Let an option stand before or after the command's name."""
    outer, above = None, ctx.parent
    while outer is None and above is not None:  # ``config`` and its like have no options of their own
        outer, above = above.params.get(_parameter.name or ""), above.parent
    if isinstance(value, tuple):
        return (*(outer or ()), *value)
    return value or outer


day = click.option("--date", "day", metavar="DAY", callback=_merged, help="Behave as if today were DAY.")


def with_confs(chosen: dict[str, Any]) -> dict[str, Any]:
    """Return what was chosen, if it says which archives are meant: a conf or a bucket."""
    if not chosen["confs"] and not chosen.get("bucket"):
        places = "-c CONF or --bucket URL" if "bucket" in chosen else "-c CONF"
        raise click.UsageError(f"give {places}")
    return chosen


def common(command: Command) -> Command:
    """Add what every command has."""
    return _add(
        command,
        click.option(
            "-c",
            "confs",
            type=click.Path(path_type=Path),
            multiple=True,
            metavar="CONF",
            callback=_merged,
            help="A configuration file; may be given several times.",
        ),
        click.option("-q", "quiet", is_flag=True, callback=_merged, help="Only say what is wrong (for cron)."),
        click.option("-v", "verbose", is_flag=True, callback=_merged, help="Say more."),
        click.option("-d", "debug", is_flag=True, callback=_merged, help="Say everything, every program started too."),
    )


def running(command: Command) -> Command:
    """Add what a run has."""
    return _add(
        common(command),
        click.option("-t", "dry", is_flag=True, callback=_merged, help="Show what would happen; change nothing."),
        click.option("-f", "force", is_flag=True, callback=_merged, help="Run what is not due or already done, too."),
        day,
        click.option(
            "--report",
            "report_file",
            metavar="FILE",
            callback=_merged,
            help="Write what became of the run as JSON; - for standard output, instead of the summary.",
        ),
    )


def reading(command: Command) -> Command:
    """Add what finds the archives without a conf."""
    return _add(
        common(command),
        click.option("--bucket", metavar="URL", help="s3://bucket/prefix or file:///path, where there is no conf."),
        click.option("--endpoint", metavar="URL", help="The S3 server, if it is not AWS."),
        click.option("--region", help="Its region."),
        click.option("--key-file", type=click.Path(path_type=Path), help="key=... and secret=..., as S3KeyFile."),
        click.option("--host", help="The host whose archives are meant (default: the conf's, or this one)."),
        click.option(
            "--trusted-signer",
            multiple=True,
            metavar="FINGERPRINT",
            help="Only what this key signed counts (beside the conf's); may be given several times.",
        ),
        click.option("--unsigned", is_flag=True, help="Take archives that no trusted signer has signed, too."),
    )


def connecting(command: Command) -> Command:
    """Add what reaches a database server."""
    return _add(
        command,
        click.option("--database", metavar="NAME", help="Load under another name (a repository: another path)."),
        click.option("--db-host", metavar="HOST", help="The database server."),
        click.option("--db-port", type=int, help="Its port."),
        click.option("--db-socket", metavar="PATH", help="Its socket."),
        click.option(
            "--db-user", metavar="USER", help="The user to load as; passwords only from the clients' own files."
        ),
        click.option(
            "--defaults-file", type=click.Path(path_type=Path, exists=True), help="MySQL: a file as ~/.my.cnf."
        ),
    )


def opening(command: Command) -> Command:
    """Add what opens encrypted archives where gpg alone does not."""
    return _add(
        command,
        click.option(
            "--keys",
            type=click.Path(path_type=Path, exists=True),
            multiple=True,
            help="A file of opened keys, where the private key is elsewhere; may be given several times.",
        ),
        click.option(
            "--passphrase-file",
            type=click.Path(path_type=Path, exists=True),
            help="For archives encrypted with a passphrase.",
        ),
    )


def choosing(command: Command) -> Command:
    """Add what chooses files of an archive."""
    return _add(
        command,
        click.option("--include", metavar="PATTERN", multiple=True, help="Only what matches, as Exclude would."),
        click.option("--exclude", metavar="PATTERN", multiple=True, help="Nothing that matches."),
    )


def surviving(command: Command) -> Command:
    """Add what a restore of a tree does about damage, and how sure it makes of itself."""
    return _add(
        command,
        click.option(
            "--salvage", is_flag=True, help="Restore every file that no damage has touched, and list the others."
        ),
        click.option(
            "--delete", is_flag=True, help="With --overwrite: remove what the archive's own folders did not have."
        ),
        click.option("--verify", is_flag=True, help="Afterwards compare what was written with the archive's index."),
    )


machine_root = click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True),
    default="/",
    metavar="FOLDER",
    help="Look at the machine whose / is mounted here.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document.")
at = click.option(
    "--at",
    default="latest",
    metavar="WHEN",
    show_default=True,
    help="A date or time, latest, 3d (ago), slot:3 or a run id.",
)
legacy = click.option(
    "--legacy", is_flag=True, help="What s3napback stored; JOB is its name without slot and type (/etc, MySQL/shop)."
)


class Size(click.ParamType[int]):
    """A number of bytes, with K, M or G as in the conf."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        """Return the bytes."""
        if isinstance(value, int):
            return value
        from s3nap.values import SIZE  # noqa: PLC0415 - start-up time

        try:
            return int(str(SIZE.read((value,))))
        except ValueError as error:
            self.fail(str(error), param, ctx)
