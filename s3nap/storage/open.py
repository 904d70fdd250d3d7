"""From a configured bucket to a storage."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from s3nap.errors import UsageError
from s3nap.pace import UNLIMITED, Limits
from s3nap.storage import Storage

_NAME = re.compile(r"[A-Za-z0-9._-]*")


def open_storage(  # noqa: PLR0913 (the directives of a conf, by name)
    url: str,
    *,
    endpoint: str | None = None,
    region: str | None = None,
    storage_class: str | None = None,
    object_lock: str | None = None,
    key_file: Path | None = None,
    connections: int = 8,
    limits: Limits = UNLIMITED,
) -> Storage:
    """Return the storage of ``s3://bucket[/prefix]``, ``file:///path`` or a bare bucket name, without asking it.

    ``limits`` hold for all that is put and got. The other parameters concern S3 alone; ``connections`` is how many
    threads will use the storage at once.
    """
    parts = _checked(url)
    if parts.scheme == "file":
        from s3nap.storage.local import LocalStorage  # noqa: PLC0415 (each storage is loaded only when it is used)

        return LocalStorage(Path(unquote(parts.path)), limits)
    # botocore takes a fifth of a second to import; who backs up to a disk, or asks for the version, need not wait
    from s3nap.storage.s3 import S3Storage  # noqa: PLC0415 (as said above)

    return S3Storage(
        bucket=parts.netloc,
        prefix=parts.path.strip("/"),
        endpoint=endpoint,
        region=region,
        storage_class=storage_class,
        object_lock=object_lock,
        key_file=key_file,
        connections=connections,
        limits=limits,
    )


def canonical(url: str) -> str:
    """Return the ``url`` that the storage will have, without loading anything; UsageError as above."""
    parts = _checked(url)
    if parts.scheme == "file":
        return f"file://{Path(unquote(parts.path))}"
    return f"s3://{parts.netloc}/{parts.path.strip('/')}".rstrip("/")


def _checked(url: str) -> SplitResult:
    parts = urlsplit(url if "://" in url else f"s3://{url}")
    if parts.query or parts.fragment or parts.scheme not in {"s3", "file"} or not _NAME.fullmatch(parts.netloc):
        raise UsageError(f"{url}: no storage I know; write s3://bucket, s3://bucket/prefix or file:///path")
    if parts.scheme == "file" and (parts.netloc not in {"", "localhost"} or not unquote(parts.path).startswith("/")):
        raise UsageError(f"{url}: a local storage is file:/// and an absolute path, with three slashes")
    if parts.scheme == "s3" and not parts.netloc:
        raise UsageError(f"{url}: the bucket's name is missing; write s3://bucket or s3://bucket/prefix")
    return parts
