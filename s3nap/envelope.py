"""What turns raw pieces into stored objects and back: compression, gpg, and the envelope that holds the keys.

Every object has a random passphrase of its own; the envelope lists them, and it alone is encrypted to the recipients.
So the private key is used once per archive, and the backed-up host can open nothing it has stored.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import xxhash

from s3nap.compression import COMPRESSIONS, Compression
from s3nap.errors import NoKeyError, ProgramError, UsageError, VerificationError
from s3nap.gpg import Gpg, Write
from s3nap.logs import register_secret
from s3nap.manifest import Encryption
from s3nap.memory import Scratch, Scratches
from s3nap.pipeline import Running, write_all
from s3nap.recipients import Recipient, resolve
from s3nap.storage import Data

_RANDOM_BYTES = 32


def read_passphrase(file: Path | None) -> str | None:
    """Return the first line of a passphrase file, known as a secret from now on; None without a file."""
    if file is None:
        return None
    try:
        # bytes, cut as gpg --passphrase-file cuts them: the recipe must read the same passphrase
        passphrase = file.read_bytes().partition(b"\n")[0].decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: the passphrase is not UTF-8 text: write it as such") from error
    except OSError as error:
        raise UsageError(f"{file}: the passphrase cannot be read: {error.strerror}") from error
    register_secret(passphrase)
    return passphrase


def _nothing() -> None: ...


@dataclass(slots=True, kw_only=True)
class Encoded:
    """A piece ready to be stored; sizes in bytes, ``raw_hash`` the xxh128 of what went in."""

    body: bytes | memoryview
    sha256: str
    raw_size: int
    raw_hash: str
    passphrase: str | None
    release: Callable[[], None] = _nothing

    def let_go(self) -> None:
        """Have done with the body, whose memory others may use from now on."""
        release, self.release = self.release, _nothing
        self.body = b""
        release()


class Envelope:
    """How the archives of one run of one conf are encrypted. Safe to use from several threads."""

    def __init__(
        self,
        *,
        recipients: Sequence[str] = (),
        keyring: Path | None = None,
        passphrase: str | None = None,
        now: datetime,
    ) -> None:
        """Resolve the recipients; RecipientError if one cannot be used. Neither recipients nor passphrase: none."""
        self._passphrase = passphrase
        self._gpg = Gpg() if recipients or passphrase is not None else None
        self._scratches = Scratches()
        self.recipients: tuple[Recipient, ...] = ()
        if recipients and self._gpg is not None:
            try:
                self.recipients = resolve(recipients, keyring, self._gpg.home, now)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Remove what gpg needed."""
        if self._gpg is not None:
            self._gpg.close()

    @property
    def encryption(self) -> Encryption:
        """What the manifest says."""
        if self._gpg is None:
            return Encryption()
        if self._passphrase is not None:
            return Encryption(method="passphrase")
        return Encryption(method="recipients", recipients=tuple(item.fingerprint for item in self.recipients))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Keys that expire soon."""
        return tuple(item.warning for item in self.recipients if item.warning)

    def suffix(self, compression: Compression) -> str:
        """Return what the names of stored objects end with."""
        return compression.suffix + (".gpg" if self._gpg is not None else "")

    def encode(
        self,
        raw: memoryview,
        compression: Compression,
        level: int | None = None,
        done: Callable[[], None] = _nothing,
    ) -> Encoded:
        """Compress and encrypt one piece as a whole of its own; to be let go of when it is stored.

        ``done`` is called once ``raw`` is not needed any more.
        """
        raw_hash, scratch = xxhash.xxh128_hexdigest(raw), self._scratches.take()
        body, passphrase = self._sealed(lambda write: compression.encode(raw, write, level, done), scratch)
        return Encoded(
            body=body,
            sha256=hashlib.sha256(body).hexdigest(),
            raw_size=len(raw),
            raw_hash=raw_hash,
            passphrase=passphrase,
            release=partial(self._scratches.give_back, scratch),
        )

    def encode_file(self, plain: Path, packed: Path, compression: Compression, level: int | None = None) -> Encoded:
        """Compress a file into ``packed`` and encrypt that; memory does not grow with the file."""
        hasher = xxhash.xxh128()
        machine = compression.compressor(compression.level if level is None else level)
        with plain.open("rb") as source, packed.open("wb") as target:

            def fill(write: Write) -> None:
                while piece := source.read(1 << 20):
                    hasher.update(piece)
                    both(machine.compress(memoryview(piece)), write)
                both(machine.flush(), write)

            def both(data: bytes, write: Write) -> None:
                target.write(data)
                write(data)

            # in a file of its own: an index may be much larger than a chunk
            body, passphrase = self._sealed(fill, Scratch())
            size = source.tell()
        digest = hashlib.sha256(body).hexdigest()
        return Encoded(body=body, sha256=digest, raw_size=size, raw_hash=hasher.hexdigest(), passphrase=passphrase)

    def _sealed(self, fill: Callable[[Write], None], target: Scratch) -> tuple[memoryview, str | None]:
        """Encrypt what ``fill`` writes, where anything is encrypted; return it, as it is in ``target``, and its key."""
        if self._gpg is None:
            target.rewind()
            fill(lambda data: write_all(target.descriptor, data))
            return target.written(), None
        passphrase = secrets.token_hex(_RANDOM_BYTES)
        return self._gpg.encrypt(fill, passphrase, target), passphrase

    def start_keys(self, target: Path) -> KeysWriter | None:
        """Begin the envelope of one archive; None where nothing is encrypted."""
        if self._gpg is None:
            return None
        return KeysWriter(
            self._gpg.start_envelope(target, [item.file for item in self.recipients], self._passphrase), target
        )


class KeysWriter:
    """The envelope while it is written: lines go straight into gpg and nowhere else."""

    def __init__(self, program: Running, target: Path) -> None:
        """Take over a gpg that writes ``target``."""
        self._program = program
        self._size = 0
        self.target = target

    def add(self, name: str, encoded: Encoded) -> None:
        """Write the line of one object."""
        if self._program.stdin is None or encoded.passphrase is None:
            raise ProgramError("the envelope takes encrypted objects only")
        line = f"{name} {encoded.passphrase} {encoded.raw_hash}\n".encode()
        self._size += len(line)
        try:
            self._program.stdin.write(line)
        except BrokenPipeError:
            self.finish()
            raise ProgramError("gpg ended before the envelope did") from None

    def finish(self) -> None:
        """End the envelope; ProgramError, in gpg's words, if it could not be made."""
        if self._program.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # gpg's own words say why, below
                self._program.stdin.close()
        self._program.wait().check()
        if self.target.stat().st_size <= self._size:
            raise ProgramError("gpg ended with status 0, but wrote no whole envelope")

    def abort(self) -> None:
        """Give up."""
        self._program.kill()


