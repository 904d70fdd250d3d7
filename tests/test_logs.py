"""Where messages go, and what never goes there."""

from __future__ import annotations

import base64
import gzip
import os
import re
import socketserver
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from loguru import logger

from s3nap import logs

SECRET = "wJalrXUtnFEMI/K7MDENG+key"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(logs, "_secrets", set())
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    yield
    logger.remove()
    logger.configure(patcher=lambda _: None)


class Postman(socketserver.ThreadingTCPServer):
    """The least of an SMTP server: keeps mails, who sent them and to whom, and logins."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Counter)
        self.mails: list[bytes] = []
        self.envelopes: list[str] = []
        self.logins: list[bytes] = []
        self.refuse = False

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Counter(socketserver.StreamRequestHandler):
    server: Postman

    def handle(self) -> None:
        self._say("554 closed" if self.server.refuse else "220 here")
        for line in self.rfile:
            verb = line.split()[0].upper()
            if verb == b"EHLO":
                self._say("250-here", "250-8BITMIME", "250 AUTH PLAIN")
            elif verb == b"AUTH":
                self.server.logins.append(base64.b64decode(line.split()[2]))
                self._say("235 welcome")
            elif verb == b"DATA":
                self._say("354 go on")
                self.server.mails.append(b"".join(iter(self.rfile.readline, b".\r\n")))
                self._say("250 kept")
            elif verb == b"QUIT":
                return self._say("221 bye")
            else:
                self.server.envelopes.append(line.decode().strip())
                self._say("250 so be it")
        return None

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


@pytest.fixture
def postman() -> Iterator[Postman]:
    with Postman() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def read(mail: bytes) -> tuple[EmailMessage, str]:
    message = message_from_bytes(mail, EmailMessage, policy=policy.default)
    return message, message.get_content().replace("\r\n", "\n")


def fail(text: str) -> None:
    raise ValueError(text)


def email(postman: Postman, more: str = "") -> str:
    return (
        f"[email]\nenabled = yes\nhost = 127.0.0.1\nport = {postman.port}\nfrom = s3nap@example.com\n"
        f"to = admin@example.com, boss@example.com\nformat = {{level}} {{message}}\n{more}"
    )


SCREEN = "[screen]\nenabled = yes\nformat = <red>{level}</red> {message}\n"


def file_section(path: Path, more: str = "") -> str:
    return f"[file]\nenabled = yes\npath = {path}\nformat = {{level}} {{message}}\n{more}"


# screen


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({}, "INFO WARNING"),
        ({"quiet": True}, "WARNING"),
        ({"verbose": True}, "DEBUG INFO WARNING"),
        ({"debug": True}, "TRACE DEBUG INFO WARNING"),
    ],
)
def test_flags_choose_what_the_screen_shows(
    ini: Callable[[str], Path], capsys: pytest.CaptureFixture[str], flags: dict[str, bool], said: str
) -> None:
    """-q, -v and -d mean what the help says, and stdout is left to answers."""
    logs.setup(ini(SCREEN), **flags)
    for level in ("TRACE", "DEBUG", "INFO", "WARNING"):
        logger.log(level, "x")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "".join(f"{level} x\n" for level in said.split()))


@pytest.mark.parametrize(("no_color", "coloured"), [(None, True), ("1", False)])
def test_colours_are_for_terminals_that_want_them(
    ini: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    no_color: str | None,
    coloured: bool,
) -> None:
    """Escape sequences reach a terminal only, and none that sets NO_COLOR."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    logs.setup(ini(SCREEN))
    logger.info("x")
    assert ("\x1b[31m" in capsys.readouterr().err) == coloured


