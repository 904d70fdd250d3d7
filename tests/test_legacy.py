"""Old buckets: what s3napback and js3tream stored is found, judged, and comes back."""

from __future__ import annotations

import gzip
import json
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner
from keys_fixture import GpgHome
from s3napback import OldBucket
from trees import fingerprint

from s3nap.cli import cli
from s3nap.errors import Exit, NoKeyError, NothingMatchesError, UsageError, VerificationError

SQL = (
    b"-- MySQL dump\nCREATE TABLE t (i INT);\n" + b"INSERT INTO t VALUES (1);\n" * 500 + b"-- Dump completed on 2010\n"
)


@pytest.fixture(params=[True, False], ids=["gpg", "plain"])
def encrypted(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def make_bucket(moto_endpoint: dict[str, str], gpg_home: GpgHome, tmp_path: Path) -> Callable[..., OldBucket]:
    def make(*, encrypted: bool = False, chunk: int = 4096) -> OldBucket:
        session = boto3.Session(moto_endpoint["key"], moto_endpoint["secret"], region_name="us-east-1")
        client = session.client("s3", endpoint_url=moto_endpoint["url"])
        name = f"old-{secrets.token_hex(6)}"
        client.create_bucket(Bucket=name)
        work = tmp_path / "diffs"
        work.mkdir()
        recipient = gpg_home.recipient if encrypted else None
        return OldBucket(client=client, name=name, work=work, recipient=recipient, chunk=chunk)

    return make


@pytest.fixture
def bucket(make_bucket: Callable[..., OldBucket]) -> OldBucket:
    return make_bucket()


@pytest.fixture
def s3nap(moto_endpoint: dict[str, str], tmp_path: Path) -> Callable[..., Any]:
    """Run a command on the bucket; status and output, or the error that it raises."""
    key_file = tmp_path / "s3.key"
    key_file.write_text("key=test\nsecret=test\n")
    key_file.chmod(0o600)

    def run(bucket: OldBucket, *args: str) -> tuple[int, str]:
        place = ["--bucket", f"s3://{bucket.name}", "--endpoint", moto_endpoint["url"], "--key-file", str(key_file)]
        result = CliRunner().invoke(cli, [*args, "--legacy", *place], standalone_mode=False)
        if result.exception is not None:
            raise result.exception
        return int(result.return_value or 0), result.stdout

    return run


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with a colon, a blank and a quote in its name."""
    folder = tmp_path / "srv:a b'c"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "deep").write_bytes(secrets.token_bytes(9000))
    (folder / "gone").write_text("gone")
    (folder / "same").write_text("same")
    (folder / "link").symlink_to("x" * 150)
    (folder / ("long" * 40)).mkdir()
    (folder / ("long" * 40) / "file").write_text("below a long name")
    os.link(folder / "same", folder / "hard")
    return folder


def shape(root: Path) -> dict[bytes, object]:
    """What of a tree the old format holds: times to the second."""
    found = fingerprint(root)
    return {
        path: (node.kind, node.mode, node.owner, node.content, node.group, node.modified // 10**9)
        for path, node in found.items()
    }


def below(target: Path, tree: Path) -> Path:
    return target / str(tree)[1:]


def nothing(_tree: Path) -> None: ...


def delete(tree: Path) -> None:
    (tree / "gone").unlink()
    (tree / "excluded.tmp").write_text("x")


def swap(tree: Path) -> None:
    """What tar would replay below the absolute path of the tree that it came from."""
    long = tree / ("long" * 40)
    (tree / "sub").rename(tree / "x")
    long.rename(tree / "sub")
    (tree / "x").rename(long)


def replace(tree: Path) -> None:
    (tree / "new").write_bytes(secrets.token_bytes(5000))
    shutil.rmtree(tree / "sub")
    (tree / "sub").write_text("a file now")


def test_a_chain_restores_at_every_day(
    make_bucket: Callable[..., OldBucket],
    s3nap: Callable[..., Any],
    tree: Path,
    tmp_path: Path,
    encrypted: bool,
) -> None:
    """FULL and DIFFs are picked by dates, and deletions and renames are applied, with gpg and without."""
    bucket = make_bucket(encrypted=encrypted)
    bucket.directory(tree, 6, "DIFF", -1)  # of the round before; its slot is higher, and its FULL is gone
    shapes = []
    for day, edit in enumerate((nothing, delete, swap, replace)):
        edit(tree)
        bucket.directory(tree, day, "DIFF" if day else "FULL", day, exclude=["*.tmp"])
        shapes.append({path: node for path, node in shape(tree).items() if not path.endswith(b".tmp")})
    for day, wanted in enumerate(shapes):
        target = tmp_path / f"restored-{day}"
        when = f"2010-03-0{day + 1}T23:00Z"
        assert s3nap(bucket, "restore", str(tree), "--target", str(target), "--at", when)[0] == Exit.DONE
        assert shape(below(target, tree)) == wanted
    assert s3nap(bucket, "list")[0] == Exit.DONE
    records = json.loads(s3nap(bucket, "list", "--json")[1])
    assert [(each["slot"], each["type"], each["restorable"]) for each in records] == [
        (6, "DIFF", False),
        (0, "FULL", True),
        *((slot, "DIFF", True) for slot in (1, 2, 3)),
    ]
    assert records[-1]["chain"] == [f"{tree}-0-FULL", *(f"{tree}-{slot}-DIFF" for slot in (1, 2, 3))]


def test_a_diff_without_its_full_is_refused(bucket: OldBucket, s3nap: Callable[..., Any], tree: Path) -> None:
    """A DIFF alone would restore as if the rest had never been."""
    bucket.directory(tree, 0, "FULL", 0)
    bucket.directory(tree, 1, "DIFF", 1)
    bucket.delete(f"{tree}-0-FULL")
    with pytest.raises(NothingMatchesError, match="its FULL is not there any more"):
        s3nap(bucket, "restore", str(tree), "--target", "never")


def test_an_exact_multiple_of_the_chunk_size(bucket: OldBucket, s3nap: Callable[..., Any], tmp_path: Path) -> None:
    """js3tream then ends with an empty object; what comes before is whole, and without it, it is said to be cut off."""
    text, data = next(
        (text, data)
        for blanks in range(99)
        for text in [b" " * blanks + SQL]
        if len(data := gzip.compress(text, mtime=0)) % 2 == 0
    )
    bucket.upload("MySQL/shop-3", data, 0, chunk=len(data) // 2)
    assert [key[-2:] for key in bucket.stored()] == ["00", "01", "02"]
    assert s3nap(bucket, "restore", "MySQL/shop", "--target", str(tmp_path / "sql"))[0] == Exit.DONE
    assert (tmp_path / "sql").read_bytes() == text
    bucket.client.delete_object(Bucket=bucket.name, Key=bucket.stored()[-1])
    assert s3nap(bucket, "restore", "MySQL/shop", "--target", str(tmp_path / "again"))[0] == Exit.DONE
    bucket.client.delete_object(Bucket=bucket.name, Key=bucket.stored()[-1])
    with pytest.raises(VerificationError, match="ends early"):
        s3nap(bucket, "restore", "MySQL/shop", "--target", str(tmp_path / "cut"))


@pytest.mark.parametrize("lost", [0, 1, -1])
def test_a_missing_chunk_is_named(
    bucket: OldBucket, s3nap: Callable[..., Any], tree: Path, tmp_path: Path, lost: int
) -> None:
    """13, and the key of what is missing; of the last chunk that is only known at the end."""
    bucket.directory(tree, 0, "FULL", 0)
    bucket.directory(tree, 7, "FULL", 7)
    keys = bucket.stored(f"{tree}-7-FULL:")
    assert len(keys) > 2
    bucket.client.delete_object(Bucket=bucket.name, Key=keys[lost])
    with pytest.raises(VerificationError, match=f"{keys[lost]}.* missing") as caught:
        s3nap(bucket, "restore", str(tree), "--target", str(tmp_path / "t"))
    assert caught.value.status == Exit.VERIFICATION
    if lost >= 0:
        assert "--at 2010-03-01T03:15:00+00:00" in str(caught.value)
        assert not (tmp_path / "t").exists()
        status, listed = s3nap(bucket, "list")
        assert status == Exit.WARNINGS
        assert f"DAMAGED: {keys[lost]} is missing" in listed
        assert s3nap(bucket, "restore", str(tree), "--target", str(tmp_path / "t"), "--at", "slot:0")[0] == Exit.DONE


def test_a_chunk_of_another_length_is_damage(bucket: OldBucket, s3nap: Callable[..., Any], tree: Path) -> None:
    """All chunks but the last are equally long."""
    bucket.directory(tree, 0, "FULL", 0)
    key = bucket.stored()[1]
    bucket.put(key, b"short", 0)
    with pytest.raises(VerificationError, match=f"{key} is not as long"):
        s3nap(bucket, "restore", str(tree), "--target", "never")


def test_empty_archives_are_reported_and_never_chosen(
    bucket: OldBucket, s3nap: Callable[..., Any], tmp_path: Path
) -> None:
    """Failed dumps were stored as nothing, or as a gzip of nothing, and looked newer than the last good one."""
    bucket.dump("PostgreSQL/-0", b"-- PostgreSQL database cluster dump complete", 0)
    bucket.upload("PostgreSQL/-1", b"", 1)
    bucket.dump("PostgreSQL/-2", b"", 2)
    bucket.dump("PostgreSQL/-3", bytes(10240), 3)
    status, text = s3nap(bucket, "list", "--json")
    assert status == Exit.WARNINGS
    assert [(each["slot"], each["empty"]) for each in json.loads(text)] == [(0, False), (1, True), (2, True), (3, True)]
    assert s3nap(bucket, "restore", "PostgreSQL/", "--target", str(tmp_path / "sql"))[0] == Exit.DONE
    assert (tmp_path / "sql").read_bytes() == b"-- PostgreSQL database cluster dump complete"
    with pytest.raises(NothingMatchesError, match="empty"):
        s3nap(bucket, "restore", "PostgreSQL/", "--target", "never", "--at", "slot:2")


def test_an_empty_archive_within_gpg_is_found_out(
    make_bucket: Callable[..., OldBucket], s3nap: Callable[..., Any]
) -> None:
    """Encryption hides that a dump failed until it is opened."""
    bucket = make_bucket(encrypted=True)
    bucket.dump("MySQL/shop-0", b"", 0)
    with pytest.raises(VerificationError, match="MySQL/shop-0 is empty"):
        s3nap(bucket, "restore", "MySQL/shop", "--target", "never")


@pytest.mark.parametrize(
    ("name", "slot", "kind"),
    [
        ("MySQL//run/my.sock/shop", 0, None),
        ("MySQL/--all-databases", 12, None),
        ("MySQL/a:b-1-FULL", 3, None),
        ("/srv/svn:r-2", 4, "DIFF"),
        ("/d//x:00000000000000000000", 0, "FULL"),
        ("PostgreSQL/dürr X", 1, None),
    ],
)
def test_names_of_all_kinds(bucket: OldBucket, s3nap: Callable[..., Any], name: str, slot: int, kind: str) -> None:
    """Keys are split at the last colon, and slot and type are taken off the end."""
    bucket.dump(f"{name}-{slot}" + (f"-{kind}" if kind else ""), SQL, 0)
    bucket.put("catalog/host/Directory/x-0-FULL/20261121T031500Z-4f09ac.json", b"{}", 0)
    (record,) = json.loads(s3nap(bucket, "list", name, "--json")[1])
    assert (record["name"], record["slot"], record["type"]) == (name, slot, kind)
    s3nap(bucket, "list")


def test_dumps_come_out_as_they_were(
    make_bucket: Callable[..., OldBucket],
    s3nap: Callable[..., Any],
    tmp_path: Path,
    encrypted: bool,
) -> None:
    """Of a database the newest slot, to a file or to standard output; one that was cut off is pointed out."""
    bucket = make_bucket(encrypted=encrypted, chunk=97)
    bucket.dump("MySQL//run/my.sock/shop-5", b"old" + SQL, 0)
    bucket.dump("MySQL//run/my.sock/shop-1", SQL, 1)
    bucket.dump("MySQL//run/my.sock/shop-9", SQL[:5000], 2)
    file = tmp_path / "sql"
    name = "MySQL//run/my.sock/shop"
    assert s3nap(bucket, "restore", name, "--target", str(file), "--at", "slot:1", "-n")[0] == Exit.DONE
    assert not file.exists()
    assert s3nap(bucket, "restore", name, "--target", str(file), "--at", "2010-03-02")[0] == Exit.DONE
    assert file.read_bytes() == SQL
    assert s3nap(bucket, "restore", name, "--target", "-", "--at", "slot:1") == (Exit.DONE, SQL.decode())
    with pytest.raises(UsageError, match="exists already"):
        s3nap(bucket, "restore", name, "--target", str(file))
    assert s3nap(bucket, "restore", name, "--target", str(file), "--overwrite")[0] == Exit.WARNINGS
    assert file.read_bytes() == SQL[:5000]


def test_subversion_chains_load(bucket: OldBucket, s3nap: Callable[..., Any], tmp_path: Path) -> None:
    """FULL and DIFFs of a repository come out as one stream that svnadmin loads."""
    source, target, dump = (tmp_path / name for name in ("source", "target", "dump"))
    subprocess.run(["svnadmin", "create", source], check=True)
    for revision in (1, 2, 3):
        argv = ["svn", "-q", "mkdir", "-m", "x", f"file://{source}/d{revision}"]
        subprocess.run(argv, check=True)
    for day, span in enumerate(("0:1", "2:3")):
        argv = ["svnadmin", "dump", "-q", f"-r{span}", "--incremental", str(source)]
        text = subprocess.run(argv, check=True, capture_output=True).stdout
        bucket.dump(f"{source}-{day}-{'DIFF' if day else 'FULL'}", text, day)
    assert s3nap(bucket, "restore", str(source), "--target", str(dump))[0] == Exit.DONE
    subprocess.run(["svnadmin", "create", target], check=True)
    with dump.open("rb") as stream:
        subprocess.run(["svnadmin", "load", "-q", target], check=True, stdin=stream)
    found = subprocess.run(["svn", "ls", f"file://{target}"], check=True, capture_output=True, text=True).stdout
    assert found.split() == ["d1/", "d2/", "d3/"]


def test_a_diff_that_may_be_missing_is_pointed_out(
    bucket: OldBucket, s3nap: Callable[..., Any], tree: Path, tmp_path: Path
) -> None:
    """A slot without a DIFF may be a day off, or lost changes: what is absent then is named, status 3."""
    bucket.directory(tree, 0, "FULL", 0)
    (tree / "lost").write_text("stored on day 1 only")
    bucket.directory(tree, 1, "DIFF", 1)
    (tree / "later").write_text("later")
    bucket.directory(tree, 2, "DIFF", 2)
    bucket.delete(f"{tree}-1-DIFF")
    assert json.loads(s3nap(bucket, "list", "--json")[1])[-1]["gaps"] == [1]
    assert s3nap(bucket, "restore", str(tree), "--target", str(tmp_path / "t"))[0] == Exit.WARNINGS
    assert (below(tmp_path / "t", tree) / "later").exists()


def test_what_was_never_stored_is_named(
    bucket: OldBucket, s3nap: Callable[..., Any], tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sockets were listed, but not stored: status 3, not 13; nothing is said of excluded names."""
    monkeypatch.chdir(tree)  # a path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        bucket.directory(tree, 0, "FULL", 0, exclude=["same"])
    assert s3nap(bucket, "restore", str(tree), "--target", str(tmp_path / "t"))[0] == Exit.WARNINGS
    (tree / "socket").unlink()
    bucket.directory(tree, 1, "DIFF", 1, exclude=["same"])
    assert s3nap(bucket, "restore", str(tree), "--target", str(tmp_path / "u"))[0] == Exit.DONE
    assert not (below(tmp_path / "u", tree) / "same").exists()


def test_the_wrong_key(
    make_bucket: Callable[..., OldBucket],
    s3nap: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Without the key the status is 12, and nothing is written."""
    bucket = make_bucket(encrypted=True)
    bucket.dump("MySQL/shop-0", SQL, 0)
    empty = tmp_path / "g"
    empty.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(empty))
    for more in (["-n"], []):
        with pytest.raises(NoKeyError, match="MySQL/shop-0"):
            s3nap(bucket, "restore", "MySQL/shop", "--target", str(tmp_path / "sql"), *more)
    assert not (tmp_path / "sql").exists()


def test_damage_is_found_within_gpg_and_gzip(
    make_bucket: Callable[..., OldBucket], s3nap: Callable[..., Any], tmp_path: Path, encrypted: bool
) -> None:
    """A flipped bit never passes as success."""
    bucket = make_bucket(encrypted=encrypted, chunk=1000)
    bucket.dump("MySQL/shop-0", secrets.token_bytes(5000) + SQL, 0)
    key = bucket.stored()[3]
    data = bytearray(bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"].read())
    data[500] ^= 4
    bucket.put(key, bytes(data), 0)
    with pytest.raises(VerificationError, match="MySQL/shop-0: "):
        s3nap(bucket, "restore", "MySQL/shop", "--target", str(tmp_path / "sql"))
    assert not (tmp_path / "sql").exists()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--keys", "/dev/null"], "--keys: means nothing"),
        (["--database", "x"], "--database: means nothing"),
        (["--target", "-"], "is a directory: give --target FOLDER"),
        (["--target", "/"], "is not empty"),
        (["--overwrite"], "no --overwrite"),
    ],
)
def test_what_cannot_be_is_refused(
    bucket: OldBucket, s3nap: Callable[..., Any], tree: Path, options: list[str], why: str
) -> None:
    """An option that would be ignored, or a target that would be overwritten, is an error before anything is done."""
    bucket.directory(tree, 0, "FULL", 0)
    target = tree.parent / "t"
    for more in ([], ["-n"]):
        with pytest.raises(UsageError, match=why):
            s3nap(bucket, "restore", str(tree), "--target", str(target), *options, *more)
    with pytest.raises(NothingMatchesError, match="holds: "):
        s3nap(bucket, "restore", "/nowhere", "--target", "t")
    assert not target.exists()
