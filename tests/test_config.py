"""From conf to jobs: what s3napback's users rely on, and that every mistake is named with file and line."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from soak import cases, rounds

from s3nap import config
from s3nap.cycle import Cycle, HanoiCycle, SimpleCycle
from s3nap.directives import CONF, TABLE, Scope
from s3nap.errors import ConfError, Exit
from s3nap.job import Conf
from s3nap.manifest import Type
from s3nap.values import Packing

EXAMPLES = Path(__file__).parent.parent / "examples"
HEAD = "DiffDir /d\nBucket bucket\n"

Load = Callable[..., Conf]
Faults = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str, *, head: str = HEAD, on_this_host: bool = False) -> Conf:
        path = tmp_path / "a.conf"
        path.write_text(head + text)
        return config.load(path, on_this_host=on_this_host)

    return load


@pytest.fixture
def faults(load: Load, tmp_path: Path) -> Faults:
    def faults(text: str, *, head: str = HEAD, on_this_host: bool = False) -> list[str]:
        with pytest.raises(ConfError) as raised:
            load(text, head=head, on_this_host=on_this_host)
        assert raised.value.status is Exit.USAGE
        return [fault.replace(f"{tmp_path}/", "") for fault in raised.value.faults]

    return faults


def names(conf: Conf) -> list[str]:
    return [job.name for job in conf.jobs]


def of_year(month: int, day: int) -> int:
    """Day number as the original counts, by the day of the year: the original README's cases are made with it."""
    return date(2025, month, day).timetuple().tm_yday - 1


def shown(cycle: Cycle, day: int) -> str:
    turn = cycle.turn(day)
    return f"{cycle.slot(turn)}-{cycle.type(turn)}"


# What s3napback's users have


def test_s36_readme_example_unchanged() -> None:
    """S36: the conf of s3napback's README runs, its jobs in the original's order."""
    conf = config.load(EXAMPLES / "s3napback.conf", on_this_host=False)
    days = ["etc", "home/build", "home/notebook", "home/trac", "usr", "var"]
    weeks = ["bin", "boot", "lib", "lib64", "opt", "root", "sbin"]
    assert names(conf) == [
        "Directory/home/foobar",
        "Directory/%2F",
        "Subversion/home/svn/repos/myproject",
        "SubversionDir/home/svn/repos",
        "MySQL/all",
        "MySQL/mydatabase",
        *(f"daily-example/Directory/{name}" for name in days),
        *(f"decaying-example/Directory/{name}" for name in days),
        *(f"weekly-example/Directory/{name}" for name in weeks),
        "Conf/s3napback.conf",
    ]
    cycles = {job.name: job.cycle for job in conf.jobs}
    assert cycles["Directory/%2F"] == SimpleCycle(diffs=6, fulls=8)
    assert cycles["Subversion/home/svn/repos/myproject"] == SimpleCycle(diffs=3, fulls=10)
    assert cycles["SubversionDir/home/svn/repos"] == SimpleCycle(diffs=0, fulls=10)
    assert cycles["MySQL/all"] == SimpleCycle(diffs=0, fulls=14)
    assert cycles["daily-example/Directory/etc"] == SimpleCycle(diffs=6, fulls=2)
    assert cycles["decaying-example/Directory/etc"] == HanoiCycle(discs=5)
    assert cycles["weekly-example/Directory/opt"] == SimpleCycle(frequency=7, diffs=3, fulls=2)
    assert conf["ChunkSize"] == 25_000_000
    assert conf["GpgRecipient"] == ("backup@example.com",)
    assert conf["S3KeyFile"] == Path("/usr/local/s3napback/key.txt")
    assert conf["Bucket"] == "s3://dev.davidsoergel.com.backup1"
    excludes = {job.name: job["Exclude"] for job in conf.jobs if job.kind == "Directory"}
    assert excludes["Directory/%2F"] == ("/proc", "/dev", "/sys", "/tmp", "/var/run")
    assert excludes["weekly-example/Directory/sbin"] == ("/opt/useless",)
    assert excludes["daily-example/Directory/etc"] == ()


