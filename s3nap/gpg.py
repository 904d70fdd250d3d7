"""The gpg program, run so that it never asks, never looks anything up, and is believed only on its status lines."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

from s3nap import pipeline
from s3nap.errors import NoKeyError, ProgramError, VerificationError
from s3nap.memory import Scratch
from s3nap.storage import Data

Write = Callable[[bytes], object]

# one seed file for all that run at once makes each wait for the others, a quarter of a second and more at a time
_QUIET = ("gpg", "--batch", "--no-tty", "--no-options", "--no-random-seed-file")
_LOOPBACK = ("--pinentry-mode", "loopback", "--passphrase-fd")
# random keys gain nothing from stretching, which costs 82 ms an object each way
_SYMMETRIC = ("--cipher-algo", "AES256", "--compress-algo", "none", "--s2k-mode", "1", "--s2k-digest-algo", "SHA256")
# a person's passphrase: the most there is; left to itself gpg starts an agent to time what this machine can bear
_STRETCHED = ("--cipher-algo", "AES256", "--compress-algo", "none", "--s2k-count", "65011712")
# after which gpg says "No public key", as if it had looked
_HINDRANCE = re.compile(r"keydb_search failed|read error|keyboxd|keyblock resource '.*': (?!No such file)")
_NO_LOOKUP = ("--no-auto-key-locate", "--disable-dirmngr", "--trust-model", "always", "--compress-algo", "none")


class Gpg:
    """gpg with a short, private home of its own (a long path makes its agent fail)."""

    def __init__(self) -> None:
        """Make the home; ``close`` removes it."""
        self._home = tempfile.TemporaryDirectory(prefix="s3nap-")
        self.home = Path(self._home.name)
        self._env = {"GNUPGHOME": self._home.name}
        # newer ones would write packets that other OpenPGP programs cannot read
        major, minor = (int(number) for number in pipeline.version("gpg").split(".")[:2])
        self._format = ("--rfc4880",) if (major, minor) >= (2, 3) else ()

    def close(self) -> None:
        """Remove the home."""
        self._home.cleanup()

    def encrypt(self, fill: Callable[[Write], None], passphrase: str, target: Scratch) -> memoryview:
        """Encrypt what ``fill`` writes with a random passphrase to the start of a file; return the message there.

        gpg works while ``fill`` does: both are busy, and starting gpg costs nothing.
        """
        with _secret(passphrase) as secret:
            target.rewind()
            argv = [*_QUIET, *self._format, *_LOOPBACK, str(secret), *_SYMMETRIC, "-o", "-", "--symmetric"]
            out = target.descriptor
            program = pipeline.start(argv, stdin=pipeline.PIPE, stdout=out, env=self._env, pass_fds=[secret])
            with program.ending():
                size = _filled(program, fill)
                program.wait().check()
            message = target.written()
            if len(message) <= size:  # headers alone are longer than nothing
                raise ProgramError("gpg ended with status 0, but wrote no whole message")
            return message

    def decrypt(self, source: Scratch, passphrase: str, target: Scratch) -> memoryview:
        """Undo ``encrypt``, from all of one file to the start of another; return what came out, there.

        Raises VerificationError unless gpg vouches for the whole message.
        """
        with _secret(passphrase) as secret, tempfile.TemporaryFile() as status:
            argv = [*_QUIET, *_LOOPBACK, str(secret), "--status-fd", str(status.fileno()), "-o", "-", "--decrypt"]
            for file in (source, target):
                file.rewind()
            fds = [secret, status.fileno()]
            ended = pipeline.run(argv, stdin=source.descriptor, stdout=target.descriptor, env=self._env, pass_fds=fds)
            if ended.status < 0:
                ended.check()  # killed: that says nothing of the message
            if ended.status != 0:
                raise VerificationError(ended.describe())
            check_status(status.fileno())
            return target.written()

    def start_envelope(self, target: Path, recipients: Sequence[Path], passphrase: str | None) -> pipeline.Running:
        """Start gpg writing an envelope to ``target`` from its ``stdin``: to key files, or under a passphrase."""
        with target.open("wb") as file:
            if passphrase is None:
                to = [word for key in recipients for word in ("--recipient-file", str(key))]
                argv = [*_QUIET, *self._format, *_NO_LOOKUP, *to, "-o", "-", "--encrypt"]
                return pipeline.start(argv, stdin=pipeline.PIPE, stdout=file, env=self._env)
            with _secret(passphrase) as secret:
                argv = [*_QUIET, *self._format, *_LOOPBACK, str(secret), *_STRETCHED, "-o", "-", "--symmetric"]
                return pipeline.start(argv, stdin=pipeline.PIPE, stdout=file, env=self._env, pass_fds=[secret])

    def open_envelope(self, envelope: bytes, passphrase: str | None) -> bytes:
        """Decrypt an envelope with the user's own keys (agent, smart card), or with a passphrase.

        Raises NoKeyError if it does not open.
        """
        with tempfile.TemporaryFile() as sealed, tempfile.TemporaryFile() as status, contextlib.ExitStack() as stack:
            sealed.write(envelope)
            sealed.seek(0)
            report = ["--status-fd", str(status.fileno()), "-o", "-", "--decrypt"]
            fds = [status.fileno()]
            if passphrase is None:
                # the user's own options stand: they may say how to reach a smart card
                argv, env = ["gpg", *([] if os.isatty(0) else ["--batch", "--no-tty"]), *report], None
            else:
                secret = stack.enter_context(_secret(passphrase))
                argv, env = [*_QUIET, *_LOOPBACK, str(secret), *report], self._env
                fds.append(secret)
            plain = os.memfd_create("s3nap")
            with os.fdopen(plain, "rb") as result:
                ended = pipeline.run(argv, stdin=sealed, stdout=plain, env=env, pass_fds=fds)
                if ended.status != 0:
                    raise NoKeyError(f"the envelope does not open with the keys at hand: {ended.describe()}")
                check_status(status.fileno())
                result.seek(0)
                return result.read()


def sign(data: bytes, key: str, *, keyring: Path | None, passphrase: str | None) -> bytes:
    """Sign with a key of the user's own gpg: detached and armored; ProgramError, in gpg's words, if it does not."""
    with contextlib.ExitStack() as stack:
        source, target = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        source.write(data)
        source.seek(0)
        secrets: list[int] = []
        if passphrase is not None:
            secrets.append(stack.enter_context(_secret(passphrase)))
        unlock = [*_LOOPBACK, str(secrets[0])] if secrets else list(_LOOPBACK[:2])
        argv = [*_QUIET, *unlock, *_ring(keyring), "--local-user", key, "--digest-algo", "SHA256"]
        argv += ["--armor", "-o", "-", "--detach-sign"]
        pipeline.run(argv, stdin=source, stdout=target, pass_fds=secrets).check()
        target.seek(0)
        return target.read()


def signatures(data: bytes, signature: bytes, *, keyring: Path | None) -> tuple[int, list[list[str]]]:
    """Have gpg look at a detached signature, by the user's own public keys; its exit status and its status lines.

    Raises VerificationError if gpg was kept from looking: then nobody knows whose the signature is.
    """
    files = Scratch(), Scratch()
    for file, contents in zip(files, (signature, data), strict=True):
        file.hold(contents)
    fds = [file.descriptor for file in files]
    with tempfile.TemporaryFile() as status:
        argv = [*_QUIET, *_ring(keyring), "--no-auto-key-retrieve", "--disable-dirmngr", "--trust-model", "always"]
        argv += ["--status-fd", str(status.fileno()), "--verify", *(f"/dev/fd/{each}" for each in fds)]
        ended = pipeline.run(argv, stdout=pipeline.DEVNULL, pass_fds=[status.fileno(), *fds])
        lines = _status_lines(status.fileno())
    if ended.status != 0 and _hindered(ended, lines):
        raise VerificationError(f"gpg could not look at the signature (try again): {ended.describe()}")
    return ended.status, lines


def _hindered(ended: pipeline.Ended, lines: Sequence[object]) -> bool:
    """Was gpg killed, did it end without a verdict, or could it not read its keys?"""
    silent = not lines and "not a detached signature" not in ended.said
    return ended.status < 0 or silent or _HINDRANCE.search(ended.said) is not None


def _ring(keyring: Path | None) -> list[str]:
    """Beside the user's own keys, those of a file."""
    return ["--keyring", str(keyring)] if keyring is not None else []


