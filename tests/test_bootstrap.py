"""The server is lost: from bucket and key to a machine that goes on as the old one did."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import archives
import pytest
from keys_fixture import GpgHome
from small_world import World, everything, s3nap, tree_of

from s3nap.catalog import Catalog, JobCatalog
from s3nap.cycle import SimpleCycle
from s3nap.directives import CONF
from s3nap.errors import Exit, UsageError
from s3nap.job import Job, Setting
from s3nap.liveness import chain
from s3nap.manifest import Type
from s3nap.packages import needs
from s3nap.putback import put_back
from s3nap.rebuilding import Way, order
from s3nap.runbook import lasting


def shell(text: str, heading: str) -> str:
    """The block of commands below a heading of what was printed."""
    chapter = text.partition(f"## {heading}")[2].partition("\n## ")[0]
    return "\n".join(re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL))


def typed(script: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What is printed, typed by a person who has ``s3nap`` on PATH."""
    programs = cwd / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "s3nap").write_text(f'#!/bin/sh\nexec {sys.executable} -m s3nap "$@"\n')
    (programs / "s3nap").chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-eu", "-c", script], check=False, cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def world(tmp_path: Path, gpg_home: GpgHome) -> World:
    """A host with one tree, whose conf includes another file."""
    made = World(tmp_path / "host", extra=[f"GpgRecipient {gpg_home.recipient}", "StoreConf On"])
    (made.base / "more.conf").write_text(f"TempDir {made.base}/temp\n")
    (made.base / "temp").mkdir()
    made.extra = [*made.extra, f"Include {made.base}/more.conf"]
    made.write_conf()
    return made


def lose(world: World) -> None:
    """Leave nothing of a host but its bucket."""
    for path in world.base.iterdir():
        if path != world.folder:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def at(world: World) -> tuple[str, ...]:
    return ("--bucket", world.storage.url, "--host", world.host)


def test_a_rebuilt_host_goes_on(world: World, tmp_path: Path) -> None:
    """It makes FULLs in the right slots, sweeps nothing but what rotation does, and every archive still restores."""
    trees = world.days(0, 1, 2, 3)
    before = {archive.run: archive.manifest for archive in world.archives}
    conf = {path: path.read_bytes() for path in (world.conf, world.base / "more.conf", world.base / "logconfig.ini")}
    lose(world)
    said = s3nap("bootstrap", *at(world))
    assert said.returncode == Exit.DONE, said.stderr
    assert {path: path.read_bytes() for path in conf} == conf
    for folder in (world.diffdir, world.base / "temp"):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not (world.diffdir / "machine").exists()
    assert {path.stem for path in world.state.manifests.iterdir()} == set(before)
    looked = s3nap("ls", world.job, "-R", "-c", world.conf)  # its credentials permitting, looking works at once
    assert (looked.returncode, "CANARY-NAME-3" in looked.stdout) == (Exit.DONE, True), looked
    script = shell(said.stdout, "Restore, in this order")
    assert f"--at {max(before)} " in script  # also once the new host's own archives are newer
    typed(script.replace("/mnt/restored", f"{tmp_path}/new"), cwd=tmp_path)
    (restored,) = (tmp_path / "new").iterdir()
    shutil.move(restored / str(world.tree).lstrip("/"), world.tree)
    assert tree_of(world.tree) == list(trees.values())[-1]
    assert world.runs == sorted(before)
    for day in range(4, 14):
        trees |= world.days(day)
        newest = world.archives[-1].manifest
        wanted = Type.FULL if day == 4 or day % 3 == 0 else Type.DIFF
        assert (newest.slot, newest.type, newest.machine in {each.machine for each in before.values()}) == (
            *(day % 6, wanted),
            False,
        )
        if day == 4:
            assert set(before) < set(world.runs)
        there = {archive.manifest.day for archive in world.archives}
        assert {world.day(each) for each in range(max(0, day - 5), day + 1)} <= there
        if day in {4, 8, 13}:
            world.assert_restores({run: tree for run, tree in trees.items() if run in world.runs})
    confs = Catalog(world.storage, world.host).job("Conf/s3nap.conf").archives
    assert [archive.manifest.day for archive in confs] == [world.day(day) for day in range(7, 14)]


