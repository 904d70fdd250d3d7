"""The man pages: made of the tables, complete, and clean in groff's eyes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from s3nap.cli import cli
from s3nap.directives import INCLUDE, TABLE
from s3nap.errors import Exit

ROOT = Path(__file__).parent.parent
SECTIONS = ["NAME", "SYNOPSIS", "DESCRIPTION", "FILES", "ENVIRONMENT", "EXAMPLES", "SEE ALSO"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("man")
    subprocess.run([sys.executable, ROOT / "scripts/man.py", folder], check=True)
    return {file.name: file for file in folder.iterdir()}


def shown(page: Path) -> str:
    """A page as a wide terminal without colours shows it; groff must not say a word."""
    argv = ["groff", "-ww", "-man", "-Tutf8", "-P-c", "-P-b", "-P-u", "-rLL=200n", "-rHY=0", page]
    done = subprocess.run(argv, check=True, capture_output=True)
    assert done.stderr == b""
    return re.sub("[\N{HYPHEN}\N{MINUS SIGN}]", "-", done.stdout.decode())


def test_pages_have_what_readers_look_for(pages: dict[str, Path]) -> None:
    """Both pages are there, with the sections that man pages have, and groff warns of nothing."""
    own = {"s3nap.1": ["COMMANDS", "OPTIONS", "EXIT STATUS"], "s3nap.conf.5": ["DIRECTIVES"]}
    assert pages.keys() == own.keys()
    for name, page in pages.items():
        headings = re.findall(r"^([A-Z][A-Z ]+)$", shown(page), re.MULTILINE)
        assert sorted(headings) == sorted(SECTIONS + own[name])


def test_every_command_and_option_is_there(pages: dict[str, Path]) -> None:
    """What --help shows, man shows."""
    page = shown(pages["s3nap.1"])
    for name, command in cli.commands.items():
        assert command.hidden or re.search(rf"^   {name}\b", page, re.MULTILINE), name
        for parameter in command.params if not command.hidden else ():
            assert parameter.opts[0] in page or parameter.param_type_name == "argument", (name, parameter.opts)
    statuses = page.partition("EXIT STATUS")[2].partition("\nFILES")[0]
    assert {int(number) for number in re.findall(r"^ +(\d+) ", statuses, re.MULTILINE)} == set(Exit)


def test_every_directive_is_there(pages: dict[str, Path]) -> None:
    """The table of directives is the page, with meaning and example."""
    page = shown(pages["s3nap.conf.5"])
    lines = [line.split()[0] for line in page.splitlines() if re.match(r" {7}\w", line)]
    assert {*TABLE, INCLUDE} <= set(lines)
    words = " ".join(page.split())
    assert [spec.name for spec in TABLE.values() if f"Example: {spec.name}" not in words] == []


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    """A help text that begins with a dot, or holds a backslash, is no command to groff."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r}); import man\n"
        "print('.TH A 1', *man.text(\".so /etc/passwd\"), *man.text(\"'br \\\\n \\\\fB it's `.x` … -~\"), sep='\\n')"
    )
    page = tmp_path / "page"
    page.write_bytes(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout)
    text = shown(page)
    assert ".so /etc/passwd" in text
    assert r"'br \n \fB it's .x … -~" in text
