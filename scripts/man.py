"""Write the man pages s3nap(1) and s3nap.conf(5) into a folder: from the commands and from the table of directives."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from s3nap import __version__
from s3nap.cli import cli
from s3nap.conftext import default_text
from s3nap.directives import INCLUDE, TABLE, Scope, Spec

SHARED = 5  # commands that have an option before it is explained in one place
_SPECIAL = {"\\": "\\e", "-": "\\-", "~": "\\(ti", "^": "\\(ha", "`": "\\(ga", "'": "\\(aq"}

SYNTAX = """\
A line is a comment (it begins with #), a directive with its values, or opens or closes a block. Names of directives and
blocks may be written in any case. Values are split at blanks; "…" and '…' hold them together; `\\#` is a #; a backslash
at the end of a line continues it. What stands in a block governs what is in it, the innermost wins; `Exclude` adds up.
Mistakes are errors, all named at once with file and line: `s3nap config validate`.

Blocks are <`Cycle` NAME>, which holds sources that share a cycle, and a block for each kind of source, such as
<`Directory` /opt>, for values of its own. `s3nap config generate` prints a conf with all directives.\
"""
FILES = (
    ("/etc/s3nap/NAME.conf", "The conf that `s3nap NAME` means; see s3nap.conf(5). /etc/s3napback is looked in, too."),
    ("/etc/s3nap/logconfig.ini", "Where messages go: screen, file, mail. LogConfig names another."),
    ("/var/lib/s3nap", "DiffDir, as the examples have it: what s3nap remembers between runs."),
    ("/var/log/s3nap.log", "The log, unless logconfig.ini says otherwise."),
    ("/etc/systemd/system/s3nap-NAME.service, s3nap-NAME.timer, /etc/cron.d/s3nap-NAME", "From `s3nap install`."),
)
ENVIRONMENT = (
    ("HOME, GNUPGHOME", "Where gpg and the database clients find keys and passwords."),
    ("AWS_…", "Credentials and region, as all of Amazon's programs know them, where there is no S3KeyFile."),
    ("TMPDIR", "For small temporary files; big ones go to TempDir."),
    ("NO_COLOR", "No colours on a terminal."),
)
EXAMPLES = (
    ("What would run today, and why:", "s3nap main -t"),
    ("The daily run, for cron:", "s3nap -q main"),
    ("Let systemd do it:", "s3nap install main --enable"),
    ("What is stored, and what will be:", "s3nap list -c /etc/s3nap/main.conf\ns3nap plan -c /etc/s3nap/main.conf"),
    (
        "A directory as it was a week ago, into a new folder:",
        "s3nap restore /srv/www --at 7d --target /mnt/restored -c /etc/s3nap/main.conf",
    ),
)
CONF = """\
DiffDir /var/lib/s3nap
Bucket s3://my-backups/s3nap
GpgRecipient backup@example.com
S3KeyFile /etc/s3nap/key.txt

# FULLs once a week, DIFFs on the other days, two weeks
<Cycle daily>
    Diffs 6
    Fulls 2

    Directory /etc /home
    Exclude *.tmp
</Cycle>\
"""
SCOPES = {
    Scope.TOP: "For everything, at the top level",
    Scope.JOB: "For each source, at the top level, in a Cycle, or in its block",
    Scope.SOURCE: "Sources, at the top level or in a Cycle",
}


def main() -> None:
    """Write both pages."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in (("s3nap.1", commands_page()), ("s3nap.conf.5", conf_page())):
        (folder / name).write_text("\n".join(page) + "\n", "ascii")


def commands_page() -> list[str]:
    """Return s3nap(1)."""
    commands = dict(sorted(all_commands(cli)))
    shared = shared_options(commands.values())
    running = {meaning(parameter) for parameter in cli.params}
    page = [*head("S3NAP", "1", "s3nap", "declarative, cycle-driven backups to S3 that restore without s3nap")]
    page += [".SH SYNOPSIS", ".B s3nap", r"[\fIOPTION\fR]... [\fINAME\fR]...", ".br", ".B s3nap"]
    page += [r"\fICOMMAND\fR [\fIOPTION\fR]... [\fIARGUMENT\fR]...", ".SH DESCRIPTION", *text(cli.help or "")]
    page += [".SH COMMANDS"]
    for name, command in commands.items():
        page += [f".SS {roff(f'{name} {arguments(command)}'.strip())}", *text(command.help or "")]
        page += options(each for each in command.params if meaning(each) not in {*shared, *running})
        also = [each.opts[0] for each in command.params if meaning(each) in shared.keys() - running]
        page += [".PP", f"And, as below: {', '.join(bold(each) for each in also)}."] if also else []
    page += [".SH OPTIONS", ".SS Of the daily run and of all commands that need them", *options(cli.params)]
    page += [".SS Of several commands", *options(each for key, each in shared.items() if key not in running)]
    page += [".SH EXIT STATUS", *statuses(), *sections(EXAMPLES, ("s3nap.conf", "5"))]
    return page


def conf_page() -> list[str]:
    """Return s3nap.conf(5)."""
    page = [*head("S3NAP.CONF", "5", "s3nap.conf", "what s3nap backs up, where to, and in which cycles")]
    page += [".SH SYNOPSIS", ".I /etc/s3nap/NAME.conf", ".SH DESCRIPTION", *text(SYNTAX), ".SH DIRECTIVES"]
    for scope, title in SCOPES.items():
        page += [f".SS {roff(title)}"]
        for spec in TABLE.values():
            page += directive(spec) if spec.scope is scope else []
    page += [".SS Anywhere", ".TP", rf"{bold(INCLUDE)} \fIfile, directory or pattern\fR, ..."]
    page += ["Files that are read in its place."]
    page += sections((("A week of DIFFs, two weeks:", CONF),), ("s3nap", "1"))
    return page


def sections(examples: Iterable[tuple[str, str]], see: tuple[str, str]) -> Iterator[str]:
    """Yield what both pages end in."""
    yield from (".SH FILES", *terms(FILES), ".SH ENVIRONMENT", *terms(ENVIRONMENT), ".SH EXAMPLES")
    for about, example in examples:
        yield from (".PP", roff(about), ".PP", ".nf", ".RS 4", *map(roff, example.splitlines()), ".RE", ".fi")
    yield from (".SH SEE ALSO", f".BR {see[0]} ({see[1]}),", ".BR gpg (1),", ".BR tar (1),", ".BR systemd.timer (5)")


def head(title: str, section: str, name: str, what: str) -> Iterator[str]:
    """Yield the beginning of a page."""
    moment = int(os.environ.get("SOURCE_DATE_EPOCH") or datetime.now(UTC).timestamp())
    day = datetime.fromtimestamp(moment, UTC).date()
    yield r".\" Made by scripts/man.py"
    yield f'.TH {title} {section} {day} "s3nap {__version__}" "s3nap"'
    yield from (".SH NAME", rf"{name} \- {roff(what)}")


def all_commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command that is not hidden, by its whole name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from all_commands(command, f"{before}{name} ")
        elif command is not None and not command.hidden:
            yield before + name, command


def shared_options(commands: Iterable[click.Command]) -> dict[tuple[str | None, str | None], click.Option]:
    """Return the options that many commands have, by name and help."""
    each = [parameter for command in commands for parameter in command.params if isinstance(parameter, click.Option)]
    count = Counter(meaning(one) for one in each)
    return {meaning(one): one for one in each if count[meaning(one)] >= SHARED}


def meaning(parameter: click.Parameter) -> tuple[str | None, str | None]:
    """Return what tells options apart."""
    return parameter.name, getattr(parameter, "help", None)


def arguments(command: click.Command) -> str:
    """Return a command's arguments as its usage has them."""
    context = click.Context(command)
    return " ".join(each.make_metavar(context) for each in command.params if isinstance(each, click.Argument))


def options(parameters: Iterable[click.Parameter]) -> Iterator[str]:
    """Yield options with their help."""
    for each in parameters:
        record = each.get_help_record(click.Context(cli))
        if isinstance(each, click.Option) and record is not None:
            yield from (".TP", bold(record[0]), *text(record[1]))


def directive(spec: Spec) -> Iterator[str]:
    """Yield a directive of the table."""
    yield from (".TP", rf"{bold(spec.name)} \fI{roff(spec.type.text)}\fR", *text(spec.help))
    facts = [f"Default: {default}." for default in [default_text(spec)] if default]
    facts += [f"For {', '.join(spec.kinds)} only."] if len(spec.kinds) == 1 and spec.scope is Scope.JOB else []
    facts += ["May stand several times."] if spec.repeatable else []
    yield from text(" ".join(facts))
    yield from (".br", rf"Example: {bold(f'{spec.name} {spec.example}')}")


def statuses() -> Iterator[str]:
    """Yield the exit statuses, from where ``--help`` has them."""
    found = re.findall(r"^ +(\d+) +(.+)$", cli.epilog or "", re.MULTILINE)
    return terms(found)


def terms(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield a list of what is explained."""
    for term, about in pairs:
        yield from (".TP", bold(term), *text(about))


def text(plain: str) -> Iterator[str]:
    """Yield paragraphs, with what stands between backticks in bold."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", plain.strip())):
        if number:
            yield ".PP"
        parts = re.split(r"`([^`]+)`", " ".join(paragraph.replace("\b", "").split()))
        line = "".join(bold(part) if index % 2 else roff(part) for index, part in enumerate(parts))
        if line:
            yield line if line[0] not in ".'" else rf"\&{line}"


def bold(plain: str) -> str:
    """Return words in bold."""
    return rf"\fB{roff(plain)}\fR"


def roff(plain: str) -> str:
    """Return text that groff takes as it is, in ASCII."""
    line = "".join(_SPECIAL.get(char, char if char.isascii() else f"\\[u{ord(char):04X}]") for char in plain)
    return rf"\&{line}" if line.startswith(".") else line


if __name__ == "__main__":
    main()
