"""What S3 storage does when the other side is broken, hostile, slow or no S3 at all."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from s3nap.errors import BucketError, ConfError, DeniedError, Exit, NoSuchObjectError, StorageError
from s3nap.storage import Storage
from s3nap.storage.keyfile import read_key_file
from s3nap.storage.s3 import S3Storage

DELAYS = (0.01, 0.01, 0.01, 0.01)
TAGGED = {"ETag": '"tag"'}
LISTING = (
    "<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated>{}"
    "<EncodingType>url</EncodingType></ListBucketResult>"
)
CONTENTS = "<Contents><Key>{}</Key><LastModified>2026-11-21T00:00:00.000Z</LastModified><Size>1</Size></Contents>"

Answer = tuple[int, dict[str, str], str]


def refused(status: int, code: str, message: str = "no") -> Answer:
    return status, {}, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"


class FakeS3:
    """An HTTP server that gives the answers it was told to, in order, the last one for ever; it keeps the requests.

    What it is asked about versions is answered by itself, and not kept.
    """

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.versioning: Answer = (200, {}, "<VersioningConfiguration/>")
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                if self.path.endswith("?versioning"):  # asked once, before the first delete
                    status, extra, body = fake.versioning
                else:
                    fake.seen.append((self.command, self.path, headers))
                    status, extra, body = fake.answers.pop(0) if len(fake.answers) > 1 else fake.answers[0]
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), "Connection": "close", **extra}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())
                self.close_connection = True

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815 (names of http.server)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    made = FakeS3()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def storage_at(url: str, delays: Sequence[float] = DELAYS, **more: Any) -> S3Storage:
    return S3Storage(bucket="bucket", endpoint=url, delays=delays, **more)


def test_an_answer_without_etag_is_no_success(fake: FakeS3) -> None:
    """A captive portal answers 200 to everything; boto3 takes that for a stored object."""
    fake.answers = [(200, {}, "<html>Log in, please</html>")]
    storage = storage_at(fake.url)
    with pytest.raises(StorageError, match="no ETag"):
        storage.put("a", b"x")
    with pytest.raises(StorageError, match="no ETag"):
        storage.get("a")
    assert len(fake.seen) == 10


def test_an_answer_that_is_no_listing_is_no_empty_bucket(fake: FakeS3) -> None:
    """A catalog taken for empty would make every backup a first one."""
    for page in ("<html>Log in, please</html>", "<!DOCTYPE html><p>Log in", "", "nothing"):
        fake.answers = [(200, {}, page)]
        with pytest.raises(StorageError):
            list(storage_at(fake.url).list(""))


def test_a_listing_out_of_order_is_refused(fake: FakeS3) -> None:
    """What relies on the order would silently miss objects."""
    fake.answers = [(200, {}, LISTING.format(CONTENTS.format("b") + CONTENTS.format("a")))]
    with pytest.raises(StorageError, match="out of order"):
        list(storage_at(fake.url).list(""))


def test_a_truncated_body_is_asked_for_again(fake: FakeS3) -> None:
    """A body that breaks off is not retried by botocore; one cut connection must not fail a restore."""
    fake.answers = [(200, {**TAGGED, "Content-Length": "9"}, "123"), (200, TAGGED, "123456789")]
    assert storage_at(fake.url).get("a") == b"123456789"
    fake.answers = [(200, {**TAGGED, "Content-Length": "9"}, "123")]
    with pytest.raises(StorageError):
        storage_at(fake.url).get("a")


def test_a_server_that_ignores_ranges(fake: FakeS3) -> None:
    """The wrong part of a chunk would be a wrong file."""
    fake.answers = [(200, TAGGED, "0123456789")]
    assert storage_at(fake.url).get("a", start=3, length=4) == b"3456"


@pytest.mark.parametrize("code", ["SlowDown", "ServiceUnavailable", "InternalError"])
def test_a_storm_passes_or_ends_in_an_error(fake: FakeS3, code: str) -> None:
    """Overload is waited out, but not for ever."""
    fake.answers = [refused(503, code)] * 4 + [(200, TAGGED, "")]
    assert storage_at(fake.url).put("a", b"x").etag == "tag"
    fake.answers = [refused(503, code)]
    fake.seen.clear()
    with pytest.raises(StorageError, match=code) as caught:
        storage_at(fake.url).put("a", b"x")
    assert not isinstance(caught.value, BucketError)
    assert len(fake.seen) == 5


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("InvalidAccessKeyId", "S3KeyFile"),
        ("SignatureDoesNotMatch", "secret key is wrong"),
        ("RequestTimeTooSkewed", "clock of this machine is wrong"),
        ("ExpiredToken", "expired"),
    ],
)
def test_bad_credentials_are_named(fake: FakeS3, code: str, says: str) -> None:
    """The message must say what to correct, at once, and the exit status be 10."""
    fake.answers = [refused(403, code)]
    storage = storage_at(fake.url)
    uses: list[Callable[[], object]] = [storage.check, lambda: storage.put("a", b""), lambda: list(storage.list(""))]
    for use in uses:
        with pytest.raises(BucketError, match=says) as caught:
            use()
        assert caught.value.status is Exit.BUCKET
        assert "s3://bucket" in str(caught.value)
        assert fake.url in str(caught.value)
    assert len(fake.seen) == 3


def test_put_only_credentials_pass_the_check(fake: FakeS3) -> None:
    """A host that may only add is protection against ransomware; 403 without a code may be anything and is refused."""
    fake.answers = [refused(403, "AccessDenied")]
    storage = storage_at(fake.url)
    storage.check()
    with pytest.raises(DeniedError):
        storage.put("a", b"")
    with pytest.raises(DeniedError):
        storage.get("a")
    with pytest.raises(DeniedError, match="AccessDenied"):
        list(storage.list(""))
    fake.answers = [(403, {}, "<html>Forbidden</html>")]
    with pytest.raises(BucketError):
        storage.check()


def test_no_credentials(fake: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run on a new machine: the message must say where credentials belong."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(BucketError, match="S3KeyFile"):
        storage_at(fake.url).check()
    assert not fake.seen


def test_missing_bucket(s3_storage: Storage, rclone_endpoint: dict[str, str], tmp_path: Path) -> None:
    """A mistyped bucket ends with status 10 and the command that would create it."""
    key_file = tmp_path / "s3.key"  # written for s3_storage
    missing = S3Storage(bucket="missing-bucket", endpoint=rclone_endpoint["url"], key_file=key_file)
    s3_storage.check()
    uses: list[Callable[[], object]] = [
        missing.check,
        lambda: missing.put("a", b""),
        lambda: missing.get("a"),
        lambda: list(missing.list("")),
        lambda: missing.delete(["a"]),
    ]
    for use in uses:
        with pytest.raises(BucketError, match="aws s3 mb s3://missing-bucket"):
            use()


def test_real_server_refuses_a_wrong_secret(rclone_endpoint: dict[str, str], tmp_path: Path) -> None:
    """The codes of the fake are those of a real server."""
    for key, secret in ((rclone_endpoint["key"], "wrong"), ("unknown", "wrong")):
        (tmp_path / "key").write_text(f"key={key}\nsecret={secret}\n")
        with pytest.raises(BucketError, match="S3KeyFile"):
            storage_at(rclone_endpoint["url"], key_file=tmp_path / "key").check()


@pytest.mark.usefixtures("fake")
def test_unreachable_endpoint_is_told_soon() -> None:
    """A wrong port or a server that is down must not keep a person waiting."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(BucketError, match="out of reach"):
            S3Storage(bucket="bucket", endpoint=url).check()
    assert time.monotonic() - began < 5
    with pytest.raises(BucketError):
        S3Storage(bucket="bucket", endpoint="no url")


