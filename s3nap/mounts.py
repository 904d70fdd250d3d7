"""What is mounted where, as the kernel says it (``mountinfo``), and which of it holds data of this machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_PSEUDO = re.compile(
    r"""autofs|bdev|binder|binfmt_misc|bpf|cgroup2?|configfs|cpuset|cramfs|debugfs|devpts|devtmpfs|drm|ecryptfs|efivarfs
      |erofs|fuse\.(gvfsd-fuse|lxcfs|portal|snapfuse|squashfuse)|fusectl|hugetlbfs|iso9660|mqueue|nfsd|none|nsfs|overlay
      |pipefs|proc|pstore|ramfs|resctrl|rootfs|rpc_pipefs|securityfs|selinuxfs|smackfs|sockfs|squashfs|sysfs|tmpfs
      |tracefs|udf|usbfs""",
    re.VERBOSE,
)
_NETWORK = re.compile(
    r"9p|afs|ceph|cifs|coda|davfs|gfs2|glusterfs|lustre|ncpfs|nfs4?|ocfs2|orangefs|smb3|smbfs|virtiofs|fuse\..*"
)
_AUTOFS = "autofs"


class Nature(StrEnum):
    """What stands behind a mount."""

    LOCAL = "local"
    NETWORK = "network"
    PSEUDO = "pseudo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mount: where, of which type, of what; ``device`` and ``root`` say which part of which file system it is."""

    path: str
    type: str
    source: str
    device: str
    root: str

    @property
    def nature(self) -> Nature:
        """Data of this machine, of another one, or none at all; of a type that nobody knows the first is assumed."""
        if _PSEUDO.fullmatch(self.type):
            return Nature.PSEUDO
        if _NETWORK.fullmatch(self.type) and not self.source.startswith("/dev/"):
            return Nature.NETWORK
        return Nature.LOCAL

    @property
    def slow(self) -> bool:
        """Can a mere look at it hang, for a server is gone or something is mounted by the look?"""
        return self.nature is Nature.NETWORK or self.type == _AUTOFS


def read(root: Path = Path("/")) -> list[Mount]:
    """Return what is mounted, of the process that asks; nothing where the kernel does not tell."""
    try:
        text = (root / "proc/self/mountinfo").read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return []
    return parse(text)


def parse(text: str) -> list[Mount]:
    """Return the mounts of a ``mountinfo``, the last of each place: it hides those before. Odd lines are left out."""
    found: dict[str, Mount] = {}
    for line in text.split("\n"):
        before, dash, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if dash and len(fields) >= 6 and len(kind) >= 2:
            path = _plain(fields[4])
            found.pop(path, None)
            found[path] = Mount(
                path=path, type=kind[0], source=_plain(kind[1]), device=fields[2], root=_plain(fields[3])
            )
    return list(found.values())


def alone(mounts: Sequence[Mount]) -> list[Mount]:
    """Return the mounts without those that show a part of a file system which another one shows whole (bind mounts)."""
    kept: list[Mount] = []
    for mount in sorted(mounts, key=lambda each: len(each.root)):
        shown = any(each.device == mount.device and within(mount.root, each.root) for each in kept)
        if mount.nature is Nature.PSEUDO or not shown:
            kept.append(mount)
    return [mount for mount in mounts if mount in kept]


def within(path: str, folder: str) -> bool:
    """Is a path a folder, or below it? By names alone."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _plain(text: str) -> str:
    raw = text.encode("utf-8", "surrogateescape")
    plain = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8) & 0xFF]), raw)
    return plain.decode("utf-8", "surrogateescape")
