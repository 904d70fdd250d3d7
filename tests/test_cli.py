"""The command line: what it takes, what it prints, and how it ends for every kind of trouble."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import archives
import pytest
from buckets import Bucket, Endpoint, write_key_file
from calling import Call, Said
from keys_fixture import GpgHome
from small_world import World, fake_program, s3nap, tree_of

from s3nap import namedconfs
from s3nap.errors import Exit, NothingMatchesError, UsageError
from s3nap.manifest import Archive, Type
from s3nap.when import choose, local_day


def _objects(world: World) -> dict[str, bytes]:
    return {item.key: world.storage.get(item.key) for item in world.storage.list("")}


@contextmanager
def _unchanged(world: World) -> Iterator[None]:
    """Fail unless bucket and installed state are afterwards as they were, and all archives restore."""
    trees = {run: world.restore(run) for run in world.runs}
    before = _objects(world)
    installed = world.state.installed()
    yield
    assert _objects(world) == before
    assert world.state.installed() == installed
    world.assert_restores(trees)


# what it takes


def test_the_daily_run_and_its_summary(call: Call, world: World) -> None:
    """A run ends with 0 and a table of what became of each job; again on that day there is nothing to do."""
    first = call("-c", world.conf, "--date", world.day(0))
    assert first.status == Exit.DONE
    assert "FULL" in first.out
    assert "done" in first.out
    again = call("-c", world.conf, "--date", world.day(0))
    assert again.status == Exit.DONE
    assert "already done" in again.out
    before = world.runs
    forced = call("-f", "-c", world.conf, "--date", world.day(0))
    assert forced.status == Exit.DONE
    assert len(world.runs) == 1  # it takes the place of the first: nothing else needs that
    assert world.runs != before


@pytest.mark.parametrize("file", ["s3nap/web.conf", "s3nap/web", "s3napback/web.conf", "s3napback/web"])
def test_a_bare_name_is_a_conf(
    call: Call, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """``s3nap web`` runs /etc/s3nap/web.conf or /etc/s3napback/web.conf, as crontabs of the original have it."""
    folders = tmp_path / "s3nap", tmp_path / "s3napback"
    for path in folders:
        path.mkdir()
    shutil.copy(world.conf, tmp_path / file)
    monkeypatch.setattr(namedconfs, "FOLDERS", folders)
    shown = call("-t", "web", "--date", world.day(0))
    assert shown.status == Exit.DONE
    assert "FULL" in shown.out
    assert call("web", "-q", "--date", world.day(0)).status == Exit.DONE
    assert len(world.runs) == 1
    unknown = call("webb")
    assert unknown.status == Exit.USAGE
    assert "webb is neither a command" in unknown.err


def test_several_confs_run_one_after_the_other(call: Call, tmp_path: Path) -> None:
    """A conf whose job fails, or whose bucket is gone, does not keep the next one from running."""
    first, second, third = (World(tmp_path / name) for name in "abc")
    for world in (first, second, third):
        world.fill()
    shutil.rmtree(first.tree)
    day = first.day(0)
    done = call("-c", first.conf, "-c", second.conf, "--date", day)
    assert done.status == Exit.FAILED
    assert (first.runs, len(second.runs)) == ([], 1)
    shutil.rmtree(second.folder)
    done = call("-c", second.conf, "-c", third.conf, "--date", day)
    assert (done.status, len(third.runs)) == (Exit.BUCKET, 1)
    listed = call("-c", third.conf, "list", "-c", first.conf, "--json")
    assert [record["job"] for record in json.loads(listed.out)] == [third.job]


def test_options_stand_before_or_after_the_command(call: Call, world: World) -> None:
    """It is the same to click and to people where an option stands, also before commands of commands."""
    world.days(0)
    assert call("-c", world.conf, "list").out == call("list", "-c", world.conf).out != ""
    assert call("-c", world.conf, "config", "validate").status == Exit.DONE
    assert call("config", "validate", "-c", world.conf).status == Exit.DONE
    for args in (("-t", "--date", world.day(1), "backup"), ("backup", "-t", "--date", world.day(1))):
        assert "DIFF" in call("-c", world.conf, *args).out
    assert len(world.runs) == 1


def test_chosen_jobs_only(call: Call, world: World) -> None:
    """``backup JOB`` takes a job by its name or by its source, and says what there is for one there is not."""
    for job in (world.job, world.tree):
        assert call("backup", job, "-f", "-c", world.conf, "--date", world.day(0)).status == Exit.DONE
        assert len(world.runs) == 1
    unknown = call("backup", "nothing", "-c", world.conf)
    assert unknown.status == Exit.NOTHING
    assert world.job in unknown.err
    full = call("backup", "--full", "-c", world.conf, "--date", world.day(1))
    assert (full.status, world.archives[-1].manifest.type) == (Exit.DONE, Type.FULL)


def test_quiet_is_silent_unless_something_is_wrong(call: Call, world: World) -> None:
    """Cron mails what is printed: nothing, when all went well; the reason, when not."""
    assert call("-q", "-c", world.conf, "--date", world.day(0)) == Said(0, "", "")
    target = world.base / "target"
    assert call("restore", world.tree, "-q", "-c", world.conf, "--target", target) == Said(0, "", "")
    shutil.rmtree(world.tree)
    failed = call("-q", "-c", world.conf, "--date", world.day(1))
    assert failed.status == Exit.FAILED
    assert failed.out == ""
    assert str(world.tree) in failed.err


@pytest.mark.parametrize("command", [(), ("list",), ("restore",), ("plan",), ("backup",), ("config", "validate")])
def test_help_has_the_exit_statuses(call: Call, command: Sequence[str]) -> None:
    """Whoever scripts it finds what each status means where the options are."""
    said = call(*command, "--help")
    assert said.status == Exit.DONE
    if command[:1] != ("config",):
        for status in Exit:
            assert re.search(rf"^ +{status.value} +\w", said.out, re.MULTILINE)


# JSON


_LISTED = (
    *("host", "job", "slot", "type", "run", "day", "started", "finished", "parent"),
    *("raw_size", "stored_size", "chunks", "current", "restorable", "complete"),
    *("distrusted", "held", "retired", "machine", "braking"),
)


def test_list_as_json(call: Call, world: World) -> None:
    """Programs rely on the fields of ``list --json``: these, of these types, and no others."""
    world.days(0, 1)
    said = call("list", "--json", "-c", world.conf)
    full, diff = json.loads(said.out)
    assert tuple(full) == _LISTED
    assert (full["type"], full["parent"], full["slot"]) == ("FULL", None, 0)
    assert (diff["type"], diff["parent"], diff["slot"]) == ("DIFF", full["run"], 1)
    assert diff["day"] == str(world.day(1))
    assert datetime.fromisoformat(diff["started"]).tzinfo is not None
    assert all(type(full[name]) is int for name in ("slot", "raw_size", "stored_size", "chunks"))
    flags = ("current", "restorable", "complete", "distrusted", "held", "retired")
    assert [full[name] for name in flags] == [True, True, True, False, False, False]
    call("hold", world.job, "--at", full["run"], "-c", world.conf)
    assert json.loads(call("list", world.tree, "--json", "-c", world.conf).out)[0]["held"] is True


def test_an_empty_list_is_an_empty_document(call: Call, world: World) -> None:
    """Where nothing is stored yet, programs get an empty list, and people a word."""
    assert json.loads(call("list", "--json", "-c", world.conf).out) == []
    assert "nothing" in call("list", "-c", world.conf).out
    assert call("list", world.job, "-c", world.conf).status == Exit.NOTHING


def test_plan_as_json(call: Call, world: World) -> None:
    """Programs rely on the fields of ``plan --json``, and on the slots and types of the cycle."""
    world.days(0)
    tasks = json.loads(call("plan", "--json", "-c", world.conf, "--from", world.day(1), "--days", 5).out)
    assert [list(task) for task in tasks] == [["day", "job", "slot", "type", "action", "reason"]] * 5
    assert [task["slot"] for task in tasks] == [1, 2, 3, 4, 5]
    assert [task["type"] for task in tasks] == ["DIFF", "DIFF", "FULL", "DIFF", "DIFF"]
    assert {task["action"] for task in tasks} <= {"backup", "skip"}


def test_a_host_is_listed_from_anywhere(call: Call, world: World) -> None:
    """A restore needs neither conf nor DiffDir: the bucket and the host's name are enough; others are hinted at."""
    trees = world.days(0, 1)
    place = ("--bucket", world.folder.as_uri())
    assert len(json.loads(call("list", "--json", *place, "--host", world.host).out)) == 2
    assert {item["host"] for item in json.loads(call("list", "--json", "--all-hosts", *place).out)} == {world.host}
    target = world.base / "target"
    assert call("restore", world.job, "--target", target, *place, "--host", world.host).status == Exit.DONE
    assert tree_of(target / str(world.tree).lstrip("/")) == trees[world.runs[-1]]
    lost = call("restore", world.job, "--target", target, *place, "--host", "other")
    assert lost.status == Exit.NOTHING
    assert world.host in lost.err


