"""The conf is stored with every run, so that a bare machine can be told what there was; and never in the clear."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from keys_fixture import GpgHome
from small_world import World, everything, s3nap

from s3nap import access, config
from s3nap.backup import Options, Run
from s3nap.catalog import Catalog
from s3nap.cycle import SimpleCycle
from s3nap.errors import Exit
from s3nap.manifest import Type

JOB = "Conf/s3nap.conf"
SECRET = "CANARY-SECRET"


@pytest.fixture
def world(tmp_path: Path, gpg_home: GpgHome) -> World:
    """A machine whose conf has parts in other files, secrets beside it, and top-level values of all kinds."""
    made = World(tmp_path / "machine", extra=[f"GpgRecipient {gpg_home.recipient}", "StoreConf On"])
    made.fill()
    (made.tree / "left-out.conf").touch()
    folder = tmp_path / "machine" / "conf.d"
    folder.mkdir()
    (folder / "one.conf").write_text("Include ../shared.conf\nExclude *.conf\n")
    (tmp_path / "machine" / "shared.conf").write_text("CycleType HanoiCycle\nFrequency 3\n")
    phrase = tmp_path / "machine" / "my.cnf"
    phrase.write_text(f"[client]\npassword={SECRET}\n")
    phrase.chmod(0o600)
    made.extra = [*made.extra, "Include conf.d/*.conf", f"MySQLDefaultsFile {phrase}"]
    made.write_conf()
    return made


def stored(world: World) -> list[str]:
    """Days and types of the stored confs."""
    archives = Catalog(world.storage, world.host).job(JOB).archives
    assert all(archive.manifest.type is Type.FULL for archive in archives)
    return [f"{archive.manifest.slot}" for archive in archives]


def files(folder: Path) -> dict[str, bytes]:
    return {f"/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_conf_and_all_it_is_made_of_come_back(world: World, tmp_path: Path) -> None:
    """Conf, included files and logconfig are restored byte by byte; files of secrets are not even stored."""
    assert s3nap("-q", "-c", world.conf).returncode == Exit.DONE
    said = s3nap("restore", "Conf", "-c", world.conf, "--target", tmp_path / "t")
    assert said.returncode == Exit.DONE, said.stderr
    wanted = [world.conf, world.base / "conf.d/one.conf", world.base / "shared.conf", world.base / "logconfig.ini"]
    assert files(tmp_path / "t") == {str(path): path.read_bytes() for path in wanted}
    raw = b"".join(path.read_bytes() for path in world.folder.rglob("*") if path.is_file())
    assert b"Include" not in raw


def test_a_linked_conf_comes_back_as_link_and_file(world: World, tmp_path: Path) -> None:
    """A conf kept elsewhere and linked to is stored with what the link means."""
    link = tmp_path / "linked.conf"
    world.write_conf()
    text = world.conf.read_text().replace("conf.d/", f"{world.base}/conf.d/")
    world.conf.write_text(text)
    link.symlink_to("machine/s3nap.conf")
    assert s3nap("-q", "-c", link).returncode == Exit.DONE
    assert s3nap("restore", "Conf/linked.conf", "-c", link, "--target", tmp_path / "t").returncode == Exit.DONE
    back = tmp_path / "t" / str(link).lstrip("/")
    assert back.readlink() == Path("machine/s3nap.conf")
    assert back.read_text() == text


def test_the_recipe_restores_it(world: World, tmp_path: Path) -> None:
    """Whoever has no s3nap finds out what there was as well."""
    assert s3nap("-q", "-c", world.conf).returncode == Exit.DONE
    script = s3nap("recipe", "Conf", "-c", world.conf).stdout
    subprocess.run(["sh", "-s", tmp_path / "t"], input=script, text=True, check=True, capture_output=True)
    assert files(tmp_path / "t")[str(world.conf)] == world.conf.read_bytes()


def test_its_cycle_is_its_own(world: World) -> None:
    """A FULL a day, seven of them, whatever the top level says of what is backed up; older ones are swept."""
    job = config.load(world.conf).jobs[-1]
    assert (job.name, job.cycle) == (JOB, SimpleCycle(diffs=0, fulls=7))
    assert job["Exclude"] == ()
    for day in range(9):
        done = s3nap("-q", "-c", world.conf, "--date", world.day(0) + timedelta(days=day), "backup", "Conf")
        assert done.returncode == Exit.DONE, done.stderr
    assert len(stored(world)) == len(set(stored(world))) == 7


def test_without_encryption_it_is_not_stored(world: World) -> None:
    """A conf is never stored in the clear; that is no reason for a word a day, only for one with -d."""
    world.extra = [line for line in world.extra if "GpgRecipient" not in line]
    world.write_conf()
    done = s3nap("-c", world.conf, "-q")
    assert (done.returncode, done.stderr) == (Exit.DONE, "")
    again = s3nap("-c", world.conf, "-d", "-f")
    assert "is not stored, for nothing is encrypted" in again.stderr
    assert not any("Conf" in item.key for item in world.storage.list(""))
    assert not any(job.kind == "Conf" for job in config.load(world.conf).jobs)
    text = b"".join(path.read_bytes() for path in world.folder.rglob("*") if path.is_file())
    assert b"MySQLDefaultsFile" not in text


def test_with_a_passphrase_it_is_stored_but_the_passphrase_is_not(world: World, tmp_path: Path) -> None:
    """The other way to encrypt counts as well; the file of the passphrase stays where it is."""
    phrase = tmp_path / "phrase"
    phrase.write_text(f"{SECRET}\n")
    phrase.chmod(0o600)
    world.extra = [line for line in world.extra if "GpgRecipient" not in line] + [f"GpgPassphraseFile {phrase}"]
    world.write_conf()
    assert s3nap("-q", "-c", world.conf).returncode == Exit.DONE
    assert s3nap("restore", "Conf", "-c", world.conf, "--target", tmp_path / "t").returncode == Exit.DONE
    assert SECRET.encode() not in b"".join(files(tmp_path / "t").values())


@pytest.mark.parametrize(
    ("directive", "text"),
    [
        ("S3KeyFile", f"key=a\nsecret={SECRET}\n"),
        ("NotifyFile", f"json://{SECRET}@127.0.0.1\n"),
        ("PingFile", f"https://127.0.0.1/{SECRET}\n"),
    ],
)
def test_a_secret_that_is_named_twice_stays_here(world: World, tmp_path: Path, directive: str, text: str) -> None:
    """Were a file of secrets also the LogConfig, or a link to it, it would still not be stored."""
    key = tmp_path / "key.txt"
    key.write_text(text)
    key.chmod(0o600)
    link = tmp_path / "logconfig"
    link.symlink_to(key)
    world.conf.write_text(world.conf.read_text().replace(f'"{world.base / "logconfig.ini"}"', str(link)))
    with world.conf.open("a") as conf:
        conf.write(f"{directive} {key}\n")
    job = config.load(world.conf).jobs[-1]
    assert key not in [path.resolve() for path in job.files]
    assert world.conf in job.files


def test_a_failure_of_it_is_one_failed_job(world: World) -> None:
    """A file that vanished fails the Conf job by name; the others are done as ever."""
    loaded = config.load(world.conf)
    (world.base / "logconfig.ini").unlink()
    run = Run(loaded, access.storage_of(loaded), Options(day=world.day(0)))
    try:
        results = {result.job.kind: result for result in run.execute()}
    finally:
        run.close()
    assert results["Directory"].outcome == "done"
    assert (results["Conf"].outcome, results["Conf"].status) == ("failed", Exit.FAILED)
    assert "logconfig.ini" in results["Conf"].message
    assert stored(world) == []


def test_chosen_jobs_only(world: World) -> None:
    """``backup JOB`` stores the conf only if that is asked for, by name, by file or by kind."""
    assert s3nap("-q", "-c", world.conf, "backup", world.tree).returncode == Exit.DONE
    assert stored(world) == []
    for number, name in enumerate((JOB, world.conf, "Conf"), 1):
        assert s3nap("-q", "-c", world.conf, "backup", name, "--date", world.day(number)).returncode == Exit.DONE
        assert len(stored(world)) == number
    assert len(world.runs) == 1


def test_every_view_knows_it(world: World) -> None:
    """``-t``, ``plan``, ``list`` and ``config show`` have it as any other job; ``-t`` stores nothing."""
    before = everything(world.folder, world.diffdir)
    assert JOB in s3nap("-t", "-c", world.conf).stdout
    assert everything(world.folder, world.diffdir) == before
    planned = json.loads(s3nap("plan", "--json", "--days", 9, "-c", world.conf).stdout)
    slots = [task["slot"] for task in planned if task["job"] == JOB]
    assert [slots[0] - slots[7], len(set(slots))] == [0, 7]
    shown = json.loads(s3nap("config", "show", "--json", "--job", JOB, "-c", world.conf).stdout)
    assert [(each["kind"], each["source"]) for each in shown] == [("Conf", str(world.conf))]
    assert s3nap("-q", "-c", world.conf).returncode == Exit.DONE
    listed = json.loads(s3nap("list", "--json", "Conf", "-c", world.conf).stdout)
    assert [(each["job"], each["retired"], each["current"]) for each in listed] == [(JOB, False, True)]


def test_switched_off(world: World) -> None:
    """``StoreConf Off`` ends it; what there is stays, as of any job that a conf no longer has."""
    assert s3nap("-q", "-c", world.conf).returncode == Exit.DONE
    world.extra = [line.replace("StoreConf On", "StoreConf Off") for line in world.extra]
    world.write_conf()
    assert s3nap("-q", "-f", "-c", world.conf).returncode == Exit.DONE
    listed = json.loads(s3nap("list", "--json", "Conf", "-c", world.conf).stdout)
    assert [(each["retired"], each["restorable"]) for each in listed] == [(True, True)]


def test_two_confs_have_to_be_told_apart(world: World, tmp_path: Path) -> None:
    """A kind alone names a job only where there is one; else all are named, with status 14."""
    assert s3nap("-q", "-c", world.conf).returncode == Exit.DONE
    other = world.base / "other.conf"
    other.write_text(world.conf.read_text())
    assert s3nap("-q", "-c", other, "backup", "Conf").returncode == Exit.DONE
    said = s3nap("restore", "Conf", "-c", world.conf, "--target", tmp_path / "t")
    assert said.returncode == Exit.NOTHING
    assert all(name in said.stderr for name in (JOB, "Conf/other.conf"))


def test_a_conf_from_a_pipe_is_not_stored(world: World) -> None:
    """What is no file cannot be stored; the run is none the worse."""
    reader, writer = os.pipe()
    os.write(writer, world.conf.read_text().replace("Include", "#Include").encode())
    os.close(writer)
    command = [sys.executable, "-m", "s3nap", "-q", "-c", f"/dev/fd/{reader}"]
    done = subprocess.run(command, pass_fds=[reader], check=False, capture_output=True, text=True)
    os.close(reader)
    assert (done.returncode, done.stderr) == (Exit.DONE, "")
    assert len(world.runs) == 1
