"""``config generate --detect``: a conf with a line or block for all that was found, and why it is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import click

from s3nap import conftext, inventory
from s3nap.answering import MYSQL, Server
from s3nap.commands import logging
from s3nap.confwords import quoted
from s3nap.errors import Exit, S3napError
from s3nap.glance import Glance
from s3nap.inventory import Folder, Inventory
from s3nap.logs import one_line
from s3nap.mounts import within
from s3nap.names import job_name
from s3nap.recipients import public_keys
from s3nap.report import size
from s3nap.sources.excludes import literal

_HEAD = """\
# --- What was found on this machine. ---
# Take out what is not wanted. What is in no block will be told by: s3nap audit -c CONF

"""
_CYCLE = """\
<Cycle {}>
    Frequency 1
    Diffs 6
    Fulls 2
"""
_REST = """\
    # The system itself comes back by installing it. To keep it all the same:
    #<Directory />
    #    OneFileSystem On
    #</Directory>
"""
_LIST = {
    "dpkg --get-selections": "dpkg --set-selections < FILE && apt-get dselect-upgrade",
    "rpm -qa": "xargs dnf install < FILE",
}
_WAY_IN = {
    MYSQL: "write user and password under [client] into a file (mode 600), and name it by MySQLDefaultsFile",
    "PostgreSQL": "let this user in (createuser --superuser), or write the password into ~/.pgpass",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A source in the conf: why it is there, and what its block holds. ``off``: it stands in comments only."""

    kind: str
    source: str
    about: str
    inner: Sequence[str] = ()
    off: bool = False


def print_conf(root: Path) -> int:
    """Print the conf of a machine."""
    with logging(None, {"quiet": True, "verbose": False, "debug": False}):
        text = conftext.generate(blocks(inventory.take(root)), _keys())
    click.echo(text.encode("utf-8", "surrogateescape"), nl=False)  # names are bytes
    return Exit.DONE


def blocks(found: Inventory) -> str:
    """Return the Cycles with all that was found; what the main one has already under the same name gets its own."""
    cycles: list[dict[str, Entry]] = [{}]
    for entry in _entries(found):
        name = job_name(entry.kind, entry.source) + ("#" if entry.off else "")
        cycle = next((cycle for cycle in cycles if name not in cycle), None)
        if cycle is None:
            cycles.append(cycle := {})
        cycle[name] = entry
    texts = [_cycle("daily", cycles[0].values(), "\n" + _REST)]
    texts += [_cycle(f"daily-{number}", cycle.values()) for number, cycle in enumerate(cycles[1:], 2)]
    return _HEAD + "\n".join(texts)


def _cycle(name: str, entries: Iterable[Entry], rest: str = "") -> str:
    drawn = "".join("\n" + "".join(f"    {line}\n" for line in _lines(entry)) for entry in entries)
    return f"{_CYCLE.format(name)}{drawn}{rest}</Cycle>\n"


def _lines(entry: Entry) -> Iterator[str]:
    yield comment(entry.about)
    mark = "#" if entry.off else ""
    try:
        word = quoted(entry.source, block=bool(entry.inner))
    except ValueError as error:
        yield comment(f"{entry.kind}: {error}: give it another name")
        return
    if not entry.inner:
        yield f"{mark}{entry.kind} {word}"
        return
    yield f"{mark}<{entry.kind} {word}>"
    yield from (f"{mark}    {line}" for line in entry.inner)
    yield f"{mark}</{entry.kind}>"


def comment(text: str) -> str:
    """Return a text as a comment of one line, whatever it holds."""
    line = one_line(text)
    return f"# {line}." if line.endswith("\\") else f"# {line}"


# what was found -> entries


def _entries(found: Inventory) -> Iterator[Entry]:
    yield from _directories(found)
    for server in found.servers:
        yield _database(server)
    for folder in found.cold:
        about = f"{folder.about}: start it and do this again; its files are a backup only while it is stopped"
        yield Entry(kind="Directory", source=folder.path, about=about, off=True)
    yield from _repositories(found)
    for path in found.sqlite:
        yield Entry(kind="SQLite", source=path, about="a SQLite database, copied consistently while in use")
    if found.packages:
        about = f"which packages are installed; to install them again: {_LIST[found.packages]}"
        inner = (f"Dump {found.packages}", "Diffs 0")
        yield Entry(kind="Command", source="packages", about=about, inner=inner)


