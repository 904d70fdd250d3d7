"""What a conf needs to find on this machine: directories, keys, and that nobody else can read secrets."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from s3nap import hookvalues

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_KEY_LINES = ("key", "secret")


def faults(paths: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Yield (directive, what is wrong; what to do) for each path that is not as its directive needs it."""
    for directive, path in paths.items():
        if message := _CHECKS[directive](path):
            yield directive, message


def _directory(directive: str) -> Callable[[Path], str | None]:
    def check(path: Path) -> str | None:
        status = _status(path)
        if status is None:
            return f"{directive} does not exist, please create: {path}"
        if not stat.S_ISDIR(status.st_mode):
            return f"{directive} is no directory: {path}; name one"
        return None

    return check


def _file(directive: str) -> Callable[[Path], str | None]:
    def check(path: Path) -> str | None:
        return None if _status(path) else f"{directive} does not exist: {path}; create it, or correct the path"

    return check


def _secret(directive: str, wrong: Callable[[Path, str], str | None]) -> Callable[[Path], str | None]:
    def check(path: Path) -> str | None:
        status = _status(path)
        if status is None:
            return f"{directive} does not exist: {path}; create it, or correct the path"
        if not stat.S_ISREG(status.st_mode):
            return f"{directive} is no file: {path}; name one"
        if status.st_mode & _OTHERS:
            return f"{directive} can be read by others: {path}; chmod 600 it"
        try:
            text = path.read_text(errors="surrogateescape")
        except OSError as error:
            return f"{directive} cannot be read: {path}: {error.strerror}; chown it to who runs s3nap"
        return wrong(path, text)

    return check


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):
        return None


def _wrong_key(path: Path, text: str) -> str | None:
    missing = [
        name for name in _KEY_LINES if not re.search(rf"^[ \t]*{name}[ \t]*[=:][ \t]*\S+[ \t]*$", text, re.MULTILINE)
    ]
    if not missing:
        return None
    lines = " and ".join(f"{name}=…" for name in missing)
    return f"S3KeyFile lacks {lines}: {path}; write one line for each of key= and secret="


def _passphrase(directive: str) -> Callable[[Path], str | None]:
    def wrong(path: Path, text: str) -> str | None:
        if (text.splitlines() or [""])[0].strip():
            return None
        return f"{directive} holds no passphrase in its first line: {path}; write one"

    return _secret(directive, wrong)


def _urls(path: Path, text: str) -> str | None:
    try:
        return None if hookvalues.lines(text) else f"NotifyFile holds no URL: {path}; write one a line"
    except ValueError:
        return f"NotifyFile holds a line that is no URL: {path}; write one a line, comments with # before them"


def _ping(path: Path, text: str) -> str | None:
    try:
        hookvalues.web_url(tuple(text.split()))
    except ValueError as error:
        return f"PingFile {error}: {path}"
    return None


_CHECKS: Mapping[str, Callable[[Path], str | None]] = {
    "DiffDir": _directory("DiffDir"),
    "TempDir": _directory("TempDir"),
    "GpgKeyring": _file("GpgKeyring"),
    "GpgPassphraseFile": _passphrase("GpgPassphraseFile"),
    "SignPassphraseFile": _passphrase("SignPassphraseFile"),
    "S3KeyFile": _secret("S3KeyFile", _wrong_key),
    "LogConfig": _file("LogConfig"),
    "MySQLDefaultsFile": _secret("MySQLDefaultsFile", lambda _path, _text: None),
    "NotifyFile": _secret("NotifyFile", _urls),
    "PingFile": _secret("PingFile", _ping),
}

PATHS = tuple(_CHECKS)
"""Directives whose paths are checked."""
