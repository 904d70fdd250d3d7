"""Verifying: every kind of damage is found and named, and nothing that is whole is ever called damaged."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from keys_fixture import GpgHome
from small_world import World, s3nap
from storages import FaultyStorage, MemoryStorage

from s3nap.catalog import Catalog
from s3nap.errors import BucketError, DeniedError, Exit, NoSuchObjectError, StorageError
from s3nap.manifest import Archive, Type
from s3nap.reader import KeySource
from s3nap.storage import Listed, Storage
from s3nap.verified import DECODED, HASHES, LISTING, Verified, newest
from s3nap.verify import Verdict, Verifier

NOW = datetime(2026, 11, 21, 3, 15, tzinfo=UTC)

Objects = dict[str, bytes]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory, gpg_home: GpgHome) -> Objects:
    """All objects of an encrypted FULL, its DIFF and a later FULL; two or more chunks each."""
    world = World(tmp_path_factory.mktemp("sealed"), diffs=1, extra=[f"GpgRecipient {gpg_home.recipient}"])
    world.days(0, 1, 2)
    return objects(world.storage)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """The same without encryption."""
    world = World(tmp_path_factory.mktemp("plain"), diffs=1)
    world.days(0, 1, 2)
    return objects(world.storage)


def objects(storage: Storage) -> Objects:
    return {item.key: storage.get(item.key) for item in storage.list("")}


def filled(storage: Storage, content: Objects) -> Storage:
    for key, data in content.items():
        storage.put(key, data)
    return storage


def replace(storage: Storage, key: str, data: bytes) -> None:
    storage.delete([key])
    storage.put(key, data)


def verdicts(storage: Storage, *, share: float = 0, now: datetime = NOW, keys: Sequence[Path] = ()) -> list[Verdict]:
    return list(Verifier(storage, KeySource(files=keys), share=share, now=now).verdicts(""))


def archives(storage: Storage) -> list[Archive]:
    """FULL, DIFF, FULL."""
    (known,) = Catalog(storage, "alpha").all_jobs().values()
    return known.archives


def damaged(found: Iterable[Verdict]) -> list[str]:
    return [why for verdict in found if verdict.outcome == "damaged" for why in verdict.why]


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


Damage = Callable[[Storage, str], None]


def remove(storage: Storage, key: str) -> None:
    storage.delete([key])


def shorten(storage: Storage, key: str) -> None:
    replace(storage, key, storage.get(key)[:-1])


def lengthen(storage: Storage, key: str) -> None:
    replace(storage, key, storage.get(key) + b"x")


def alter(storage: Storage, key: str) -> None:
    replace(storage, key, flipped(storage.get(key)))


_SUFFIX = ".zst.gpg"
_CHUNKS = (f"00000000{_SUFFIX}", f"00000001{_SUFFIX}")
_OTHERS = ("sums", "chunks", "keys.gpg", f"index{_SUFFIX}", f"state{_SUFFIX}", f"log{_SUFFIX}", "restore.sh")


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest) -> Storage:
    return request.getfixturevalue(f"{request.param}_storage")


def test_whole_archives_are_whole(storage: Storage, sealed: Objects) -> None:
    """What was backed up is found whole, at whatever depth, on every storage; each look leaves its mark."""
    filled(storage, sealed)
    for share, how in ((0, LISTING), (1, DECODED)):
        found = verdicts(storage, share=share)
        assert [(verdict.outcome, verdict.how, verdict.why) for verdict in found] == [("whole", how, [])] * 3
        said = [newest(archive.marks) for archive in archives(storage)]
        assert said == [Verified(when=NOW, how=how, percent=100 if share else 0)] * 3


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        *((_CHUNKS[1], harm) for harm in (remove, shorten, lengthen)),
        *((name, remove) for name in _OTHERS),
        *((name, alter) for name in ("sums", "chunks", "keys.gpg")),
    ],
)
def test_damage_shows_without_reading_data(storage: Storage, sealed: Objects, name: str, harm: Damage) -> None:
    """A missing, short or long object, and an altered table or envelope, are named; the archive is marked."""
    filled(storage, sealed)
    key = archives(storage)[0].manifest.at.data + name
    harm(storage, key)
    found = verdicts(storage)
    assert [verdict.outcome for verdict in found].count("damaged") == 1
    assert key in " ".join(damaged(found))
    assert [archive.distrusted for archive in archives(storage)] == [True, False, False]
    assert [newest(archive.marks) is not None for archive in archives(storage)] == [False, True, True]


def test_every_missing_object_is_named(sealed: Objects) -> None:
    """Whoever looks for a copy of what is lost must know all of it."""
    storage = filled(MemoryStorage(), sealed)
    lost = [key for key in sealed if key.startswith(archives(storage)[0].manifest.at.data) and _SUFFIX in key]
    storage.delete(lost)
    assert sorted(damaged(verdicts(storage))) == sorted(f"{key} is missing" for key in lost)


@pytest.mark.parametrize("name", [_CHUNKS[0], *_OTHERS])
def test_altered_bytes_show_when_read(storage: Storage, sealed: Objects, name: str) -> None:
    """A flipped bit in any object is found by reading, key or not."""
    filled(storage, sealed)
    key = archives(storage)[2].manifest.at.data + name
    alter(storage, key)
    assert key in " ".join(damaged(verdicts(storage, share=1)))
    assert [archive.distrusted for archive in archives(storage)] == [False, False, True]


def test_a_replaced_chunk_shows_by_its_etag(s3_storage: Storage, tmp_path: Path) -> None:
    """What S3 itself says of an object costs nothing: another one of the same size is found by the listing alone."""
    world = World(tmp_path / "world")
    world.fill()
    world.run(0, storage=s3_storage)
    assert [verdict.outcome for verdict in verdicts(s3_storage)] == ["whole"]
    at = archives(s3_storage)[0].manifest.at
    alter(s3_storage, f"{at.data}00000001.zst")
    assert f"{at.data}00000001.zst" in " ".join(damaged(verdicts(s3_storage)))


def test_other_etags_are_no_damage(plain: Objects) -> None:
    """A bucket that was copied has other ETags: one chunk is read, and they are believed no more."""
    storage = filled(MemoryStorage(), plain)
    first = archives(storage)[0].manifest
    chunks = first.at.data + "chunks"
    table = storage.get(chunks).replace(b" - - ", b" abcdef - ")
    replace(storage, chunks, table)
    _amend(storage, first.at.manifest, "chunks", table)

    class Tagged(FaultyStorage):
        def list(self, prefix: str) -> Iterator[Listed]:
            return (dataclasses.replace(item, etag="fedcba") for item in super().list(prefix))

    tagged = Tagged(storage)
    assert damaged(verdicts(tagged)) == []
    assert tagged.calls["list"] == 2


def _amend(storage: Storage, key: str, role: str, data: bytes, **fields: object) -> None:
    """Make a manifest promise other bytes for a role."""
    document = json.loads(storage.get(key))
    for item in document["objects"]:
        if item["role"] == role:
            item |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    replace(storage, key, json.dumps(document | fields).encode())


def test_what_does_not_decode_is_damage(plain: Objects) -> None:
    """Bytes that are as stored, but never were what was read, show when decoded: by raw size and by raw hash."""
    for old, new in ((b" 65536 ", b" 65535 "), (None, None)):
        storage = filled(MemoryStorage(), plain)
        first = archives(storage)[0].manifest
        chunks = first.at.data + "chunks"
        table = storage.get(chunks)
        raw_size = first.raw_size
        if old is not None and new is not None:
            assert old in table
            table, raw_size = table.replace(old, new, 1), raw_size - 1
        else:
            digest = table.splitlines()[0].split()[5]
            table = table.replace(digest, digest[::-1], 1)
        replace(storage, chunks, table)
        _amend(storage, first.at.manifest, "chunks", table, raw_size=raw_size)
        assert damaged(verdicts(storage)) == []
        assert "00000000.zst" in " ".join(damaged(verdicts(storage, share=1)))


def test_tables_and_manifest_must_agree(plain: Objects) -> None:
    """A manifest that counts other bytes than its table is not believed."""
    storage = filled(MemoryStorage(), plain)
    first = archives(storage)[0].manifest
    _amend(storage, first.at.manifest, "none", b"", raw_size=first.raw_size + 1)
    assert "counts" in " ".join(damaged(verdicts(storage)))


@pytest.mark.parametrize("how", ["cut", "moved", "orphan"])
def test_damaged_catalogs(plain: Objects, how: str) -> None:
    """A manifest that cannot be read, lies elsewhere, or whose parent is gone is named; nothing is distrusted."""
    storage = filled(MemoryStorage(), plain)
    first, second, _ = archives(storage)
    key = first.manifest.at.manifest
    if how == "cut":
        shorten(storage, key)
        replace(storage, key, storage.get(key)[:100])
    elif how == "moved":
        key = first.manifest.at.manifest.replace("-0-", "-9-")
        storage.put(key, storage.get(first.manifest.at.manifest))
    else:
        storage.delete([key])
        key = second.manifest.at.manifest
    found = damaged(verdicts(storage))
    assert len(found) == 1
    assert found[0].startswith(f"{key}: ")
    assert not any(key.endswith(".distrust") for key in objects(storage))


def test_a_newer_format_is_not_damage(plain: Objects) -> None:
    """An older s3nap beside a newer one must not make its archives unusable."""
    storage = filled(MemoryStorage(), plain)
    _amend(storage, archives(storage)[0].manifest.at.manifest, "none", b"", needs=["magic"])
    found = verdicts(storage)
    assert sorted(verdict.outcome for verdict in found) == ["unknown", "whole", "whole"]
    assert not any(key.endswith(".distrust") for key in objects(storage))


# nothing that is whole is called damaged


def never(storage: Storage, found: Iterable[Verdict]) -> None:
    assert damaged(found) == []
    assert [key for key in objects(storage) if key.endswith(".distrust")] == []


class Troubled(FaultyStorage):
    """At the ``at``-th call something happens, be it to the answer."""

    def __init__(self, inner: Storage, at: int, *, happens: Callable[[], None] | None = None) -> None:
        super().__init__(inner)
        self._number, self._happens = at, happens

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        data = self._pass("get", key, lambda: self.inner.get(key, start=start, length=length))
        if self.calls.total() == self._number and self._happens is None:
            return flipped(data)
        self._now()
        return data

    def list(self, prefix: str) -> Iterator[Listed]:
        for number, item in enumerate(self._pass("list", prefix, lambda: self.inner.list(prefix))):
            if number % 5 == 0:  # a page
                self.calls["page"] += 1
                self._now()
            yield item

    def _now(self) -> None:
        if self.calls.total() == self._number and self._happens is not None:
            self._happens()


def _calls(storage: Storage, share: float) -> int:
    counting = Troubled(storage, 0)
    verdicts(counting, share=share)
    return counting.calls.total()


@pytest.mark.parametrize("share", [0, 1])
@pytest.mark.parametrize("error", [DeniedError, StorageError, NoSuchObjectError], ids=lambda error: error.__name__)
def test_a_storage_that_fails_is_no_damage(plain: Objects, share: float, error: type[StorageError]) -> None:
    """Whichever single call fails, is denied or finds nothing: no archive is called damaged, and none is marked."""
    storage = filled(MemoryStorage(), plain)
    for at in range(1, _calls(storage, share) + 1):
        faulty = FaultyStorage(storage, operation="get", at=at, error=error("no"))
        never(storage, verdicts(faulty, share=share))


@pytest.mark.parametrize("share", [0, 1])
def test_a_flipped_answer_is_no_damage(plain: Objects, share: float) -> None:
    """A bit that flips on the way, in whichever answer, is looked at again."""
    storage = filled(MemoryStorage(), plain)
    for at in range(1, _calls(storage, share) + 1):
        never(storage, verdicts(Troubled(storage, at), share=share))


@pytest.mark.parametrize("share", [0, 1])
@pytest.mark.parametrize("number", [0, 2])
def test_a_swept_archive_is_no_damage(plain: Objects, share: float, number: int) -> None:
    """A run that sweeps, a chain or a lone FULL, at any moment of a verification, gives no alarm."""
    calls = _calls(filled(MemoryStorage(), plain), share)
    for at in range(1, calls + 1):
        storage = filled(MemoryStorage(), plain)
        catalog, known = Catalog(storage, "alpha"), archives(storage)

        def sweep(catalog: Catalog = catalog, known: list[Archive] = known) -> None:
            for archive in (known[1], known[0]) if number == 0 else (known[2],):
                catalog.sweep(archive.manifest.at)

        found = verdicts(Troubled(storage, at, happens=sweep), share=share)
        assert {verdict.outcome for verdict in found} <= {"whole", "gone", "unknown"}
        never(storage, found)


def test_an_archive_that_is_being_written_is_no_damage(plain: Objects) -> None:
    """Data without a manifest is nobody's yet; what is committed while listings run is whole."""
    names = archives(filled(MemoryStorage(), plain))[2].manifest.at
    mine = {key: data for key, data in plain.items() if names.run in key}
    before = {key: data for key, data in plain.items() if key not in mine}
    calls = _calls(filled(MemoryStorage(), plain), 0)
    for at in range(1, calls + 1):
        storage = filled(MemoryStorage(), before)

        def commit(storage: Storage = storage) -> None:
            filled(storage, dict(sorted(mine.items(), reverse=True)))  # data/ before catalog/

        found = verdicts(Troubled(storage, at, happens=commit))
        never(storage, found)
        assert {verdict.outcome for verdict in found} == {"whole"}