@pytest.mark.parametrize(
    ("text", "days"),
    [
        pytest.param("<Cycle c>\nDirectory /a\n</Cycle>", {(3, 12): "14-FULL", (3, 13): "15-DIFF"}, id="S1"),
        pytest.param("<MySQL all>\nFulls 14\nDiffs 99\n</MySQL>", {(3, 12): "0-FULL", (3, 13): "1-FULL"}, id="S4"),
        pytest.param("<PostgreSQL bob@shop>\nFulls 3\n</PostgreSQL>", {(3, 12): "1-FULL"}, id="S6"),
        pytest.param(
            "<Directory /a>\nFrequency 7\nDiffs 3\nFulls 2\n</Directory>",
            {(3, 12): "2-DIFF", (3, 13): "2-DIFF"},
            id="S9",
        ),
        pytest.param("<SubversionDir /r>\nFulls 10\n</SubversionDir>", {(1, 1): "0-FULL", (1, 10): "9-FULL"}, id="S34"),
    ],
)
def test_rotation_of_the_original(load: Load, text: str, days: dict[tuple[int, int], str]) -> None:
    """S1, S4, S6, S9, S34: defaults and values lead to the slots and types that the original has on that day."""
    (job,) = load(text).jobs
    assert {day: shown(job.cycle, of_year(*day)) for day in days} == days


def test_s9_frequency_decides_what_is_due(load: Load) -> None:
    """S9: with Frequency 7 the day after a backup is none."""
    (job,) = load("<Directory /a>\nFrequency 7\nDiffs 3\nFulls 2\n</Directory>").jobs
    assert [job.cycle.due(of_year(3, day)) for day in (12, 13)] == [True, False]


def test_s5_s6_databases_keep_socket_and_user_apart(load: Load) -> None:
    """S5, S6: databases of one name on other sockets or of other users are other jobs."""
    conf = load("MySQL /run/my.sock:mydb mydb\nPostgreSQL all bob@all eve@all shop\n")
    assert names(conf) == [
        "MySQL/run/my.sock%3Amydb",
        "MySQL/mydb",
        "PostgreSQL/all",
        "PostgreSQL/bob@all",
        "PostgreSQL/eve@all",
        "PostgreSQL/shop",
    ]
    assert [job.source for job in conf.jobs][:2] == ["/run/my.sock:mydb", "mydb"]


def test_s2_two_weeks(load: Load) -> None:
    """S2: one FULL and six DIFFs, twice, then from the beginning."""
    (job,) = load("<Cycle c>\nFrequency 1\nDiffs 6\nFulls 2\nDirectory /a\n</Cycle>").jobs
    first = of_year(3, 12)
    types = [job.cycle.type(job.cycle.turn(first + number)) for number in range(15)]
    assert types == ([Type.FULL] + [Type.DIFF] * 6) * 2 + [Type.FULL]


@pytest.mark.parametrize("word", ["yes", "On", "true", "1", "no", "Off", "False", "0"])
def test_s27_flags(load: Load, word: str) -> None:
    """S27: flags are written as the original allows, names of directives in any case."""
    conf = load(f"tEMPdir /t\nuseTEMPfile {word}\n<cycle c>\narchiveoldestDISC {word}\nDIRECTORY /a\n</CYCLE>\n")
    expected = word.lower() in {"yes", "on", "true", "1"}
    assert conf["UseTempFile"] is expected
    assert conf.jobs[0]["ArchiveOldestDisc"] is expected


def test_s29_what_must_be_there(faults: Faults) -> None:
    """S29: what is missing is named as the original names it."""
    text = "UseTempFile 1\nDirectory /a\n"
    assert faults(text, head="Bucket b-b\n") == [
        "a.conf:2: TempDir must be defined in order to UseTempFile.",
        "a.conf: DiffDir must be defined.",
    ]
    assert faults("Directory /a\n", head="DiffDir /d\n") == ["a.conf: Bucket must be defined."]
    assert faults("Directory /a\n", head="DiffDir /none\nBucket b-b\n", on_this_host=True) == [
        "a.conf:1: DiffDir does not exist, please create: /none"
    ]


