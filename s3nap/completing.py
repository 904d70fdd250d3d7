"""Completion in shells: of names of confs and jobs, and of the days that archives are of.

Off line and quiet: from the confs on the line or in /etc/s3nap, and from DiffDir's copies. What cannot be read
completes to nothing, and nothing is ever printed but completions.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, get_completion_class

from s3nap import namedconfs
from s3nap.errors import S3napError

if TYPE_CHECKING:
    from s3nap.job import Conf, Job

VARIABLE = "_S3NAP_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
_PLAIN = re.compile(r"[\w.@+=,/%-]+")  # what no shell reads as anything else
_JOB_ARGUMENTS = frozenset({"job", "jobs", "words"})
_MOST = 100  # days

# click's own script splits words where bash does, at = and : and @, which names of jobs and WHEN may hold
_BASH = """\
# bash completion for s3nap
%(complete_func)s() {
    local type value
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(ShellComplete):
    """Takes the line as it is typed, and gives of each word the part that bash will put in."""

    name = "bash"
    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        end = "\0"  # whatever the line ends in, a blank or an open quote: the last word ends in this
        *words, last = click.shell_completion.split_arg_string(os.environ["COMP_LINE"] + end)
        return words[1:], last.removesuffix(end)

    def format_completion(self, item: CompletionItem[str]) -> str:
        _, incomplete = self.get_completion_args()
        typed = incomplete.partition("=")[2] if incomplete.startswith("--") else incomplete
        breaks = [mark for mark in ":=@" if mark in os.environ.get("COMP_WORDBREAKS", "")]
        there = max((typed.rfind(mark) + 1 for mark in breaks), default=0)  # before that bash changes nothing
        return f"{item.type},{str(item.value)[there:]}"


add_completion_class(_Bash)


def script(shell: str, cli: click.Command) -> str:
    """Return what a shell must read to complete s3nap's words."""
    return _of(shell, cli).source()


def answer(cli: click.Group) -> int:
    """Do what the script of a shell asks for by the environment; never an error, and not a word about one."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    shell, _, what = os.environ[VARIABLE].partition("_")
    with contextlib.suppress(Exception):
        made = _of(shell, cli)
        made.ctx_args["obj"], _ = made.get_completion_args() if what == "complete" else ([], "")
        teach(cli)
        click.echo(made.complete() if what == "complete" else made.source())
    return 0


def teach(group: click.Group) -> None:
    """Let the parameters of all commands below ``group`` know what they complete to."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            teach(command)
        for parameter in command.params if command is not None else ():
            if parameter.name in _JOB_ARGUMENTS:
                parameter.type = _Jobs()
            elif getattr(parameter, "metavar", None) == "WHEN":
                parameter.type = _Moments()
            elif parameter.name in {"name", "names"} and isinstance(parameter, click.Argument):
                parameter.type = _Confs()


def confs(incomplete: str) -> list[CompletionItem[str]]:
    """Return the names of the confs in /etc/s3nap."""
    return _fitting(namedconfs.every(), incomplete)


class _Confs(click.types.StringParamType):
    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        del ctx, param
        return confs(incomplete)


class _Jobs(click.types.StringParamType):
    """Jobs by name; after a slash by source."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        chosen = set(_words(ctx.params.get(param.name or "")))
        known = [job.source if incomplete.startswith("/") else job.name for _, job in _jobs(ctx)]
        found = _fitting((name for name in dict.fromkeys(known) if name not in chosen), incomplete)
        return found or ([CompletionItem(incomplete, type="dir")] if param.name == "words" else [])


class _Moments(click.types.StringParamType):
    """Days of which there are archives, the newest first."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        del param
        words = set(ctx.find_root().obj or ())  # of a line that ends in --at click has not parsed the arguments
        known = list(_jobs(ctx))
        asked = [(conf, job) for conf, job in known if {job.name, job.source} & words] or known
        days: dict[str, list[str]] = {}
        for conf, job in asked:
            for day, type_ in _archives(conf, job):
                days.setdefault(day, []).append(type_)
        newest = sorted(days, reverse=True)[:_MOST]
        found = [CompletionItem(day, help=", ".join(dict.fromkeys(days[day]))) for day in newest]
        return [item for item in (CompletionItem("latest"), *found) if item.value.startswith(incomplete)]


def _of(shell: str, cli: click.Command) -> ShellComplete:
    found = get_completion_class(shell)
    if found is None:
        raise ValueError(shell)
    return found(cli, {}, "s3nap", VARIABLE)


def _fitting(words: Iterable[str], incomplete: str) -> list[CompletionItem[str]]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete) and _PLAIN.fullmatch(word)]


def _words(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - what click has parsed so far
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) if value else ()


def _jobs(ctx: click.Context) -> Iterator[tuple[Conf, Job]]:
    """Yield the jobs of the confs that the line names, else of all in /etc/s3nap."""
    from s3nap import config  # noqa: PLC0415 - commands are completed without it
    from s3nap.sources.table import expanded  # noqa: PLC0415

    chain: list[click.Context] = []
    current: click.Context | None = ctx
    while current is not None:
        chain.append(current)
        current = current.parent
    given = [Path(path) for each in chain for path in each.params.get("confs") or ()]
    for path in dict.fromkeys(given) or namedconfs.every().values():
        with contextlib.suppress(S3napError, OSError):
            conf = config.load(path, on_this_host=False)
            yield from ((conf, job) for job in expanded(conf.jobs))


def _archives(conf: Conf, job: Job) -> Iterator[tuple[str, str]]:
    """Yield day and type of each archive of which DiffDir has a copy."""
    from s3nap.copies import Copies  # noqa: PLC0415 - as above
    from s3nap.state import DiffDir  # noqa: PLC0415
    from s3nap.storage.open import canonical  # noqa: PLC0415

    with contextlib.suppress(S3napError, OSError):
        state = DiffDir.of(conf, canonical(conf["Bucket"]), writable=False).job(job.name)
        for each in Copies(state.manifests, keep=False).archives():
            if isinstance(each, tuple):
                yield str(each[0].manifest.day), each[0].manifest.type.value