# WHEN


def _series() -> list[Archive]:
    days = [date(2024, 1, day) for day in (7, 8, 9)]
    return [archives.archive(day, slot) for slot, day in enumerate(days)]


_NOW = datetime(2024, 1, 10, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("when", "slot"),
    [
        ("latest", 2),
        ("2024-01-09", 2),
        ("2024-01-08", 1),
        ("20240108", 1),
        ("2024-01-08 03:15Z", 1),
        ("2025-12-31", 2),
        ("2024-01-08T03:14:59+00:00", 0),
        ("2024-01-08T03:15:00Z", 1),
        ("2024-01-08T04:20+01:00", 1),
        ("1d", 2),
        ("2d", 1),
        ("3d", 0),
        ("34h", 1),
        ("60m", 2),
        ("0d", 2),
        ("slot:1", 1),
        (archives.run_id(date(2024, 1, 8)), 1),
    ],
)
def test_when_means_an_archive(when: str, slot: int) -> None:
    """Each form that a person may write means the archive that the person would expect."""
    assert choose(_series(), when, _NOW).manifest.slot == slot


@pytest.mark.parametrize(
    "when", ["2024-01-06", "4d", "1w", "slot:7", "slot:01", "20200101T000000Z-abcdef", "2024-01-07T03:14Z"]
)
def test_when_matches_nothing(when: str) -> None:
    """What is older than the oldest archive, or is not there, is never quietly replaced by another."""
    with pytest.raises(NothingMatchesError):
        choose(_series(), when, _NOW)