def test_s31_lines_and_blocks_of_a_kind_together(load: Load, faults: Faults) -> None:
    """S31: a block and a line of one kind are both backed up, in file order; two Cycles of a name are a fault."""
    conf = load("Directory /b\n<Directory /a>\nFulls 9\n</Directory>\nDirectory /c\n")
    assert [(job.source, job["Fulls"]) for job in conf.jobs] == [("/b", 4), ("/a", 9), ("/c", 4)]
    cycle = "<Cycle x>\nDirectory /a\n</Cycle>\n"
    assert faults(cycle + cycle) == ["a.conf:6: a second <Cycle x>, first at a.conf:3; rename one, or make them one"]


# Inheritance and effective values


def test_blocks_inherit_innermost_first(load: Load) -> None:
    """A value is that of the innermost block which has one; Exclude adds up from outer to inner."""
    conf = load(
        "Fulls 2\nFrequency 3\nExclude a\n<Cycle c>\nFrequency 2\nExclude b c\nDirectory /x\n"
        "<Directory /y>\nFulls 5\nExclude d\n</Directory>\n</Cycle>\nDirectory /z\nExclude e\n"
    )
    z, x, y = conf.jobs
    assert [(job["Fulls"], job["Frequency"]) for job in (z, x, y)] == [(2, 3), (2, 2), (5, 2)]
    assert [job["Exclude"] for job in (z, x, y)] == [
        ("a", "e"),
        ("a", "e", "b", "c"),
        ("a", "e", "b", "c", "d"),
    ]
    assert y.name == "c/Directory/y"
    assert y.settings["Fulls"].origin.endswith("a.conf:11")
    assert y.settings["Frequency"].origin.endswith("a.conf:7")
    assert y.settings["Phase"].origin == "default"
    assert y.origin.endswith("a.conf:10")


def test_defaults(load: Load) -> None:
    """Defaults are those documented; Diffs are 0 for Subversion, and for databases whatever is written."""
    conf = load("Directory /a\nSubversion /b\nSubversionDir /c\nMySQL d\nPostgreSQL e\n")
    simple = SimpleCycle(frequency=1, phase=0, diffs=0, fulls=4)
    assert [job.cycle for job in conf.jobs] == [SimpleCycle(diffs=6, fulls=4), simple, simple, simple, simple]
    job = conf.jobs[0]
    expected = {"Discs": 5, "ArchiveOldestDisc": False, "UseTempFile": False, "CatchUp": True, "OneFileSystem": False}
    assert {name: job[name] for name in expected} == expected
    assert (job["ChunkSize"], job["Compression"]) == (16 << 20, Packing("zstd"))
    assert conf["Host"] == socket.gethostname()
    assert conf["GpgRecipient"] == ()
    assert conf["TempDir"] is None
    inherited = load("Diffs 5\nMySQL d\nSubversion /b\n").jobs
    assert [job.cycle for job in inherited] == [SimpleCycle(diffs=5), SimpleCycle(diffs=0)]


def test_settings_are_complete(load: Load) -> None:
    """Nobody needs to know defaults but the table: every directive has a value."""
    conf = load("Directory /a\nMySQL all\n")
    assert set(conf.settings) == {name for name, spec in TABLE.items() if spec.scope is not Scope.SOURCE}
    for job in conf.jobs:
        jobs = {name for name, spec in TABLE.items() if spec.scope is Scope.JOB and job.kind in spec.kinds}
        assert set(job.settings) == jobs


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("Bucket old_Bucket.1", "Bucket", "s3://old_Bucket.1"),
        ("Bucket s3://b-b/x/y/", "Bucket", "s3://b-b/x/y"),
        ("Bucket S3://b-b", "Bucket", "s3://b-b"),
        ("Bucket file:///a//b/", "Bucket", "file:///a/b"),
        ("ChunkSize 1", "ChunkSize", 1),
        ("ChunkSize 25000000", "ChunkSize", 25_000_000),
        ("ChunkSize 8k", "ChunkSize", 8192),
        ("ChunkSize 4G", "ChunkSize", 4 << 30),
        ("Compression XZ 9", "Compression", Packing("xz", 9)),
        ("Compression none", "Compression", Packing("none", None)),
        ("Compression zstd 22", "Compression", Packing("zstd", 22)),
        ("CycleType HANOIcycle", "CycleType", "HanoiCycle"),
        ("GpgRecipient a@b c@d\nGpgRecipient e@f", "GpgRecipient", ("a@b", "c@d", "e@f")),
        ("MySQLOptions --quick --where='a b'", "MySQLOptions", ("--quick", "--where=a b")),
        ("Endpoint http://127.0.0.1:8333/", "Endpoint", "http://127.0.0.1:8333"),
        ("TempDir //t//u/", "TempDir", Path("/t/u")),
        ("Host web1", "Host", "web1"),
        ("Discs 30", "Discs", 30),
    ],
)
def test_values(load: Load, line: str, name: str, value: object) -> None:
    """Every type of value is read into the one form that the rest of s3nap knows."""
    head = "DiffDir /d\n" + ("" if name == "Bucket" else "Bucket b-b\n")
    assert load(f"{line}\nDirectory /a\n", head=head)[name] == value


