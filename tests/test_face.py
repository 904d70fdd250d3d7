"""What people see: colours where they are wanted, lines that fit, silence with -q, progress for those who watch."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_world import World
from terminal import shown

from s3nap import colours
from s3nap.amounts import counted, size
from s3nap.progress import Expected, NamesIn, _Line

COLOUR = re.compile(r"\x1b\[\d")
NAMES = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM")


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("face"))
    made.fill()
    made.days(0, 1)
    return made


@pytest.mark.parametrize(
    ("said", "there", "here"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"CLICOLOR": "0"}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "0"}, True, False),
        ({"CLICOLOR_FORCE": "1", "TERM": "dumb"}, True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
    ],
)
def test_colours_are_where_the_environment_wants_them(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, str], there: bool, here: bool
) -> None:
    """On a terminal, not in a pipe; NO_COLOR forbids, FORCE_COLOR and CLICOLOR_FORCE order, as everywhere else."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert (colours.wanted(Screen()), colours.wanted(io.StringIO())) == (there, here)


def test_a_run_is_coloured_on_a_terminal_and_nowhere_else(world: World) -> None:
    """Green says done beside the word; a pipe, and who forbids it, gets no codes; a pipe that is told to gets them."""
    words = ["-c", world.conf, "--date", str(world.day(1)), "-f"]
    assert "\x1b[32mdone" in shown(words, columns=140)
    assert not COLOUR.search(shown(["list", "-c", world.conf], env={"NO_COLOR": "1"}))
    piped = subprocess.run(
        [sys.executable, "-m", "s3nap", *map(str, words)], check=True, capture_output=True, text=True
    )
    assert "\x1b" not in piped.stdout + piped.stderr
    forced = subprocess.run(
        [sys.executable, "-m", "s3nap", *map(str, words)],
        check=True,
        capture_output=True,
        text=True,
        env={"FORCE_COLOR": "1", "PATH": "/usr/bin:/bin"},
    )
    assert "\x1b[32mdone" in forced.stdout


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_lists_fit_a_terminal(world: World, columns: int) -> None:
    """No line is longer than the terminal is wide, whatever day it is; the state is always there to be read."""
    for words in (["list", "--date", "2031-01-01"], ["plan"], ["-t"]):
        seen = COLOUR.sub("", shown([*words, "-c", world.conf], columns=columns))
        assert max(map(len, seen.splitlines())) <= columns
    assert "restorable" in shown(["list", "-c", world.conf], columns=80)


def test_a_locale_without_lines_gets_hyphens(world: World) -> None:
    """Where the locale cannot show a character, no command ends for it."""
    tree = world.base / "tree"
    assert tree.is_dir()
    done = subprocess.run(
        [sys.executable, "-m", "s3nap", "list", "-c", str(world.conf)],
        check=True,
        capture_output=True,
        env={"PYTHONIOENCODING": "latin-1", "PATH": "/usr/bin:/bin"},
    )
    assert b"-------" in done.stdout
    assert done.stdout.isascii()


QUIET = (
    [],
    ["backup", "-f"],
    ["config", "validate"],
    ["list"],
    ["verify"],
    ["storage", "test"],
    ["hold", "Directory"],
    ["release", "Directory"],
    ["prune"],
    ["drill"],
    ["restore", "Directory", "--target", "TARGET"],
    ["rm", "Directory", "--at", "latest", "--yes"],  # there are two
)


def test_quiet_says_nothing_while_all_is_well(tmp_path: Path) -> None:
    """Cron mails whatever is said: with -q, on a terminal too, no command says anything if nothing is wrong."""
    world = World(tmp_path / "w")
    world.fill()
    day = ["--date", str(world.day(0))]
    for words in QUIET:
        words = [str(tmp_path / "target") if word == "TARGET" else word for word in words]  # noqa: PLW2901
        dated = [*words, *day] if not words or words[0] == "backup" else words
        assert (words, shown([*dated, "-q", "-c", world.conf])) == (words, "")


