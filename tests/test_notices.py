"""Notify and Ping: who is told of which run, what of it, that no secret gets out, and that trouble there is no more."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from loguru import logger
from small_world import World, s3nap
from web import Web

from s3nap import bounded, cli, config, hookvalues, notices, ping, telling
from s3nap.errors import Exit

KEY = "0f0e0d0c-secret-key"
FAILS = '<Command broken>\nDump sh -c "exit 3"\n</Command>'
WARNS = "<Command x>\nDump echo x\nAfter false\n</Command>"

LEVELS = {"TRACE", "DEBUG", "INFO", "WARNING"}

Run = Callable[..., int]


@pytest.fixture
def run(world: World) -> Run:
    """The daily run in this process, of a conf with more lines."""

    def call(lines: Sequence[str], *args: str) -> int:
        world.write_conf(*lines)
        return cli._status(["-c", str(world.conf), "-f", *args])

    return call


def told(web: Web) -> list[str]:
    return [request.path for request in web.requests]


# Ping


@pytest.mark.parametrize(
    ("more", "status", "end"),
    [("", 0, ""), (FAILS, 1, "/fail"), (WARNS, 3, "/fail"), ("GpgRecipient nobody@example.invalid", 12, "/fail")],
)
def test_a_check_is_told_start_and_end(run: Run, web: Web, more: str, status: int, end: str) -> None:
    """Only status 0 is a success; all else is a failure, be it before the first job; the log's end comes along."""
    assert run([f"Ping http://{web.host}/{KEY}?create=1", more]) == status
    assert told(web) == [f"/{KEY}/start?create=1", f"/{KEY}{end}?create=1"]
    first, last = (request.body.decode() for request in web.requests)
    assert first == ""
    wanted = {
        0: "INFO     Directory",
        1: "broken: sh ended with status 3",
        3: "After failed: false",
        12: "nobody@example.invalid",
    }
    assert wanted[status] in last


def test_the_end_of_the_log_is_bounded(run: Run, web: Web) -> None:
    """A check gets 10 kB at most, whole lines, the last ones."""
    talks = "<Command x>\nDump echo x\nShell On\nBefore \"seq -f 'line %g of a hook that talks much' 2000\"\n</Command>"
    assert run([f"Ping http://{web.host}/{KEY}", talks]) == 0
    text = web.requests[-1].body
    assert 9000 < len(text) <= 10_000
    assert b"line 2000 of" in text
    assert all(line[2:3] == b":" for line in text.splitlines())


@pytest.mark.parametrize("args", [("-t",), ("backup", "Directory")])
def test_a_check_is_not_told_of_less_than_a_run(world: World, web: Web, args: Sequence[str]) -> None:
    """Neither what did not happen nor chosen jobs may turn a check green."""
    world.write_conf(f"Ping http://{web.host}/{KEY}", f"Notify json://{web.host}/{KEY}", "NotifyOn always")
    assert (
        cli._status([*(args if args[0] == "backup" else []), "-c", str(world.conf), *(args if args[0] == "-t" else [])])
        == 0
    )
    assert told(web) == ([] if args == ("-t",) else [f"/{KEY}"])


def test_a_run_that_was_put_off_is_missed(run: Run, web: Web) -> None:
    """A Before that says 75 for months must not look like months of backups."""
    lines = [f"Ping http://{web.host}/ping", f"Notify json://{web.host}/{KEY}", "NotifyOn always"]
    assert run([*lines, "Shell On", 'Before "exit 75"']) == 0
    assert told(web) == [f"/{KEY}"]
    assert "Before says not now" in json.loads(web.requests[0].body)["message"]


# Notify


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        ("", ["failed", "warnings"]),
        ("NotifyOn failure", ["failed"]),
        ("NotifyOn warning", ["failed", "warnings"]),
        ("NotifyOn always", ["failed", "warnings", "done"]),
    ],
)
def test_who_wants_to_know_is_told(run: Run, world: World, web: Web, on: str, expected: list[str]) -> None:
    """NotifyOn chooses runs by how they ended; a notice names host, conf, what failed, and its level of alarm."""
    for more in (FAILS, WARNS, ""):
        run([f"Notify json://{web.host}/{KEY} json://{web.host}/other", on, more])
    notes = [json.loads(request.body) for request in web.requests]
    titles = [f"s3nap on {world.host}: s3nap.conf: {word}" for word in expected]
    assert [note["title"] for note in notes] == [title for title in titles for _ in range(2)]
    assert told(web)[:2] == [f"/{KEY}", "/other"]
    assert notes[0]["type"] == "failure"
    first, second = notes[0]["message"].splitlines()
    assert first == "Command/broken: failed; sh ended with status 3"
    assert second.endswith("tree: done")


