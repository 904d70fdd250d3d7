"""The ``keys`` command: the envelopes of a chain as files, to be opened on the machine that has the private key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from s3nap import access, advice
from s3nap.commands import logging, only_place
from s3nap.errors import Exit, NoKeyError, UsageError
from s3nap.manifest import Archive
from s3nap.reader import KeySource, Reader, envelopes

_TARGET = Path()


def keys(*, confs: Sequence[Path], job: str, at: str, target: Path | None, **options: Any) -> int:  # noqa: ANN401
    """Write the envelopes and say what to do with them.

    Raises NoKeyError if the archive is not encrypted, UsageError if another file of that name is in the way.
    """
    place = only_place(confs, options)
    folder = target or _TARGET
    with logging(place.conf, options):
        place.storage.check()
        links = [link for link in access.find_chain(access.find_job(place, job), at) if envelopes(link)]
        if not links:
            raise NoKeyError(f"{job} is not encrypted: restore needs no keys for it")
        with Reader(place.storage, KeySource()) as reader:
            files = {
                folder / _file(link, name): reader.envelope(link, name) for link in links for name in envelopes(link)
            }
        _write(folder, files)
    if not options["quiet"]:
        click.echo(_what_next(links, folder, advice.reaching(confs, options)), nl=False)
    return Exit.DONE


def _file(link: Archive, name: str) -> str:
    return f"{link.run}.{name}"


def _write(folder: Path, files: dict[Path, bytes]) -> None:
    """Write all files, or none if one would replace something else."""
    for path, data in files.items():
        if path.exists() and path.read_bytes() != data:
            raise UsageError(f"{path} exists already and is something else: move it away, or give another --target")
    folder.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        path.write_bytes(data)


def _what_next(links: Sequence[Archive], folder: Path, where: Sequence[str]) -> str:
    last = links[-1].manifest
    named = [_file(link, name) for link in links for name in envelopes(link)]
    opened = [f"{link.run}.keys" for link in links]
    given = [word for name in opened for word in ("--keys", name)]
    into = ["--target", "FOLDER"] if last.stream == "tar" else []
    steps = [
        f"# 1. Take these files from {folder.absolute()} to the machine that has the private key. They are encrypted.",
        *(f"#    {name}" for name in named),
        "# 2. There:",
        "umask 077",
        *(_opening(link) for link in links),
        "# 3. Bring the .keys files back, and nothing else. They open this chain alone. Guard them, then destroy them.",
        *(f"#    {name}" for name in opened),
        f"# 4. Here (add what this job needs besides{', such as the folder' if into else ''}):",
        advice.restore(last.job, where, *given, *into, at=last.run),
    ]
    return "".join(f"{step}\n" for step in steps)


def _opening(link: Archive) -> str:
    """Return the command that opens an archive's envelope: the newest that this private key is for."""
    tries = [
        advice.line(["gpg", "--output", f"{link.run}.keys", "--decrypt", _file(link, name)]) for name in envelopes(link)
    ]
    return " || ".join(tries)