def test_after_close_nothing_is_said(ini: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """A closed set-up lets go of its sinks, and closing twice is harmless."""
    made = logs.setup(ini(SCREEN))
    made.close()
    made.close()
    logger.error("x")
    assert capsys.readouterr().err == ""


# file


def test_the_file_is_written_and_private(ini: Callable[[str], Path], tmp_path: Path) -> None:
    """The log holds what was said, is known to the caller, is nobody else's, and its name is taken literally."""
    path = tmp_path / "{name} of" / "s3nap.log"
    made = logs.setup(ini(file_section(path)))
    logger.info("ä {}", "done")
    logger.debug("detail")
    made.close()
    assert made.log_file == path
    assert path.read_text("utf-8") == "INFO ä done\n"
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0


def test_the_file_rotates_and_old_ones_go(ini: Callable[[str], Path], tmp_path: Path) -> None:
    """A log stays bounded: it is cut at its size, old parts are compressed and private, the oldest deleted."""
    path = tmp_path / "logs" / "s3nap.log"
    made = logs.setup(ini(file_section(path, "rotation = 1 KB\nretention = 2\ncompression = gz\n")))
    for number in range(100):
        logger.info("line {:04}: {}", number, "x" * 80)
    made.close()
    old = sorted(path.parent.glob("*.gz"))
    assert len(old) == 2
    assert sorted(path.parent.iterdir()) == sorted([*old, path])
    kept = "".join([*(gzip.decompress(part.read_bytes()).decode() for part in old), path.read_text()])
    assert [int(number) for number in re.findall(r"line (\d+)", kept)] == list(range(100))[-kept.count("\n") :]
    assert all(stat.S_IMODE(part.stat().st_mode) & 0o007 == 0 for part in old)


def test_without_rotation_nothing_is_compressed_or_deleted(ini: Callable[[str], Path], tmp_path: Path) -> None:
    """``rotation = no`` leaves the file to logrotate: s3nap neither compresses nor deletes it at the end of a run."""
    path = tmp_path / "logs" / "s3nap.log"
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "s3nap.log.1").write_text("older\n")
    made = logs.setup(ini(file_section(path, "rotation = no\nretention = 1\ncompression = gz\n")))
    logger.info("x")
    made.close()
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["s3nap.log", "s3nap.log.1"]


