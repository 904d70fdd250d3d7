"""What a key may look like: every storage refuses the same ones, before it does anything.

Where keys are no paths, more may be read than written: other programs stored under keys that begin with ``/``.
"""

from __future__ import annotations

from s3nap.errors import StorageError

_FORBIDDEN = frozenset({"", ".", ".."})


def checked_key(key: str) -> str:
    """Return the key; raise ``StorageError`` if it could leave the storage or name different objects in different ones.

    Keys come from listings and manifests, so from whoever can write to the bucket.
    """
    if not _FORBIDDEN.isdisjoint(key.split("/")) or "\0" in key or not _is_text(key):
        raise StorageError(
            f"{key!a} is no key of an object: keys are relative, without empty, '.' or '..' components; "
            "look at who wrote it"
        )
    return key


def foreign_key(key: str) -> str:
    """Return a key that is only read, from a storage whose keys are no paths; empty components are harmless there.

    Raises ``StorageError`` for any other key that ``checked_key`` refuses.
    """
    checked_key("/".join(filter(None, key.split("/"))))
    return key


def _is_text(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
