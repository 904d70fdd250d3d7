"""Checks: each says well, warning and critical where it should, and monitoring understands how it is said."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import archives
import calling
import pytest
from archives import after, archive, cycle_from
from keys_fixture import GpgHome
from prometheus_client.parser import text_string_to_metric_families
from small_world import World, s3nap

from s3nap import config, monitors, vitals
from s3nap.cycle import HanoiCycle
from s3nap.errors import Exit
from s3nap.findings import Finding, Level, applied
from s3nap.jobchecks import JOB_CHECKS, JobFacts
from s3nap.machinechecks import MACHINE_CHECKS, Key, MachineFacts
from s3nap.manifest import Archive
from s3nap.recipients import private_here
from s3nap.storage import Clocked, Storage
from s3nap.verified import Verified

OK, WARNING, CRITICAL = Level.OK, Level.WARNING, Level.CRITICAL
NOW = datetime(2026, 11, 21, 3, 15, tzinfo=UTC)
DAILY, WEEKLY = cycle_from(), cycle_from(frequency=7, diffs=0)


def levels(check: str, facts: JobFacts | MachineFacts) -> list[Level]:
    table: Any = JOB_CHECKS if check in JOB_CHECKS else MACHINE_CHECKS
    return [said.level for said in table[check](facts)]


def said(check: str, facts: JobFacts | MachineFacts) -> str:
    table: Any = JOB_CHECKS if check in JOB_CHECKS else MACHINE_CHECKS
    return " ".join(each.text for each in table[check](facts))


def job(day: int, *made: Archive, **facts: Any) -> JobFacts:
    return JobFacts(**{"job": archives.NAME, "day": after(day), "archives": made, "cycle": DAILY, **facts})


def on(*days: int, **fields: Any) -> list[Archive]:
    return [archive(after(day), **fields) for day in days]


# a job's


@pytest.mark.parametrize(
    ("cycle", "catch_up", "expected"),
    [
        # by days since the last archive
        (DAILY, True, [OK, OK, WARNING, CRITICAL]),
        (WEEKLY, True, [*[OK] * 8, WARNING, CRITICAL]),
        (WEEKLY, False, [*[OK] * 8, *[WARNING] * 7, CRITICAL]),
    ],
)
def test_no_older_than_the_cycle_allows(cycle: Any, catch_up: bool, expected: Sequence[Level]) -> None:
    """On the due day itself all is well; one failed night is a warning, two are critical."""
    for age, level in enumerate(expected):
        assert levels("backup", job(age, *on(0), cycle=cycle, catch_up=catch_up)) == [level], age


def test_hanoi_is_due_by_its_frequency() -> None:
    """What is kept of a decaying schedule has gaps; what counts is the next due day."""
    cycle = HanoiCycle(frequency=1, discs=5)
    assert [levels("backup", job(age, *on(0), cycle=cycle)) for age in range(4)] == [[OK], [OK], [WARNING], [CRITICAL]]


def test_never_ran_is_critical() -> None:
    """A job that was configured and never ran is the one that nobody misses until it is needed."""
    assert levels("backup", job(0)) == [CRITICAL]
    assert "never ran" in said("backup", job(0))
    assert levels("backup", job(0, fault="no such folder")) == [CRITICAL]
    assert "no such folder" in said("backup", job(0, fault="no such folder"))


def test_what_does_not_restore_does_not_count() -> None:
    """Only whole chains are backups: no distrusted archive, no DIFF without its FULL, no other machine's."""
    full = archive(after(0))
    diff = archive(after(1), 1, parent=full)
    assert levels("backup", job(1, full, diff)) == [OK]
    assert levels("backup", job(1, diff)) == [CRITICAL]
    assert levels("backup", job(1, archives.marked(full, "distrust"), diff)) == [CRITICAL]
    assert levels("backup", job(2, full, archives.marked(diff, "distrust"))) == [WARNING]
    theirs = archive(after(3), machine=archives.THEIRS)
    assert levels("backup", job(3, full, theirs, machine=archives.OURS)) == [CRITICAL]
    assert levels("machines", job(3, full, theirs, machine=archives.OURS)) == [WARNING]
    assert levels("machines", job(3, full, machine=archives.OURS)) == []


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ((0, 1, 2), {2: OK, 4: OK, 5: WARNING, 6: CRITICAL}),
        ((0, 7, 14), {14: OK, 22: OK, 23: WARNING, 28: WARNING, 29: CRITICAL}),
        ((0, 7, 8, 14, 21), {29: OK, 36: CRITICAL}),  # one forced in between
        ((0, 8, 12, 14, 15), {17: OK, 30: CRITICAL}),  # Hanoi
        ((0,), {8: OK, 9: WARNING, 300: WARNING}),
    ],
)
def test_without_a_conf_the_interval_tells(days: Sequence[int], expected: dict[int, Level]) -> None:
    """Where only the catalog is known, archives that stop coming show by the rhythm they had."""
    for day, level in expected.items():
        assert levels("backup", job(day, *on(*days), cycle=None)) == [level], day


