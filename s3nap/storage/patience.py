"""Trying again what may pass: one outage of half an hour is waited out; who has waited in vain once waits no more."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from loguru import logger

from s3nap import interruption

DELAYS = (0.3, 1.0, 3.0, 10.0, 30.0, *(60.0,) * 30)  # seconds
_BRIEF = 4  # of them, after an outage that did not pass: what is left to do must not wait as long again
_SOON = 2  # of them, for who asks in the foreground
_T = TypeVar("_T")


class Patience:
    """Every call is tried ``len(delays) + 1`` times, until one of them has failed so often."""

    def __init__(self, delays: Sequence[float]) -> None:
        self._delays = tuple(delays)

    def tried(
        self,
        call: Callable[[], _T],
        failures: tuple[type[Exception], ...],
        passes: Callable[[Exception], bool],
        doing: str,
        *,
        soon: bool = False,
    ) -> _T:
        """Call until it succeeds; raises the last of the ``failures``, or the first that does not pass."""
        for delay in (*(self._delays[:_SOON] if soon else self._delays), None):
            try:
                return call()
            except failures as error:
                if not passes(error):
                    raise
                if delay is None:
                    self._delays = self._delays if soon else self._delays[:_BRIEF]
                    raise
                logger.info("{}: {}; trying again in {:.1f} s", doing, error, delay)
                # not all threads at once
                interruption.sleep(delay * random.SystemRandom().uniform(0.5, 1.5))
        raise AssertionError  # the last round ends above
