"""Puts marks beside manifests, where that is allowed: what was found out counts without them, too."""

from __future__ import annotations

from loguru import logger

from s3nap.errors import DeniedError, StorageError
from s3nap.storage import Storage


class Marking:
    """Puts marks into a storage until that denies one: then it says so, once, and tries no more."""

    def __init__(self, storage: Storage) -> None:
        """Nothing is put before it is asked for."""
        self._storage = storage
        self._allowed = True

    def put(self, key: str, data: bytes) -> bool:
        """Put a mark; False, with a warning, if it is not there now."""
        if not self._allowed:
            return False
        try:
            self._storage.put(key, data)
        except DeniedError as error:
            self._allowed = False
            logger.warning("no marks are left, so check will not know of this: {}", error)
        except StorageError as error:
            logger.warning("the mark could not be put: {}", error)
        else:
            return True
        return False
