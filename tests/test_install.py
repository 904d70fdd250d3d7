"""``s3nap install``: files that systemd and cron understand, that change nothing of what is stored, and go again."""

from __future__ import annotations

import pwd
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from s3nap import cli
from s3nap.errors import Exit

CONF = """\
DiffDir /var/lib/s3nap
Bucket s3://my-backups
Directory /etc /home
"""
SERVICE, TIMER = "etc/systemd/system/s3nap-main.service", "etc/systemd/system/s3nap-main.timer"
CRON = "etc/cron.d/s3nap-main"

Install = Callable[..., "Said"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The tree of a machine with systemd and cron, and the conf ``main``."""
    made = tmp_path / "machine"
    for folder in ("etc/s3nap", "etc/cron.d", "usr/lib/systemd", "usr/bin"):
        (made / folder).mkdir(parents=True)
    for file in ("usr/lib/systemd/systemd", "usr/bin/s3nap"):
        (made / file).touch(mode=0o755)
    (made / "etc/s3nap/main.conf").write_text(CONF)
    return made


@dataclass
class Said:
    stdout: str
    stderr: str


@pytest.fixture
def install(root: Path, capsys: pytest.CaptureFixture[str]) -> Install:
    def call(*args: object, status: int = Exit.DONE) -> Said:
        ended = cli._status(["install", "--root", str(root), *map(str, args)])
        said = Said(*capsys.readouterr())
        assert ended == status, said
        return said

    return call


def directive(root: Path, name: str, file: str = SERVICE) -> str:
    """What a unit says, several lines in one."""
    return " ".join(re.findall(rf"^{name}=(.*)$", (root / file).read_text(), re.MULTILINE))


def analyze(*args: object) -> str:
    """Let systemd judge; all it says."""
    words = ["systemd-analyze", *map(str, args)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    return done.stdout + done.stderr


def all_files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def conf(root: Path, *lines: str) -> None:
    (root / "etc/s3nap/main.conf").write_text(CONF + "\n".join(lines) + "\n")


@pytest.mark.parametrize("options", [(), ("--no-confine", "--strict")], ids=["confined", "free"])
def test_systemd_accepts_the_units(root: Path, install: Install, options: tuple[str, ...]) -> None:
    """Service and timer are right in systemd's own eyes, without a word."""
    program = Path(sys.prefix, "bin/s3nap")
    install("main", "--program", program, *options)
    assert analyze("verify", "--man=no", root / SERVICE, root / TIMER) == ""
    assert directive(root, "ExecStart") == f"{program} -c /etc/s3nap/main.conf"
    assert directive(root, "SuccessExitStatus") == ("" if "--strict" in options else "3")


def test_the_service_is_well_confined(root: Path, install: Install) -> None:
    """Systemd's own measure of exposure, 10 at worst, says that the unit may do little."""
    install("main")
    analyze("security", "--offline=true", "--threshold=40", root / SERVICE)
    install("main", "--no-confine")
    with pytest.raises(AssertionError, match="UNSAFE"):
        analyze("security", "--offline=true", "--threshold=40", root / SERVICE)


def test_the_timer_says_when(root: Path, install: Install) -> None:
    """It runs at the time that was asked for, and as soon as possible where the machine was off then."""
    install("main", "--at", "4:05", "--spread", "7")
    assert "04:05:00" in analyze("calendar", directive(root, "OnCalendar", TIMER))
    assert directive(root, "RandomizedDelaySec", TIMER) == "7m"
    assert directive(root, "Persistent", TIMER) == "true"


def test_a_wrong_time_is_refused(root: Path, install: Install) -> None:
    """A time that cron and systemd would read differently, or not at all, is an error; nothing is written."""
    before = all_files(root)
    assert "no time of day" in install("main", "--at", "25:00", status=Exit.USAGE).stderr
    assert all_files(root) == before


def test_what_a_run_writes_is_writable(root: Path, install: Install, tmp_path: Path) -> None:
    """DiffDir, TempDir, a bucket that is a folder, the log's folder and SQLite's are named; spaces do no harm."""
    ini = tmp_path / "machine/etc/s3nap/log.ini"
    ini.write_text("[file]\nenabled = yes\npath = /srv/log/s3nap.log\n")
    text = 'DiffDir "/var/lib/a %n b"\nTempDir /srv/tmp\nBucket "file:///mnt/bucket"\nLogConfig /etc/s3nap/log.ini\n'
    (root / "etc/s3nap/main.conf").write_text(text + "SQLite /srv/app/app.db\n")
    install("main")
    assert analyze("verify", "--man=no", root / TIMER) == ""
    assert '"-/var/lib/a %%n b"' in directive(root, "ReadWritePaths")
    writable = shlex.split(directive(root, "ReadWritePaths").replace("%%", "%"))
    assert {"-/var/lib/a %n b", "-/srv/tmp", "-/mnt/bucket", "-/srv/log", "-/srv/app"} <= set(writable)
    assert "CAP_CHOWN" in directive(root, "CapabilityBoundingSet")  # the files beside a database keep its owner


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        ("Directory /", {"PrivateTmp", "PrivateDevices"}),
        ("Directory /var", {"PrivateTmp"}),
        ("Directory /tmp/work", {"PrivateTmp"}),
        ("TempDir /tmp", {"PrivateTmp"}),
        ("GpgKeyring /tmp/ring", {"PrivateTmp"}),
        ("MySQL all", {"PrivateTmp"}),  # its socket may be there
        ("Directory /srv", set()),
    ],
)
def test_no_limit_hides_what_is_backed_up(root: Path, install: Install, line: str, lost: set[str]) -> None:
    """A unit that sees another /tmp or /dev than the rest of the machine would store that."""
    conf(root, line)
    install("main", "--program", "/usr/bin/s3nap")
    limits = {"PrivateTmp", "PrivateDevices"}
    assert {name for name in limits if directive(root, name)} == limits - lost
    assert ("-/tmp" in directive(root, "ReadWritePaths").split()) == ("PrivateTmp" in lost)
    assert not directive(root, "ProtectKernelModules")  # hides /usr/lib/modules
    assert "CAP_SYS_ADMIN" in directive(root, "CapabilityBoundingSet")  # without it trusted.* attributes are unseen


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("Directory /srv", set()),
        ("MySQL all", {"CAP_DAC_OVERRIDE"}),  # sockets that only a group may write to
        ("PostgreSQL all", {"CAP_DAC_OVERRIDE"}),
        ("SQLite /srv/app.db", {"CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_FOWNER"}),  # else the WAL becomes root's
        ("IoClass realtime", {"CAP_SYS_NICE"}),
    ],
)
def test_a_run_may_do_what_it_must(root: Path, install: Install, line: str, needed: set[str]) -> None:
    """Root keeps those of its powers that the conf's sources need, and no others."""
    conf(root, line)
    install("main")
    always = {"CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN"}
    assert set(directive(root, "CapabilityBoundingSet").split()) == always | needed


