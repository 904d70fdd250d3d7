"""BENCHMARKS.md: each benchmark writes its own section and leaves the others."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import subprocess
from pathlib import Path

PAGE = Path(__file__).parent.parent / "BENCHMARKS.md"
_HEAD = "# Benchmarks\n"
_LOAD = os.getloadavg()[0]  # of the others, before anything of ours runs
_QUIET = 1.5


def write(name: str, text: str) -> None:
    """Put a section in its place; the first time, at the end."""
    page = PAGE.read_text("utf-8") if PAGE.exists() else _HEAD
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    block = f"{begin}\n\n{text}\n\n{end}"
    found = re.search(re.escape(begin) + ".*?" + re.escape(end), page, re.DOTALL)
    PAGE.write_text(page.replace(found[0], block) if found else f"{page.rstrip()}\n\n{block}\n", "utf-8")


def machine(rounds: int) -> str:
    """Say what was measured with, and when."""
    versions = [_version("restic", "version"), _version("borg", "--version"), _version("duplicity", "--version")]
    versions += [_version("aws", "--version"), _version("gpg", "--version"), _version("zstd", "--version")]
    day = dt.datetime.now(dt.UTC).date()
    busy = "" if _LOAD < _QUIET else " **The machine was not quiet: measure again before you quote these.**"
    return (
        f"Medians of {rounds}, {day}, {os.cpu_count()} cores, S3 server on the same cores, Python "
        f"{platform.python_version()}, load before {_LOAD:.1f}; {'; '.join(filter(None, versions))}.{busy}"
    )


def _version(program: str, word: str) -> str:
    try:
        done = subprocess.run([program, word], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return " ".join((done.stdout or done.stderr).splitlines()[0].split()[:3]).strip("* ")