def test_a_listing_that_lacks_objects_is_no_damage(plain: Objects) -> None:
    """Some servers' listings lag behind: what they lack is asked for by name."""
    storage = filled(MemoryStorage(), plain)

    class Forgetful(FaultyStorage):
        def list(self, prefix: str) -> Iterator[Listed]:
            return (item for item in super().list(prefix) if not item.key.endswith(("00000000.zst", "restore.sh")))

    never(storage, verdicts(Forgetful(storage)))


@pytest.mark.parametrize("beginning", ["data/", "catalog/"])
def test_answers_that_never_agree_are_no_damage(plain: Objects, beginning: str) -> None:
    """A way that breaks every answer, each time otherwise, says nothing of what is stored."""
    storage = filled(MemoryStorage(), plain)

    class Noisy(FaultyStorage):
        def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
            data = super().get(key, start=start, length=length)
            return data[: -9 - self.calls["get"]] if key.startswith(beginning) else data

    found = verdicts(Noisy(storage), share=1)
    never(storage, found)
    assert {verdict.outcome for verdict in found} == {"unknown"}


def test_out_of_reach_ends_it(plain: Objects) -> None:
    """A bucket that is gone half-way is one clear error, not damage everywhere."""
    storage = filled(MemoryStorage(), plain)
    with pytest.raises(BucketError):
        verdicts(FaultyStorage(storage, operation="get", at=3, error=BucketError("gone"), for_good=True))
    assert not any(key.endswith(".distrust") for key in objects(storage))


