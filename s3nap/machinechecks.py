"""Named checks of this machine: keys, clock, room, programs. Pure: facts in, words out; never asks for the time.

A new check is one function and one line in the table. It yields what it has to say, of each thing it looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from s3nap.amounts import size
from s3nap.findings import Level, Said, days

EXPIRY_DAYS = 60
CLOCK_SECONDS = (60, 900)  # from a quarter of an hour on, S3 refuses
FREE_BYTES = (1 << 30, 100 << 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A recipient's key: as configured, when it expires (aware), whether its private half is on this machine."""

    configured: str
    fingerprint: str
    expires: datetime | None = None
    private_here: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """What is known of this machine at a ``moment`` (aware). None: does not apply, or was not asked.

    ``offset``: seconds that this machine's clock is ahead of the storage's. ``free``: bytes by ``directive path``.
    ``missing``: programs that are not here, each with the level that this is worth.
    """

    moment: datetime
    encryption: str = "recipients"
    keys: Sequence[Key] = ()
    key_fault: str | None = None
    offset: float | None = None
    free: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, Level] = field(default_factory=dict)


def _recipients(facts: MachineFacts) -> Iterator[Said]:
    """Can be encrypted to every recipient, now and in two months?"""
    if facts.key_fault is not None:
        yield Said(level=Level.CRITICAL, text=facts.key_fault)
    elif facts.encryption != "recipients":
        yield Said(level=Level.OK, text=f"no GpgRecipient (encryption: {facts.encryption})")
    for key in facts.keys:
        if key.expires is None:
            yield Said(level=Level.OK, text="does not expire", subject=key.configured)
            continue
        left = (key.expires - facts.moment).days
        yield Said(
            level=Level.OK if left > EXPIRY_DAYS else Level.WARNING if left >= 0 else Level.CRITICAL,
            text=f"expires on {key.expires:%Y-%m-%d}, in {days(left)}",
            subject=key.configured,
            metrics={"recipient_expires_days": left},
        )


def _one_recipient(facts: MachineFacts) -> Iterator[Said]:
    """Is there a second key, should the first be lost?"""
    if facts.encryption == "recipients" and facts.key_fault is None:
        alone = len({key.fingerprint for key in facts.keys}) == 1
        text = "one GpgRecipient only: if its private key is lost, nothing restores" if alone else "more than one key"
        yield Said(level=Level.WARNING if alone else Level.OK, text=text)


def _private_key(facts: MachineFacts) -> Iterator[Said]:
    """Is the private key kept away from the host it protects?"""
    here = ", ".join(key.configured for key in facts.keys if key.private_here)
    if here:
        text = f"the private key of {here} is on this host: who breaks in can read all backups; keep it elsewhere"
        yield Said(level=Level.WARNING, text=text)
    elif facts.keys:
        yield Said(level=Level.OK, text="no private key of a recipient is here")


def _clock(facts: MachineFacts) -> Iterator[Said]:
    """Does the clock agree with the storage's?"""
    if facts.offset is not None:
        off = abs(facts.offset)
        level = Level.OK if off < CLOCK_SECONDS[0] else Level.WARNING if off < CLOCK_SECONDS[1] else Level.CRITICAL
        way = "ahead of" if facts.offset > 0 else "behind"
        text = f"{off:.0f} s {way} the storage's" + ("" if level is Level.OK else ": timedatectl set-ntp true")
        yield Said(level=level, text=text, metrics={"clock_offset_seconds": round(facts.offset, 1)})


def _space(facts: MachineFacts) -> Iterator[Said]:
    """Is there room for states and temporary files?"""
    for where, free in facts.free.items():
        level = Level.OK if free >= FREE_BYTES[0] else Level.WARNING if free >= FREE_BYTES[1] else Level.CRITICAL
        yield Said(level=level, text=f"{size(free)} free", subject=where, metrics={"free_bytes": free})


def _programs(facts: MachineFacts) -> Iterator[Said]:
    """Are the programs here that backups, and recipes, need?"""
    for name, level in facts.missing.items():
        yield Said(level=level, text="not installed, or not on PATH", subject=name)
    if not facts.missing:
        yield Said(level=Level.OK, text="all are installed")


MACHINE_CHECKS: dict[str, Callable[[MachineFacts], Iterator[Said]]] = {
    "recipients": _recipients,
    "one-recipient": _one_recipient,
    "private-key": _private_key,
    "clock": _clock,
    "space": _space,
    "programs": _programs,
}
