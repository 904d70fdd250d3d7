"""Files of ``s3nap install`` on a machine: written all or none, nothing that is somebody else's replaced or removed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from s3nap import pipeline
from s3nap.errors import S3napError, UsageError
from s3nap.namedconfs import below
from s3nap.schedule import Mark

_ROOT = Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where files are written: this machine, or the tree of another one below ``root``."""

    root: Path

    @property
    def this_one(self) -> bool:
        """Is it the machine that this process runs on?"""
        return self.root == _ROOT

    @property
    def systemd(self) -> bool:
        """Does systemd run here; of a tree: is it installed there?"""
        if self.this_one:
            return Path("/run/systemd/system").is_dir()
        return any((self.root / folder / "systemd/systemd").exists() for folder in ("usr/lib", "lib"))

    @property
    def cron(self) -> bool:
        """Is there a cron that reads /etc/cron.d?"""
        return (self.root / "etc/cron.d").is_dir()

    def path(self, file: Path) -> Path:
        """Return where a file of that machine lies here."""
        return below(self.root, file)

    def systemctl(self, *words: str) -> None:
        """Let systemctl act; ProgramError, in its words, if it fails."""
        away = () if self.this_one else (f"--root={self.root}",)
        pipeline.output(["systemctl", *away, *words])


def ours(machine: Machine, file: Path) -> bool:
    """Did ``s3nap install`` write this file?"""
    return Mark.of(_text(machine.path(file))) is not None


def check(machine: Machine, file: Path, conf: Path, *, overwrite: bool) -> None:
    """Raise UsageError if a file is somebody else's, of another conf, or changed by hand (unless ``overwrite``)."""
    path = machine.path(file)
    if not os.path.lexists(path):
        return
    mark = Mark.of(_text(path))
    if mark is None:
        raise UsageError(f'{file} is there, and "s3nap install" did not write it: move it away')
    if mark.conf != str(conf):
        raise UsageError(f"{file} is there for {mark.conf}: give {conf} another name, or remove the other")
    if not mark.whole and not overwrite:
        raise UsageError(
            f"{file} was changed by hand: --overwrite replaces it (changes that last: systemctl edit {file.name})"
        )


def write(machine: Machine, files: Mapping[Path, str]) -> None:
    """Write all or none, and say which; what is there as it should be stays."""
    changed = {file: text for file, text in files.items() if not _is(machine.path(file), text)}
    fresh = {file: machine.path(file).with_name(f".{file.name}.new") for file in changed}
    try:
        for file, text in changed.items():
            with _as_root(machine.path(file)):
                fresh[file].parent.mkdir(parents=True, exist_ok=True)
                fresh[file].write_text(text, "utf-8")
                fresh[file].chmod(0o644)
        for file in changed:
            with _as_root(machine.path(file)):
                fresh[file].replace(machine.path(file))
    finally:
        for new in fresh.values():
            with contextlib.suppress(OSError):
                new.unlink()
    for file in files:
        click.echo(f"{'wrote' if file in changed else 'unchanged'} {file}")


def unlink(machine: Machine, file: Path) -> None:
    """Remove a file."""
    with _as_root(machine.path(file)):
        machine.path(file).unlink()


def _is(path: Path, text: str) -> bool:
    return os.path.lexists(path) and _text(path) == text


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise S3napError(f"{path}: {error.strerror}") from error


@contextlib.contextmanager
def _as_root(path: Path) -> Iterator[None]:
    """Say of a refused file what to do."""
    try:
        yield
    except PermissionError as error:
        raise S3napError(f"{path}: {error.strerror}: run this as root, or see the files with -n") from error
