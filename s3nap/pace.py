"""How fast bytes may flow: limits by time of day, and a token bucket that all threads of a process share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from s3nap import interruption

PIECE = 16 << 10
"""Bytes that are waited for at once: few enough to make a steady flow at the lowest limit there may be."""

_SAVED = 0.2  # seconds of flow that may be made up for after a pause
_DAY = 24 * 60
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Bytes a second (None: as fast as it goes), from one minute of the day to another, on some days (0 is Monday).

    A time over midnight belongs to the day on which it begins.
    """

    rate: int | None
    start: int = 0
    end: int = _DAY
    days: frozenset[int] = frozenset(range(7))
    text: str = ""

    def __str__(self) -> str:
        return self.text

    def holds(self, when: datetime) -> bool:
        """Is this the time?"""
        minute = when.hour * 60 + when.minute
        if self.start < self.end:
            return when.weekday() in self.days and self.start <= minute < self.end
        if minute >= self.start:
            return when.weekday() in self.days
        return minute < self.end and (when - timedelta(days=1)).weekday() in self.days


def rate_at(rates: Sequence[Rate], when: datetime) -> int | None:
    """Return the bytes a second of the first rate whose time it is; None: no limit."""
    return next((each.rate for each in rates if each.holds(when)), None)


class Pace:
    """A token bucket: who takes bytes out waits until they may flow. Safe to use from several threads."""

    def __init__(
        self,
        rates: Sequence[Rate],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = interruption.sleep,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        """``clock`` and ``sleep`` are in seconds, ``now`` is the local time of day."""
        self._rates = tuple(rates)
        self._clock, self._sleep, self._now = clock, sleep, now
        self._lock = threading.Lock()
        self._through = clock()  # when all that was taken so far is through

    def take(self, size: int) -> None:
        """Return when ``size`` bytes may have flowed, and all that was taken before; KeyboardInterrupt as ``sleep``."""
        with self._lock:
            rate = rate_at(self._rates, self._now())
            if rate is None:
                return
            now = self._clock()
            self._through = max(self._through, now - _SAVED) + size / rate
            wait = self._through - now
        if wait > 0:
            self._sleep(wait)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What holds for a storage: up is what is put, down is what is got; None: no limit."""

    up: Pace | None = None
    down: Pace | None = None

    @classmethod
    def of(cls, up: Sequence[Rate], down: Sequence[Rate]) -> Limits:
        """Return the limits of a conf."""
        return cls(up=Pace(up) if up else None, down=Pace(down) if down else None)


UNLIMITED = Limits()
