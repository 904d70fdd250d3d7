"""``logconfig.ini`` made typed: a section per sink. Every fault is found, and named by file, section and option."""

from __future__ import annotations

import configparser
import re
import stat
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from s3nap.errors import ConfError

LEVELS = ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL")
"""From the least to the worst."""

_HERE = Path(__file__).parent
PLACES = (Path("/etc/s3nap/logconfig.ini"), _HERE / "logconfig.ini", _HERE.parent / "logconfig.ini")
"""Where a configuration is looked for: the machine's, the shipped one, that of a source tree."""

_COMMON = ("enabled", "level", "format")
_KNOWN = {
    "screen": _COMMON,
    "file": (*_COMMON, "path", "rotation", "retention", "compression"),
    "email": (*_COMMON, "host", "port", "tls", "user", "password-file", "from", "to", "subject"),
}

_FIELDS = frozenset(
    {"time", "elapsed", "level", "level.name", "level.no", "level.icon", "message", "name", "module", "function"}
    | {"line", "file", "file.name", "file.path", "process", "process.id", "process.name"}
    | {"thread", "thread.id", "thread.name"}
)
_SIZE = r"\d+(\.\d+)? ?[kKMGT]i?B"
_AGE = r"\d+ ?(hour|day|week|month|year)s?"
_TIME = r"([01]\d|2[0-3]):[0-5]\d"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """What every sink has: whether it is used, from which level on, and how a line looks."""

    enabled: bool
    level: str
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSink(Sink):
    """The log file; ``rotation``, ``retention`` and ``compression`` are None where there is to be none."""

    path: Path
    rotation: str | None
    retention: str | int | None
    compression: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailSink(Sink):
    """One mail per run."""

    host: str
    port: int
    tls: str
    user: str
    password_file: Path | None
    sender: str
    to: tuple[str, ...]
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """A whole ``logconfig.ini``."""

    origin: Path
    screen: Sink
    file: FileSink
    email: EmailSink


def read(config: Path | None) -> LogConfig:
    """Read a configuration, or the first of ``PLACES`` that there is; ``ConfError`` lists all that is wrong with it."""
    file = config or next((place for place in PLACES if place.exists()), PLACES[0])
    reader = _Reader(file)
    found = LogConfig(origin=file, screen=_screen(reader), file=_file(reader), email=_email(reader))
    if reader.faults:
        raise ConfError(reader.faults)
    return found