def test_what_is_in_the_way_stays(world: World) -> None:
    """A file that differs is named, and then nothing at all is written; --overwrite replaces it, and no other."""
    world.days(0)
    text = world.conf.read_text()
    lose(world)
    world.conf.write_text("mine\n")
    (world.base / "more.conf").write_text(f"TempDir {world.base}/temp\n")
    before = everything(world.base)
    said = s3nap("bootstrap", *at(world))
    assert (said.returncode, str(world.conf) in said.stderr) == (Exit.USAGE, True)
    assert str(world.base / "more.conf") not in said.stderr
    assert everything(world.base) == before
    said = s3nap("bootstrap", *at(world), "--overwrite")
    assert said.returncode == Exit.DONE, said.stderr
    assert world.conf.read_text() == text
    assert f"{world.base}/more.conf: was there already" in said.stdout
    assert s3nap("bootstrap", *at(world)).returncode == Exit.DONE


def test_below_a_target(world: World, tmp_path: Path) -> None:
    """From a rescue system all goes below the new root, also what absolute names in the conf mean."""
    world.days(0)
    lose(world)
    root = tmp_path / "root"
    said = s3nap("bootstrap", *at(world), "--target", root)
    assert said.returncode == Exit.DONE, said.stderr
    assert sorted(path.name for path in world.base.iterdir()) == ["bucket"]
    there = root / str(world.base).lstrip("/")
    assert sorted(path.name for path in there.iterdir()) == [
        *("diffs", "logconfig.ini", "more.conf", "s3nap.conf", "temp")
    ]


def test_a_linked_conf_below_a_target(world: World, tmp_path: Path) -> None:
    """Links of a conf lead to where they lead on the new root, not on the rescue system."""
    world.fill()
    link = world.base / "linked.conf"
    link.symlink_to(world.conf)
    assert s3nap("-q", "-c", link).returncode == Exit.DONE
    lose(world)
    said = s3nap("bootstrap", *at(world), "--target", tmp_path / "root")
    assert said.returncode == Exit.DONE, said.stderr
    assert (tmp_path / "root" / str(world.diffdir).lstrip("/")).is_dir()


def test_several_confs_or_none(world: World, tmp_path: Path) -> None:
    """Of several confs one must be named, with status 14; a host without one, or without archives, is told apart."""
    world.days(0)
    other = world.base / "other.conf"
    other.write_text(world.conf.read_text().replace(str(world.diffdir), str(world.base)))
    assert s3nap("-q", "-c", other, "backup", "Conf").returncode == Exit.DONE
    lose(world)
    said = s3nap("bootstrap", *at(world))
    assert said.returncode == Exit.NOTHING
    assert all(name in said.stderr for name in ("Conf/s3nap.conf", "Conf/other.conf"))
    assert s3nap("bootstrap", "Conf/other.conf", *at(world)).returncode == Exit.DONE
    assert (other.is_file(), world.conf.exists()) == (True, False)
    assert s3nap("bootstrap", world.job, *at(world)).returncode == Exit.USAGE
    stranger = s3nap("bootstrap", "--bucket", world.storage.url, "--host", "stranger")
    assert (stranger.returncode, world.host in stranger.stderr) == (Exit.NOTHING, True)
    plain = World(tmp_path / "plain", host="plain")
    plain.days(0)
    said = s3nap("bootstrap", *at(plain))
    assert (said.returncode, "no stored conf" in said.stderr) == (Exit.NOTHING, True)


def test_what_is_still_to_do_is_said(world: World, tmp_path: Path) -> None:
    """What the conf needs and is not here, a host name that changed, a bucket that moved: each is named."""
    world.fill()
    phrase = world.base / "my.cnf"
    phrase.write_text("[client]\n")
    phrase.chmod(0o600)
    world.write_conf(f"MySQLDefaultsFile {phrase}", "MySQL all")
    text = world.conf.read_text().replace(f"Host {world.host}\n", "")
    world.conf.write_text(text)
    assert s3nap("-q", "-c", world.conf, "backup", "Conf").returncode == Exit.DONE
    (world.folder / "catalog").mkdir(exist_ok=True)
    moved = tmp_path / "moved"
    shutil.copytree(world.folder, moved)
    here = os.uname().nodename
    lose(world)
    said = s3nap("bootstrap", "--bucket", moved.as_uri(), "--host", here)
    assert said.returncode == Exit.DONE, said.stderr
    todo = said.stdout.partition("## Before the next run")[2].partition("\n## ")[0]
    assert f"MySQLDefaultsFile does not exist: {phrase}" in todo
    assert f"this was read from {moved.as_uri()}" in todo
    assert "has no Host" not in todo
    assert "MySQL/all" in said.stdout.partition("Nothing that restores")[2]
    for folder in ("catalog", "data"):
        (moved / folder / here).rename(moved / folder / "gone")
    for path in (moved / "catalog").rglob("*.json"):
        path.write_text(path.read_text().replace(f'"host": "{here}"', '"host": "gone"'))
    said = s3nap("bootstrap", "--bucket", moved.as_uri(), "--host", "gone")
    assert "write Host gone into" in said.stdout


