"""Files that make the daily run happen: systemd's service and timer, or a line for cron. Texts only."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from s3nap.confinement import Lines
from s3nap.errors import UsageError

UNITS = Path("/etc/systemd/system")
CRON = Path("/etc/cron.d")
_MARK = re.compile(r'# Written by "s3nap install" for (?P<conf>.+), sum (?P<sum>[0-9a-f]{12})\.')
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@+=,%$-]+")
_SERVERS = {"MySQL": ("mariadb.service", "mysql.service"), "PostgreSQL": ("postgresql.service",)}
_CRON_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Daily:
    """The daily run of a conf: ``program`` are the words that start s3nap, ``environment`` what it needs of it.

    ``spread``: minutes within which it may begin after its time. ``confined``: directives of systemd that confine it.
    ``strict``: is a run that ended with warnings that matter a failed one?
    """

    conf: Path
    program: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    kinds: frozenset[str]
    hour: int
    minute: int
    spread: int
    confined: Lines
    strict: bool

    def service(self) -> str:
        """Return the text of the service."""
        after = [unit for kind in _SERVERS if kind in self.kinds for unit in _SERVERS[kind]]
        command = " ".join([_executable(self.program[0]), *map(_argument, (*self.program[1:], "-c", str(self.conf)))])
        lines = [
            "[Unit]",
            f"Description=Daily backup by s3nap, {_doubled(str(self.conf))}",
            "Documentation=man:s3nap(1) man:s3nap.conf(5)",
            "Wants=network-online.target",
            f"After={' '.join(['network-online.target', 'remote-fs.target', *after])}",
            "# To be told of failures, name a unit of yours: systemctl edit",
            "#OnFailure=notify-root@%n.service",
            "",
            "[Service]",
            "Type=oneshot",
            f"ExecStart={command}",
            *(f"Environment={_word(f'{name}={value}')}" for name, value in self.environment),
            *([] if self.strict else ["# 3: done, with warnings that matter", "SuccessExitStatus=3"]),
            "# a big FULL takes its time; a dump that hangs: Timeout, in the conf",
            "TimeoutStartSec=infinity",
            "# s3nap ends its programs itself",
            "KillMode=mixed",
            "UMask=0077",
            *(f"{name}={_value(value)}" for name, value in self.confined),
        ]
        return "\n".join(lines) + "\n"

    def timer(self) -> str:
        """Return the text of the timer."""
        return (
            f"[Unit]\nDescription=Daily backup by s3nap, {_doubled(str(self.conf))}\n\n"
            f"[Timer]\nOnCalendar=*-*-* {self.hour:02}:{self.minute:02}:00\nRandomizedDelaySec={self.spread}m\n"
            "# after a night in which the machine was off: at once\nPersistent=true\n\n"
            "[Install]\nWantedBy=timers.target\n"
        )

    def cron(self) -> str:
        """Return the text of a file for /etc/cron.d."""
        words = [_printable(each) for each in (*self.program, "-q", "-c", str(self.conf))]
        command = shlex.join(words).replace("%", r"\%")  # cron's own: a newline
        kept = [f"{name}={_printable(value)}" for name, value in self.environment if name != "HOME"]  # cron knows HOME
        lines = [
            "# Mail comes only when there is something to read; to somebody else than root:",
            "#MAILTO=admin@example.com",
            "SHELL=/bin/sh",
            f"PATH={_CRON_PATH}",
            *kept,
            f"{self.minute} {self.hour} * * *  root  {command}",
        ]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Mark:
    """What the first line of a file says that ``s3nap install`` wrote: for which conf, and the sum of the rest."""

    conf: str
    whole: bool

    @classmethod
    def of(cls, text: str) -> Self | None:
        """Return the mark of a file's text, None if it is not one of ours; ``whole``: as it was written."""
        first, _, rest = text.partition("\n")
        match = _MARK.match(first)
        return cls(match["conf"], match["sum"] == _sum(rest)) if match is not None else None


def marked(text: str, conf: Path, name: str) -> str:
    """Return a text behind the line that says who wrote it."""
    return (
        f'# Written by "s3nap install" for {conf}, sum {_sum(text)}. It goes by: s3nap install --remove {name}\n{text}'
    )


def unit_name(conf: Path) -> str:
    """Return the name of a conf as units bear it; UsageError if it has none."""
    name = conf.name.removesuffix(".conf")
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be part of a unit's name: give the conf a name of letters, digits, - and _")
    return name


def unit_files(name: str) -> tuple[Path, Path]:
    """Return service and timer."""
    return UNITS / f"s3nap-{name}.service", UNITS / f"s3nap-{name}.timer"


def cron_file(name: str) -> Path:
    """Return the file for cron, which passes over names with a dot."""
    return CRON / f"s3nap-{name.replace('.', '_')}"


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _value(value: str | Sequence[Path]) -> str:
    return value if isinstance(value, str) else " ".join(_word(f"-{path}") for path in value)


def _executable(path: str) -> str:
    if set(path) & set("\"'\\"):
        raise UsageError(f"systemd takes no program whose path holds quotes: {path}")
    return _word(path)


def _argument(text: str) -> str:
    return _word(text).replace("$", "$$")


def _word(text: str) -> str:
    """Write a word as systemd reads it."""
    word = _doubled(text)
    if _PLAIN.fullmatch(text):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _doubled(text: str) -> str:
    return _printable(text).replace("%", "%%")


def _printable(text: str) -> str:
    if not text.isprintable():
        raise UsageError(f"{text!r} holds a character that has no place in a unit or a crontab: rename it")
    return text
