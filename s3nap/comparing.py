"""Compares what stands in a target with what an index says: type, size, mode, owner, time, where links lead."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from s3nap.contents import Node
from s3nap.errors import VerificationError
from s3nap.sources import within
from s3nap.sources.tarfolder import mode_bits

_SHOWN = 10


def compare(target: Path, nodes: Mapping[bytes, Node], *, numeric_owner: bool) -> None:
    """Raise VerificationError naming what below ``target`` is not as the index has it.

    Owners are compared as root only, and by the names that this system knows: the index has no numbers.
    """
    said = []
    for path, node in nodes.items():
        try:
            there = os.lstat(within.place(target, path))
        except OSError:
            said.append(f"/{os.fsdecode(path)} is missing")
            continue
        if wrong := difference(target, path, node, there, numeric_owner=numeric_owner):
            said.append(f"/{os.fsdecode(path)} {wrong}")
        elif node.line.kind == b"h" and not _linked(target, node, nodes, there):
            said.append(f"/{os.fsdecode(path)} is no hard link to /{os.fsdecode(node.line.link.removeprefix(b'./'))}")
    if said:
        more = f" and {len(said) - _SHOWN} more" if len(said) > _SHOWN else ""
        raise VerificationError(f"restored, but not as the index says: {'; '.join(said[:_SHOWN])}{more}")


def difference(  # noqa: PLR0911 - the first that is found
    target: Path, path: bytes, node: Node, there: os.stat_result, *, numeric_owner: bool
) -> str:
    """Say in which way a path is not what ``node`` says; empty if it is. Contents are not looked at."""
    letter = stat.filemode(there.st_mode)[:1].encode()
    if letter != node.kind:
        return f"is of another type ({letter.decode()}, not {node.kind.decode()})"
    if node.kind == b"-" and there.st_size != node.size:
        return f"is {there.st_size} bytes long, not {node.size}"
    if node.kind == b"l" and os.readlink(within.place(target, path)) != node.link:  # noqa: PTH115 - bytes
        return "leads elsewhere"
    if node.kind != b"l" and stat.S_IMODE(there.st_mode) != mode_bits(node.line.mode):
        return f"has mode {stat.S_IMODE(there.st_mode):o}, not {mode_bits(node.line.mode):o}"
    if node.line.mtime and there.st_mtime_ns != node.line.mtime:
        return f"was changed at another time than {node.line.time.decode()}"
    if os.geteuid() == 0 and not numeric_owner and not _owned(node.line.owner, there):
        return f"does not belong to {node.line.owner.decode(errors='backslashreplace')}"
    return ""


def _owned(owner: bytes, there: os.stat_result) -> bool:
    user, _, group = owner.partition(b"/")
    return _user(user) in {None, there.st_uid} and _group(group) in {None, there.st_gid}


def _linked(target: Path, node: Node, nodes: Mapping[bytes, Node], there: os.stat_result) -> bool:
    """Is this the same file as the first of its names, if that was restored, too?"""
    first = nodes.get(node.line.link.removeprefix(b"./"))
    if first is None or first.run != node.run:
        return True
    try:
        other = os.lstat(within.place(target, first.line.path))
    except OSError:
        return False
    return (other.st_dev, other.st_ino) == (there.st_dev, there.st_ino)


def _number(name: bytes, look: Callable[[str], int]) -> int | None:
    """Return the number of an owner; None if that is not known here: then tar took the one of the archive."""
    try:
        return look(os.fsdecode(name))
    except (KeyError, ValueError):
        return int(name) if name.isdigit() else None


@lru_cache(maxsize=1024)
def _user(name: bytes) -> int | None:
    return _number(name, lambda text: pwd.getpwnam(text).pw_uid)


@lru_cache(maxsize=1024)
def _group(name: bytes) -> int | None:
    return _number(name, lambda text: grp.getgrnam(text).gr_gid)
