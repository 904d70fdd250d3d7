"""What may stand in logconfig.ini, and that its mistakes are named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loguru import logger

from s3nap import logconfig, logs
from s3nap.errors import ConfError


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    logger.remove()
    logger.configure(patcher=lambda _: None)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[scren]\n", "[scren]: unknown section; there are screen, file, email"),
        ("[DEFAULT]\nlevel = INFO\n", "[DEFAULT]: unknown section"),
        ("[screen]\nlevl = INFO\n", "[screen] levl: unknown option; there are enabled, level, format"),
        ("[screen]\nenabled = maybe\n", "[screen] enabled: 'maybe' is neither yes nor no"),
        ("[file]\nlevel = LOUD\n", "[file] level: 'LOUD' is no level"),
        ("[file]\nformat = {time}\n", "[file] format: has no {message}"),
        ("[file]\nformat = {massage}\n", "[file] format: unknown field massage"),
        ("[file]\nformat = {message\n", "[file] format: "),
        ("[screen]\nenabled=yes\nformat = <rad>{message}\n", "[screen] format: "),
        ("[file]\npath = s3nap.log\n", "[file] path: 's3nap.log' is not an absolute path"),
        ("[file]\npath = /var/log/a\n  level = INFO\n", "[file] path: must be one line"),
        ("[file]\nrotation = often\n", "[file] rotation: 'often' is neither a size"),
        ("[file]\nretention = 10 MB\n", "[file] retention: '10 MB' is neither a number"),
        ("[file]\ncompression = zip\n", "[file] compression: 'zip' is none of"),
        ("[email]\nport = 0\n", "[email] port: '0' is no port"),
        ("[email]\ntls = maybe\n", "[email] tls: 'maybe' is none of"),
        ("[email]\nsubject = {user}\n", "[email] subject: unknown field user"),
        ("[email]\nenabled = yes\nfrom = a@b\n", "[email] to: is missing"),
        ("[email]\nenabled = yes\nto = a@b\n", "[email] from: is missing"),
        ("[email]\nenabled = yes\nto = a@b\nfrom = a@b\nuser = u\n", "[email] user: user and password-file belong"),
        ("[email]\npassword-file = /nonexistent/p\n", "[email] password-file: /nonexistent/p cannot be read"),
        ("[screen]\nlevel = INFO\nlevel = DEBUG\n", "already exists"),
        ("level = INFO\n", "no section headers"),
    ],
)
def test_a_bad_configuration_is_named(ini: Callable[[str], Path], text: str, fault: str) -> None:
    """Every mistake in logconfig.ini is an error that names file, section and option, not a log that stays empty."""
    with pytest.raises(ConfError) as caught:
        logs.setup(ini(text))
    assert str(ini(text)) in str(caught.value)
    assert fault in str(caught.value)


def test_all_faults_are_told_at_once(ini: Callable[[str], Path]) -> None:
    """Nobody has to start s3nap five times to find five mistakes."""
    with pytest.raises(ConfError) as caught:
        logconfig.read(ini("[screen]\nlevel = a\nx = 1\n[file]\nlevel = b\n[email]\nenabled = yes\n"))
    assert len(caught.value.faults) == 5


def test_an_open_password_file_is_refused(ini: Callable[[str], Path], tmp_path: Path) -> None:
    """A password that others can read is no secret."""
    (tmp_path / "p").write_text("x")
    (tmp_path / "p").chmod(0o644)
    with pytest.raises(ConfError, match=r"others can read .*; do: chmod 600"):
        logconfig.read(ini(f"[email]\npassword-file = {tmp_path}/p\n"))


def test_a_password_is_not_sent_in_the_clear(ini: Callable[[str], Path], tmp_path: Path) -> None:
    """Away from this machine a login needs TLS."""
    (tmp_path / "p").write_text("x")
    (tmp_path / "p").chmod(0o600)
    text = f"[email]\nenabled=yes\nhost=mail.example\nfrom=a@b\nto=a@b\nuser=u\npassword-file={tmp_path}/p\n"
    with pytest.raises(ConfError, match=r"\[email\] tls: no would send the password in the clear"):
        logconfig.read(ini(text))
    assert logconfig.read(ini(text + "tls = starttls\n")).email.tls == "starttls"


def test_a_missing_configuration_is_an_error(tmp_path: Path) -> None:
    """A LogConfig that is not there is a mistake, not a reason to log elsewhere."""
    with pytest.raises(ConfError, match=r"nowhere\.ini: cannot be read: No such file"):
        logs.setup(tmp_path / "nowhere.ini")


def test_the_machines_configuration_goes_first(
    ini: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/etc/s3nap/logconfig.ini wins over the shipped one, which is there otherwise."""
    shipped = logconfig.PLACES[1:]
    monkeypatch.setattr(logconfig, "PLACES", (ini("[screen]\nlevel = ERROR\n"), *shipped))
    assert logconfig.read(None).screen.level == "ERROR"
    monkeypatch.setattr(logconfig, "PLACES", (tmp_path / "none.ini", *shipped))
    assert logconfig.read(None).origin in shipped


def test_the_shipped_configuration_works() -> None:
    """Out of the box: screen and a bounded log file at INFO, no mail, with all the defaults that the file explains."""
    (shipped,) = {place for place in logconfig.PLACES[1:] if place.exists()}
    config = logconfig.read(shipped)
    assert (config.screen.enabled, config.file.enabled, config.email.enabled) == (True, True, False)
    assert (config.screen.level, config.file.level) == ("INFO", "INFO")
    assert (config.file.path, config.file.rotation, config.file.retention) == (
        Path("/var/log/s3nap.log"),
        "10 MB",
        10,
    )


def test_start_up_imports_nothing_heavy() -> None:
    """A command that only lists does not pay for mail and progress bars."""
    code = "import sys, s3nap.logs; print({'smtplib', 'rich', 'email.message', 'boto3'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