class _Reader:
    """The text of one file, and the faults found in it so far."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.faults: list[str] = []
        self._parser = configparser.ConfigParser(
            interpolation=None, delimiters=("=",), default_section="\0", empty_lines_in_values=False
        )
        try:
            self._parser.read_string(file.read_text("utf-8"), str(file))
        except OSError as error:
            raise ConfError([f"{file}: cannot be read: {error.strerror}"]) from error
        except (configparser.Error, UnicodeDecodeError) as error:
            raise ConfError([f"{file}: {' '.join(str(error).split())}"]) from error
        self._refuse_unknown()

    def _refuse_unknown(self) -> None:
        for section in self._parser.sections():
            if section not in _KNOWN:
                self.fault(section, None, f"unknown section; there are {_listed(_KNOWN)}")
                continue
            for option in self._parser[section]:
                if option not in _KNOWN[section]:
                    self.fault(section, option, f"unknown option; there are {_listed(_KNOWN[section])}")

    def fault(self, section: str, option: str | None, what: str) -> None:
        place = f"[{section}]" if option is None else f"[{section}] {option}"
        self.faults.append(f"{self._file}: {place}: {what}")

    def take(self, section: str, option: str, default: str, check: Callable[[str], T]) -> T:
        """Return a checked value; of one that is wrong the default, and the fault is noted."""
        try:
            return check(_single(self._parser.get(section, option, fallback=default)))
        except ValueError as error:
            self.fault(section, option, str(error))
            return check(default)


def _screen(reader: _Reader) -> Sink:
    return Sink(
        enabled=reader.take("screen", "enabled", "no", _yes),
        level=reader.take("screen", "level", "INFO", _level),
        format=reader.take("screen", "format", "<level>{level: <8}</level> {message}", _format),
    )


def _file(reader: _Reader) -> FileSink:
    return FileSink(
        enabled=reader.take("file", "enabled", "no", _yes),
        level=reader.take("file", "level", "INFO", _level),
        format=reader.take("file", "format", "{time} {level: <8} {message}", _format),
        path=reader.take("file", "path", "/var/log/s3nap.log", _path),
        rotation=reader.take("file", "rotation", "no", _rotation),
        retention=reader.take("file", "retention", "no", _retention),
        compression=reader.take("file", "compression", "no", _compression),
    )


def _email(reader: _Reader) -> EmailSink:
    sink = EmailSink(
        enabled=reader.take("email", "enabled", "no", _yes),
        level=reader.take("email", "level", "WARNING", _level),
        format=reader.take("email", "format", "{time} {level: <8} {message}", _format),
        host=reader.take("email", "host", "localhost", str),
        port=reader.take("email", "port", "25", _port),
        tls=reader.take("email", "tls", "no", _tls),
        user=reader.take("email", "user", "", str),
        password_file=reader.take("email", "password-file", "", _password_file),
        sender=reader.take("email", "from", "", str),
        to=reader.take("email", "to", "", _addresses),
        subject=reader.take("email", "subject", "s3nap on {host}: {worst}", _subject),
    )
    if sink.enabled:
        _complete(sink, reader)
    return sink


def _complete(sink: EmailSink, reader: _Reader) -> None:
    if not sink.host:
        reader.fault("email", "host", "is missing: the mail server")
    if not sink.sender:
        reader.fault("email", "from", "is missing: the address that mails come from")
    if not sink.to:
        reader.fault("email", "to", "is missing: who gets the mails")
    if bool(sink.user) != bool(sink.password_file):
        reader.fault("email", "user", "user and password-file belong together; give both or none")
    if sink.user and sink.tls == "no" and sink.host not in {"localhost", "127.0.0.1", "::1"}:
        reader.fault("email", "tls", "no would send the password in the clear; use starttls or tls")


def _single(text: str) -> str:
    if len(text.splitlines()) > 1:
        raise ValueError("must be one line; is the next one indented by mistake?")
    return text.strip()


def _yes(text: str) -> bool:
    try:
        return configparser.ConfigParser.BOOLEAN_STATES[text.lower()]
    except KeyError:
        raise ValueError(f"{text!r} is neither yes nor no") from None


def _level(text: str) -> str:
    if text.upper() not in LEVELS:
        raise ValueError(f"{text!r} is no level; there are {_listed(LEVELS)}")
    return text.upper()


def _format(text: str) -> str:
    fields = _fields(text)
    if unknown := fields - _FIELDS:
        raise ValueError(f"unknown field {_listed(sorted(unknown))}; there are {_listed(sorted(_FIELDS))}")
    if "message" not in fields:
        raise ValueError("has no {message}")
    return text


def _subject(text: str) -> str:
    if unknown := _fields(text) - {"host", "worst", "count"}:
        raise ValueError(f"unknown field {_listed(sorted(unknown))}; there are host, worst, count")
    return text


def _fields(text: str) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}


def _path(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ValueError(f"{text!r} is not an absolute path")
    return path


def _rotation(text: str) -> str | None:
    if text.lower() == "no":
        return None
    if not re.fullmatch(f"{_SIZE}|{_AGE}|{_TIME}", text):
        raise ValueError(f"{text!r} is neither a size (10 MB), nor an age (1 week), nor a time of day (00:00), nor no")
    return text


def _retention(text: str) -> str | int | None:
    if text.lower() == "no":
        return None
    if re.fullmatch(r"\d+", text):
        return int(text)
    if not re.fullmatch(_AGE, text):
        raise ValueError(f"{text!r} is neither a number of files (10), nor an age (6 months), nor no")
    return text


def _compression(text: str) -> str | None:
    if text.lower() not in {"gz", "bz2", "xz", "no"}:
        raise ValueError(f"{text!r} is none of gz, bz2, xz, no")
    return None if text.lower() == "no" else text.lower()


def _port(text: str) -> int:
    if not re.fullmatch(r"\d{1,5}", text) or not 0 < int(text) < 1 << 16:
        raise ValueError(f"{text!r} is no port")
    return int(text)


def _tls(text: str) -> str:
    if text.lower() not in {"no", "starttls", "tls"}:
        raise ValueError(f"{text!r} is none of no, starttls, tls")
    return text.lower()


def _addresses(text: str) -> tuple[str, ...]:
    return tuple(address.strip() for address in text.split(",") if address.strip())


def _password_file(text: str) -> Path | None:
    if not text:
        return None
    path = _path(text)
    try:
        mode = path.stat().st_mode
    except PermissionError:
        return path  # root's mails are not everybody's; told when it is to be read
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError(f"others can read {path}; do: chmod 600 {path}")
    return path


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)
