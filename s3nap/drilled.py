"""The mark ``drilled-…``: when a restore of an archive was rehearsed, how, and how long it took."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime

HOWS = ("index", "repository", "server", "database", "command", "file", "stream")
"""Compared with its index; loaded into a new repository; into a throw-away server; a SQLite database looked at;
fed to the Load command; written to a file only; read to its end only."""

FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """A restore was rehearsed at ``when`` (aware) and took ``seconds``; ``why`` it failed, empty if it did not."""

    when: datetime
    how: str
    seconds: float
    raw_size: int = 0
    why: str = ""

    @property
    def mark(self) -> str:
        """The mark's name."""
        what = FAILED if self.why else f"{self.how}-{math.ceil(self.seconds)}"
        return f"drilled-{self.when.astimezone(UTC):%Y%m%dT%H%M%SZ}-{what}"

    def to_json(self) -> bytes:
        """Return the mark's contents."""
        plain = {
            "when": self.when.isoformat(),
            "how": self.how,
            "seconds": round(self.seconds, 1),
            "raw_size": self.raw_size,
            "why": self.why,
        }
        return json.dumps(plain).encode() + b"\n"
