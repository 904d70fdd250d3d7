"""What systemd may keep a conf's daily run from, so that what is stored is the same as without any of that.

A limit that would hide a file from tar, or a socket from a client, is worse than none: the archive would lack it, and
nobody would know. So each depends on what the conf names. Left out for all: ProtectKernelModules and ProtectKernelLogs
(they hide /usr/lib/modules and more; the capabilities that are taken away do the same), MemoryDenyWriteExecute
(Python's foreign functions need it), PrivateUsers (files would seem to be nobody's), PrivateNetwork.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from s3nap.job import Conf, Setting
from s3nap.namedconfs import below

_OWN_COMMANDS = ("Dump", "Before", "After", "OnError")
_SERVERS = frozenset({"MySQL", "PostgreSQL"})
_FILES = frozenset({"Directory", "Subversion", "SubversionDir", "SQLite", "Conf"})
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - named, not used
_DEVICES = (Path("/dev"),)

Lines = list[tuple[str, str | tuple[Path, ...]]]
"""Directives of systemd; a tuple of paths is a list of those that need not exist."""


def own_commands(conf: Conf) -> list[str]:
    """Return the directives of a conf that run commands of the user's, of which nobody else knows what they need."""
    return [name for name in _OWN_COMMANDS if any(name in place and place[name].value for place in _places(conf))]


def confinement(
    conf: Conf, *, log_folder: Path | None, gpg_home: Path, programs: Iterable[Path], root: Path = Path("/")
) -> Lines:
    """Return the directives of systemd that confine a run of this conf as far as it can bear.

    ``log_folder`` is where messages go, None if to no file; ``programs`` are the paths that s3nap itself is made of;
    ``root`` is where the tree lies that all of them are of.
    """
    written = _written(conf, log_folder)
    seen = [*written, *_sources(conf), *_named(conf), conf.file, *programs]
    private_tmp = not (_overlap(seen, _TEMPORARY) or any(job.kind in _SERVERS for job in conf.jobs))
    # gpg's lock files and agent
    writable = (*written, gpg_home, Path("/run/user"), *(() if private_tmp else _TEMPORARY))
    return [
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "read-only"),
        ("ReadWritePaths", tuple(dict.fromkeys(writable))),
        *([("PrivateTmp", "yes")] if private_tmp else []),
        *([] if _overlap(seen, _DEVICES) else [("PrivateDevices", "yes")]),
        *((name, "yes") for name in ("ProtectKernelTunables", "ProtectControlGroups", "ProtectHostname")),
        *((name, "yes") for name in ("LockPersonality", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID")),
        ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"),  # the last: names of hosts
        ("SystemCallArchitectures", "native"),
        ("SystemCallFilter", "@system-service"),
        ("SystemCallErrorNumber", "EPERM"),
        ("CapabilityBoundingSet", " ".join(_capabilities(conf, [below(root, path) for path in written]))),
    ]


def _capabilities(conf: Conf, written: Iterable[Path]) -> Iterator[str]:
    yield "CAP_DAC_READ_SEARCH"
    kinds = {job.kind for job in conf.jobs}
    if "Directory" in kinds:
        yield "CAP_SYS_ADMIN"  # without it nobody sees trusted.* attributes; what else it allows, the filter does not
    if kinds & {*_SERVERS, "SQLite"} or any(_anothers(path) for path in written):
        yield "CAP_DAC_OVERRIDE"  # sockets are written to
    if "SQLite" in kinds:
        yield from ("CAP_CHOWN", "CAP_FOWNER")  # files beside a database must become its owner's
    if conf["IoClass"] and str(conf["IoClass"]).startswith("realtime"):
        yield "CAP_SYS_NICE"


def _written(conf: Conf, log_folder: Path | None) -> list[Path]:
    parts = urlsplit(str(conf["Bucket"]))
    bucket = [Path(unquote(parts.path))] if parts.scheme == "file" else []
    named = [Path(conf[name]) for name in ("DiffDir", "TempDir") if conf[name]]
    databases = [Path(job.source).parent for job in conf.jobs if job.kind == "SQLite"]  # WAL and locks lie beside
    return [*named, *bucket, *([log_folder] if log_folder else []), *databases]


def _sources(conf: Conf) -> list[Path]:
    return [Path(job.source) for job in conf.jobs if job.kind in _FILES]


def _named(conf: Conf) -> list[Path]:
    return [each.value for place in _places(conf) for each in place.values() if isinstance(each.value, Path)]


def _places(conf: Conf) -> list[Mapping[str, Setting]]:
    return [conf.settings, *(job.settings for job in conf.jobs)]


def _overlap(paths: Iterable[Path], others: Iterable[Path]) -> bool:
    """Lies any of the paths in, or around, any of the others, links followed?"""
    whole = [each for path in paths for each in {path, path.resolve()}]
    return any(path.is_relative_to(other) or other.is_relative_to(path) for path in whole for other in others)


def _anothers(path: Path) -> bool:
    try:
        return path.stat().st_uid != 0
    except OSError:
        return False
