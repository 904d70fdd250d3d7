"""Start-up: what commands that shall feel instant do not import, and that the tables of sources name what there is."""

from __future__ import annotations

import subprocess
import sys

import pytest
from small_world import World

from s3nap.sources import table

PROGRAM = """
import sys
from s3nap.cli import _status
status = _status(sys.argv[2:])
sys.stdout.flush()
print(status, *sorted(set(sys.argv[1].split()) & set(sys.modules)), file=sys.stderr)
"""
NETWORK = "botocore urllib3 http.client"
BROWSERS = "textual mfusepy rich"
SOURCES = "s3nap.sources.mysql s3nap.sources.postgresql s3nap.sources.subversion s3nap.sources.sqlite sqlite3"
CRYPTO = "gnupg zstandard xxhash s3nap.gpg s3nap.envelope s3nap.pipeline"
READING = "s3nap.reader s3nap.restore s3nap.chunks tarfile"
NOTICES = "apprise requests yaml markdown s3nap.notices s3nap.ping"
WRITING = "s3nap.backup s3nap.archiving s3nap.sources.directory"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("startup"), extra=["Notify json://127.0.0.1/x"])
    made.fill()
    made.days(0, 1)
    return made


def loaded(unwanted: str, *argv: str) -> list[str]:
    """Run a command; return which of the unwanted modules it imported."""
    argv = (sys.executable, "-c", PROGRAM, unwanted, *argv)
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    status, *found = done.stderr.splitlines()[-1].split()
    assert status == "0", done.stderr
    return found


def test_the_version_loads_nothing() -> None:
    """``--version`` waits for no library but click, and for no command."""
    unwanted = (
        f"{NETWORK} {NOTICES} {BROWSERS} {SOURCES} {CRYPTO} {READING} {WRITING} loguru asyncio apacheconfig dateutil"
    )
    commands = "s3nap.commands s3nap.reading s3nap.housekeeping s3nap.config"
    assert loaded(f"{unwanted} {commands}", "--version") == []


@pytest.mark.parametrize(
    ("command", "unwanted"),
    [
        (["list"], f"{NETWORK} {BROWSERS} {SOURCES} {CRYPTO} {READING} {WRITING} dateutil"),
        (["list", "--json"], f"{NETWORK} {BROWSERS} {SOURCES} {CRYPTO} {READING} {WRITING} dateutil"),
        (["plan"], f"{NETWORK} {BROWSERS} {SOURCES} {CRYPTO} {READING} {WRITING} dateutil"),
        (["ls", "Directory"], f"{NETWORK} {BROWSERS} {SOURCES} gnupg dateutil s3nap.restore s3nap.sources.directory"),
        (
            ["-t", "--date", "2024-01-08"],
            f"{NETWORK} {BROWSERS} {SOURCES} gnupg dateutil s3nap.reader s3nap.restore",
        ),
        (["-q", "--date", "2024-01-08"], f"{NETWORK} {BROWSERS} {SOURCES} gnupg dateutil s3nap.reader s3nap.restore"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_quick_commands_load_only_what_they_use(world: World, command: list[str], unwanted: str) -> None:
    """Looking, and a run with nothing due, load neither S3, nor sources, nor what restores, nor what tells people."""
    wanted = {"s3nap.notices"} if command[0] in {"-q", "-t"} else set()  # reads whom to tell, and tells nobody
    assert set(loaded(f"{unwanted} {NOTICES}", *command, "-c", str(world.conf))) == wanted


def test_the_probe_sees_what_is_loaded(world: World) -> None:
    """What a command does load is reported: an empty answer means something."""
    assert loaded("loguru s3nap.catalog botocore", "list", "-c", str(world.conf)) == ["loguru", "s3nap.catalog"]


@pytest.mark.parametrize("tables", [table.SOURCES, table.LOADERS, table.EXPANSIONS])
def test_every_line_of_the_tables_names_something(tables: dict[str, str]) -> None:
    """No kind's line is misspelt: all of them can be imported, and are called to be used."""
    assert all(callable(table.named(line)) for line in tables.values())
