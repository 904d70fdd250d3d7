"""Signed manifests: whose signatures count, and what a forger who may put and delete gets a host to do: nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from small_world import World, fake_program, s3nap, tree_of
from storages import FaultyStorage

from s3nap import archiving
from s3nap.catalog import Catalog
from s3nap.copies import Copies
from s3nap.errors import DeniedError, Exit, RecipientError, UntrustedError
from s3nap.manifest import Manifest, Type
from s3nap.signing import Signer, Trust

DATA = b'{"a": "manifest"}\n'
BATCH = ("gpg", "--batch", "--quiet", "--yes", "--pinentry-mode", "loopback")


def gpg(*args: object, said: bytes = b"", passphrase: str = "") -> bytes:
    command = [*BATCH, "--passphrase", passphrase, *map(str, args)]
    return subprocess.run(command, input=said, check=True, capture_output=True).stdout


def make_key(name: str, *, usage: str = "sign", expires: str = "never", passphrase: str = "", when: str = "") -> str:
    """Generate a key; return its fingerprint."""
    uid = f"{name} <{name}@s3nap.test>"
    past = ["--faked-system-time", when] if when else []
    gpg(*past, "--quick-generate-key", uid, "ed25519", usage, expires, passphrase=passphrase)
    return fingerprints(name)[0]


def fingerprints(name: str) -> list[str]:
    lines = gpg("--list-keys", "--with-colons", f"{name}@s3nap.test").decode().splitlines()
    return [line.split(":")[9] for line in lines if line.startswith("fpr:")]


def sign(key: str, data: bytes = DATA, *options: str) -> bytes:
    return gpg(*options, "--local-user", f"{key}!", "--armor", "--detach-sign", "-o", "-", said=data)


@dataclass(frozen=True)
class Ring:
    """Fingerprints of secret keys in a gpg home of their own; ``sub`` is the signing subkey of ``certifier``."""

    host: str
    stranger: str
    locked: str
    certifier: str
    sub: str


@pytest.fixture(scope="module")
def ring() -> Iterator[Ring]:
    folder = Path(tempfile.mkdtemp(prefix="g-", dir="/tmp"))
    before = os.environ.get("GNUPGHOME")
    os.environ["GNUPGHOME"] = str(folder)
    try:
        certifier = make_key("certifier", usage="cert")
        gpg("--quick-add-key", certifier, "ed25519", "sign", "never")
        yield Ring(
            host=make_key("host"),
            stranger=make_key("stranger"),
            locked=make_key("locked", passphrase="open sesame"),
            certifier=certifier,
            sub=fingerprints("certifier")[1],
        )
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], check=False)
        os.environ.pop("GNUPGHOME")
        if before is not None:
            os.environ["GNUPGHOME"] = before
        shutil.rmtree(folder, ignore_errors=True)


def signer(key: str, passphrase: str | None = None) -> Signer:
    return Signer(key, keyring=None, passphrase=passphrase, now=datetime.now(UTC))


# whose signatures count


def test_a_signature_counts_by_its_key_or_the_main_key(ring: Ring) -> None:
    """A main key stands for its subkeys; a subkey stands for itself alone."""
    made = sign(ring.sub)
    for trusted in (ring.certifier, ring.sub):
        assert Trust([ring.stranger, trusted]).check(DATA, made).key == ring.sub
    gpg("--quick-add-key", ring.certifier, "ed25519", "sign", "never")
    other = fingerprints("certifier")[2]
    with pytest.raises(UntrustedError, match=ring.sub):
        Trust([other]).check(DATA, made)


def test_a_stranger_in_the_keyring_is_a_stranger(ring: Ring) -> None:
    """Gpg ends with 0 for every key it knows; only the fingerprint tells whose the signature is."""
    with pytest.raises(UntrustedError, match=f"{ring.stranger}, who is no TrustedSigner"):
        Trust([ring.host]).check(DATA, sign(ring.stranger))


def test_what_is_no_single_detached_signature_does_not_count(ring: Ring) -> None:
    """Signed text, several signatures, a signature of something else, or no signature at all prove nothing."""
    good = sign(ring.host)
    inline = gpg("--local-user", ring.host, "--armor", "--sign", "-o", "-", said=DATA)
    clear = gpg("--local-user", ring.host, "--clearsign", "-o", "-", said=DATA)
    text = sign(ring.host, DATA, "--textmode")
    bad = [b"", b"nonsense", good[: len(good) // 2], inline, clear, text, good + good, good + sign(ring.stranger)]
    for signature in [*bad, sign(ring.host, DATA + b" ")]:
        with pytest.raises(UntrustedError):
            Trust([ring.host]).check(DATA, signature)
    assert Trust([ring.host]).check(DATA, good).main == ring.host


def test_an_unknown_key_says_what_to_do(ring: Ring) -> None:
    """On a rescue system the public key is not there yet, and only gpg --import helps."""
    made = sign(ring.host)
    with tempfile.TemporaryDirectory(dir="/tmp") as empty, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNUPGHOME", empty)
        with pytest.raises(UntrustedError, match="gpg --import"):
            Trust([ring.host]).check(DATA, made)


def test_an_expired_key_vouches_for_the_past_and_a_revoked_one_for_nothing(ring: Ring) -> None:
    """Restores years later must work; but whose key was revoked, somebody else may have used."""
    old = make_key("old", expires="2d", when="20200101T000000!")
    made = sign(old, DATA, "--faked-system-time", "20200101T120000!")
    assert Trust([old]).check(DATA, made).key == old
    gone = make_key("gone")
    made = sign(gone)
    certificate = Path(os.environ["GNUPGHOME"]) / "openpgp-revocs.d" / f"{gone}.rev"
    gpg("--import", said=certificate.read_bytes().replace(b":-----BEGIN", b"-----BEGIN"))
    with pytest.raises(UntrustedError, match="revoked"):
        Trust([gone, ring.host]).check(DATA, made)


def test_a_sign_key_that_cannot_sign_is_told_at_once(ring: Ring) -> None:
    """Before anything is dumped, not after hours, at the commit."""
    expired = make_key("expired", expires="2d", when="20200101T000000!")
    for key in ("0" * 40, expired):
        with pytest.raises(RecipientError, match=f"SignKey {key} cannot sign"):
            signer(key)
    subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=True)  # it remembers the passphrase
    for passphrase in (None, "wrong"):
        with pytest.raises(RecipientError):
            signer(ring.locked, passphrase)
    assert signer(ring.locked, "open sesame").sign(DATA)[1].key == ring.locked


def test_a_main_key_that_only_certifies_signs_by_its_subkey(ring: Ring) -> None:
    """That is how careful people keep keys, and gpg --fingerprint shows the main key's first."""
    assert signer(ring.certifier).sign(DATA)[1].main == ring.certifier
    assert signer(ring.sub).sign(DATA)[1].key == ring.sub


