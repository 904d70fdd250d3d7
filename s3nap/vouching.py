"""The ``sign`` command: a person vouches for archives that are there unsigned, as those of before SignKey."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from s3nap import access
from s3nap.commands import logging, only_place
from s3nap.errors import DeniedError, Exit, NothingMatchesError, UsageError, VerificationError
from s3nap.manifest import Archive
from s3nap.names import SIGNATURE, readable
from s3nap.signing import Signer, open_signer, trust_of
from s3nap.storage import Storage
from s3nap.when import choose


def sign(*, confs: Sequence[Path], job: str, at: str | None, dry: bool, **options: Any) -> int:  # noqa: ANN401
    """Sign the archives of a job that count for nothing, all of them or one; with ``dry`` name them only."""
    place = only_place(confs, options | {"unsigned": True})
    if place.conf is None or place.conf["SignKey"] is None:
        raise UsageError("sign needs a conf with SignKey: s3nap -c CONF sign JOB")
    with logging(place.conf, options):
        place.storage.check()
        known = access.find_job(place, job)
        counted = replace(place, trust=trust_of(place.conf, options["trusted_signer"])).catalog.job(known.job).by_run
        waiting = [archive for archive in known.archives if archive.run not in counted]
        if not waiting:
            raise NothingMatchesError(f"every archive of {readable(known.job)} is signed by who is trusted")
        signer = None if dry else open_signer(place.conf)
        for archive in [choose(waiting, at, datetime.now(UTC))] if at else waiting:
            if signer is not None:
                _sign(place.storage, archive, signer)
            manifest = archive.manifest
            what = f"archive {manifest.run} of {manifest.day} ({manifest.type}, files: {manifest.files})"
            if dry or not options["quiet"]:
                click.echo(f"{readable(manifest.job)}: {what} {'would be' if dry else 'is now'} signed")
    return Exit.DONE


def _sign(storage: Storage, archive: Archive, signer: Signer) -> None:
    at = archive.manifest.at
    data = storage.get(at.manifest)
    if hashlib.sha256(data).hexdigest() != archive.sha256:
        raise VerificationError(f"{at.manifest} changed while it was looked at: it is not signed")
    made, _ = signer.sign(data)
    if SIGNATURE in archive.marks and storage.delete([at.mark(SIGNATURE)]):
        raise DeniedError(f"{at.mark(SIGNATURE)} is another signature, and may not be deleted")
    storage.put(at.mark(SIGNATURE), made)
