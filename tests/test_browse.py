"""The terminal browser, driven by keys alone on a real bucket."""

from __future__ import annotations

import asyncio
import os
import pty
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from daily import FIRST, Daily
from keys_fixture import GpgHome
from textual.pilot import Pilot
from textual.widgets import DataTable
from textual.widgets._footer import FooterKey

from s3nap.browser import Browser, _Preview
from s3nap.cli import cli
from s3nap.daytree import DayTrees
from s3nap.errors import Exit, UsageError
from s3nap.names import readable
from s3nap.outlook import Outlook
from s3nap.tour import Tour

HOSTILE = b"[red]bold\x1b[31m\n\xff"
NOTHING = {"bucket": None, "host": None, "passphrase_file": None, "keys": (), "quiet": True, "verbose": False}
NOTHING |= {"trusted_signer": (), "unsigned": False}
NOTHING |= {"debug": False, "endpoint": None, "region": None, "key_file": None}


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """A folder that is few steps away."""
    folder = Path(tempfile.mkdtemp(prefix="s3nap-test-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def world(base: Path, gpg_home: GpgHome) -> Daily:
    """Two days of a tree and a database; the second is a DIFF or a FULL, as the cycle has it."""
    tmp_path = base
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "a.txt").write_text("first\n\x1b[31mred\n")
    (tree / "b.bin").write_bytes(bytes(range(256)) * 100)
    (tree / "long.txt").write_text("line\n" * 20_000)
    (tree / "sub" / "deep").write_text("deep\n")
    (tree / "link").symlink_to("a.txt")
    Path(os.fsdecode(os.fsencode(tree) + b"/" + HOSTILE)).write_text("odd\n")
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        connection.execute("CREATE TABLE t (a)")
    world = Daily(tmp_path / "m", f"GpgRecipient {gpg_home.recipient}\nDirectory {tree}\nSQLite {tmp_path}/app.db")
    for day, text in enumerate(("first\n\x1b[31mred\n", "second\n")):
        (tree / "a.txt").write_text(text)
        assert {result.status for result in world.run(day).values()} == {Exit.DONE}
    return world


@contextmanager
def tour(world: Daily) -> Iterator[Tour]:
    with Outlook([world.conf], NOTHING) as outlook:
        yield Tour(outlook.jobs, DayTrees(outlook.tree), outlook.pick, lambda: outlook.reader)


def drive(world: Daily, play: Callable[[Pilot[None], Browser], Any]) -> None:
    """Run the browser without a terminal, and play keys."""

    async def run(browser: Browser) -> None:
        async with browser.run_test(size=(120, 40)) as pilot:
            await pilot.pause()
            await play(pilot, browser)

    with tour(world) as found:
        asyncio.run(run(Browser(found)))


def shown(browser: Browser) -> list[str]:
    """The last cells of all rows: names, mostly."""
    table = browser.screen.query_one(DataTable)
    return [str(table.get_row_at(number)[-1]) for number in range(table.row_count)]


async def go(pilot: Pilot[None], browser: Browser, name: str) -> None:
    """Put the cursor on a row by the arrow keys."""
    table = browser.screen.query_one(DataTable)
    names = [
        str(cell) for cell in (table.get_row_at(n)[1 if "Day" in heads(table) else -1] for n in range(table.row_count))
    ]
    wanted = names.index(name)
    await pilot.press("home", *["down"] * wanted)
    assert table.cursor_row == wanted


def heads(table: DataTable[Any]) -> list[str]:
    return [str(column.label) for column in table.columns.values()]


async def enter_tree(pilot: Pilot[None], browser: Browser, tree: Path, day: int) -> None:
    """From the jobs into the directory that was backed up."""
    browser.screen.query_one(DataTable).move_cursor(row=0)
    assert "Directory" in str(browser.screen.query_one(DataTable).get_row_at(0)[1])
    await pilot.press("enter")
    await go(pilot, browser, str(FIRST + timedelta(days=day)))
    await pilot.press("enter")
    for part in tree.parts[1:]:
        await go(pilot, browser, f"{part}/")
        await pilot.press("enter")


def test_two_marked_files_are_restored(
    world: Daily, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By keys alone: into a day, a preview, two marks in two directories, a target; what is written is what was."""
    tree, target = base / "tree", tmp_path / "restored"
    monkeypatch.chdir(tmp_path)

    async def play(pilot: Pilot[None], browser: Browser) -> None:
        await enter_tree(pilot, browser, tree, 0)
        assert shown(browser)[-4:] == ["b.bin", "link -> a.txt", "long.txt", "sub/"]
        await go(pilot, browser, "a.txt")
        await pilot.press("enter")
        assert isinstance(browser.screen, _Preview)
        assert browser.screen.text == "first\n\\x1b[31mred\n"
        await pilot.press("escape")
        await pilot.press("space")
        await go(pilot, browser, "sub/")
        await pilot.press("enter", "space", "backspace")
        assert "2 marked" in str(browser.query_one("#where").render())
        await pilot.press("r")
        await pilot.press(*target.name, "enter")
        await pilot.pause()
        assert isinstance(browser.screen, _Preview)
        assert browser.screen.text == f"restored 2 marked to {target.name}"

    drive(world, play)
    there = target / tree.relative_to("/")
    assert (there / "a.txt").read_text() == "first\n\x1b[31mred\n"
    assert (there / "sub" / "deep").read_text() == "deep\n"
    assert {path.name for path in there.rglob("*")} == {"a.txt", "sub", "deep"}
    for name in ("a.txt", "sub/deep"):
        if name != "a.txt":
            assert (there / name).stat().st_mtime_ns == (tree / name).stat().st_mtime_ns


def test_marks_of_several_days_and_a_database(world: Daily, base: Path, tmp_path: Path) -> None:
    """What is marked in several days and jobs comes back side by side, none over the other."""
    target = tmp_path / "restored"
    with tour(world) as found:
        jobs = {row.name for row in found.rows()}
        for job in sorted(jobs):
            found.enter(job)
            for day in [row.name for row in found.rows()]:
                found.enter(day)
                inside = os.fsencode(base / "tree").strip(b"/").split(b"/")
                for part in inside if job.startswith(b"Directory") else []:
                    found.enter(part)
                assert found.toggle(b"a.txt" if job.startswith(b"Directory") else b"app.db")
                while found.day:
                    found.leave()
            found.leave()
        assert found.marks == 4
        found.restore(target, lambda _title, _total: _quiet())
        assert found.marks == 0
    texts = {path.read_text() for path in target.rglob("a.txt")}
    assert texts == {"first\n\x1b[31mred\n", "second\n"}
    copies = list(target.rglob("app.db"))
    assert len(copies) == 2
    assert {path.read_bytes() for path in copies} == {(base / "app.db").read_bytes()}
    assert {path.stat().st_mode & 0o777 for path in copies} == {0o600}


@contextmanager
def _quiet() -> Iterator[Callable[[int], None]]:
    yield lambda _size: None


def test_names_and_contents_do_no_harm(world: Daily, base: Path) -> None:
    """Hostile names are neither markup nor escapes; what is no text is not shown; long files end with a word."""

    async def play(pilot: Pilot[None], browser: Browser) -> None:
        await enter_tree(pilot, browser, base / "tree", 1)
        assert shown(browser)[0] == "[red]bold\\x1b[31m\\n\\xff"
        await pilot.pause()
        table = browser.query_one(DataTable)
        assert "[red]bold\\x1b[31m" in "".join(table.render_line(number).text for number in range(4))
        for name, said in (("b.bin", "no text"), ("long.txt", "there is more"), ("[red]bold\\x1b[31m\\n\\xff", "odd")):
            await go(pilot, browser, name)
            await pilot.press("enter")
            assert isinstance(browser.screen, _Preview)
            assert said in browser.screen.text
            await pilot.press("escape")

    drive(world, play)


def test_what_goes_wrong_is_shown_and_one_stays(
    world: Daily, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged chunk, a full target, nothing marked: a message each, and the browser goes on."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full" / "x").mkdir(parents=True)
    was = {chunk: chunk.read_bytes() for chunk in (world.path / "bucket").rglob("00000000.zst.gpg")}
    for chunk in was:
        chunk.write_bytes(b"damaged")

    async def play(pilot: Pilot[None], browser: Browser) -> None:
        said: list[str] = []
        browser.notify = lambda message, **_: said.append(message)  # type: ignore[method-assign,assignment]
        await pilot.press("r", "space")
        await enter_tree(pilot, browser, base / "tree", 0)
        await go(pilot, browser, "a.txt")
        await pilot.press("enter", "space", "r", *"full", "enter")
        await pilot.press("r", *"new", "enter")
        await pilot.press("r", "escape")
        assert [word for word, text in zip(WORDS, said, strict=True) if word not in text] == []
        assert "1 marked" in str(browser.query_one("#where").render())

    try:
        drive(world, play)
    finally:
        for chunk, content in was.items():
            chunk.write_bytes(content)


WORDS = ("nothing is marked", "go into a day", "00000000.zst.gpg", "is not empty", "00000000.zst.gpg")


def test_the_footer_shows_the_keys(world: Daily) -> None:
    """Nobody has to know a key by heart."""

    async def play(_pilot: Pilot[None], browser: Browser) -> None:
        await _pilot.pause()
        keys = {key.description for key in browser.screen.query(FooterKey)}
        assert {"Open, preview", "Up", "Mark", "Restore", "Unmark all", "Quit"} <= keys

    drive(world, play)


def test_it_runs_in_a_real_terminal(world: Daily) -> None:
    """The command itself starts on a terminal, shows the jobs, and q ends it with status 0."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    command = [sys.executable, "-m", "s3nap", "browse", "-c", str(world.conf)]
    process = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    seen = b""
    try:
        while b"Quit" not in seen:
            seen += os.read(leader, 65536)
        os.write(leader, b"q")
        while True:
            try:
                if not (piece := os.read(leader, 65536)):
                    break
            except OSError:  # the other end is closed
                break
            seen += piece
        assert process.wait(30) == 0
        assert b"Traceback" not in seen
        assert os.fsencode(readable("SQLite")) in seen
    finally:
        process.kill()
        os.close(leader)


def test_what_is_missing_is_said(world: Daily, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, or without a terminal, one clear error."""

    def invoke() -> BaseException | None:
        return CliRunner().invoke(cli, ["browse", "-c", str(world.conf)], standalone_mode=False).exception

    error = invoke()
    assert isinstance(error, UsageError)
    assert "needs a terminal" in str(error)
    monkeypatch.delitem(sys.modules, "s3nap.browser")
    monkeypatch.setitem(sys.modules, "textual", None)
    monkeypatch.setitem(sys.modules, "textual.app", None)
    error = invoke()
    assert isinstance(error, UsageError)
    assert "pip install 's3nap[browse]'" in str(error)