def test_with_the_key_elsewhere(world: World, tmp_path: Path, gpg_home: GpgHome) -> None:
    """A machine that must not see the private key begins with opened envelopes, too."""
    world.days(0)
    lose(world)
    assert s3nap("keys", "Conf", *at(world), "--target", tmp_path / "keys").returncode == Exit.DONE
    (sealed,) = (tmp_path / "keys").iterdir()
    opened = tmp_path / "opened"
    subprocess.run(["gpg", "--batch", "--quiet", "--output", opened, "--decrypt", sealed], check=True)
    home = tmp_path / "nobody"
    home.mkdir(mode=0o700)
    environment = {**os.environ, "GNUPGHOME": str(home)}
    assert s3nap("bootstrap", *at(world), env=environment).returncode == Exit.KEY
    said = s3nap("bootstrap", *at(world), "--keys", opened, env=environment)
    assert said.returncode == Exit.DONE, said.stderr
    assert gpg_home.recipient in said.stdout.partition("## Before the next run")[2].partition("\n## ")[0]


# all that a host may have


@dataclass
class Host:
    """A host with a source of every kind that needs no server."""

    base: Path
    recipient: str

    def __post_init__(self) -> None:
        self.bucket, self.life = self.base / "bucket", self.base / "life"
        for folder in (self.bucket, self.life / "diffs", self.life / "www/sub", self.life / "home"):
            folder.mkdir(parents=True)
        (self.life / "www/page").write_text("page")
        (self.life / "home/letter").write_text("letter")
        for name in ("project", "many/one", "many/two"):
            (self.life / name).parent.mkdir(exist_ok=True)
            subprocess.run(["svnadmin", "create", self.life / name], check=True)
        with closing(sqlite3.connect(self.life / "app.db")) as connection:
            connection.execute("CREATE TABLE t (a)")
        self.conf = self.life / "main.conf"
        self.conf.write_text(
            f"DiffDir {self.life}/diffs\nBucket {self.bucket.as_uri()}\nGpgRecipient {self.recipient}\nHost web1\n"
            f"SQLite {self.life}/app.db\nSubversionDir {self.life}/many\nDirectory {self.life}/www\n"
            f"Subversion {self.life}/project\nDirectory {self.life}/home\n"
            f"<Command loaded>\nDiffs 0\nDump echo loaded\nLoad dd of={self.life}/loaded\n</Command>\n"
            "<Command kept>\nDiffs 0\nDump echo kept\n</Command>\n"
        )

    def check(self, restored: Path, lost: Path, *, repositories: Path, loaded: Path) -> None:
        """See that all is back."""
        inside = str(self.life).lstrip("/")
        assert (restored / "01-www" / inside / "www/page").read_text() == "page"
        assert (restored / "02-home" / inside / "home/letter").read_text() == "letter"
        assert next(restored.glob("*-app.db")).read_bytes() == (lost / "app.db").read_bytes()
        assert next(restored.glob("*-kept")).read_text() == "kept\n"
        assert loaded.read_text() == "loaded\n"
        for name in ("project", "many/one", "many/two"):
            uuids = [
                subprocess.run(["svnlook", "uuid", path], check=True, capture_output=True).stdout
                for path in (lost / name, self._repository(repositories, name))
            ]
            assert uuids[0] == uuids[1]

    def _repository(self, repositories: Path, name: str) -> Path:
        return (
            repositories / name if (repositories / name).exists() else next(repositories.glob(f"*-{Path(name).name}"))
        )


@pytest.fixture
def host(tmp_path: Path, gpg_home: GpgHome) -> Host:
    made = Host(tmp_path / "host", gpg_home.recipient)
    done = s3nap("-q", "-c", made.conf)
    assert (done.returncode, done.stderr) == (Exit.DONE, "")
    return made


