"""Deleting from S3: in batches or one by one, and every version where the bucket keeps versions.

A delete that names no version frees nothing in such a bucket: it only puts a marker on top.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from loguru import logger

from s3nap.errors import BucketError, DeniedError, NoSuchObjectError, StorageError
from s3nap.storage.s3codes import DENIED, code_of, status_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import DeleteObjectsOutputTypeDef, ObjectIdentifierTypeDef

_BATCH = 1000
_NO_BATCHES = frozenset({"NotImplemented", "MissingContentMD5", "MethodNotAllowed", "InvalidRequest", "InvalidDigest"})
_LOCKED = re.compile(r"object.?lock|worm protected|retention|legal hold", re.IGNORECASE)
_KEPT = frozenset({"Enabled", "Suspended"})


class Deleter:
    """Deletes objects of one bucket by their whole names. ``locks``: what is stored there is locked by s3nap itself."""

    def __init__(self, client: S3Client, bucket: str, tried: Callable[..., Any], *, locks: bool) -> None:
        """``tried(doing, call, key)`` calls, retries, and translates errors."""
        self._client = client
        self._bucket = bucket
        self._tried = tried
        self._locks = locks
        self._batches = True
        self._versions: bool | None = None  # not asked yet

    def delete(self, names: Sequence[str]) -> Sequence[str]:
        """Delete objects, missing ones included, at most 1000; return those whose deletion was denied."""
        if self._versions is None:
            self._versions = self._keeps_versions()
        if self._versions:
            try:
                found = list(self._found(names))
            except DeniedError as error:
                logger.debug("versions may not be listed, so deletes only mark: {}", error)
                self._versions = False
            else:
                return self._without_rights(self._all(found))
        return [key for key, _ in self._all([{"Key": name} for name in names])]

    def _keeps_versions(self) -> bool:
        call = partial(self._client.get_bucket_versioning, Bucket=self._bucket)
        try:
            return self._tried("get versioning of", call, self._bucket).get("Status") in _KEPT
        except BucketError:
            raise
        except StorageError as error:  # may not ask, or a look-alike that knows no versions
            logger.debug("deletes without versions: {}", error)
            return False

    def _found(self, names: Sequence[str]) -> Iterator[ObjectIdentifierTypeDef]:
        """Yield every version and marker of these objects."""
        folders: dict[str, set[str]] = defaultdict(set)
        for name in names:
            folders[name.rpartition("/")[0]].add(name)
        for wanted in folders.values():
            at: dict[str, Any] = {"Prefix": _common(min(wanted), max(wanted))}
            while True:
                call = partial(self._client.list_object_versions, Bucket=self._bucket, MaxKeys=_BATCH, **at)
                page = self._tried("list versions of", call, at["Prefix"])
                for each in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
                    if each["Key"] in wanted:
                        yield {"Key": each["Key"], "VersionId": each["VersionId"]}
                if not page.get("IsTruncated"):
                    break
                at |= {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page.get("NextVersionIdMarker", "")}

    def _without_rights(self, refused: Sequence[tuple[str, str]]) -> Sequence[str]:
        """Mark what may be deleted by name but not by version; return what is locked, or may not be deleted at all."""
        kept = dict.fromkeys(name for name, _ in refused)
        if self._locks or any(_LOCKED.search(message) for _, message in refused):
            return list(kept)  # it can go later, and must not be hidden until then
        return [name for name, _ in self._all([{"Key": name} for name in kept])]

    def _all(self, wanted: Sequence[ObjectIdentifierTypeDef]) -> list[tuple[str, str]]:
        """Delete; return the name of what was denied, and why."""
        denied: list[tuple[str, str]] = []
        for start in range(0, len(wanted), _BATCH):
            denied += self._batch(wanted[start : start + _BATCH])
        return denied

    def _batch(self, wanted: Sequence[ObjectIdentifierTypeDef]) -> list[tuple[str, str]]:
        answer = None
        if self._batches:
            try:
                answer = self._tried("delete", partial(self._delete_objects, wanted), f"{wanted[0]['Key']} …")
            except DeniedError as error:
                return [(each["Key"], str(error)) for each in wanted]
        if answer is None:
            return [(each["Key"], why) for each in wanted if (why := self._one(each)) is not None]
        refused = [each for each in answer.get("Errors", ()) if each.get("Code") in DENIED]
        return [(each["Key"], each.get("Message", "")) for each in refused]

    def _delete_objects(self, wanted: Sequence[ObjectIdentifierTypeDef]) -> DeleteObjectsOutputTypeDef | None:
        """Return an answer for every object, each deleted or denied; None if the server cannot do batches."""
        refusal = self._client.exceptions.ClientError
        try:
            answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": wanted})
        except refusal as error:
            if code_of(error.response) not in _NO_BATCHES and status_of(error.response) not in {405, 501}:
                raise
            self._batches = False
            return None
        for each in answer.get("Errors", ()):
            if each.get("Code") not in {*DENIED, "NoSuchKey", "NoSuchVersion"}:
                message = f"{each.get('Key')}: {each.get('Message')}"
                raise refusal({"Error": {"Code": each.get("Code", ""), "Message": message}}, "DeleteObjects")
        told = {each.get("Key") for each in [*answer.get("Deleted", ()), *answer.get("Errors", ())]}
        return answer if told.issuperset(each["Key"] for each in wanted) else None

    def _one(self, wanted: ObjectIdentifierTypeDef) -> str | None:
        """Delete one object; return why that was denied."""
        version: Any = {"VersionId": wanted["VersionId"]} if "VersionId" in wanted else {}
        call = partial(self._client.delete_object, Bucket=self._bucket, Key=wanted["Key"], **version)
        try:
            self._tried("delete", call, wanted["Key"])
        except NoSuchObjectError:
            return None
        except DeniedError as error:
            return str(error)
        return None


def _common(first: str, last: str) -> str:
    """Return what two names begin with, and so all names between them."""
    return "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
