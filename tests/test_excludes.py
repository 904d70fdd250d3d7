"""Exclude patterns: the census must leave out what tar leaves out, no more and no less."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from s3nap.sources.excludes import Matcher, literal, tar_options

NAMES = (
    *("a", "b", "ab", "ba", "a.b", ".a", "*", "?", "[a]", "a[1]", "a1", "\\", "a\\b", "-", "new\nline", "x y", "A"),
    *("]", "^", "!", "a]", "é", "a-", "~", "#", "$a", "{a,b}", os.fsdecode(b"\xff")),
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every name as a file, and a directory with every name."""
    root = tmp_path_factory.mktemp("tree")
    for folder in ("d/a/", "x/d/", "[a]/", "a/", "d/", ""):
        for name in NAMES:
            path = root / f"{folder}{name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.touch()
    return root


def by_tar(tree: Path, patterns: list[str]) -> set[bytes]:
    """The files that tar takes of the tree as the root directory; none, not even that, if it is left out itself."""
    argv = [
        "tar",
        "--create",
        "--format=posix",
        *tar_options(patterns, root=True),
        f"--directory={tree}",
        "--file=-",
        "--",
        ".",
    ]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"})
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        return {os.fsencode(member.name)[1:] for member in archive if not member.isdir() or member.name == "."}


def by_matcher(tree: Path, patterns: list[str]) -> set[bytes]:
    """The files that the census counts, and the root."""
    matcher = Matcher(patterns, root=True)
    found, folders = {b""}, [b""]
    while folders:
        folder = folders.pop()
        for entry in os.scandir(os.fsencode(tree) + folder):
            path = folder + b"/" + entry.name
            if not matcher.excludes(path):
                (folders.append if entry.is_dir() else found.add)(path)
    return found


BITS = st.sampled_from([*"ab*?[]!^-\\/.dx1 é", "**", "[a-b]", "[!a]", "[^ab]", "\\*", "d/", "a/", "[]a]", "[[]", "ü"])


def _usable(text: str) -> bool:
    """Is it a pattern that a conf may hold?"""
    return text.strip("/") not in {"", "."} and not re.search(r"\[[!^]?\]?[^]]*\[[.=]", text)


PATTERNS = st.lists(BITS, min_size=1, max_size=6).map("".join).filter(_usable)


@given(floating=st.lists(PATTERNS, max_size=2), anchored=st.lists(PATTERNS, max_size=2))
@example(floating=["a/b"], anchored=["d/*"])
@example(floating=["[a]", "\\[a\\]"], anchored=["[a]/b"])
@example(floating=["[[:alpha:]]"], anchored=[])
@example(floating=["*/"], anchored=["x/"])
@settings(max_examples=150, deadline=None)
def test_same_as_tar(tree: Path, floating: list[str], anchored: list[str]) -> None:
    """Any mixture of patterns: a file in the state that tar left out, or the other way round, would be lost later."""
    patterns = [*(text.lstrip("/") for text in floating), *("/" + text.lstrip("/") for text in anchored)]
    wanted = by_tar(tree, patterns)
    assume(wanted)
    taken = by_matcher(tree, patterns)
    assert (taken - wanted, wanted - taken) == (set(), set()), patterns


@pytest.mark.parametrize("name", NAMES)
def test_literal(tree: Path, name: str) -> None:
    """A path made literal excludes itself alone: s3nap's own folders, whatever they are called."""
    pattern = [literal(f"/d/{name}")]
    path = tree / "d" / name
    below = {os.fsencode(file) for file in ([path, *path.rglob("*")]) if not file.is_dir()}
    assert by_tar(tree, []) - by_tar(tree, pattern) == {file.removeprefix(os.fsencode(tree)) for file in below}
    assert by_matcher(tree, pattern) == by_tar(tree, pattern)


def test_matched() -> None:
    """Patterns that matched nothing can be named, for they are often misspelt."""
    matcher = Matcher(["*.o", "/a/b", "never"])
    assert [matcher.excludes(path) for path in (b"/x/y.o", b"/a/b", b"/a/bc", b"/z/a/b")] == [True, True, False, False]
    assert matcher.matched == {"*.o", "/a/b"}