def _status_lines(status: int) -> list[list[str]]:
    """Return the words of gpg's status lines, without the mark that begins each."""
    text = os.pread(status, 1 << 16, 0).decode(errors="replace")
    return [line.split()[1:] for line in text.splitlines() if line.startswith("[GNUPG:] ")]


def _filled(program: pipeline.Running, fill: Callable[[Write], None]) -> int:
    """Let ``fill`` write to a program's standard input; return how many bytes that were."""
    size = 0

    def write(data: bytes) -> None:
        nonlocal size
        size += len(data)
        program.write(data)

    try:
        fill(write)
        program.close_stdin()
    except BrokenPipeError:
        program.wait().check()
        raise ProgramError("gpg ended before the message did") from None
    return size


def opened(pieces: Iterator[Data]) -> Generator[bytes, None, None]:
    """Decrypt one message with the user's own keys (agent, smart card) as it streams.

    Raises NoKeyError if no key fits, VerificationError, at its end, if gpg does not decrypt all of it; and what
    ``pieces`` raises. gpg itself refuses a message without a check of integrity, unless the user's gpg.conf says
    ``ignore-mdc-error``: then what is inside must prove itself whole.
    """
    failures: list[Exception] = []
    with tempfile.TemporaryFile() as status:
        argv = ["gpg", *([] if os.isatty(0) else ["--batch", "--no-tty"]), "--status-fd", str(status.fileno())]
        program = pipeline.start(
            [*argv, "-o", "-", "--decrypt"], stdin=pipeline.PIPE, stdout=pipeline.PIPE, pass_fds=[status.fileno()]
        )
        feeder = threading.Thread(target=_feed, args=(program, pieces, failures))
        feeder.start()
        try:
            with program.ending():
                while program.stdout is not None and (block := program.stdout.read(1 << 20)):
                    yield block
                ended = program.wait()
        finally:
            feeder.join()
        if failures:
            raise failures[0]
        said = os.pread(status.fileno(), 1 << 16, 0).split()
    if b"NO_SECKEY" in said and b"DECRYPTION_OKAY" not in said:
        raise NoKeyError(f"does not open with the keys at hand: {ended.describe()}")
    if ended.status != 0 or said.count(b"DECRYPTION_OKAY") != 1:
        raise VerificationError(f"gpg does not decrypt all of it: {ended.describe()}")


