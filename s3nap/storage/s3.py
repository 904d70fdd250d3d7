"""S3 and what speaks its language; the only module that knows botocore."""

from __future__ import annotations

import base64
import contextlib
import copy
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from botocore import exceptions as boto
from botocore.config import Config
from botocore.parsers import ResponseParserError
from botocore.session import Session
from urllib3.exceptions import HTTPError  # botocore lets some of them through while a body is read

from s3nap.errors import BucketError, DeniedError, StorageError
from s3nap.pace import UNLIMITED, Limits
from s3nap.storage import Data, Listed, Stored
from s3nap.storage.body import Body, PacedBody, paced_read
from s3nap.storage.keyfile import read_key_file
from s3nap.storage.keys import checked_key, foreign_key
from s3nap.storage.patience import DELAYS, Patience
from s3nap.storage.s3codes import NO_LOCK, code_of, passes, refusal, status_of
from s3nap.storage.s3delete import Deleter

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef

_T = TypeVar("_T")

_BATCH = 1000
_COLD_FROM = 128 << 10  # colder classes bill smaller objects as if they had this size


class _NotS3Error(Exception):
    """Something answered "200 OK" that is no S3: a captive portal, a proxy. botocore takes that for success."""


_FAILURES = (boto.ClientError, boto.BotoCoreError, ResponseParserError, HTTPError, _NotS3Error)
_PASSING = (
    boto.ConnectionError,
    boto.HTTPClientError,
    boto.IncompleteReadError,
    boto.FlexibleChecksumError,
    ResponseParserError,
    HTTPError,
    _NotS3Error,
)
_NO_CREDENTIALS = (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError)

_AWS = re.compile(r"\.amazonaws\.com(\.cn)?$")


