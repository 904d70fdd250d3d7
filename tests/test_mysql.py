"""MySQL and MariaDB: what is in a server goes out whole, or not at all, and comes back the same."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from servers import Backups, MariaDB, peak_memory

_COLUMNS = ", ".join(f"c{n} VARCHAR(9) DEFAULT 'wide'" for n in range(400))
_SHOP = f"""\
CREATE DATABASE shop CHARACTER SET latin1 COLLATE latin1_german1_ci;
USE shop;
CREATE TABLE customer (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(90) CHARACTER SET utf8mb4, data LONGBLOB,
  born DATE, half DECIMAL(9, 3) AS (CHAR_LENGTH(name) / 2) STORED, facts JSON, UNIQUE (name)) ENGINE = InnoDB;
CREATE TABLE orders (id INT PRIMARY KEY, customer INT NOT NULL, at TIMESTAMP(6) NOT NULL DEFAULT '2020-01-02 03:04:05',
  FOREIGN KEY (customer) REFERENCES customer (id) ON DELETE CASCADE);
CREATE TABLE `odd ``name` (`order` INT, `ünï` TEXT);
CREATE TABLE nothing (a INT);
CREATE TABLE wide (id INT PRIMARY KEY, {_COLUMNS});
CREATE TABLE audit (id INT PRIMARY KEY AUTO_INCREMENT, what TEXT);
CREATE SEQUENCE ticket START WITH 7;
INSERT INTO customer (name, data, born, facts)
  SELECT CONCAT('Ümläut 😀 ', seq), UNHEX(MD5(seq)), '2000-02-29', '{{"a": [1]}}' FROM seq_1_to_4000;
