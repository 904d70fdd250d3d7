"""Tables: what people see of lists and plans."""

from __future__ import annotations

import os
import sys

import pytest

from s3nap.tables import table

ROWS = [["Directory/etc", "1"], ["Directory/ü漢字", "22"], ["", ""]]


def test_columns_are_as_wide_as_they_must_be() -> None:
    """Numbers end, words begin in one column, wide letters and all; nothing is folded where nobody looks."""
    assert table(["Job", "Slot"], [*ROWS, ["x" * 300, "3"]], {"Slot"}).splitlines()[-2] == f" {'x' * 300}      3"
    assert table(["Job", "Slot"], ROWS, {"Slot"}).splitlines() == [
        "",
        " Job               Slot",
        " ──────────────────────",
        " Directory/etc        1",
        " Directory/ü漢字     22",
        "",
        "",
    ]


def test_a_terminal_is_never_too_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal long cells are folded, between words where there are some, and nothing of them is lost."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((30, 24)))
    drawn = table(["Job", "Reason"], [["Directory/very/long/漢字漢字漢字", "due today, for all is well"]])
    lines = drawn.splitlines()
    assert max(len(line) + sum(char in "漢字" for char in line) for line in lines) <= 30
    assert "".join(line[1:14].strip() for line in lines[3:]).startswith("Directory/very/long/")
    assert drawn.count("漢") == drawn.count("字") == 3
    assert all(word in drawn for word in ("due", "today,", "for", "all", "is", "well"))