def test_a_sign_key_that_expires_soon_is_told(ring: Ring) -> None:
    """As for recipients, 60 days before backups begin to fail."""
    assert signer(ring.host).warning is None
    soon = make_key("soon", expires="30d")
    assert "expires on" in (signer(soon).warning or "")


# what a run does


@pytest.fixture
def world(tmp_path: Path, ring: Ring) -> World:
    return World(tmp_path / "world", extra=[f"SignKey {ring.host}"])


def catalog(world: World, *trusted: str) -> Catalog:
    return Catalog(world.storage, world.host, Trust(trusted) if trusted else None)


def plant(world: World, manifest: Manifest, signature: bytes | None = None) -> None:
    world.storage.put(manifest.at.manifest, manifest.to_json())
    if signature is not None:
        world.storage.put(manifest.at.mark("asc"), signature)


def usurpers(world: World) -> list[Manifest]:
    """A newer FULL in the place of each archive, of the same day, as if this very machine had made it."""
    newest = world.runs[-1]
    return [
        replace(
            archive.manifest,
            type=Type.FULL,
            run=f"{newest[:-6]}ffff{number:02x}",
            parent=None,
            root=None,
            state_id=None,
        )
        for number, archive in enumerate(world.archives)
    ]


def test_a_run_signs_and_anybody_can_check(world: World, ring: Ring, tmp_path: Path) -> None:
    """The signature is plain OpenPGP beside the manifest; DIFFs build on what is signed, and all restores."""
    trees = world.days(0, 1, 2)
    assert [item.manifest.type for item in catalog(world, ring.host).job(world.job).archives] == list(
        map(Type, ("FULL", "DIFF", "DIFF"))
    )
    for archive in world.archives:
        assert archive.marks == {"asc"}
        at = archive.manifest.at
        (tmp_path / "asc").write_bytes(world.storage.get(at.mark("asc")))
        gpg("--verify", tmp_path / "asc", "-", said=world.storage.get(at.manifest))
    world.assert_restores(trees)
    world.assert_tidy()


