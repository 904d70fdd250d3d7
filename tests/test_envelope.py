"""Keys and envelopes: who can read, what is refused, and that gpg's word is never taken for more than it is."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from keys_fixture import GpgHome
from small_world import World, fake_program

from s3nap.compression import COMPRESSIONS
from s3nap.envelope import Encoded, Envelope, Keys, Opener, Promise, read_passphrase
from s3nap.errors import Exit, NoKeyError, ProgramError, RecipientError, UsageError, VerificationError
from s3nap.gpg import Gpg
from s3nap.reader import KeySource, Reader
from s3nap.recipients import resolve

NOW = datetime(2024, 6, 1, tzinfo=UTC)
_RAW = os.urandom(3000) + bytes(3000)


# recipients


def _key(fingerprint: str = "A" * 40, *uids: str, **fields: Any) -> dict[str, Any]:
    known = {"fingerprint": fingerprint, "uids": list(uids) or ["Ann <ann@example.com>"], "cap": "escESC"}
    return known | {"trust": "u", "expires": "", "subkey_info": {}} | fields


@dataclass
class Ring:
    """Stands for gnupg.GPG: only what keys it lists matters to the rules."""

    keys: list[dict[str, Any]]

    def list_keys(self) -> list[dict[str, Any]]:
        return self.keys

    def export_keys(self, fingerprint: str) -> str:
        return f"key {fingerprint}"


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    import gnupg  # noqa: PLC0415

    def make(keys: list[dict[str, Any]], *configured: str) -> Any:
        monkeypatch.setattr(gnupg, "GPG", lambda **_: Ring(keys))
        return resolve(configured, None, tmp_path, NOW)

    return make


@pytest.mark.parametrize(
    "text",
    [
        "ann@example.com",
        "ANN@example.COM",
        "<ann@example.com>",
        "Ann",
        "Ann <ann@example.com>",
        "A" * 40,
        "a" * 40,
        "0x" + "A" * 40,
        "A" * 16,
        " ".join(["AAAA"] * 10),
    ],
)
def test_a_recipient_is_matched_whole(resolved: Callable[..., Any], text: str) -> None:
    """Address, name, whole user id, fingerprint or long key id mean a key; just as a person writes them."""
    others = _key("B" * 40, "Joanna <joann@example.com.evil>")
    found = resolved([_key(), others], text)
    assert [item.fingerprint for item in found] == ["A" * 40]
    assert found[0].file.read_text() == "key " + "A" * 40


@pytest.mark.parametrize("text", ["ann", "nn@example.com", "example.com", "ann@example.co", "A" * 8, "AAAA", "A" * 41])
def test_a_part_of_a_name_means_nobody(resolved: Callable[..., Any], text: str) -> None:
    """Gpg takes a substring for the first key that holds it; a backup must not go to whom nobody named."""
    keys = [_key("A" * 40, "Joanna <joann@example.com>")]
    with pytest.raises(RecipientError, match="is not in gpg's keyring"):
        resolved(keys, text)


def test_an_ambiguous_recipient_is_refused(resolved: Callable[..., Any]) -> None:
    """Two keys of one address: none is chosen, both fingerprints are shown, and one of them settles it."""
    keys = [_key("A" * 40), _key("B" * 40)]
    with pytest.raises(RecipientError, match="ambiguous") as caught:
        resolved(keys, "ann@example.com")
    assert "A" * 40 in str(caught.value)
    assert "B" * 40 in str(caught.value)
    assert resolved(keys, "B" * 40)[0].fingerprint == "B" * 40


def test_an_unusable_key_does_not_make_a_usable_one_ambiguous(resolved: Callable[..., Any]) -> None:
    """After a key was renewed under the same address, the old, expired one is out of the way."""
    assert resolved([_key("A" * 40, trust="e"), _key("B" * 40)], "ann@example.com")[0].fingerprint == "B" * 40


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"trust": "e", "expires": "1000000000"}, "expired on 2001-09-09"),
        ({"trust": "r"}, "revoked"),
        ({"trust": "d"}, "cannot be encrypted to"),
        ({"trust": "i"}, "cannot be encrypted to"),
        ({"cap": "scSC"}, "cannot be encrypted to"),
    ],
)
def test_an_unusable_key_is_an_error_that_says_why(resolved: Callable[..., Any], fields: Any, word: str) -> None:
    """No recipient is ever left out silently: who was to be able to restore would find out too late."""
    with pytest.raises(RecipientError, match=word) as caught:
        resolved([_key("A" * 40, **fields), _key("B" * 40, "Bob <bob@example.com>")], "bob@example.com", "Ann")
    assert caught.value.status is Exit.KEY


def test_all_faults_are_told_at_once_and_a_key_named_twice_counts_once(resolved: Callable[..., Any]) -> None:
    """Several wrong recipients cost one attempt, not several."""
    with pytest.raises(RecipientError) as caught:
        resolved([_key()], "one@example.com", "Ann", "two@example.com")
    assert [word for word in ("one@", "two@") if word in str(caught.value)] == ["one@", "two@"]
    assert len(resolved([_key()], "Ann", "ann@example.com")) == 1


@pytest.mark.parametrize(("days", "warns"), [(1, True), (59, True), (60, True), (61, False), (400, False)])
@pytest.mark.parametrize("of_subkey", [False, True])
def test_expiry_is_announced_sixty_days_before(
    resolved: Callable[..., Any], days: int, warns: bool, of_subkey: bool
) -> None:
    """A key that is about to expire is spoken of while there is time, be it the main key or the one that encrypts."""
    at = str(int((NOW + timedelta(days=days)).timestamp()))
    subkeys = {"S": {"cap": "e", "expires": at, "trust": "u"}, "T": {"cap": "s", "expires": "1", "trust": "u"}}
    fields = {"subkey_info": subkeys} if of_subkey else {"expires": at}
    warning = resolved([_key(**fields)], "Ann")[0].warning
    assert (warning is not None) is warns
    assert warning is None or "expires on 2024" in warning


# envelopes and objects


@pytest.fixture
def envelope(gpg_home: GpgHome) -> Iterator[Envelope]:
    made = Envelope(recipients=[gpg_home.recipient], now=datetime.now(UTC))
    yield made
    made.close()


@pytest.fixture
def opener() -> Iterator[Opener]:
    made = Opener()
    yield made
    made.close()


def _promise(encoded: Encoded, compression: str = "zstd", **changed: Any) -> Promise:
    promise = Promise(
        compression=compression,
        sha256=encoded.sha256,
        passphrase=encoded.passphrase,
        raw_hash=encoded.raw_hash,
        limit=len(_RAW),
    )
    return replace(promise, **changed)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("raw", [b"", b"x", _RAW], ids=["empty", "one byte", "some"])
def test_what_was_closed_opens(envelope: Envelope, opener: Opener, compression: str, raw: bytes) -> None:
    """Every format gives back the bytes it took, with a random passphrase of its own for each object."""
    encoded = envelope.encode(memoryview(raw), COMPRESSIONS[compression])
    again = envelope.encode(memoryview(raw), COMPRESSIONS[compression])
    assert encoded.passphrase is not None
    assert len(encoded.passphrase) == 64
    assert encoded.passphrase != again.passphrase
    parts: list[bytes] = []
    opener.decode(bytes(encoded.body), _promise(encoded, compression), parts.append)
    assert b"".join(parts) == raw


@pytest.mark.parametrize("encrypted", [True, False])
def test_what_a_longer_piece_left_behind_is_no_part_of_a_shorter_one(
    envelope: Envelope, opener: Opener, *, encrypted: bool
) -> None:
    """Memory is used again from piece to piece, in both directions: nothing of one may come out with another."""
    used = envelope if encrypted else Envelope(now=NOW)
    for size in (6000, 100, 0, 3000, 6000):
        encoded = used.encode(memoryview(_RAW)[:size], COMPRESSIONS["none"])
        stored, promise = bytes(encoded.body), replace(_promise(encoded, "none"), limit=size)
        encoded.let_go()
        encoded.let_go()  # once more: nobody else's memory may go with it
        parts: list[bytes] = []
        assert opener.decode(stored, promise, lambda piece: parts.append(bytes(piece))) == size  # noqa: B023 - now
        assert b"".join(parts) == _RAW[:size]
    assert len(used._scratches._free) == 1


def test_large_pieces_leave_no_memory_behind() -> None:
    """What does not compress would otherwise hold a whole chunk for each worker until the end of the run."""
    plain, large = Envelope(now=NOW), bytes(9 << 20)
    plain.encode(memoryview(large), COMPRESSIONS["none"]).let_go()
    assert not plain._scratches._free
    plain.encode(memoryview(large), COMPRESSIONS["zstd"]).let_go()
    assert len(plain._scratches._free) == 1


def test_a_body_in_use_is_nobody_elses(envelope: Envelope) -> None:
    """While a piece is on its way to the storage, the next ones are made elsewhere."""
    first = envelope.encode(memoryview(_RAW), COMPRESSIONS["zstd"])
    stored = bytes(first.body)
    envelope.encode(memoryview(_RAW[::-1]), COMPRESSIONS["zstd"]).let_go()
    envelope.encode(memoryview(_RAW[::-1]), COMPRESSIONS["zstd"])
    assert first.body == stored


def _resealed(encoded: Encoded, body: bytes) -> Promise:
    return _promise(encoded, sha256=sha256(body).hexdigest())


def test_a_bit_flip_anywhere_is_refused_before_anything_is_written(envelope: Envelope, opener: Opener) -> None:
    """One bit that differs in any region is found by the stored hash, before gpg or a decompressor sees it."""
    encoded = envelope.encode(memoryview(_RAW), COMPRESSIONS["zstd"])
    for at in range(0, len(encoded.body), 7):
        body = bytearray(encoded.body)
        body[at] ^= 1 << (at % 8)
        with pytest.raises(VerificationError, match="sha256 differs"):
            opener.decode(bytes(body), _promise(encoded), pytest.fail)


def test_a_bit_flip_is_refused_though_the_stored_hash_was_made_to_fit(envelope: Envelope, opener: Opener) -> None:
    """Who can rewrite the tables as well still cannot alter a message: gpg and the raw hash stand behind them."""
    encoded = envelope.encode(memoryview(_RAW), COMPRESSIONS["zstd"])
    for at in [*range(24), len(encoded.body) // 2, *range(len(encoded.body) - 24, len(encoded.body))]:
        body = bytearray(encoded.body)
        body[at] ^= 0x40
        with pytest.raises(VerificationError):
            opener.decode(bytes(body), _resealed(encoded, body), lambda _: None)


@pytest.mark.parametrize("size", [0, 1, 2, 13, 50, 100, -1, -22, -30, -1000])
def test_a_cut_message_is_refused(envelope: Envelope, opener: Opener, size: int) -> None:
    """Gpg ends with 0 for some cuts: only its status lines can be believed."""
    encoded = envelope.encode(memoryview(_RAW), COMPRESSIONS["zstd"])
    body = bytes(encoded.body)[:size]
    with pytest.raises(VerificationError):
        opener.decode(body, _resealed(encoded, body), lambda _: None)


def test_a_message_that_was_never_encrypted_is_refused(envelope: Envelope, opener: Opener) -> None:
    """An attacker's plain packet decrypts with status 0; it is not what we closed."""
    encoded = envelope.encode(memoryview(_RAW), COMPRESSIONS["none"])
    body = subprocess.run(["gpg", "--batch", "--store"], input=_RAW, capture_output=True, check=True).stdout
    with pytest.raises(VerificationError, match="does not vouch"):
        opener.decode(body, replace(_resealed(encoded, body), compression="none"), lambda _: None)