@pytest.mark.parametrize(
    "when", ["yesterday", "", "2024-13-01", "2024-02-30", "3x", "d", "-1d", "latest ", "1.5d", "2024", "2024-01"]
)
def test_when_is_nonsense(when: str) -> None:
    """What is no form of WHEN is a usage error that shows the forms, also where nothing is stored yet."""
    for stored in (_series(), []):
        with pytest.raises(UsageError, match="slot:3"):
            choose(stored, when, _NOW)


@pytest.mark.parametrize("text", ["today", "2024-1-7", "20240107", "2024-02-30", "2024-01-07T00:00"])
def test_a_day_is_a_date(text: str) -> None:
    """``--date`` and ``--from`` take a date and nothing that could mean two."""
    with pytest.raises(UsageError):
        local_day(text)


@pytest.mark.parametrize("at", ["yesterday", "99999999999999d", "2024-99-99"])
def test_nonsense_on_the_command_line_is_a_usage_error(call: Call, world: World, at: str) -> None:
    """Not a traceback, whatever is written after --at."""
    world.days(0)
    assert call("recipe", world.job, "-c", world.conf, "--at", at).status == Exit.USAGE


# every way to end


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("-t",),
        ("list",),
        ("--nonsense",),
        ("-c",),
        ("-c", "/nonexistent.conf"),
        ("restore", "--bucket", "file:///tmp"),
        ("list", "--bucket", "ftp://x"),
        ("plan", "--days", "0", "-c", "x"),
        ("config", "nonsense"),
    ],
)
def test_wrong_usage_ends_with_2(call: Call, args: Sequence[str]) -> None:
    """A command line that cannot be understood does nothing, says why, and ends with 2."""
    said = call(*args)
    assert (said.status, said.out) == (Exit.USAGE, "")
    assert said.err.strip()


def test_a_wrong_date_ends_with_2(call: Call, world: World) -> None:
    """A mistyped day must not run as today."""
    assert call("-c", world.conf, "--date", "2024-1-7").status == Exit.USAGE
    assert world.runs == []


