"""``storage test`` finds out what a storage can do, and leaves nothing behind; ``iam`` allows just what is needed."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from small_world import World, tree_of
from storages import FaultyStorage, MemoryStorage
from test_crash import Restricted

from s3nap import access, cli, config
from s3nap.errors import Exit, NoSuchObjectError
from s3nap.policies import ROLES, policy
from s3nap.probe import Finding, Probe, Verdict
from s3nap.storage import Data, Listed, Storage, Stored
from s3nap.storage.local import LocalStorage
from s3nap.storage.open import open_storage


def _said(storage: Storage) -> dict[str, Finding]:
    return {finding.what.partition(" (")[0]: finding for finding in Probe(storage).findings()}


def _verdicts(storage: Storage, *what: str) -> list[str]:
    said = _said(storage)
    return [said[each].verdict.value for each in what]


EXTRAS = ("overwrite is refused", "checksums", "versions", "Object Lock")


def test_good_storages_are_found_good_and_left_clean(
    local_storage: LocalStorage,
    s3_storage: Storage,
    moto_endpoint: dict[str, str],
    make_s3_storage: Callable[[dict[str, str]], Storage],
) -> None:
    """A folder, a real S3 server and what behaves as AWS have all that is essential, and keep none of the scratch."""
    for storage, extras in (
        (local_storage, ["works", "missing", "missing", "missing"]),
        (s3_storage, ["missing", "works", "missing", "missing"]),
        (make_s3_storage(moto_endpoint), ["works", "works", "missing", "missing"]),
    ):
        storage.put("catalog/mine", b"stays")
        said = _said(storage)
        assert {each.what: each.verdict for each in said.values() if each.essential} == {
            each.what: Verdict.WORKS for each in said.values() if each.essential
        }
        assert [said[each].verdict.value for each in EXTRAS] == extras, storage.url
        assert [item.key for item in storage.list("")] == ["catalog/mine"]


def test_versions_and_locks_are_seen_and_scratch_versions_go(moto_endpoint: dict[str, str], tmp_path: Path) -> None:
    """On a bucket with versions nothing hidden stays behind; a default retention, which keeps all, is named."""
    bucket = f"test-{secrets.token_hex(6)}"
    client = boto3.Session("test", "test", region_name="us-east-1").client("s3", endpoint_url=moto_endpoint["url"])
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    key_file = tmp_path / "key"
    key_file.write_text("key=test\nsecret=test\n")
    storage = open_storage(f"s3://{bucket}/pre", endpoint=moto_endpoint["url"], key_file=key_file)
    said = _said(storage)
    assert [said[each].verdict.value for each in EXTRAS] == ["works"] * 4
    assert "no default retention" in said["Object Lock"].means
    left = client.list_object_versions(Bucket=bucket)
    assert not left.get("Versions")
    assert not left.get("DeleteMarkers")
    rule: Any = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 30}}
    client.put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    assert "GOVERNANCE, 30 days" in _said(storage)["Object Lock"].means


class Losing(FaultyStorage):
    def put(self, key: str, data: Data, *, bulk: bool = False) -> Stored:
        del key, data, bulk
        return Stored()


class Garbling(FaultyStorage):
    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        return super().get(key, start=start, length=length)[:-1] + b"!"


class Inventing(FaultyStorage):
    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        try:
            return super().get(key, start=start, length=length)
        except NoSuchObjectError:
            return b""


class WithoutParts(FaultyStorage):
    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        del start, length
        return super().get(key)


class Forgetful(FaultyStorage):
    def list(self, prefix: str) -> Iterator[Listed]:
        yield from list(super().list(prefix))[1:]


class ByCase(FaultyStorage):
    def list(self, prefix: str) -> Iterator[Listed]:
        yield from sorted(super().list(prefix), key=lambda item: item.key.lower())


class Folding(FaultyStorage):
    def put(self, key: str, data: Data, *, bulk: bool = False) -> Stored:
        return super().put(key.replace("%2F", "/"), data, bulk=bulk)


class NothingEmpty(FaultyStorage):
    def put(self, key: str, data: Data, *, bulk: bool = False) -> Stored:
        return super().put(key, data or b" ", bulk=bulk)


class Undead(FaultyStorage):
    def delete(self, keys: Iterable[str]) -> Sequence[str]:
        del keys
        return []


class Tomorrow(FaultyStorage):
    def list(self, prefix: str) -> Iterator[Listed]:
        for item in super().list(prefix):
            yield Listed(key=item.key, size=item.size, modified=item.modified - timedelta(days=2))


@pytest.mark.parametrize(
    ("wrapper", "what"),
    [
        (Losing, "get"),
        (Garbling, "get"),
        (Inventing, "get"),
        (WithoutParts, "get a part"),
        (Forgetful, "list after put"),
        (ByCase, "odd names, in byte order"),
        (Folding, "odd names, in byte order"),
        (NothingEmpty, "empty object"),
        (Undead, "delete"),
        (Tomorrow, "clock"),
    ],
)
def test_what_a_bad_storage_does_wrong_is_found(wrapper: type[FaultyStorage], what: str) -> None:
    """Whatever of s3nap's needs a storage does not keep makes it unfit, by name."""
    said = _said(wrapper(MemoryStorage()))
    assert said[what].verdict is Verdict.BROKEN
    assert said[what].fatal