def test_messages_joined_are_refused(envelope: Envelope, opener: Opener) -> None:
    """One object is one message: nothing may be appended to it."""
    encoded = envelope.encode(memoryview(_RAW), COMPRESSIONS["zstd"])
    body = bytes(encoded.body) * 2
    with pytest.raises(VerificationError):
        opener.decode(body, _resealed(encoded, body), lambda _: None)


def test_more_than_was_promised_is_refused(opener: Opener, envelope: Envelope) -> None:
    """A small object that unpacks to more than the table says must not fill memory or disk."""
    encoded = envelope.encode(memoryview(bytes(10_000_000)), COMPRESSIONS["zstd"])
    with pytest.raises(VerificationError, match="more than"):
        opener.decode(bytes(encoded.body), _promise(encoded), lambda _: None)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_damage_without_encryption_is_refused(opener: Opener, compression: str) -> None:
    """Where nothing is encrypted, the raw hash still tells what was altered or cut."""
    plain = Envelope(now=NOW)
    encoded = plain.encode(memoryview(_RAW), COMPRESSIONS[compression])
    for at in (*range(0, len(encoded.body), 97), len(encoded.body) - 1):
        flipped = bytearray(encoded.body)
        flipped[at] ^= 0x10
        for body in (bytes(flipped), bytes(encoded.body)[:at]):
            parts: list[bytes] = []
            try:
                opener.decode(body, replace(_resealed(encoded, body), compression=compression), parts.append)
            except VerificationError:
                continue
            assert b"".join(parts) == _RAW  # what differs is no part of the data
            assert compression != "none"