INSERT INTO customer (name, data) VALUES (NULL, NULL), ('\\'";\\\\ \\0\\r\\n\\Z', x'00ff0d0a1a275c22');
INSERT INTO orders (id, customer) SELECT seq, 1 + seq % 4000 FROM seq_1_to_3000;
INSERT INTO wide (id) VALUES (1), (2);
INSERT INTO `odd ``name` VALUES (1, 'a\\tb');
CREATE VIEW recent AS SELECT c.name, COUNT(*) AS n FROM customer c JOIN orders o ON o.customer = c.id GROUP BY c.name;
CREATE VIEW again AS SELECT * FROM recent WHERE n > 0;
DELIMITER //
CREATE TRIGGER noted AFTER DELETE ON orders FOR EACH ROW BEGIN INSERT INTO audit (what) VALUES ('gone;'); END //
CREATE PROCEDURE tidy (IN days INT) BEGIN DELETE FROM orders WHERE id < days; SELECT 'é 😀'; END //
CREATE FUNCTION doubled (x INT) RETURNS INT DETERMINISTIC RETURN x * 2 //
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01' DO BEGIN CALL tidy(1); END //
DELIMITER ;
"""
_TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = '{}' AND table_type = 'BASE TABLE'"
_HOSTILE = (
    "CREATE DATABASE `we``ird 'x\"` ; CREATE TABLE `we``ird 'x\"`.t (a INT); INSERT INTO `we``ird 'x\"`.t VALUES (1);"
)


@pytest.fixture
def shop(mariadb: MariaDB) -> MariaDB:
    mariadb.empty()
    mariadb.sql(_SHOP)
    return mariadb


def _contents(server: MariaDB, database: str) -> tuple[str, str]:
    """Checksums of all tables, and all definitions and rows as a dump has them, without what differs by nature."""
    names = sorted(server.sql(_TABLES.format(database)).splitlines())
    quoted = ["`" + database + "`.`" + name.replace("`", "``") + "`" for name in names]
    sums = server.sql(f"CHECKSUM TABLE {', '.join(quoted)}") if quoted else ""
    options = ["--opt", "--routines", "--events", "--triggers", "--hex-blob", "--default-character-set=utf8mb4"]
    command = ["mariadb-dump", "--no-defaults", f"-S{server.socket}", "-uroot", *options, "--skip-dump-date", database]
    text = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    return sums.replace(f"{database}.", ""), re.sub(rf"(Database: |for database '){database}\b", r"\1", text)


def _charset(server: MariaDB, database: str) -> str:
    where = f"WHERE schema_name = '{database}'"
    return server.sql(f"SELECT default_collation_name FROM information_schema.schemata {where}")


def _job(server: MariaDB, database: str = "shop") -> str:
    return f'MySQL "{server.socket}:{database}"'


def test_a_database_comes_back_as_it_was(shop: MariaDB, backups: Backups) -> None:
    """Every row, blob, view, routine, trigger, event and character set survives, under the old name and a new one."""
    before, charset = _contents(shop, "shop"), _charset(shop, "shop")
    backups.write(_job(shop), "ChunkSize 64K")
    backups.back_up()
    (manifest,) = backups.manifests()
    counted = {"tables": 7, "views": 2, "routines": 2, "triggers": 1, "events": 1, "databases": 1}
    assert {key: manifest["proof"][key] for key in counted} == counted
    assert manifest["proof"]["server"].startswith("10.")
    assert manifest["programs"]["mariadb-dump"] == manifest["proof"]["client"]
    assert (manifest["stream"], manifest["files"]) == ("sql", 7)
    assert "database copy of" not in backups.run("restore", "MySQL" + f"{shop.socket}:shop", "--database", "copy")
    assert (_contents(shop, "copy"), _charset(shop, "copy")) == (before, charset)
    shop.sql("DROP DATABASE shop")
    backups.run("restore", f"{shop.socket}:shop")
    assert (_contents(shop, "shop"), _charset(shop, "shop")) == (before, charset)


def test_all_databases_with_users_and_grants_come_back(shop: MariaDB, mariadb2: MariaDB, backups: Backups) -> None:
    """A lost server is made anew from one archive: databases, accounts, rights."""
    shop.sql(_HOSTILE)
    shop.sql(
        "CREATE OR REPLACE USER clerk@localhost IDENTIFIED BY ''; GRANT SELECT ON shop.customer TO clerk@localhost;"
    )
    backups.write(_job(shop, "all"))
    backups.back_up()
    backups.run("restore", f"{shop.socket}:all", "--db-socket", str(mariadb2.socket))
    assert _contents(mariadb2, "shop") == _contents(shop, "shop")
    assert mariadb2.sql("SELECT a FROM `we``ird 'x\"`.t") == "1\n"
    assert mariadb2.sql("SELECT COUNT(*) FROM shop.customer", user="clerk") == "4002\n"
    assert mariadb2.sql("SHOW GRANTS FOR clerk@localhost") == shop.sql("SHOW GRANTS FOR clerk@localhost")
    with_data = backups.run("restore", f"{shop.socket}:all", "--db-socket", str(mariadb2.socket), status=2)
    assert "the server holds databases already (shop, " in with_data
    mariadb2.sql("CREATE DATABASE other; CREATE TABLE other.t (a INT); DELETE FROM shop.orders")
    backups.run("restore", f"{shop.socket}:all", "--db-socket", str(mariadb2.socket), "--overwrite")
    assert _contents(mariadb2, "shop")[0] == _contents(shop, "shop")[0]
    assert "t\n" in mariadb2.sql("SHOW TABLES IN other")
    assert "--database is for archives of one" in backups.run(
        "restore", f"{shop.socket}:all", "--database", "x", status=2
    )


def test_data_is_overwritten_only_when_that_is_asked_for(shop: MariaDB, backups: Backups) -> None:
    """A restore into the wrong server must not cost what is there; one that is asked for leaves nothing else behind."""
    before = _contents(shop, "shop")
    backups.write(_job(shop))
    backups.back_up()
    shop.sql("DELETE FROM shop.audit; CREATE TABLE shop.newer (a INT)")
    assert "shop exists already and is not empty" in backups.run("restore", f"{shop.socket}:shop", status=2)
    assert "newer" in shop.sql("SHOW TABLES IN shop")
    backups.run("restore", f"{shop.socket}:shop", "--overwrite")
    assert _contents(shop, "shop") == before


def test_a_restore_that_lacks_something_is_no_success(shop: MariaDB, backups: Backups) -> None:
    """A load that ends with 0 but brought less than was counted is reported, not praised."""
    backups.write(_job(shop))
    backups.back_up()
    shop.sql("DROP DATABASE shop")
    backups.fake("mariadb", 'case "$*" in *execute=*) exec /usr/bin/mariadb "$@";; *) cat > /dev/null;; esac')
    assert "0 tables instead of 7" in backups.run("restore", f"{shop.socket}:shop", status=13)


def test_a_damaged_statement_fails_in_the_clients_words(shop: MariaDB, backups: Backups) -> None:
    """An error of the server while loading ends the restore and is shown."""
    backups.write(_job(shop))
    backups.fake("mariadb-dump", "echo 'SELECT 1;'; echo 'NONSENSE;'; echo '-- Dump completed'")
    backups.back_up()
    said = backups.run("restore", f"{shop.socket}:shop", "--database", "copy", status=1)
    assert "ERROR 1064" in said
    assert "NONSENSE" in said


_DUMP = '/usr/bin/mariadb-dump "$@" 2> /dev/null | head -c 20000'


@pytest.mark.parametrize(
    ("script", "said", "temp"),
    [
        (f"{_DUMP}; kill -9 $$", "was killed by signal 9", "Off"),
        (f"{_DUMP}; echo it broke >&2; exit 3", "mariadb-dump ended with status 3: it broke", "Off"),
        (_DUMP, "lacks '-- Dump completed' at the end", "Off"),
        ("exit 0", "wrote nothing", "Off"),
        (f"{_DUMP}; sleep 60", "did not end within Timeout (3 seconds)", "Off"),
        (_DUMP, "at the end", "On"),
        (f"{_DUMP}; sleep 60", "did not end within Timeout (3 seconds)", "On"),
    ],
    ids=["killed", "status", "half", "nothing", "hanging", "half to a file", "hanging to a file"],
)
def test_a_bad_dump_leaves_what_there_was(shop: MariaDB, backups: Backups, script: str, said: str, temp: str) -> None:
    """However a dump goes wrong: no archive of it, the old one whole, the other job done, exit 1."""
    (backups.folder / "etc").mkdir()
    lines = (f"UseTempFile {temp}", f"Directory {backups.folder}/etc", f"<MySQL {shop.socket}:shop>")
    backups.write(*lines, "</MySQL>")
    backups.back_up()
    backups.write(*lines, f"Timeout {3 if 'sleep' in script else 60}", "</MySQL>")
    old, first = backups.objects(), backups.manifests("Directory")[-1]
    backups.fake("mariadb-dump", script)
    assert said in backups.back_up(status=1)
    assert len(backups.manifests("MySQL")) == 1
    assert {file for file in old if "MySQL" in str(file)} == {
        file for file in backups.objects() if "MySQL" in str(file)
    }
    assert backups.manifests("Directory")[-1]["run"] != first["run"]
    shop.sql("DROP DATABASE shop")
    backups.run("restore", f"{shop.socket}:shop")


def test_a_refusal_of_the_server_is_told_in_its_words(shop: MariaDB, backups: Backups) -> None:
    """A wrong socket, user or name of a database is recognised from the message alone."""
    backups.write(
        _job(shop, "nope"), "MySQL /nowhere/s:shop", f"<MySQL {shop.socket}:shop>\nMySQLOptions -u eve\n</MySQL>"
    )
    said = backups.back_up(status=1)
    assert "Unknown database 'nope'" in said
    assert "/nowhere/s" in said
    assert "Access denied for user 'eve'@'localhost'" in said
    assert not backups.manifests()


def test_a_missing_program_is_named(shop: MariaDB, backups: Backups, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any dump program the job fails with what to install."""
    for name in ("tar", "mariadb"):
        (backups.folder / "bin" / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", f"{backups.folder}/bin")
    backups.write("Compression none", _job(shop))
    assert "neither mariadb-dump nor mysqldump is installed" in backups.back_up(status=1)


def test_a_full_folder_of_temporary_files_fails_cleanly(shop: MariaDB, backups: Backups) -> None:
    """UseTempFile without room for the dump says so and leaves the old archive."""
    backups.write("UseTempFile On", _job(shop), "ChunkSize 16K")
    backups.back_up()
    old = backups.objects()
    command = shlex.join([sys.executable, "-m", "s3nap", "backup", "-f", "-c", str(backups.conf)])
    done = subprocess.run(["sh", "-c", f"ulimit -f 128; exec {command}"], capture_output=True, check=False)
    assert done.returncode == 1
    assert f"temporary file in TempDir {backups.folder}/temp cannot be written: File too large" in done.stderr.decode()
    assert backups.objects() == old
    assert not list((backups.folder / "temp").iterdir())


def test_lost_tables_do_not_push_out_old_archives(shop: MariaDB, backups: Backups) -> None:
    """A database that suddenly holds few tables, or shows few to us, is kept beside what was before, with exit 3."""
    backups.write(_job(shop), "Fulls 1")
    backups.back_up()
    shop.sql("USE shop; DROP VIEW again, recent; DROP TABLE orders, audit, wide, nothing")
    assert "holds 3 tables, it held 7" in backups.back_up(status=3)
    assert len(backups.manifests()) == 2
    shop.sql("DROP DATABASE shop; CREATE DATABASE shop")
    assert "holds no tables, it held 7" in backups.back_up(status=3)
    backups.run("restore", f"{shop.socket}:shop", "--at", backups.manifests()[0]["run"])


def test_options_take_back_defaults_and_reach_the_count(shop: MariaDB, backups: Backups) -> None:
    """What is left out on purpose is neither missed at a restore nor taken for a failure."""
    shop.sql("CREATE TABLE shop.old (a INT) ENGINE = MyISAM")
    options = f"--skip-routines --skip-comments -S {shop.socket} --user=root --skip-events"
    backups.write(f"MySQLOptions {options}", "MySQL shop")
    assert "1 tables have no transactions" in backups.back_up()
    (manifest,) = backups.manifests()
    assert {"routines", "events"}.isdisjoint(manifest["proof"])
    assert manifest["proof"]["tables"] == 8
    backups.run("restore", "MySQL/shop", "--db-socket", str(shop.socket), "--database", "copy")
    assert shop.sql("SELECT COUNT(*) FROM information_schema.routines WHERE routine_schema = 'copy'") == "0\n"


def test_secrets_come_from_a_private_file(shop: MariaDB, backups: Backups) -> None:
    """The password stands in a file that nobody else may read, in no argv, and nowhere in the conf."""
    shop.sql("CREATE OR REPLACE USER keeper@localhost IDENTIFIED BY 'p#w d'; GRANT ALL ON *.* TO keeper@localhost")
    secret = backups.folder / "my.cnf"
    secret.write_text(f"[client]\nuser = keeper\npassword = 'p#w d'\nsocket = {shop.socket}\n")
    backups.write(f"<MySQL shop>\nMySQLDefaultsFile {secret}\n</MySQL>")
    assert "MySQLDefaultsFile can be read by others" in backups.back_up(status=2)
    secret.chmod(0o600)
    seen = backups.folder / "seen"
    for name in ("mariadb", "mariadb-dump"):
        backups.fake(name, f'echo "$@" | tr "\\n" " " >> {seen}; echo >> {seen}; exec /usr/bin/{name} "$@"')
    backups.back_up()
    backups.run("restore", "shop", "--defaults-file", str(secret), "--database", "copy")
    assert "p#w" not in seen.read_text()
    assert all(line.startswith("--defaults-extra-file=") for line in seen.read_text().splitlines() if "SELECT" in line)
    backups.write("MySQLOptions --password=x", "MySQL shop")
    assert "could read a password here" in backups.back_up(status=2)


def test_the_raw_dump_and_the_recipe_need_no_s3nap(shop: MariaDB, backups: Backups) -> None:
    """The file that --target or the recipe writes is the dump itself, and says how to load it."""
    backups.write(_job(shop))
    backups.back_up()
    whole, by_recipe = backups.folder / "dump.sql", backups.folder / "recipe.sql"
    backups.run("restore", f"{shop.socket}:shop", "--target", str(whole))
    script = backups.folder / "restore.sh"
    script.write_text(backups.run("recipe", f"{shop.socket}:shop"))
    subprocess.run(["sh", str(script), str(by_recipe)], check=True, capture_output=True)
    assert whole.read_bytes() == by_recipe.read_bytes()
    assert re.search(rb"-- Dump completed", whole.read_bytes()[-200:])
    assert "mariadb DATABASE < NEW-FILE" in script.read_text()


def test_memory_does_not_grow_with_the_dump(mariadb: MariaDB, backups: Backups) -> None:
    """Ten times the data takes no more memory (promise 10)."""
    mariadb.empty()
    for name, rows in (("small", 15), ("large", 150)):
        mariadb.sql(
            f"CREATE DATABASE {name}; USE {name}; CREATE TABLE t (data LONGBLOB);"
            f"INSERT INTO t SELECT RANDOM_BYTES(1024) FROM seq_1_to_{rows * 488}"
        )
    peaks = {}
    for name in ("small", "large"):
        backups.write(_job(mariadb, name), "ChunkSize 256K", "Compression none")
        peaks[name] = peak_memory([sys.executable, "-m", "s3nap", "backup", "-f", "-c", str(backups.conf)])
    sizes = {Path(each["job"]).name: each["raw_size"] for each in backups.manifests()}
    assert max(sizes.values()) > 145_000_000
    assert peaks["large"] < peaks["small"] * 1.2