@pytest.mark.parametrize(
    ("denied", "status"), [(["get", "list", "delete"], Exit.DONE), (["put"], Exit.BUCKET), (["delete"], Exit.DONE)]
)
def test_what_is_denied_is_told_from_what_is_broken(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    denied: list[str],
    status: Exit,
) -> None:
    """A host may do with put alone: then the test says what that means, and does not call the storage unfit."""

    class Putless(Restricted):
        def put(self, key: str, data: Data, *, bulk: bool = False) -> Stored:
            self._ask("put")
            return super().put(key, data, bulk=bulk)

    world = World(tmp_path)
    monkeypatch.setattr(access, "storage_of", lambda _: Putless(world.storage, denied=denied))
    assert cli._status(["storage", "test", "-c", str(world.conf)]) == status
    lines = capsys.readouterr().out.splitlines()
    for operation in denied:
        line = next(each for each in lines if re.match(rf"\w+ +{operation}( |$)", each))
        assert line.startswith("BROKEN" if operation == "put" else "denied")
    assert lines[-1].startswith("NOT FIT" if status else "fit")


def test_the_command_ends_as_the_storage_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A storage that does what it must ends with 0, in text and JSON; one that is not there with 10."""
    world = World(tmp_path)
    assert cli._status(["storage", "test", "-c", str(world.conf)]) == Exit.DONE
    assert capsys.readouterr().out.splitlines()[-1] == "fit for s3nap"
    assert cli._status(["storage", "test", "--json", "--bucket", world.folder.as_uri()]) == Exit.DONE
    assert {each["what"] for each in json.loads(capsys.readouterr().out)} > {"put", "get", "delete"}
    assert list(world.storage.list("")) == []
    world.folder.rename(tmp_path / "moved")
    assert cli._status(["storage", "test", "-c", str(world.conf)]) == Exit.BUCKET


# iam


def test_policies_name_only_what_the_role_needs() -> None:
    """No role may do more than its work, nothing outside of its host and prefix, and a wildcard in a name is none."""
    made = {role: policy(role, bucket="s3://bucket/pre*fix", host="web1") for role in ROLES}
    actions = {
        role: {action for each in document["Statement"] for action in each["Action"]} for role, document in made.items()
    }
    assert actions == {
        "host": {"s3:PutObject"},
        "host-catalog": {"s3:PutObject", "s3:GetObject", "s3:ListBucket"},
        "restorer": {"s3:GetObject", "s3:ListBucket"},
        "verifier": {"s3:GetObject", "s3:ListBucket", "s3:PutObject"},
        "janitor": {
            "s3:GetBucketVersioning",
            *("s3:GetObject", "s3:ListBucket", "s3:ListBucketVersions"),
            *("s3:DeleteObject", "s3:DeleteObjectVersion", "s3:PutObject"),
        },
    }
    for document in made.values():
        for each in document["Statement"]:
            assert each["Effect"] == "Allow"
            resources = [each["Resource"]] if isinstance(each["Resource"], str) else each["Resource"]
            if each["Action"] == ["s3:GetBucketVersioning"]:
                assert resources == ["arn:aws:s3:::bucket"]
                continue
            if each["Action"][0].startswith("s3:ListBucket"):
                assert resources == ["arn:aws:s3:::bucket"]
                resources = [f"{resources[0]}/{prefix}" for prefix in each["Condition"]["StringLike"]["s3:prefix"]]
            for resource in resources:
                assert resource.startswith(
                    ("arn:aws:s3:::bucket/pre${*}fix/catalog/web1/", "arn:aws:s3:::bucket/pre${*}fix/data/web1/")
                )
    (marks,) = [each for each in made["janitor"]["Statement"] if each["Action"] == ["s3:PutObject"]]
    assert all(resource.endswith((".hold", ".released")) for resource in marks["Resource"])
    (marks,) = [each for each in made["verifier"]["Statement"] if each["Action"] == ["s3:PutObject"]]
    assert all(resource.endswith((".distrust", ".verified-*", ".drill*")) for resource in marks["Resource"])
    locking = policy("host", bucket="b", host="h", locks=True)["Statement"][0]["Action"]
    assert locking == ["s3:PutObject", "s3:PutObjectRetention"]
    assert "arn:aws-cn:s3" in json.dumps(policy("host", bucket="b", host="h", region="cn-north-1"))


def test_iam_prints_what_aws_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One role alone is a policy document as it stands; a folder has none, and that is said."""
    world = World(tmp_path, bucket="s3://bucket/pre")
    assert cli._status(["iam", "janitor", "-c", str(world.conf)]) == Exit.DONE
    document = json.loads(capsys.readouterr().out)
    assert document["Version"] == "2012-10-17"
    assert "arn:aws:s3:::bucket/pre/catalog/alpha/*" in json.dumps(document)
    assert cli._status(["iam", "-c", str(world.conf)]) == Exit.DONE
    assert set(json.loads(capsys.readouterr().out)) == set(ROLES)
    assert cli._status(["iam", "-c", str(World(tmp_path / "local").conf)]) == Exit.USAGE


