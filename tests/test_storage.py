"""What every storage must do, checked for each; and what is particular to the local one."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from storages import CrashError, FaultyStorage, MemoryStorage

from s3nap.errors import BucketError, DeniedError, NoSuchObjectError, StorageError, UsageError
from s3nap.storage import Storage
from s3nap.storage.local import LocalStorage
from s3nap.storage.open import open_storage

CHUNK = 16 << 20
MAKERS = ["memory_storage", "local_storage", "s3_storage", "moto_storage"]
KEYS = [
    "A/b",
    "a%2Fb/c",
    "a-1/x",
    "a.b/c",
    "a/x",
    "a0/c",
    "p+q/r=s@t,u",
    "sp%20ace/~%25",
    "z/" + "k" * 200,
    "ü/é",
    "日本/\N{GRINNING FACE}",
]
FOREIGN = ["/etc/passwd", "a//b", "a/"]  # what other programs may have stored under, in S3


@pytest.fixture
def moto_storage(moto_endpoint: dict[str, str], make_s3_storage: Callable[[dict[str, str]], Storage]) -> Storage:
    return make_s3_storage(moto_endpoint)


@pytest.fixture(params=MAKERS)
def storage(request: pytest.FixtureRequest) -> Storage:
    made: Storage = request.getfixturevalue(request.param)
    return made


def keys(storage: Storage, prefix: str = "") -> list[str]:
    return [found.key for found in storage.list(prefix)]


def test_gives_back_what_was_put(storage: Storage) -> None:
    """A storage that alters data is none."""
    storage.check()
    storage.put("a/b", b"content")
    assert storage.get("a/b") == b"content"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_takes_each_kind_of_data(storage: Storage, kind: Callable[[bytes], bytes]) -> None:
    """Chunks come from encryption as bytes and from buffers as views."""
    storage.put("a", kind(b"content"))
    storage.put("empty", kind(b""))
    assert (storage.get("a"), storage.get("empty")) == (b"content", b"")


def test_takes_a_part_of_a_mapped_file(storage: Storage) -> None:
    """The stream's spool is mapped; a chunk must neither be copied nor keep the map from being closed."""
    with mmap.mmap(-1, 3 * mmap.PAGESIZE) as mapped:
        mapped[:] = b"abc" * mmap.PAGESIZE
        with memoryview(mapped) as whole, whole[1 : mmap.PAGESIZE] as part:
            storage.put("a", part)
    assert storage.get("a") == (b"abc" * mmap.PAGESIZE)[1 : mmap.PAGESIZE]


def test_ranges(storage: Storage) -> None:
    """One file is restored from parts of chunks; the last part may be asked for beyond the end."""
    storage.put("a", b"0123456789")
    assert storage.get("a", start=3) == b"3456789"
    assert storage.get("a", start=3, length=4) == b"3456"
    assert storage.get("a", length=2) == b"01"
    assert storage.get("a", start=8, length=1 << 40) == b"89"
    assert storage.get("a", start=3, length=0) == b""
    assert storage.get("a", start=10, length=5) == storage.get("a", start=99) == b""
    storage.put("empty", b"")
    assert storage.get("empty", length=5) == b""


def test_says_that_an_object_is_missing(storage: Storage) -> None:
    """A missing chunk must never be taken for an empty one, nor for a storage that is down."""
    storage.put("a/b", b"content")
    for key in ("a/c", "b", "a/b/c", "c/d"):
        with pytest.raises(NoSuchObjectError):
            storage.get(key)
        with pytest.raises(NoSuchObjectError):
            storage.get(key, start=2, length=0)


def test_keeps_names_and_lists_them_in_byte_order(storage: Storage) -> None:
    """Keys hold escapes and what people name things; the catalog relies on the order."""
    for key in reversed(KEYS):
        storage.put(key, key.encode())
    assert keys(storage) == sorted(KEYS, key=str.encode)
    assert [storage.get(key).decode() for key in KEYS] == KEYS


def test_a_prefix_may_end_anywhere(storage: Storage) -> None:
    """A job's manifests are found by ``…/Directory/etc-``; those of ``…/Directory/etc/…`` are others."""
    wanted = ["cat/h/Directory/etc-0-FULL/1.json", "cat/h/Directory/etc-10-DIFF/2.json"]
    for key in [*wanted, "cat/h/Directory/etc/x-0-FULL/1.json", "cat/h/Directory/etcetera-0-FULL/1.json"]:
        storage.put(key, b"{}")
    assert keys(storage, "cat/h/Directory/etc-") == wanted
    assert keys(storage, "cat/h/Directory/etc-0-FULL/") == wanted[:1]
    assert keys(storage, wanted[1]) == wanted[1:]
    assert keys(storage, "cat/none") == keys(storage, "cat/h/none/") == []


