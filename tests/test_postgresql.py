"""PostgreSQL: what is in a server goes out whole, or not at all, and comes back the same."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest
from servers import Backups, Postgres

_COLUMNS = ", ".join(f"c{n} text DEFAULT 'wide'" for n in range(600))
_SHOP = f"""\
CREATE EXTENSION pg_trgm;
CREATE SCHEMA "Odd ""name";
CREATE TYPE mood AS ENUM ('sad', 'ok 😀');
CREATE TABLE customer (id serial PRIMARY KEY, name text UNIQUE, data bytea, born date, feeling mood DEFAULT 'ok 😀',
  twice int GENERATED ALWAYS AS (id * 2) STORED, facts jsonb, tags text[]);
CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES customer ON DELETE CASCADE,
  at timestamptz DEFAULT '2020-01-02 03:04:05.678901+00', price numeric(12, 4) CHECK (price >= 0));
CREATE TABLE "Odd ""name".rows ("order" int, "ünï" text);
CREATE TABLE nothing ();
CREATE TABLE wide (id int PRIMARY KEY, {_COLUMNS});
CREATE TABLE part (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
INSERT INTO customer (name, data, born, facts, tags)
  SELECT 'Ümläut 😀 ' || n, decode(md5(n::text), 'hex'), '2000-02-29', '{{"a": [1]}}', '{{x,"y z"}}'
  FROM generate_series(1, 4000) n;
INSERT INTO customer (name, data) VALUES (NULL, NULL), (E'''";\\\\\\\\ \\n\\r\\t\\\\.', '\\x00ff0d0a');
INSERT INTO orders (id, customer, price) SELECT n, 1 + n % 4000, n / 7.0 FROM generate_series(1, 3000) n;
INSERT INTO "Odd ""name".rows VALUES (1, E'a\\tb');
INSERT INTO wide (id) VALUES (1), (2);
INSERT INTO part VALUES (1, '2020-06-01');
CREATE INDEX ON customer USING gin (name gin_trgm_ops);
CREATE VIEW recent AS SELECT c.name, count(*) AS n FROM customer c JOIN orders o ON o.customer = c.id GROUP BY c.name;
CREATE MATERIALIZED VIEW kept AS SELECT * FROM recent WHERE n > 0;
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
  -- Name: x; Type: DATABASE; Schema: -; Owner: y
  DELETE FROM "Odd ""name".rows; RETURN OLD; END$$;
CREATE TRIGGER noted AFTER DELETE ON orders FOR EACH ROW EXECUTE FUNCTION noted();
CREATE PROCEDURE tidy(days int) LANGUAGE sql AS $$DELETE FROM orders WHERE id < days$$;
SELECT lo_from_bytea(4711, '\\xdeadbeef');
COMMENT ON TABLE customer IS 'é 😀';
"""
_ROWS = """\
SELECT format('SELECT %1$L, md5(string_agg(md5(t::text), '''' ORDER BY t::text)) FROM %1$s t', c.oid::regclass)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'm')
AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1"""
_LOCALE = "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = '{}'"


@pytest.fixture
def shop(postgres: Postgres) -> Iterator[Postgres]:
    drop = (
        "SELECT format('DROP DATABASE %I;', datname) FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"
    )
    for statement in postgres.sql(drop).splitlines():
        postgres.sql(statement)
    postgres.sql("CREATE DATABASE shop TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    postgres.sql(_SHOP, "shop")
    yield postgres
    postgres.sql("DROP TABLE IF EXISTS mine")


def _contents(server: Postgres, database: str) -> tuple[str, str, str]:
    """Hashes of the rows of all tables, all definitions and rows as a dump has them, encoding and locale."""
    rows = "".join(server.sql(query, database) for query in server.sql(_ROWS, database).splitlines())
    command = ["pg_dump", f"-h{server.socket}", "-Upostgres", database]
    text = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    return rows, re.sub(r"(?m)^\\(un)?restrict .*$", "", text), server.sql(_LOCALE.format(database))


def _conf(backups: Backups, server: Postgres, *lines: str) -> None:
    backups.write(f"PostgreSQLHost {server.socket}", *lines)


def _restore(backups: Backups, server: Postgres, *words: str, status: int = 0) -> str:
    return backups.run("restore", *words, "--db-host", str(server.socket), status=status)


@pytest.mark.parametrize("kind", ["plain", "custom"])
def test_a_database_comes_back_as_it_was(shop: Postgres, backups: Backups, kind: str) -> None:
    """Every row, view, function, trigger, large object and locale survives, under the old name and a new one."""
    before = _contents(shop, "shop")
    _conf(backups, shop, "PostgreSQL postgres@shop", f"PostgreSQLFormat {kind}", "ChunkSize 64K")
    backups.back_up()
    (manifest,) = backups.manifests()
    counted = {"tables": 7, "views": 2, "routines": 2, "triggers": 1, "sequences": 1}
    assert {key: manifest["proof"][key] for key in counted} == counted
    assert manifest["stream"] == ("sql" if kind == "plain" else "pgcustom")
    assert manifest["programs"]["pg_dump"] == manifest["proof"]["client"]
    _restore(backups, shop, "postgres@shop", "--database", "a=b 'c'")
    _restore(backups, shop, "postgres@shop", "--database", "copy")
    assert _contents(shop, "copy") == before
    shop.sql("DROP DATABASE shop")
    _restore(backups, shop, "postgres@shop")
    assert _contents(shop, "shop") == before


def test_all_databases_with_roles_come_back(shop: Postgres, postgres2: Postgres, backups: Backups) -> None:
    """A lost cluster is made anew from one archive: roles, rights, databases, and what postgres itself held."""
    shop.sql('CREATE ROLE "odd clerk" LOGIN; CREATE DATABASE "we ird=x"; CREATE TABLE mine ();')
    shop.sql('GRANT SELECT ON customer TO "odd clerk"', "shop")
    _conf(backups, shop, "PostgreSQL postgres@all", "ChunkSize 64K")
    backups.back_up()
    _restore(backups, postgres2, "postgres@all")
    assert _contents(postgres2, "shop") == _contents(shop, "shop")
    assert postgres2.sql("SELECT count(*) FROM customer", "shop", user="odd clerk") == "4002\n"
    said = _restore(backups, postgres2, "postgres@all", status=2)
    assert "the server holds databases already (shop, we ird=x, postgres)" in said
    postgres2.sql("DELETE FROM orders; CREATE TABLE newer ()", "shop")
    postgres2.sql("CREATE DATABASE other")
    _restore(backups, postgres2, "postgres@all", "--overwrite")
    assert _contents(postgres2, "shop") == _contents(shop, "shop")
    assert postgres2.sql("SELECT count(*) FROM pg_database WHERE datname IN ('other', 'we ird=x')") == "2\n"
    assert "is for archives of one" in _restore(backups, shop, "postgres@all", "--database", "x", status=2)
    shop.sql('REVOKE ALL ON customer FROM "odd clerk"', "shop")
    shop.sql('DROP ROLE "odd clerk"')


def test_data_is_overwritten_only_when_that_is_asked_for(shop: Postgres, backups: Backups) -> None:
    """A restore into the wrong server must not cost what is there; one that is asked for leaves nothing else behind."""
    before = _contents(shop, "shop")
    _conf(backups, shop, "PostgreSQL postgres@shop")
    backups.back_up()
    shop.sql("DELETE FROM orders; CREATE TABLE newer ()", "shop")
    assert "shop exists already and is not empty" in _restore(backups, shop, "postgres@shop", status=2)
    assert shop.sql("SELECT count(*) FROM newer", "shop") == "0\n"
    _restore(backups, shop, "postgres@shop", "--overwrite")
    assert _contents(shop, "shop") == before


def test_what_does_not_load_is_no_success(shop: Postgres, backups: Backups) -> None:
    """An error of the server ends the restore in its words; less than was counted is reported, too."""
    _conf(backups, shop, "PostgreSQL postgres@shop")
    backups.fake("pg_dump", "echo 'CREATE TABLE t ();'; echo '-- PostgreSQL database dump complete'")
    backups.back_up()
    assert "1 tables instead of 7" in _restore(backups, shop, "postgres@shop", "--database", "less", status=13)
    backups.fake("pg_dump", "echo 'NONSENSE;'; echo '-- PostgreSQL database dump complete'")
    backups.back_up()
    said = _restore(backups, shop, "postgres@shop", "--database", "wrong", status=1)
    assert 'syntax error at or near "NONSENSE"' in said


_DUMP = '/usr/bin/pg_dump "$@" 2> /dev/null | head -c 20000'


@pytest.mark.parametrize(
    ("script", "said", "temp"),
    [
        (f"{_DUMP}; kill -9 $$", "was killed by signal 9", "Off"),
        (f"{_DUMP}; echo it broke >&2; exit 3", "pg_dump ended with status 3: it broke", "Off"),
        (_DUMP, "lacks 'PostgreSQL database dump complete' at the end", "Off"),
        ("exit 0", "wrote nothing", "Off"),
        (f"{_DUMP}; sleep 60", "did not end within Timeout (3 seconds)", "Off"),
        (_DUMP, "at the end", "On"),
        (f"{_DUMP}; sleep 60", "did not end within Timeout (3 seconds)", "On"),
    ],
    ids=["killed", "status", "half", "nothing", "hanging", "half to a file", "hanging to a file"],
)
def test_a_bad_dump_leaves_what_there_was(shop: Postgres, backups: Backups, script: str, said: str, temp: str) -> None:
    """However a dump goes wrong: no archive of it, the old one whole, the other job done, exit 1."""
    (backups.folder / "etc").mkdir()
    lines = (f"UseTempFile {temp}", f"Directory {backups.folder}/etc", "<PostgreSQL postgres@shop>")
    _conf(backups, shop, *lines, "</PostgreSQL>")
    backups.back_up()
    _conf(backups, shop, *lines, f"Timeout {3 if 'sleep' in script else 60}", "</PostgreSQL>")
    old, first = backups.objects(), backups.manifests("Directory")[-1]
    backups.fake("pg_dump", script)
    assert said in backups.back_up(status=1)
    ours = {file for file in backups.objects() if "PostgreSQL" in str(file)}
    assert ours == {file for file in old if "PostgreSQL" in str(file)}
    assert backups.manifests("Directory")[-1]["run"] != first["run"]
    _restore(backups, shop, "postgres@shop", "--database", "copy")


def test_a_refusal_of_the_server_is_told_in_its_words(shop: Postgres, backups: Backups) -> None:
    """A wrong host, user or name of a database is recognised from the message; nothing asks for a password."""
    _conf(
        backups, shop, "PostgreSQL postgres@nope nobody@shop", "<PostgreSQL x>\nPostgreSQLHost /nowhere\n</PostgreSQL>"
    )
    said = backups.back_up(status=1)
    assert 'database "nope" does not exist' in said
    assert 'role "nobody" does not exist' in said
    assert "/nowhere" in said
    assert not backups.manifests()


def test_a_missing_program_is_named(shop: Postgres, backups: Backups, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pg_dump the job fails with what to install."""
    monkeypatch.setenv("PATH", f"{backups.folder}/bin")
    _conf(backups, shop, "Compression none", "PostgreSQL postgres@shop")
    assert "pg_dump is not installed" in backups.back_up(status=1)


