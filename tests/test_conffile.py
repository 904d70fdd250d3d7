"""The strict reading of Apache-style files: what is accepted, and that nothing faulty passes or crashes."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from soak import cases, rounds

from s3nap import conffile
from s3nap.conffile import Directive, Section
from s3nap.confwords import quoted
from s3nap.errors import ConfError


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return tmp_path / "a.conf"


def parse(conf: Path, text: str | bytes) -> Section:
    conf.write_bytes(text if isinstance(text, bytes) else text.encode())
    return conffile.parse(conf)


def faults(conf: Path, text: str | bytes) -> list[str]:
    with pytest.raises(ConfError) as raised:
        parse(conf, text)
    return [fault.replace(f"{conf.parent}/", "") for fault in raised.value.faults]


def values(section: Section) -> dict[str, tuple[str, ...]]:
    return {entry.name: entry.values for entry in section.entries if isinstance(entry, Directive)}


def lines(section: Section) -> list[str]:
    found = []
    for entry in section.entries:
        found.append(entry.origin.text.rsplit("/", 1)[1])
        if isinstance(entry, Section):
            found += lines(entry)
    return found


def test_tree_keeps_order_nesting_and_lines(conf: Path) -> None:
    """Order decides in what order jobs run, lines are what faults are found by."""
    tree = parse(conf, "# c\n\nA 1\n<Cycle x y>\n\tB 2\n  <Directory />\n\tC 3\n</directory>\n</CYCLE >\nD 4\n")
    assert lines(tree) == ["a.conf:3", "a.conf:4", "a.conf:5", "a.conf:6", "a.conf:7", "a.conf:10"]
    cycle = tree.entries[1]
    assert isinstance(cycle, Section)
    assert (cycle.kind, cycle.name) == ("Cycle", "x y")
    directory = cycle.entries[1]
    assert isinstance(directory, Section)
    assert (directory.kind, directory.name) == ("Directory", "/")
    assert (tree.kind, tree.name) == (None, None)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("/a /b", ("/a", "/b")),
        ('"/a b" /c', ("/a b", "/c")),
        ("'/a b'\t\"c d\"", ("/a b", "c d")),
        ('"/a b"', ("/a b",)),
        ("'/a \"b'", ('/a "b',)),
        (r'"/a \" b"', ('/a " b',)),
        (r"/a\'b", ("/a'b",)),
        ("--where='a b'", ("--where=a b",)),
        (r"/a\#b", ("/a#b",)),
        (r'"/a \# b"', ("/a # b",)),
        (r'"a\\"', ("a\\",)),
        (r"/a\*b", (r"/a\*b",)),
        ("a=b", ("a=b",)),
        ('"=a"', ("=a",)),
        ('"<<EOF"', ("<<EOF",)),
        ("/*.o */x", ("/*.o", "*/x")),
        ("a;b{c}`d`$e <f>", ("a;b{c}`d`$e", "<f>")),
        ("ü 日本", ("ü", "日本")),
    ],
)
def test_values(conf: Path, raw: str, words: tuple[str, ...]) -> None:
    """A value means what was written, whatever apacheconfig makes of it."""
    tree = parse(conf, f"Name {raw}\nNext 1\n")
    assert values(tree) == {"Name": words, "Next": ("1",)}
    assert isinstance(tree.entries[0], Directive)
    assert tree.entries[0].raw == raw


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ("/foo/", "/foo/"),
        ('"/a b"', "/a b"),
        ("/a b", "/a b"),
        (r"/a\#b", "/a#b"),
        ("bob@shop", "bob@shop"),
        ("", None),
    ],
)
def test_block_argument(conf: Path, argument: str, name: str | None) -> None:
    """A block's argument is one name, whole and unquoted."""
    block = parse(conf, f"<X {argument}>\n</X>").entries[0]
    assert isinstance(block, Section)
    assert block.name == name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<X "/>">\n</X>\n', ["a.conf:1: <X>: a block's name cannot hold '>'; write a line instead"]),
        ("A 1\n<X y>\nB 2\n", ["a.conf:2: <X> is never closed; add </X>"]),
        ("<X y>\nB 2\n</Z>\n", ["a.conf:3: </Z> closes <X> of a.conf:1; write </X>"]),
        ("<X y>\n<Z q>\n</X>\nA 1\n", ["a.conf:3: </X> closes <Z> of a.conf:2; write </Z>"]),
        ("A 1\n</X>\n", ["a.conf:2: </X> closes nothing; take it out, or open a block before"]),
        ("A\n", ["a.conf:1: A: has no value; write one, or take the line out"]),
        ("<X y>\n\n  A  \n</X>\n", ["a.conf:3: A: has no value; write one, or take the line out"]),
        ("< >\nA 1\n</X>\n", ["a.conf:1: empty < >; write <Kind name>"]),
        ("<>\n", ["a.conf:1: empty < >; write <Kind name>"]),
    ],
)
def test_structure_faults(conf: Path, text: str, expected: list[str]) -> None:
    """What apacheconfig lets pass is one clear fault, at its line."""
    assert faults(conf, text) == expected


