"""What named checks say: an outcome, a text for people, numbers for graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeVar

_Facts = TypeVar("_Facts")


class Level(IntEnum):
    """Outcome of a check, as Nagios numbers it."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3

    @property
    def rank(self) -> int:
        """How bad it is: what is unknown is worse than well, and less bad than a warning."""
        return (0, 2, 3, 1)[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check says of one ``subject``: a job, a folder, a key, or nothing; ``metrics`` by name."""

    check: str
    level: Level
    text: str
    host: str = ""
    subject: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A finding before it has the name of its check."""

    level: Level
    text: str
    subject: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


def applied(
    checks: Mapping[str, Callable[[_Facts], Iterator[Said]]], facts: _Facts, host: str, subject: str = ""
) -> Iterator[Finding]:
    """Apply a table of checks to facts; what is said of nothing else is said of ``subject``."""
    for name, check in checks.items():
        for said in check(facts):
            yield Finding(
                check=name,
                host=host,
                subject=said.subject or subject,
                level=said.level,
                text=said.text,
                metrics=said.metrics,
            )


def days(count: int) -> str:
    """Write a number of days."""
    return "1 day" if count == 1 else f"{count} days"