def test_lists_size_and_time(storage: Storage) -> None:
    """What a failed run left is swept by age, and sizes are compared."""
    storage.put("a", b"12345")
    (found,) = storage.list("")
    assert found.size == 5
    assert found.modified.tzinfo is UTC
    assert abs(found.modified - datetime.now(UTC)) < timedelta(minutes=1)


def test_lists_and_deletes_more_than_a_page(storage: Storage) -> None:
    """A listing or a deletion cut at 1000 would lose or leak data without a word."""
    many = [f"data/{number:08}" for number in range(1003)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: storage.put(key, b""), many))
    assert keys(storage, "data/") == many
    assert list(storage.delete(iter(many))) == []
    assert keys(storage) == []


def test_deletes(storage: Storage) -> None:
    """A sweep that was interrupted is repeated: what is gone already is no error."""
    for key in ("a/b/c", "a/d", "e"):
        storage.put(key, b"x")
    assert list(storage.delete(["a/b/c", "missing", "a/missing/too", "e"])) == []
    assert keys(storage) == ["a/d"]
    assert list(storage.delete([])) == []
    storage.put("a/b/c", b"y")
    assert keys(storage) == ["a/b/c", "a/d"]


def test_a_listing_follows_every_change(storage: Storage) -> None:
    """A commit is a put that the next listing must show (rclone's server caches folders)."""
    for number in range(5):
        storage.put(f"catalog/h/{number}", b"{}")
        assert len(keys(storage, "catalog/h/")) == number + 1
    storage.delete(["catalog/h/2"])
    assert len(keys(storage, "catalog/h/")) == 4


def test_a_chunk_of_full_size(storage: Storage) -> None:
    """Most of the data goes through here."""
    data = os.urandom(1 << 16) * (CHUNK >> 16)
    storage.put("a", memoryview(data), bulk=True)
    assert hashlib.sha256(storage.get("a")).digest() == hashlib.sha256(data).digest()
    assert storage.get("a", start=CHUNK - 5) == data[-5:]


def test_eight_threads(storage: Storage) -> None:
    """Chunks are put in parallel, under folders that none has made yet."""
    contents = {f"data/{number % 4}/{number}": os.urandom(100_000) for number in range(40)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(storage.put, contents, contents.values()))
        assert list(pool.map(storage.get, contents)) == list(contents.values())


def test_is_seen_whole_or_not_at_all(storage: Storage) -> None:
    """A manifest read in part would be a broken archive."""
    data = os.urandom(1 << 16) * (CHUNK >> 16)
    done = threading.Event()

    def watch() -> set[int]:
        seen = set()
        while not done.is_set():
            seen |= {found.size for found in storage.list("a")}
        return seen

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        for number in range(5):
            storage.put(f"a/{number}", data)
        done.set()
        assert watching.result() <= {CHUNK}


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a\0b", "a/\udcff"])
def test_refuses_hostile_keys(storage: Storage, key: str) -> None:
    """Who can write to the bucket must not reach files outside of it."""
    uses: list[Callable[[], object]] = [lambda: storage.put(key, b"x"), lambda: storage.delete([key])]
    if isinstance(storage, LocalStorage) or key not in FOREIGN:
        uses.append(lambda: storage.get(key))
    for use in uses:
        with pytest.raises(StorageError) as caught:
            use()
        assert not isinstance(caught.value, NoSuchObjectError)


@pytest.mark.parametrize("key", FOREIGN)
def test_reads_keys_of_other_programs_where_keys_are_no_paths(
    moto_endpoint: dict[str, str], make_s3_storage: Callable[[dict[str, str]], Storage], key: str
) -> None:
    """s3napback stored under keys that begin with a slash or hold two; they can be read, and never written."""
    storage = make_s3_storage(moto_endpoint)
    bucket = storage.url.split("/")[2]
    session = boto3.Session(moto_endpoint["key"], moto_endpoint["secret"], region_name="us-east-1")
    client = session.client("s3", endpoint_url=moto_endpoint["url"])
    client.put_object(Bucket=bucket, Key=f"pre/fix/{key}", Body=b"content")
    client.put_object(Bucket=bucket, Key=f"pre/fix/{key.replace('//', '/').strip('/')}", Body=b"another")
    assert key in [item.key for item in storage.list("")]
    assert storage.get(key) == b"content"


def test_local_retry_is_fine_but_overwriting_is_not(local_storage: LocalStorage) -> None:
    """Objects are written once; only a repetition of the same put may meet its own object."""
    local_storage.put("a", b"content")
    local_storage.put("a", b"content")
    for other in (b"CONTENT", b"content2", b""):
        with pytest.raises(StorageError, match="other content"):
            local_storage.put("a", other)
    assert local_storage.get("a") == b"content"