@pytest.mark.parametrize("raw", ["#", "# c", "/a # c", "/a#b", '"/a # b"', "'#'", "/a #", r"/a \# b # c", "/a \\\n# b"])
def test_hash_in_value(conf: Path, raw: str) -> None:
    """A ``#`` never cuts a value short, nor becomes a directory to back up."""
    (fault,) = faults(conf, f"\nA {raw}\n")
    assert fault.startswith("a.conf:2: A: ")
    assert "comments go on a line of their own" in fault
    assert r"\#" in fault


@pytest.mark.parametrize("text", ["<X y> # c\n</X>", "<X y#z>\n</X>", "<X y>\n</X> # c", "<X y\n</X>", "<X y>\n</X"])
def test_block_lines_hold_nothing_else(conf: Path, text: str) -> None:
    """A comment after a tag, or a tag without its end, is one fault and not a strange name."""
    (fault,) = faults(conf, text)
    assert "comments go on a line of their own" in fault


@pytest.mark.parametrize("raw", ['"a', "'a b", 'a "', 'a"b', "it's", '"a" "b'])
def test_unbalanced_quotes(conf: Path, raw: str) -> None:
    """A forgotten quote does not silently join or split names."""
    (fault,) = faults(conf, f"A {raw}\n")
    assert fault.startswith("a.conf:1: A: unbalanced ")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("A = b", "'='"),
        ("A=b", "'='"),
        ("A <<EOF\nx\nEOF", "here-documents"),
        ('A ""', "empty value"),
        ("A \x00", "control character"),
        ("A\x0b b", "control character"),
        ("A b\xa0c", "U+00A0"),
        ("A \\ b", "cannot be read safely"),
        ("A b\\ ", "ends in a backslash"),
        ("/etc x", "no name of a directive"),
        ("; x", "comments begin with #"),
        ('A"b"', "no name of a directive"),
        ("# c\\\nA 1", "comment ends in a backslash"),
        ('<X "a" b>\n</X>', "one name"),
        ('<X "a>\n</X>', "unbalanced"),
        ("<X <<E>\n</X>", "here-documents"),
        ("<X a\\>\n</X>", "ends in a backslash"),
        ("<=x y>\n</X>", "no kind of block"),
        ("<X>\n" * 50, "nested more than 20"),
    ],
)
def test_other_doubtful_lines(conf: Path, text: str, part: str) -> None:
    """What could be read in two ways is refused with a word on how to write it."""
    assert part in faults(conf, text)[0]


def test_all_faults_at_once_in_order(conf: Path) -> None:
    """A conf is corrected in one go, not one fault per run."""
    found = faults(conf, 'A\n</X>\n<Y z>\nB "c\nC d # e\n</Q>\n<R s>\n')
    assert [fault.split(": ")[0] for fault in found] == [f"a.conf:{number}" for number in (1, 2, 4, 5, 6, 7)]