def test_commands_of_the_users_own_are_not_confined(root: Path, install: Install) -> None:
    """What a Command needs nobody knows: its unit is free, and that is said; --confine insists."""
    conf(root, "<Command ldap>", "Dump slapcat", "Diffs 0", "</Command>")
    assert "not confined" in install("main").stdout
    assert not directive(root, "ProtectSystem")
    install("main", "--confine")
    assert directive(root, "ProtectSystem") == "strict"


def test_the_run_has_roots_home(root: Path, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under sudo HOME may be another user's; where the keys are looked for is said. GNUPGHOME is kept."""
    conf(root, "GpgRecipient backup@example.com")
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.delenv("GNUPGHOME", raising=False)
    assert "/home/alice" in install("main").stdout
    home = pwd.getpwuid(0).pw_dir
    assert directive(root, "Environment") == f"HOME={home}"
    assert f"-{home}/.gnupg" in directive(root, "ReadWritePaths")
    monkeypatch.setenv("GNUPGHOME", "/srv/keys of mine")
    assert "/home/alice" not in install("main").stdout
    assert '"GNUPGHOME=/srv/keys of mine"' in directive(root, "Environment")
    install("main", "--cron")
    assert "\nGNUPGHOME=/srv/keys of mine\n" in (root / CRON).read_text()


def test_cron_gets_a_line(root: Path, install: Install) -> None:
    """The file has a name that cron does not pass over, and a line that sh reads as the words that were meant."""
    (root / "etc/s3nap/a.b 1%.conf").write_text(CONF)
    (root / "etc/s3nap/a.b.conf").write_text(CONF)
    install("a.b", "--cron", "--program", "/opt/my 100%/s3nap", "--at", "03:15")
    text = (root / "etc/cron.d/s3nap-a_b").read_text()
    fields = text.splitlines()[-1].split(maxsplit=6)
    assert fields[:6] == ["15", "3", "*", "*", "*", "root"]
    assert not re.search(r"(?<!\\)%", fields[6])  # cron would end the command there
    words = shlex.split(fields[6].replace(r"\%", "%"))
    assert words == ["/opt/my 100%/s3nap", "-q", "-c", "/etc/s3nap/a.b.conf"]
    assert "cannot be part of a unit's name" in install("a.b 1%", status=Exit.USAGE).stderr


def test_cron_stands_in_where_there_is_no_systemd(root: Path, install: Install) -> None:
    """A machine without systemd gets its line for cron, with a word; one with neither gets an error and nothing."""
    (root / "usr/lib/systemd/systemd").unlink()
    assert "cron will do it" in install("main").stderr
    assert (root / CRON).is_file()
    (root / CRON).unlink()
    (root / "etc/cron.d").rmdir()
    assert "neither systemd" in install("main", status=Exit.FAILED).stderr
    assert all_files(root) == {"etc/s3nap/main.conf", "usr/bin/s3nap"}


def test_twice_is_once_and_remove_leaves_nothing(root: Path, install: Install) -> None:
    """Every file is named when it is written, a second time changes none, and --remove takes all of them away."""
    before = all_files(root)
    said = install("main", "--enable").stdout
    assert {SERVICE, TIMER} < all_files(root) - before
    assert f"wrote /{SERVICE}" in said
    assert f"wrote /{TIMER}" in said
    assert "s3nap install --remove main" in said
    assert (root / "etc/systemd/system/timers.target.wants/s3nap-main.timer").is_symlink()
    assert (root / SERVICE).stat().st_mode & 0o777 == 0o644
    again = install("main").stdout
    assert f"unchanged /{SERVICE}" in again
    assert "wrote" not in again
    install("main", "--cron")
    (root / "etc/s3nap/main.conf").unlink()  # that it is gone is no reason to keep its timer
    assert f"would remove /{TIMER}" in install("--remove", "main", "-n").stdout
    install("--remove", "main")
    assert all_files(root) == before - {"etc/s3nap/main.conf"}
    assert "nothing to remove" in install("--remove", "main", status=Exit.NOTHING).stderr


def test_print_writes_nothing(root: Path, install: Install) -> None:
    """-n shows the files as they would be, and changes nothing."""
    before = all_files(root)
    shown = install("main", "-n").stdout
    assert all_files(root) == before
    install("main")
    assert (root / SERVICE).read_text() in shown
    assert (root / TIMER).read_text() in shown


@pytest.mark.parametrize("file", [SERVICE, TIMER])
def test_what_is_not_ours_stays(root: Path, install: Install, file: str) -> None:
    """A unit of the same name that somebody wrote by hand, or masked, is neither replaced nor removed."""
    (root / file).parent.mkdir(parents=True)
    (root / file).write_text("[Unit]\n")
    assert "did not write it" in install("main", status=Exit.USAGE).stderr
    assert "was not written by" in install("--remove", "main", status=Exit.USAGE).stderr
    assert all_files(root) & {SERVICE, TIMER} == {file}
    (root / file).unlink()
    (root / file).symlink_to("/dev/null")
    install("main", "--overwrite", status=Exit.USAGE)
    assert (root / file).is_symlink()


def test_changes_by_hand_stay(root: Path, install: Install) -> None:
    """A file of ours that an admin has changed is replaced only when that is asked for."""
    install("main")
    changed = (root / TIMER).read_text().replace("30m", "5m")
    (root / TIMER).write_text(changed)
    conf(root, "TempDir /srv/tmp")
    assert "changed by hand" in install("main", status=Exit.USAGE).stderr
    assert (root / TIMER).read_text() == changed
    assert "/srv/tmp" not in (root / SERVICE).read_text()  # nothing is half-done
    install("main", "--overwrite")
    assert "30m" in (root / TIMER).read_text()


def test_two_confs_of_one_name_do_not_share_a_timer(root: Path, install: Install) -> None:
    """Another conf/main.conf would silently take the place of the first."""
    (root / "srv").mkdir()
    (root / "srv/main.conf").write_text(CONF)
    install("main")
    assert "/etc/s3nap/main.conf" in install("-c", "/srv/main.conf", status=Exit.USAGE).stderr


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        ((), Exit.USAGE, "say for which conf"),
        (("main", "-c", "/etc/s3nap/main.conf"), Exit.USAGE, "say for which conf"),
        (("mian",), Exit.USAGE, "no conf mian"),
        (("--remove",), Exit.USAGE, "say which"),
        (("main", "--cron", "--enable"), Exit.USAGE, "--enable"),
        (("main", "--program", "/opt/it's/s3nap"), Exit.USAGE, "quotes"),
        (("main", "--program", "/opt/a\nb"), Exit.USAGE, "no place in a unit"),
    ],
)
def test_mistakes_write_nothing(root: Path, install: Install, args: tuple[str, ...], status: int, said: str) -> None:
    """Bad input is one clear error."""
    before = all_files(root)
    assert said in install(*args, status=status).stderr
    assert all_files(root) == before


def test_a_wrong_conf_gets_no_timer(root: Path, install: Install) -> None:
    """What would fail every night is said now."""
    conf(root, "Nonsense 1")
    assert "unknown directive Nonsense" in install("main", status=Exit.USAGE).stderr
    assert not (root / TIMER).exists()