def test_local_crash_before_the_rename_leaves_nothing(
    local_storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power failure in the middle of a put must not leave half an object; an old remnant is removed."""
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", _crash)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(CrashError):
            local_storage.put("a/b", b"content")
    (remnant,) = (tmp_path / "storage/.s3nap-tmp").iterdir()
    assert keys(local_storage) == keys(local_storage, ".s3nap-tmp/") == []
    later = LocalStorage(tmp_path / "storage")
    later.put("c", b"content")
    assert remnant.exists()
    os.utime(remnant, (0, 0))
    later.check()
    assert remnant.exists()  # a check changes nothing (-t)
    LocalStorage(tmp_path / "storage").put("d", b"content")
    assert not remnant.exists()
    with pytest.raises(StorageError, match="unfinished"):
        local_storage.get(f".s3nap-tmp/{remnant.name}")


def _crash(*_: object) -> None:
    raise CrashError


def test_local_is_private_and_tidy(local_storage: LocalStorage, tmp_path: Path) -> None:
    """Other users must not read backups; emptied folders would pile up for years, but the root must stay."""
    local_storage.put("a/b/c", b"x")
    modes = [stat.S_IMODE((tmp_path / "storage" / path).stat().st_mode) for path in ("a", "a/b", "a/b/c")]
    assert modes == [0o700, 0o700, 0o600]
    local_storage.delete(["a/b/c"])
    assert [path.name for path in (tmp_path / "storage").iterdir()] == [".s3nap-tmp"]


def test_local_survives_deletes_beside_puts(local_storage: LocalStorage) -> None:
    """A sweep removes a folder at the moment in which a backup wants to write there."""
    with ThreadPoolExecutor(4) as pool:
        for number in range(100):
            local_storage.put("a/b/old", b"")
            gone = pool.submit(local_storage.delete, ["a/b/old"])
            local_storage.put(f"a/b/{number}", b"")
            gone.result()
            local_storage.delete([f"a/b/{number}"])


def test_local_root_must_exist(tmp_path: Path) -> None:
    """The folder of an unmounted disk must not be filled in its place; its absence is exit status 10."""
    missing = LocalStorage(tmp_path / "none")
    uses: list[Callable[[], object]] = [
        missing.check,
        lambda: missing.put("a/b", b"x"),
        lambda: missing.get("a"),
        lambda: keys(missing, "a/b"),
        lambda: missing.delete(["a"]),
    ]
    for use in uses:
        with pytest.raises(BucketError, match="mount the disk"):
            use()
    assert not (tmp_path / "none").exists()


def test_local_denials(local_storage: LocalStorage, tmp_path: Path) -> None:
    """Missing rights are told apart from missing objects; retained objects are reported, not fatal."""
    local_storage.put("a/b", b"x")
    folder = tmp_path / "storage/a"
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("root may do everything")
    assert list(local_storage.delete(["a/b"])) == ["a/b"]
    with pytest.raises(DeniedError):
        local_storage.put("a/c", b"x")
    folder.chmod(0o000)
    with pytest.raises(DeniedError):
        local_storage.get("a/b")
    folder.chmod(0o700)


def test_local_full_disk(local_storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user must learn which file system is full, and no remnant may keep it so."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"No space left.*make room on the file system of /"):
        local_storage.put("a", b"x")
    assert not list(Path(local_storage.url.removeprefix("file://"), ".s3nap-tmp").glob("*"))


def test_open() -> None:
    """What a conf calls a bucket becomes the right storage, and nonsense is told at once."""
    assert open_storage("file:///a%20b/c").url == "file:///a%20b/c"
    assert open_storage("s3://bucket/pre/fix/").url == "s3://bucket/pre/fix"
    assert open_storage("bucket").url == "s3://bucket"
    for nonsense in ("file://host/path", "file:path", "ftp://x", "s3://", "s3://key:secret@bucket", "s3://b?x=1"):
        with pytest.raises(UsageError):
            open_storage(nonsense)


def test_faulty_storage() -> None:
    """The fakes of other tests must fail exactly where told, else those prove nothing."""
    inner = MemoryStorage()
    faulty = FaultyStorage(inner, at=2, operation="put", after=True, for_good=True, error=CrashError())
    faulty.put("a", b"")
    assert keys(faulty) == ["a"]
    with pytest.raises(CrashError):
        faulty.put("b", b"")
    with pytest.raises(CrashError):
        faulty.get("a")
    assert keys(inner) == ["a", "b"]
    assert faulty.calls == {"put": 2, "list": 1, "get": 1}
