"""What s3nap says while it works: to the screen, a file, by mail; never a secret, never more than a line per message.

Modules say it with ``from loguru import logger``; this one decides where it goes. It also knows the secrets: who reads
one calls ``register_secret`` before anything else is done with it. Random passphrases of single objects need not be
registered: they are never in reach of a message, and there are too many.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from loguru import logger

from s3nap import colours, logconfig
from s3nap.errors import ConfError
from s3nap.logconfig import LEVELS, EmailSink, FileSink, LogConfig, Sink

if TYPE_CHECKING:
    from loguru import Message, Record

_MASK = "***"
_MAIL_LINES = 1000
_MAIL_SECONDS = 60
_LOG_MODE = 0o640  # names of files are nobody else's business
_COMPRESSORS = {"gz": "gzip", "bz2": "bz2", "xz": "lzma"}

_secrets: set[str] = set()


def setup(config: Path | None, *, quiet: bool = False, verbose: bool = False, debug: bool = False) -> LogSetup:
    """Send what is logged from now on where ``config`` says, or the machine's or the shipped ``logconfig.ini``.

    ``quiet``: on screen only warnings and worse. ``verbose``: also details. ``debug``: everything, in the file too.
    Raises ``ConfError`` with all that is wrong in the file.
    """
    wanted = logconfig.read(config)
    logger.remove()
    logger.configure(patcher=_patch)
    made = LogSetup()
    try:
        made.add_screen(wanted, _screen_level(wanted.screen.level, quiet=quiet, verbose=verbose, debug=debug))
        made.add_file(wanted, "TRACE" if debug else wanted.file.level)
        made.add_email(wanted)
    except ConfError:
        made.close()
        raise
    return made


def register_secret(value: str) -> None:
    """Never let ``value`` reach a sink, as it is or percent-encoded."""
    if stripped := value.strip():
        _secrets.update((stripped, quote(stripped, safe=""), quote(stripped)))


def mask(text: str) -> str:
    """``text`` with every registered secret replaced by ``***``."""
    if not _secrets:
        return text
    longest_first = sorted(_secrets.copy(), key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), _MASK, text)


def one_line(text: str) -> str:
    """``text`` with all that could move a cursor, hide, or begin a line of its own written as an escape."""
    return text if text.isprintable() else "".join(map(_visible, text))


class LogSetup:
    """The sinks of one process. ``log_file`` is None where no file is written."""

    def __init__(self) -> None:
        self.log_file: Path | None = None
        self._sinks: list[int] = []
        self._mail: _Mail | None = None

    def close(self) -> None:
        """Send the mail, if there is something to send, and let go of all sinks. May be called again."""
        mail, self._mail = self._mail, None
        if mail:
            mail.send()
        while self._sinks:
            logger.remove(self._sinks.pop())

    def add_screen(self, config: LogConfig, level: str) -> None:
        """Write to standard error."""
        if config.screen.enabled:
            self._add(config, "screen", config.screen, _to_screen, level=level, colorize=colours.wanted(sys.stderr))

    def add_file(self, config: LogConfig, level: str) -> None:
        """Write to the file; where that cannot be, say so and go on."""
        file = config.file
        if not file.enabled:
            return
        try:
            # braces would be fields to loguru; the name is to be taken as it is
            literal = str(file.path).replace("{", "{{").replace("}", "}}")
            self._add(config, "file", file, literal, level=level, **_file_options(file))
        except OSError as error:
            logger.warning(
                "no log file is written: {}: {}; set [file] path or enabled = no in {}",
                file.path,
                error.strerror,
                config.origin,
            )
        else:
            self.log_file = file.path

    def add_email(self, config: LogConfig) -> None:
        """Collect what the mail is to say; where its password is not ours to read, say so and go on."""
        email = config.email
        if not email.enabled:
            return
        try:
            password = email.password_file.read_text("utf-8").strip() if email.password_file else ""
        except (OSError, UnicodeDecodeError) as error:
            logger.warning("no mail will be sent: {}: {}", email.password_file, error)
            return
        register_secret(password)
        mail = _Mail(email, password)
        self._add(config, "email", email, mail.collect, level=email.level, colorize=False)
        self._mail = mail

    def _add(self, config: LogConfig, section: str, sink: Sink, to: Any, **options: Any) -> None:  # noqa: ANN401 - loguru's own
        try:
            added = logger.add(to, format=sink.format, backtrace=False, diagnose=False, **options)
        except ValueError as error:  # all other values have been checked
            raise ConfError([f"{config.origin}: [{section}] format: {error}"]) from error
        self._sinks.append(added)


class _Mail:
    """The messages of a run, and how they are sent at its end."""

    def __init__(self, config: EmailSink, password: str) -> None:
        self._config = config
        self._password = password
        self._lines: list[str] = []
        self._count = 0
        self._worst = LEVELS[0]

    def collect(self, message: Message) -> None:
        """Keep a line; only count it when there are too many (memory does not grow with what goes wrong)."""
        self._count += 1
        level = message.record["level"].name
        if level in LEVELS:
            self._worst = max(self._worst, level, key=LEVELS.index)
        if len(self._lines) < _MAIL_LINES:
            self._lines.append(str(message))

    def send(self) -> None:
        """Send what was collected; that a mail cannot be sent is an error to be told, not one to die of."""
        if not self._count:
            return
        import smtplib  # noqa: PLC0415 - start-up time: few runs send a mail

        try:
            self._deliver()
        except (OSError, smtplib.SMTPException, ValueError) as error:
            server = f"{self._config.host}:{self._config.port}"
            logger.error("the mail to {} was not sent: {}: {}", ", ".join(self._config.to), server, error)

    def _deliver(self) -> None:
        import smtplib  # noqa: PLC0415 - as in send
        import ssl  # noqa: PLC0415 - as in send

        config = self._config
        context = ssl.create_default_context()
        server = (
            smtplib.SMTP_SSL(config.host, config.port, timeout=_MAIL_SECONDS, context=context)
            if config.tls == "tls"
            else smtplib.SMTP(config.host, config.port, timeout=_MAIL_SECONDS)
        )
        with server:
            if config.tls == "starttls":
                server.starttls(context=context)
            if config.user:
                server.login(config.user, self._password)
            server.send_message(self._message())

    def _message(self) -> Any:  # noqa: ANN401 - an EmailMessage; importing it costs start-up time
        import socket  # noqa: PLC0415 - as in send
        from email.message import EmailMessage  # noqa: PLC0415 - as in send
        from email.utils import formatdate, make_msgid  # noqa: PLC0415 - as in send

        host = socket.gethostname()
        message = EmailMessage()
        message["Subject"] = mask(self._config.subject.format(host=host, worst=self._worst, count=self._count))
        message["From"] = self._config.sender
        message["To"] = ", ".join(self._config.to)
        message["Date"] = formatdate(localtime=True)
        message["Message-ID"] = make_msgid(domain=host)
        message["Auto-Submitted"] = "auto-generated"
        more = self._count - len(self._lines)
        message.set_content("".join(self._lines) + (f"… and {more} more, in the log file\n" if more else ""))
        return message


def _screen_level(level: str, *, quiet: bool, verbose: bool, debug: bool) -> str:
    if quiet:
        return max(level, "WARNING", key=LEVELS.index)
    if debug:
        return "TRACE"
    return min(level, "DEBUG", key=LEVELS.index) if verbose else level


def _to_screen(message: Message) -> None:
    # looked up each time: a progress bar puts its own stream there to keep lines above itself
    sys.stderr.write(message)
    sys.stderr.flush()


def _file_options(file: FileSink) -> dict[str, Any]:
    options: dict[str, Any] = {"encoding": "utf-8", "colorize": False, "opener": _open_private}
    if file.rotation:
        # without rotation loguru would apply these at the end of every run, to the file just written
        compress = partial(_compress, suffix=file.compression) if file.compression else None
        options |= {"rotation": file.rotation, "retention": file.retention, "compression": compress}
    return options


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, _LOG_MODE)


def _compress(path: str, suffix: str) -> None:
    # loguru's own would make a file that everybody can read
    compressor = importlib.import_module(_COMPRESSORS[suffix])
    out = os.fdopen(_open_private(f"{path}.{suffix}", os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb")
    with Path(path).open("rb") as plain, out, compressor.open(out, "wb") as packed:
        shutil.copyfileobj(plain, packed)
    Path(path).unlink()


def _patch(record: Record) -> None:
    record["message"] = one_line(mask(record["message"]))
    if (exception := record["exception"]) is not None:
        lines = "".join(traceback.format_exception(exception.type, exception.value, exception.traceback)).splitlines()
        # indented: nothing in it can pass for a message
        record["message"] += "".join(f"\n    {one_line(line)}" for line in mask("\n".join(lines)).split("\n"))
        record["exception"] = None


def _visible(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return char if char.isprintable() else char.encode("unicode_escape").decode()
