"""Signed manifests: who signs, and whose signatures count.

Encryption to a public key proves nothing about who encrypted: whoever has the key and may put can forge an archive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from s3nap.errors import ProgramError, RecipientError, UntrustedError, VerificationError
from s3nap.job import Conf

_GOOD = frozenset({"GOODSIG", "EXPKEYSIG"})  # a key may expire after it has signed
_BAD = {
    "BADSIG": "not what was signed",
    "REVKEYSIG": "signed by a key that was revoked since",
    "EXPSIG": "the signature expired",
    "ERRSIG": "signed by a key that is not in gpg's keyring here (gpg --import it), or in an unknown way",
}
_DETACHED = "00"  # the class of a signature of a file, byte by byte
_PROBE = b"s3nap signs manifests\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A good signature: fingerprints of the key that made it and of the main key that this one belongs to."""

    key: str
    main: str


class Trust:
    """Whose signatures count: those of the keys with these fingerprints; a main key stands for its subkeys, too."""

    def __init__(self, fingerprints: Iterable[str], keyring: Path | None = None) -> None:
        """Their public keys are looked for in gpg's own keyring and in ``keyring``, and nowhere else."""
        self._fingerprints = frozenset(fingerprints)
        self._keyring = keyring

    def __contains__(self, signature: Signature) -> bool:
        """Does the signature count?"""
        return not self._fingerprints.isdisjoint({signature.key, signature.main})

    def check(self, data: bytes, signature: bytes) -> Signature:
        """Return the signature of ``data``; UntrustedError unless it counts.

        gpg's exit status alone is 0 for any key that happens to be in the keyring. A plain VerificationError: gpg could
        not look, which says nothing against the signature.
        """
        from s3nap import gpg  # noqa: PLC0415 - start-up time: most confs have no signer

        status, lines = gpg.signatures(data, signature, keyring=self._keyring)
        said = [line[0] for line in lines if line]
        for word, meaning in _BAD.items():
            if word in said:
                raise UntrustedError(meaning)
        valid = [line for line in lines if line and line[0] == "VALIDSIG"]
        if status != 0 or len(valid) != 1 or len([word for word in said if word in _GOOD]) != 1:
            raise UntrustedError("what stands beside it is no single detached signature")
        words = valid[0]
        found = Signature(key=words[1], main=words[10] if len(words) > 10 else words[1])
        if words[9] != _DETACHED:
            raise UntrustedError("the signature is not of a file as it is")
        if found not in self:
            raise UntrustedError(f"signed by {found.key}, who is no TrustedSigner")
        return found


class Signer:
    """Signs manifests with one secret key of the user's gpg. ``warning``: it expires soon."""

    def __init__(self, fingerprint: str, *, keyring: Path | None, passphrase: str | None, now: datetime) -> None:
        """Sign something, to know that it will work when there is something to lose; RecipientError if not."""
        from s3nap import recipients  # noqa: PLC0415 - as in Trust

        self._keyring, self._passphrase = keyring, passphrase
        self._own = Trust([fingerprint], keyring)
        self._name = f"{fingerprint}!"  # just this key
        try:
            try:
                _, made = self.sign(_PROBE)
            except ProgramError:
                self._name = fingerprint  # a main key that only certifies: its subkey signs
                _, made = self.sign(_PROBE)
        except (ProgramError, VerificationError) as error:
            raise RecipientError(
                f"SignKey {fingerprint} cannot sign: {error}; see gpg --list-secret-keys of the user that runs s3nap, "
                "and SignPassphraseFile"
            ) from error
        expiry = recipients.expiry((made.key, made.main), keyring)
        self.warning = (
            f"SignKey {fingerprint} expires on {expiry:%Y-%m-%d}, backups will fail then: extend it"
            if expiry is not None and expiry - now <= recipients.WARN_BEFORE
            else None
        )

    def sign(self, data: bytes) -> tuple[bytes, Signature]:
        """Return a detached signature of ``data``, looked at once more.

        Raises ProgramError if gpg does not sign, VerificationError if what it made is no signature by this key.
        """
        from s3nap import gpg  # noqa: PLC0415 - as in Trust

        made = gpg.sign(data, self._name, keyring=self._keyring, passphrase=self._passphrase)
        return made, self._own.check(data, made)


def open_signer(conf: Conf) -> Signer | None:
    """Return the signer that a conf asks for, if any; RecipientError if it cannot sign."""
    if conf["SignKey"] is None:
        return None
    from s3nap.envelope import read_passphrase  # noqa: PLC0415 - as in Trust

    return Signer(
        conf["SignKey"],
        keyring=conf["GpgKeyring"],
        passphrase=read_passphrase(conf["SignPassphraseFile"]),
        now=datetime.now(UTC),
    )


def trust_of(conf: Conf, more: Iterable[str] = ()) -> Trust | None:
    """Return whose signatures count by a conf, and ``more``; None: nobody signs, and everything counts."""
    signers = {*conf["TrustedSigner"], *([conf["SignKey"]] if conf["SignKey"] else []), *more}
    return Trust(signers, conf["GpgKeyring"]) if signers else None