def test_only_a_recipient_opens_the_envelope(envelope: Envelope, opener: Opener, tmp_path: Path) -> None:
    """The envelope lists what it was given, opens with the private key, and with nothing else."""
    encoded = envelope.encode(memoryview(_RAW), COMPRESSIONS["zstd"])
    writer = envelope.start_keys(tmp_path / "keys.gpg")
    assert writer is not None
    writer.add("00000000.zst.gpg", encoded)
    writer.finish()
    sealed = (tmp_path / "keys.gpg").read_bytes()
    keys = Keys(opener.gpg.open_envelope(sealed, None))
    assert keys.find("00000000.zst.gpg") == (encoded.passphrase, encoded.raw_hash)
    with pytest.raises(NoKeyError, match="another archive"):
        keys.find("00000001.zst.gpg")
    with pytest.raises(NoKeyError):
        opener.gpg.open_envelope(sealed, "a guess")


def test_each_of_two_recipients_opens_alone(opener: Opener, tmp_path: Path, gpg_home: GpgHome) -> None:
    """Every recipient can restore without the other: with the second key gone from the ring, the first still opens."""
    with tempfile.TemporaryDirectory(prefix="g-", dir="/tmp") as folder:
        home = ["gpg", "--homedir", folder, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        subprocess.run([*home, "--quick-gen-key", "second@example.com", "default", "default", "never"], check=True)
        exported = subprocess.run([*home, "--export"], capture_output=True, check=True).stdout
        ours = subprocess.run(["gpg", "--batch", "--export"], capture_output=True, check=True).stdout
        ring = tmp_path / "ring.gpg"
        imported = ["gpg", "--batch", "--quiet", "--no-default-keyring", "--keyring", str(ring), "--import"]
        subprocess.run(imported, input=exported + ours, check=True)
        made = Envelope(recipients=[gpg_home.recipient, "second@example.com"], keyring=ring, now=datetime.now(UTC))
        try:
            assert len(made.encryption.recipients) == 2
            writer = made.start_keys(tmp_path / "keys.gpg")
            assert writer is not None
            writer.finish()
        finally:
            made.close()
        assert opener.gpg.open_envelope((tmp_path / "keys.gpg").read_bytes(), None) == b""
        subprocess.run([*home, "--decrypt", str(tmp_path / "keys.gpg")], capture_output=True, check=True)
        subprocess.run(["gpgconf", "--homedir", folder, "--kill", "all"], check=False)


@pytest.mark.parametrize("script", ["exit 0", "cat > /dev/null", "head -c 10", "exit 2", "kill -9 $$"])
def test_a_gpg_that_writes_no_whole_message_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """A gpg that breaks, whatever its exit status, never makes an object or an envelope that opens for nobody."""
    made = Envelope(passphrase="secret", now=NOW)
    fake_program(tmp_path / "bin", "gpg", script)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    try:
        with pytest.raises(ProgramError, match="gpg"):
            made.encode(memoryview(_RAW), COMPRESSIONS["zstd"])
        writer = made.start_keys(tmp_path / "keys.gpg")
        assert writer is not None
        encoded = Encoded(body=memoryview(b""), sha256="", raw_size=0, raw_hash="0" * 32, passphrase="0" * 64)
        with pytest.raises(ProgramError, match="gpg"):  # noqa: PT012 - which of the calls finds it out is open
            for number in range(10_000):
                writer.add(f"{number:08}", encoded)
            writer.finish()
        writer.abort()
    finally:
        made.close()


# passphrases


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"secret", "secret"), (b"secret\nmore", "secret"), ("läßt\n".encode(), "läßt"), (b" a b \n", " a b ")],
)
def test_a_passphrase_is_the_first_line(tmp_path: Path, content: bytes, expected: str) -> None:
    """What gpg --passphrase-file would read, to the byte: the recipe uses that."""
    file = tmp_path / "passphrase"
    file.write_bytes(content)
    assert read_passphrase(file) == expected