def _conf_faults(world: World, tmp_path: Path) -> dict[str, tuple[str, str]]:
    key = tmp_path / "key.txt"
    key.write_text("key=k\nsecret=s3cr3t-value\n")
    key.chmod(0o644)
    return {
        "DiffDir that does not exist": (f"DiffDir {world.base}/nowhere", "DiffDir does not exist, please create"),
        "world-readable S3KeyFile": (f"S3KeyFile {key}", "can be read by others"),
        "unknown directive": ("Bukket x", "Bucket"),
        "no value": ("TempDir", "TempDir"),
        "passphrase and no file": (f"GpgPassphraseFile {tmp_path}/none", "does not exist"),
    }


@pytest.mark.parametrize(
    "fault",
    [
        "DiffDir that does not exist",
        "world-readable S3KeyFile",
        "unknown directive",
        "no value",
        "passphrase and no file",
    ],
)
def test_a_wrong_conf_ends_with_2_and_changes_nothing(call: Call, world: World, tmp_path: Path, fault: str) -> None:
    """A fault of the conf is told with file and line before anything is done; secrets are not shown."""
    world.days(0)
    line, word = _conf_faults(world, tmp_path)[fault]
    lines = [text for text in world.conf.read_text().splitlines() if not text.startswith(line.split()[0] + " ")]
    world.conf.write_text("\n".join([line, *lines]) + "\n")
    with _unchanged(world):
        said = call("-c", world.conf, "--date", world.day(1))
    assert said.status == Exit.USAGE
    assert word in said.err
    assert f"{world.conf}:1" in said.err
    assert "s3cr3t-value" not in said.err


@pytest.fixture(scope="module")
def keyring() -> Iterator[Path]:
    """Keys that nobody should encrypt to: expired, ambiguous; and one that expires soon."""
    with tempfile.TemporaryDirectory(prefix="g-", dir="/tmp") as home:
        gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--yes", "--pinentry-mode", "loopback"]
        gpg += ["--passphrase", ""]
        made = [
            (["--faked-system-time", "20200101T000000"], "expired@example.com", "1d"),
            ([], "two@example.com", "never"),
            ([], "two@example.com", "never"),
            ([], "soon@example.com", "30d"),
        ]
        for options, address, expiry in made:
            command = [*gpg, *options, "--quick-gen-key", address, "future-default", "default", expiry]
            subprocess.run(command, check=True, capture_output=True)
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
        yield Path(home, "pubring.kbx")


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("nobody@example.com", "is not in"),
        ("expired@example.com", "expired on 2020-01-02"),
        ("two@example.com", "is ambiguous"),
    ],
)
def test_an_unusable_recipient_ends_with_12(call: Call, world: World, keyring: Path, address: str, word: str) -> None:
    """A key that is unknown, expired or not the only one is an error, before anything is stored."""
    world.days(0)
    world.write_conf(f"GpgRecipient {address}", f"GpgKeyring {keyring}")
    with _unchanged(world):
        said = call("-c", world.conf, "--date", world.day(1))
    assert said.status == Exit.KEY
    assert word in said.err
    assert address in said.err


def test_a_recipient_that_expires_soon_is_spoken_of(call: Call, world: World, keyring: Path) -> None:
    """The run is fine, and says on each day what will happen if nobody extends the key."""
    world.write_conf("GpgRecipient soon@example.com", f"GpgKeyring {keyring}")
    said = call("-q", "-c", world.conf, "--date", world.day(0))
    assert said.status == Exit.DONE
    assert "soon@example.com expires on" in said.err


def test_a_passphrase_that_is_no_text_ends_with_2(call: Call, world: World, tmp_path: Path) -> None:
    """A binary file in place of a passphrase is refused in a sentence."""
    secret = tmp_path / "passphrase"
    secret.write_bytes(b"\xff\xfe\x00binary")
    secret.chmod(0o600)
    world.days(0)
    world.write_conf(f"GpgPassphraseFile {secret}")
    with _unchanged(world):
        said = call("-c", world.conf, "--date", world.day(1))
    assert (said.status, "not UTF-8" in said.err) == (Exit.USAGE, True)
    restored = call("restore", world.job, "-c", world.conf, "--target", tmp_path / "t", "--passphrase-file", secret)
    assert restored.status == Exit.USAGE


# the bucket


