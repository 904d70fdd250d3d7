"""What there is on a machine that could be backed up: found without being told where, in places that are known.

Every search is bounded, and nothing is looked at that may hang: network mounts are named, not entered.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from s3nap import answering, mounts
from s3nap.answering import Server
from s3nap.glance import Glance, listing, look
from s3nap.mounts import Mount, Nature, within

_FOLDERS = {
    "/etc": "the configuration of this machine",
    "/home": "home directories",
    "/root": "the home directory of root",
    "/var/spool/cron": "crontabs",
    "/usr/local": "what was installed by hand",
    "/srv": "data of services",
    "/var/www": "web sites",
    "/opt": "software from elsewhere, often with its data",
    "/var/local": "data of what was installed by hand",
    "/var/opt": "data of software from elsewhere",
    "/var/mail": "mailboxes",
    "/var/lib/docker/volumes": "volumes of containers",
    "/var/lib/containers/storage/volumes": "volumes of containers",
    "/var/lib/libvirt/images": "disks of virtual machines",
}
_DATA = {
    "/var/lib/mysql": answering.MYSQL,
    "/var/lib/postgresql": answering.POSTGRESQL,
    "/var/lib/pgsql": answering.POSTGRESQL,
}
# what a distribution puts below / and /var: anything else is somebody's own
_TOP = frozenset(
    (
        *(
            "bin",
            "boot",
            "cdrom",
            "dev",
            "efi",
            "etc",
            "home",
            "lib",
            "lib32",
            "lib64",
            "libx32",
            "lost+found",
            "media",
        ),
        *("nix", "opt", "proc", "root", "run", "sbin", "selinux", "snap", "srv", "sys", "tmp", "usr", "var"),
    )
)
_VAR = frozenset(
    (
        *("account", "adm", "backups", "cache", "crash", "db", "empty", "games", "kerberos", "lib", "local", "lock"),
        *("log", "mail", "metrics", "nis", "opt", "preserve", "run", "snap", "spool", "tmp", "www", "yp", "lost+found"),
    )
)
# mounts that hold the system itself, or nothing to keep
_SYSTEM = ("/", "/usr", "/var", "/var/lib", "/var/log", "/var/cache", "/var/log/audit", "/var/spool")
_BELOW = (
    *("/boot", "/cdrom", "/dev", "/efi", "/nix", "/proc", "/run", "/snap", "/sys", "/var/snap"),
    *("/tmp", "/var/tmp"),  # noqa: S108 - nothing is made there
    *("/var/lib/containers", "/var/lib/docker", "/var/lib/kubelet", "/var/lib/lxcfs", "/var/lib/snapd"),
)
_REPOSITORY_PLACES = (("/srv", 3), ("/var/svn", 2), ("/var/lib/svn", 2), ("/home", 4))
_REPOSITORY = {"format", "db", "hooks"}
_SEARCHED = 5000  # folders, at most, in search of repositories
_SQLITE = ("*.db", "*.sqlite", "*.sqlite3")
_SQLITE_HEAD = b"SQLite format 3\0"
_REMADE = frozenset({"PackageKit", "command-not-found", "dnf", "rpm", "swcatalog", "snapd", "apt", "dpkg", "mlocate"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder that holds files, and why it counts.

    ``mount`` where a file system is mounted there; ``kind`` of the server whose data it holds, if it is for that.
    """

    path: str
    about: str
    seen: Glance
    mount: Mount | None = None
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A Subversion repository; ``problem`` if this user cannot read it."""

    path: str
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All that was found. ``folders``: the outer before the inner. ``cold``: files of servers that do not answer.

    ``network``: mounts of other machines' data. ``packages``: the command that lists installed packages.
    ``searched_all``: was the search for repositories not cut short?
    """

    folders: Sequence[Folder] = ()
    network: Sequence[Mount] = ()
    cold: Sequence[Folder] = ()
    servers: Sequence[Server] = ()
    repositories: Sequence[Repository] = ()
    sqlite: Sequence[str] = ()
    packages: str = ""
    mounts: Sequence[Mount] = ()
    searched_all: bool = True


