"""The error codes of S3: which may pass, which mean that the bucket is of no use, and what to do about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s3nap.errors import BucketError, DeniedError, NoSuchObjectError, StorageError

_TRANSIENT = frozenset(
    {
        "SlowDown",
        "RequestTimeout",
        "Throttling",
        "ThrottlingException",
        "RequestLimitExceeded",
        "InternalError",
        "ServiceUnavailable",
        "OperationAborted",
        "IncompleteBody",
        "BadDigest",
        "XAmzContentSHA256Mismatch",
    }
)
DENIED = frozenset({"AccessDenied", "ObjectLocked"})
NO_LOCK = frozenset({"ObjectLockConfigurationNotFoundError", "NotImplemented", "InvalidRequest"})

_REGION = "the bucket is in another region; set Region to its own"
_EXPIRED = "the credentials have expired; get new ones"
_REMEDIES = {  # whatever is asked, the answer will be the same: the whole bucket is of no use
    "NoSuchBucket": "there is no such bucket; correct Bucket, or create it: aws s3 mb s3://{bucket}",
    "InvalidBucketName": "no bucket can have this name; correct Bucket",
    "InvalidAccessKeyId": "the access key is unknown there; correct S3KeyFile or the credentials in ~/.aws",
    "SignatureDoesNotMatch": "the secret key is wrong; correct S3KeyFile or the credentials in ~/.aws",
    "InvalidToken": _EXPIRED,
    "ExpiredToken": _EXPIRED,
    "RequestTimeTooSkewed": "the clock of this machine is wrong; set it (timedatectl set-ntp true)",
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "PermanentRedirect": _REGION,
    "AccountProblem": "the account is blocked; ask the provider",
    "NotSignedUp": "the account has no S3; ask the provider",
}
_HINTS = {  # what concerns one object
    "InvalidObjectState": "the object lies in a cold storage class; have it brought back: aws s3api restore-object",
    "InvalidStorageClass": "correct StorageClass",
    "EntityTooLarge": "make ChunkSize smaller",
}


def code_of(response: Mapping[str, Any]) -> str:
    """Return the code of an error, as botocore holds it."""
    return str(response.get("Error", {}).get("Code", ""))


def status_of(response: Mapping[str, Any]) -> int:
    """Return the HTTP status of an error."""
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def passes(code: str, status: int) -> bool:
    """Whether the same request may succeed a little later."""
    return code in _TRANSIENT or status == 429 or (status >= 500 and status != 501)


def refusal(doing: str, reason: str, bucket: str, *, code: str, status: int) -> StorageError:
    """Return what to raise when S3 refused ``doing`` (check, put, get, list, delete) with ``code``."""
    if code in _HINTS:
        return StorageError(f"{reason}; {_HINTS[code]}")
    if remedy := _REMEDIES.get(code):
        return BucketError(f"{reason}; {remedy.format(bucket=bucket)}")
    if code in {"NoSuchKey", "404"} and doing in {"get", "delete"}:
        return NoSuchObjectError(f"{reason}; there is no such object")
    if code in DENIED or (status == 403 and doing in {"put", "get", "delete"}):
        return DeniedError(f"{reason}; allow these credentials to {doing}, in the bucket's or the user's policy")
    if status in {401, 403, 404}:
        return BucketError(f"{reason}; correct Bucket, Endpoint and the credentials")
    return StorageError(f"{reason}; ask who runs the storage")
