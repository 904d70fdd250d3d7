"""Drills: what restores is found to restore, what does not is told, and nothing but the scratch folder is touched."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from keys_fixture import GpgHome
from servers import Backups, MariaDB, Postgres
from small_world import World, everything, s3nap

from s3nap import pipeline
from s3nap.drill import Driller
from s3nap.errors import DeniedError, Exit, VerificationError
from s3nap.manifest import from_json
from s3nap.reader import KeySource, Reader
from s3nap.sources import scratchserver
from s3nap.sources.pgneeds import provided
from s3nap.sources.scratchfile import DumpFile
from s3nap.storage import Data
from s3nap.storage.local import LocalStorage

_PATIENCE = 30


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder that all may enter, as the throw-away servers' user must; empty after every drill."""
    folder = Path(tempfile.mkdtemp(prefix="d-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    left = list(folder.iterdir())
    shutil.rmtree(folder)
    assert left == []


def drill(backups: Backups, scratch: Path, *words: str, status: int = 0) -> dict[str, Any]:
    """Drill one job; return what is said of it."""
    said = backups.run("drill", "--json", "--target", str(scratch), *words, status=status)
    (found,) = json.loads(said[said.index("[\n") : said.rindex("]") + 1])
    return dict(found)


def marks(bucket: Path) -> list[str]:
    """The marks of drills, by what they say."""
    names = sorted(file.name.partition(".drilled-")[2] for file in bucket.rglob("*.drilled-*"))
    return [name.partition("-")[2] for name in names]


def checked(world: World) -> str:
    done = s3nap("check", "--bucket", world.folder.as_uri(), "--host", world.host)
    return next(line.split()[0] for line in done.stdout.splitlines() if line.split()[1] == "drilled")


def drilled(world: World, scratch: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return s3nap("drill", "-c", world.conf, "--target", scratch, *words)


def test_a_chain_is_restored_compared_and_noted(tmp_path: Path, scratch: Path, gpg_home: GpgHome) -> None:
    """A drill of a whole chain says so, leaves a mark that check reads, and nothing else, here or there."""
    world = World(tmp_path, diffs=2, extra=[f"GpgRecipient {gpg_home.recipient}"])
    world.days(0, 1, 2)
    before = everything(world.folder, world.diffdir, world.tree)
    planned = drilled(world, scratch, "-n")
    assert (planned.returncode, "3 archives" in planned.stdout) == (0, True), planned.stderr
    assert everything(world.folder, world.diffdir, world.tree) == before
    done = drilled(world, scratch)
    assert (done.returncode, "compared with its index (3 archives" in done.stdout) == (0, True), done.stderr
    after = everything(world.folder, world.diffdir, world.tree)
    (added,) = after.keys() - before.keys()
    assert marks(world.folder) == ["index-1"]
    assert world.archives[-1].run in added
    assert checked(world) == "OK"


def test_damage_ends_with_13_and_is_noted(tmp_path: Path, scratch: Path) -> None:
    """A byte that is another is no drill passed: status 13, and check is critical from then on."""
    world = World(tmp_path, diffs=1)
    world.days(0, 1)
    chunk = world.folder / (world.archives[0].manifest.at.data + "00000000.zst")
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.chmod(0o600)
    chunk.write_bytes(data)
    done = drilled(world, scratch, "--json")
    assert done.returncode == Exit.VERIFICATION
    (found,) = json.loads(done.stdout)
    assert (found["outcome"], chunk.name in found["why"]) == ("differs", True)
    assert marks(world.folder) == ["failed"]
    assert checked(world) == "CRITICAL"


def test_what_tar_wrote_is_compared(backups: Backups, scratch: Path) -> None:
    """Programs that end well and write something else are found out."""
    tree = backups.folder / "tree"
    tree.mkdir()
    (tree / "file").write_text("contents")
    backups.write(f"Directory {tree}")
    backups.back_up()
    assert drill(backups, scratch, str(tree))["outcome"] == "restored"
    backups.fake("tar", f'{shutil.which("tar")} "$@" || exit; case $* in *--extract*) chmod 640 .{tree}/file;; esac')
    found = drill(backups, scratch, str(tree), status=Exit.VERIFICATION)
    assert (found["outcome"], "has mode 640" in found["why"]) == ("differs", True)


def test_without_the_key_nothing_is_said_of_the_archive(
    tmp_path: Path, scratch: Path, gpg_home: GpgHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine without the private key a drill fails with 12, and leaves no mark that it failed."""
    world = World(tmp_path, extra=[f"GpgRecipient {gpg_home.recipient}"])
    world.days(0)
    empty = Path(tempfile.mkdtemp(prefix="g-", dir="/tmp"))
    monkeypatch.setenv("GNUPGHOME", str(empty))
    done = drilled(world, scratch, "--json")
    shutil.rmtree(empty)
    assert (done.returncode, json.loads(done.stdout)[0]["outcome"]) == (Exit.KEY, "hindered")
    assert marks(world.folder) == []


def test_where_marks_may_not_be_put_the_drill_counts_all_the_same(tmp_path: Path, scratch: Path) -> None:
    """Credentials that may only read are enough for a drill."""

    class ReadOnly(LocalStorage):
        def put(self, key: str, data: Data) -> None:  # noqa: ARG002 - the Protocol's signature
            raise DeniedError(f"{key}: denied")

    world = World(tmp_path)
    world.days(0)
    storage = ReadOnly(world.folder)
    with Reader(storage, KeySource()) as reader:
        done = Driller(storage, [scratch], run_commands=False).drill(reader, world.archives, datetime.now(UTC))
    assert (done.outcome, done.mark) == ("restored", None)


def test_which_archives_are_drilled(tmp_path: Path, scratch: Path) -> None:
    """The newest that restores; with --random only such; of all hosts; what does not exist is said with 14."""
    world = World(tmp_path, diffs=1)
    world.days(0, 1, 2)
    first, second, third = world.archives
    world.storage.put(third.manifest.at.mark("distrust"), b"")
    world.storage.put(first.manifest.at.mark("distrust"), b"")
    hopeless = drilled(world, scratch, "--json")
    assert (hopeless.returncode, json.loads(hopeless.stdout)[0]["run"]) == (Exit.FAILED, None)
    world.storage.delete([first.manifest.at.mark("distrust")])
    assert json.loads(drilled(world, scratch, "--json", "-n").stdout)[0]["run"] == second.run
    chosen = {json.loads(drilled(world, scratch, "--json", "-n", "--random").stdout)[0]["run"] for _ in range(4)}
    assert chosen <= {first.run, second.run}
    everywhere = s3nap("drill", "--bucket", world.folder.as_uri(), "--host", "x", "--all-hosts", "--json", "-n")
    assert [each["host"] for each in json.loads(everywhere.stdout)] == [world.host]
    assert drilled(world, scratch, "nothing").returncode == Exit.NOTHING


def test_too_little_room_is_said_before_anything_is_written(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk hinders a drill, and is no fault of the archive."""
    world = World(tmp_path)
    world.days(0)
    monkeypatch.setattr("s3nap.drill.free_space", lambda _folder: 100_000)
    driller = Driller(world.storage, [scratch], run_commands=False)
    with Reader(world.storage, KeySource()) as reader:
        done = driller.drill(reader, world.archives, datetime.now(UTC))
    assert (done.outcome, "give --target" in done.why, marks(world.folder)) == ("hindered", True, [])


def _commit(repository: Path, name: str) -> None:
    command = ["svn", "mkdir", "-q", "--non-interactive", "-m", name, f"{repository.as_uri()}/{name}"]
    subprocess.run(command, check=True)


def test_a_repository_a_database_and_a_command(backups: Backups, scratch: Path) -> None:
    """Each kind goes where it can be looked at; a Load command runs only when asked for, and in the scratch folder."""
    repository, database, loads = (backups.folder / name for name in ("repository", "a.db", "loads"))
    subprocess.run(["svnadmin", "create", repository], check=True)
    _commit(repository, "one")
    with closing(sqlite3.connect(database)) as made:
        made.execute("CREATE TABLE t (id)")
    load = f'"echo $PWD $S3NAP_DRILL >> {loads}; cat > loaded"'
    command = ("<Command notes>", "Shell On", "Dump echo notes", f"Load {load}", "</Command>")
    days = ("<Cycle d>", "Diffs 3", f"Subversion {repository}", "</Cycle>")
    backups.write("StoreConf Off", *days, f"SQLite {database}", *command)
    backups.back_up("--date", "2026-03-04")
    _commit(repository, "two")
    backups.back_up("--date", "2026-03-05")
    before = subprocess.run(["svnadmin", "dump", "-q", repository], check=True, capture_output=True).stdout
    found = drill(backups, scratch, "Subversion")
    assert (found["outcome"], found["how"], found["archives"]) == ("restored", "repository", 2)
    assert subprocess.run(["svnadmin", "dump", "-q", repository], check=True, capture_output=True).stdout == before
    assert drill(backups, scratch, "SQLite")["how"] == "database"
    found = drill(backups, scratch, "Command")
    assert (found["outcome"], found["how"], loads.exists()) == ("restored", "stream", False)
    found = drill(backups, scratch, "Command", "--run-commands")
    assert (found["outcome"], found["how"]) == ("restored", "command")
    where, said = loads.read_text().split()
    assert where == said
    assert Path(where).parent == scratch
    _prove(backups, "SQLite", tables=2)
    assert "1 tables instead of 2" in drill(backups, scratch, "SQLite", status=Exit.VERIFICATION)["why"]


def _prove(backups: Backups, kind: str, **proof: int | str) -> None:
    """Let the archives of a kind promise something else."""
    files = list(backups.folder.glob(f"bucket/catalog/h/**/{kind}/**/*.json"))
    assert files
    for file in files:
        plain = json.loads(file.read_text())
        plain["proof"] |= proof
        file.chmod(0o600)
        file.write_text(json.dumps(plain))


_SHOP = """\
CREATE DATABASE shop;
USE shop;
CREATE TABLE customer (id INT PRIMARY KEY);
CREATE TABLE elsewhere (id INT PRIMARY KEY) DATA DIRECTORY = '{folder}';
INSERT INTO customer VALUES (1), (2);
CREATE DEFINER = nobody@nowhere VIEW all_of_them AS SELECT * FROM customer;
CREATE EVENT at_once ON SCHEDULE EVERY 1 SECOND DO INSERT INTO customer SELECT MAX(id) + 1 FROM customer;
"""


def test_mysql(mariadb: MariaDB, backups: Backups, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump is loaded into a server of its own, whatever the user's files and environment say, and counted."""
    folder = Path(tempfile.mkdtemp(prefix="m-", dir="/tmp"))
    folder.chmod(0o777)
    mariadb.empty()
    mariadb.sql(_SHOP.format(folder=folder))
    for database in ("all", "shop"):
        backups.write(f'MySQL "{mariadb.socket}:{database}"', "StoreConf Off")
        backups.back_up()
    mariadb.sql("DROP DATABASE shop; CREATE DATABASE other")
    (backups.folder / ".my.cnf").write_text(f"[client]\nsocket={mariadb.socket}\nuser=root\npassword=x\nprotocol=tcp\n")
    monkeypatch.setenv("MYSQL_PWD", "y")
    for database in ("all", "shop"):
        found = drill(backups, scratch, f"{mariadb.socket}:{database}")
        assert (found["outcome"], found["how"], found["why"]) == ("restored", "server", "")
    monkeypatch.delenv("MYSQL_PWD")
    closed = backups.folder / "temp"
    backups.folder.chmod(0o700)
    if os.geteuid() == 0:  # the server is another user's
        found = drill(backups, closed, f"{mariadb.socket}:shop", "-n", status=Exit.FAILED)
        assert (found["outcome"], "may not enter" in found["why"]) == ("hindered", True)
    assert "would restore" in backups.run("drill", "-n", f"{mariadb.socket}:shop")  # TempDir is passed over
    assert "shop" not in mariadb.sql("SHOW DATABASES")
    assert [file for file in folder.rglob("*") if file.is_file()] == []
    shutil.rmtree(folder)
    _prove(backups, "MySQL", tables=3)
    found = drill(backups, scratch, f"{mariadb.socket}:shop", status=Exit.VERIFICATION)
    assert (found["outcome"], "2 tables instead of 3" in found["why"]) == ("differs", True)
    assert marks(backups.folder / "bucket")[-1] == "failed"
    assert "other" in mariadb.sql("SHOW DATABASES")


def test_without_a_server_a_dump_goes_to_a_file(
    mariadb: MariaDB, backups: Backups, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no server is installed the dump is written and its end looked at, and that is said."""
    mariadb.empty()
    mariadb.sql("CREATE DATABASE shop; CREATE TABLE shop.t (id INT)")
    backups.write(f'MySQL "{mariadb.socket}:shop"', "StoreConf Off")
    backups.back_up()
    programs = backups.folder / "few"
    programs.mkdir()
    (programs / "zstd").symlink_to(shutil.which("zstd") or "")
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(scratchserver, "_FOLDERS", ())
    pipeline._which.cache_clear()
    found = drill(backups, scratch, "MySQL")
    assert (found["outcome"], found["how"]) == ("restored", "file")
    assert "mariadbd is not installed" in found["remark"]


@pytest.mark.parametrize(
    ("stream", "text", "whole"),
    [
        ("sql", b"-- MariaDB dump 10\nCREATE\n-- Dump completed on 2026\n", True),
        ("sql", b"-- MariaDB dump 10\nCREATE\n", False),
        ("sql", b"--\n-- PostgreSQL database dump\n--\n-- PostgreSQL database dump complete\n", True),
        ("sql", b"--\n-- PostgreSQL database dump\n--\n", False),
        ("sql", b"CREATE TABLE without_comments\n", True),
        ("pgcustom", b"PGDMP", True),
        ("pgcustom", b"PG", False),
    ],
)
def test_the_end_of_a_dump(tmp_path: Path, stream: str, text: bytes, *, whole: bool) -> None:
    """A dump that begins with a comment must end with one."""
    world = World(tmp_path / "world")
    world.days(0)
    plain = json.loads(world.archives[0].manifest.to_json()) | {"stream": stream}
    manifest = from_json(json.dumps(plain).encode(), "")
    loader = DumpFile(tmp_path / "dump")
    loader.level(manifest, iter([text]))
    if whole:
        loader.finish(manifest)
    else:
        with pytest.raises(VerificationError):
            loader.finish(manifest)


_ROLES = """\
CREATE ROLE bob; CREATE ROLE "odd ""role";
CREATE DATABASE drilled OWNER bob;
\\connect drilled
CREATE TABLE customer (id int PRIMARY KEY);
ALTER TABLE customer OWNER TO bob;
ALTER TABLE customer ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON customer TO "odd ""role" USING (id > 0);
GRANT SELECT ON customer TO "odd ""role";
INSERT INTO customer VALUES (1), (2);
"""


def test_postgresql(postgres2: Postgres, backups: Backups, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dumps of one database and of all load though roles and tablespaces are elsewhere; no server in use is met."""
    space = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(space, "postgres")
    postgres2.sql(_ROLES)
    postgres2.sql(f"CREATE TABLESPACE fast LOCATION '{space}'")
    postgres2.sql("CREATE TABLE there (id int) TABLESPACE fast", database="drilled")
    where = (f"PostgreSQLHost {postgres2.socket}", "StoreConf Off")
    backups.write(
        *where,
        "PostgreSQL postgres@drilled postgres@all",
        "<Cycle c>",
        "PostgreSQLFormat custom",
        "PostgreSQL postgres@drilled",
        "</Cycle>",
    )
    backups.back_up()
    postgres2.sql("DROP DATABASE drilled")
    before = sorted(space.rglob("*"))
    monkeypatch.setenv("PGHOST", str(postgres2.socket))
    monkeypatch.setenv("PGHOSTADDR", "127.0.0.1")
    monkeypatch.setenv("PGOPTIONS", "-c nonsense=1")
    for job in ("PostgreSQL/postgres@drilled", "PostgreSQL/postgres@all", "c/PostgreSQL/postgres@drilled"):
        found = drill(backups, scratch, job)
        assert (found["outcome"], found["how"], found["why"]) == ("restored", "server", ""), job
    _prove(backups, "PostgreSQL", collate="xx_XX")
    found = drill(backups, scratch, "PostgreSQL/postgres@drilled", status=Exit.FAILED)
    assert (found["outcome"], found["mark"], "install that locale" in found["why"]) == ("hindered", None, True)
    for name in ("PGHOSTADDR", "PGHOST", "PGOPTIONS"):
        monkeypatch.delenv(name)
    assert "drilled" not in postgres2.sql("SELECT datname FROM pg_database").split()
    assert sorted(space.rglob("*")) == before
    shutil.rmtree(space)


def test_needs_are_met_across_pieces() -> None:
    """What a dump names is made before the line that names it goes on, wherever the stream was cut."""
    text = (
        b'x\nALTER TABLE t OWNER TO bob;\nGRANT ALL ON t TO "a ""b";\n' + b"y" * 200_000 + b"\nREVOKE ALL ON t FROM c;"
    )
    asked: list[bytes] = []
    sent = b""

    class Heard:
        def provide(self, lines: bytes) -> None:
            asked.append(lines)

    for cut in (1, 7, 40, len(text)):
        asked.clear()
        sent = b"".join(provided((text[at : at + cut] for at in range(0, len(text), cut)), Heard()))  # type: ignore[arg-type]
        assert sent == text
        heard = [line for lines in asked for line in lines.split(b"\n")]
        assert b"ALTER TABLE t OWNER TO bob;" in heard
        assert heard[-1] == b"REVOKE ALL ON t FROM c;"


def _processes(folder: Path) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words)
    return found


def _until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_server_goes_with_s3nap(mariadb: MariaDB, backups: Backups, scratch: Path, number: signal.Signals) -> None:
    """However a drill ends, its server is stopped and what was restored is removed."""
    mariadb.empty()
    mariadb.sql("CREATE DATABASE shop; CREATE TABLE shop.t (id INT)")
    backups.write(f'MySQL "{mariadb.socket}:shop"', "StoreConf Off")
    backups.back_up()
    real, begun = shutil.which("mariadb"), backups.folder / "begun"
    backups.fake("mariadb", f'case $* in *--binary-mode*) touch {begun}; exec sleep 30;; esac; exec {real} "$@"')
    command = [sys.executable, "-m", "s3nap", "drill", "-c", str(backups.conf), "--target", str(scratch)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert _until(lambda: begun.exists() or process.poll() is not None)
        assert [words for words in _processes(scratch) if "mariadbd" in words]
        process.send_signal(number)
        if not _until(lambda: process.poll() is not None):
            process.kill()
    assert process.returncode == (-number if number == signal.SIGKILL else Exit.INTERRUPTED)
    assert _until(lambda: not [words for words in _processes(scratch) if "mariadbd" in words])
    assert _until(lambda: not [file for file in scratch.rglob("*") if file.is_file()])
    for folder in scratch.iterdir() if number == signal.SIGKILL else ():
        shutil.rmtree(folder)
