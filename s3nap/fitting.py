"""The commands that fit s3nap into a machine: ``install`` and ``completion``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from s3nap import options
from s3nap.errors import Exit


class _TimeOfDay(click.ParamType[tuple[int, int]]):
    """``HH:MM``, as (hour, minute)."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:  # noqa: ANN401
        if isinstance(value, tuple):
            return int(value[0]), int(value[1])
        match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", str(value))
        if match is None:
            self.fail(f"{value!r} is no time of day; write it as 03:00", param, ctx)
        return int(match[1]), int(match[2])


@click.command()
@click.argument("name", required=False)
@click.option("--at", type=_TimeOfDay(), default="03:00", show_default=True, metavar="HH:MM", help="When, local time.")
@click.option(
    "--spread",
    type=click.IntRange(0, 720),
    default=30,
    show_default=True,
    metavar="MINUTES",
    help="systemd: begin somewhere within so long, so that many hosts do not begin at once.",
)
@click.option("--systemd", "how", flag_value="systemd", help="Write service and timer (default where systemd runs).")
@click.option("--cron", "how", flag_value="cron", help="Write a line for cron instead.")
@click.option("--enable", is_flag=True, help="Start the timer, too; else the command for it is said.")
@click.option(
    "--confine/--no-confine",
    default=None,
    help="systemd: let a run read everything and write only where the conf says (default, unless the conf runs "
    "commands of its own).",
)
@click.option("--strict", is_flag=True, help="systemd: warnings that matter (status 3) fail the unit, too.")
@click.option("--remove", is_flag=True, help="Stop it, and remove the files.")
@click.option("-n", "--dry-run", "--print", "dry", is_flag=True, help="Print the files, write nothing.")
@click.option("--overwrite", is_flag=True, help="Replace files of ours that were changed by hand.")
@click.option(
    "--program",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The s3nap to run (default: this one).",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default="/",
    metavar="DIR",
    help="Another machine's tree, as systemctl --root: files are written and confs looked for below it.",
)
@options.common
def install(*, remove: bool, **chosen: Any) -> int:  # noqa: ANN401 - click's options
    """Let systemd, or cron, do the daily run of a conf: NAME is one in /etc/s3nap.

    Writes s3nap-NAME.service and s3nap-NAME.timer, or /etc/cron.d/s3nap-NAME, and says what it wrote, what is left to
    do, and how to undo it. Say it again after changes to the conf's paths. Files that it did not write are never
    touched.
    """
    from loguru import logger  # noqa: PLC0415 - start-up time

    from s3nap import installing  # noqa: PLC0415 - start-up time

    if not [chosen.pop(name) for name in ("quiet", "verbose", "debug")][-1]:
        logger.remove()  # there is nothing to log, and perhaps another machine's tree
    if remove:
        return installing.remove(**{name: chosen[name] for name in ("name", "confs", "root", "how", "dry")})
    return installing.install(**chosen)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, /, *, shell: str) -> int:
    """Print what a shell must read to complete commands, options, jobs and days of archives.

    bash: into /etc/bash_completion.d/s3nap. zsh: into a folder of $fpath, as _s3nap. fish: into
    /etc/fish/completions/s3nap.fish.
    """
    from s3nap import completing  # noqa: PLC0415 - start-up time

    click.echo(completing.script(shell, ctx.find_root().command), nl=False)
    return Exit.DONE


COMMANDS = (install, completion)