def test_lost_tables_do_not_push_out_old_archives(shop: Postgres, backups: Backups) -> None:
    """A database that suddenly holds few tables is kept beside what was before, with exit 3."""
    _conf(backups, shop, "PostgreSQL postgres@shop", "Fulls 1")
    backups.back_up()
    shop.sql('DROP TABLE orders, wide, nothing, part, "Odd ""name".rows CASCADE', "shop")
    assert "holds 1 tables, it held 7" in backups.back_up(status=3)
    assert len(backups.manifests()) == 2


def test_a_database_that_lets_nobody_in_is_missed(shop: Postgres, backups: Backups) -> None:
    """pg_dumpall leaves such a database out without a word; s3nap calls the archive incomplete."""
    shop.sql("CREATE DATABASE closed ALLOW_CONNECTIONS false")
    _conf(backups, shop, "PostgreSQL postgres@all")
    assert "database closed lets nobody in" in backups.back_up(status=3)
    assert backups.manifests()[0]["complete"] is False


def test_what_cannot_be_is_refused_in_the_conf(shop: Postgres, backups: Backups) -> None:
    """Custom format for all databases, a format among the options: said before anything runs."""
    _conf(backups, shop, "PostgreSQL all", "PostgreSQLFormat custom")
    assert "PostgreSQL all can only be dumped as plain" in backups.back_up(status=2)
    _conf(backups, shop, "PostgreSQL shop", "PostgreSQLOptions -Fc")
    assert "PostgreSQLFormat chooses the format" in backups.back_up(status=2)


def test_options_reach_the_dump_and_the_count(shop: Postgres, backups: Backups) -> None:
    """What is left out on purpose is not missed at a restore; user and host may stand among the options."""
    backups.write(f"PostgreSQLOptions -h {shop.socket} --username=postgres --table=customer", "PostgreSQL shop")
    backups.back_up()
    assert "tables" not in backups.manifests()[0]["proof"]
    assert backups.manifests()[0]["files"] == 7
    script = backups.run("recipe", "shop")
    assert "psql -X -v ON_ERROR_STOP=1" in script
