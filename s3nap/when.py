"""``WHEN``: how a person says which archive is meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

from dateutil import parser

from s3nap.errors import NothingMatchesError, UsageError
from s3nap.manifest import Archive

_AGO = re.compile(r"(\d+)([mhdw])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_FORMS = "a date (2026-11-21: made for that day or before), a time, latest, 3d (ago), slot:3 or a run id"


def choose(archives: Sequence[Archive], when: str, now: datetime) -> Archive:
    """Return the newest of ``archives`` that ``when`` allows (DESIGN: Commands).

    Raises UsageError if ``when`` is of no known form, NothingMatchesError if no archive matches.
    """
    matching = [archive for archive in archives if _allowed(archive, when, now)]
    if not matching:
        have = f"the oldest is {archives[0].run}" if archives else "there is none at all"
        raise NothingMatchesError(f"no restorable archive for --at {when}: {have}")
    return max(matching, key=lambda archive: archive.run)


def _allowed(archive: Archive, when: str, now: datetime) -> bool:
    manifest = archive.manifest
    if when == "latest":
        return True
    if when.startswith("slot:"):
        return when == f"slot:{manifest.slot}"
    if _RUN.fullmatch(when):
        return manifest.run == when
    if match := _AGO.fullmatch(when):
        return manifest.started <= now - int(match[1]) * _UNITS[match[2]]
    if _DATE.fullmatch(when):
        return manifest.day <= _parsed(when).date()
    return manifest.started <= _parsed(when)


def _parsed(when: str) -> datetime:
    try:
        found = parser.isoparse(when)
    except ValueError as error:
        raise UsageError(f"--at {when}: give {_FORMS}") from error
    return found if found.tzinfo is not None else found.astimezone()


def local_day(text: str) -> date:
    """Parse the DAY of ``--date`` and ``--from``; UsageError if it is none."""
    if not _DATE.fullmatch(text):
        raise UsageError(f"{text} is not a date: give YYYY-MM-DD")
    return _parsed(text).date()


def midnight(day: date) -> datetime:
    """Return the local beginning of a day, aware."""
    return datetime.combine(day, time()).astimezone()