@pytest.mark.parametrize("word", ["/etc", "/etc/", "//etc", "/./etc/."])
def test_paths_are_normalised(load: Load, word: str) -> None:
    """One directory has one name in the storage, however it is written."""
    assert load(f"Directory {word}\n").jobs[0].source == "/etc"


# Faults


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("Frequancy 3", "unknown directive Frequancy: did you mean Frequency?"),
        ("Diff 6", "did you mean Diffs?"),
        ("Directry /a", "did you mean Directory?"),
        ("Zzz 6", "unknown directive Zzz; see"),
        ("Cycle x", "Cycle is a block; write <Cycle x>"),
        ("<Cycel x>\n</Cycel>", "unknown block <Cycel>: did you mean Cycle?"),
        ("<Zzz x>\n</Zzz>", "unknown block <Zzz>; there are"),
        ("<Frequency 3>\n</Frequency>", "Frequency is no block"),
        ("<Cycle>\nDirectory /a\n</Cycle>", "<Cycle> has no name"),
        ("<Cycle MySQL>\nDirectory /a\n</Cycle>", "cannot be named MySQL"),
        ("<Directory>\n</Directory>", "<Directory> names no source"),
        ("<Cycle a>\nBucket b-b\n</Cycle>", "Bucket stands in <Cycle a>; it belongs at the top level"),
        ("<Directory /a>\nHost x\n</Directory>", "Host stands in <Directory /a>; it belongs at the top level"),
        ("<Directory /a>\nDirectory /b\n</Directory>", "belongs at the top level or in a Cycle"),
        ("<Directory /a>\n<MySQL b>\n</MySQL>\n</Directory>", "belongs at the top level or in a Cycle"),
        ("<Cycle a>\n<Cycle b>\n</Cycle>\n</Cycle>", "<Cycle> stands in <Cycle a>; it belongs at the top level"),
        ("<MySQL a>\nExclude x\n</MySQL>", "Exclude is for Directory only"),
        ("Fulls 3\nFulls 3", "Fulls stands twice at the top level, first at a.conf:4; keep one"),
        ("Bucket b-b", "Bucket stands twice at the top level, first at a.conf:2"),
        ("<Cycle x>\nPhase 0\nphase 0\n</Cycle>", "Phase stands twice in <Cycle x>, first at a.conf:5"),
        ("Directory /etc /etc/", "Directory /etc stands twice at the top level, first at a.conf:4; take one out"),
        ("Directory /etc\n<Directory //etc>\n</Directory>", "Directory /etc stands twice at the top level"),
        ("<Cycle x>\nMySQL all all\n</Cycle>", "MySQL all stands twice in <Cycle x>"),
        ("Frequency 0", "0 is out of range; write a number from 1 to"),
        ("Frequency 1.5", "'1.5' is no whole number"),
        ("Frequency ٣", "no whole number"),
        ("Frequency 7 8", "takes one value, not 2"),
        ("Frequency 2\nPhase 2", "Phase 2 must be below Frequency 2 (a.conf:4); correct one"),
        ("Phase 1", "Phase 1 must be below Frequency 1 (default)"),
        ("Phase -1", "-1 is out of range"),
        ("Exclude *[[.a.]]", "collating elements"),
        ("Exclude [!]x[=a=]]", "collating elements"),
        ("Fulls 0", "out of range"),
        ("Diffs -1", "out of range"),
        ("Discs 0", "out of range"),
        ("Discs 31", "out of range"),
        ("CycleType Hanoy", "'Hanoy' is unknown; write SimpleCycle or HanoiCycle"),
        ("CatchUp maybe", "neither yes nor no"),
        ("UseTempFile 2", "neither yes nor no"),
        ("UseTempFile yes", "TempDir must be defined in order to UseTempFile."),
        ("ChunkSize 0", "out of range"),
        ("ChunkSize 5G", "out of range"),
        ("ChunkSize 16MB", "is no size"),
        ("ChunkSize -1", "is no size"),
        ("Compression lz4", "'lz4' is unknown"),
        ("Compression zstd 23", "from 1 to 22"),
        ("Compression gzip 0", "from 1 to 9"),
        ("Compression none 1", "none has no level"),
        ("Compression xz 1 2", "is unknown"),
        ("Directory ~/x", "~ is not expanded"),
        ("Directory etc", "no absolute path"),
        ("Directory /a/../b", "holds .."),
        ("<Directory b>\n</Directory>", "no absolute path"),
        ("SubversionDir svn", "no absolute path"),
        ("MySQL my.sock:db", "/path/of/socket:database"),
        ("MySQL /my.sock:", "/path/of/socket:database"),
        ("MySQL --all-databases", "begins with -"),
        ("MySQL /my.sock:--help", "begins with -"),
        ("PostgreSQL @db", "user@database"),
        ("PostgreSQL bob@", "user@database"),
        ("PostgreSQL bob@-x", "begins with -"),
        ("TempDir tmp", "no absolute path"),
        ("GpgRecipient --yes", "begins with -"),
        ("GpgRecipient a@b\nGpgPassphraseFile /p", "exclude each other"),
        ("Endpoint s3.example.com", "no URL"),
        ("Endpoint http://[", "no URL"),
        ("Region eu/1", "is not possible"),
    ],
)
def test_s37_faults(faults: Faults, line: str, part: str) -> None:
    """S37: a mistake is one fault, with file, line and what to do; nothing is skipped in silence."""
    (fault,) = faults(f"Directory /other\n{line}\n")
    assert part in fault
    number = int(fault.split(": ")[0].removeprefix("a.conf:"))
    assert 3 <= number <= 3 + len(line.splitlines())


