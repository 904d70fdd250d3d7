"""Object Lock and versions: locked while the cycle needs it and never longer; deleted for good, version by version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from archives import archive, cycle_from
from small_world import World, tree_of

from s3nap import access, config
from s3nap.backup import Options, Run
from s3nap.catalog import Catalog
from s3nap.cycle import Cycle, HanoiCycle, day_date
from s3nap.errors import BucketError, ConfError, Exit
from s3nap.liveness import judge
from s3nap.manifest import Archive, Type
from s3nap.retention import retain_until
from s3nap.storage import Retaining, Storage, s3delete
from s3nap.storage.s3 import S3Storage

CYCLES = [
    cycle_from(diffs=2, fulls=2),
    cycle_from(diffs=0, fulls=3),
    cycle_from(diffs=3, fulls=1),
    cycle_from(frequency=7, diffs=1, fulls=2),
    HanoiCycle(discs=1),
    HanoiCycle(discs=4),
    HanoiCycle(frequency=3, discs=3),
]


# until when


@pytest.mark.parametrize("cycle", CYCLES, ids=str)
def test_the_lock_ends_on_the_very_day_of_the_sweep(cycle: Cycle) -> None:
    """Days are played forward by the rules of rotation: an archive is live until its lock ends, and no day longer."""
    first = 20_000
    alive: dict[str, Archive] = {}
    ends: dict[str, date] = {}
    parent: Archive | None = None
    checked = 0
    for number in range(first, first + 130):
        day = day_date(number)
        if not cycle.due(number) or (not alive and cycle.type(cycle.turn(number)) is not Type.FULL):
            continue
        turn = cycle.turn(number)
        parent = archive(day, cycle.slot(turn), parent=parent if cycle.type(turn) is Type.DIFF else None)
        alive[parent.run] = parent
        noon = datetime.combine(day, time(12)).astimezone()
        ends[parent.run] = retain_until(cycle, day, noon).date()
        live = judge(list(alive.values()), cycle, number, parent.manifest.machine).live
        for run in set(alive) - live:
            assert ends[run] == day, f"{alive[run].manifest.day}: swept on {day}, locked until {ends[run]}"
            del alive[run]
            checked += 1
    assert checked > 10


def test_an_archived_disc_is_locked_for_a_round() -> None:
    """It is kept for ever; a lock for ever could never be undone."""
    cycle = HanoiCycle(discs=3, archive_oldest_disc=True)
    turn = next(turn for turn in range(100, 104) if turn % 4 == 3)
    assert cycle.needed_until(turn) == turn + 4


def test_a_rehearsal_of_a_far_day_locks_nothing_for_decades() -> None:
    """--date moves the plan, not the clock: compliance locks cannot be taken back."""
    now = datetime.now().astimezone()
    until = retain_until(cycle_from(diffs=0, fulls=3), date(2199, 1, 1), now)
    assert until.date() == now.date() + timedelta(days=3)
    assert until.time() == time()


# in a real bucket


@dataclass(frozen=True)
class Bucket:
    client: Any
    name: str
    url: str
    key_file: Path

    def versions(self) -> list[tuple[str, str]]:
        page = self.client.list_object_versions(Bucket=self.name)
        return [
            (each["Key"], each["VersionId"]) for each in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        ]

    def storage(self, **options: Any) -> S3Storage:
        return S3Storage(bucket=self.name, prefix="pre", endpoint=self.url, key_file=self.key_file, **options)


@pytest.fixture
def bucket(moto_endpoint: dict[str, str], tmp_path: Path) -> Callable[..., Bucket]:
    def make(*, lock: bool, versions: bool = True) -> Bucket:
        client: Any = boto3.Session("test", "test", region_name="us-east-1").client(
            "s3", endpoint_url=moto_endpoint["url"]
        )
        name = f"lock-{tmp_path.name.lower().replace('_', '-')[-40:]}-{lock:d}{versions:d}".replace("[", "").replace(
            "]", ""
        )
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock)
        if versions and not lock:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        key_file = tmp_path / "s3.key"
        key_file.write_text("key=test\nsecret=test\n")
        key_file.chmod(0o600)
        return Bucket(client, name, moto_endpoint["url"], key_file)

    return make


def test_a_delete_frees_every_version(bucket: Callable[..., Bucket]) -> None:
    """A delete without a version only puts a marker on top, and everything is paid for ever after."""
    made = bucket(lock=False)
    storage = made.storage()
    for content in (b"one", b"two"):
        for key in ("a/1", "a/2", "a/10", "b"):
            storage.put(key, content)
    made.client.delete_object(Bucket=made.name, Key="pre/a/2")
    assert list(storage.delete(["a/1", "a/2", "never/there"])) == []
    assert sorted({key for key, _ in made.versions()}) == ["pre/a/10", "pre/b"]
    assert len(made.versions()) == 4


def test_many_versions_take_many_pages(bucket: Callable[..., Bucket], monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of more versions than a listing holds is emptied all the same."""
    monkeypatch.setattr(s3delete, "_BATCH", 3)
    made = bucket(lock=False)
    storage = made.storage()
    keys = [f"a/{number}" for number in range(5)]
    for _ in range(2):
        for key in keys:
            storage.put(key, b"")
    assert list(storage.delete(keys)) == []
    assert made.versions() == []


