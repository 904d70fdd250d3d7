"""How the faults of a conf are shown: each message, the line it is about, and ``^`` under what is wrong there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from s3nap.errors import ConfError, Excerpt

_INDENT = "    "
_LONG = 110  # of a longer line only what stands around the mistake is shown
_BEFORE = 40
_CUT = "…"
_PLAIN = frozenset({"bucket", "endpoint"})
_URL = re.compile(r"(?<=://)[^\s\"']+")
# what may be a password, wherever it stands
_PASSWORD = re.compile(
    r"""(?<=://)[^\s/@]+(?=@)
      | (?<=[\s"']-p)[^\s"']+
      | (?<=--pass=)[^\s"']+ | (?<=--password=)[^\s"']+
      | (?<=^notify\s)\s*\S.* | (?<=^ping\s)\s*\S.*""",
    re.VERBOSE | re.IGNORECASE,
)


def lines(error: ConfError) -> Iterator[str]:
    """Yield for each fault its message as one line, for grep, and the two lines of its excerpt if it has one.

    Whatever bytes the conf holds: nothing but what can be seen is yielded, and the carets stand where they belong.
    What may be a secret is not shown.
    """
    from s3nap.logs import one_line  # noqa: PLC0415 - start-up time: few commands meet a fault

    for fault in error.faults:
        yield one_line(fault)
        if fault in error.excerpts:
            yield from _drawn(error.excerpts[fault])


def hidden(line: str) -> str:
    """Return a line of a conf with a ``*`` for each character that may be of a secret: URLs hold keys."""
    lead = len(line) - len(line.lstrip())
    name = line[lead:].split(maxsplit=1)[:1]
    patterns = (_PASSWORD,) if name and name[0].lower() in _PLAIN else (_PASSWORD, _URL)
    text = line[lead:]
    for pattern in patterns:
        text = pattern.sub(lambda match: "*" * len(match[0]), text)
    return line[:lead] + text


def _drawn(excerpt: Excerpt) -> Iterator[str]:
    from rich.cells import cell_len  # noqa: PLC0415 - as above

    from s3nap.logs import one_line  # noqa: PLC0415 - as above

    def shown(text: str) -> str:
        return "".join(" " if char == "\t" else one_line(char) for char in text)

    line, start = hidden(excerpt.line), excerpt.start
    first = max(0, start - _BEFORE) if len(line) > _LONG else len(line) - len(line.lstrip(" \t"))
    last = min(len(line), first + _LONG)
    before = (_CUT if first and len(line) > _LONG else "") + shown(line[first:start])
    wrong = shown(line[start : min(excerpt.end, last)])
    after = shown(line[max(start, min(excerpt.end, last)) : last]) + (_CUT if last < len(line) else "")
    yield f"{_INDENT}{before}{wrong}{after}".rstrip()
    yield f"{_INDENT}{' ' * cell_len(before)}{'^' * max(1, cell_len(wrong))}"