def _directories(found: Inventory) -> Iterator[Entry]:
    outer: list[Folder] = []
    data = [server.facts.data for server in found.servers if server.facts is not None and server.facts.data]
    cold = [folder.path for folder in found.cold]
    for folder in sorted(found.folders, key=lambda each: len(PurePosixPath(each.path).parts)):
        if any(within(folder.path, each.path) for each in outer) or folder.path in {*data, *cold}:
            continue
        outer.append(folder)
    for folder in found.folders:
        if folder in outer:
            inner = [*_left_out(folder.path, data, "the files of a running server are no backup")]
            inner += _left_out(folder.path, [mount.path for mount in found.network], "a network mount")
            about = f"{folder.about}: {seen(folder.seen)}"
            yield Entry(kind="Directory", source=folder.path, about=about, inner=inner)
    for mount in found.network:
        about = f"a network mount of {mount.source} ({mount.type}): it should be backed up where it lives"
        yield Entry(kind="Directory", source=mount.path, about=about, off=True)


def _left_out(folder: str, paths: Iterable[str], why: str) -> Iterator[str]:
    for path in paths:
        if within(path, folder):
            yield comment(why)
            try:
                yield f"Exclude {quoted(literal(path))}"
            except ValueError as error:
                yield comment(f"Exclude: {error}")


def seen(glance: Glance) -> str:
    """Say what a look into a folder has shown."""
    newest = f"newest of {datetime.fromtimestamp(glance.newest).astimezone():%Y-%m-%d}" if glance.files else ""
    files = f"{glance.files} file{'' if glance.files == 1 else 's'}, {size(glance.size)}"
    parts = [files if glance.whole else f"more than {files}", newest]
    parts += [f"{glance.closed} folders that this user cannot read"] if glance.closed else []
    return ", ".join(filter(None, parts))


def _database(server: Server) -> Entry:
    if server.facts is None:
        about = f"{server.kind} at {server.socket}: {server.problem}; {_WAY_IN[server.kind]}"
        return Entry(kind=server.kind, source="all", about=about, off=True)
    names = server.facts.databases
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return Entry(
        kind=server.kind,
        source=server.source,
        about=f"{server.kind} {server.facts.version} at {server.socket}, with: {shown or 'no databases'}",
        inner=[f"{name} {quoted(value)}" for name, value in server.settings.items()],
    )


def _repositories(found: Inventory) -> Iterator[Entry]:
    folders: dict[str, list[str]] = {}
    for repository in found.repositories:
        if repository.problem:
            about = f"a Subversion repository, but {repository.problem}"
            yield Entry(kind="Subversion", source=repository.path, about=about, off=True)
        else:
            folders.setdefault(str(PurePosixPath(repository.path).parent), []).append(repository.path)
    for folder, paths in folders.items():
        if len(paths) > 1:
            about = f"{len(paths)} Subversion repositories, each backed up by itself"
            yield Entry(kind="SubversionDir", source=folder, about=about)
        else:
            yield Entry(kind="Subversion", source=paths[0], about="a Subversion repository")
    if not found.searched_all:
        about = "the search for repositories was cut short: there may be more"
        yield Entry(kind="Subversion", source="/srv/svn/project", about=about, off=True)


def _keys() -> str:
    """Return comments with the public keys of this user's keyring."""
    try:
        keys = public_keys(datetime.now(UTC))
    except S3napError as error:
        return comment(str(error)) + "\n"
    lines = [
        "# Public keys in the keyring of this user:" if keys else "# There is no public key in this user's keyring."
    ]
    for key in keys:
        lines.append(comment(f"{key.owner}{': ' + key.problem if key.problem else ''}"))
        if not key.problem:
            lines.append(f"#GpgRecipient {key.fingerprint}")
    return "".join(f"{line}\n" for line in lines)