def test_continuation(conf: Path) -> None:
    """A backslash at the end of a line continues it, and the lines after it keep their numbers."""
    tree = parse(conf, "A /a \\\n  /b \\\n\t/c\nB /d\\\n/e\nC 1\\")
    assert values(tree) == {"A": ("/a", "/b", "/c"), "B": ("/d/e",), "C": ("1",)}
    assert lines(tree) == ["a.conf:1", "a.conf:4", "a.conf:6"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_byte_order_mark(conf: Path, end: str) -> None:
    """Files from other systems read the same."""
    tree = parse(conf, "\ufeffA 1\n\n<X y>\n\tB\t2\n</X>".replace("\n", end).encode())
    assert values(tree) == {"A": ("1",)}
    assert lines(tree) == ["a.conf:1", "a.conf:3", "a.conf:4"]


@pytest.mark.parametrize("text", ["", "\n\n", "# only\n", "\ufeff", "  \t"])
def test_nothing_in_it(conf: Path, text: str) -> None:
    """An empty file is an empty tree, not apacheconfig's 'Unexpected EOF'."""
    assert parse(conf, text).entries == ()


def test_bytes_that_are_no_utf8(conf: Path) -> None:
    """The name of a directory comes out of the conf as the bytes it went in as."""
    (word,) = values(parse(conf, b"A /caf\xe9\n"))["A"]
    assert word.encode("utf-8", "surrogateescape") == b"/caf\xe9"


def test_include_file_directory_pattern(conf: Path) -> None:
    """Included lines stand in place of the Include, with their own file and line."""
    folder = conf.parent / "conf.d"
    folder.mkdir()
    (folder / "2").write_text("C 3\n")
    (folder / "1").write_text("# c\nB 2\n")
    (conf.parent / "x.inc").write_text("D 4\n<Y z>\nE 5\n</Y>\n")
    tree = parse(conf, "A 1\n<X y>\nInclude conf.d\n</X>\ninclude *.inc\nInclude conf.d/2\nF 6\n")
    shown = ["a.conf:1", "a.conf:2", "1:2", "2:1", "x.inc:1", "x.inc:2", "x.inc:3", "2:1", "a.conf:7"]
    assert lines(tree) == shown
    absolute = parse(conf, f"Include {folder}/[12]\n")
    assert values(absolute) == {"B": ("2",), "C": ("3",)}


def test_faults_of_included_files_in_order(conf: Path) -> None:
    """A fault is found where it stands, also in another file."""
    (conf.parent / "b.conf").write_text("B\n")
    assert [fault.split(": ")[0] for fault in faults(conf, "A\nInclude b.conf\nC\n")] == [
        "a.conf:1",
        "b.conf:1",
        "a.conf:3",
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("Include a.conf", "include itself"),
        ("Include b.conf", "include itself"),
        ("Include none.conf", "No such file"),
        ("Include none*.conf", "no file matches"),
        ("Include **/x", "** is not known"),
        ("Include fifo", "neither a file nor a directory"),
        ("Include", "has no value"),
        ("Include " + "x" * 5000, "too long"),
        ("Include loop", ""),
    ],
)
def test_include_faults(conf: Path, text: str, part: str) -> None:
    """An Include that brings nothing, or never ends, is a fault and neither silence nor a hang."""
    (conf.parent / "b.conf").write_text("Include a.conf\n")
    os.mkfifo(conf.parent / "fifo")
    (conf.parent / "loop").symlink_to("loop")
    (fault,) = faults(conf, text)
    assert part in fault


@pytest.mark.parametrize("name", ["none.conf", ".", "x" * 5000, "a\0b"])
def test_unreadable_file(tmp_path: Path, name: str) -> None:
    """A missing conf is named."""
    with pytest.raises(ConfError, match="cannot be read"):
        conffile.parse(tmp_path / name)


PIECES = st.sampled_from(
    [
        *("<", ">", "</", "X", "Y y", "\n", "\\", "\\\n", "#", '"', "'", " ", "\t", "=", "<<", "/", "/>", "/*", "*/"),
        *("\r", "Include ", "a", "A b", "\n<X y>\n", "\n</X>\n", "\\#", "\xa0", "\u2028", "\x0c", "\0", "é"),
        "<<include x>>",
    ]
)


@pytest.mark.parametrize("_round", rounds())
@settings(max_examples=cases(300), deadline=None)
@given(st.one_of(st.binary(max_size=80), st.lists(PIECES, max_size=25).map(lambda parts: "".join(parts).encode())))
@example(b"\xff\xfeA\x00")
@example(b"<\xc2\xa0")
@example(b"<X \\\n>\n</X>")
@example(b'A "\xc2\xa0"\n<X "\xe2\x80\xa8">\n</X>')
def test_any_junk_is_a_tree_or_a_fault(_round: int, junk: bytes) -> None:
    """No file, however broken, ends in a traceback."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            tree = parse(Path(folder) / "a.conf", junk)
        except ConfError:
            return
    assert all(entry.values for entry in tree.entries if isinstance(entry, Directive))


WORDS = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=4))
def test_whatever_is_quoted_comes_back(words: list[str]) -> None:
    """Every name of a file can be written in a conf."""
    quoted = ['"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("#", "\\#") + '"' for word in words]
    with tempfile.TemporaryDirectory() as folder:
        tree = parse(Path(folder) / "a.conf", f"A {' '.join(quoted)}\n")
    assert values(tree) == {"A": tuple(words)}


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1) | st.text("ab \t\"'#\\=<>/-,", min_size=1))
@example("/a b\\")
@example("<<x")
def test_quoted_words_come_back(word: str) -> None:
    """A name found on a machine is written into a conf so that it is read as itself, or refused."""
    try:
        written = quoted(word)
        quoted(word, block=">" not in word)
    except ValueError:
        assert re.search(r"[\x00-\x08\x0a-\x1f\x7f]", word)
        return
    with tempfile.TemporaryDirectory() as folder:
        (line,) = parse(Path(folder) / "a.conf", f"A {written} {written}\n").entries
        assert isinstance(line, Directive)
        assert line.values == (word, word)
        if ">" not in word:
            (block,) = parse(Path(folder) / "a.conf", f"<B {written}>\n</B>\n").entries
            assert isinstance(block, Section)
            assert block.name == word