def test_complete() -> None:
    """Files that could not be read are a warning until they could be."""
    assert levels("complete", job(1, *on(0, complete=False))) == [WARNING]
    assert levels("complete", job(1, *on(0, complete=False), *on(1))) == [OK]


def test_damage() -> None:
    """A damaged archive is a warning; a manifest that nobody can read is critical."""
    assert levels("damage", job(0, *on(0))) == [OK]
    assert levels("damage", job(0, *on(0, marks="distrust"))) == [WARNING]
    assert levels("damage", job(0, *on(0), doubts=["x.json: cannot be understood", "another"])) == [CRITICAL]
    assert levels("damage", job(0)) == []


def test_verified() -> None:
    """A month without a look is a warning, from the first archive on; a recent look of any depth is enough."""
    assert [levels("verified", job(age, *on(0))) for age in (35, 36)] == [[OK], [WARNING]]
    assert "never" in said("verified", job(36, *on(0)))
    looked = Verified(when=datetime.combine(after(10), NOW.timetz()), how="decoded", percent=5).mark
    assert [levels("verified", job(age, *on(0, marks=looked))) for age in (45, 47)] == [[OK], [WARNING]]
    assert "5 % read" in said("verified", job(45, *on(0, marks=looked)))
    assert levels("verified", job(100, *on(0), marks=False)) == [OK]


def test_drilled() -> None:
    """A drill that is long ago is a warning, one that failed critical; none is said, not complained of."""
    assert levels("drilled", job(0, *on(0))) == [OK]
    mark = f"drilled-{after(0):%Y%m%d}T031500Z"
    assert [levels("drilled", job(age, *on(0, marks=mark))) for age in (100, 101)] == [[OK], [WARNING]]
    assert levels("drilled", job(1, *on(0, marks=f"{mark}-failed"))) == [CRITICAL]
    assert levels("drilled", job(1, *on(0, marks=f"{mark}-failed drilled-{after(1):%Y%m%d}T031500Z-ok"))) == [OK]


def test_brake() -> None:
    """A braked archive waits for a person, and says the command."""
    assert levels("brake", job(0, *on(0))) == [OK]
    assert levels("brake", job(0, *on(0, brake="no files"))) == [WARNING]
    assert "s3nap release" in said("brake", job(0, *on(0, brake="no files")))
    assert levels("brake", job(0, *on(0, brake="no files", marks="released"))) == [OK]


# this machine's


def machine(**facts: Any) -> MachineFacts:
    return MachineFacts(moment=NOW, **facts)


def key(days: int | None = None, name: str = "a", *, here: bool = False) -> Key:
    expires = NOW + timedelta(days=days) if days is not None else None
    return Key(configured=name, fingerprint=name, expires=expires, private_here=here)


def test_recipients() -> None:
    """Two months before a key expires there is time to extend it; after that backups fail."""
    keys = [key(), key(61), key(60), key(-1)]
    assert levels("recipients", machine(keys=keys)) == [OK, OK, WARNING, CRITICAL]
    assert levels("recipients", machine(key_fault="unknown")) == [CRITICAL]
    assert levels("recipients", machine(encryption="none")) == [OK]


def test_one_recipient() -> None:
    """One key by two names is one key; passphrases have no recipients."""
    assert levels("one-recipient", machine(keys=[key()])) == [WARNING]
    assert levels("one-recipient", machine(keys=[key(), replace(key(), configured="again")])) == [WARNING]
    assert levels("one-recipient", machine(keys=[key(), key(name="b")])) == [OK]
    assert levels("one-recipient", machine(encryption="passphrase")) == []