def test_a_long_notice_is_cut(world: World) -> None:
    """A conf of a thousand jobs that fail is told in a notice that services take, the failed ones first."""
    from s3nap.results import ConfResult, Result  # noqa: PLC0415 - only here

    conf = config.load(world.conf)
    results = [
        Result(job=conf.jobs[0], outcome="failed" if number else "done", status=Exit(number > 0), message="m\nn")
        for number in range(100)
    ]
    text = notices.body(ConfResult(conf=conf, results=results))
    assert len(text.splitlines()) == 41
    assert text.splitlines()[0].endswith("failed; m\\nn")
    assert text.endswith("… and 60 jobs more")


# trouble


def test_notices_that_fail_change_nothing(run: Run, web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    """A service that refuses, is not there, or is unknown is a warning; the run ends as it would have."""
    web.status = 500
    lines = [
        f"Ping http://{web.host}/{KEY}",
        f'Notify json://{web.host}/{KEY} json://127.0.0.1:1/{KEY} "nosuch://{KEY}"',
        "NotifyOn always",
    ]
    assert run(lines) == 0
    said = capsys.readouterr().err
    assert "Ping http://127.0.0.1/*** start: the answer is 500" in said
    assert "Ping http://127.0.0.1/*** success: the answer is 500" in said
    assert said.count("the notice to json://*** did not go out: ") == 2
    assert "did not go out: A Connection error occurred sending JSON notification to 127.0.0.1." in said
    assert "the notice to nosuch://*** did not go out: apprise does not know what that is" in said
    assert KEY not in said


def test_a_service_that_hangs_is_given_up(
    run: Run, web: Web, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run waits for those who are told of it."""
    web.hang = True
    for module, name in ((ping, "_WHOLE"), (notices, "_SECONDS")):
        monkeypatch.setattr(module, name, 0.2)
    assert run([f"Ping http://{web.host}/{KEY}", f"Notify json://{web.host}/{KEY}", "NotifyOn always"]) == 0
    assert capsys.readouterr().err.count("no answer within 0.2 seconds") == 3


def test_a_fault_is_raised_where_it_can_be_seen() -> None:
    """What is no trouble of the network is not taken for it."""
    with pytest.raises(ZeroDivisionError):
        bounded.asked(5, lambda: str(1 // 0))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_told(world: World, web: Web, tmp_path: Path, number: signal.Signals) -> None:
    """A run that is killed by a shutdown is no run that hangs: the check fails at once, and people know why."""
    world.write_conf(
        f"Ping http://{web.host}/ping", f"Notify json://{web.host}/{KEY}",
        f'<Command x>\nShell On\nDump "touch {tmp_path}/on; exec sleep 300"\n</Command>',
    )  # fmt: skip
    report = tmp_path / "report"
    process = subprocess.Popen(
        [sys.executable, "-m", "s3nap", "-c", str(world.conf), "--report", str(report)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # noqa: PLW1509 - tests may run under nohup
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "on").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == Exit.INTERRUPTED, said
    assert told(web) == ["/ping/start", "/ping/fail", f"/{KEY}"]
    assert json.loads(web.requests[-1].body)["title"].endswith(": interrupted")
    data = json.loads(report.read_text())
    assert (data["status"], data["confs"][0]["result"]) == (130, "interrupted")
    assert [job["result"] for job in data["jobs"]] == ["done"]


# secrets


def test_urls_reach_no_output(world: World, web: Web, tmp_path: Path) -> None:
    """Keys of services stay out of what is logged with -d, printed, reported and shown, from the conf or a file."""
    (tmp_path / "urls").write_text(f"# mine\njson://bob:open-sesame@{web.host}/{KEY}\n")
    (tmp_path / "url").write_text(f"http://{web.host}/{KEY}\n")
    for name in ("urls", "url"):
        (tmp_path / name).chmod(0o600)
    files = [f"NotifyFile {tmp_path}/urls", f"PingFile {tmp_path}/url"]
    lines = [f'Notify "json://eve:hush-hush@127.0.0.1:1/{KEY}"', "NotifyOn always"]
    shown = ""
    for conf, commands in (
        ([*files, *lines], (["-d", "run", "--report", "-"], ["config", "validate"])),
        ([*lines, f"Ping http://{web.host}/{KEY}"], (["config", "show"], ["-d", "-t"])),
    ):
        world.write_conf(*conf)
        for words in commands:
            done = s3nap(*words, "-c", world.conf)
            assert done.returncode == 0, done.stderr
            shown += done.stdout + done.stderr
            assert {line.split()[0] for line in done.stderr.splitlines()} <= LEVELS  # nobody speaks beside the log
    assert KEY in " ".join(told(web))
    assert "json://***" in shown
    assert "http://127.0.0.1/***" in shown
    for secret in (KEY, "open-sesame", "hush-hush", "bob:", "eve:"):
        assert secret not in shown


@pytest.mark.parametrize(
    ("url", "shown", "parts"),
    [
        ("https://hc-ping.com/1b2c-3d4e-5f6a", "https://hc-ping.com/***", {"1b2c-3d4e-5f6a"}),
        ("https://u:pass@h.example/x", "https://h.example/***", {"pass"}),
        ("tgram://123456789:AAbbCCddEE/12345678", "tgram://***", {"123456789", "AAbbCCddEE", "12345678"}),
        ("mailtos://me:p%40ss@mail.example.com", "mailtos://***", {"p%40ss", "p@ss"}),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "slack://***", {"T1JJ3T3L2", "A1BRTD4JD"}),
    ],
)
def test_what_is_secret_of_a_url(url: str, shown: str, parts: set[str]) -> None:
    """Passwords and tokens are masked wherever in a URL they stand; a host's name is not, nor short words."""
    found = hookvalues.SecretUrl(url)
    assert (str(found), f"{found!r}") == (shown, "SecretUrl()")
    secrets = set(found.secrets())
    assert parts <= secrets
    assert secrets.isdisjoint({"mail.example.com", "hc-ping.com", "x", "u", ""})


# the conf


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ("Notify here", "Notify: that is no URL"),
        ("Ping ftp://x/y", "Ping: takes one URL of HTTP"),
        ("Ping https://x/y https://x/z", "Ping: takes one URL of HTTP"),
        ("Ping https://x:99999/y", "Ping: that URL has no possible host or port"),
        ("NotifyOn sometimes\nNotify json://x.y", "'sometimes' is unknown; write failure or warning or always"),
        ("NotifyOn always", "NotifyOn is of no use without Notify"),
        ("Ping https://x/y\nPingFile {file}", "Ping and PingFile exclude each other"),
        ("NotifyFile {file}", "NotifyFile holds a line that is no URL"),
        ("PingFile {file}", "PingFile takes one URL of HTTP"),
        ("NotifyFile {open}", "NotifyFile can be read by others"),
        ("PingFile /nonexistent/x", "PingFile does not exist"),
        (
            "<Directory /a>\nPing https://x/y\n</Directory>",
            "Ping stands in <Directory /a>; it belongs at the top level",
        ),
    ],
)
def test_mistakes_are_named(world: World, tmp_path: Path, lines: str, fault: str) -> None:
    """A notice that would never go out is found when the conf is read; what is wrong is said without the secret."""
    for name, mode in (("file", 0o600), ("open", 0o644)):
        (tmp_path / name).write_text("no url hush-hush\n")
        (tmp_path / name).chmod(mode)
    world.write_conf(lines.format(file=tmp_path / "file", open=tmp_path / "open"))
    done = s3nap("config", "validate", "-c", world.conf)
    assert done.returncode == Exit.USAGE
    assert fault in done.stderr
    assert "hush" not in done.stderr