def test_gpg_looks_at_each_manifest_once(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with sixty archives must not start sixty gpgs a day."""
    log = tmp_path / "log"
    fake_program(tmp_path / "bin", "gpg", f'case "$*" in *--verify*) echo x >> {log} ;; esac\nexec "$REAL" "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    def looks() -> int:
        count = log.read_text().count("x") if log.exists() else 0
        log.unlink(missing_ok=True)
        return count

    assert [(world.days(day), looks())[1] for day in range(4)] == [2, 3, 3, 3]  # the probe, its own, and yesterday's
    world.run(3)
    assert looks() == 2
    assert (world.run(3).outcome, looks()) == ("skipped", 1)


@pytest.mark.parametrize("signed_by", [None, "stranger"])
def test_planted_archives_never_make_a_host_sweep_its_own(world: World, ring: Ring, signed_by: str | None) -> None:
    """Whoever has the public keys and may put can write newer archives for every slot: they count for nothing."""
    trees = world.days(0, 1, 2, 3)
    planted = usurpers(world)
    for manifest in planted:
        plant(world, manifest, sign(ring.stranger, manifest.to_json()) if signed_by else None)
    world.fill(4)
    result = world.run(4)
    assert (result.outcome, result.status) == ("done", Exit.WARNINGS)
    assert result.task is not None
    assert result.task.type is Type.DIFF  # on its own chain
    assert any("count for nothing" in warning and planted[-1].run in warning for warning in result.warnings)
    assert set(trees) < set(world.runs)
    for run, tree in trees.items():
        assert world.restore(run) == tree


def test_without_signatures_planted_archives_would_do_so(tmp_path: Path) -> None:
    """What the test above plants is what a sweep goes by: where nobody signs, it costs the host its own."""
    world = World(tmp_path / "world")
    trees = world.days(0, 1, 2, 3)
    for manifest in usurpers(world):
        plant(world, manifest)
    world.fill(4)
    world.run(4, force=True)
    assert not set(trees) <= set(world.runs)


def test_a_manifest_whose_signature_is_gone_or_wrong_counts_for_nothing(world: World, ring: Ring) -> None:
    """What others would not restore must be no base for a DIFF, though this machine has seen it whole."""
    world.days(0, 1)
    first, second = (archive.manifest.at for archive in world.archives)
    kept = world.storage.get(second.mark("asc"))
    for damage in (None, b"nonsense", world.storage.get(first.mark("asc"))):
        world.storage.delete([second.mark("asc")])
        if damage is not None:
            world.storage.put(second.mark("asc"), damage)
        assert [item.run for item in catalog(world, ring.host).job(world.job).archives] == [first.run]
        task = world.run(2, dry=True).task
        assert task is not None
        assert (task.type, task.parent) == (Type.FULL, None)
    world.storage.delete([second.mark("asc")])
    world.storage.put(second.mark("asc"), kept)
    assert world.run(2, dry=True).task.type is Type.DIFF  # type: ignore[union-attr]


def test_what_is_remembered_is_of_one_signer_only(world: World, ring: Ring) -> None:
    """A signer who is no longer trusted is no longer trusted for what was looked at before."""
    world.days(0, 1)
    world.run(1)
    copies = world.state.manifests
    assert len(list(copies.glob("*.signer"))) == 2
    assert len(catalog(world, ring.host).job(world.job, copies).archives) == 2
    assert len(catalog(world, ring.stranger).job(world.job, copies).archives) == 0
    kept, run = Copies(copies), world.runs[0]
    assert kept.signature(run, kept.manifest(run) or b"", None) is not None
    assert kept.signature(run, b"another manifest", None) is None


def test_who_may_not_list_knows_what_it_signed_itself(world: World, ring: Ring) -> None:
    """Put-only credentials leave only the copies: those this machine has signed or looked at, and no others."""
    world.days(0, 1)
    copies = world.state.manifests

    denied = FaultyStorage(world.storage, at=1, error=DeniedError("no"), for_good=True)
    blind = Catalog(denied, world.host, Trust([ring.host]))
    assert len(blind.job(world.job, copies).archives) == 2
    (copies / f"{world.runs[0]}.signer").unlink()
    found = blind.job(world.job, copies)
    assert [item.run for item in found.archives] == world.runs[1:]
    assert world.runs[0] in found.ignored[0]


def test_a_signature_without_its_manifest_is_swept(world: World) -> None:
    """A run that dies between the two leaves an orphan, which the next one removes with the rest."""
    world.days(0)
    world.fill(1)
    result = world.run(1, storage=FaultyStorage(world.storage, at=1, operation="put", key=".json"))
    assert result.outcome == "failed"
    world.days(1)
    stored = [item.key for item in world.storage.list("catalog/")]
    assert len(stored) == 4
    world.assert_tidy()


class HourAgo(datetime):
    """A clock."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) - timedelta(hours=1)


def test_restore_never_takes_an_unsigned_archive_unasked(
    world: World, ring: Ring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """List and restore pass over it and say so, with a conf and without; --unsigned takes it."""
    signing, world.extra = world.extra, []
    world.write_conf()
    with monkeypatch.context() as patch:
        patch.setattr(archiving, "datetime", HourAgo)  # an id of the same second would be newer or older by chance
        trees = world.days(0)
    (unsigned,) = trees
    world.extra = signing
    world.write_conf()
    where = ["--bucket", world.folder.as_uri(), "--host", world.host]
    for asked in (["-c", world.conf], [*where, "--trusted-signer", ring.host]):
        refused = s3nap("restore", world.job, *asked, "--target", tmp_path / "no")
        assert refused.returncode == Exit.NOTHING
        assert f"unsigned: {unsigned}; --unsigned would take them" in refused.stderr
    world.fill(1)
    assert world.run(1).task.type is Type.FULL  # type: ignore[union-attr]
    signed = world.runs[-1]
    for asked in (["-c", world.conf], [*where, "--trusted-signer", ring.host]):
        listed = s3nap("list", *asked, "--json")
        assert (listed.returncode, unsigned in listed.stdout, signed in listed.stdout) == (Exit.WARNINGS, False, True)
        assert f"unsigned: {unsigned}" in listed.stderr
        script = s3nap("recipe", world.job, *asked, "--at", str(world.day(0)))
        assert (script.returncode, script.stdout) == (Exit.NOTHING, "")
        done = s3nap("restore", world.job, *asked, "--target", tmp_path / f"target-{len(asked)}")
        assert (done.returncode, signed in done.stdout, unsigned in done.stderr) == (Exit.DONE, True, True)
    taken = s3nap("restore", world.job, "-c", world.conf, "--at", unsigned, "--unsigned", "--target", tmp_path / "all")
    assert taken.returncode == Exit.DONE, taken.stderr
    assert tree_of(tmp_path / "all" / str(world.tree).lstrip("/")) == trees[unsigned]
    assert "nobody looks at who signed" in taken.stderr
    unasked = s3nap("restore", world.job, *where, "--target", tmp_path / "free")
    assert (unasked.returncode, "--trusted-signer" in unasked.stderr) == (Exit.DONE, True)
    assert s3nap("list", *where, "--trusted-signer", "ABCD").returncode == Exit.USAGE


@pytest.mark.parametrize(
    "fake",
    [
        "kill -KILL $$",
        "exit 2",
        'GNUPGHOME=/dev/null exec "$REAL" "$@"',
        'mkdir -p "$0-home/pubring.kbx"; GNUPGHOME="$0-home" exec "$REAL" "$@"',
        'ulimit -n 5; exec "$REAL" "$@"',
    ],
    ids=["killed", "silent", "no home", "no keyring", "no descriptors"],
)
def test_an_archive_whose_signature_gpg_cannot_look_at_is_no_strangers(
    world: World, ring: Ring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: str
) -> None:
    """It is told, nothing is swept meanwhile, and a restore does not take an older one without a word."""
    trees = world.days(0, 1)
    newest = world.runs[-1]
    script = f'case "$*" in *--verify*) {fake} ;; *) exec "$REAL" "$@" ;; esac'
    fake_program(tmp_path / "bin", "gpg", script)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        known = catalog(world, ring.host).job(world.job)
        assert (known.archives, known.ignored, len(known.unreadable)) == ([], [], 2)
        assert newest in known.unreadable[1]
        listed = s3nap("list", "-c", world.conf, "--json")
        assert (listed.returncode, newest in listed.stderr) == (Exit.WARNINGS, True)
        refused = s3nap("restore", world.job, "-c", world.conf, "--target", tmp_path / "no")
        assert (refused.returncode, newest in refused.stderr) == (Exit.NOTHING, True)
    world.assert_restores(trees)


def test_a_person_vouches_for_what_was_there_before(world: World, ring: Ring) -> None:
    """Who turns signing on keeps his archives: after ``sign`` they count, and DIFFs build on them as before."""
    signing, world.extra = world.extra, []
    world.write_conf()
    trees = world.days(0, 1)
    assert s3nap("sign", world.job, "-c", world.conf).returncode == Exit.USAGE
    world.extra = signing
    world.write_conf()
    shown = s3nap("sign", world.job, "-c", world.conf, "-n")
    assert (shown.returncode, shown.stdout.count("would be signed")) == (Exit.DONE, 2)
    assert catalog(world, ring.host).job(world.job).archives == []
    world.storage.put(world.archives[0].manifest.at.mark("asc"), b"nonsense")
    done = s3nap("sign", world.job, "-c", world.conf)
    assert (done.returncode, done.stdout.count("is now signed")) == (Exit.DONE, 2), done.stderr
    trees |= world.days(2)
    assert [archive.manifest.type for archive in catalog(world, ring.host).job(world.job).archives][1:] == [
        Type.DIFF,
        Type.DIFF,
    ]
    assert world.run(2).status is Exit.DONE
    world.assert_restores(trees)
    assert s3nap("sign", world.job, "-c", world.conf).returncode == Exit.NOTHING


def test_looking_into_archives_goes_by_the_same_rule(world: World) -> None:
    """What DiffDir remembers counts no more than what is stored: unsigned copies are not shown unasked."""
    signing, world.extra = world.extra, []
    world.write_conf()
    world.days(0)
    world.extra = signing
    world.write_conf()
    assert s3nap("ls", world.job, "-c", world.conf).returncode == Exit.NOTHING
    assert s3nap("ls", world.job, "-c", world.conf, "--unsigned").returncode == Exit.DONE
    world.fill(1)
    assert world.run(1).outcome == "done"
    assert s3nap("ls", world.job, "-c", world.conf).returncode == Exit.DONE
    assert s3nap("ls", world.job, "-c", world.conf, "--at", str(world.day(0))).returncode == Exit.NOTHING
