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
    "janitor": "may list, read the catalog and delete: for prune, rm, hold and release",
}

_Policy = dict[str, Any]


def policy(role: str, *, bucket: str, host: str, region: str | None = None) -> _Policy:
    """Return the policy of a role for the archives of one host; UsageError if the bucket is no bucket of S3."""
    parts = urlsplit(bucket if "://" in bucket else f"s3://{bucket}")
    if parts.scheme != "s3":
        raise UsageError(f"{bucket} is a folder: it has no policies; give its rights by user and group")
    prefix = f"{parts.path.strip('/')}/" if parts.path.strip("/") else ""
    here = _Here(f"arn:{_partition(region)}:s3:::{parts.netloc}", prefix, host)
    statements = {
        "host": [here.put()],
        "host-catalog": [here.put(), here.get("catalog"), here.listing("catalog")],
        "restorer": [here.get("catalog", "data"), here.listing("catalog", "data")],
        "janitor": [here.get("catalog"), here.listing("catalog", "data"), here.delete(), here.versions(), here.marks()],
    }
    return {"Version": "2012-10-17", "Statement": statements[role]}


class _Here:
    """Statements about one host's part of a bucket."""

    def __init__(self, arn: str, prefix: str, host: str) -> None:
        self._arn, self._prefix = arn, prefix
        self._folders = {"catalog": names.host_prefix(host), "data": names.data_prefix(host)}

    def put(self) -> _Policy:
        return self._objects("Put", ["s3:PutObject"], "catalog", "data")

    def get(self, *parts: str) -> _Policy:
        return self._objects("Get", ["s3:GetObject"], *parts)

    def delete(self) -> _Policy:
        return self._objects("Delete", ["s3:DeleteObject", "s3:DeleteObjectVersion"], "catalog", "data")

    def marks(self) -> _Policy:
        """Allow what ``hold`` and ``release`` put; nothing else under catalog/, so that no manifest can be forged."""
        keys = [f"{self._folders['catalog']}*.{mark}" for mark in ("hold", "released")]
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