def test_private_key() -> None:
    """The key that opens the backups does not belong on the host they are of."""
    assert levels("private-key", machine(keys=[key(), key(here=True)])) == [WARNING]
    assert levels("private-key", machine(keys=[key()])) == [OK]
    assert levels("private-key", machine(encryption="none")) == []


def test_clock() -> None:
    """A clock that is wrong makes archives of wrong days; from a quarter of an hour on S3 refuses."""
    offsets = (0, -59, 60, -899, 900, -5000)
    assert [levels("clock", machine(offset=off))[0] for off in offsets] == [
        OK,
        OK,
        WARNING,
        WARNING,
        CRITICAL,
        CRITICAL,
    ]
    assert levels("clock", machine()) == []
    assert "behind" in said("clock", machine(offset=-70.0))


def test_space() -> None:
    """A full DiffDir stops every backup."""
    free = {"DiffDir /a": 1 << 30, "TempDir /b": (1 << 30) - 1, "TempDir /c": (100 << 20) - 1}
    assert levels("space", machine(free=free)) == [OK, WARNING, CRITICAL]


def test_programs() -> None:
    """What is not installed is named."""
    assert levels("programs", machine()) == [OK]
    assert levels("programs", machine(missing={"tar": CRITICAL, "zstd": WARNING})) == [CRITICAL, WARNING]


def test_programs_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is not on PATH is found missing; one of several names is enough."""
    world = World(tmp_path / "world")
    conf = world.write_conf("MySQL all")
    loaded = vitals.of_machine(cli_conf(conf), None)
    assert "tar" not in loaded.missing
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "mysql").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(programs))
    assert vitals.of_machine(cli_conf(conf), None).missing == {
        "mariadb-dump or mysqldump": CRITICAL,
        "tar": CRITICAL,
        "zstd": WARNING,
    }


def cli_conf(path: Path) -> Any:
    return config.load(path, on_this_host=False)


def test_the_storage_has_a_clock(s3_storage: Storage, local_storage: Storage) -> None:
    """S3's own time is asked for and understood; a folder has none."""
    assert isinstance(s3_storage, Clocked)
    theirs = s3_storage.clock()
    assert theirs is not None
    assert abs((datetime.now(UTC) - theirs).total_seconds()) < 60
    assert not isinstance(local_storage, Clocked)
    assert vitals._offset(local_storage) is None
    assert abs(vitals._offset(s3_storage) or 0) < 60


# how it is said


def finding(level: Level, check: str = "backup", subject: str = "", **fields: Any) -> Finding:
    return Finding(**{"check": check, "level": level, "text": "words", "subject": subject, **fields})


HOSTILE = 'a|b<i>"c"\\d\ne\x1b[31m\u202e'


def test_worst_first() -> None:
    """What must be read stands on top; unknown is worse than well, and nothing at all is unknown."""
    found = monitors.ordered([finding(level) for level in Level])
    assert [each.level for each in found] == [CRITICAL, WARNING, Level.UNKNOWN, OK]
    assert monitors.worst(found) is CRITICAL
    assert monitors.worst([]) is Level.UNKNOWN
    assert monitors.worst([finding(OK), finding(Level.UNKNOWN)]) is Level.UNKNOWN


# Monitoring Plugins' guidelines: 'label'=value[UOM];[warn];[crit];[min];[max]
_PERFDATA = re.compile(r"(?:'[^'=]+'|[^\s'=]+)=-?\d+(?:\.\d+)?(?:s|us|ms|%|B|KB|MB|TB|c)?(?:;[-\d.:@~]*){0,4}")


@pytest.mark.parametrize("text", ["words", HOSTILE])
def test_nagios_understands(text: str) -> None:
    """One line, one bar, status first, and performance data by the guidelines' grammar, whatever names say."""
    metrics = {"backup_age_days": 3.0, "free_bytes": 1 << 40, "clock_offset_seconds": -1.5}
    found = [finding(WARNING, text=text, subject=text, metrics=metrics), *[finding(CRITICAL)] * 9, finding(OK)]
    line = monitors.nagios(monitors.ordered(found), hosts=True)
    assert line.isprintable()
    assert line.startswith("S3NAP CRITICAL - ")
    words, bar, data = line.partition("|")
    assert (bar, "|" in data, "<" in words) == ("|", False, False)
    assert all(_PERFDATA.fullmatch(item) for item in data.split()), data
    assert {"critical=9;;;0", "warning=1;;;0", "ok=1;;;0", "backup_age_days=3", "clock_offset_seconds=-1.5s"} <= {
        *data.split()
    }
    assert monitors.nagios([finding(OK)], hosts=False).startswith("S3NAP OK - 1 checks | ")


