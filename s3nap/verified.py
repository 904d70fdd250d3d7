"""The mark ``verified-…``: when and how an archive was found whole, and which older marks it replaces.

What matters is in the mark's name, so that a listing of the catalog tells it; the contents say the same for people.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

LISTING, HASHES, DECODED = HOWS = ("listing", "hashes", "decoded")
"""From the weakest to the strongest: objects listed, objects read and hashed, objects decrypted and decoded too."""

_TIME = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(rf"verified-(\d{{8}}T\d{{6}}Z)-({'|'.join(HOWS)})(?:-(\d{{1,3}}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """An archive was whole at ``when`` (aware); ``percent`` of its objects were read, 0 of a listing."""

    when: datetime
    how: str
    percent: int = 0

    @classmethod
    def parse(cls, mark: str) -> Self | None:
        """Read the name of a mark; None if it is another one, or of no time there is."""
        match = _NAME.fullmatch(mark)
        if match is None:
            return None
        try:
            when = datetime.strptime(match[1], _TIME).replace(tzinfo=UTC)
        except ValueError:
            return None
        return cls(when=when, how=match[2], percent=min(int(match[3] or 0), 100))

    @property
    def mark(self) -> str:
        """The mark's name."""
        share = f"-{self.percent}" if self.how != LISTING else ""
        return f"verified-{self.when.astimezone(UTC):{_TIME}}-{self.how}{share}"

    def replaces(self, older: Self) -> bool:
        """Does this one say all that an older one said?"""
        as_thorough = HOWS.index(self.how) >= HOWS.index(older.how) and self.percent >= older.percent
        return self.when >= older.when and (as_thorough or older.how == LISTING)

    def to_json(self) -> bytes:
        """Return the mark's contents."""
        plain = {"when": self.when.isoformat(), "how": self.how, "share": self.percent / 100}
        return json.dumps(plain).encode() + b"\n"


def newest(marks: Iterable[str]) -> Verified | None:
    """Return the last verification among the names of marks."""
    return max(filter(None, map(Verified.parse, marks)), key=lambda each: each.when, default=None)