def test_a_server_that_hangs(fake: FakeS3) -> None:
    """A firewall that swallows packets must not stop a backup for ever."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        storage = storage_at(f"http://127.0.0.1:{silent.getsockname()[1]}", delays=(0.01,), timeouts=(1, 0.2))
        with pytest.raises(StorageError, match=r"[Tt]imeout"):
            storage.put("a", b"x")
    assert not fake.seen


def test_a_denied_delete_returns_its_keys(fake: FakeS3) -> None:
    """Retained objects (Object Lock) are tried again at a later sweep; the others must go."""
    answer = (
        "<DeleteResult><Deleted><Key>pre/a</Key></Deleted>"
        "<Error><Key>pre/b</Key><Code>AccessDenied</Code><Message>retained</Message></Error></DeleteResult>"
    )
    fake.answers = [(200, {}, answer)]
    storage = storage_at(fake.url, prefix="pre")
    assert list(storage.delete(["a", "b"])) == ["b"]
    fake.answers = [refused(403, "AccessDenied")]
    assert list(storage.delete(["a", "b"])) == ["a", "b"]


def test_a_failed_delete_is_an_error(fake: FakeS3) -> None:
    """Only what was denied is reported as retained; a failure must not pass for it."""
    answer = "<DeleteResult><Error><Key>a</Key><Code>{}</Code><Message>no</Message></Error></DeleteResult>"
    fake.answers = [(200, {}, answer.format("InternalError"))]
    with pytest.raises(StorageError, match="InternalError"):
        storage_at(fake.url).delete(["a"])
    assert len(fake.seen) == 5
    fake.answers = [(200, {}, answer.format("NoSuchKey"))]
    assert list(storage_at(fake.url).delete(["a"])) == []


@pytest.mark.parametrize(
    "batch", [refused(501, "NotImplemented"), refused(400, "MissingContentMD5"), (200, {}, "<html></html>")]
)
def test_deletes_one_by_one_where_batches_are_unknown(fake: FakeS3, batch: Answer) -> None:
    """Some look-alikes have no batch call, and one that answers nonsense has deleted nothing."""
    fake.answers = [batch, (204, {}, ""), refused(403, "AccessDenied"), (404, {}, "")]
    assert list(storage_at(fake.url).delete(["a", "b", "c"])) == ["b"]
    assert [method for method, *_ in fake.seen] == ["POST", "DELETE", "DELETE", "DELETE"]


VERSIONED = (200, {}, "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
VERSIONS = (
    "<ListVersionsResult><IsTruncated>false</IsTruncated>"
    "<Version><Key>a</Key><VersionId>v1</VersionId></Version><DeleteMarker><Key>a</Key><VersionId>m1</VersionId>"
    "</DeleteMarker><Version><Key>ab</Key><VersionId>v2</VersionId></Version></ListVersionsResult>"
)
DELETED = "<DeleteResult><Deleted><Key>a</Key></Deleted></DeleteResult>"


def _denied(message: str) -> Answer:
    error = f"<Error><Key>a</Key><Code>AccessDenied</Code><Message>{message}</Message></Error>"
    return 200, {}, f"<DeleteResult>{error}</DeleteResult>"


@pytest.mark.parametrize("versions", [(200, {}, VERSIONS), refused(403, "AccessDenied")])
def test_who_may_not_delete_versions_still_marks(fake: FakeS3, versions: Answer) -> None:
    """Hosts with DeleteObject alone sweep as ever, and leave the rest to a lifecycle rule."""
    fake.versioning = VERSIONED
    by_version = [_denied("not for you")] if versions[0] == 200 else []
    fake.answers = [versions, *by_version, (200, {}, DELETED)]
    assert list(storage_at(fake.url).delete(["a"])) == []
    assert len(fake.seen) == 2 + len(by_version)


def test_what_is_locked_is_not_marked(fake: FakeS3) -> None:
    """Hidden under a marker it would never be found again by the sweep that may delete it."""
    fake.versioning = VERSIONED
    fake.answers = [(200, {}, VERSIONS), _denied("Access Denied because object protected by object lock.")]
    assert list(storage_at(fake.url).delete(["a"])) == ["a"]
    fake.answers = [(200, {}, VERSIONS), _denied("no word of why")]
    assert list(storage_at(fake.url, object_lock="governance").delete(["a"])) == ["a"]
    assert [method for method, *_ in fake.seen] == ["GET", "POST"] * 2


@pytest.mark.parametrize("answer", [refused(403, "AccessDenied"), refused(501, "NotImplemented"), (200, {}, "<html>")])
def test_who_cannot_tell_of_versions_deletes_as_ever(fake: FakeS3, answer: Answer) -> None:
    """Look-alikes without versions, and credentials that may not ask, are no reason not to sweep; it is asked once."""
    fake.versioning = answer
    fake.answers = [(200, {}, DELETED)]
    storage = storage_at(fake.url)
    assert [list(storage.delete(["a"])) for _ in range(2)] == [[], []]
    assert [method for method, *_ in fake.seen] == ["POST", "POST"]


def test_storage_class_is_for_big_chunks_only(fake: FakeS3) -> None:
    """Manifests must be readable at once, and small objects cost more in a colder class."""
    fake.answers = [(200, TAGGED, "")]
    storage = storage_at(fake.url, storage_class="STANDARD_IA")
    storage.put("a", bytes(200_000), bulk=True)
    storage.put("a", bytes(200_000))
    storage.put("a", bytes(128 << 10), bulk=True)
    assert [headers.get("x-amz-storage-class") for *_, headers in fake.seen] == ["STANDARD_IA", None, None]


def test_a_cold_object_is_explained(fake: FakeS3) -> None:
    """An archive in Glacier is neither missing nor denied; the user must have it brought back."""
    fake.answers = [refused(403, "InvalidObjectState")]
    with pytest.raises(StorageError, match="restore-object") as caught:
        storage_at(fake.url).get("a")
    assert not isinstance(caught.value, DeniedError | NoSuchObjectError | BucketError)


def test_md5_where_a_locked_bucket_asks_for_it(fake: FakeS3) -> None:
    """Buckets with a default retention refuse puts without Content-MD5."""
    message = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock"
    fake.answers = [refused(400, "InvalidRequest", message), (200, TAGGED, "")]
    storage = storage_at(fake.url)
    storage.put("a", memoryview(b"x"))
    storage.put("b", b"x")
    sent = [headers.get("content-md5") for *_, headers in fake.seen]
    assert sent == [None, "ndTkYSaMgDT1yFZOFVxnpg==", "ndTkYSaMgDT1yFZOFVxnpg=="]


def test_look_alikes_get_what_they_know(fake: FakeS3) -> None:
    """Checksums of 2024 and buckets in host names are refused by many."""
    fake.answers = [(200, {**TAGGED, "x-amz-version-id": "v1"}, "")]
    assert storage_at(fake.url, prefix="pre").put("a b/%2F+", b"x").version == "v1"
    ((_, path, headers),) = fake.seen
    assert path == "/bucket/pre/a%20b/%252F%2B"
    assert not [name for name in headers if "checksum" in name]
    assert "/us-east-1/s3/" in headers["authorization"]


def test_versions_are_told(make_s3_storage: Callable[[dict[str, str]], Storage], moto_endpoint: dict[str, str]) -> None:
    """A bucket with versions tells them, so that a chunk can be found even under a delete marker."""
    storage = make_s3_storage(moto_endpoint)
    bucket = storage.url.split("/")[2]
    client = boto3.Session("test", "test", region_name="us-east-1").client("s3", endpoint_url=moto_endpoint["url"])
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert storage.put("a", b"x").version not in {"", "-"}


@pytest.mark.parametrize(
    "text",
    ["key=AB\nsecret=a/b+c==\n", "  secret = a/b+c== \r\n# key=no\n! secret=no\nkey\t=AB", "key: AB\nsecret: a/b+c=="],
)
def test_key_file(tmp_path: Path, text: str) -> None:
    """Key files of s3napback go on working."""
    (tmp_path / "key").write_text(text)
    assert read_key_file(tmp_path / "key") == ("AB", "a/b+c==")


@pytest.mark.parametrize("text", ["", "key=AB\n", "secret=hidden", "key=\nsecret=hidden"])
def test_bad_key_file(tmp_path: Path, text: str) -> None:
    """A broken key file is named, its secret is not."""
    (tmp_path / "key").write_text(text)
    with pytest.raises(ConfError, match="two lines") as caught:
        read_key_file(tmp_path / "key")
    assert "hidden" not in str(caught.value)
    with pytest.raises(ConfError, match="cannot be read"):
        read_key_file(tmp_path / "none")


def test_boto3_is_loaded_for_s3_only() -> None:
    """``s3nap --version`` and backups to a disk must not wait a third of a second for boto3."""
    code = "import sys; from s3nap.storage.open import *; open_storage('file:///tmp'); sys.exit('boto3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