def test_prometheus_understands(tmp_path: Path) -> None:
    """Its own parser reads every sample back, hostile names too; others may read the file."""
    metrics = {"backup_age_days": 3.0, "clock_offset_seconds": -1.5}
    found = [finding(CRITICAL, subject=HOSTILE, host="a b", metrics=metrics), finding(OK), finding(WARNING)]
    file = tmp_path / "s3nap.prom"
    monitors.write_textfile(file, monitors.prometheus(monitors.ordered(found), NOW.timestamp()))
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(file.read_text())
        for sample in family.samples
    }
    assert samples == {
        ("s3nap_check", "backup", "a b", HOSTILE): 2.0,
        ("s3nap_check", "backup", "", ""): 1.0,  # a series stands once: the worst
        ("s3nap_backup_age_days", "a b", HOSTILE): 3.0,
        ("s3nap_clock_offset_seconds", "a b", HOSTILE): -1.5,
        ("s3nap_checked_timestamp_seconds",): NOW.timestamp(),
    }
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["s3nap.prom"]


def test_every_metric_is_described() -> None:
    """A number that a check gives and nobody prints would be lost."""
    looked = f"verified-{NOW:%Y%m%dT%H%M%SZ}-listing drilled-{NOW:%Y%m%dT%H%M%SZ}"
    facts = machine(keys=[key(3)], offset=1.0, free={"DiffDir /a": 5})
    found = [
        *applied(JOB_CHECKS, job(0, *on(0, marks=looked)), "alpha", "x"),
        *applied(MACHINE_CHECKS, facts, "alpha"),
    ]
    given = {name for each in found for name in each.metrics}
    assert given == set(monitors._METRICS)


# the command

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(call: calling.Call) -> Call:
    """Call it with options of ``check`` to get the status and what was printed."""

    def run(*args: object) -> tuple[int, str]:
        said = call("check", *args)
        return said.status, said.out

    return run


def fresh(world: World) -> None:
    """Back up as of today."""
    assert s3nap("-q", "-c", world.conf).returncode == Exit.DONE


def test_the_command(call: Call, world: World) -> None:
    """The status and the first line tell the worst, in every form."""
    status, text = call("-c", world.conf)
    assert (status, text.splitlines()[0].split()[:2]) == (CRITICAL, ["CRITICAL", "backup"])
    fresh(world)
    status, text = call("-c", world.conf)
    assert (status, {line.split()[0] for line in text.splitlines()}) == (OK, {"OK"})
    assert call("-q", "-c", world.conf) == (OK, "")
    document = json.loads(call("--json", "-c", world.conf)[1])
    assert (document["level"], document["status"]) == ("OK", 0)
    assert {each["check"] for each in document["checks"]} >= {"backup", "verified", "space", "storage", "programs"}
    assert call("--nagios", "-c", world.conf)[1].startswith("S3NAP OK - ")
    assert call("--ignore", "nonsense", "-c", world.conf)[0] == Exit.USAGE


def test_what_verify_found_is_known(call: Call, world: World) -> None:
    """A damaged archive stays a warning, and a restore point that is gone is critical."""
    fresh(world)
    assert s3nap("verify", "-c", world.conf).returncode == Exit.DONE
    assert "last verified 0 days ago (listing)" in call("-c", world.conf)[1]
    world.storage.delete([world.archives[0].manifest.at.data + "00000000.zst"])
    assert s3nap("verify", "-c", world.conf).returncode == Exit.VERIFICATION
    status, text = call("-c", world.conf)
    assert status == CRITICAL
    assert "none of 1 archives restores" in text
    assert "found damaged" in text