@pytest.mark.parametrize(
    "word",
    [
        "b",
        "s3://",
        "s3:///x",
        "s3://b-b//x",
        "s3://b-b/../x",
        "b-b/x",
        "file:/x",
        "file://x/y",
        "gs://b-b",
        "-bb",
        "file:///a?b",
        "a:b",
    ],
)
def test_bucket_faults(faults: Faults, word: str) -> None:
    """A Bucket that cannot be is refused before anything is sent anywhere."""
    (fault,) = faults("Directory /a\n", head=f"DiffDir /d\nBucket {word}\n")
    assert fault.startswith("a.conf:2: Bucket: ")


def test_all_faults_of_a_file_in_order(faults: Faults) -> None:
    """Grammar, names, values and what is missing: all of it at once, as it stands in the file."""
    found = faults(
        "Fulls 0\nFrequancy 1\n<Cycle a>\nDirectory\nBucket x y\nPhase=1\n</Cycel>\nDirectory x # c\n", head=""
    )
    assert [fault.split(": ")[0] for fault in found] == [
        *(f"a.conf:{number}" for number in (1, 2, 4, 5, 6, 7, 8)),
        "a.conf",
        "a.conf",
    ]


def test_value_at_fault_counts_as_present(faults: Faults) -> None:
    """One mistake is one fault: a Bucket that cannot be read is not said to be missing as well."""
    found = faults("Directory /a\nPhase 1\n", head="DiffDir\nBucket a#b\nFrequency x\n")
    assert [fault.split(": ")[0] for fault in found] == ["a.conf:1", "a.conf:2", "a.conf:3"]


def test_fault_of_a_cycle_is_said_once(faults: Faults) -> None:
    """A value that many jobs inherit is one fault."""
    assert len(faults("<Cycle a>\nPhase 3\nDirectory /a /b /c\n</Cycle>\n")) == 1


@pytest.mark.parametrize("text", ["", "Fulls 3\n", "<Cycle a>\n</Cycle>\n"])
def test_nothing_to_back_up(faults: Faults, text: str) -> None:
    """A conf without sources is a mistake: a daily run that does nothing would look like success."""
    (fault,) = faults(text)
    assert "nothing to back up" in fault


