"""Cycles: the rule from a day to a slot and a type. Pure: no I/O, never asks for the time.

A *day* is the number of days from 1970-01-01 to the local calendar date of the run's start. A *turn* is the count
of due days, so that numbering never restarts (the original used the day of the year and restarts each 1 January).
Sources: s3napback's README (Principles of operation) and s3napback.pl; docs/rotation.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

from s3nap.manifest import Type

_EPOCH = date(1970, 1, 1)


def day_number(day: date) -> int:
    """Days from 1970-01-01 to a calendar date."""
    return (day - _EPOCH).days


def day_date(number: int) -> date:
    """Return the calendar date of a day number."""
    return _EPOCH + timedelta(days=number)


class Cycle(Protocol):
    """A rotation scheme."""

    @property
    def window(self) -> int:
        """How many of the last turns are promised to stay restorable; 0 where slots alone decide."""
        ...

    @property
    def slots(self) -> int | None:
        """How many slots there are; None when their number grows for ever."""
        ...

    def due(self, day: int) -> bool:
        """Is a backup made on this day?"""
        ...

    def turn(self, day: int) -> int:
        """Return the turn that runs on this day: that of the last due day."""
        ...

    def due_day(self, turn: int) -> int:
        """Return the day on which a turn is due."""
        ...

    def slot(self, turn: int) -> int:
        """Return the slot that a turn writes to."""
        ...

    def type(self, turn: int) -> Type:
        """FULL or DIFF."""
        ...

    def group(self, turn: int) -> int:
        """Return the number of the group of turns that hang on one FULL."""
        ...

    def needed_until(self, turn: int) -> int:
        """Return the turn whose archive ends all need for this turn's, in undisturbed rotation.

        Until then it is the newest of its slot, or some archive that may build on it is.
        """
        ...

    def has_slot(self, slot: int) -> bool:
        """Will the cycle ever write to this slot (else what lies there is retired)?"""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SimpleCycle:
    """Backups at fixed intervals: ``fulls`` groups of one FULL and ``diffs`` DIFFs; frequency and phase in days.

    For sources that cannot make DIFFs pass ``diffs=0``.
    """

    frequency: int = 1
    phase: int = 0
    diffs: int = 6
    fulls: int = 4

    @property
    def window(self) -> int:
        """All slots."""
        return self.slots

    @property
    def slots(self) -> int:
        """``Fulls x (Diffs + 1)``."""
        return self.fulls * (self.diffs + 1)

    def due(self, day: int) -> bool:
        """Every ``frequency`` days."""
        return (day + self.phase) % self.frequency == 0

    def turn(self, day: int) -> int:
        """``(day + Phase) div Frequency``."""
        return (day + self.phase) // self.frequency

    def due_day(self, turn: int) -> int:
        """Inverse of ``turn`` for due days."""
        return turn * self.frequency - self.phase

    def slot(self, turn: int) -> int:
        """``turn mod slots``."""
        return turn % self.slots

    def type(self, turn: int) -> Type:
        """Return FULL for the first turn of each group."""
        return Type.FULL if self.slot(turn) % (self.diffs + 1) == 0 else Type.DIFF

    def group(self, turn: int) -> int:
        """``turn div (Diffs + 1)``."""
        return turn // (self.diffs + 1)

    def needed_until(self, turn: int) -> int:
        """Return the turn that replaces the last DIFF of the group."""
        return (self.group(turn) + 1) * (self.diffs + 1) - 1 + self.slots

    def has_slot(self, slot: int) -> bool:
        """Numbers below ``slots``."""
        return slot < self.slots


@dataclass(frozen=True, slots=True, kw_only=True)
class HanoiCycle:
    """Decaying schedule: FULLs whose ages are powers of two (the towers of Hanoi); frequency in days."""

    frequency: int = 1
    discs: int = 5
    archive_oldest_disc: bool = False

    @property
    def window(self) -> int:
        """None: what is kept is decided by the slots."""
        return 0

    @property
    def slots(self) -> int | None:
        """One a disc, unless the oldest disc is archived for ever."""
        return None if self.archive_oldest_disc else self.discs

    @property
    def _round(self) -> int:
        return 1 << (self.discs - 1)

    def due(self, day: int) -> bool:
        """Every ``frequency`` days."""
        return day % self.frequency == 0

    def turn(self, day: int) -> int:
        """``day div Frequency``."""
        return day // self.frequency

    def due_day(self, turn: int) -> int:
        """Inverse of ``turn`` for due days."""
        return turn * self.frequency

    def slot(self, turn: int) -> int:
        """Return the number of trailing zero bits of the position in the round.

        With ``archive_oldest_disc`` the oldest disc of each round gets a number of its own
        (the original renumbers every disc and so keeps the wrong one).
        """
        position = turn % self._round + 1
        disc = (position & -position).bit_length() - 1
        if self.archive_oldest_disc and disc == self.discs - 1:
            return disc + turn // self._round
        return disc

    def type(self, turn: int) -> Type:  # noqa: ARG002 - the Protocol's signature
        """Return FULL, always."""
        return Type.FULL

    def group(self, turn: int) -> int:
        """Each turn stands alone."""
        return turn

    def needed_until(self, turn: int) -> int:
        """Return the next turn of its disc; for an archived disc, which is never replaced, that of a round later."""
        position = turn % self._round + 1
        return turn + min((position & -position) * 2, self._round)

    def has_slot(self, slot: int) -> bool:
        """Discs, and every archived oldest disc."""
        return self.archive_oldest_disc or slot < self.discs