def test_an_unreachable_endpoint_ends_with_10(call: Call, tmp_path: Path) -> None:
    """Where nothing listens, the run says so soon."""
    key = write_key_file(tmp_path / "s3.key", {"key": "k", "secret": "s3cr3t-value"})
    world = World(tmp_path / "w", bucket="s3://nowhere", extra=["Endpoint http://127.0.0.1:1", f"S3KeyFile {key}"])
    world.fill()
    said = call("-c", world.conf, "--date", world.day(0))
    assert said.status == Exit.BUCKET
    assert "127.0.0.1:1" in said.err
    assert "s3cr3t-value" not in said.err
    assert call("list", "-c", world.conf).status == Exit.BUCKET


@pytest.mark.parametrize("fault", ["no bucket", "wrong credentials"])
def test_a_bucket_that_refuses_ends_with_10(
    call: Call, tmp_path: Path, rclone_endpoint: dict[str, str], fresh_bucket: Callable[[Endpoint], Bucket], fault: str
) -> None:
    """A bucket that is not there, or that does not know us, is named; the secret is not."""
    endpoint, there = dict(rclone_endpoint), fresh_bucket(rclone_endpoint).name
    if fault == "wrong credentials":
        endpoint["secret"] = "s3cr3t-value"
    key = write_key_file(tmp_path / "s3.key", endpoint)
    bucket = f"s3://{there}" if fault == "wrong credentials" else "s3://missing"
    world = World(tmp_path / "w", bucket=bucket, extra=[f"Endpoint {endpoint['url']}", f"S3KeyFile {key}"])
    world.fill()
    for args in ((), ("-t",), ("list",), ("restore", world.job, "--target", tmp_path / "t")):
        said = call(*args, "-c", world.conf)
        assert said.status == Exit.BUCKET
        assert bucket.removeprefix("s3://") in said.err
        assert endpoint["secret"] not in said.err


def test_a_bucket_folder_that_is_gone_ends_with_10(call: Call, world: World) -> None:
    """An unmounted disk must not be filled as a folder, nor count as an empty bucket."""
    world.days(0)
    away = world.folder.rename(world.base / "unmounted")
    for args in (("--date", world.day(1)), ("-t",), ("list",), ("restore", world.job, "--target", world.base / "t")):
        said = call(*args, "-c", world.conf)
        assert said.status == Exit.BUCKET
        assert str(world.folder) in said.err
        assert not world.folder.exists()
    away.rename(world.folder)
    world.fill(1)
    assert call("-c", world.conf, "--date", world.day(1)).status == Exit.DONE
    assert world.archives[-1].manifest.type is Type.DIFF


# locks, keys, damage


def test_a_locked_job_ends_with_11(call: Call, world: World) -> None:
    """A job that another process works on is skipped and said; reading takes no lock."""
    world.days(0)
    with world.state.lock(), _unchanged(world):
        said = call("-c", world.conf, "--date", world.day(1))
        assert call("-t", "-c", world.conf, "--date", world.day(1)).status == Exit.DONE
        assert call("list", "-c", world.conf).status == Exit.DONE
    assert said.status == Exit.LOCKED
    assert "LOCKED" in said.out


