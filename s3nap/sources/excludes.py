r"""Exclude patterns, once for tar and once for the census: both must skip the same paths.

A pattern that begins with ``/`` is anchored: it names one path (and what lies below it). Any other matches whole
components at any depth. ``*`` and ``?`` stop at ``/``, ``[...]`` is a set, ``\x`` is the literal x.
Facts about tar's matching: docs/tar.md 4.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_CLASS = re.compile(rb"\[:([a-z]+):\]")
_CLASSES = {  # as in the C locale, in which tar runs
    b"alnum": b"0-9A-Za-z",
    b"alpha": b"A-Za-z",
    b"blank": b" \\t",
    b"cntrl": b"\\x00-\\x1f\\x7f",
    b"digit": b"0-9",
    b"graph": b"!-~",
    b"lower": b"a-z",
    b"print": b" -~",
    b"punct": b"!-/:-@\\[-`{-~",
    b"space": b" \\t-\\r",
    b"upper": b"A-Z",
    b"xdigit": b"0-9A-Fa-f",
}


def literal(path: str) -> str:
    """Return the pattern that matches this path and nothing else."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", path)


def tar_options(patterns: Sequence[str], *, root: bool) -> list[str]:
    """Return tar's options for the patterns; ``root`` is True where ``/`` itself is archived, as ``.``.

    Never with ``--wildcards``: together with ``-g`` it silently switches incrementals off (patterns are globs anyway).
    """
    anchored = [pattern for pattern in patterns if pattern.startswith("/")]
    floating = [pattern for pattern in patterns if not pattern.startswith("/")]
    prefix = "./" if root else ""
    options = ["--no-wildcards-match-slash", "--anchored"]
    options += (f"--exclude={prefix}{pattern.strip('/')}" for pattern in anchored)
    return [*options, "--no-anchored", *(f"--exclude={pattern.strip('/')}" for pattern in floating)]


@dataclass(slots=True)
class Matcher:
    """Says which paths are excluded, and remembers which patterns ever matched."""

    patterns: Sequence[str]
    matched: set[str]
    _regex: re.Pattern[bytes] | None
    _root: bool

    def __init__(self, patterns: Sequence[str], *, root: bool = False) -> None:
        """Compile the patterns; ``root`` as for ``tar_options``."""
        self.patterns = patterns
        self.matched = set()
        self._root = root
        alternatives = [b"(" + _regex(pattern, root=root) + b")" for pattern in patterns]
        self._regex = re.compile(b"|".join(alternatives), re.DOTALL) if alternatives else None

    def excludes(self, path: bytes) -> bool:
        """Is this absolute path excluded (asked from the top down: what lies below is not asked for)?"""
        if self._regex is None:
            return False
        match = self._regex.fullmatch(b"." + path.rstrip(b"/") if self._root else path[1:])  # the name in the archive
        if match is None or match.lastindex is None:
            return False
        self.matched.add(self.patterns[match.lastindex - 1])
        return True


def _regex(pattern: str, *, root: bool) -> bytes:
    body = _translate(pattern.strip("/").encode("utf-8", "surrogateescape"))
    if not pattern.startswith("/"):
        return b"(?:.*/)?" + body
    return b"\\./" + body if root else body


def _translate(glob: bytes) -> bytes:
    out: list[bytes] = []
    position = 0
    wild = False
    while position < len(glob):
        char = glob[position : position + 1]
        position += 1
        wild |= char in {b"*", b"?", b"["}
        if char == b"*":
            out.append(b"[^/]*")
        elif char == b"?":
            out.append(b"[^/]")
        elif char == b"\\":
            # at the very end, in a pattern with wildcards, tar lets it match nothing
            out.append(
                re.escape(glob[position : position + 1] or b"\\") if position < len(glob) or not wild else b"(?!)"
            )
            position += 1
        elif char == b"[" and (found := _bracket(glob, position)) is not None:
            characters, position = found
            out.append(characters)
        else:
            out.append(re.escape(char))
    return b"".join(out)


def _bracket(glob: bytes, start: int) -> tuple[bytes, int] | None:
    """Read the set that begins after a ``[``; return its regex and where it ends; None if it does not end."""
    position = start + (negated := glob[start : start + 1] in {b"!", b"^"})
    items: list[bytes] = []
    first = position
    while position == first or glob[position : position + 1] != b"]":
        if named := _CLASS.match(glob, position):
            items.append(_CLASSES.get(named[1], b""))
            position = named.end()
            continue
        low, position = _one(glob, position)
        if low is None:
            return None
        high: bytes | None = low
        if glob[position : position + 1] == b"-" and glob[position + 1 : position + 2] not in {b"", b"]"}:
            high, position = _one(glob, position + 1)
        if high is not None and low <= high:
            items.append(b"\\x%02x-\\x%02x" % (low[0], high[0]))
    if not items or not any(items):
        return (b"[^/]" if negated else b"(?!)"), position + 1
    return b"(?!/)[" + (b"^" if negated else b"") + b"".join(items) + b"]", position + 1


def _one(glob: bytes, position: int) -> tuple[bytes | None, int]:
    """Read one character of a set and where the next one is; None at the end of the pattern."""
    if glob[position : position + 1] == b"\\":
        position += 1
    return glob[position : position + 1] or None, position + 1
