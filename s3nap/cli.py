"""The command line: options, and which act each command is. What is heavy is imported by the command that needs it."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from s3nap import __version__, colours, interruption, namedconfs, options
from s3nap.errors import ConfError, Exit, S3napError
from s3nap.options import with_confs

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_OBJECTS = 100_000  # made before the first look for garbage: modules are none, and looking takes a sixth of importing
_STATUSES = """\b
Exit status:
  0    done
  1    a job failed
  2    usage or configuration
  3    done with warnings that matter (files unreadable, a source suspiciously empty)
  10   the bucket is missing, denied or out of reach
  11   another s3nap works on the job
  12   no key, or the wrong one
  13   stored or restored data is not what it should be
  14   nothing matches
  130  interrupted
"""


class _Commands(click.Group):
    """Takes a first word that is no command for the name of a conf, as the original does.

    The commands of other modules are added when one is looked for: ``--version`` and the daily run need none of them.
    """

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.list_commands(ctx):
            return "run", self.commands["run"], args
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        self._complete()
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            command.epilog = command.epilog or _STATUSES
        return command

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._complete()
        return [name for name in self.commands if not self.commands[name].hidden or ctx.obj is None]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        from s3nap import completing  # noqa: PLC0415

        return [*super().shell_complete(ctx, incomplete), *completing.confs(incomplete)]

    def _complete(self) -> None:
        from s3nap import fitting, housekeeping, reading, recovering, walking, watching  # noqa: PLC0415

        for group in (reading, walking, recovering, watching, housekeeping, fitting):
            for command in group.COMMANDS:
                self.add_command(command)


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    epilog=_STATUSES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="s3nap")
@options.running
@click.pass_context
def cli(ctx: click.Context, /, **chosen: Any) -> int | None:  # noqa: ANN401 - click's options
    """Back up directories and databases to S3 or a folder, in cycles, as a conf says.

    Without a command: the daily run (for cron). A first word that is no command is a conf in /etc/s3nap or
    /etc/s3napback: `s3nap web` runs /etc/s3nap/web.conf.
    """
    if ctx.invoked_subcommand is None:
        return _run((), (), **chosen)
    return None


@cli.command(hidden=True)
@click.argument("names", nargs=-1)
@options.running
def run(names: Sequence[str], **chosen: Any) -> int:  # noqa: ANN401
    """Run the confs of these names."""
    return _run(names, (), **chosen)


@cli.command()
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@click.option("--full", is_flag=True, help="Make FULLs.")
@options.running
def backup(jobs: Sequence[str], **chosen: Any) -> int:  # noqa: ANN401
    """Run chosen jobs only (all without a JOB)."""
    return _run((), jobs, **chosen)


@cli.command()
@click.option("--from", "start", metavar="DAY", help="First day (default: today).")
@click.option("--days", type=click.IntRange(1, 3660), default=14, show_default=True)
@click.option("--table", "as_table", is_flag=True, help="A row for each day and job, with the reason; no calendar.")
@options.day
@options.as_json
@options.common
def plan(**chosen: Any) -> int:  # noqa: ANN401
    """Print the calendar: what runs when, as what, and what stays restorable."""
    from s3nap.planning import plan as act  # noqa: PLC0415

    return act(**with_confs(chosen))


@cli.group()
def config() -> None:
    """Look at the configuration."""


@config.command()
@options.common
def validate(**chosen: Any) -> int:  # noqa: ANN401
    """Check confs; all that is wrong is shown at once."""
    from s3nap import commands  # noqa: PLC0415

    return commands.validate(**with_confs(chosen))


@config.command()
@click.option("--job", help="Only this job, by its name or its source.")
@options.as_json
@options.common
def show(**chosen: Any) -> int:  # noqa: ANN401
    """Print the effective values of every job, and where each came from."""
    from s3nap import confshow  # noqa: PLC0415

    return confshow.show(**with_confs(chosen))


@config.command()
@click.option("--detect", is_flag=True, help="Name what could be backed up on this machine.")
@options.machine_root
def generate(*, detect: bool, root: Path) -> int:
    """Print a commented conf to start from."""
    if detect:
        from s3nap.detected import print_conf  # noqa: PLC0415

        return print_conf(root)
    from s3nap.conftext import generate as text  # noqa: PLC0415

    click.echo(text(), nl=False)
    return Exit.DONE


def _run(names: Sequence[str], jobs: Sequence[str], **chosen: Any) -> int:  # noqa: ANN401
    from s3nap import running  # noqa: PLC0415

    confs = (*chosen.pop("confs"), *map(_named, names))
    if not confs:
        raise click.UsageError("give a configuration: s3nap -c CONF, or s3nap NAME for /etc/s3nap/NAME.conf")
    return running.run(confs=confs, jobs=jobs, **chosen)


def _named(name: str) -> Path:
    found = namedconfs.named(name)
    if found is None:
        known = ", ".join(sorted(cli.commands))
        raise click.UsageError(f"{name} is neither a command ({known}) nor a conf in /etc/s3nap or /etc/s3napback")
    return found


def _interrupt(_number: int, _frame: object) -> None:
    interruption.ask()
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; the only place that turns errors into an exit status."""
    if "_S3NAP_COMPLETE" in os.environ:  # a shell asks
        from s3nap import completing  # noqa: PLC0415

        sys.exit(completing.answer(cli))
    gc.set_threshold(_OBJECTS)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the locale cannot show must not end a command
            stream.reconfigure(errors="backslashreplace")
    status = _status(sys.argv[1:])
    gc.freeze()  # else python looks through all there is for garbage on its way out: a tenth of a second
    sys.exit(status)


def _status(args: Sequence[str]) -> int:
    try:
        colour = colours.wanted(sys.stdout) or None  # None: click takes them out where there is no terminal
        return int(cli.main(list(args), prog_name="s3nap", standalone_mode=False, color=colour) or 0)
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except (KeyboardInterrupt, click.Abort):
        from s3nap import pipeline  # noqa: PLC0415

        pipeline.kill_all()
        click.echo("s3nap: interrupted; what was committed stays, the next run removes what was not", err=True)
        return Exit.INTERRUPTED
    except ConfError as error:
        from s3nap import carets  # noqa: PLC0415

        for line in carets.lines(error):
            click.echo(line, err=True)
        return error.status
    except S3napError as error:
        click.echo(f"s3nap: {error}", err=True)
        return error.status
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            sys.stderr.close()
        else:
            click.echo(f"s3nap: {error.filename or 'the system'}: {error.strerror}", err=True)
        return Exit.FAILED


if __name__ == "__main__":
    main()
