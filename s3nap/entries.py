"""One manifest of a listing: read from its copy or from the storage, vouched for by its signature, understood."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from s3nap import names
from s3nap.copies import Copies
from s3nap.errors import DeniedError, NoSuchObjectError, S3napError, UntrustedError, VerificationError
from s3nap.manifest import Archive, Manifest, from_json
from s3nap.signing import Trust
from s3nap.storage import Listed, Storage

_AHEAD = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Entry:
    """A manifest as it is listed, with what stands beside it, by mark."""

    key: names.CatalogKey
    listed: Listed
    beside: Mapping[str, Listed]


class EntryReader:
    """Reads manifests. With ``trust``, those do not count that nobody trusted has signed. Safe in several threads."""

    def __init__(self, storage: Storage, trust: Trust | None, copies: Copies | None) -> None:
        """``copies``: what this machine has read before."""
        self._storage = storage
        self._trust = trust
        self._copies = copies

    def archive(self, entry: Entry) -> Archive | S3napError:
        """Return the archive, or why there is none: UntrustedError, or what hinders understanding it."""
        try:
            data = self._stored(entry)
            if self._trust is not None:
                self._check_signature(data, entry, self._trust)
            manifest = from_json(data, entry.listed.key)
            if manifest.at.manifest != entry.listed.key:
                return VerificationError(
                    f"{entry.listed.key}: is the manifest of another archive ({manifest.at.manifest})"
                )
        except (VerificationError, NoSuchObjectError, DeniedError) as error:
            return error
        return Archive(manifest, frozenset(entry.beside) - {"json"}, hashlib.sha256(data).hexdigest())

    def _stored(self, entry: Entry) -> bytes:
        """Return a manifest: its copy, if the stored one has not changed since it was read, or else the stored one."""
        key, run = entry.listed.key, entry.key.run
        copy = self._copies.manifest(run) if self._copies is not None else None
        if self._copies is None or not _is_manifest(copy, key):
            copy = None  # a damaged copy is no damaged archive
        if self._copies is not None and copy is not None and self._copies.current(run, entry.listed):
            return copy
        try:
            data = self._storage.get(key)
        except DeniedError:
            if copy is None:
                raise
            return copy
        if copy is not None and data != copy:
            raise VerificationError(
                f"{key}: is not what it was when this machine last read it, though manifests never change: somebody "
                "altered it, or the copy in DiffDir (if you trust the stored one, remove that)"
            )
        if self._copies is not None:
            self._copies.keep_manifest(run, data, entry.listed.modified)
        return data

    def _check_signature(self, data: bytes, entry: Entry, trust: Trust) -> None:
        """Raise UntrustedError unless the signature counts; gpg is asked once for each that is stored.

        A plain VerificationError: gpg could not look. Such an archive is not passed over as a stranger's.
        """
        stored = entry.beside.get(names.SIGNATURE)
        if stored is None:
            raise UntrustedError("unsigned")
        known = self._copies.signature(entry.key.run, data, stored) if self._copies is not None else None
        if known is not None and known in trust:
            return
        try:
            signature = trust.check(data, self._storage.get(stored.key))
        except DeniedError:  # may put but not get: it is what this machine signed itself, or unknown
            known = self._copies.signature(entry.key.run, data, None) if self._copies is not None else None
            if known is None or known not in trust:
                raise UntrustedError("signed, but the signature may not be read") from None
            return
        except UntrustedError:
            raise
        except VerificationError as error:
            raise VerificationError(f"{entry.listed.key}: {error}") from error
        if self._copies is not None:
            self._copies.keep_signature(entry.key.run, data, signature, stored.modified)


def _is_manifest(copy: bytes | None, key: str) -> bool:
    with contextlib.suppress(VerificationError):
        return copy is not None and from_json(copy, key).at.manifest == key
    return False


def ahead(manifest: Manifest, stored: datetime) -> datetime | None:
    """Return the time that a manifest claims to be of, if that is more than a day after it was ``stored``."""
    claimed = max(manifest.started, names.run_time(manifest.run))
    return claimed if claimed - stored > _AHEAD else None
