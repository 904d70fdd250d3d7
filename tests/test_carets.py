"""Faults of a conf as they are shown: the message first, then the line, and carets under what is wrong."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from s3nap import carets, cli, config
from s3nap.errors import ConfError, Exit

HEAD = "DiffDir /d\nBucket b-b\nDirectory /other\n"


def shown(folder: Path, text: bytes, *, on_this_host: bool = False) -> list[str]:
    """All lines that are shown of a conf."""
    conf = folder / "a.conf"
    conf.write_bytes(text)
    try:
        config.load(conf, on_this_host=on_this_host)
    except ConfError as error:
        return [line.replace(f"{folder}/", "") for line in carets.lines(error)]
    return []


@pytest.mark.parametrize(
    ("line", "pointed"),
    [
        ("Frequancy 3", "^^^^^^^^^"),
        ("Fulls 0", "      ^"),
        ("Fulls\t \t0", "        ^"),
        ("Directory /a etc /b", "             ^^^"),
        ('Directory /a "b c" /d', "             ^^^^^"),
        ("Compression zstd 99", "                 ^^"),
        ("Compression 99 zstd", "            ^^^^^^^"),
        ("Directory /x /b\u00a0c", "               ^^^^"),
        ("Frequency 7 8", "          ^^^"),
        ("Bucket c", "^^^^^^"),
        ("Phase 3", "      ^"),
        ("TempDir", "^^^^^^^"),
        ("Exclude /a # b", "           ^"),
        ("Exclude 'a", "        ^^"),
        ("Exclude a ''", "          ^^"),
        ("Host = x", "     ^"),
        ("<Cycle MySQL>\n</Cycle>", "       ^^^^^"),
        ("<Zzz x>\n</Zzz>", " ^^^"),
        ("<Directory a/b>\n</Directory>", "           ^^^"),
        ("<Directory>\n</Directory>", " ^^^^^^^^^"),
        ("<Cycle x> y\n</Cycle>", "         ^^"),
        ("</Cycle>", "^^^^^^^^"),
        ("; x", "^"),
        ("Include /none /nowhere", "        ^^^^^"),
        ("Host \x1b[2J", r"     ^^^^"),
        ("Host 日本 x", "     ^^^^^^"),
        ("Brake 日本", "      ^^^^"),
        ("Directory /日本 x", "                ^"),
        ("Brake e\u0301", "      ^"),
        ("Brake \u202ex", "      ^^^^^^^"),
        ("Directory /\u202e x", "                  ^"),
    ],
)
def test_carets_stand_under_what_is_wrong(tmp_path: Path, line: str, pointed: str) -> None:
    """Whoever looks sees which word is meant, whatever stands before it: tabs, quotes, wide or hidden characters."""
    message, excerpt, below = shown(tmp_path, f"{HEAD}  {line}\n".encode())[:3]
    assert message.startswith("a.conf:4: ")
    assert excerpt.startswith("    ")
    assert below == f"    {pointed}"
    assert excerpt.isprintable()


@pytest.mark.parametrize(
    "line",
    [
        "Notfy https://hc-ping.com/s3cret",
        'Notify "mailto://me:s3cret@example.com?to=s3cret" x',
        "  Ping s3cret-without-scheme",
        "ping\ts3cret",
        "MySQLOptions --quick -ps3cret",
        "MySQLOptions --password=s3cret",
        'MySQLOptions "-ps3cret"',
        "Endpoint https://me:s3cret@example.com/path x",
        "Exclude x \\\n https://s3cret#y",
    ],
)
def test_no_secret_is_shown(tmp_path: Path, line: str) -> None:
    """A mistake in a line with a password does not send the password by cron's mail."""
    found = [text for text in shown(tmp_path, f"{HEAD}{line}\n".encode()) if text.startswith("    ")]
    assert len(found) == 2
    assert "s3cret" not in "".join(found)
    assert "^" in found[1]


def test_addresses_of_storages_are_no_secrets(tmp_path: Path) -> None:
    """Of a wrong Bucket one must see what is wrong."""
    assert shown(tmp_path, b"DiffDir /d\nDirectory /x\nBucket s3://b-b//x\n")[1:] == [
        "    Bucket s3://b-b//x",
        "           ^^^^^^^^^^^",
    ]


def test_lines_of_continued_and_included_files(tmp_path: Path) -> None:
    """The line that is shown is the one that holds the mistake, also where a statement began before it."""
    (tmp_path / "more").write_text("Directory /x\n  Brake perhaps\n")
    found = shown(tmp_path, f"{HEAD}Exclude a \\\n \tb#c \\\n d\nInclude more\n".encode())
    assert found == [
        r"a.conf:4: Exclude: a '#' in a value; comments go on a line of their own, a literal one is written \#",
        "    b#c \\",
        "     ^",
        "more:2: Brake: 'perhaps' is neither yes nor no; write On or Off",
        "    Brake perhaps",
        "          ^^^^^^^",
    ]


def test_what_stands_in_no_line_has_no_excerpt(tmp_path: Path) -> None:
    """What is missing is told in its one line; what only this machine can tell points at the path."""
    found = shown(tmp_path, b"DiffDir /none\n", on_this_host=True)
    assert found[:3] == [
        "a.conf:1: DiffDir does not exist, please create: /none",
        "    DiffDir /none",
        " " * 12 + "^^^^^",
    ]
    assert [line.partition(";")[0] for line in found[3:]] == [
        "a.conf: Bucket must be defined.",
        "a.conf: nothing to back up",
    ]


def test_a_long_line_is_cut_around_the_mistake(tmp_path: Path) -> None:
    """A line of a hundred thousand characters does not flood the terminal, nor hide its mistake."""
    text = f"{HEAD}Exclude {'a' * 100_000} # {'b' * 100_000}\n"
    _, excerpt, below = shown(tmp_path, text.encode())
    assert len(excerpt) < 120
    assert excerpt[below.index("^")] == "#"
    assert excerpt[4] == excerpt[-1] == "…"


PIECES = st.sampled_from(
    [
        *"abc01 \t\"'#\\=<>/-\x00\x1b\x7f\u0301\u200b\u202e日\U0001f600\r\n",
        "\n",
        "Fulls ",
        "Directory /",
        "<Cycle ",
        "</Cycle>",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=30).map("".join), st.binary(max_size=4))
def test_no_conf_breaks_a_terminal(text: str, rest: bytes) -> None:
    """Whatever a conf holds, every line shown is printable, and no caret stands beyond the line it is about."""
    with tempfile.TemporaryDirectory() as folder:
        found = shown(Path(folder), text.encode() + rest)
    for excerpt, below in pairwise(found):
        assert excerpt.isprintable()
        if below.strip(" ^") == "":
            assert len(below.rstrip("^")) <= max(4, cell_len(excerpt))


def test_the_messages_come_first_for_grep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line shows the faults of all confs at once, with status 2 and nothing on standard output."""
    confs = [tmp_path / name for name in ("a.conf", "b.conf")]
    for conf in confs:
        conf.write_text("Bucket c\nDirectory /x\nDiffDir /\nBrake x\n")
    assert cli._status(["config", "validate", *(word for conf in confs for word in ("-c", str(conf)))]) == Exit.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    told = [line for line in err.splitlines() if not line.startswith(" ")]
    assert [line.split(": ")[0] for line in told] == [f"{conf}:{line}" for conf in confs for line in (1, 4)]
    assert err.splitlines()[1:3] == ["    Bucket c", "           ^"]