def test_a_restore_without_the_key_ends_with_12(
    call: Call, world: World, gpg_home: GpgHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who lacks the private key is told whose it must be; a wrong passphrase is no key either."""
    world.write_conf(f"GpgRecipient {gpg_home.recipient}")
    world.days(0)
    fingerprint = world.archives[0].manifest.encryption.recipients[0]
    with tempfile.TemporaryDirectory(prefix="g-", dir="/tmp") as home:
        monkeypatch.setenv("GNUPGHOME", home)
        said = call("restore", world.job, "-c", world.conf, "--target", tmp_path / "t")
    assert said.status == Exit.KEY
    assert fingerprint in said.err
    assert not (tmp_path / "t").exists()


def test_a_wrong_passphrase_ends_with_12(call: Call, world: World, tmp_path: Path) -> None:
    """With the right passphrase it restores, with another it says what it needs."""
    secret = tmp_path / "passphrase"
    secret.write_text("right\n")
    secret.chmod(0o600)
    world.write_conf(f"GpgPassphraseFile {secret}")
    world.days(0)
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong\n")
    arguments = ("restore", world.job, "-c", world.conf, "--target", tmp_path / "t")
    assert call(*arguments, "--passphrase-file", wrong).status == Exit.KEY
    assert call(*arguments).status == Exit.DONE


def test_damage_ends_with_13(call: Call, world: World, tmp_path: Path) -> None:
    """An altered chunk is named, and the restore does not look like a success."""
    world.days(0)
    manifest = world.archives[0].manifest
    chunk = world.folder / manifest.at.data / "00000001.zst"
    content = bytearray(chunk.read_bytes())
    content[100] ^= 1
    chunk.write_bytes(content)
    said = call("restore", world.job, "-c", world.conf, "--target", tmp_path / "t")
    assert said.status == Exit.VERIFICATION
    assert "00000001.zst" in said.err
    assert "restored" not in said.out


def test_what_is_not_there_ends_with_14(call: Call, world: World, tmp_path: Path) -> None:
    """An unknown job or time is told with what there is."""
    world.days(0)
    arguments = ("-c", world.conf, "--target", tmp_path / "t")
    unknown = call("restore", "nothing", *arguments)
    assert (unknown.status, world.job in unknown.err) == (Exit.NOTHING, True)
    early = call("restore", world.job, *arguments, "--at", "2000-01-01")
    assert (early.status, world.runs[0] in early.err) == (Exit.NOTHING, True)
    assert not (tmp_path / "t").exists()


def test_a_target_with_contents_ends_with_2(call: Call, world: World, tmp_path: Path) -> None:
    """A restore never mixes with what is there, unless told to."""
    world.days(0)
    target = tmp_path / "t"
    target.mkdir()
    (target / "mine").write_text("precious")
    arguments = ("restore", world.job, "-c", world.conf, "--target", target)
    assert call(*arguments).status == Exit.USAGE
    assert [path.name for path in target.iterdir()] == ["mine"]
    assert call(*arguments, "--overwrite").status == Exit.DONE
    assert (target / "mine").read_text() == "precious"
    assert call("restore", world.job, "-c", world.conf, "--target", target / "mine").status == Exit.USAGE


# sources


def test_a_missing_source_ends_with_1(call: Call, world: World) -> None:
    """A directory that is not there is a failed job, not an empty archive."""
    world.days(0)
    shutil.rmtree(world.tree)
    with _unchanged(world):
        said = call("-c", world.conf, "--date", world.day(1))
    assert said.status == Exit.FAILED
    assert f"{world.tree} cannot be backed up" in said.err


def _emptied(world: World, call: Call) -> dict[str, object]:
    """Back up some full days, and then empty ones until all slots have been passed."""
    trees = world.days(*range(6))
    shutil.rmtree(world.tree)
    world.tree.mkdir()
    for number in range(6, 14):
        said = call("-q", "-c", world.conf, "--date", world.day(number))
        assert said.status == Exit.WARNINGS
        assert "is it mounted?" in said.err
        assert f"s3nap release {world.job}" in said.err
    return dict(trees)


def test_an_empty_source_pushes_nothing_out_until_it_is_released(call: Call, world: World) -> None:
    """An unmounted disk warns with 3 each day and every older archive stays; ``release`` accepts it as it is."""
    trees = _emptied(world, call)
    assert set(trees) <= set(world.runs)
    world.assert_restores(trees)  # type: ignore[arg-type]
    assert call("release", world.job, "-c", world.conf).status == Exit.DONE
    (world.tree / "new").write_text("new")
    for number in (14, 15):
        assert call("-q", "-c", world.conf, "--date", world.day(number)) == Said(0, "", "")
    assert not set(trees) & set(world.runs)
    world.assert_tidy()


def test_release_means_the_doubtful_archive_and_not_the_newest(call: Call, world: World) -> None:
    """After the disk is back, ``release`` without a time still accepts what the warning is about."""
    world.days(0, 1)
    shutil.move(world.tree, world.base / "away")
    world.tree.mkdir()
    assert call("-q", "-c", world.conf, "--date", world.day(2)).status == Exit.WARNINGS
    world.tree.rmdir()
    shutil.move(world.base / "away", world.tree)
    assert call("-q", "-c", world.conf, "--date", world.day(3)).status == Exit.WARNINGS  # still told
    said = call("release", world.job, "-c", world.conf)
    assert world.runs[2] in said.out
    assert call("-q", "-c", world.conf, "--date", world.day(4)) == Said(0, "", "")


def test_hold_keeps_and_release_lets_go(call: Call, world: World) -> None:
    """A held archive outlives its slot until it is released."""
    world.days(0, 1, 2)
    held = world.runs[0]
    assert call("hold", world.job, "--at", held, "-c", world.conf).status == Exit.DONE
    world.days(*range(3, 12))
    assert held in world.runs
    assert call("release", world.job, "--at", held, "-c", world.conf).status == Exit.DONE
    world.days(12)
    assert held not in world.runs


# programs and disks


def test_a_missing_decompressor_is_a_warning(call: Call, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives are made without the zstd program, but whoever will need it for the recipe is told in time."""
    tools = world.base / "tools"
    tools.mkdir()
    (tools / "tar").symlink_to(shutil.which("tar") or "")
    monkeypatch.setenv("PATH", str(tools))
    said = call("-q", "-c", world.conf, "--date", world.day(0))
    assert (said.status, len(world.runs)) == (Exit.DONE, 1)
    assert said.err.count("zstd is not installed") == 1


@pytest.mark.parametrize("name", ["tar", "gpg"])
def test_a_program_that_cannot_be_started_is_named(
    call: Call, world: World, monkeypatch: pytest.MonkeyPatch, gpg_home: GpgHome, name: str
) -> None:
    """A broken installation is one clear message, and nothing is lost."""
    world.write_conf(f"GpgRecipient {gpg_home.recipient}")
    world.days(0)
    world.fill(1)
    fake_program(world.base / "bin", name, "").write_text("#!/nonexistent/interpreter\n")
    with _unchanged(world), monkeypatch.context() as patch:
        patch.setenv("PATH", f"{world.base / 'bin'}:{os.environ['PATH']}")
        said = call("-c", world.conf, "--date", world.day(1))
    assert said.status == Exit.FAILED
    assert f"{name} cannot be started" in said.err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(folder)], check=False, capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs the right to mount: {mounted.stderr}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _filled_up(folder: Path, free: int) -> Path:
    """Leave just so many bytes free."""
    filler = folder / "filler"
    status = os.statvfs(folder)
    filler.write_bytes(bytes(max(status.f_bavail * status.f_frsize - free, 0)))
    return filler