def test_a_line_end_of_windows_belongs_to_the_passphrase(tmp_path: Path) -> None:
    """Gpg keeps the carriage return; an envelope closed without it could not be opened by the recipe."""
    file = tmp_path / "passphrase"
    file.write_bytes(b"secret\r\n")
    made = Envelope(passphrase=read_passphrase(file), now=NOW)
    writer = made.start_keys(tmp_path / "keys.gpg")
    assert writer is not None
    writer.finish()
    made.close()
    with tempfile.TemporaryDirectory(prefix="g-", dir="/tmp") as home:
        command = ["gpg", "--homedir", home, "--batch", "--pinentry-mode", "loopback", "--passphrase-file", str(file)]
        subprocess.run([*command, "--decrypt", str(tmp_path / "keys.gpg")], capture_output=True, check=True)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", "läßt".encode("latin-1")])
def test_a_passphrase_that_is_no_text_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    """Not a traceback, and the bytes themselves are not shown."""
    file = tmp_path / "passphrase"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="not UTF-8") as caught:
        read_passphrase(file)
    assert str(file) in str(caught.value)
    assert "0xff" not in str(caught.value)
    assert "0xe4" not in str(caught.value)


# re-keying


def _reader_opens(world: World, source: KeySource | None = None) -> None:
    with Reader(world.storage, source or KeySource()) as reader:
        for archive in world.archives:
            opened = reader.open(archive)
            assert b"".join(bytes(piece) for piece in reader.stream(opened, lambda _: None))


