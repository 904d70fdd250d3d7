"""Few colours, where somebody sees them: red failed, yellow wants a look, green done. Words say the same without."""

from __future__ import annotations

import os
from typing import TextIO

RED, GREEN, YELLOW, BOLD, DIM = "31", "32", "33", "1", "2"
_OFF = {"", "0"}


def wanted(stream: TextIO) -> bool:
    """Are colours to be written to ``stream``? ``NO_COLOR`` forbids, ``FORCE_COLOR`` and ``CLICOLOR_FORCE`` order."""
    if os.environ.get("NO_COLOR"):
        return False
    if any(os.environ.get(name, "") not in _OFF for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    if os.environ.get("TERM") == "dumb" or os.environ.get("CLICOLOR") == "0":
        return False
    return stream.isatty()


def painted(text: str, colour: str | None) -> str:
    """Return text in a colour, whatever is wanted."""
    return f"\x1b[{colour}m{text}\x1b[0m" if colour and text else text