class Keys:
    """An opened envelope: passphrase and raw hash of each object, in the order of the archive."""

    def __init__(self, text: bytes) -> None:
        """Take the decrypted text."""
        self.text = text

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        for line in self.text.splitlines():
            words = line.decode(errors="replace").split()
            if len(words) != 3:
                raise VerificationError("the envelope holds a line that is no key")
            yield words[0], words[1], words[2]

    def find(self, name: str) -> tuple[str, str]:
        """Return passphrase and raw hash of an object; NoKeyError if the envelope has none for it."""
        for known, passphrase, raw_hash in self:
            if known == name:
                return passphrase, raw_hash
        raise NoKeyError(f"the keys given hold none for {name}: they belong to another archive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What is promised of a stored object; ``limit`` bounds its raw size in bytes."""

    compression: str
    sha256: str
    passphrase: str | None
    raw_hash: str | None
    limit: int


class Opener:
    """Opens stored objects: checks, decrypts, decompresses. Safe to use from several threads."""

    def __init__(self) -> None:
        """Gpg is needed only once something encrypted is met."""
        self._gpg: Gpg | None = None
        self._scratches = Scratches()

    @property
    def gpg(self) -> Gpg:
        """The gpg that decrypts."""
        if self._gpg is None:
            self._gpg = Gpg()
        return self._gpg

    def close(self) -> None:
        """Remove what gpg needed."""
        if self._gpg is not None:
            self._gpg.close()

    def decode(self, data: bytes, promise: Promise, write: Callable[[Data], object]) -> int:
        """Write a piece as it was and return its size in bytes.

        Raises VerificationError unless stored and raw bytes are what was promised. The stored bytes are checked
        before anything is written; the raw ones only at the end: what was written is to be thrown away then.
        """
        if hashlib.sha256(data).hexdigest() != promise.sha256:
            raise VerificationError("is not what was stored: its sha256 differs")
        if promise.passphrase is None:
            return _unpack(memoryview(data), promise, write)
        sealed, packed = self._scratches.take(), self._scratches.take()
        try:
            sealed.hold(data)
            return _unpack(self.gpg.decrypt(sealed, promise.passphrase, packed), promise, write)
        finally:
            self._scratches.give_back(packed)
            self._scratches.give_back(sealed)


def _unpack(packed: memoryview, promise: Promise, write: Callable[[Data], object]) -> int:
    if promise.compression not in COMPRESSIONS:
        raise VerificationError(f"is compressed by {promise.compression}, which this s3nap does not know")
    hasher, size = xxhash.xxh128(), 0
    for piece in COMPRESSIONS[promise.compression].decode(packed, promise.limit):
        hasher.update(piece)
        size += len(piece)
        write(piece)
    if promise.raw_hash is not None and hasher.hexdigest() != promise.raw_hash:
        raise VerificationError("does not decode to what was read: its raw hash differs")
    return size