def _feed(program: pipeline.Running, pieces: Iterator[Data], failures: list[Exception]) -> None:
    """Write to a program that somebody else reads from; a program that has ended is that one's business."""
    try:
        for piece in pieces:
            program.write(piece)
    except (BrokenPipeError, ValueError):
        return
    except Exception as error:  # noqa: BLE001 - raised again by who reads
        failures.append(error)
    finally:
        with contextlib.suppress(OSError):
            program.close_stdin()


def check_status(status: int) -> None:
    """Raise VerificationError unless gpg's status lines say that one whole, untouched message was decrypted.

    The exit status alone is 0 for a message cut within its first packet, and for one that is not encrypted at all.
    """
    words = [
        line.split()[1] for line in os.pread(status, 1 << 16, 0).decode(errors="replace").splitlines() if " " in line
    ]
    if words.count("DECRYPTION_OKAY") != 1 or words.count("GOODMDC") != 1:
        raise VerificationError("gpg does not vouch for the message: it is cut, altered or was never encrypted")


@contextlib.contextmanager
def _secret(passphrase: str) -> Iterator[int]:
    """Hand a passphrase over by a pipe: never in argv, environment or on disk."""
    reader, writer = os.pipe()
    try:
        os.write(writer, passphrase.encode() + b"\n")
        os.close(writer)
        yield reader
    finally:
        os.close(reader)