def test_a_gpg_that_does_not_work_here_is_no_damage(
    sealed: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without memory or disk for gpg says nothing of what is stored."""
    storage = filled(MemoryStorage(), sealed)
    real = shutil.which("gpg")
    fake = tmp_path / "bin" / "gpg"
    fake.parent.mkdir()
    # decrypts envelopes (the user's own gpg), but fails wherever it has a home of ours
    fake.write_text(f'#!/bin/sh\ncase "$*" in *--passphrase-fd*--decrypt*) exit 2;; esac\nexec {real} "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    found = verdicts(storage, share=1)
    never(storage, found)
    assert {verdict.outcome for verdict in found} == {"unknown"}


def test_a_wrong_later_envelope_is_no_damage(sealed: Objects, gpg_home: GpgHome) -> None:
    """Who may put marks must not get archives distrusted by an envelope of other passphrases."""
    storage = filled(MemoryStorage(), sealed)
    manifest = archives(storage)[2].manifest
    right = _gpg(["--decrypt"], storage.get(f"{manifest.at.data}keys.gpg"))
    wrong = b"".join(
        b" ".join([name, key[::-1], digest]) + b"\n" for name, key, digest in map(bytes.split, right.splitlines())
    )
    encrypt = ["--trust-model", "always", "--recipient", gpg_home.recipient, "--encrypt"]
    storage.put(manifest.at.mark("keys-1.gpg"), _gpg(encrypt, wrong))
    found = verdicts(storage, share=1)
    never(storage, found)
    assert sorted(verdict.outcome for verdict in found) == ["unknown", "whole", "whole"]


def _gpg(args: Sequence[str], data: bytes) -> bytes:
    return subprocess.run(["gpg", "--batch", "--quiet", *args], input=data, check=True, capture_output=True).stdout


# what is asked of the storage, and what is left there


def test_two_listings_for_all(plain: Objects) -> None:
    """All archives of all hosts cost one listing of the catalog and one of the data, and no data is read."""
    storage = filled(MemoryStorage(), plain)
    faulty = FaultyStorage(storage)
    assert len(verdicts(faulty)) == 3
    assert faulty.calls["list"] == 2
    assert faulty.calls["get"] == 3 * 3  # manifest and two tables


def test_a_share_is_a_share(plain: Objects) -> None:
    """A tenth of the data is about a tenth of the objects, of many small archives, too."""
    storage = filled(MemoryStorage(), plain)
    total = sum(key.startswith("data/") for key in plain)
    chosen = 0
    for seed in range(40):
        faulty = FaultyStorage(storage)
        verifier = Verifier(faulty, KeySource(), share=0.1, now=NOW, choose=random.Random(seed))  # noqa: S311 - repeatable
        assert damaged(verifier.verdicts("")) == []
        chosen += faulty.calls["get"] - 3 * 5  # the manifest once, and the tables twice
    assert 0.05 * total < chosen / 40 < 0.15 * total


def test_without_a_key_hashes_are_checked(sealed: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backed-up host has no key: reading still proves that what is stored is what was sent."""
    storage = filled(MemoryStorage(), sealed)
    home = tmp_path / "g"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    assert {(verdict.outcome, verdict.how) for verdict in verdicts(storage, share=1)} == {("whole", HASHES)}


def test_marks_replace_what_says_no_more(plain: Objects) -> None:
    """Each archive keeps its last mark, and an older one only where that says more."""
    storage = filled(MemoryStorage(), plain)
    for days, share in enumerate((0, 0, 1, 0, 0)):
        verdicts(storage, share=share, now=NOW + timedelta(days=days))
    for archive in archives(storage):
        said = sorted((each.when - NOW).days for mark in archive.marks if (each := Verified.parse(mark)))
        assert said == [2, 4]


def test_marks_are_understood() -> None:
    """A name that is not one of ours, or no time at all, is another mark."""
    for how, percent in ((LISTING, 0), (HASHES, 5), (DECODED, 100)):
        said = Verified(when=NOW, how=how, percent=percent)
        assert Verified.parse(said.mark) == said
        assert json.loads(said.to_json()) == {"when": NOW.isoformat(), "how": how, "share": percent / 100}
    for mark in ("verified", "verified-20261121T031500Z", "verified-20269921T031500Z-listing", "hold", "verified-x"):
        assert Verified.parse(mark) is None


def test_who_may_not_put_verifies_all_the_same(plain: Objects) -> None:
    """A restorer's credentials are enough to look; the marks are then missing, and nothing else."""
    storage = filled(MemoryStorage(), plain)
    faulty = FaultyStorage(storage, operation="put", at=1, error=DeniedError("may not put"))
    assert {verdict.outcome for verdict in verdicts(faulty)} == {"whole"}
    assert objects(storage) == plain


def test_a_distrusted_full_makes_the_next_run_a_full(tmp_path: Path) -> None:
    """Nothing is built on what is damaged; the next run makes a FULL, and older chains restore as ever."""
    world = World(tmp_path / "world", diffs=2)
    trees = world.days(0, 1, 2, 3)
    older, damaged_run = world.runs[:3], world.runs[3]
    storage = world.storage
    key = next(archive.manifest.at.data for archive in world.archives if archive.run == damaged_run) + "00000000.zst"
    storage.delete([key])
    done = s3nap("verify", "-c", world.conf)
    assert done.returncode == Exit.VERIFICATION
    assert key in done.stderr
    world.fill(4)
    result = world.run(4)
    assert result.outcome == "done"
    assert result.manifest is not None
    assert result.manifest.type is Type.FULL
    assert "distrusted" in result.message
    world.assert_restores({run: trees[run] for run in older})
    assert world.restore(result.manifest.run)


# the command


def test_the_command(tmp_path: Path) -> None:
    """The status tells whole, damaged, nothing and out of reach apart; JSON is one document."""
    world = World(tmp_path / "world")
    empty = s3nap("verify", "-c", world.conf)
    assert (empty.returncode, "holds nothing" in empty.stderr) == (Exit.NOTHING, True)
    world.days(0, 1)
    whole = s3nap("verify", world.tree, "-c", world.conf)
    assert (whole.returncode, whole.stderr) == (Exit.DONE, "")
    assert "2 whole" in whole.stdout
    assert s3nap("verify", "-q", "--all-hosts", "--bucket", world.folder.as_uri()).stdout == ""
    first = world.archives[0].manifest
    world.storage.delete([f"{first.at.data}00000000.zst"])
    bad = s3nap("verify", "--read-data=100%", "--json", "-c", world.conf)
    assert bad.returncode == Exit.VERIFICATION
    assert [(item["run"], item["outcome"], item["distrusted"]) for item in json.loads(bad.stdout)] == [
        (world.runs[0], "damaged", True),
        (world.runs[1], "whole", False),
    ]
    text = s3nap("verify", "-c", world.conf).stdout
    assert "1 that build on it do not restore either" in text
    shutil.rmtree(world.folder)
    assert s3nap("verify", "-c", world.conf).returncode == Exit.BUCKET


@pytest.mark.parametrize("share", ["0", "101", "5x", "/srv/www", "nan"])
def test_shares_that_are_none(share: str) -> None:
    """A job behind --read-data, or nonsense, is an error that says how to write it."""
    said = s3nap("verify", f"--read-data={share}", "--bucket", "file:///nowhere")
    assert said.returncode == Exit.USAGE
    assert "5%" in said.stderr