@pytest.fixture
def enforced(moto_endpoint: dict[str, str], tmp_path: Path) -> Iterator[Callable[[str], World]]:
    """Call it with a role to get a world whose conf has credentials with that role's policy, and no more."""
    url, bucket = moto_endpoint["url"], f"test-{secrets.token_hex(6)}"
    session = boto3.Session("test", "test", region_name="us-east-1")
    session.client("s3", endpoint_url=url).create_bucket(Bucket=bucket)
    users = session.client("iam", endpoint_url=url)

    def give(role: str) -> World:
        name = f"{role}-{bucket}"
        document = policy(role, bucket=f"s3://{bucket}/pre", host="alpha")
        for statement in document["Statement"]:
            statement.pop("Condition", None)  # moto knows none of S3's
            if "s3:DeleteObject" in statement["Action"]:
                statement["Resource"].append(f"arn:aws:s3:::{bucket}")  # what it asks for, of a batch, is the bucket
        users.create_user(UserName=name)
        users.put_user_policy(UserName=name, PolicyName=role, PolicyDocument=json.dumps(document))
        key = users.create_access_key(UserName=name)["AccessKey"]
        key_file = tmp_path / f"{role}.key"
        key_file.write_text(f"key={key['AccessKeyId']}\nsecret={key['SecretAccessKey']}\n")
        key_file.chmod(0o600)
        made = World(
            tmp_path,
            diffs=1,
            fulls=1,
            bucket=f"s3://{bucket}/pre",
            extra=[f"Endpoint {url}", "Region us-east-1", f"S3KeyFile {key_file}"],
        )
        made.conf = tmp_path / role / "s3nap.conf"
        made.conf.parent.mkdir()
        made.diffdir = tmp_path / role / "diffs"
        made.diffdir.mkdir()
        made.write_conf()
        return made

    yield give
    requests.post(f"{url}/moto-api/reset-auth", data=b"inf", timeout=10)


def test_each_role_can_do_its_work_and_no_more(
    enforced: Callable[[str], World], moto_endpoint: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With moto enforcing the policies: the host only puts, the janitor sweeps for it, the restorer restores."""
    host, catalog, restorer, verifier, janitor = (enforced(role) for role in ROLES)
    requests.post(f"{moto_endpoint['url']}/moto-api/reset-auth", data=b"0", timeout=10)
    trees = []
    for day in range(4):
        host.fill(day)
        assert cli._status(["-c", str(host.conf), "--date", str(host.day(day))]) == Exit.DONE
        trees.append(tree_of(host.tree))
    assert cli._status(["list", "-c", str(host.conf)]) != Exit.DONE
    assert cli._status(["prune", "-c", str(restorer.conf)]) == Exit.DONE
    assert "retained" in capsys.readouterr().out
    assert cli._status(["verify", "-c", str(verifier.conf)]) == Exit.DONE
    marks = access.storage_of(config.load(verifier.conf, on_this_host=False)).list("catalog/alpha/")
    assert any(".verified-" in item.key for item in marks)
    assert cli._status(["prune", "-c", str(janitor.conf)]) == Exit.DONE
    assert "swept 2 of 2" in capsys.readouterr().out
    assert cli._status(["hold", host.job, "-c", str(janitor.conf)]) == Exit.DONE
    assert cli._status(["restore", host.job, "-c", str(janitor.conf), "--target", str(host.base / "no")]) != Exit.DONE
    target = host.base / "restored"
    assert cli._status(["restore", host.job, "-c", str(restorer.conf), "--target", str(target)]) == Exit.DONE
    assert tree_of(target / str(host.tree).lstrip("/")) == trees[-1]
    assert cli._status(["rm", host.job, "-c", str(restorer.conf), "--at", "latest", "--yes"]) == Exit.USAGE  # held
    catalog.fill(4)
    assert cli._status(["-c", str(catalog.conf), "--date", str(host.day(4))]) == Exit.DONE
    capsys.readouterr()
    assert cli._status(["list", "--json", "-c", str(catalog.conf)]) == Exit.DONE
    assert len(json.loads(capsys.readouterr().out)) == 3