class S3Storage:
    """A bucket, or what lies under a prefix of it.

    Failures that may pass are tried ``len(delays) + 1`` times in all, here and not in botocore: its retries can
    neither be told to wait longer nor do they know of broken bodies and of answers that are not from S3.
    """

    def __init__(  # noqa: PLR0913 (the directives of a conf, by name)
        self,
        *,
        bucket: str,
        prefix: str = "",
        endpoint: str | None = None,
        region: str | None = None,
        storage_class: str | None = None,
        object_lock: str | None = None,
        key_file: Path | None = None,
        connections: int = 8,
        delays: Sequence[float] = DELAYS,
        timeouts: tuple[float, float] = (10, 60),
        limits: Limits = UNLIMITED,
    ) -> None:
        self._limits = limits
        self._bucket = bucket
        self._prefix = f"{checked_key(prefix)}/" if prefix else ""
        self._endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        self._storage_class = storage_class
        self._patience = Patience(delays)
        self._object_lock = object_lock
        self._lock: dict[str, Any] = {}
        self._look_alike = self._endpoint is not None and not _AWS.search(urlsplit(self._endpoint).hostname or "")
        self._send_md5 = False
        self._client = self._connect(region, key_file, connections, timeouts)
        if limits.up is not None:
            # here, and not where the body is made: before it goes out it may be read for hashes
            self._client.meta.events.register("before-send.s3.PutObject", self._slow_down)
        self._deleter = Deleter(self._client, self._bucket, self._tried, locks=object_lock is not None)

    @property
    def url(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def check(self) -> None:
        """List one key: the only question whose answer tells apart all the ways in which a bucket can be useless.

        Who may put but not list is refused, but known: that passes.
        """
        with contextlib.suppress(DeniedError):
            # asked at the start of a run, in the foreground: soon rather than stubborn
            self._tried("check", partial(self._page, self._prefix, None, 1), soon=True)

    def check_lock(self) -> None:
        """Ask the bucket whether it can lock, if this storage was opened to lock."""
        if self._object_lock is None:
            return
        try:
            answer = self._client.get_object_lock_configuration(Bucket=self._bucket)
            able = answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"
        except _FAILURES as error:  # who may not ask will hear it from the first put
            able = not isinstance(error, boto.ClientError) or code_of(error.response) not in NO_LOCK
        if not able:
            raise BucketError(
                f"{self._where}: the bucket has no Object Lock: enable it there, or take the line ObjectLock out"
            )

    def put(self, key: str, data: Data, *, bulk: bool = False) -> Stored:
        """Store an object in one request; only an ETag proves that it was S3 who said yes."""
        request: dict[str, Any] = {"Bucket": self._bucket, "Key": self._prefix + checked_key(key)}
        if bulk and self._storage_class and memoryview(data).nbytes > _COLD_FROM:
            request["StorageClass"] = self._storage_class
        return self._tried("put", partial(self._put, request, data), key)

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return an object or a part of it; a body that breaks off is asked for again."""
        name = self._prefix + foreign_key(key)
        # S3 has no range of nothing
        end = "" if length is None else str(start + max(length, 1) - 1)
        part: dict[str, Any] = {"Range": f"bytes={start}-{end}"} if start or end else {}

        def call() -> bytes:
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=name, **part)
            except boto.ClientError as error:
                if code_of(error.response) == "InvalidRange":  # it starts at the end, or beyond
                    return b""
                raise
            if not answer.get("ETag"):
                raise _NotS3Error("the answer to a get has no ETag")
            down = self._limits.down
            body = answer["Body"].read() if down is None else paced_read(cast("IO[bytes]", answer["Body"]), down)
            if part and "ContentRange" not in answer:  # a server without ranges; rclone has them, but answers 200
                body = body[start:]
            return body if length is None else body[:length]

        return self._tried("get", call, key)

    def list(self, prefix: str) -> Iterator[Listed]:
        """Yield what the server lists, which must be in byte order, a page of 1000 at a time."""
        whole = self._prefix + prefix
        last = b""
        token: str | None = None
        while True:
            page = self._tried("list", partial(self._page, whole, token, _BATCH), prefix)
            for found in page.get("Contents", ()):
                key = found["Key"]
                if key.encode() < last:
                    raise StorageError(f"{self._where} lists {key} out of order; s3nap cannot work with such a server")
                last = key.encode()
                modified = found["LastModified"].astimezone(UTC)
                etag = found.get("ETag", "").strip('"') or "-"
                yield Listed(key=key.removeprefix(self._prefix), size=found["Size"], modified=modified, etag=etag)
            before, token = token, page.get("NextContinuationToken")
            if not page.get("IsTruncated"):
                return
            if token in {None, before}:
                raise StorageError(f"{self._where} breaks off a listing and does not say how to go on; try again")

    def delete(self, keys: Iterable[str]) -> Sequence[str]:
        """Delete a thousand at a time, all versions of each where the bucket keeps versions and lets us."""
        denied: list[str] = []
        rest = iter(keys)
        while batch := [self._prefix + checked_key(key) for key in islice(rest, _BATCH)]:
            denied += [name.removeprefix(self._prefix) for name in self._deleter.delete(batch)]
        return denied

    def ask(self, operation: str, **request: Any) -> tuple[str, Mapping[str, Any]]:  # noqa: ANN401 - botocore's own
        """Call one operation of botocore's client, once, for what no other storage has.

        Return S3's error code ("" if it did it) and the answer; ``Key`` and ``Prefix`` are relative, as everywhere.
        Raises StorageError where there is no answer.
        """
        request |= {each: self._prefix + request[each] for each in ("Key", "Prefix") if each in request}
        try:
            return "", getattr(self._client, operation)(Bucket=self._bucket, **request)
        except boto.ClientError as error:
            return code_of(error.response) or str(status_of(error.response)), error.response
        except _FAILURES as error:
            raise self._error(operation, "", error) from error

    def clock(self) -> datetime | None:
        """Return the time at which the server answered; a refusal has one, too (of clocks that differ, for one)."""

        def ask() -> Any:  # noqa: ANN401 - the metadata of a page or of a refusal
            try:
                answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
            except boto.ClientError as error:
                if passes(code_of(error.response), status_of(error.response)):
                    raise
                return error.response.get("ResponseMetadata", {})
            return answer["ResponseMetadata"]

        text = self._tried("check", ask, soon=True).get("HTTPHeaders", {}).get("date", "")
        try:
            return parsedate_to_datetime(text).replace(tzinfo=UTC)  # HTTP's dates are always GMT
        except ValueError:
            return None

    def retaining(self, until: datetime) -> S3Storage:
        """Return the same storage, whose puts are locked until then, if it was opened to lock."""
        if self._object_lock is None or until <= datetime.now(UTC):
            return self
        view = copy.copy(self)
        lock = {"ObjectLockMode": self._object_lock.upper(), "ObjectLockRetainUntilDate": until}
        view._lock = lock  # noqa: SLF001 - itself, but for this
        view._send_md5 = self._send_md5 or self._look_alike  # noqa: SLF001 - AWS gets a checksum in any case
        return view

    def _put(self, request: dict[str, Any], data: Data) -> Stored:
        if self._send_md5:
            request["ContentMD5"] = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        try:
            # AWS's checksums come between the pieces of a body, and limits between those of another
            with Body(data, whole=self._look_alike and self._limits.up is None) as body:
                answer = self._client.put_object(**request, **self._lock, Body=cast("IO[bytes]", body))
        except boto.ClientError as error:
            # only buckets with a default retention (Object Lock) ask for it, and it costs a sixth of the speed
            if "ContentMD5" in request or "Content-MD5" not in str(error):
                raise
            self._send_md5 = True
            return self._put(request, data)
        if not answer.get("ETag"):
            raise _NotS3Error("the answer to a put has no ETag")
        return Stored(etag=answer["ETag"].strip('"'), version=answer.get("VersionId") or "-")

    def _slow_down(self, request: Any, **_: object) -> None:  # noqa: ANN401 - botocore's request
        if self._limits.up is not None and request.body:
            request.body = PacedBody(request.body, self._limits.up)

    def _page(self, prefix: str, token: str | None, size: int) -> ListObjectsV2OutputTypeDef:
        more: dict[str, Any] = {"ContinuationToken": token} if token else {}
        page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, MaxKeys=size, **more)
        if "IsTruncated" not in page and "Name" not in page:
            # taken for an empty bucket, this would make every backup a first one
            raise _NotS3Error("the answer to a list is no listing")
        return page

    def _tried(self, doing: str, call: Callable[[], _T], key: str = "", *, soon: bool = False) -> _T:
        try:
            return self._patience.tried(call, _FAILURES, _passes, f"{doing} {key or self.url}", soon=soon)
        except _FAILURES as error:
            raise self._error(doing, key, error) from error

    def _error(self, doing: str, key: str, error: Exception) -> StorageError:
        what = f"{doing} {key}, {self._where}".replace(" ,", ",")
        if isinstance(error, _NO_CREDENTIALS):
            return BucketError(f"{what}: {error}; set S3KeyFile, or give credentials in ~/.aws/credentials")
        if isinstance(error, boto.ConnectionError):
            return BucketError(f"{what}: out of reach: {error}; check the network, Endpoint and Region")
        if isinstance(error, boto.ClientError):
            reason = (
                f"{what}: {error.response.get('Error', {}).get('Message') or 'refused'} ({code_of(error.response)})"
            )
            return refusal(doing, reason, self._bucket, code=code_of(error.response), status=status_of(error.response))
        if isinstance(error, _PASSING):
            return StorageError(f"{what}: {error}; look for a proxy or a broken network in between, and try again")
        return StorageError(f"{what}: {error}")

    @property
    def _where(self) -> str:
        return f"{self.url} at {self._endpoint or 'AWS'}"

    def _connect(
        self, region: str | None, key_file: Path | None, connections: int, timeouts: tuple[float, float]
    ) -> S3Client:
        key, secret = read_key_file(key_file) if key_file else (None, None)
        own: dict[str, Any] = {}
        if self._look_alike:
            # what look-alikes know: no names of buckets in host names, no checksums of 2024
            own = {
                "s3": {"addressing_style": "path"},
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            }
        config = Config(
            max_pool_connections=connections,
            connect_timeout=timeouts[0],
            read_timeout=timeouts[1],
            tcp_keepalive=True,
            retries={"mode": "standard", "total_max_attempts": 1},
            user_agent_extra="s3nap",
            **own,
        )
        try:
            session = Session()
            # else it looks through 400 folders to see that S3 is among the services it knows
            session.get_component("data_loader").list_available_services = lambda _type: ["s3"]
            place = region or session.get_config_variable("region") or ("us-east-1" if own else None)
            client = session.create_client(
                "s3",
                region_name=place,
                endpoint_url=self._endpoint,
                aws_access_key_id=key,
                aws_secret_access_key=secret,
                config=config,
            )
            return cast("S3Client", client)
        except (boto.BotoCoreError, ValueError) as error:
            raise BucketError(
                f"{self._where}: {error}; correct Endpoint, Region or the configuration of the AWS CLI"
            ) from error


def _passes(error: Exception) -> bool:
    if isinstance(error, boto.ClientError):
        return passes(code_of(error.response), status_of(error.response))
    return isinstance(error, _PASSING)