def test_the_newest_mark_of_keys_that_opens_is_used(tmp_path: Path, gpg_home: GpgHome) -> None:
    """After re-keying, old archives open by their keys mark; a forged or foreign newer one is passed over."""
    world = World(tmp_path, extra=[f"GpgRecipient {gpg_home.recipient}"])
    world.days(0)
    at = world.archives[0].manifest.at
    gpg = Gpg()
    try:
        keys = gpg.open_envelope(world.storage.get(at.data + "keys.gpg"), None)
        command = ["gpg", "--batch", "--trust-model", "always", "-r", gpg_home.recipient, "--encrypt"]
        rekeyed = subprocess.run(command, input=keys, capture_output=True, check=True).stdout
        wrong = subprocess.run(command, input=b"wrong 1 2\n", capture_output=True, check=True).stdout
        forged = subprocess.run(["gpg", "--batch", "--store"], input=keys, capture_output=True, check=True).stdout
    finally:
        gpg.close()
    world.storage.put(at.mark("keys-2.gpg"), wrong)
    world.storage.put(at.mark("keys-10.gpg"), rekeyed)  # newer than 2, though it sorts before it
    world.storage.put(at.mark("keys-11.gpg"), forged)
    world.storage.put(at.mark("keys-12.gpg"), b"garbage")
    _reader_opens(world)
    _reader_opens(world, KeySource(passphrase="of other archives"))
    under = subprocess.run(
        [*("gpg", "--batch", "--pinentry-mode", "loopback", "--passphrase", "secret", "--symmetric")],
        input=keys,
        capture_output=True,
        check=True,
    ).stdout
    for name in ("keys-2.gpg", "keys-10.gpg"):
        world.storage.delete([at.mark(name)])
    world.storage.put(at.mark("keys-20.gpg"), under)
    _reader_opens(world, KeySource(passphrase="secret"))


def test_tests_run_the_real_gpg() -> None:
    """A fake left on PATH by another test would make all of this worthless."""
    assert "gpg (GnuPG)" in subprocess.run(["gpg", "--version"], capture_output=True, text=True, check=True).stdout
    assert sys.version_info >= (3, 11)