def test_a_quiet_list_shows_what_is_wrong(tmp_path: Path) -> None:
    """``list -q`` names the archives that somebody should look at, and no other."""
    world = World(tmp_path / "w")
    world.fill()
    world.days(0, 1)
    full, diff = world.archives
    world.storage.put(full.manifest.at.mark("distrust"), b"")
    seen = shown(["list", "-q", "-c", world.conf], columns=160)
    assert seen.count("NOT RESTORABLE") == len(world.archives) == 2
    world.storage.delete([full.manifest.at.mark("distrust")])
    world.storage.put(diff.manifest.at.mark("distrust"), b"")
    seen = shown(["list", "-q", "-c", world.conf], columns=160)
    assert str(diff.manifest.day) in seen
    assert str(full.manifest.day) not in seen


# progress


def test_a_run_tells_how_far_it_is_to_who_watches(tmp_path: Path) -> None:
    """The second FULL knows the first one's size and files; in a pipe, or with -q, nothing of it is seen."""
    world = World(tmp_path / "w")
    world.fill()
    words = ["backup", "--full", "-f", "-c", str(world.conf), "--date", str(world.day(0))]
    world.days(0)
    files = world.archives[0].manifest.files
    seen = shown(words, columns=200)
    assert re.search(rf"256.0 KiB of ~256.0 KiB, {files} of ~{files} files", seen)
    piped = subprocess.run([sys.executable, "-m", "s3nap", *words], check=True, capture_output=True, text=True)
    assert "of ~" not in piped.stdout + piped.stderr
    assert shown([*words, "-q"]) == ""


def test_files_are_counted_while_tar_writes_its_index(tmp_path: Path) -> None:
    """Files, not directories, and whole lines only: what comes later is counted later."""
    index = tmp_path / "index"
    count = NamesIn(index)
    assert count() == 0
    line = "block 0: {}rw-r--r-- root/root 1 2026-11-21 00:00:00 {}\n"
    index.write_text(line.format("d", "tmp/") + line.format("-", "tmp/a: d") + "block 3: -rw-r--")
    assert count() == 1
    with index.open("a") as file:
        file.write("r-- root/root\n")
    assert (count(), count()) == (2, 2)
    index.unlink()
    assert count() == 2


def test_an_estimate_that_is_wrong_is_dropped() -> None:
    """A run that is larger than the last one shows no total, and so no time left, instead of a false one."""
    line = _Line(Expected(size=5 << 20, about=True, files=1200, count=lambda: 7))
    line.advance(3 << 20)
    assert line.amounts == "3.0 MiB of ~5.0 MiB, 7 of ~1,200 files"
    assert line.total == 5 << 20
    line.advance(3 << 20)
    assert line.amounts == "6.0 MiB, 7 of ~1,200 files"
    assert line.total is None
    assert _Line(Expected(size=10)).amounts == "0 B of 10 B"


def test_numbers_read_well() -> None:
    """Sizes are in IEC units; one is one."""
    assert [size(count) for count in (0, 1023, 1024, 1 << 20, 3 << 29, 1 << 60)] == [
        *("0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.5 GiB", "1024.0 PiB"),
    ]
    assert [counted(count, "file") for count in (0, 1, 2000)] == ["0 files", "1 file", "2,000 files"]


def test_a_restore_tells_how_far_it_is_to_who_watches(tmp_path: Path) -> None:
    """Bytes and files of all that are to be written; in a pipe, or with -q, nothing of it is seen."""
    world = World(tmp_path / "w")
    world.fill()
    world.days(0)
    files = world.archives[0].manifest.files
    words = ["restore", "Directory", "-c", str(world.conf), "--target"]
    seen = shown([*words, tmp_path / "one"], columns=200)
    assert re.search(rf"256.0 KiB of 256.0 KiB, {files} of {files} files", seen)
    command = [sys.executable, "-m", "s3nap", *words, str(tmp_path / "two")]
    piped = subprocess.run(command, check=True, capture_output=True, text=True)
    assert " of 256.0" not in piped.stdout + piped.stderr