def test_a_file_that_cannot_be_written_is_a_warning(
    ini: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user without rights in /var/log can work, and is told once."""
    (tmp_path / "plain").write_text("")
    made = logs.setup(ini(SCREEN + file_section(tmp_path / "plain" / "s3nap.log")))
    logger.info("goes on")
    warning, rest = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"WARNING no log file is written: {tmp_path}/plain/s3nap.log: ")
    assert (rest, made.log_file) == ("INFO goes on", None)


def test_debug_reaches_the_file(ini: Callable[[str], Path], tmp_path: Path) -> None:
    """-d -q is for cron: all details in the file, none in the mail that cron sends."""
    made = logs.setup(ini(file_section(tmp_path / "log")), quiet=True, debug=True)
    logger.trace("x")
    made.close()
    assert (tmp_path / "log").read_text() == "TRACE x\n"


# e-mail


def test_one_mail_tells_what_went_wrong(ini: Callable[[str], Path], postman: Postman) -> None:
    """A run that had trouble sends exactly one mail, with everything of its level or worse, to everyone named."""
    made = logs.setup(ini(email(postman, "subject = {host} {worst} {count}\n")))
    logger.info("all well")
    logger.error("/etc/ä failed")
    logger.warning("so what")
    assert postman.mails == []
    made.close()
    made.close()
    (mail, text), *more = map(read, postman.mails)
    assert more == []
    assert re.fullmatch(r"\S+ ERROR 2", mail["Subject"])
    assert mail["To"] == "admin@example.com, boss@example.com"
    assert mail["Date"]
    assert text == "ERROR /etc/ä failed\nWARNING so what\n"
    assert sum("RCPT" in line.upper() for line in postman.envelopes) == 2


def test_a_good_run_sends_no_mail(ini: Callable[[str], Path], postman: Postman) -> None:
    """Mails stay worth reading: without trouble there is none, and none where the sink is off."""
    made = logs.setup(ini(email(postman)))
    logger.info("all well")
    made.close()
    made = logs.setup(ini(email(postman).replace("enabled = yes", "enabled = no")))
    logger.error("trouble")
    made.close()
    assert postman.mails == []


def test_a_mail_is_bounded(ini: Callable[[str], Path], postman: Postman) -> None:
    """A million unreadable files do not fill the memory: the rest is counted, not kept."""
    made = logs.setup(ini(email(postman)))
    for number in range(1003):
        logger.error("{}", number)
    made.close()
    _, text = read(postman.mails[0])
    assert text.splitlines()[-1] == "… and 3 more, in the log file"


def test_the_mail_server_gets_the_password(ini: Callable[[str], Path], postman: Postman, tmp_path: Path) -> None:
    """The password comes from its file, opens the server, and is masked in every message."""
    password = tmp_path / "password"
    password.write_text("open sesame\n")
    password.chmod(0o600)
    made = logs.setup(ini(email(postman, f"user = bob\npassword-file = {password}\n")))
    logger.error("tried with open sesame")
    made.close()
    assert postman.logins == [b"\0bob\0open sesame"]
    assert b"sesame" not in postman.mails[0]


def test_a_mail_that_cannot_be_sent_is_told(
    ini: Callable[[str], Path], postman: Postman, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mail server that refuses is an error on the other sinks and ends nothing."""
    postman.refuse = True
    made = logs.setup(ini(SCREEN + email(postman)))
    logger.error("trouble")
    made.close()
    assert f"ERROR the mail to admin@example.com, boss@example.com was not sent: 127.0.0.1:{postman.port}: " in (
        capsys.readouterr().err
    )


# what never gets out


def test_secrets_reach_no_sink(
    ini: Callable[[str], Path], postman: Postman, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A registered secret is masked on screen, in the file and in mails: as it is, in URLs, and in tracebacks."""
    made = logs.setup(ini(SCREEN + file_section(tmp_path / "log") + email(postman)), debug=True)
    logs.register_secret(f"{SECRET}\n")
    logger.error("key {} in https://x/?k={}", SECRET, SECRET.replace("/", "%2F").replace("+", "%2B"))
    try:
        fail(f"bad {SECRET}")
    except ValueError:
        logger.exception("failed")
    made.close()
    for said in (capsys.readouterr().err, (tmp_path / "log").read_text(), read(postman.mails[0])[1]):
        assert "ERROR key *** in https://x/?k=***\n" in said
        assert "ValueError: bad ***" in said
        assert "wJalr" not in said


def test_mask_takes_the_longest() -> None:
    """A secret that begins like another leaves no rest behind; an empty one masks nothing."""
    logs.register_secret("abc")
    logs.register_secret("abcdef")
    logs.register_secret(" \n")
    assert logs.mask("<abcdef> <abc> <ab>") == "<***> <***> <ab>"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nERROR forged", r"a\nERROR forged"),
        ("a\r\x1b[2Kb\x07\x9b", r"a\r\x1b[2Kb\x07\x9b"),
        ("\u202egpj.exe\u2028", r"\u202egpj.exe\u2028"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("Grüße 日本 {x} <red>", "Grüße 日本 {x} <red>"),
    ],
)
def test_hostile_names_stay_in_their_line(ini: Callable[[str], Path], tmp_path: Path, name: str, shown: str) -> None:
    """A file's name can neither forge a message, nor steer a terminal, nor break the log's encoding."""
    made = logs.setup(ini(file_section(tmp_path / "log")))
    logger.warning("changed: {}", name)
    logger.warning(f"changed: {name}".replace("{", "{{").replace("}", "}}").format())
    made.close()
    assert (tmp_path / "log").read_text("utf-8") == f"WARNING changed: {shown}\n" * 2


def test_a_traceback_cannot_pass_for_messages(ini: Callable[[str], Path], tmp_path: Path) -> None:
    """All lines of a traceback are indented, whatever an exception says."""
    made = logs.setup(ini(file_section(tmp_path / "log")))
    try:
        fail("a\nERROR forged")
    except ValueError:
        logger.exception("failed")
    made.close()
    first, *rest = (tmp_path / "log").read_text().splitlines()
    assert first == "ERROR failed"
    assert rest
    assert all(line.startswith("    ") for line in rest)