def test_bootstrap_s_list_restores_a_host(host: Host, tmp_path: Path) -> None:
    """Every command that bootstrap prints, typed in that order, brings a source of each kind back."""
    lost = tmp_path / "lost"
    host.life.rename(lost)
    said = s3nap("bootstrap", "--bucket", host.bucket.as_uri(), "--host", "web1")
    assert said.returncode == Exit.DONE, said.stderr
    script = shell(said.stdout, "Restore, in this order")
    words = ["Directory", "Directory", "SQLite", "SubversionDir", "SubversionDir", "Subversion", "Command", "Command"]
    assert sorted(re.findall(r"restore (\w+)/", script)) == sorted(words)
    assert re.findall(r"restore (\w+)/", script)[:2] == ["Directory"] * 2
    assert re.findall(r"restore (\w+)/", script)[-2:] == ["Command"] * 2
    assert script.index("/www") < script.index("/home ")
    restored = tmp_path / "restored"
    typed(script.replace("/mnt/restored", str(restored)), cwd=tmp_path)
    host.check(restored, lost, repositories=host.life, loaded=host.life / "loaded")
    install = shell(said.stdout, "Install")
    assert set(install.split()) >= {"gnupg", "subversion", "tar", "zstd"}


def test_the_runbook_restores_a_host_by_both_ways(host: Host, tmp_path: Path, gpg_home: GpgHome) -> None:
    """What was printed before, on paper, restores with s3nap and, with sh alone, all but what Load does."""
    book = s3nap("runbook", "-c", host.conf)
    assert book.returncode == Exit.DONE, book.stderr
    text = book.stdout
    for fact in (host.bucket.as_uri(), "web1", str(host.conf), *_fingerprints(gpg_home)):
        assert fact in text
    lost = tmp_path / "lost"
    host.life.rename(lost)
    typed(shell(text, "Begin"), cwd=tmp_path)
    assert host.conf.read_bytes() == (lost / "main.conf").read_bytes()
    restored, plain = tmp_path / "restored", tmp_path / "by-sh"
    typed(shell(text, "Restore, in this order").replace("/mnt/restored", str(restored)), cwd=tmp_path)
    host.check(restored, lost, repositories=host.life, loaded=host.life / "loaded")
    typed(shell(text, "Without s3nap").replace("/mnt/restored-by-sh", str(plain)), cwd=tmp_path)
    assert (plain / "00-conf" / str(host.conf).lstrip("/")).read_bytes() == host.conf.read_bytes()
    host.check(plain, lost, repositories=plain, loaded=next(plain.glob("*-loaded")))


def _fingerprints(home: GpgHome) -> Iterator[str]:
    listed = subprocess.run(
        ["gpg", "--batch", "--with-colons", "--list-keys", home.recipient], check=True, capture_output=True, text=True
    ).stdout
    yield next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))


def test_a_runbook_of_nothing(tmp_path: Path, gpg_home: GpgHome) -> None:
    """Before the first run there is nothing that a runbook could promise."""
    world = World(tmp_path, extra=[f"GpgRecipient {gpg_home.recipient}"])
    said = s3nap("runbook", "-c", world.conf)
    assert (said.returncode, "run it once" in said.stderr) == (Exit.NOTHING, True)


def test_a_runbook_without_a_stored_conf(world: World) -> None:
    """Where the conf is not stored, the runbook says so and goes on."""
    world.extra = [line for line in world.extra if "Gpg" not in line]
    world.write_conf()
    world.days(0)
    text = s3nap("runbook", "-c", world.conf).stdout
    assert "**not** in the bucket" in text
    assert "bootstrap" not in text
    assert "gpg" not in shell(text, "Restore, in this order")


# the parts


def _known(kind: str, source: str, *, cycle: str = "", **facts: Any) -> tuple[Job, JobCatalog]:
    name = f"{cycle}{kind}/{source.strip('/')}"
    job = replace(archives.job(SimpleCycle(), name), kind=kind, source=source)
    settings = {"PostgreSQLHost": Setting(value="/run/pg", origin="")} if kind == "PostgreSQL" else {}
    made = archives.archive(archives.EPOCH, job=name, kind=kind, source=source, **facts)
    return replace(job, settings=settings), JobCatalog(name, [made])


