"""GpgRecipients, resolved once per run to exact fingerprints and to key files that gpg can use offline.

Left to itself gpg matches substrings, takes the first of several keys, and asks mail domains for keys it lacks
(docs/tar.md 7): none of that may decide who can read a backup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from pathlib import Path
from typing import Any

from s3nap.errors import RecipientError

WARN_BEFORE = timedelta(days=60)
"""How long before a key expires people are told."""
_LONG_KEY_ID = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """A key that archives are encrypted to: as configured, its fingerprint, its exported file, a warning or None.

    ``expires`` (aware): when nothing can be encrypted to it any more.
    """

    configured: str
    fingerprint: str
    file: Path
    warning: str | None
    expires: datetime | None = None


def resolve(configured: Sequence[str], keyring: Path | None, folder: Path, now: datetime) -> tuple[Recipient, ...]:
    """Find each recipient's key and export it to ``folder``.

    Raises RecipientError, naming every recipient that is unknown, unusable or ambiguous, and what to do.
    """
    ring = _ring(keyring)
    keys: list[dict[str, Any]] = ring.list_keys()
    where = str(keyring) if keyring else "gpg's keyring of this user"
    faults: list[str] = []
    found: list[Recipient] = []
    for text in configured:
        try:
            key = _choose(text, keys, where, now)
        except RecipientError as error:
            faults.append(str(error))
            continue
        file = folder / f"{key['fingerprint']}.asc"
        file.write_text(ring.export_keys(key["fingerprint"]))
        found.append(
            Recipient(
                configured=text,
                fingerprint=key["fingerprint"],
                file=file,
                warning=_expires_soon(text, key, now),
                expires=_expiry(key),
            )
        )
    if faults:
        raise RecipientError("\n".join(faults))
    return tuple(sorted({item.fingerprint: item for item in found}.values(), key=lambda item: item.fingerprint))


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A key of a keyring: whose it is, and why nothing can be encrypted to it, if that is so."""

    fingerprint: str
    owner: str
    problem: str


def public_keys(now: datetime, keyring: Path | None = None) -> list[PublicKey]:
    """Return the keys there are; RecipientError if gpg cannot be used."""
    return [
        PublicKey(
            fingerprint=key["fingerprint"],
            owner=", ".join(key["uids"]),
            problem="" if _is_usable(key) else _why_unusable(key, now),
        )
        for key in _ring(keyring).list_keys()
    ]


def private_here(fingerprint: str) -> bool:
    """Can gpg of this user decrypt with this key, from its own files? A smart card, or a stub, is none of those."""
    import gnupg  # noqa: PLC0415 - as above

    for key in gnupg.GPG().list_keys(secret=True):
        parts = [key, *key.get("subkey_info", {}).values()]
        if key["fingerprint"] == fingerprint and any(
            "e" in part["cap"] and part["token"] == "+"  # noqa: S105 - gpg's sign for "available here"
            for part in parts
        ):
            return True
    return False


def expiry(fingerprints: Sequence[str], keyring: Path | None) -> datetime | None:
    """Return when the first of these keys and subkeys expires; None if none does."""
    times: list[int] = []
    for folder in {keyring, None}:
        for key in _ring(folder).list_keys():
            subkeys = [(fingerprint, key["subkey_info"].get(keyid, {})) for keyid, _, fingerprint, *_ in key["subkeys"]]
            for fingerprint, facts in [(key["fingerprint"], key), *subkeys]:
                if fingerprint in fingerprints and facts.get("expires"):
                    times.append(int(facts["expires"]))
    return datetime.fromtimestamp(min(times), UTC) if times else None


def _ring(keyring: Path | None) -> Any:  # noqa: ANN401 - gnupg has no types
    import gnupg  # noqa: PLC0415 - slow to import, and needed by backups only

    try:
        return gnupg.GPG(keyring=str(keyring) if keyring else None)
    except (OSError, ValueError) as error:
        raise RecipientError(f"gpg cannot be used: {error}") from error


def _choose(text: str, keys: Sequence[Mapping[str, Any]], where: str, now: datetime) -> Mapping[str, Any]:
    matching = [key for key in keys if _matches(text, key)]
    usable = [key for key in matching if _is_usable(key)]
    if len(usable) == 1:
        return usable[0]
    if usable:
        several = ", ".join(key["fingerprint"] for key in usable)
        raise RecipientError(f"GpgRecipient {text} is ambiguous in {where}: give one of the fingerprints {several}")
    if not matching:
        raise RecipientError(f"GpgRecipient {text} is not in {where}: gpg --import its public key, or set GpgKeyring")
    raise RecipientError(f"GpgRecipient {text} ({matching[0]['fingerprint']}) {_why_unusable(matching[0], now)}")


def _is_usable(key: Mapping[str, Any]) -> bool:
    return "E" in key["cap"] and key["trust"] not in {"e", "r", "d", "i"}


def _matches(text: str, key: Mapping[str, Any]) -> bool:
    bare = text.removeprefix("0x").replace(" ", "").upper()
    if len(bare) >= _LONG_KEY_ID and key["fingerprint"].endswith(bare):
        return True
    wanted = text.lower()
    for uid in key["uids"]:
        name, address = (part.lower() for part in parseaddr(uid))
        if wanted in {uid.lower(), name, address, f"<{address}>"}:
            return True
    return False


def _why_unusable(key: Mapping[str, Any], now: datetime) -> str:
    expiry = _expiry(key)
    if key["trust"] == "r":
        return "is revoked: use another key"
    if key["trust"] == "e" or (expiry is not None and expiry <= now):
        when = f" on {expiry:%Y-%m-%d}" if expiry else ""
        return f"expired{when}: extend it where its private key is, and import it again"
    return "cannot be encrypted to: it has no valid encryption subkey, or is disabled"


def _expiry(key: Mapping[str, Any]) -> datetime | None:
    """When nothing can be encrypted to the key any more: the main key's expiry, or its last encryption subkey's."""
    times = [int(key["expires"])] if key["expires"] else []
    details = key.get("subkey_info", {}).values()
    subkeys = [sub.get("expires") or "" for sub in details if "e" in sub.get("cap", "") and sub.get("trust") != "r"]
    if subkeys and all(subkeys):
        times.append(max(int(text) for text in subkeys))
    return datetime.fromtimestamp(min(times), UTC) if times else None


def _expires_soon(text: str, key: Mapping[str, Any], now: datetime) -> str | None:
    expiry = _expiry(key)
    if expiry is None or expiry - now > WARN_BEFORE:
        return None
    return (
        f"GpgRecipient {text} expires on {expiry:%Y-%m-%d}, backups will fail then: extend the key and import it again"
    )
