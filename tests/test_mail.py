"""E-mail and log file as a user has them: whole runs, a real SMTP server, and what is in the mailbox afterwards."""

from __future__ import annotations

import gzip
import os
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from small_world import World, s3nap

from s3nap import cli
from s3nap.errors import Exit

FAILS = '<Command broken>\nDump sh -c "exit 3"\n</Command>'


class Mailbox:
    """What an SMTP server has taken in, as (recipients, subject, text)."""

    def __init__(self) -> None:
        self.mails: list[tuple[Sequence[str], str, str]] = []
        self.logins: list[tuple[bytes, bytes, bool]] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        self.mails.append((envelope.rcpt_tos, mail["Subject"], mail.get_content().replace("\r\n", "\n")))
        return "250 kept"

    def authenticate(
        self, _server: SMTP, session: Session, _envelope: Envelope, _mechanism: str, login: LoginPassword
    ) -> AuthResult:
        self.logins.append((login.login, login.password, session.ssl is not None))
        return AuthResult(success=True)


Serve = Callable[..., int]


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def serve(mailbox: Mailbox) -> Iterator[Serve]:
    """Start the server of the mailbox; return its port."""
    started = []

    def start(**options: object) -> int:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
        started.append(Controller(mailbox, hostname="localhost", port=port, **options))
        started[0].start()
        return port

    yield start
    for controller in started:
        controller.stop()


def write(world: World, sections: str, *lines: str) -> str:
    """Write conf and logconfig.ini; return the conf."""
    world.write_conf(*lines)
    (world.base / "logconfig.ini").write_text(sections)
    return str(world.conf)


def email(port: int, more: str = "") -> str:
    return (
        f"[email]\nenabled = yes\nhost = localhost\nport = {port}\nfrom = s3nap@example.com\n"
        f"to = admin@example.com, boss@example.com\nformat = {{level}} {{message}}\n{more}"
    )


@pytest.mark.parametrize(
    ("level", "levels"),
    [
        ("WARNING", {"WARNING", "ERROR"}),
        ("ERROR", {"ERROR"}),
        ("INFO", {"INFO"}),
        ("WARNING", set()),
    ],
)
def test_a_run_is_mailed_from_its_level_on(
    world: World, mailbox: Mailbox, serve: Serve, level: str, levels: set[str]
) -> None:
    """One mail per run with all of its level and worse, none where there is nothing of it; -q changes nothing."""
    job = FAILS if "ERROR" in levels else ""
    warns = "<Command w>\nDump echo x\nAfter false\n</Command>" if job else ""
    conf = write(world, email(serve(), f"level = {level}\n"), job, warns)
    assert cli._status(["-q", "-c", conf]) == (Exit.FAILED if job else Exit.DONE)
    assert len(mailbox.mails) == bool(levels)
    for recipients, subject, text in mailbox.mails:
        assert recipients == ["admin@example.com", "boss@example.com"]
        assert subject == f"s3nap on {socket.gethostname()}: {max(levels, key=['INFO', 'WARNING', 'ERROR'].index)}"
        assert {line.split()[0] for line in text.splitlines()} == levels
        assert ("ERROR Command/broken: sh ended with status 3" in text) == bool(job)


def test_a_password_goes_by_tls(world: World, mailbox: Mailbox, serve: Serve, tmp_path: Path) -> None:
    """A server that wants STARTTLS and a login gets both, its certificate is checked, and the mail arrives."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    port = serve(tls_context=context, require_starttls=True, authenticator=mailbox.authenticate, auth_required=True)
    password = tmp_path / "password"
    password.write_text("open sesame\n")
    password.chmod(0o600)
    section = email(port, f"tls = starttls\nuser = bob\npassword-file = {password}\n")
    conf = write(world, f"[screen]\nenabled = yes\n{section}", FAILS)
    strange = s3nap("-c", conf)
    assert "was not sent" in strange.stderr
    assert "certificate verify failed" in strange.stderr
    assert (mailbox.mails, mailbox.logins) == ([], [])
    trusted = s3nap("-c", conf, env={**os.environ, "SSL_CERT_FILE": str(certificate)})
    assert "was not sent" not in trusted.stderr
    assert mailbox.logins == [(b"bob", b"open sesame", True)]
    assert len(mailbox.mails) == 1


@pytest.mark.parametrize("compression", ["no", "gz"])
def test_the_log_of_many_runs_stays_bounded(world: World, compression: str) -> None:
    """Each run is a process of its own: by size, the log is cut from run to run, and the oldest parts go."""
    log = world.base / "logs" / "s3nap.log"
    text = f"[file]\nenabled = yes\npath = {log}\nrotation = 0.5 KB\nretention = 3\ncompression = {compression}\n"
    conf = write(world, text)
    for number in range(8):
        cli._status(["-q", "-f", "-c", conf, "--date", f"2024-01-{8 + number:02}"])
    old = sorted(file for file in log.parent.iterdir() if file != log)
    assert len(old) == 3
    assert {file.suffix for file in old} == {".log" if compression == "no" else ".gz"}
    assert all(file.stat().st_size <= 500 for file in (log, *old))
    newest = world.archives[-1].run
    assert any(newest in _text(file) for file in (log, *old))


def _text(file: Path) -> str:
    return gzip.decompress(file.read_bytes()).decode() if file.suffix == ".gz" else file.read_text()


def test_a_log_is_cut_by_age_and_old_ones_go(world: World) -> None:
    """Days count from run to run: a log begun over a week ago is put aside, one put aside months ago is deleted."""
    log = world.base / "logs" / "s3nap.log"
    log.parent.mkdir()
    now = datetime.now().astimezone()
    for name, days in (("s3nap.log", 8), ("s3nap.2024-01-01_00-00-00_000000.log", 200), ("other.log", 300)):
        file = log.parent / name
        file.write_text(f"{name}\n")
        then = (now - timedelta(days=days)).timestamp()
        os.utime(file, (then, then))
    conf = write(world, f"[file]\nenabled = yes\npath = {log}\nrotation = 1 week\nretention = 6 months\n")
    assert cli._status(["-q", "-c", conf]) == Exit.DONE
    kept = {file.read_text().splitlines()[0] for file in log.parent.iterdir() if file != log}
    assert kept == {"s3nap.log", "other.log"}
    assert "s3nap.log\n" not in log.read_text()
    assert log.stat().st_size > 0
