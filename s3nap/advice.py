"""The commands that a person is told to type: whole and quoted, so that they can be pasted as they are."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_REACHING = {"bucket": "--bucket", "endpoint": "--endpoint", "region": "--region", "key_file": "--key-file"}


def line(words: Iterable[object]) -> str:
    """Write words as one line for sh."""
    return " ".join(shlex.quote(str(word)) for word in words)


def reaching(confs: Sequence[Path], options: Mapping[str, Any]) -> list[str]:
    """Return the options that lead to the same archives again: the conf, or where the bucket is."""
    words = [word for conf in confs for word in ("-c", str(conf))]
    words += [word for name, flag in _REACHING.items() if options[name] for word in (flag, str(options[name]))]
    return [*words, *(["--host", str(options["host"])] if options["host"] else [])]


def restore(job: str, where: Sequence[str], *more: object, at: str | None = None) -> str:
    """Return the command that restores a job, named as encoded; ``where`` as ``reaching`` has it."""
    return line(["s3nap", "restore", job, *where, *(["--at", at] if at else []), *more])
