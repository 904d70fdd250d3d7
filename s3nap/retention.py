"""How long an archive is locked in the storage: as long as the cycle needs it, and never longer. Pure."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

from s3nap.cycle import Cycle, day_date, day_number


def retain_until(cycle: Cycle, day: date, now: datetime) -> datetime:
    """Return when an archive of ``day`` stops being needed: the beginning, here, of the day that replaces it.

    Counted from the real ``now``, whatever day the run pretends to be of: a rehearsal in the far future must not lock
    anything for decades.
    """
    turn = cycle.turn(day_number(day))
    days = cycle.due_day(cycle.needed_until(turn)) - day_number(day)
    today = now.astimezone().date()
    return datetime.combine(day_date(day_number(today)) + timedelta(days=days), time()).astimezone()
