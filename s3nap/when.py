"""``WHEN``: how a person says which archive is meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Protocol

from s3nap.errors import NothingMatchesError, UsageError
from s3nap.manifest import Archive

_AGO = re.compile(r"(\d+)([mhdw])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}|\d{8}")
_TIME = re.compile(rf"({_DAY.pattern})([T ].+)?")
_FORMS = "a date (2026-11-21: made for that day or before), a time, latest, 3d (ago), slot:3 or a run id"


class Dated(Protocol):
    """What ``WHEN`` can be said of: a manifest, or an archive of the original."""

    @property
    def run(self) -> str:
        """Id of the run; empty where there were none."""
        ...

    @property
    def slot(self) -> int:
        """Number of the slot."""
        ...

    @property
    def day(self) -> date:
        """The day that it was made for."""
        ...

    @property
    def started(self) -> datetime:
        """When that began, with its zone."""
        ...


def choose(archives: Sequence[Archive], when: str, now: datetime) -> Archive:
    """Return the newest of ``archives`` that ``when`` allows.

    Raises UsageError if ``when`` is of no known form, NothingMatchesError if no archive matches.
    """
    allowed = rule(when, now)
    matching = [archive for archive in archives if allowed(archive.manifest)]
    if not matching:
        have = f"the oldest is {archives[0].run}" if archives else "there is none at all"
        raise NothingMatchesError(f"no archive to take for --at {when}: {have}")
    return max(matching, key=lambda archive: archive.run)


def rule(when: str, now: datetime) -> Callable[[Dated], bool]:
    """Return what tells whether ``when`` allows an archive; UsageError if it is of no known form."""
    if when == "latest":
        return lambda _: True
    if when.startswith("slot:"):
        return lambda item: when == f"slot:{item.slot}"
    if _RUN.fullmatch(when):
        return lambda item: item.run == when
    limit = _limit(when, now)
    if isinstance(limit, datetime):
        return lambda item: item.started <= limit
    return lambda item: item.day <= limit


def _limit(when: str, now: datetime) -> datetime | date:
    """Return the last moment, or for a date the last day, that ``when`` allows."""
    try:
        if match := _AGO.fullmatch(when):
            return now - int(match[1]) * _UNITS[match[2]]
        if _TIME.fullmatch(when):
            from dateutil import parser  # noqa: PLC0415 - slow to import, and seldom needed

            found = parser.isoparse(when)
            if _DAY.fullmatch(when):
                return found.date()
            return found if found.tzinfo is not None else found.astimezone()
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--at {when}: {error}; give {_FORMS}") from error
    raise UsageError(f"--at {when}: give {_FORMS}")


def local_day(text: str) -> date:
    """Parse the DAY of ``--date`` and ``--from``; UsageError if it is none."""
    if not _DATE.fullmatch(text):
        raise UsageError(f"{text} is not a date: give YYYY-MM-DD")
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text} is not a date: {error}") from error


def day_or_today(day: str | None) -> date:
    """Return the day that is said, or today's date here; UsageError if it is none."""
    return local_day(day) if day else datetime.now().astimezone().date()