def take(root: Path = Path("/")) -> Inventory:
    """Look at the machine whose ``/`` is at ``root``."""
    mounted = mounts.read(root)
    never = {str(root / mount.path.lstrip("/")) for mount in mounted if mount.slow}
    servers = answering.servers(root)
    repositories, searched_all = _repositories(root, never)
    return Inventory(
        folders=list(_folders(root, mounted, never)),
        network=[mount for mount in mounted if mount.nature is Nature.NETWORK and _worth_it(mount)],
        cold=list(_cold(root, servers, never)),
        servers=servers,
        repositories=repositories,
        sqlite=list(_sqlite(root)),
        packages=_packages(root),
        mounts=mounted,
        searched_all=searched_all,
    )


def _folders(root: Path, mounted: Sequence[Mount], never: Collection[str]) -> Iterator[Folder]:
    """Yield known folders, then mounts, then what does not belong to the system; each once, if it holds a file."""
    local = {mount.path: mount for mount in mounts.alone(mounted) if mount.nature is Nature.LOCAL}
    wanted = dict(_FOLDERS)
    for mount in local.values():
        if _worth_it(mount):
            wanted.setdefault(mount.path, f"a mount of {mount.source} ({mount.type})")
    for parent, own in (("/", _TOP), ("/var", _VAR)):
        for entry in listing(str(root / parent.lstrip("/")), Glance()):
            if entry.name not in own and not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                wanted.setdefault(f"{parent.rstrip('/')}/{entry.name}", "not part of the system")
    for path, about in wanted.items():
        place = root / path.lstrip("/")
        if any(within(str(place), slow) for slow in never):
            continue
        if place.is_symlink() or not place.is_dir():  # containers have files mounted over others
            continue
        if (seen := look(place, never)).anything:
            yield Folder(path=path, about=about, seen=seen, mount=local.get(path))


def _worth_it(mount: Mount) -> bool:
    return mount.path not in _SYSTEM and not any(within(mount.path, folder) for folder in _BELOW)


def _cold(root: Path, servers: Sequence[Server], never: Collection[str]) -> Iterator[Folder]:
    listening = {server.kind for server in servers}
    for path, kind in _DATA.items():
        if kind not in listening and (seen := look(root / path.lstrip("/"), never)).anything:
            yield Folder(path=path, about=f"data of {kind}, but no server answers", seen=seen, kind=kind)


def _repositories(root: Path, never: Collection[str]) -> tuple[list[Repository], bool]:
    """Search the usual places, breadth first, not in hidden folders nor in repositories."""
    found: list[Repository] = []
    waiting = deque((str(root / place.lstrip("/")), depth) for place, depth in _REPOSITORY_PLACES)
    for _ in range(_SEARCHED):
        if not waiting:
            return found, True
        folder, depth = waiting.popleft()
        entries = listing(folder, Glance()) if folder not in never else []
        if {entry.name for entry in entries} >= _REPOSITORY:
            readable = os.access(f"{folder}/format", os.R_OK) and os.access(f"{folder}/db/current", os.R_OK)
            path = "/" + os.path.relpath(folder, root)
            found.append(Repository(path=path, problem="" if readable else "this user cannot read it"))
        elif depth:
            inner = (entry for entry in entries if entry.path not in never and not entry.name.startswith("."))
            waiting.extend((entry.path, depth - 1) for entry in inner if entry.is_dir(follow_symlinks=False))
    return found, False


def _sqlite(root: Path) -> Iterator[str]:
    """Yield databases directly in the folders of /var/lib, where programs keep theirs, but what is made anew."""
    for path in sorted(path for pattern in _SQLITE for path in (root / "var/lib").glob(f"*/{pattern}")):
        try:
            with path.open("rb") as file:
                found = path.parent.name not in _REMADE and path.is_file() and file.read(16) == _SQLITE_HEAD
        except OSError:
            continue
        if found:
            yield f"/{path.relative_to(root)}"


def _packages(root: Path) -> str:
    status = root / "var/lib/dpkg/status"
    if status.is_file() and status.stat().st_size:
        return "dpkg --get-selections"
    return "rpm -qa" if any((root / place).is_dir() for place in ("var/lib/rpm", "usr/lib/sysimage/rpm")) else ""