def test_validate_asks_apprise(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service that apprise does not know, and an apprise that is not there, are told by `config validate`."""
    world.write_conf('Notify "nosuch://hush-hush"')
    assert cli._status(["config", "validate", "-c", str(world.conf)]) == Exit.USAGE
    assert "apprise does not know what nosuch://*** is" in capsys.readouterr().err
    monkeypatch.setattr(notices.importlib.util, "find_spec", lambda _: None)
    assert cli._status(["config", "validate", "-c", str(world.conf)]) == Exit.USAGE
    assert f"{world.conf}:1: Notify needs apprise, which is not installed: pip install" in capsys.readouterr().err
    assert cli._status(["-c", str(world.conf)]) == Exit.DONE
    world.write_conf('Notify "nosuch://hush-hush"', "NotifyOn always")
    assert cli._status(["-c", str(world.conf)]) == Exit.DONE
    assert "did not go out: Notify needs apprise" in capsys.readouterr().err


def test_a_file_that_went_away_is_told(world: World, tmp_path: Path) -> None:
    """A NotifyFile that cannot be read when the run begins is a warning, not the end of the run."""
    file = tmp_path / "urls"
    file.write_text("json://127.0.0.1/x\n")
    file.chmod(0o600)
    world.write_conf(f"NotifyFile {file}")
    conf = config.load(world.conf)
    file.unlink()
    said: list[str] = []
    sink = logger.add(said.append, format="{level} {message}")
    telling.Telling(conf, whole=True)
    logger.remove(sink)
    assert len(said) == 1
    assert said[0].startswith(f"WARNING {world.conf}: NotifyFile cannot be read: ")