def test_databases_come_after_files_and_before_commands() -> None:
    """Directories in the order of the conf, then repositories and files, then databases, then commands."""
    given = [
        _known("Command", "ldap"),
        _known("MySQL", "all", stream="sql", programs={"mariadb-dump": "10.11"}, proof={"server": "10.11.6"}),
        _known("PostgreSQL", "bob@shop", stream="sql", programs={"pg_dump": "15"}),
        _known("SQLite", "/app.db", stream="raw"),
        _known("Directory", "/z", stream="tar"),
        _known("Subversion", "/p", stream="svndump", programs={"svnadmin": "1.14"}),
        _known("Directory", "/a", stream="tar", cycle="c/"),
        _known("Directory", "/lacking/part", stream="tar"),  # that it is there does not mean that all of it is
        _known(CONF, "main.conf", stream="tar"),
    ]
    known = {item.job: item for _, item in reversed(given)}
    known["Directory/gone"] = _known("Directory", "/gone")[1]
    lacking = _known("Directory", "/lacking")[0]
    found = order([*(job for job, _ in given), lacking], known, Way(where=["--bucket", "file:///b c"], pinned=True))
    assert [step.manifest.job for step in found.steps] == [
        *("Directory/z", "c/Directory/a", "Directory/lacking/part", "SQLite/app.db", "Subversion/p"),
        *("MySQL/all", "PostgreSQL/bob@shop", "Command/ldap"),
    ]
    assert (found.missing, found.others) == (["Directory/lacking"], ["Directory/gone"])
    run = found.steps[0].manifest.run
    assert found.steps[0].command == (
        f"s3nap restore Directory/z --bucket 'file:///b c' --at {run} --target \"$TARGET\"/01-z"
    )
    assert found.steps[6].command == (
        f"s3nap restore PostgreSQL/bob@shop --bucket 'file:///b c' --at {run} --db-host /run/pg"
    )
    packages = {need.package: need.version for need in needs(step.manifest for step in found.steps)}
    assert packages["mariadb-server"] == "10.11.6"
    assert {"mariadb-client", "postgresql", "postgresql-client", "subversion"} <= packages.keys()


def test_sizes_and_time_are_those_of_the_chain() -> None:
    """What a DIFF needs below it counts; a clock that went back makes no time negative."""
    start = archives.archive(archives.EPOCH).manifest.started
    full = archives.archive(
        archives.EPOCH, raw_size=1000, stored_size=100, started=start, finished=start + timedelta(minutes=90)
    )
    later = start + timedelta(days=1)
    diff = archives.archive(
        *(archives.EPOCH + timedelta(days=1), 1),
        parent=full,
        raw_size=10,
        stored_size=1,
        started=later,
        finished=later - timedelta(hours=5),
    )
    job = archives.job(SimpleCycle())
    (step,) = order([job], {job.name: JobCatalog(job.name, [full, diff])}, Way(where=[])).steps
    assert (step.raw_size, step.stored_size, step.expected) == (1010, 101, timedelta(minutes=90))
    assert chain(diff, {full.run: full, diff.run: diff}) == list(step.links)
    assert [lasting(timedelta(seconds=each)) for each in (5, 130, 5400)] == [
        *("under a minute", "about 2 min", "about 1 h 30 min")
    ]


def test_doubts_are_said() -> None:
    """An archive of a source that looked empty is not recommended without a word."""
    doubtful = archives.archive(archives.EPOCH, brake="/etc is empty", complete=False)
    job = archives.job(SimpleCycle())
    (step,) = order([job], {job.name: JobCatalog(job.name, [doubtful])}, Way(where=[])).steps
    assert len(step.doubts) == 2
    assert "/etc is empty" in step.doubts[0]


def test_put_back_never_leaves_its_target(tmp_path: Path) -> None:
    """A link in the target that leads elsewhere is not followed, and a folder in the way is not replaced."""
    restored, target, outside = tmp_path / "restored", tmp_path / "target", tmp_path / "outside"
    (restored / "etc").mkdir(parents=True)
    (restored / "etc/main.conf").write_text("conf")
    for folder in (target, outside):
        folder.mkdir()
    (target / "etc").symlink_to(outside)
    with pytest.raises(UsageError, match="outside"):
        put_back(restored, target, overwrite=True)
    assert list(outside.iterdir()) == []
    (target / "etc").unlink()
    (target / "etc/main.conf").mkdir(parents=True)
    with pytest.raises(UsageError, match="is a folder"):
        put_back(restored, target, overwrite=True)


def test_put_back_keeps_modes_and_replaces_links_themselves(tmp_path: Path) -> None:
    """A conf comes back as private as it was, and --overwrite does not write through a link."""
    restored, target = tmp_path / "restored", tmp_path / "target"
    restored.mkdir()
    target.mkdir()
    (restored / "main.conf").write_text("conf")
    (restored / "main.conf").chmod(0o4600)
    other = tmp_path / "other"
    other.write_text("other")
    (target / "main.conf").symlink_to(other)
    with pytest.raises(UsageError, match="in the way"):
        put_back(restored, target, overwrite=False)
    assert put_back(restored, target, overwrite=True) == [(target / "main.conf", True)]
    assert other.read_text() == "other"
    assert (target / "main.conf").lstat().st_mode == 0o100600
    assert put_back(restored, target, overwrite=False) == [(target / "main.conf", False)]