@pytest.mark.parametrize(
    "text",
    [
        "<Cycle a>\nDirectory /x\n</Cycle>\n<Cycle b>\nDirectory /x\n</Cycle>\nDirectory /x\n",
        "Discs 3\nDirectory /x\n",
        "<Cycle a>\nExclude x\nMySQLOptions --quick\nMySQL all\nDirectory /x\n</Cycle>\n",
        "<Cycle a>\nCycleType HanoiCycle\nPhase 9\nDiffs 2\nDirectory /x\n</Cycle>\n",
        "<Cycle mysql>\nMySQL all\n</Cycle>\n",
        "Subversion /x\nSubversionDir /x\nDirectory /x\n",
    ],
)
def test_what_is_no_fault(load: Load, text: str) -> None:
    """The same source in several Cycles, and inherited values that mean nothing to a source, are fine."""
    assert load(text).jobs


# What only this machine can answer


@pytest.fixture
def head(tmp_path: Path) -> str:
    (tmp_path / "d").mkdir()
    return f"DiffDir {tmp_path}/d\nBucket b-b\nDirectory /a\n"


def secret(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_all_that_is_needed_is_there(load: Load, head: str, tmp_path: Path, mode: int) -> None:
    """Files that are right raise nothing."""
    key = secret(tmp_path / "key", "# c\nkey=a\nsecret = c\n", mode)
    phrase = secret(tmp_path / "phrase", "words\n", mode)
    more = f"S3KeyFile {key}\nGpgPassphraseFile {phrase}\nGpgKeyring {key}\nLogConfig {key}\nTempDir {tmp_path}\n"
    assert load(more, head=head, on_this_host=True)["S3KeyFile"] == key


@pytest.mark.parametrize(
    ("directive", "text", "mode", "part"),
    [
        ("S3KeyFile", "key=a\nsecret=b\n", 0o640, "chmod 600"),
        ("S3KeyFile", "key=a\nsecret=b\n", 0o604, "chmod 600"),
        ("S3KeyFile", "key=a\n", 0o600, "lacks secret="),
        ("S3KeyFile", "key=\nsecret=b\n", 0o600, "lacks key="),
        ("S3KeyFile", "key=your key\nsecret=b\n", 0o600, "lacks key="),
        ("S3KeyFile", "", 0o600, "lacks key=… and secret=…"),
        ("GpgPassphraseFile", "words\n", 0o644, "chmod 600"),
        ("GpgPassphraseFile", "", 0o600, "no passphrase"),
        ("GpgPassphraseFile", "\nx\n", 0o600, "no passphrase"),
    ],
)
def test_secrets(faults: Faults, head: str, tmp_path: Path, *, directive: str, text: str, mode: int, part: str) -> None:
    """Secrets that others can read, or that are none, are refused; their text is never shown."""
    path = secret(tmp_path / "secret", text, mode)
    (fault,) = faults(f"{directive} {path}\n", head=head, on_this_host=True)
    assert fault.startswith(f"a.conf:4: {directive} ")
    assert part in fault


@pytest.mark.parametrize("directive", ["TempDir", "GpgKeyring", "GpgPassphraseFile", "S3KeyFile", "LogConfig"])
@pytest.mark.parametrize("name", ["none", "x" * 300, "key/none"])
def test_paths_that_do_not_exist(faults: Faults, head: str, tmp_path: Path, directive: str, name: str) -> None:
    """A path that leads nowhere is found before the run, and not in the middle of it."""
    secret(tmp_path / "key", "")
    (fault,) = faults(f"{directive} {tmp_path}/{name}\n", head=head, on_this_host=True)
    assert f"{directive} does not exist" in fault


@pytest.mark.parametrize("directive", ["GpgPassphraseFile", "S3KeyFile"])
def test_secret_that_is_no_file(faults: Faults, head: str, tmp_path: Path, directive: str) -> None:
    """A directory or a fifo in place of a secret neither crashes nor hangs."""
    os.mkfifo(tmp_path / "fifo", 0o600)
    for name in ("d", "fifo"):
        (fault,) = faults(f"{directive} {tmp_path}/{name}\n", head=head, on_this_host=True)
        assert "is no file" in fault


def test_diffdir_is_a_directory(faults: Faults, tmp_path: Path) -> None:
    """A file in place of DiffDir is said to be one."""
    path = secret(tmp_path / "d", "")
    (fault,) = faults("Directory /a\n", head=f"DiffDir {path}\nBucket b-b\n", on_this_host=True)
    assert "DiffDir is no directory" in fault


# Texts made from the table


def test_generated_conf_loads(tmp_path: Path) -> None:
    """`config generate` gives a conf that works once DiffDir and Bucket are right, with all else in comments."""
    text = config.generate()
    path = tmp_path / "a.conf"
    path.write_text(text.replace("DiffDir /var/lib/s3nap\n", f"DiffDir {tmp_path}\n"))
    conf = config.load(path)
    assert names(conf) == ["daily/Directory/etc"]
    assert all(f"\n#{name} " in text or f"\n{name} " in text for name in TABLE)


def test_examples_of_the_table_are_right(load: Load) -> None:
    """What a generated conf shows in comments is itself correct."""
    apart = {"DiffDir", "Bucket", "GpgPassphraseFile", "PingFile"}
    lines = [f"{name} {spec.example}" for name, spec in TABLE.items() if name not in apart]
    assert load("\n".join(lines) + "\n").jobs
    assert load("GpgPassphraseFile /p\nPingFile /p\nDirectory /a\n").jobs


def test_reference_has_every_directive() -> None:
    """The README's table is whole, and no cell breaks it."""
    rows = config.reference().splitlines()
    assert len(rows) == len(TABLE) + 3
    assert {row.replace(r"\|", "").count("|") for row in rows} == {6}


def test_describe_says_where_values_come_from(load: Load) -> None:
    """`config show` has every value in effect with its origin, fit for JSON."""
    conf = load("Directory /a\n<MySQL all>\nFulls 9\n</MySQL>\n")
    described = json.loads(json.dumps(config.describe(conf)))
    assert [each["job"] for each in described] == ["Directory/a", "MySQL/all"]
    (mysql,) = config.describe(conf, conf.jobs[1:])
    assert mysql["kind"] == "MySQL"
    found = described[1]["settings"]
    assert found["Fulls"]["value"] == 9
    assert found["Fulls"]["origin"].endswith("a.conf:5")
    assert found["Compression"] == {"value": "zstd", "origin": "default"}
    assert found["DiffDir"]["value"] == "/d"
    assert config.describe(conf, []) == []


def test_demo_conf(tmp_path: Path) -> None:
    """The conf of `make demo` loads when its token is replaced."""
    path = tmp_path / "demo.conf"
    path.write_text((EXAMPLES / "demo.conf").read_text().replace("@DEMO@", str(tmp_path)))
    (tmp_path / "diffs").mkdir()
    conf = config.load(path)
    assert conf["Bucket"] == f"file://{tmp_path}/bucket"
    assert [job.cycle for job in conf.jobs if job.kind != CONF] == [SimpleCycle(diffs=2, fulls=2)]


LINES = st.sampled_from(
    [
        *(f"{name} {spec.example}" for name, spec in TABLE.items()),
        *(
            "<Cycle a>",
            "<Cycle b>",
            "</Cycle>",
            "<Directory /x>",
            "</Directory>",
            "<MySQL all>",
            "</MySQL>",
            "<X y>",
            "</X>",
        ),
        *("Phase 3", "Frequency x", "Directory", "Bucket a#b", "< >", "Nope 1", "UseTempFile 0", "<Cycle>", "<MySQL>"),
    ]
)


@pytest.mark.parametrize("_round", rounds())
@settings(max_examples=cases(300), deadline=None)
@given(st.lists(LINES, max_size=15), st.booleans())
def test_any_mixture_is_a_conf_or_faults(_round: int, lines: list[str], on_this_host: bool) -> None:
    """However lines are mixed, the answer is a conf with jobs of different names, or faults."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.conf"
        path.write_text("\n".join(lines))
        try:
            conf = config.load(path, on_this_host=on_this_host)
        except ConfError:
            return
    assert conf.jobs
    assert len(set(names(conf))) == len(conf.jobs)