def test_all_hosts_without_conf_or_key(call: Call, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any machine that can read the catalog can watch all hosts; an old host shows though it says nothing itself."""
    world.days(0, 1, 2)
    other = World(world.base.parent / "other", bucket=world.folder.as_uri(), host="beta")
    other.fill()
    fresh(other)
    monkeypatch.setenv("PATH", "")
    status, text = call("--all-hosts", "--bucket", world.folder.as_uri())
    assert status == CRITICAL
    assert re.search(r"^CRITICAL +backup alpha .*every 1 day", text, re.MULTILINE)
    assert re.search(r"^OK +backup beta ", text, re.MULTILINE)
    assert call("--host", "beta", "--bucket", world.folder.as_uri())[0] == OK
    assert call("--host", "gamma", "--bucket", world.folder.as_uri())[0] == CRITICAL


def test_what_hinders_is_a_finding(call: Call, world: World) -> None:
    """Monitoring gets its one line whatever is broken: a wrong conf, a bucket that is gone, a DiffDir that is."""
    shutil.rmtree(world.folder)
    status, line = call("--nagios", "-c", world.conf)
    assert (status, line.startswith("S3NAP CRITICAL - storage")) == (CRITICAL, True)
    shutil.rmtree(world.diffdir)
    status, line = call("--nagios", "-c", world.conf)
    assert (status, line.startswith("S3NAP CRITICAL - configuration")) == (CRITICAL, True)
    assert "DiffDir" in line
    assert call("--nagios", "-c", world.base / "none.conf")[0] == CRITICAL
    file = world.base / "s3nap.prom"
    assert call("--prometheus", file, "-q", "-c", world.conf)[0] == CRITICAL
    assert 's3nap_check{check="configuration"' in file.read_text()


def test_keys_on_this_host(call: Call, tmp_path: Path, gpg_home: GpgHome) -> None:
    """One recipient whose private key lies here is two warnings, which may be ignored one by one."""
    world = World(tmp_path / "world", extra=[f"GpgRecipient {gpg_home.recipient}"])
    world.fill()
    fresh(world)
    status, text = call("-c", world.conf)
    assert status == WARNING
    assert [line.split()[1] for line in text.splitlines() if line.startswith("WARNING")] == [
        "one-recipient:",
        "private-key:",
    ]
    assert call("-c", world.conf, "--ignore", "one-recipient", "--ignore", "private-key")[0] == OK


def test_a_public_key_alone_is_no_private_key(
    call: Call, tmp_path: Path, gpg_home: GpgHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host as it should be: it has the public half, and is not suspected."""
    public = subprocess.run(["gpg", "--export", gpg_home.recipient], check=True, capture_output=True).stdout
    home = tmp_path / "g"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    subprocess.run(["gpg", "--batch", "--quiet", "--import"], input=public, check=True)
    world = World(tmp_path / "world", extra=[f"GpgRecipient {gpg_home.recipient}"])
    world.fill()
    fresh(world)
    text = call("-c", world.conf)[1]
    subprocess.run(["gpgconf", "--kill", "all"], check=False, env={**os.environ, "GNUPGHOME": str(home)})
    assert re.search(r"^OK +private-key", text, re.MULTILINE)
    assert re.search(rf"^OK +recipients {re.escape(gpg_home.recipient)}: does not expire", text, re.MULTILINE)


def test_a_stub_is_no_private_key(gpg_home: GpgHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the half that decrypts is on a smart card, or was taken away, gpg still lists the key; it is not here."""
    secret = _gpg("--export-secret-keys", gpg_home.recipient)
    home = Path(tempfile.mkdtemp(prefix="g-", dir="/tmp"))
    monkeypatch.setenv("GNUPGHOME", str(home))
    try:
        _gpg("--import", given=secret)
        listed = [line.split(":") for line in _gpg("--with-colons", "-K").decode().splitlines()]
        fingerprint = next(words[9] for words in listed if words[0] == "fpr")
        assert private_here(fingerprint)
        grips = [words[9] for words in listed if words[0] == "grp"]
        (home / "private-keys-v1.d" / f"{grips[-1]}.key").unlink()
        assert not private_here(fingerprint)
        assert "sec" in _gpg("-K").decode()
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], check=False)
        shutil.rmtree(home, ignore_errors=True)


def _gpg(*args: str, given: bytes = b"") -> bytes:
    command = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", *args]
    return subprocess.run(command, input=given, check=True, capture_output=True).stdout