def test_what_is_locked_is_retained_and_stays_in_sight(bucket: Callable[..., Bucket]) -> None:
    """A marker on top of a locked version would hide it from the sweep that may delete it later."""
    made = bucket(lock=True)
    storage = made.storage(object_lock="governance")
    until = datetime.now(UTC) + timedelta(days=1)
    storage.retaining(until).put("a", b"x")
    storage.put("b", b"x")
    storage.retaining(datetime.now(UTC) - timedelta(days=1)).put("c", b"x")
    for each in (storage, made.storage()):
        assert list(each.delete(["a", "b", "c"])) == ["a"]
        assert [item.key for item in each.list("")] == ["a"]
    stored = made.client.head_object(Bucket=made.name, Key="pre/a")
    assert stored["ObjectLockMode"] == "GOVERNANCE"
    assert abs(stored["ObjectLockRetainUntilDate"] - until) < timedelta(seconds=1)


def test_a_bucket_without_object_lock_is_refused_before_anything_is_stored(bucket: Callable[..., Bucket]) -> None:
    """Who writes ObjectLock relies on it."""
    made = bucket(lock=False)
    with pytest.raises(BucketError, match="has no Object Lock"):
        made.storage(object_lock="compliance").check_lock()
    made.storage().check_lock()
    bucket(lock=True).storage(object_lock="compliance").check_lock()


def test_a_run_locks_all_it_stores_and_sweeps_when_the_lock_is_over(
    bucket: Callable[..., Bucket], tmp_path: Path
) -> None:
    """Every object of the archive is locked until its day; before that a sweep leaves it, whole, for later."""
    made = bucket(lock=True)
    world = World(tmp_path / "world", diffs=0, fulls=1, bucket=f"s3://{made.name}")
    world.extra = [f"Endpoint {made.url}", f"S3KeyFile {made.key_file}", "ObjectLock compliance", "Region us-east-1"]
    conf = config.load(world.write_conf())
    storage = access.storage_of(conf)

    def run() -> None:
        world.fill()
        execution = Run(config.load(world.conf), storage, Options(day=date.today(), force=True))  # noqa: DTZ011
        try:
            (result,) = execution.execute()
        finally:
            execution.close()
        assert (result.outcome, result.status) == ("done", Exit.DONE), result.message

    def archives() -> list[Archive]:
        return Catalog(storage, world.host).job(world.job).archives

    run()
    tomorrow = datetime.combine(date.today() + timedelta(days=1), time()).astimezone()  # noqa: DTZ011
    stored = made.versions()
    assert len(stored) > 5
    for key, _ in stored:
        head = made.client.head_object(Bucket=made.name, Key=key)
        lock = (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"])
        assert lock == ("COMPLIANCE", tomorrow.astimezone(UTC)), key
    run()  # the same slot: the first archive is needed no more, but locked
    assert len(archives()) == 2
    assert len({version for version in made.versions() if version in stored}) == len(stored)
    assert tree_of(world.tree)


def test_object_lock_in_a_folder_is_a_fault_of_the_conf(tmp_path: Path) -> None:
    """A directory cannot lock, and nobody should believe that it does."""
    world = World(tmp_path / "world", extra=["ObjectLock governance", "SignPassphraseFile /none"])
    with pytest.raises(ConfError) as caught:
        config.load(world.conf, on_this_host=False)
    said = "\n".join(caught.value.faults)
    assert "ObjectLock is for S3" in said
    assert "SignPassphraseFile is of no use without SignKey" in said


def test_local_storage_is_never_asked_to_lock(local_storage: Storage) -> None:
    """Folders know nothing of locks, and runs into them go on as ever."""
    assert not isinstance(local_storage, Retaining)
