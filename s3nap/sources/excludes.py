r"""Exclude patterns, once for tar and once for the census: both must skip the same paths.

A pattern that begins with ``/`` is anchored: it names one path (and what lies below it). Any other matches whole
components at any depth. ``*`` and ``?`` stop at ``/``, ``[...]`` is a set, ``\x`` is the literal x.
Facts about tar's matching: RELIABILITY 3.7.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


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

    def __init__(self, patterns: Sequence[str]) -> None:
        """Compile the patterns."""
        self.patterns = patterns
        self.matched = set()
        alternatives = [b"(" + _regex(pattern) + b")" for pattern in patterns]
        self._regex = re.compile(b"|".join(alternatives), re.DOTALL) if alternatives else None

    def excludes(self, path: bytes) -> bool:
        """Is this absolute path excluded (asked from the top down: what lies below is not asked for)?"""
        if self._regex is None:
            return False
        match = self._regex.fullmatch(path)
        if match is None or match.lastindex is None:
            return False
        self.matched.add(self.patterns[match.lastindex - 1])
        return True


def _regex(pattern: str) -> bytes:
    body = _translate(pattern.strip("/").encode("utf-8", "surrogateescape"))
    return b"/" + body if pattern.startswith("/") else b"/(?:.*/)?" + body


def _translate(glob: bytes) -> bytes:
    out: list[bytes] = []
    position = 0
    while position < len(glob):
        char = glob[position : position + 1]
        position += 1
        if char == b"*":
            out.append(b"[^/]*")
        elif char == b"?":
            out.append(b"[^/]")
        elif char == b"\\" and position < len(glob):
            out.append(re.escape(glob[position : position + 1]))
            position += 1
        elif char == b"[" and (end := _set_end(glob, position)) is not None:
            out.append(_character_set(glob[position:end]))
            position = end + 1
        else:
            out.append(re.escape(char))
    return b"".join(out)


def _set_end(glob: bytes, start: int) -> int | None:
    first = start + (glob[start : start + 1] in {b"!", b"^"})
    end = glob.find(b"]", first + 1)
    return end if end >= 0 else None


def _character_set(body: bytes) -> bytes:
    negated = body[:1] in {b"!", b"^"}
    inner = body[1:] if negated else body
    escaped = inner.replace(b"\\", b"\\\\").replace(b"[", b"\\[").replace(b"]", b"\\]").replace(b"^", b"\\^")
    return b"(?!/)[" + (b"^" if negated else b"") + escaped + b"]"
