"""What must be installed to restore: from the programs that made the archives to Debian's packages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from s3nap.compression import COMPRESSIONS
from s3nap.manifest import Manifest

_PACKAGES = {
    "tar": "tar",
    "gpg": "gnupg",
    "mariadb-dump": "mariadb-client",
    "mysqldump": "default-mysql-client",
    "pg_dump": "postgresql-client",
    "pg_dumpall": "postgresql-client",
    "svnadmin": "subversion",
    "zstd": "zstd",
    "gzip": "gzip",
    "xz": "xz-utils",
    "bzip2": "bzip2",
}
_SERVERS = {"mariadb-dump": "mariadb-server", "mysqldump": "default-mysql-server"}
_SERVER_OF_KIND = {"PostgreSQL": "postgresql"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A package, what of it is needed, and the version that made the archives; empty where nothing is known."""

    package: str
    what: str
    version: str


def needs(manifests: Iterable[Manifest]) -> list[Need]:
    """Return what restoring these archives needs besides s3nap; of several versions the newest archive's."""
    found: dict[str, Need] = {}
    for manifest in sorted(manifests, key=lambda each: each.run):
        decompressor = COMPRESSIONS[manifest.compression].program if manifest.compression in COMPRESSIONS else None
        programs = manifest.programs | ({decompressor: ""} if decompressor else {})
        for program, version in programs.items():
            if program in _PACKAGES:
                found[_PACKAGES[program]] = Need(package=_PACKAGES[program], what=program, version=version)
        server = next((_SERVERS[program] for program in manifest.programs if program in _SERVERS), None)
        server = server or _SERVER_OF_KIND.get(manifest.kind)
        if server:
            version = str(manifest.proof.get("server", ""))
            found[server] = Need(package=server, what="a running server", version=version)
    return sorted(found.values(), key=lambda need: need.package)
