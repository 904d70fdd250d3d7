"""The least rights on AWS that each role needs, as IAM policies. Pure."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from s3nap import names
from s3nap.errors import UsageError

ROLES = {
    "host": "may only put: whoever takes it over can neither read nor delete archives",
    "host-catalog": "as host, and may list and read its own catalog: notices other machines, asks what was committed",
    "restorer": "may read all of this host",
    "verifier": "as restorer, and may say what it found: for verify and drill",
    "janitor": "may list, read the catalog and delete: for prune, rm, hold and release",
}

_Policy = dict[str, Any]


def policy(role: str, *, bucket: str, host: str, region: str | None = None, locks: bool = False) -> _Policy:
    """Return the policy of a role for the archives of one host, which ``locks`` what it stores or does not.

    UsageError if the bucket is no bucket of S3.
    """
    parts = urlsplit(bucket if "://" in bucket else f"s3://{bucket}")
    if parts.scheme != "s3":
        raise UsageError(f"{bucket} is a folder: it has no policies; give its rights by user and group")
    prefix = f"{parts.path.strip('/')}/" if parts.path.strip("/") else ""
    here = _Here(f"arn:{_partition(region)}:s3:::{parts.netloc}", prefix, host)
    put = here.put(locks=locks)
    read = [here.get("catalog", "data"), here.listing("catalog", "data")]
    sweep = [here.listing("catalog", "data"), here.delete(), here.versions(), here.versioning()]
    statements = {
        "host": [put],
        "host-catalog": [put, here.get("catalog"), here.listing("catalog")],
        "restorer": read,
        "verifier": [*read, here.marks("distrust", "verified-*", "drill*")],
        "janitor": [here.get("catalog"), *sweep, here.marks("hold", "released")],
    }
    return {"Version": "2012-10-17", "Statement": statements[role]}


class _Here:
    """Statements about one host's part of a bucket."""

    def __init__(self, arn: str, prefix: str, host: str) -> None:
        self._arn, self._prefix = arn, prefix
        self._folders = {"catalog": names.host_prefix(host), "data": names.data_prefix(host)}

    def put(self, *, locks: bool) -> _Policy:
        actions = ["s3:PutObject", "s3:PutObjectRetention"] if locks else ["s3:PutObject"]
        return self._objects("Put", actions, "catalog", "data")

    def get(self, *parts: str) -> _Policy:
        return self._objects("Get", ["s3:GetObject"], *parts)

    def delete(self) -> _Policy:
        return self._objects("Delete", ["s3:DeleteObject", "s3:DeleteObjectVersion"], "catalog", "data")

    def versioning(self) -> _Policy:
        """Allow to ask whether the bucket keeps versions: then they are what must be deleted."""
        return {"Sid": "Versioning", "Effect": "Allow", "Action": ["s3:GetBucketVersioning"], "Resource": [self._arn]}

    def marks(self, *marks: str) -> _Policy:
        """Allow to put these marks; nothing else under catalog/, so that no manifest can be forged."""
        keys = [f"{self._folders['catalog']}*.{mark}" for mark in marks]
        return {"Sid": "Marks", "Effect": "Allow", "Action": ["s3:PutObject"], "Resource": [*map(self._key, keys)]}

    def listing(self, *parts: str) -> _Policy:
        return self._listing("List", "s3:ListBucket", *parts)

    def versions(self) -> _Policy:
        return self._listing("Versions", "s3:ListBucketVersions", "catalog", "data")

    def _objects(self, sid: str, actions: list[str], *parts: str) -> _Policy:
        keys = [self._key(f"{self._folders[part]}*") for part in parts]
        return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": keys}

    def _listing(self, sid: str, action: str, *parts: str) -> _Policy:
        prefixes = [_literal(self._prefix) + f"{self._folders[part]}*" for part in parts]
        return {
            "Sid": sid,
            "Effect": "Allow",
            "Action": [action],
            "Resource": [self._arn],
            "Condition": {"StringLike": {"s3:prefix": prefixes}},
        }

    def _key(self, pattern: str) -> str:
        return f"{self._arn}/{_literal(self._prefix)}{pattern}"


def _literal(text: str) -> str:
    """Write what a policy would take for a wildcard or a variable so that it means itself."""
    return re.sub(r"[*?$]", lambda found: f"${{{found[0]}}}", text)


def _partition(region: str | None) -> str:
    if region is not None and region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region is not None and region.startswith("us-gov-") else "aws"
