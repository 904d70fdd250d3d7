"""A terminal of a given width, and what a program shows on it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

_PLAIN = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS")


def shown(
    words: Sequence[str | Path], *, columns: int = 80, env: Mapping[str, str] | None = None, status: int | None = 0
) -> str:
    """Run s3nap on a terminal; return all that appears there, the codes of colours and cursors, too.

    It must end with ``status``, None for any.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in _PLAIN}
    environment |= {"TERM": "xterm", "LC_ALL": "C.UTF-8"} | dict(env or {})
    command = [sys.executable, "-m", "s3nap", *map(str, words)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as program:
        os.close(theirs)
        seen = b""
        try:
            while piece := os.read(ours, 1 << 16):
                seen += piece
        except OSError:  # the other side is closed
            pass
    os.close(ours)
    assert status in {None, program.returncode}, seen.decode()
    return seen.decode().replace("\r\n", "\n")