def test_a_full_disk_under_diffdir_loses_nothing(call: Call, world: World, small_disk: Path) -> None:
    """Whichever write meets the full disk: a clear message, archives as they were, and the chain goes on later."""
    world.diffdir = small_disk
    world.write_conf()
    trees = world.days(0)
    failed = 0
    for day, free in enumerate((0, 4096, 8192, 12288, 16384, 20480, 28672, 36864, 65536), 1):
        world.fill(day)
        filler = _filled_up(small_disk, free)
        said = call("-q", "-c", world.conf, "--date", world.day(day))
        filler.unlink()
        assert said.status in {Exit.DONE, Exit.FAILED}
        if said.status == Exit.FAILED:
            failed += 1
            assert "No space left" in said.err
        world.fill(day)
        assert call("-q", "-c", world.conf, "--date", world.day(day)).status == Exit.DONE
        manifest = world.archives[-1].manifest
        assert manifest.day == world.day(day)
        assert manifest.type is (Type.FULL if day % 3 == 0 else Type.DIFF)
        newest = world.runs[-1]
        trees[newest] = world.restore(newest)
        world.assert_tidy()
    assert failed >= 4
    world.assert_restores({run: tree for run, tree in trees.items() if run in world.runs})


def test_a_full_disk_under_the_bucket_loses_nothing(call: Call, world: World, small_disk: Path) -> None:
    """A bucket that is full fails the job with a word about room, keeps what it has, and leaves no half archive."""
    world.folder = small_disk
    world.write_conf()
    world.days(0)
    filler = _filled_up(small_disk, 40960)
    world.fill(1)
    with _unchanged(world):
        said = call("-c", world.conf, "--date", world.day(1))
    assert said.status == Exit.FAILED
    assert "make room" in said.err
    filler.unlink()
    assert call("-c", world.conf, "--date", world.day(1)).status == Exit.DONE
    assert world.archives[-1].manifest.type is Type.DIFF


def test_the_real_command_line(world: World) -> None:
    """As a process of its own it says the same, with an exit status that a shell sees."""
    assert s3nap("-q", "-c", world.conf).returncode == 0
    assert s3nap("nonsense").returncode == Exit.USAGE
    assert s3nap("--version").stdout.startswith("s3nap")
